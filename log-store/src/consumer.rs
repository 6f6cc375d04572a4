//! The embedded log's consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::OffsetCommit;
use crate::log::{
    AutoOffsetReset, Consumer, ConsumerConfig, ConsumerWaker, GroupMetadata, OffsetAndMetadata,
};
use crate::partition::Cursor;
use crate::record::RecordBatch;
use crate::segment::ReadLimits;
use crate::types::{Offset, TopicPartition};

/// How often a read-only consumer looks for what another process has published.
const REFRESH_INTERVAL: Duration = Duration::from_millis(20);
/// The most that is taken from one partition before the next has its turn.
const TURN_BYTES_MAX: usize = 256 << 10;

/// Reads from an embedded log.
#[derive(Debug)]
pub(crate) struct LogConsumer {
    engine: Arc<Engine>,
    config: ConsumerConfig,
    assigned: Vec<Assigned>,
    /// Whose turn it is.
    turn: usize,
    woken: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Assigned {
    topic_partition: TopicPartition,
    position: Offset,
    cursor: Option<Cursor>,
    paused: bool,
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
        Ok(Self {
            engine,
            config: config.clone(),
            assigned: Vec::new(),
            turn: 0,
            woken: Arc::default(),
        })
    }

    fn group(&self, operation: &'static str) -> Result<&str> {
        self.config.group.as_deref().ok_or_else(|| Error::InvalidState {
            operation,
            reason: "the consumer has no group.id".to_owned(),
        })
    }

    fn find(&self, tp: &TopicPartition, operation: &'static str) -> Result<&Assigned> {
        let found = self.assigned.iter().find(|assigned| assigned.topic_partition == *tp);
        found.ok_or_else(|| not_assigned(tp, operation))
    }

    fn find_mut(&mut self, tp: &TopicPartition, operation: &'static str) -> Result<&mut Assigned> {
        let found = self.assigned.iter_mut().find(|assigned| assigned.topic_partition == *tp);
        found.ok_or_else(|| not_assigned(tp, operation))
    }

    /// Where to begin in a partition.
    fn start(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        let group = self.config.group.as_deref();
        let committed = group.and_then(|g| self.engine.offsets.committed(g, topic_partition));
        match committed {
            Some(committed) => Ok(committed.offset),
            None => self.reset(topic_partition, "the group has committed no offset"),
        }
    }

    /// Where `auto.offset.reset` sends a consumer.
    fn reset(&self, topic_partition: &TopicPartition, why: &str) -> Result<Offset> {
        let watermarks = self.engine.partition(topic_partition)?.watermarks();
        match self.config.auto_offset_reset {
            AutoOffsetReset::Earliest => Ok(watermarks.start),
            AutoOffsetReset::Latest => Ok(watermarks.end),
            AutoOffsetReset::None => Err(Error::InvalidState {
                operation: "poll",
                reason: format!("{why} for {topic_partition}, and auto.offset.reset is none"),
            }),
        }
    }

    /// What there is, up to the limits; partitions take turns.
    fn collect(&mut self) -> Result<Vec<RecordBatch>> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut records_left = self.config.max_poll_records;
        let mut bytes_left = self.config.fetch_bytes_max;
        let mut dry = 0;
        while dry < self.assigned.len() && records_left > 0 && bytes_left > 0 {
            let limits =
                ReadLimits { bytes_max: bytes_left.min(TURN_BYTES_MAX), records_max: records_left };
            let turn = self.turn % self.assigned.len();
            self.turn = turn + 1;
            match self.fetch(turn, limits) {
                Ok(Some(batch)) if batch.len() > records_left && !batches.is_empty() => {
                    // It is larger than what is left: it opens the next poll.
                    self.rewind(turn, &batch);
                    break;
                }
                Ok(Some(batch)) => {
                    records_left = records_left.saturating_sub(batch.len());
                    bytes_left = bytes_left.saturating_sub(batch.bytes_len());
                    batches.push(batch);
                    dry = 0;
                }
                Ok(None) => dry += 1,
                Err(error) if batches.is_empty() => return Err(error),
                Err(_) => {
                    // First what was read; the error comes back with the next poll.
                    self.turn = turn;
                    break;
                }
            }
        }
        Ok(batches)
    }

    fn fetch(&mut self, turn: usize, limits: ReadLimits) -> Result<Option<RecordBatch>> {
        let Some(assigned) = self.assigned.get_mut(turn).filter(|a| !a.paused) else {
            return Ok(None);
        };
        let partition = self.engine.partition(&assigned.topic_partition)?;
        let fetched = match partition.fetch(&mut assigned.cursor, assigned.position, limits) {
            Err(Error::OffsetOutOfRange { topic_partition, .. }) => {
                let position = self.reset(&topic_partition, "the position is out of range")?;
                let assigned = self.assigned.get_mut(turn).expect("it was there before");
                assigned.position = position;
                partition.fetch(&mut assigned.cursor, position, limits)?
            }
            fetched => fetched?,
        };
        let assigned = self.assigned.get_mut(turn).expect("it was there before");
        if let Some(next) = fetched.as_ref().and_then(RecordBatch::next_offset) {
            assigned.position = next;
        }
        Ok(fetched)
    }

    fn rewind(&mut self, turn: usize, batch: &RecordBatch) {
        if let (Some(assigned), Some(first)) = (self.assigned.get_mut(turn), batch.get(0)) {
            assigned.position = first.offset;
            assigned.cursor = None;
        }
        self.turn = turn;
    }

    /// Batches, an error, or that somebody asked for the poll to end; `None` to wait on.
    fn try_poll(&mut self) -> Option<Result<Vec<RecordBatch>>> {
        let batches = match self.engine.refresh().and_then(|()| self.collect()) {
            Ok(batches) => batches,
            Err(error) => return Some(Err(error)),
        };
        let woken = self.woken.swap(false, Ordering::AcqRel);
        (woken || !batches.is_empty()).then_some(Ok(batches))
    }
}

impl Consumer for LogConsumer {
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.engine.refresh()?;
        // First all that can fail, then the change.
        let mut added: Vec<Assigned> = Vec::new();
        for topic_partition in partitions {
            let known = self.assigned.iter().chain(&added);
            if known.map(|a| &a.topic_partition).any(|known| known == topic_partition) {
                continue;
            }
            self.engine.partition(topic_partition)?;
            let position = self.start(topic_partition)?;
            let topic_partition = topic_partition.clone();
            added.push(Assigned { topic_partition, position, cursor: None, paused: false });
        }
        self.assigned.retain(|assigned| partitions.contains(&assigned.topic_partition));
        self.assigned.append(&mut added);
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.assigned.iter().map(|assigned| assigned.topic_partition.clone()).collect()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>> {
        let engine = Arc::clone(&self.engine);
        if let Some(result) = self.try_poll() {
            return result;
        }
        let clock = || engine.clock.monotonic();
        let deadline = clock().saturating_add(timeout);
        loop {
            let mut left = deadline.saturating_sub(clock());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            if engine.is_read_only() {
                // Nobody tells this process when another one has published.
                left = left.min(REFRESH_INTERVAL);
            }
            if let Some(result) = engine.signal.wait(left, clock, || self.try_poll()) {
                return result;
            }
        }
    }

    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        self.find(topic_partition, "position").map(|assigned| assigned.position)
    }

    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        let assigned = self.find_mut(topic_partition, "seek")?;
        assigned.position = offset;
        assigned.cursor = None;
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for topic_partition in partitions {
            self.find_mut(topic_partition, "pause")?.paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for topic_partition in partitions {
            self.find_mut(topic_partition, "resume")?.paused = false;
        }
        Ok(())
    }

    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        self.engine.refresh()?;
        let group = self.group("committed")?;
        Ok(self.engine.offsets.committed(group, topic_partition))
    }

    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        let group = self.group("commit")?;
        let commits: Vec<_> = offsets
            .iter()
            .map(|(topic_partition, offset)| OffsetCommit {
                group: group.to_owned(),
                topic_partition: topic_partition.clone(),
                offset: Some(offset.clone()),
            })
            .collect();
        self.engine.commit_offsets(&commits)
    }

    fn group_metadata(&self) -> Result<GroupMetadata> {
        let group = self.group("group_metadata")?.to_owned();
        Ok(GroupMetadata { group, generation: -1, member_id: String::new() })
    }

    fn waker(&self) -> ConsumerWaker {
        let (engine, woken) = (Arc::clone(&self.engine), Arc::clone(&self.woken));
        ConsumerWaker::new(Arc::new(move || {
            woken.store(true, Ordering::Release);
            engine.signal.notify();
        }))
    }
}

fn not_assigned(topic_partition: &TopicPartition, operation: &'static str) -> Error {
    Error::InvalidState { operation, reason: format!("{topic_partition} is not assigned") }
}
