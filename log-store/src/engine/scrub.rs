//! The scrub: sealed segments are read again from time to time, so that damage is found while there
//! may still be a copy elsewhere.

use std::sync::Arc;

use crate::engine::health::{DamagedSegment, ScrubReport, SegmentKey, StoreHealth, damage};
use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::segment::{Segment, SegmentEnd, SegmentId};
use crate::types::{Offset, TopicPartition};

/// How much the background scrub looks at before it lets other work go first.
const STEP_BYTES: u32 = 256 << 10;

/// What a step of the background scrub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScrubStep {
    pub(crate) bytes: u64,
    /// Whether all segments have had their turn.
    pub(crate) is_pass_over: bool,
}

impl Engine {
    /// Goes over all sealed segments once.
    pub(crate) fn scrub(&self) -> Result<ScrubReport> {
        let writer = self.writer("scrub")?;
        let mut report = ScrubReport::default();
        for (topic_partition, key) in self.sealed_segments() {
            let Some((partition, segment)) = self.find_segment(&topic_partition, key) else {
                continue;
            };
            let scrubbed =
                segment.scrub(SegmentEnd::default(), u32::MAX, &partition.place, &topic_partition);
            report.segments += 1;
            if let Ok(scrubbed) = &scrubbed {
                report.batches += scrubbed.batches;
                report.bytes += u64::from(scrubbed.end.position);
            }
            let bytes = u64::from(segment.end().position);
            note_in(&partition, &segment, scrubbed.as_ref().err());
            let mut state = writer.scrub.lock();
            report.damaged.extend(state.note(&topic_partition, key, bytes, scrubbed.err()));
        }
        writer.scrub.lock().finish(|tp, key| self.find_segment(tp, key).is_some());
        Ok(report)
    }

    /// Goes on with the pass of the background scrub by a small step.
    pub(crate) fn scrub_step(&self, writer: &Writer) -> ScrubStep {
        let mut state = writer.scrub.lock();
        if state.pass.is_empty() {
            state.pass = self.sealed_segments().into();
            state.at = SegmentEnd::default();
            // A process that does not live long begins elsewhere each time, so that all segments
            // have their turn.
            let count = i64::try_from(state.pass.len()).unwrap_or(i64::MAX).max(1);
            let first = self.clock.now().as_millis().rem_euclid(count);
            state.pass.rotate_left(usize::try_from(first).unwrap_or_default());
        }
        let mut bytes = 0;
        if let Some((topic_partition, key)) = state.pass.front().cloned() {
            match self.find_segment(&topic_partition, key) {
                None => state.next_segment(),
                Some((partition, segment)) => {
                    let begin = state.at;
                    let scrubbed =
                        segment.scrub(begin, STEP_BYTES, &partition.place, &topic_partition);
                    let end = scrubbed.as_ref().map_or(segment.end(), |scrubbed| scrubbed.end);
                    state.at = end;
                    bytes = u64::from(end.position.saturating_sub(begin.position));
                    // A damaged one is known by its damage until it was read through without any.
                    if scrubbed.is_err() || end == segment.end() {
                        note_in(&partition, &segment, scrubbed.as_ref().err());
                        let _ = state.note(&topic_partition, key, bytes, scrubbed.err());
                        state.next_segment();
                    } else {
                        state.bytes += bytes;
                    }
                }
            }
        }
        let is_pass_over = state.pass.is_empty();
        if is_pass_over {
            state.finish(|tp, key| self.find_segment(tp, key).is_some());
        }
        ScrubStep { bytes, is_pass_over }
    }

    /// How the store is.
    pub(crate) fn health(&self) -> StoreHealth {
        let Ok(writer) = self.writer("health") else { return StoreHealth::default() };
        let poisoned = match writer.check_poison() {
            Err(Error::Poisoned { cause }) => Some(cause),
            _ => None,
        };
        let state = writer.scrub.lock();
        let there = |(key, damaged): &(&SegmentKey, &DamagedSegment)| {
            self.find_segment(&damaged.topic_partition, **key).is_some()
        };
        let scrubbed = state.damaged.iter().filter(there).map(|(_, damaged)| damaged.clone());
        let mut damaged: Vec<DamagedSegment> = scrubbed.collect();
        for partition in self.topics().iter().flat_map(|topic| &topic.partitions) {
            let (tp, key) = (&partition.topic_partition, partition.place_key());
            let Some(found) = partition.damage() else { continue };
            let id = SegmentId::first(Offset::ZERO);
            let found = damage(tp, (key.0, key.1, id), found.clone());
            if damaged.iter().all(|known| known.path != found.path) {
                damaged.push(found);
            }
        }
        StoreHealth { poisoned, damaged, scrub_passes: state.passes, scrubbed_bytes: state.bytes }
    }

    fn sealed_segments(&self) -> Vec<(TopicPartition, SegmentKey)> {
        let mut sealed = Vec::new();
        for partition in self.topics().iter().flat_map(|topic| &topic.partitions) {
            let mut segments = partition.segments();
            segments.pop();
            let (topic_id, number) = partition.place_key();
            let keys = segments.iter().map(|segment| (topic_id, number, segment.id()));
            sealed.extend(keys.map(|key| (partition.topic_partition.clone(), key)));
        }
        sealed
    }

    /// The segment, if it is still there. It is not held on to: its space is to be free once it
    /// is gone.
    fn find_segment(
        &self,
        topic_partition: &TopicPartition,
        (topic_id, number, id): SegmentKey,
    ) -> Option<(Arc<Partition>, Arc<Segment>)> {
        let partition = self.partition(topic_partition).ok()?;
        if partition.place_key() != (topic_id, number) {
            return None;
        }
        let segment = partition.segments().into_iter().find(|segment| segment.id() == id)?;
        Some((partition, segment))
    }
}

/// Lets a partition know what was found in one of its segments. A disk that could not be read now is
/// an error of those who read; it closes nothing.
fn note_in(partition: &Partition, segment: &Segment, failure: Option<&Error>) {
    match failure {
        None => partition.note_scrubbed(segment.id(), None),
        Some(found @ Error::Corrupt { .. }) => {
            partition.note_scrubbed(segment.id(), Some(found.clone()));
        }
        Some(_) => {}
    }
}
