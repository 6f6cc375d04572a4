//! The tasks of one worker with their consumer and producer: poll, process, commit, abort. No
//! thread: the worker drives it, and so does the test driver.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Clock, Consumer, ConsumerConfig, GroupOffsets, Log, Offset, Producer,
    ProducerConfig, TopicPartition,
};

use crate::config::{ProcessingGuarantee, StreamsConfig};
use crate::context::{Context, DeadLetterTopic, EmitTimer, Names, Step};
use crate::error::{Error, Result};
use crate::error_handler::Failure;
use crate::graph::node::StoreDefinition;
use crate::graph::plan::Graph;
use crate::runtime::application::Application;
use crate::runtime::assignment::WorkerId;
use crate::runtime::ends::end_of;
use crate::runtime::global::GlobalTables;
use crate::runtime::group::TaskGroup;
use crate::runtime::lending::Use;
use crate::runtime::on_disk::OnDisk;
use crate::runtime::physical::Blueprint;
use crate::runtime::poison::Poison;
use crate::runtime::record_queue::RecordQueue;
use crate::runtime::resolve::Resolved;
use crate::runtime::restore::restore;
use crate::runtime::stage::Replay;
use crate::runtime::standby::{StandbyCopy, Standbys};
use crate::runtime::task::{Progress, Task, TaskStore};
use crate::store::record_cache::CacheBudget;
use crate::types::TaskId;

/// How many records are processed between two looks at the transaction's size.
const RECORDS_PER_LOOK: u64 = 16;

/// What a changed key is taken to cost before the first commit has shown it.
const CHANGE_BYTES_GUESS: usize = 256;

/// See the module.
pub(crate) struct TaskSet {
    pub(crate) application: Arc<Application>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: StreamsConfig,
    pub(crate) consumer: Box<dyn Consumer>,
    /// Where tasks move between processes: the membership that they come by.
    pub(crate) group: Option<TaskGroup>,
    standbys: Option<Standbys>,
    pub(crate) context: Context,
    pub(crate) tasks: Vec<Task>,
    pub(crate) globals: GlobalTables,
    /// The tasks that run: all, or the one that a replay has come to.
    pub(crate) active: Vec<usize>,
    pub(crate) on_disk: Option<OnDisk>,
    pub(crate) replay: Option<Replay>,
    pub(crate) poison: Poison,
    /// What the record caches of the tasks may hold, if there are any.
    cache: Option<Rc<CacheBudget>>,
    /// What a changed key costs in its changelog, as the last commit has shown, to foresee when a
    /// transaction will be full.
    pub(crate) change_bytes: usize,
    pub(crate) records_since_commit: u64,
    pub(crate) records_per_commit_max: u64,
    pub(crate) last_commit: Duration,
    pub(crate) last_purge: Duration,
    /// When all offsets were committed, changed or not.
    pub(crate) last_refresh: Duration,
}

impl TaskSet {
    /// A worker without tasks, its global tables read.
    pub(crate) fn open(application: &Arc<Application>, worker: WorkerId) -> Result<Self> {
        let Application { log, graph, config, resolved, .. } = &**application;
        let has_globals = (0..graph.subtopologies.len()).any(|index| graph.is_global(index));
        // It joins while the others are made, but not before global tables are read, which may take
        // longer than `max.poll.interval.ms`: what the group gave it meanwhile would not be run.
        let early = (!has_globals).then(|| application.join_group(worker)).transpose()?;
        let transactional_id = is_transactional(config).then(|| {
            application.process_id.transactional_id(log.as_ref(), &config.application_id, worker)
        });
        let mut producer = log
            .producer(&ProducerConfig {
                transactional_id,
                without_receipts: true,
                ..ProducerConfig::default()
            })
            .map_err(Error::log("the start of a producer"))?;
        application.note(producer.as_mut())?;
        let consumer = log
            .consumer(&ConsumerConfig {
                group: Some(config.application_id.clone()),
                auto_offset_reset: AutoOffsetReset::Earliest,
                max_poll_records: config.max_poll_records,
                ..ConsumerConfig::default()
            })
            .map_err(Error::log("the start of a consumer"))?;
        let mut context = context(graph, config, resolved, (log, producer));
        let offsets = if has_globals { application.offsets()? } else { GroupOffsets::new() };
        let mut globals = Blueprint::new(application, &offsets).build_globals()?;
        globals.bootstrap(&mut context, log.as_ref(), &application.restores)?;
        let clock = Arc::clone(&config.clock);
        let now = clock.monotonic();
        Ok(Self {
            application: Arc::clone(application),
            log: Arc::clone(log),
            on_disk: application.on_disk(),
            replay: None,
            config: config.clone(),
            consumer,
            group: early.map_or_else(|| application.join_group(worker), Ok)?,
            standbys: standbys(application, worker)?,
            context,
            tasks: Vec::new(),
            globals,
            active: Vec::new(),
            poison: Poison::default(),
            cache: cache_budget(config),
            change_bytes: CHANGE_BYTES_GUESS,
            records_since_commit: 0,
            records_per_commit_max: u64::MAX,
            last_commit: now,
            last_purge: now,
            last_refresh: now,
            clock,
        })
    }

    /// An application of one worker, with all of its tasks.
    pub(crate) fn open_all(
        graph: &Arc<Graph>,
        config: StreamsConfig,
        log: &Arc<dyn Log>,
    ) -> Result<Self> {
        let application = Arc::new(Application::open(graph, config, log)?);
        let mut tasks = Self::open(&application, 0)?;
        tasks.take(&application.tasks)?;
        Ok(tasks)
    }

    /// Builds tasks and restores their stores: from now on they run here. Nothing may be
    /// uncommitted.
    pub(crate) fn take(&mut self, ids: &[TaskId]) -> Result<()> {
        let offsets = self.application.offsets()?;
        let application = Arc::clone(&self.application);
        let blueprint = Blueprint::new(&application, &offsets);
        let persistent = |store: &TaskStore| {
            application.graph.store(&store.name).is_some_and(StoreDefinition::is_persistent)
        };
        let mut built = Vec::new();
        for id in ids {
            let log = self.log.as_ref();
            let copy = self.standbys.as_mut().and_then(|standbys| standbys.release(log, *id));
            let is_copied = copy.is_some();
            let StandbyCopy { stores, covered } = copy.unwrap_or_else(|| StandbyCopy {
                stores: blueprint.stores_of(*id),
                covered: BTreeMap::new(),
            });
            let task = blueprint.build(*id, &self.globals, self.cache.as_ref(), stores)?;
            for store in task.stores.iter().filter(|store| !is_copied && persistent(store)) {
                if let Some(on_disk) = &self.on_disk {
                    on_disk.back(*id, store, Use::Task)?;
                }
            }
            built.push((task, covered));
        }
        self.context.metrics.records_restored +=
            restore(&built, self.log.as_ref(), self.on_disk.as_ref(), &application.restores)?;
        for (mut task, _) in built {
            if application.graph.kafka_compat {
                task.forget_stream_times();
            }
            task.enter(&mut self.context);
            task.prepare(&mut self.context).map_err(|failure| failure.into_error())?;
            self.tasks.push(task);
        }
        let order = application.order();
        self.tasks.sort_by_key(|task| order.get(&task.id).copied());
        if self.replay.is_none() {
            self.replay = Replay::find(&self.tasks);
        }
        self.start_over()
    }

    /// Keeps the standby copies up. Returns how many records of changelogs were read.
    pub(crate) fn follow_standbys(&mut self) -> u64 {
        let (Some(standbys), Some(group)) = (&mut self.standbys, &self.group) else { return 0 };
        if !group.has_joined() {
            return 0;
        }
        let at = (self.clock.monotonic(), group.generation());
        let read = standbys.follow(&self.application, self.on_disk.as_ref(), at);
        self.context.metrics.standby_records += read;
        read
    }

    /// Closes tasks: they go to another worker. Nothing may be uncommitted.
    pub(crate) fn give_up(&mut self, ids: &[TaskId]) -> Result<()> {
        self.tasks.retain(|task| !ids.contains(&task.id));
        self.start_over()
    }

    /// Reads on from the last commit.
    fn start_over(&mut self) -> Result<()> {
        self.tasks.iter_mut().flat_map(|task| &mut task.queues).for_each(RecordQueue::rewind);
        self.activate()
    }

    /// Points the consumer at the partitions of the active tasks, at what their queues need next.
    pub(crate) fn activate(&mut self) -> Result<()> {
        self.active = match &self.replay {
            Some(replay) => replay.stage(self.tasks.len()).into_iter().collect(),
            None => (0..self.tasks.len()).collect(),
        };
        self.prepare_replay()?;
        let mut positions = Vec::new();
        for index in &self.active {
            let queues = self.tasks.get(*index).into_iter().flat_map(|task| &task.queues);
            positions.extend(
                queues
                    .filter(|queue| queue.is_polled())
                    .map(|queue| (queue.topic_partition.clone(), queue.position())),
            );
        }
        let assigned: Vec<TopicPartition> =
            positions.iter().map(|(topic_partition, _)| topic_partition.clone()).collect();
        let paused = self.consumer.assignment();
        let again: Vec<_> = paused.into_iter().filter(|tp| assigned.contains(tp)).collect();
        self.consumer.resume(&again).map_err(Error::log("the assignment of partitions"))?;
        self.consumer.assign(&assigned).map_err(Error::log("the assignment of partitions"))?;
        for (topic_partition, offset) in &positions {
            self.consumer
                .seek(topic_partition, *offset)
                .map_err(Error::log(format!("a seek in {topic_partition}")))?;
        }
        Ok(())
    }

    /// Polls into the queues, and into global tables. Returns how many records came.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<usize> {
        self.pause_full_queues()?;
        // A replay finds global tables as they were at the reset.
        let mut records =
            if self.is_replaying() { 0 } else { self.globals.update(&mut self.context)? };
        let timeout = if records > 0 { Duration::ZERO } else { timeout };
        for queue in self.tasks.iter_mut().flat_map(|task| &mut task.queues) {
            queue.known_drained = false;
        }
        let polled = self.consumer.poll(timeout).map_err(Error::log("a poll"))?;
        for batch in polled {
            records += batch.len();
            let queue = self
                .active
                .iter()
                .find_map(|index| {
                    let task = self.tasks.get(*index)?;
                    let mut queues = task.queues.iter();
                    Some((
                        *index,
                        queues.position(|q| q.topic_partition == *batch.topic_partition())?,
                    ))
                })
                .and_then(|(task, queue)| self.tasks.get_mut(task)?.queues.get_mut(queue));
            if let Some(queue) = queue {
                queue.push(batch);
            }
        }
        Ok(records)
    }

    /// Back-pressure: a queue with `buffered.records.per.partition` records takes no more.
    fn pause_full_queues(&mut self) -> Result<()> {
        let max = self.config.buffered_records_per_partition;
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for queue in self.tasks.iter_mut().flat_map(|task| &mut task.queues) {
            let full = queue.buffered() >= max;
            if full != queue.paused && queue.is_polled() {
                let list = if full { &mut pause } else { &mut resume };
                list.push(queue.topic_partition.clone());
                queue.paused = full;
            }
        }
        if !pause.is_empty() {
            self.consumer.pause(&pause).map_err(Error::log("a pause"))?;
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume).map_err(Error::log("a resume"))?;
        }
        Ok(())
    }

    /// Processes up to `records_max` records of the active tasks, in turns: none has to wait until
    /// those before it have nothing left. Returns how many.
    ///
    /// A failure that a handler has an answer for is dealt with here: the work since the last
    /// commit is then taken back, and 0 returned.
    pub(crate) fn process(&mut self, records_max: u64) -> Result<u64> {
        self.context.emit_timer.replaying = self.is_replaying();
        let processed = Cell::new(0_u64);
        let outcome =
            catch_unwind(AssertUnwindSafe(|| self.process_records(records_max, &processed)));
        self.records_since_commit += processed.get();
        if matches!(&outcome, Ok(Err(failure)) if matches!(**failure, Failure::TransactionFull(_)))
        {
            // The record that did not fit any more is one of those to be split.
            self.records_since_commit += 1;
        }
        match outcome {
            Ok(Ok(())) => Ok(processed.get()),
            Ok(Err(failure)) => self.recover_from_failure(*failure).map(|()| 0),
            Err(payload) => self.recover_from_panic(payload.as_ref()).map(|()| 0),
        }
    }

    fn process_records(&mut self, records_max: u64, processed: &Cell<u64>) -> Step {
        let tasks = u64::try_from(self.active.len()).unwrap_or(u64::MAX).max(1);
        let share = (records_max / tasks).max(RECORDS_PER_LOOK);
        // As long as one has more than its share.
        while self.process_shares(share, records_max, processed)? {}
        Ok(())
    }

    /// Processes up to `share` records of each active task. Returns whether to go on with another
    /// round.
    fn process_shares(
        &mut self,
        share: u64,
        records_max: u64,
        processed: &Cell<u64>,
    ) -> Step<bool> {
        let before = self.records_since_commit;
        let mut has_more = false;
        for position in 0..self.active.len() {
            let Some(&index) = self.active.get(position) else { break };
            let share_end = processed.get().saturating_add(share);
            loop {
                let done = processed.get();
                if done >= share_end {
                    has_more = true;
                    break;
                }
                if done >= records_max
                    || before + done >= self.records_per_commit_max
                    || self.context.commit_requested
                {
                    return Ok(false);
                }
                if done.is_multiple_of(RECORDS_PER_LOOK) {
                    self.records_since_commit = before + done;
                    let full = done > 0 && self.is_commit_full();
                    self.records_since_commit = before;
                    if full {
                        return Ok(false);
                    }
                }
                let next_look = (done / RECORDS_PER_LOOK + 1) * RECORDS_PER_LOOK;
                let commit_end = self.records_per_commit_max - before;
                let end = share_end.min(records_max).min(next_look).min(commit_end);
                let Self { tasks, context, poison, consumer, log, config, clock, .. } = self;
                let Some(task) = tasks.get_mut(index) else { break };
                let idle_ms = config.max_task_idle_ms;
                let may_go_on = |queue: &mut RecordQueue| {
                    let waits = queue.end.is_none() && idle_ms != 0;
                    Ok(waits && idle_ms < 0
                        || may_go_on(queue, consumer.as_ref(), log.as_ref())?
                            && (!waits || queue.has_idled(idle_ms, clock.now().as_millis())))
                };
                match task.run(end - done, processed, context, poison, may_go_on)? {
                    Progress::Processed => {}
                    Progress::Waiting => break,
                }
            }
        }
        Ok(has_more)
    }

    /// Whether there are record caches, so that it matters when commits take place.
    pub(crate) fn has_caches(&self) -> bool {
        self.tasks.iter().any(|task| !task.flushes.is_empty())
    }

    /// Whether something was processed since the last commit.
    pub(crate) fn is_changed(&self) -> bool {
        self.tasks.iter().any(Task::is_changed)
    }
}

/// What the record caches of a worker may hold together: its share of what those of the application
/// may. 0 is no caches, as in Kafka Streams.
fn cache_budget(config: &StreamsConfig) -> Option<Rc<CacheBudget>> {
    let bytes_max = config.statestore_cache_max_bytes / config.num_stream_threads.max(1);
    (bytes_max > 0).then(|| Rc::new(CacheBudget::new(bytes_max)))
}

/// The standby copies of a worker, where there are other processes and copies are asked for.
fn standbys(application: &Application, worker: WorkerId) -> Result<Option<Standbys>> {
    let Application { log, config, process_id, .. } = application;
    if log.is_embedded() || config.num_standby_replicas == 0 {
        return Ok(None);
    }
    let me = process_id.client_id(&config.application_id, worker);
    Standbys::new(log.as_ref(), me).map(Some)
}

fn is_transactional(config: &StreamsConfig) -> bool {
    config.guarantee == ProcessingGuarantee::ExactlyOnceV2
}

fn context(
    graph: &Graph,
    config: &StreamsConfig,
    resolved: &Resolved,
    (log, producer): (&Arc<dyn Log>, Box<dyn Producer>),
) -> Context {
    let mut context = Context::new(
        Arc::clone(log),
        producer,
        is_transactional(config),
        config.handlers.clone(),
        resolved.dead_letters.clone().map(|topic| DeadLetterTopic { topic }),
        Names {
            application_id: config.application_id.as_str().into(),
            nodes: graph.nodes.iter().map(|node| node.name.clone()).collect(),
        },
        EmitTimer {
            clock: Arc::clone(&config.clock),
            interval: config.emit_interval_or_default(),
            replaying: false,
        },
    );
    let max_ahead = config.max_timestamp_ahead;
    context.max_ahead_ms =
        max_ahead.map(|ahead| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX));
    context
}

/// Whether an empty queue has nothing to come that other queues would have to wait for.
fn may_go_on(queue: &mut RecordQueue, consumer: &dyn Consumer, log: &dyn Log) -> Result<bool> {
    if queue.known_drained {
        return Ok(true);
    }
    let fetched = fetched(queue, consumer)?;
    if queue.end.is_some() || !queue.is_polled() {
        return queue.is_exhausted(fetched);
    }
    queue.known_drained = fetched >= end_of(log, &queue.topic_partition)?;
    Ok(queue.known_drained)
}

/// Where the next poll of a queue goes on.
pub(crate) fn fetched(queue: &RecordQueue, consumer: &dyn Consumer) -> Result<Offset> {
    if !queue.is_polled() {
        return Ok(queue.position());
    }
    consumer
        .position(&queue.topic_partition)
        .map_err(Error::log(format!("a look at {}", queue.topic_partition)))
}
