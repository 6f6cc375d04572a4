//! The calls of a consumer on a cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Consumer, ConsumerWaker, Error, GroupMetadata, Offset, OffsetAndMetadata, Rebalance,
    RebalanceCallback, RebalanceListener, RecordBatch, Result, Timestamp, TopicName,
    TopicPartition,
};
use rdkafka::consumer::{CommitMode, Consumer as _};

use crate::kafka::convert::commit_list;
use crate::kafka::failure::{self, Next};
use crate::kafka::groups;
use crate::kafka::partition::Assigned;
use crate::kafka::reading::{KafkaConsumer, Start, Subscription};

impl KafkaConsumer {
    fn group(&self, operation: &'static str) -> Result<&str> {
        self.config.group.as_deref().ok_or_else(|| Error::InvalidState {
            operation,
            reason: "the consumer has no group.id".to_owned(),
        })
    }

    fn check_not_in_listener(&self, operation: &'static str) -> Result<()> {
        match &self.subscription {
            Some(Subscription { listener: None, .. }) => Err(Error::InvalidState {
                operation,
                reason: "a rebalance listener is being called".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn poll_for(
        &mut self,
        timeout: Duration,
        mut told: Option<&mut RebalanceCallback<'_>>,
    ) -> Result<Vec<RecordBatch>> {
        self.check_not_in_listener("poll")?;
        let deadline = self.cluster.now().saturating_add(timeout);
        loop {
            self.serve(&mut told)?;
            self.restart()?;
            let batches = self.collect()?;
            let mut assigned = self.assigned.iter_mut();
            // As with Kafka's own consumer: who waits for a position need not wait for a record.
            let has_moved = assigned.any(|each| std::mem::take(&mut each.has_passed_marks));
            if self.bell.take_wake() || !batches.is_empty() || has_moved {
                return Ok(batches);
            }
            for assigned in &mut self.assigned {
                assigned.confirm_end(&self.cluster)?;
            }
            self.restart()?;
            let left = deadline.saturating_sub(self.cluster.now());
            if left.is_zero() {
                return Ok(batches);
            }
            self.bell.wait(left);
        }
    }
}

impl Consumer for KafkaConsumer {
    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<()> {
        let operation = "subscribe";
        self.check_not_in_listener(operation)?;
        self.group(operation)?;
        let names = topics.iter().map(|name| Ok(TopicName::new(name)?));
        let topics = names.collect::<Result<BTreeSet<_>>>()?;
        if topics.is_empty() {
            return self.unsubscribe();
        }
        if self.subscription.is_none() && !self.assigned.is_empty() {
            let reason = "partitions are assigned: unsubscribe first".to_owned();
            return Err(Error::InvalidState { operation, reason });
        }
        let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
        self.client.0.subscribe(&names).map_err(|error| failure::external(operation, &error))?;
        self.subscription = Some(Subscription { topics, listener: Some(listener) });
        Ok(())
    }

    fn subscription(&self) -> Vec<TopicName> {
        self.subscription.iter().flat_map(|s| s.topics.iter().cloned()).collect()
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.check_not_in_listener("unsubscribe")?;
        let partitions = self.assignment();
        if self.subscription.is_none() {
            self.assigned.clear();
            let done = self.client.0.unassign();
            return done.map_err(|error| failure::external("unsubscribe", &error));
        }
        let told = match self.client.0.assignment_lost() {
            true => self.tell(Rebalance::Lost(&partitions), &mut None),
            false => self.tell(Rebalance::Revoked(&partitions), &mut None),
        };
        self.assigned.clear();
        self.leave();
        self.subscription = None;
        told
    }

    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        if self.subscription.is_some() {
            let reason = "the consumer has subscribed: unsubscribe first".to_owned();
            return Err(Error::InvalidState { operation: "assign", reason });
        }
        let has = |partition: &TopicPartition| self.find(partition, "assign").is_ok();
        let mut new: Vec<_> = partitions.iter().filter(|each| !has(each)).cloned().collect();
        new.sort();
        new.dedup();
        // First all that can fail, then the change.
        self.cluster.check_all_exist(&new)?;
        self.learn(&new)?;
        let starts = if new.is_empty() { Vec::new() } else { self.starts(&new)? };
        let starts = starts.into_iter().collect::<Result<Vec<_>>>()?;
        let stays = |assigned: &Assigned| partitions.contains(&assigned.topic_partition);
        let gone = self.native_list(|assigned| !stays(assigned) && assigned.begun)?;
        let failed = |error| failure::external("assign", &error);
        if gone.count() > 0 {
            self.client.0.incremental_unassign(&gone).map_err(failed)?;
        }
        self.assigned.retain(stays);
        for (partition, Start { offset, end }) in new.iter().zip(starts) {
            let bell = &self.bell;
            let mut assigned =
                Assigned::new(&self.client.0, partition.clone(), Some(offset), bell)?;
            // A seek may come before the poll that begins. The end is known before that, so all up to
            // it is read when the first fetch comes to an end.
            (assigned.restart, assigned.confirming) = (true, end);
            self.assigned.push(assigned);
        }
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.assigned.iter().map(|assigned| assigned.topic_partition.clone()).collect()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>> {
        self.poll_for(timeout, None)
    }

    fn poll_with(
        &mut self,
        timeout: Duration,
        told: &mut RebalanceCallback<'_>,
    ) -> Result<Vec<RecordBatch>> {
        self.poll_for(timeout, Some(told))
    }

    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        let assigned = self.find(topic_partition, "position")?;
        match assigned.position {
            Some(position) => {
                assigned.asked.set(assigned.at_end);
                Ok(position)
            }
            None => {
                let starts = self.starts(std::slice::from_ref(topic_partition))?;
                let start = starts.into_iter().next().transpose()?;
                Ok(start.map_or(Offset::ZERO, |start| start.offset))
            }
        }
    }

    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.find_mut(topic_partition, "seek")?.seek(offset);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|partition| {
            self.find_mut(partition, "pause")?.paused = true;
            Ok(())
        })
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|partition| {
            self.find_mut(partition, "resume")?.paused = false;
            Ok(())
        })
    }

    fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        let start = |partition| Ok(self.cluster.watermarks(partition)?.start);
        partitions.iter().map(start).collect()
    }

    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        let end = |partition| Ok(self.cluster.stable_watermarks(partition)?.end);
        partitions.iter().map(end).collect()
    }

    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.cluster.offsets_for_times(times)
    }

    fn lag(&self, topic_partition: &TopicPartition) -> Result<Option<u64>> {
        self.find(topic_partition, "lag")?.lag(&self.cluster)
    }

    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        let group = self.group("committed")?;
        let mut found =
            groups::committed(&self.cluster, group, std::slice::from_ref(topic_partition))?;
        Ok(found.remove(topic_partition))
    }

    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        let group = self.group("commit")?.to_owned();
        if self.subscription.is_none() {
            return groups::commit_from_outside(&self.cluster, &group, offsets);
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let unknown =
            || Error::UnknownMember { group: group.clone(), member_id: self.member_id.clone() };
        if self.generation == 0 || self.client.0.assignment_lost() {
            return Err(unknown());
        }
        let native = commit_list(offsets)?;
        let committed = self.client.0.commit(&native, CommitMode::Sync);
        committed.map_err(|error| match failure::code(&error) {
            Some(code) if failure::next(code) == Next::Fence => unknown(),
            _ => failure::external("commit", &error),
        })
    }

    fn group_metadata(&self) -> Result<GroupMetadata> {
        let group = self.group("group_metadata")?.to_owned();
        Ok(match &self.subscription {
            Some(_) if self.generation > 0 => GroupMetadata {
                group,
                generation: self.generation,
                member_id: self.member_id.clone(),
            },
            _ => GroupMetadata::outside(group),
        })
    }

    fn waker(&self) -> ConsumerWaker {
        let bell = self.bell.clone();
        ConsumerWaker::new(Arc::new(move || bell.wake()))
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.cluster.members.leave(&self.member_id);
        // librdkafka's own drop leaves the group, which asks once more.
        self.client.0.context().set_unattended(true);
    }
}
