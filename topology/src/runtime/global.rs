//! Global tables: whole topics in memory, read completely before the first record is processed and
//! kept current between polls.
//!
//! Nothing of them is part of a transaction: the topic itself is their changelog, and what was
//! read from it stays. During a replay they stand still at the ends that the reset has noted, so
//! that two replays find the same rows.

use std::collections::HashMap;
use std::time::Duration;

use headwater_log_store::{Consumer, Log, OffsetAndMetadata, TopicPartition};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::processor::StoreHandle;
use crate::runtime::ends::end_of;
use crate::runtime::poison::Poison;
use crate::runtime::reader::reader;
use crate::runtime::record_queue::{Head, RecordQueue};
use crate::runtime::restoring::Restores;
use crate::runtime::task::TaskStore;

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct GlobalTables {
    /// The stores as the nodes of tasks find them.
    pub(crate) handles: HashMap<String, StoreHandle>,
    pub(crate) stores: Vec<TaskStore>,
    queues: Vec<RecordQueue>,
    /// `None` without global tables.
    consumer: Option<Box<dyn Consumer>>,
}

impl GlobalTables {
    /// Tables of these stores, still empty, from these queues.
    pub(crate) fn new(
        handles: HashMap<String, StoreHandle>,
        stores: Vec<TaskStore>,
        mut queues: Vec<RecordQueue>,
        log: &dyn Log,
    ) -> Result<Self> {
        if queues.is_empty() {
            return Ok(Self { handles, stores, queues, consumer: None });
        }
        let reading = || "a read of global tables";
        let mut consumer = reader(log).map_err(Error::log(reading()))?;
        let partitions: Vec<TopicPartition> =
            queues.iter().map(|queue| queue.topic_partition.clone()).collect();
        consumer.assign(&partitions).map_err(Error::log(reading()))?;
        for queue in &mut queues {
            // What was committed is the note of a reset; the rows are all of the topic's.
            let start =
                log.watermarks(&queue.topic_partition).map_err(Error::log(reading()))?.start;
            queue.committed.offset = start;
            queue.rewind();
            consumer.seek(&queue.topic_partition, start).map_err(Error::log(reading()))?;
        }
        Ok(Self { handles, stores, queues, consumer: Some(consumer) })
    }

    /// Reads the topics up to the ends that they have now, or that a reset has noted, unless the
    /// application closes before.
    pub(crate) fn bootstrap(
        &mut self,
        context: &mut Context,
        log: &dyn Log,
        restores: &Restores,
    ) -> Result<()> {
        for queue in &mut self.queues {
            let noted = queue.committed.metadata.replay_end;
            queue.end = Some(match noted {
                Some(end) => end,
                None => end_of(log, &queue.topic_partition)?,
            });
        }
        while !self.is_at_end()? {
            // Also where nothing comes: a cluster may be out of reach.
            restores.check()?;
            self.read(context, POLL)?;
        }
        Ok(())
    }

    /// Takes in what has come since. Returns how many records that were.
    pub(crate) fn update(&mut self, context: &mut Context) -> Result<usize> {
        for queue in &mut self.queues {
            queue.end = None;
        }
        self.read(context, Duration::ZERO)
    }

    /// How many records lie ahead.
    pub(crate) fn lag(&self, log: &dyn Log) -> Result<u64> {
        let mut lag = 0;
        for queue in &self.queues {
            let end = match queue.end {
                Some(end) => end,
                None => end_of(log, &queue.topic_partition)?,
            };
            let position = match &self.consumer {
                // A gap at the end of a compacted topic has no records to wait for.
                Some(consumer) if queue.buffered() == 0 => consumer
                    .position(&queue.topic_partition)
                    .map_err(Error::log(format!("a look at {}", queue.topic_partition)))?,
                _ => queue.position(),
            };
            lag += if position < end { end - position } else { 0 };
        }
        Ok(lag)
    }

    /// What the end of a replay has to note, so that the next start reads on.
    pub(crate) fn leave_replay(&mut self) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        let noted =
            self.queues.iter_mut().filter(|queue| queue.committed.metadata.replay_end.is_some());
        noted
            .map(|queue| {
                queue.committed.metadata.replay_end = None;
                let offset = queue.position();
                let note = OffsetAndMetadata { offset, metadata: String::new() };
                (queue.topic_partition.clone(), note)
            })
            .collect()
    }

    fn is_at_end(&mut self) -> Result<bool> {
        let Some(consumer) = &self.consumer else { return Ok(true) };
        for queue in &mut self.queues {
            let fetched = consumer
                .position(&queue.topic_partition)
                .map_err(Error::log(format!("a look at {}", queue.topic_partition)))?;
            if !queue.is_exhausted(fetched)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(&mut self, context: &mut Context, timeout: Duration) -> Result<usize> {
        let Some(consumer) = &mut self.consumer else { return Ok(0) };
        let polled = consumer.poll(timeout).map_err(Error::log("a read of global tables"))?;
        for batch in polled {
            let queue = self.queues.iter_mut();
            if let Some(queue) =
                { queue }.find(|queue| queue.topic_partition == *batch.topic_partition())
            {
                queue.push(batch);
            }
        }
        // No answer of a handler can take back what is part of no transaction.
        let handlers = context.handlers.clone();
        context.handlers = handlers.for_global_tables();
        let processed = self.process(context);
        context.handlers = handlers;
        for store in &self.stores {
            store.store.borrow_mut().commit();
        }
        processed
    }

    fn process(&mut self, context: &mut Context) -> Result<usize> {
        let poison = Poison::default();
        let mut processed = 0;
        for queue in &mut self.queues {
            loop {
                let step = queue.load_head(context, &poison).and_then(|head| match head {
                    Head::Ready(_) => queue.process_head(context).map(|()| true),
                    Head::Dropped => Ok(true),
                    Head::None => Ok(false),
                });
                match step {
                    Ok(true) => processed += 1,
                    Ok(false) => break,
                    Err(failure) => return Err(failure.into_error()),
                }
            }
        }
        Ok(processed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use headwater_log_store::{
        Error as LogError, Log, LogStore, NewTopic, ProducerConfig, ProducerRecord,
    };

    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::runtime::application::Application;
    use crate::runtime::restoring::is_interruption;
    use crate::runtime::task_set::TaskSet;
    use crate::simulation::cluster::Cluster;

    #[test]
    fn a_close_ends_the_first_read_of_a_global_table() {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        log.create_topic(&NewTopic::new("table")).unwrap();
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        let record = ProducerRecord { key: Some(b"k"), ..ProducerRecord::to("table") };
        let _ = producer.send(&ProducerRecord { value: Some(b"v"), ..record }).unwrap();
        producer.flush().unwrap();
        let builder = StreamsBuilder::new();
        builder.global_table::<String, String>("table");
        let graph = builder.build().unwrap().graph;
        let application = Application::open(&graph, StreamsConfig::new("app"), &log).unwrap();
        application.restores.interrupt();
        let opened = TaskSet::open(&Arc::new(application), 1).map(|_| ());
        assert!(is_interruption(&opened.unwrap_err()));
    }

    /// A member that does not poll for `max.poll.interval.ms` is taken out of its group: where a
    /// global table takes longer to read, the worker would begin anew for ever.
    #[test]
    fn a_worker_joins_its_group_when_its_global_tables_are_read() {
        let store: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        for topic in ["in", "table"] {
            store.create_topic(&NewTopic::new(topic)).unwrap();
        }
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let cut_off = Arc::clone(&is_cut_off);
        let cluster = Arc::new(Cluster::answering(store, move |ends| {
            let reason = "nobody answers".to_owned();
            let failed = LogError::External { operation: "watermarks", reason, retriable: true };
            if cut_off.load(Ordering::Relaxed) { Err(failed) } else { Ok(ends) }
        }));
        let builder = StreamsBuilder::new();
        builder.global_table::<String, String>("table");
        builder.stream::<String, String>("in").group_by_key().count("counts");
        let graph = builder.build().unwrap().graph;
        let log = Arc::clone(&cluster) as Arc<dyn Log>;
        let application = Application::open(&graph, StreamsConfig::new("app"), &log).unwrap();
        let application = Arc::new(application);
        is_cut_off.store(true, Ordering::Relaxed);
        assert!(TaskSet::open(&application, 1).is_err(), "the table's end is not known");
        assert_eq!(cluster.members.load(Ordering::Relaxed), 0);
        is_cut_off.store(false, Ordering::Relaxed);
        assert!(TaskSet::open(&application, 1).is_ok());
        assert_eq!(cluster.members.load(Ordering::Relaxed), 1);
    }
}
