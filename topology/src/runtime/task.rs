//! A task: one sub-topology on one partition number.
//!
//! Nothing in it is shared or locked: it belongs to one worker from its making to its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::{Header, PartitionId, ProducerRecord, Timestamp};

use crate::context::{Context, Step};
use crate::error::{Error, Result};
use crate::error_handler::Failure;
use crate::processor::{Flush, TaskParts};
use crate::punctuation::PunctuationType;
use crate::runtime::poison::Poison;
use crate::runtime::processors::TaskProcessors;
use crate::runtime::record_queue::{Head, RecordQueue};
use crate::store::managed::ManagedStore;
use crate::types::TaskId;

/// A store of a task, with its changelog if it has one.
pub(crate) struct TaskStore {
    pub(crate) name: String,
    pub(crate) store: Rc<RefCell<dyn ManagedStore>>,
    pub(crate) changelog: Option<Arc<str>>,
}

impl TaskStore {
    fn too_long_for_disk(&self, bytes: usize, bytes_max: usize) -> Box<Failure> {
        let reason = format!("it has {bytes} bytes, and a store on disk takes {bytes_max} at most");
        let error = Error::Serde { what: format!("a key of store {}", self.name), reason };
        Box::new(Failure::RowRefused { store: self.name.clone(), error })
    }
}

/// See the module.
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) queues: Vec<RecordQueue>,
    pub(crate) stores: Vec<TaskStore>,
    /// The latest time of a record that was processed.
    pub(crate) stream_time: Option<Timestamp>,
    /// The application's own processors, if there are any.
    pub(crate) processors: Option<TaskProcessors>,
    /// The nodes that hold updates back, those first that stand above.
    pub(crate) flushes: Vec<Rc<RefCell<dyn Flush>>>,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A record was processed or dropped.
    Processed,
    /// There is nothing to process, or a queue has to be filled first.
    Waiting,
}

impl Task {
    /// A task of these parts, its stores still empty.
    pub(crate) fn new(
        id: TaskId,
        queues: Vec<RecordQueue>,
        stores: Vec<TaskStore>,
        parts: TaskParts,
    ) -> Self {
        let processors = TaskProcessors::new(parts.processors, parts.punctuations);
        // Nodes are created after those above them, whose updates so come first.
        let mut flushes = parts.flushes;
        flushes.sort_by_key(|(node, _)| *node);
        let flushes = flushes.into_iter().map(|(_, flush)| flush).collect();
        let mut task = Self { id, queues, stores, stream_time: None, processors, flushes };
        task.stream_time = task.committed_stream_time();
        task
    }

    fn committed_stream_time(&self) -> Option<Timestamp> {
        self.queues.iter().filter_map(|queue| queue.committed.metadata.partition_time).max()
    }

    /// What the task works on from now on is its own.
    pub(crate) fn enter(&self, context: &mut Context) {
        context.current.task = self.id;
        context.current.stream_time = self.stream_time;
    }

    /// Processes up to `records_max` records, which `processed` counts, until there is none, or a
    /// commit is asked for. `may_go_on` is as for [`step`](Self::step).
    pub(crate) fn run(
        &mut self,
        records_max: u64,
        processed: &Cell<u64>,
        context: &mut Context,
        poison: &Poison,
        mut may_go_on: impl FnMut(&mut RecordQueue) -> Result<bool>,
    ) -> Step<Progress> {
        self.enter(context);
        for _ in 0..records_max {
            if self.step(context, poison, &mut may_go_on)? == Progress::Waiting {
                return Ok(Progress::Waiting);
            }
            processed.set(processed.get() + 1);
            if context.commit_requested {
                break;
            }
        }
        Ok(Progress::Processed)
    }

    /// Processes the record with the lowest timestamp among the heads of the queues; of equals,
    /// that of the first queue. `may_go_on` says whether an empty queue has no records to come
    /// that could be earlier.
    #[inline]
    fn step(
        &mut self,
        context: &mut Context,
        poison: &Poison,
        mut may_go_on: impl FnMut(&mut RecordQueue) -> Result<bool>,
    ) -> Step<Progress> {
        self.prepare(context)?;
        if let [queue] = &mut self.queues[..] {
            let head = queue.process_next(context, poison)?;
            self.stream_time = context.current.stream_time;
            return match head {
                Head::Ready(_) => self.punctuate_stream_time(context, poison),
                Head::Dropped => Ok(Progress::Processed),
                Head::None => Ok(Progress::Waiting),
            };
        }
        let mut best = None;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            match queue.load_head(context, poison)? {
                Head::Ready(timestamp) if best.is_none_or(|(least, _)| timestamp < least) => {
                    best = Some((timestamp, index));
                }
                Head::Ready(_) | Head::None => {}
                Head::Dropped => return Ok(Progress::Processed),
            }
        }
        let Some((timestamp, best)) = best else { return Ok(Progress::Waiting) };
        for queue in self.queues.iter_mut().filter(|queue| !queue.has_head()) {
            if !may_go_on(queue).map_err(|error| Box::new(Failure::Fatal(error)))? {
                return Ok(Progress::Waiting);
            }
        }
        self.process(best, timestamp, context, poison)
    }

    /// Processes the head of a queue, and then the punctuators that it has made due.
    #[inline]
    fn process(
        &mut self,
        queue: usize,
        timestamp: Timestamp,
        context: &mut Context,
        poison: &Poison,
    ) -> Step<Progress> {
        let Some(queue) = self.queues.get_mut(queue) else { return Ok(Progress::Waiting) };
        self.stream_time = self.stream_time.max(Some(timestamp));
        context.current.stream_time = self.stream_time;
        queue.process_head(context)?;
        self.punctuate_stream_time(context, poison)
    }

    #[inline]
    fn punctuate_stream_time(&mut self, context: &mut Context, poison: &Poison) -> Step<Progress> {
        if self.processors.is_some() {
            self.punctuate(PunctuationType::StreamTime, self.stream_time, context, poison)?;
        }
        Ok(Progress::Processed)
    }

    /// Calls `init` of the processors that an abort, or the start, has left without.
    #[inline]
    pub(crate) fn prepare(&mut self, context: &mut Context) -> Step {
        let Some(processors) = &mut self.processors else { return Ok(()) };
        let sent = context.metrics.records_out;
        if processors.prepare(context)? {
            self.note_changes(sent, context);
        }
        Ok(())
    }

    /// Calls the punctuators that are due. Returns whether there were any.
    pub(crate) fn punctuate(
        &mut self,
        kind: PunctuationType,
        time: Option<Timestamp>,
        context: &mut Context,
        poison: &Poison,
    ) -> Step<bool> {
        let (Some(processors), Some(time)) = (&self.processors, time) else {
            return Ok(false);
        };
        let sent = context.metrics.records_out;
        let called = processors.punctuate(kind, time, context, poison)?;
        if called {
            self.note_changes(sent, context);
        }
        Ok(called)
    }

    /// Processors were called without a record: what they did is to be committed all the same.
    fn note_changes(&mut self, sent_before: u64, context: &Context) {
        let is_dirty = |store: &TaskStore| store.store.borrow().dirty_len() > 0;
        let changed = context.metrics.records_out > sent_before || self.stores.iter().any(is_dirty);
        if let Some(processors) = &mut self.processors {
            processors.changed |= changed;
        }
    }

    /// When the wall clock makes the next punctuator due; at once if that is to be found out yet.
    pub(crate) fn next_punctuation_ms(&self) -> Option<i64> {
        self.processors.as_ref()?.next_ms()
    }

    /// Whether something was processed since the last commit.
    pub(crate) fn is_changed(&self) -> bool {
        self.queues.iter().any(RecordQueue::is_changed)
            || self.processors.as_ref().is_some_and(|processors| processors.changed)
    }

    /// How many keys of logged stores were changed since the last commit.
    pub(crate) fn dirty_len(&self) -> usize {
        let logged = self.stores.iter().filter(|store| store.changelog.is_some());
        logged.map(|store| store.store.borrow().dirty_len()).sum()
    }

    /// Sends what the record caches hold back. What is sent may be held back further down.
    pub(crate) fn flush_caches(&self, context: &mut Context) -> Step {
        let mut any = !self.flushes.is_empty();
        while std::mem::take(&mut any) {
            for flush in &self.flushes {
                any |= flush.borrow_mut().flush(context)?;
            }
        }
        Ok(())
    }

    /// Writes the changes of the stores to their changelogs.
    pub(crate) fn log_changes(&self, context: &mut Context) -> Step {
        for store in &self.stores {
            let Some(changelog) = &store.changelog else { continue };
            let mut failure = None;
            // What the disk does not take must not be in the log: no start could restore it.
            let disk = store.store.borrow_mut().backed().map(|rows| rows.key_bytes_max());
            let key_bytes_max = disk.unwrap_or(usize::MAX);
            let logged = store.store.borrow().log_changes(&mut |change| {
                if failure.is_some() {
                    return Ok(());
                }
                if change.key.len() > key_bytes_max {
                    failure = Some(store.too_long_for_disk(change.key.len(), key_bytes_max));
                    return Ok(());
                }
                let headers: Vec<Header<'_>> =
                    change.headers.iter().flat_map(|headers| headers.iter()).collect();
                let sent = context.try_send(&ProducerRecord {
                    topic: changelog,
                    partition: Some(PartitionId::new(self.id.partition)),
                    key: Some(change.key),
                    value: change.value,
                    timestamp: change.timestamp,
                    headers: &headers,
                });
                let refused = |reason| {
                    let error = Error::log(format!("a send to {changelog}"))(reason);
                    Box::new(Failure::RowRefused { store: store.name.clone(), error })
                };
                failure = sent.and_then(|sent| sent.map_err(refused)).err();
                Ok(())
            });
            logged?;
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Forgets what the stores have kept of their operators' stream times.
    pub(crate) fn forget_stream_times(&self) {
        for store in &self.stores {
            store.store.borrow_mut().forget_stream_times();
        }
    }

    /// The commit took place.
    pub(crate) fn commit(&mut self) {
        for store in &self.stores {
            store.store.borrow_mut().commit();
        }
        for queue in &mut self.queues {
            queue.commit();
        }
        if let Some(processors) = &mut self.processors {
            processors.commit();
        }
    }

    /// Puts stores and queues back to the last commit.
    pub(crate) fn abort(&mut self) {
        for store in &self.stores {
            store.store.borrow_mut().abort();
        }
        for queue in &mut self.queues {
            queue.rewind();
        }
        self.stream_time = self.committed_stream_time();
        if let Some(processors) = &mut self.processors {
            processors.abort();
        }
    }
}
