//! Groups: who is in one, and how far it has come.

use std::collections::BTreeMap;

use crate::types::{Offset, TopicPartition};

/// A committed offset with what the committer noted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The offset of the next record to process.
    pub offset: Offset,
    /// Free text. Default = empty.
    pub metadata: String,
}

impl From<Offset> for OffsetAndMetadata {
    fn from(offset: Offset) -> Self {
        Self { offset, metadata: String::new() }
    }
}

/// The committed offsets of a group.
pub type GroupOffsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Who a consumer is in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group's name.
    pub group: String,
    /// The group's generation; -1 for a consumer that assigns its own partitions.
    pub generation: i32,
    /// The member's id; empty for a consumer that assigns its own partitions.
    pub member_id: String,
}
