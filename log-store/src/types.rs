//! The plain ids and positions that every other module speaks in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;

/// The longest topic name, in bytes, as in Kafka: a partition's folder name must fit a file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The internal topic that holds the committed offsets of consumer groups.
pub const CONSUMER_OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The place of a record in its partition, counted from 0.
///
/// Offsets only grow. They may have gaps (compaction, Kafka's transaction markers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);
    /// The largest offset that the format can hold (63 bits, as in Kafka).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Wraps a number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number inside.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Add<u64> for Offset {
    type Output = Self;
    fn add(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

impl Sub for Offset {
    type Output = u64;
    /// The distance to an earlier offset; 0 if `earlier` is in fact later.
    fn sub(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the unclean stops of a log, in Kafka's word for what an owner writes before the next one
/// takes over. Each open after a stop without a close begins a new one.
///
/// An offset together with its epoch says which record was meant: after a power cut that took records
/// (which [`Durability::Os`](crate::Durability::Os) and `Interval` allow), other records get their
/// offsets, in another epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(u32);

impl LeaderEpoch {
    /// That of a new log.
    pub const FIRST: Self = Self(0);

    /// Wraps a number.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number inside.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The epoch after this one.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition within its topic, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u32);

impl PartitionId {
    /// Wraps a number.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number inside.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01 UTC; negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// What Kafka writes where a record has no timestamp.
    pub const NONE: Self = Self(-1);

    /// Wraps milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a topic, checked by Kafka's rules and cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks a name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
    ///
    /// # Errors
    /// [`InvalidTopicName`] with the rule that is broken.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > TOPIC_NAME_BYTES_MAX {
            "it is longer than 249 bytes"
        } else if name == "." || name == ".." {
            "`.` and `..` are folders"
        } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            "only ASCII letters, digits, `.`, `_` and `-` are allowed"
        } else {
            return Ok(Self(Arc::from(name)));
        };
        Err(InvalidTopicName { name: name.to_owned(), reason })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic belongs to Headwater or Kafka itself (`__…`).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

/// A name that breaks Kafka's rules for topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a topic name: {reason}")]
pub struct InvalidTopicName {
    /// The name as given.
    pub name: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a topic; displayed as `topic-partition`, like its folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number within it.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// Pairs a topic with a partition number.
    #[must_use]
    pub fn new(topic: TopicName, partition: PartitionId) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::{Offset, TopicName};

    #[test]
    fn topic_names_follow_kafkas_rules() {
        let long = "x".repeat(249);
        for good in ["a", "web-access", "A.b_c-9", "__consumer_offsets", long.as_str()] {
            assert_eq!(TopicName::new(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(250);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", too_long.as_str()] {
            let error = TopicName::new(bad).unwrap_err().to_string();
            assert!(error.contains("topic name"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn the_distance_to_a_later_offset_is_zero() {
        assert_eq!(Offset::new(7) - Offset::new(3), 4);
        assert_eq!(Offset::new(3) - Offset::new(7), 0);
    }
}
