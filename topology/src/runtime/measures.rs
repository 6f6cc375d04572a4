//! What a worker measures of itself: by slices and commits, never by records.

use std::time::Duration;

use crate::error::Result;
use crate::metrics::Latency;
use crate::runtime::commit::CommitOutcome;
use crate::runtime::ends::end_of;
use crate::runtime::record_queue::RecordQueue;
use crate::runtime::task_set::TaskSet;

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
}
