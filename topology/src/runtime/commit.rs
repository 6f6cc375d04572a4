//! What a commit does, and when one is due.
//!
//! Under exactly once the output, the changes of the stores and the input offsets become visible
//! in one transaction. Under at least once output and changelogs are acknowledged before the
//! offsets are committed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use headwater_log_store::Consumer;

use crate::config::ProcessingGuarantee;
use crate::context::Step;
use crate::error::{Error, Result};
use crate::error_handler::Failure;
use crate::runtime::task_set::TaskSet;

/// How long a committed offset stays as it is: well below a cluster's `offsets.retention.minutes`,
/// which is a week unless somebody says otherwise.
const OFFSETS_REFRESH_INTERVAL: Duration = Duration::from_secs(12 * 3_600);

/// What has become of the work since the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitOutcome {
    /// There was none.
    Nothing,
    /// It is committed.
    Committed,
    /// It did not fit its transaction: it is to be done again, in smaller parts.
    TakenBack,
}

impl TaskSet {
    /// Commits what was processed since the last commit.
    ///
    /// # Errors
    /// Stops the application: whether the commit took place is then unknown to it, but not to the
    /// log, where the next start finds out.
    pub(crate) fn commit(&mut self) -> Result<CommitOutcome> {
        let Some(mut group) = self.group.take() else { return self.commit_as(None) };
        let outcome = self.commit_as(Some(group.consumer.as_mut()));
        self.group = Some(group);
        outcome
    }

    /// As [`commit`](Self::commit), as that member of the application's group.
    pub(crate) fn commit_as(&mut self, member: Option<&mut dyn Consumer>) -> Result<CommitOutcome> {
        let refresh = member.is_some() && self.is_refresh_due();
        if !self.context.transaction_open && !self.is_changed() && !refresh {
            self.context.commit_requested = false;
            self.last_commit = self.clock.monotonic();
            return Ok(CommitOutcome::Nothing);
        }
        if !self.flush_caches()? {
            return Ok(CommitOutcome::TakenBack);
        }
        if let Err(failure) = self.write_commit(member, refresh) {
            self.recover_from_failure(*failure)?;
            return Ok(CommitOutcome::TakenBack);
        }
        self.write_to_disk()?;
        for task in &mut self.tasks {
            task.commit();
        }
        let tasks = &self.tasks;
        self.poison.retain(|position| {
            let mut queues = tasks.iter().flat_map(|task| &task.queues);
            queues.any(|queue| {
                queue.topic_partition == position.topic_partition
                    && queue.position() <= position.offset
            })
        });
        self.context.metrics.commits += 1;
        self.context.retries.clear();
        self.context.commit_requested = false;
        self.records_since_commit = 0;
        self.records_per_commit_max = self.records_per_commit_max.saturating_mul(2);
        self.last_commit = self.clock.monotonic();
        if refresh {
            self.last_refresh = self.last_commit;
        }
        self.purge_repartition_topics();
        Ok(CommitOutcome::Committed)
    }

    /// Sends what the record caches hold back; `false` if that has failed, and the work was taken
    /// back.
    fn flush_caches(&mut self) -> Result<bool> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.tasks.iter().try_for_each(|task| {
                task.enter(&mut self.context);
                task.flush_caches(&mut self.context)
            })
        }));
        match outcome {
            Ok(Ok(())) => Ok(true),
            Ok(Err(failure)) => self.recover_from_failure(*failure).map(|()| false),
            Err(payload) => self.recover_from_panic(payload.as_ref()).map(|()| false),
        }
    }

    fn write_commit(&mut self, member: Option<&mut dyn Consumer>, refresh: bool) -> Step {
        let dirty: usize = self.tasks.iter().map(|task| task.dirty_len()).sum();
        let before = self.context.producer.transaction_bytes().used;
        self.check_disk()?;
        for task in &self.tasks {
            self.context.current.task = task.id;
            task.log_changes(&mut self.context)?;
        }
        let logged = self.context.producer.transaction_bytes().used.saturating_sub(before);
        if let Some(bytes) = logged.checked_div(dirty) {
            self.change_bytes = bytes.max(1);
        }
        let queues = self.tasks.iter().flat_map(|task| &task.queues);
        let offsets: Vec<_> = match refresh {
            true => queues.map(|queue| queue.to_commit_again()).collect(),
            false => queues.filter_map(|queue| queue.to_commit()).collect(),
        };
        let member = member.unwrap_or(self.consumer.as_mut());
        let fatal = |error: Error| Box::new(Failure::Fatal(error));
        match self.config.guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => {
                self.context.begin_transaction()?;
                let producer = &mut self.context.producer;
                let group =
                    member.group_metadata().map_err(Error::log("a commit")).map_err(fatal)?;
                producer
                    .send_offsets_to_transaction(&offsets, &group)
                    .map_err(Error::log("a commit of offsets"))
                    .map_err(fatal)?;
                // Open or not, it is not to be aborted once its commit was tried.
                self.context.transaction_open = false;
                producer.commit_transaction().map_err(Error::log("a commit")).map_err(fatal)?;
            }
            ProcessingGuarantee::AtLeastOnce => {
                let producer = &mut self.context.producer;
                producer.flush().map_err(Error::log("a flush")).map_err(fatal)?;
                member
                    .commit(&offsets)
                    .map_err(Error::log("a commit of offsets"))
                    .map_err(fatal)?;
            }
        }
        Ok(())
    }

    /// Whether the transaction is so full that it should be committed before more is added.
    pub(crate) fn is_commit_full(&self) -> bool {
        if self.records_since_commit >= self.records_per_commit_max {
            return true;
        }
        if !self.context.transactional {
            return false;
        }
        let dirty: usize = self.tasks.iter().map(|task| task.dirty_len()).sum();
        let bytes = self.context.producer.transaction_bytes();
        let foreseen = bytes.used.saturating_add(dirty.saturating_mul(self.change_bytes));
        foreseen > bytes.max / 2
    }

    /// Whether offsets are to be committed that have not changed. The group subscribes to no input
    /// topic, so a cluster would forget them `offsets.retention.minutes` after their commit.
    fn is_refresh_due(&self) -> bool {
        self.clock.monotonic().saturating_sub(self.last_refresh) >= OFFSETS_REFRESH_INTERVAL
    }

    /// Whether the commit interval has passed, or a processor has asked for a commit.
    pub(crate) fn is_commit_due(&self) -> bool {
        if self.context.commit_requested {
            return true;
        }
        let since = self.clock.monotonic().saturating_sub(self.last_commit);
        since >= self.config.commit_interval_or_default()
    }

    /// How long until the commit interval has passed.
    pub(crate) fn time_to_commit(&self) -> Duration {
        let since = self.clock.monotonic().saturating_sub(self.last_commit);
        self.config.commit_interval_or_default().saturating_sub(since)
    }

    /// Deletes the records of repartition topics that were processed, from time to time. It only
    /// saves space, so a failure is no more than a warning.
    fn purge_repartition_topics(&mut self) {
        let now = self.clock.monotonic();
        let since = now.saturating_sub(self.last_purge);
        if self.is_replaying() || since < self.config.repartition_purge_interval {
            return;
        }
        self.last_purge = now;
        for queue in self.tasks.iter().flat_map(|task| &task.queues) {
            if queue.internal
                && let Err(error) =
                    self.log.delete_records(&queue.topic_partition, queue.committed.offset)
            {
                tracing::warn!(%error, "repartition records were not deleted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use headwater_log_store::{
        Log, LogStore, ManualClock, NewTopic, ProducerConfig, ProducerRecord, Timestamp,
    };

    use super::{CommitOutcome, OFFSETS_REFRESH_INTERVAL};
    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::runtime::group::{TaskGroup, missing_tasks_topic};
    use crate::runtime::task_set::TaskSet;

    /// The brokers forget offsets of a topic that nobody of the group subscribes to some time after
    /// their commit, however alive the group is.
    #[test]
    fn offsets_that_stay_as_they_are_are_committed_again_after_half_a_day() {
        let store = LogStore::in_memory().unwrap();
        let log: Arc<dyn Log> = Arc::new(store);
        log.create_topic(&NewTopic::new("in")).unwrap();
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        let record =
            ProducerRecord { key: Some(b"k"), value: Some(b"v"), ..ProducerRecord::to("in") };
        let _ = producer.send(&record).unwrap();
        producer.flush().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = StreamsConfig::new("app").clock(Arc::clone(&clock) as _);
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").group_by_key().count("counts");
        let graph = builder.build().unwrap().graph;
        let mut tasks = TaskSet::open_all(&graph, config.clone(), &log).unwrap();
        let missing = missing_tasks_topic(log.as_ref(), &config, 1).unwrap();
        log.create_topic(&missing.unwrap()).unwrap();
        let ids = tasks.application.tasks.clone();
        let mut member = TaskGroup::join(log.as_ref(), &config, &ids, "app-1".to_owned()).unwrap();
        member.poll(Duration::ZERO, &mut |_, _| Ok(())).unwrap();
        let mut commit =
            |tasks: &mut TaskSet| tasks.commit_as(Some(member.consumer.as_mut())).unwrap();

        assert_eq!(tasks.poll(Duration::ZERO).unwrap(), 1);
        assert_eq!(tasks.process(10).unwrap(), 1);
        assert_eq!(commit(&mut tasks), CommitOutcome::Committed);
        let committed = log.group_offsets("app").unwrap();
        assert_eq!(committed.len(), 1);
        let second = Duration::from_secs(1);
        for _ in 0..2 {
            clock.advance(OFFSETS_REFRESH_INTERVAL - second);
            assert_eq!(commit(&mut tasks), CommitOutcome::Nothing);
            clock.advance(second);
            assert_eq!(commit(&mut tasks), CommitOutcome::Committed);
            assert_eq!(log.group_offsets("app").unwrap(), committed);
        }
        assert_eq!(commit(&mut tasks), CommitOutcome::Nothing);
    }
}
