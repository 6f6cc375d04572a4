//! A consumer over the embedded log: polls, the rebalances inside of them, and commits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::consumer::fetcher::Fetcher;
use crate::consumer::subscription::{Membership, Subscription};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::{JoinRequest, Step};
use crate::log::{
    Consumer, ConsumerConfig, ConsumerWaker, GroupMetadata, OffsetAndMetadata, Rebalance,
    RebalanceCallback, RebalanceListener,
};
use crate::record::RecordBatch;
use crate::types::{Offset, Timestamp, TopicName, TopicPartition};

/// How often a read-only consumer looks for what another process has published.
const REFRESH_INTERVAL: Duration = Duration::from_millis(20);
/// Members are put out once their time is over, not when it is just up.
const EXPIRY_MARGIN: Duration = Duration::from_millis(1);
/// The shortest `max.poll.interval.ms`.
const MAX_POLL_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Who is told of rebalances instead of the listener.
type Told<'a, 'b, 'c> = &'a mut Option<&'b mut RebalanceCallback<'c>>;

/// Reads from an embedded log.
#[derive(Debug)]
pub(crate) struct LogConsumer {
    engine: Arc<Engine>,
    config: ConsumerConfig,
    fetcher: Fetcher,
    subscription: Option<Subscription>,
    /// When another member of the group will have been silent for too long.
    next_expiry: Option<Duration>,
    woken: Arc<AtomicBool>,
}

impl LogConsumer {
    pub(crate) fn new(engine: Arc<Engine>, config: &ConsumerConfig) -> Result<Self> {
        for (key, value) in [
            ("max.poll.records", config.max_poll_records),
            ("fetch.max.bytes", config.fetch_bytes_max),
        ] {
            if value == 0 {
                return Err(Error::InvalidConfig {
                    key: key.to_owned(),
                    value: "0".to_owned(),
                    reason: "a poll could never return anything".to_owned(),
                });
            }
        }
        if config.group.as_deref() == Some("") {
            return Err(Error::InvalidConfig {
                key: "group.id".to_owned(),
                value: String::new(),
                reason: "a group has a name; leave it out to have no group".to_owned(),
            });
        }
        if config.max_poll_interval < MAX_POLL_INTERVAL_MIN {
            return Err(Error::InvalidConfig {
                key: "max.poll.interval.ms".to_owned(),
                value: config.max_poll_interval.as_millis().to_string(),
                reason: "it is at least 1: no member could stay in its group".to_owned(),
            });
        }
        Ok(Self {
            fetcher: Fetcher::new(Arc::clone(&engine), config.clone()),
            engine,
            config: config.clone(),
            subscription: None,
            next_expiry: None,
            woken: Arc::default(),
        })
    }

    fn group(&self, operation: &'static str) -> Result<&str> {
        self.config.group.as_deref().ok_or_else(|| Error::InvalidState {
            operation,
            reason: "the consumer has no group.id".to_owned(),
        })
    }

    /// Refuses what would change the assignment under the feet of a rebalance.
    fn check_not_in_listener(&self, operation: &'static str) -> Result<()> {
        match &self.subscription {
            Some(Subscription { listener: None, .. }) => Err(Error::InvalidState {
                operation,
                reason: "a rebalance listener is being called".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Batches, an error, or that somebody asked for the poll to end; `None` to wait on.
    fn try_poll(&mut self, told: Told<'_, '_, '_>) -> Option<Result<Vec<RecordBatch>>> {
        let refreshed = self.engine.refresh().and_then(|()| self.rebalance(told));
        let batches = match refreshed.and_then(|()| self.fetcher.collect()) {
            Ok(batches) => batches,
            Err(error) => return Some(Err(error)),
        };
        let woken = self.woken.swap(false, Ordering::AcqRel);
        (woken || !batches.is_empty()).then_some(Ok(batches))
    }

    fn poll_for(&mut self, timeout: Duration, told: Told<'_, '_, '_>) -> Result<Vec<RecordBatch>> {
        let engine = Arc::clone(&self.engine);
        if let Some(result) = self.try_poll(told) {
            return result;
        }
        let clock = || engine.clock.monotonic();
        let deadline = clock().saturating_add(timeout);
        loop {
            let now = clock();
            let mut left = deadline.saturating_sub(now);
            if left.is_zero() {
                return Ok(Vec::new());
            }
            if engine.is_read_only() {
                // Nobody tells this process when another one has published.
                left = left.min(REFRESH_INTERVAL);
            }
            if let Some(expiry) = self.next_expiry {
                left = left.min(expiry.saturating_sub(now) + EXPIRY_MARGIN);
            }
            if let Some(result) = engine.signal.wait(left, clock, || self.try_poll(told)) {
                return result;
            }
        }
    }

    fn poll_telling(
        &mut self,
        timeout: Duration,
        mut told: Option<&mut RebalanceCallback<'_>>,
    ) -> Result<Vec<RecordBatch>> {
        self.check_not_in_listener("poll")?;
        let polled = self.poll_for(timeout, &mut told);
        if let Some((group, member_id)) = self.member() {
            self.engine.groups.end_poll(group, member_id, self.engine.clock.monotonic());
        }
        polled
    }

    /// Takes the steps of a rebalance that are up to this member, one after the other.
    fn rebalance(&mut self, told: Told<'_, '_, '_>) -> Result<()> {
        while let Some((group, membership)) = self.join()? {
            let engine = Arc::clone(&self.engine);
            let member_id = membership.member_id.as_str();
            let now = engine.clock.monotonic();
            let turn = engine.groups.poll(&group, member_id, now, |t| engine.partition_count(t));
            if turn.wake_others {
                engine.signal.notify();
            }
            self.next_expiry = turn.next_expiry;
            match turn.step {
                Step::Settled { generation } => {
                    self.set_membership(Membership { generation, ..membership });
                    return Ok(());
                }
                Step::Revoke(partitions) => {
                    let outcome = self.tell(Rebalance::Revoked(&partitions), told);
                    self.fetcher.remove(&partitions);
                    engine.groups.give_back(&group, member_id, &partitions);
                    engine.signal.notify();
                    outcome?;
                }
                Step::Assign { generation, partitions } => {
                    self.set_membership(Membership { generation, ..membership });
                    self.fetcher.add(&partitions);
                    self.tell(Rebalance::Assigned(&partitions), told)?;
                }
                Step::Lost => {
                    self.set_membership(Membership { is_lost: true, ..membership });
                    let partitions = self.fetcher.assignment();
                    let outcome = self.tell(Rebalance::Lost(&partitions), told);
                    self.fetcher.remove(&partitions);
                    outcome?;
                }
            }
        }
        Ok(())
    }

    /// Who this is in its group, joining it if need be; `None` without a subscription.
    fn join(&mut self) -> Result<Option<(String, Membership)>> {
        let group = match &self.subscription {
            Some(_) => self.group("poll")?.to_owned(),
            None => return Ok(None),
        };
        let Some(subscription) = &mut self.subscription else { return Ok(None) };
        if let Some(membership) = subscription.membership.as_ref().filter(|m| !m.is_lost) {
            return Ok(Some((group, membership.clone())));
        }
        let client_id = self.config.client_id.clone();
        let request = JoinRequest {
            client_id: client_id.unwrap_or_else(|| format!("consumer-{group}")),
            topics: subscription.topics.clone(),
            max_poll_interval: self.config.max_poll_interval,
        };
        let member_id = self.engine.groups.join(&group, request, self.engine.clock.monotonic());
        let membership = Membership { member_id, generation: -1, is_lost: false };
        subscription.membership = Some(membership.clone());
        Ok(Some((group, membership)))
    }

    fn set_membership(&mut self, membership: Membership) {
        if let Some(subscription) = &mut self.subscription {
            subscription.membership = Some(membership);
        }
    }

    fn tell(&mut self, rebalance: Rebalance<'_>, told: Told<'_, '_, '_>) -> Result<()> {
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

    /// The group and the member id, once it has joined.
    fn member(&self) -> Option<(&str, &str)> {
        let membership = self.subscription.as_ref()?.membership.as_ref()?;
        Some((self.config.group.as_deref()?, membership.member_id.as_str()))
    }

    fn leave(&self) {
        if let Some((group, member_id)) = self.member() {
            self.engine.groups.leave(group, member_id);
            self.engine.signal.notify();
        }
    }
}

impl Consumer for LogConsumer {
    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<()> {
        let operation = "subscribe";
        self.check_not_in_listener(operation)?;
        self.engine.writer(operation)?;
        let group = self.group(operation)?;
        let names = topics.iter().map(|name| Ok(TopicName::new(name)?));
        let topics = names.collect::<Result<BTreeSet<_>>>()?;
        if topics.is_empty() {
            return self.unsubscribe();
        }
        match &self.subscription {
            None if !self.fetcher.assignment().is_empty() => {
                let reason = "partitions are assigned: unsubscribe first".to_owned();
                return Err(Error::InvalidState { operation, reason });
            }
            Some(Subscription { membership: Some(membership), .. }) => {
                self.engine.groups.change_topics(group, &membership.member_id, topics.clone());
                self.engine.signal.notify();
            }
            _ => {}
        }
        let membership = self.subscription.take().and_then(|s| s.membership);
        self.subscription = Some(Subscription { topics, listener: Some(listener), membership });
        Ok(())
    }

    fn subscription(&self) -> Vec<TopicName> {
        self.subscription.iter().flat_map(|s| s.topics.iter().cloned()).collect()
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.check_not_in_listener("unsubscribe")?;
        let partitions = self.fetcher.assignment();
        let now = self.engine.clock.monotonic();
        let is_member = |(group, id)| self.engine.groups.is_member(group, id, now);
        let rebalance = match self.member().is_some_and(is_member) {
            true => Rebalance::Revoked(&partitions),
            false => Rebalance::Lost(&partitions),
        };
        let told = self.tell(rebalance, &mut None);
        self.fetcher.remove(&partitions);
        self.leave();
        self.subscription = None;
        self.next_expiry = None;
        told
    }

    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        if self.subscription.is_some() {
            let reason = "the consumer has subscribed: unsubscribe first".to_owned();
            return Err(Error::InvalidState { operation: "assign", reason });
        }
        self.engine.refresh()?;
        self.fetcher.replace(partitions)
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.fetcher.assignment()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>> {
        self.poll_telling(timeout, None)
    }

    fn poll_with(
        &mut self,
        timeout: Duration,
        told: &mut RebalanceCallback<'_>,
    ) -> Result<Vec<RecordBatch>> {
        self.poll_telling(timeout, Some(told))
    }

    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        self.fetcher.position(topic_partition)
    }

    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.fetcher.seek(topic_partition, offset)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|tp| self.fetcher.set_paused(tp, true, "pause"))
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|tp| self.fetcher.set_paused(tp, false, "resume"))
    }

    fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        self.engine.refresh()?;
        let start = |tp| Ok(self.engine.partition(tp)?.watermarks().start);
        partitions.iter().map(start).collect()
    }

    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        self.engine.refresh()?;
        let end = |tp| Ok(self.engine.partition(tp)?.watermarks().end);
        partitions.iter().map(end).collect()
    }

    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.engine.refresh()?;
        let engine = &self.engine;
        let find = |(tp, time): &(TopicPartition, _)| engine.partition(tp)?.offset_for_time(*time);
        times.iter().map(find).collect()
    }

    fn lag(&self, topic_partition: &TopicPartition) -> Result<Option<u64>> {
        self.engine.refresh()?;
        self.fetcher.lag(topic_partition)
    }

    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        self.engine.refresh()?;
        let group = self.group("committed")?;
        self.engine.offsets.check()?;
        Ok(self.engine.offsets.committed(group, topic_partition))
    }

    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        let metadata = self.group_metadata()?;
        if self.subscription.is_some() && metadata.member_id.is_empty() {
            let GroupMetadata { group, member_id, .. } = metadata;
            return Err(Error::UnknownMember { group, member_id });
        }
        let offsets = offsets.iter().map(|(tp, offset)| (tp.clone(), Some(offset.clone())));
        self.engine.commit_group_offsets(&metadata, offsets)
    }

    fn group_metadata(&self) -> Result<GroupMetadata> {
        let group = self.group("group_metadata")?.to_owned();
        let membership = self.subscription.as_ref().and_then(|s| s.membership.as_ref());
        Ok(match membership {
            None => GroupMetadata::outside(group),
            Some(Membership { member_id, generation, .. }) => {
                GroupMetadata { group, generation: *generation, member_id: member_id.clone() }
            }
        })
    }

    fn waker(&self) -> ConsumerWaker {
        let (engine, woken) = (Arc::clone(&self.engine), Arc::clone(&self.woken));
        ConsumerWaker::new(Arc::new(move || {
            woken.store(true, Ordering::Release);
            engine.signal.notify();
        }))
    }
}

impl Drop for LogConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}
