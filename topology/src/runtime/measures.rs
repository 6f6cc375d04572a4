//! What a worker measures of itself: by slices and commits, never by records.

use std::time::Duration;

use headwater_log_store::{Offset, Watermarks};

use crate::error::{Error, Result};
use crate::metrics::{Latency, StoreSize};
use crate::runtime::commit::CommitOutcome;
use crate::runtime::ends::{end_of, watermarks};
use crate::runtime::record_queue::RecordQueue;
use crate::runtime::task::TaskStore;
use crate::runtime::task_set::{TaskSet, fetched};
use crate::types::TaskId;

impl TaskSet {
    /// As [`process`](Self::process), measured if there was something to do.
    pub(crate) fn process_measured(&mut self, records_max: u64) -> Result<u64> {
        let before = self.clock.monotonic();
        let processed = self.process(records_max)?;
        if processed > 0 {
            self.measure(before, |tasks| &mut tasks.context.metrics.process_latency);
        }
        Ok(processed)
    }

    /// As [`commit`](Self::commit), measured if it took place.
    pub(crate) fn commit_measured(&mut self) -> Result<CommitOutcome> {
        let before = self.clock.monotonic();
        let outcome = self.commit()?;
        if outcome == CommitOutcome::Committed {
            self.measure(before, |tasks| &mut tasks.context.metrics.commit_latency);
        }
        Ok(outcome)
    }

    fn measure(&mut self, before: Duration, latency: impl FnOnce(&mut Self) -> &mut Latency) {
        let took = self.clock.monotonic().saturating_sub(before);
        latency(self).record(took);
    }

    /// How large the stores of the worker's tasks are, and of its global tables.
    pub(crate) fn store_sizes(&self) -> Vec<StoreSize> {
        let of = |task: Option<TaskId>, store: &TaskStore| {
            let mut managed = store.store.borrow_mut();
            let rows = managed.backed().map(|rows| (rows.len(), rows.disk_bytes()));
            let (rows, disk_bytes) = match rows {
                Some((rows, bytes)) => (rows, Some(bytes)),
                None => (managed.resident_rows(), None),
            };
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            StoreSize { store: store.name.clone(), task, rows, disk_bytes }
        };
        let tasks = self.tasks.iter();
        let own =
            tasks.flat_map(|task| task.stores.iter().map(move |store| (Some(task.id), store)));
        let globals = self.globals.stores.iter().map(|store| (None, store));
        own.chain(globals).map(|(task, store)| of(task, store)).collect()
    }

    /// How far event time lies behind the wall clock where that is most, of the partitions with
    /// records ahead. What has not been fetched from a cluster yet is not asked for.
    pub(crate) fn time_lag(&self) -> Duration {
        let now_ms = self.clock.now().as_millis();
        let is_ahead = |queue: &&RecordQueue| {
            queue.buffered() > 0
                || self.log.is_embedded()
                    && end_of(self.log.as_ref(), &queue.topic_partition)
                        .is_ok_and(|end| end > queue.position())
        };
        let queues = self.tasks.iter().flat_map(|task| &task.queues).filter(is_ahead);
        let times = queues.filter_map(RecordQueue::partition_time);
        let lag_ms = times.map(|time| now_ms.saturating_sub(time.as_millis())).max();
        Duration::from_millis(lag_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default())
    }

    /// How many records lie ahead of the worker, in input and repartition topics: to the
    /// ends of the partitions, or of the replay that runs.
    pub(crate) fn lag(&self) -> Result<u64> {
        let mut lag = self.globals.lag(self.log.as_ref())?;
        for queue in self.tasks.iter().flat_map(|task| &task.queues) {
            let Watermarks { start, end } = watermarks(self.log.as_ref(), &queue.topic_partition)?;
            let replay_end = queue.committed.metadata.replay_end;
            let end = replay_end.filter(|_| self.is_replaying()).unwrap_or(end);
            // What was deleted before it was read does not lie ahead any more.
            let from = self.reached(queue)?.max(start);
            lag += end.value().saturating_sub(from.value());
        }
        Ok(lag)
    }

    /// Where a queue goes on. Between its last record and there may lie marks of transactions.
    fn reached(&self, queue: &RecordQueue) -> Result<Offset> {
        match !self.log.is_embedded() && queue.buffered() == 0 {
            true => Ok(queue.position().max(fetched(queue, self.consumer.as_ref())?)),
            false => Ok(queue.position()),
        }
    }

    /// As [`lag`](Self::lag), without a question to a cluster: as far as the last fetches know.
    pub(crate) fn known_lag(&self) -> Result<u64> {
        if self.log.is_embedded() {
            return self.lag();
        }
        let mut lag = 0;
        for queue in self.tasks.iter().flat_map(|task| &task.queues) {
            let ahead = self
                .consumer
                .lag(&queue.topic_partition)
                .map_err(Error::log(format!("a look at {}", queue.topic_partition)))?;
            lag += ahead.unwrap_or_default() + queue.buffered() as u64;
        }
        Ok(lag)
    }
}
