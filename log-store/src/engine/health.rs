//! What is known of the damage in a store.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::segment::{SegmentEnd, SegmentId};
use crate::types::{Offset, PartitionId, TopicPartition};

/// What one pass over all sealed segments found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Segments that were looked at.
    pub segments: u64,
    /// Batches that are what was written.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that are not what was written, or cannot be read.
    pub damaged: Vec<DamagedSegment>,
}

/// The first damage in a segment. Records before it can be read, and so can other segments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedSegment {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// The segment file.
    pub path: PathBuf,
    /// The byte position in that file.
    pub position: u64,
    /// Which check failed, or what the system said.
    pub reason: String,
}

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Why the store refuses writes until it is opened again; `None` if it does not.
    pub poisoned: Option<Arc<str>>,
    /// Segments that the scrub has found damaged and that are still there, and those that were
    /// missing or too short when the store was opened.
    pub damaged: Vec<DamagedSegment>,
    /// How often the scrub has been through all sealed segments since the store was opened.
    pub scrub_passes: u64,
    /// How many bytes the scrub has found as they were written since the store was opened.
    pub scrubbed_bytes: u64,
}

/// Which segment: by topic id, partition, and its own id.
pub(super) type SegmentKey = (u64, PartitionId, SegmentId);

/// What the scrub knows.
#[derive(Debug, Default)]
pub(super) struct ScrubState {
    /// What is still to be looked at in this pass.
    pub(super) pass: VecDeque<(TopicPartition, SegmentKey)>,
    /// How far the look at the first of them has come.
    pub(super) at: SegmentEnd,
    pub(super) damaged: BTreeMap<SegmentKey, DamagedSegment>,
    pub(super) passes: u64,
    pub(super) bytes: u64,
}

impl ScrubState {
    /// Notes what the look at a segment, or at the end of it, found; damage is returned.
    pub(super) fn note(
        &mut self,
        topic_partition: &TopicPartition,
        key: SegmentKey,
        bytes: u64,
        failure: Option<Error>,
    ) -> Option<DamagedSegment> {
        let Some(failure) = failure else {
            self.bytes += bytes;
            self.damaged.remove(&key);
            return None;
        };
        let damaged = damage(topic_partition, key, failure);
        tracing::error!(
            partition = %topic_partition,
            path = %damaged.path.display(),
            position = damaged.position,
            reason = %damaged.reason,
            "the scrub has found damage"
        );
        self.damaged.insert(key, damaged.clone());
        Some(damaged)
    }

    pub(super) fn next_segment(&mut self) {
        self.pass.pop_front();
        self.at = SegmentEnd::default();
    }

    pub(super) fn finish(&mut self, is_there: impl Fn(&TopicPartition, SegmentKey) -> bool) {
        self.passes += 1;
        self.damaged.retain(|key, damaged| is_there(&damaged.topic_partition, *key));
    }
}

pub(super) fn damage(
    topic_partition: &TopicPartition,
    key: SegmentKey,
    failure: Error,
) -> DamagedSegment {
    let topic_partition = topic_partition.clone();
    match failure {
        Error::Corrupt { offset, path, position, reason, .. } => {
            DamagedSegment { topic_partition, offset, path, position, reason }
        }
        Error::Io { path, source, .. } | Error::DiskFull { path, source } => DamagedSegment {
            topic_partition,
            offset: key.2.base,
            path,
            position: 0,
            reason: format!("it cannot be read: {source}"),
        },
        other => DamagedSegment {
            topic_partition,
            offset: key.2.base,
            path: PathBuf::new(),
            position: 0,
            reason: other.to_string(),
        },
    }
}
