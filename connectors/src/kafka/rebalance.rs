//! The rebalances of a consumer: librdkafka asks, the listener is told, librdkafka gets its answer.

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{Error, Rebalance, RebalanceCallback, Result, TopicPartition};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;

use crate::kafka::context::Change;
use crate::kafka::convert::{partitions, topic_partition};
use crate::kafka::failure::{self, Next};
use crate::kafka::partition::Assigned;
use crate::kafka::reading::KafkaConsumer;

/// How many of librdkafka's events are served in one go.
const EVENTS_MAX: usize = 16;
/// How long a consumer that leaves waits for librdkafka at a time.
const LEAVE_INTERVAL: Duration = Duration::from_millis(20);

impl KafkaConsumer {
    /// Serves what librdkafka has to say, rebalances included.
    pub(super) fn serve(&mut self, told: &mut Option<&mut RebalanceCallback<'_>>) -> Result<()> {
        let client = Arc::clone(&self.client.0);
        for _ in 0..EVENTS_MAX {
            let event = client.poll(Duration::ZERO);
            while let Some(change) = client.context().next_change() {
                self.rebalance(change, told)?;
            }
            match event {
                None => return Ok(()),
                Some(Err(error)) => self.judge(&error)?,
                Some(Ok(message)) => {
                    // Every partition has a queue of its own, so this one has lost it.
                    let stray = topic_partition(message.topic(), message.partition())?;
                    let mut assigned = self.assigned.iter_mut();
                    if let Some(found) = assigned.find(|each| each.topic_partition == stray) {
                        found.find_queue(&client, &self.bell)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether an error that belongs to no partition is the caller's.
    pub(super) fn judge(&self, error: &KafkaError) -> Result<()> {
        match failure::code(error) {
            // The membership is lost; the rebalance that follows says which partitions are.
            Some(Code::PollExceeded) | None => Ok(()),
            // A topic that is subscribed and not there is taken up when it is.
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(()),
            Some(code) if failure::next(code) == Next::Fail => {
                Err(failure::external("poll", error))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn rebalance(
        &mut self,
        change: Change,
        told: &mut Option<&mut RebalanceCallback<'_>>,
    ) -> Result<()> {
        self.generation += 1;
        self.cluster.members.set_generation(&self.member_id, self.generation);
        match change {
            Change::Assign(native) => {
                let come = partitions(&native)?;
                let told =
                    self.take_up(&come).and_then(|()| self.tell(Rebalance::Assigned(&come), told));
                let come = self.native_list(|assigned| come.contains(&assigned.topic_partition))?;
                self.assigned.iter_mut().for_each(|assigned| assigned.restart = false);
                let done = self.client.0.incremental_assign(&come);
                told?;
                done.map_err(|error| failure::external("poll", &error))
            }
            Change::Revoke(native) => {
                let gone = partitions(&native)?;
                let lost = self.client.0.assignment_lost();
                let told = match lost {
                    true => self.tell(Rebalance::Lost(&gone), told),
                    false => self.tell(Rebalance::Revoked(&gone), told),
                };
                self.assigned.retain(|assigned| !gone.contains(&assigned.topic_partition));
                let done = self.client.0.incremental_unassign(&native);
                told?;
                done.map_err(|error| failure::external("poll", &error))
            }
        }
    }

    pub(super) fn take_up(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.learn(partitions)?;
        let starts = self.starts(partitions)?;
        for (partition, start) in partitions.iter().zip(starts) {
            let start = match start {
                Ok(start) => Some(start.offset),
                // A listener may seek; else the poll that comes to it says so.
                Err(Error::InvalidState { .. }) => None,
                Err(error) => return Err(error),
            };
            let mut assigned = Assigned::new(&self.client.0, partition.clone(), start, &self.bell)?;
            assigned.begun = true;
            self.assigned.push(assigned);
        }
        Ok(())
    }

    pub(super) fn tell(
        &mut self,
        rebalance: Rebalance<'_>,
        told: &mut Option<&mut RebalanceCallback<'_>>,
    ) -> Result<()> {
        if rebalance.partitions().is_empty() {
            return Ok(());
        }
        let listener = self.subscription.as_mut().and_then(|s| s.listener.take());
        let Some(mut listener) = listener else { return Ok(()) };
        let outcome = match told {
            Some(told) => told(self, rebalance),
            None => rebalance.tell(listener.as_mut(), self),
        };
        if let Some(subscription) = &mut self.subscription {
            subscription.listener = Some(listener);
        }
        outcome
    }

    /// Waits until librdkafka has left the group.
    pub(super) fn leave(&self) {
        let client = &self.client.0;
        client.context().set_unattended(true);
        client.unsubscribe();
        let deadline = self.cluster.now().saturating_add(self.cluster.settings.request_timeout);
        let is_out = || {
            client.assignment().is_ok_and(|left| left.count() == 0)
                && client.subscription().is_ok_and(|left| left.count() == 0)
        };
        while !is_out() && self.cluster.now() < deadline {
            let _ = client.poll(LEAVE_INTERVAL);
        }
        client.context().set_unattended(false);
    }
}
