//! Groups: who is in one, and how far it has come.

use std::collections::BTreeMap;
use std::fmt;

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
    /// The generation that the member is in; -1 for a consumer that assigns its own partitions or
    /// has not joined yet.
    pub generation: i32,
    /// The member's id; empty for a consumer that assigns its own partitions or has not joined
    /// yet.
    pub member_id: String,
}

impl GroupMetadata {
    /// Somebody who commits for a group without being a member of it, as a consumer does that
    /// assigns its own partitions.
    #[must_use]
    pub fn outside(group: impl Into<String>) -> Self {
        Self { group: group.into(), generation: -1, member_id: String::new() }
    }
}

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has committed offsets and no members.
    Empty,
    /// Partitions are on their way from one member to another.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
    /// It cannot be told from here: members of an embedded log are known in the process that
    /// writes it only.
    Unknown,
}

impl GroupState {
    /// Kafka's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A group: who is in it, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group's name.
    pub group: String,
    /// What it does.
    pub state: GroupState,
    /// The generation; it grows with each change of members or of what they share.
    pub generation: Option<i32>,
    /// The members, by id. Empty also where `state` is [`Unknown`](GroupState::Unknown).
    pub members: Vec<MemberDescription>,
    /// The partitions that have a committed offset or belong to a member, in order.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member's id, unique in the group.
    pub member_id: String,
    /// The `client.id` of its consumer.
    pub client_id: String,
    /// Where it runs; empty for members in this process.
    pub host: String,
    /// The partitions that it has.
    pub assignment: Vec<TopicPartition>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPartition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// What the group has committed; `None` is: nothing.
    pub committed: Option<OffsetAndMetadata>,
    /// The log end offset; `None` if the partition is gone.
    pub end: Option<Offset>,
    /// The id of the member that has the partition, as far as members are known.
    pub member_id: Option<String>,
}

impl GroupPartition {
    /// How many offsets lie between the committed one and the end; `None` where one of them is
    /// missing. Gaps count.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        Some(self.end? - self.committed.as_ref()?.offset)
    }
}
