//! The partitions that a consumer reads: where it is in each, and whose turn it is.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::log::{AutoOffsetReset, ConsumerConfig};
use crate::partition::Cursor;
use crate::record::RecordBatch;
use crate::segment::{ReadLimits, SpareSpans};
use crate::types::{Offset, TopicPartition};

/// The most that is taken from one partition before the next has its turn.
const TURN_BYTES_MAX: usize = 256 << 10;

/// Reads the assigned partitions in turns.
#[derive(Debug)]
pub(super) struct Fetcher {
    engine: Arc<Engine>,
    config: ConsumerConfig,
    assigned: Vec<Assigned>,
    /// Whose turn it is.
    turn: usize,
    spare: SpareSpans,
}

#[derive(Debug)]
struct Assigned {
    topic_partition: TopicPartition,
    /// The topic that the position is in; a topic that was made anew has another.
    topic_id: Option<u64>,
    /// The next offset to read; none while there is no place to begin at.
    position: Option<Offset>,
    cursor: Option<Cursor>,
    paused: bool,
}

impl Fetcher {
    /// One without partitions.
    pub(super) fn new(engine: Arc<Engine>, config: ConsumerConfig) -> Self {
        Self { engine, config, assigned: Vec::new(), turn: 0, spare: SpareSpans::new() }
    }

    /// The partitions that it reads.
    pub(super) fn assignment(&self) -> Vec<TopicPartition> {
        self.assigned.iter().map(|assigned| assigned.topic_partition.clone()).collect()
    }

    /// Takes exactly these partitions; those that it has already go on where they are.
    pub(super) fn replace(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        // First all that can fail, then the change.
        let mut added: Vec<Assigned> = Vec::new();
        for topic_partition in partitions {
            let known = self.assigned.iter().chain(&added);
            if known.map(|a| &a.topic_partition).any(|known| known == topic_partition) {
                continue;
            }
            let position = self.start(topic_partition)?;
            added.push(self.assigned_at(topic_partition, Some(position)));
        }
        self.assigned.retain(|assigned| partitions.contains(&assigned.topic_partition));
        self.assigned.append(&mut added);
        Ok(())
    }

    /// Takes partitions in addition. One that has no place to begin at says so when its turn
    /// comes, unless somebody seeks before.
    pub(super) fn add(&mut self, partitions: &[TopicPartition]) {
        for topic_partition in partitions {
            let position = self.start(topic_partition).ok();
            let assigned = self.assigned_at(topic_partition, position);
            self.assigned.push(assigned);
        }
    }

    /// Lets go of partitions.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.assigned.retain(|assigned| !partitions.contains(&assigned.topic_partition));
    }

    /// The next offset of a partition.
    pub(super) fn position(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        match self.find(topic_partition, "position")?.position {
            Some(position) => Ok(position),
            None => self.start(topic_partition),
        }
    }

    /// How far a partition's end is away; `None` while there is no position.
    pub(super) fn lag(&self, topic_partition: &TopicPartition) -> Result<Option<u64>> {
        let Some(position) = self.find(topic_partition, "lag")?.position else { return Ok(None) };
        let end = self.engine.partition(topic_partition)?.watermarks().end;
        Ok(Some(end - position))
    }

    /// Goes on at `offset`.
    pub(super) fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        let assigned = self.find_mut(topic_partition, "seek")?;
        assigned.position = Some(offset);
        assigned.cursor = None;
        Ok(())
    }

    /// Leaves a partition out of its turns, or takes it in again.
    pub(super) fn set_paused(
        &mut self,
        topic_partition: &TopicPartition,
        paused: bool,
        operation: &'static str,
    ) -> Result<()> {
        self.find_mut(topic_partition, operation)?.paused = paused;
        Ok(())
    }

    /// What there is, up to the limits; partitions take turns.
    pub(super) fn collect(&mut self) -> Result<Vec<RecordBatch>> {
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
        let Some(assigned) = self.assigned.get(turn).filter(|a| !a.paused) else {
            return Ok(None);
        };
        let partition = self.engine.partition(&assigned.topic_partition)?;
        let is_same = assigned.topic_id.is_none_or(|id| id == partition.place.topic_id);
        let position = match assigned.position {
            Some(position) if is_same => position,
            Some(_) => self.restart(&assigned.topic_partition)?,
            None => self.start(&assigned.topic_partition)?,
        };
        let assigned = self.assigned.get_mut(turn).expect("it was there before");
        assigned.topic_id = Some(partition.place.topic_id);
        assigned.position = Some(position);
        let spare = &mut self.spare;
        let fetched = partition.fetch(&mut assigned.cursor, position, limits, spare);
        let (fetched, next) = match fetched {
            Err(Error::OffsetOutOfRange { topic_partition, .. }) => {
                let position = self.reset(&topic_partition, "the position is out of range")?;
                let assigned = self.assigned.get_mut(turn).expect("it was there before");
                assigned.position = Some(position);
                partition.fetch(&mut assigned.cursor, position, limits, &mut self.spare)?
            }
            fetched => fetched?,
        };
        let assigned = self.assigned.get_mut(turn).expect("it was there before");
        // Without records too: at the end of a compacted partition there may be none left.
        assigned.position = Some(next);
        Ok(fetched)
    }

    fn rewind(&mut self, turn: usize, batch: &RecordBatch) {
        if let (Some(assigned), Some(first)) = (self.assigned.get_mut(turn), batch.get(0)) {
            assigned.position = Some(first.offset);
            assigned.cursor = None;
        }
        self.turn = turn;
    }

    /// Where to begin in a partition.
    fn start(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        let partition = self.engine.partition(topic_partition)?;
        let group = self.config.group.as_deref();
        if group.is_some() {
            self.engine.offsets.check()?;
        }
        let committed = group.and_then(|g| self.engine.offsets.committed(g, topic_partition));
        let epoch = group.and_then(|g| self.engine.offsets.committed_epoch(g, topic_partition));
        match committed {
            Some(committed) => {
                let known = match epoch {
                    Some(epoch) => partition.check_epoch(committed.offset, epoch),
                    None => Ok(()),
                };
                match (known, self.config.auto_offset_reset) {
                    (Ok(()), _) => Ok(committed.offset),
                    // Nobody but the application can tell what to do.
                    (Err(lost), AutoOffsetReset::None) => Err(lost),
                    (Err(lost), _) => {
                        tracing::warn!(group, %lost, "the committed offset is out of range");
                        self.reset(topic_partition, "the committed offset was lost")
                    }
                }
            }
            None => self.reset(topic_partition, "the group has committed no offset"),
        }
    }

    /// Where to go on in a topic that was deleted and made anew: all of it came after what was read
    /// of the other.
    fn restart(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        let group = self.config.group.as_deref();
        let committed = group.and_then(|g| self.engine.offsets.committed(g, topic_partition));
        match (committed, self.config.auto_offset_reset) {
            (Some(_), _) | (None, AutoOffsetReset::None) => self.start(topic_partition),
            (None, AutoOffsetReset::Earliest | AutoOffsetReset::Latest) => {
                Ok(self.engine.partition(topic_partition)?.watermarks().start)
            }
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

    fn assigned_at(&self, topic_partition: &TopicPartition, position: Option<Offset>) -> Assigned {
        let partition = self.engine.partition(topic_partition).ok();
        Assigned {
            topic_partition: topic_partition.clone(),
            topic_id: partition.map(|partition| partition.place.topic_id),
            position,
            cursor: None,
            paused: false,
        }
    }

    fn find(&self, tp: &TopicPartition, operation: &'static str) -> Result<&Assigned> {
        let found = self.assigned.iter().find(|assigned| assigned.topic_partition == *tp);
        found.ok_or_else(|| not_assigned(tp, operation))
    }

    fn find_mut(&mut self, tp: &TopicPartition, operation: &'static str) -> Result<&mut Assigned> {
        let found = self.assigned.iter_mut().find(|assigned| assigned.topic_partition == *tp);
        found.ok_or_else(|| not_assigned(tp, operation))
    }
}

fn not_assigned(topic_partition: &TopicPartition, operation: &'static str) -> Error {
    Error::InvalidState { operation, reason: format!("{topic_partition} is not assigned") }
}
