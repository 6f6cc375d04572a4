//! Compacts one partition: finds the newest record of each key in what came since the last time,
//! and writes the segments before and up to there anew without the older ones.

use std::sync::Arc;

use crate::batch::{BatchBuilder, BatchHeader, Place};
use crate::compaction::newest::NewestOffsets;
use crate::compaction::output::Output;
use crate::compaction::plan::{CompactedSegment, dirty, group};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::record::{RecordBatch, RecordView};
use crate::segment::{Segment, SegmentEnd, WholeBatch};
use crate::storage::Storage;
use crate::types::{Offset, Timestamp};

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// How many segments were written anew.
    pub segments_before: usize,
    /// How many there are in their place.
    pub segments_after: usize,
    /// The bytes of the segments that were written anew.
    pub bytes_before: u64,
    /// The bytes of those in their place.
    pub bytes_after: u64,
    /// How many records are still there.
    pub records_kept: u64,
    /// How many records went.
    pub records_removed: u64,
}

impl CompactionReport {
    /// Adds what another one did.
    pub(crate) fn add(&mut self, other: &Self) {
        self.segments_before += other.segments_before;
        self.segments_after += other.segments_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.records_kept += other.records_kept;
        self.records_removed += other.records_removed;
    }
}

/// Why a compaction ended before it was through.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// There is something more urgent, or the partition is going.
    Interrupted,
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Segments that were written anew, durable and as yet unknown to everybody.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) old: Vec<Arc<Segment>>,
    pub(crate) fresh: Vec<Arc<Segment>>,
    pub(crate) report: CompactionReport,
}

/// A compaction of one partition.
pub(crate) struct Cleaner<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) partition: &'a Partition,
    pub(crate) now: Timestamp,
    /// The most keys that are told apart at a time.
    pub(crate) keys_max: usize,
    /// Asked between batches every now and then; an error ends the compaction.
    pub(crate) pause: &'a mut dyn FnMut() -> Result<(), Stopped>,
}

/// After this many bytes other work gets its turn.
const STEP_BYTES: usize = 1 << 20;

impl Cleaner<'_> {
    /// Compacts what is due, and hands out groups of segments as they are done.
    pub(crate) fn run(
        &mut self,
        mut done: impl FnMut(Cleaned) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let mut sealed = self.partition.segments();
        sealed.pop();
        let facts: Vec<_> = sealed.iter().map(|segment| facts(segment)).collect();
        let Some(dirty) = dirty(&facts, self.now, &self.partition.config()) else { return Ok(()) };
        let (newest, known_up_to) = self.newest(sealed.get(dirty).unwrap_or_default())?;
        sealed.retain(|segment| segment.base() < known_up_to);
        let segment_bytes = self.partition.config().segment_bytes;
        for range in group(facts.get(..sealed.len()).unwrap_or_default(), segment_bytes) {
            let inputs = sealed.get(range).unwrap_or_default();
            done(self.clean(inputs, &newest, known_up_to)?)?;
        }
        Ok(())
    }

    /// The newest offset of each key in the segments, and the offset up to which that is known:
    /// where there was no more room, or the end.
    fn newest(&mut self, segments: &[Arc<Segment>]) -> Result<(NewestOffsets, Offset), Stopped> {
        let mut newest = NewestOffsets::new(self.keys_max);
        for segment in segments {
            let full = self.each_batch(segment, |batch, records| {
                // Asked before a batch and not inside of it, so that each compaction gets on.
                if newest.is_full() {
                    return Ok(Some(batch.header.base_offset));
                }
                for record in records.iter() {
                    record.key.into_iter().for_each(|key| newest.note(key, record.offset));
                }
                Ok(None)
            })?;
            if let Some(full) = full {
                return Ok((newest, full));
            }
        }
        Ok((newest, segments.last().map_or(Offset::ZERO, |segment| segment.end_offset())))
    }

    /// Writes segments anew without what is superseded.
    fn clean(
        &mut self,
        inputs: &[Arc<Segment>],
        newest: &NewestOffsets,
        known_up_to: Offset,
    ) -> Result<Cleaned, Stopped> {
        let mut output = Output::new(self.storage, self.partition, inputs, self.now);
        let mut report = CompactionReport { segments_before: inputs.len(), ..Default::default() };
        let written = self.write(inputs, newest, known_up_to, &mut output, &mut report);
        let end = inputs.last().map_or(Offset::ZERO, |segment| segment.end_offset());
        let finished = written.and_then(|()| Ok(output.finish(end)?));
        if let Err(stopped) = finished {
            output.abandon();
            return Err(stopped);
        }
        let fresh = output.into_segments();
        report.segments_after = fresh.len();
        report.bytes_before = bytes(inputs);
        report.bytes_after = bytes(&fresh);
        Ok(Cleaned { old: inputs.to_vec(), fresh, report })
    }

    fn write(
        &mut self,
        inputs: &[Arc<Segment>],
        newest: &NewestOffsets,
        known_up_to: Offset,
        output: &mut Output<'_>,
        report: &mut CompactionReport,
    ) -> Result<(), Stopped> {
        output.begin(inputs.first().map_or(Offset::ZERO, |segment| segment.base()))?;
        let mut filter = Filter {
            place: self.partition.place,
            newest,
            now: self.now,
            horizon: self.horizon(),
            builder: BatchBuilder::default(),
        };
        let mut is_known = true;
        for input in inputs {
            self.each_batch(input, |batch, records| {
                if is_known && batch.header.base_offset >= known_up_to {
                    is_known = false;
                    output.go_on_dirty(known_up_to)?;
                }
                let kept = match is_known {
                    true => filter.pass(batch, records, output)?,
                    false => output.push(&batch.header, &batch.bytes).map(|()| records.len())?,
                };
                report.records_kept += kept as u64;
                report.records_removed += (records.len() - kept) as u64;
                Ok(None::<()>)
            })?;
        }
        Ok(())
    }

    /// From when on the tombstones may go that this compaction is the first to come by.
    fn horizon(&self) -> Timestamp {
        let keep = self.partition.config().delete_retention.as_millis();
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.now.as_millis().saturating_add(keep))
    }

    /// Goes over the batches of a segment, each checked, until `visit` has what it wants.
    fn each_batch<T>(
        &mut self,
        segment: &Arc<Segment>,
        mut visit: impl FnMut(&WholeBatch, &RecordBatch) -> Result<Option<T>, Stopped>,
    ) -> Result<Option<T>, Stopped> {
        let (place, tp) = (&self.partition.place, &self.partition.topic_partition);
        let end = segment.end().position;
        let mut at = SegmentEnd::default();
        let mut step = 0;
        while at.position < end {
            let batch = segment.batch_at(at, place, tp)?;
            let records = RecordBatch::from_kafka(tp.clone(), batch.bytes.clone())?;
            if let Some(found) = visit(&batch, &records)? {
                return Ok(Some(found));
            }
            at = batch.next;
            step += batch.bytes.len();
            if step >= STEP_BYTES {
                step = 0;
                (self.pause)()?;
            }
        }
        Ok(None)
    }
}

/// Passes on what is still to be there of a batch.
struct Filter<'a> {
    place: Place,
    newest: &'a NewestOffsets,
    now: Timestamp,
    /// For tombstones that this compaction is the first to come by.
    horizon: Timestamp,
    builder: BatchBuilder,
}

impl Filter<'_> {
    /// Writes what stays, and returns how many records that are.
    fn pass(
        &mut self,
        batch: &WholeBatch,
        records: &RecordBatch,
        output: &mut Output<'_>,
    ) -> Result<usize> {
        let header = &batch.header;
        let expired = header.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        let stays = |record: &RecordView<'_>| {
            // A record without a key comes from before the topic was compacted: nothing
            // supersedes it.
            record.key.is_none_or(|key| {
                let gone = expired && record.value.is_none();
                !gone && !self.newest.is_superseded(key, record.offset)
            })
        };
        let kept: Vec<RecordView<'_>> = records.iter().filter(stays).collect();
        let tombstones = kept.iter().any(|record| record.key.is_some() && record.value.is_none());
        let horizon = tombstones.then(|| header.delete_horizon().unwrap_or(self.horizon));
        if kept.len() == records.len() && header.delete_horizon() == horizon {
            output.push(header, &batch.bytes)?;
        } else if !kept.is_empty() {
            self.builder.rewrite(header, &kept, horizon);
            self.builder.place(&self.place, header.base_offset);
            let rewritten = BatchHeader::parse(self.builder.bytes());
            let rewritten = rewritten.expect("a batch that was just written has a header");
            output.push(&rewritten, self.builder.bytes())?;
        }
        Ok(kept.len())
    }
}

fn facts(segment: &Segment) -> CompactedSegment {
    CompactedSegment {
        bytes: u64::from(segment.end().position),
        offsets: segment.end_offset() - segment.base(),
        append_time: segment.append_time(),
        clean: segment.clean_since().is_some(),
    }
}

fn bytes(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.end().position)).sum()
}
