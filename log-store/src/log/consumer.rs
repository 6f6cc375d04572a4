//! Reading: the consumer, its settings, and what ends its polls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::log::group::{GroupMetadata, OffsetAndMetadata};
use crate::record::RecordBatch;
use crate::types::{Offset, TopicPartition};

/// Reads records, and remembers for its group how far it has come.
pub trait Consumer: Send + fmt::Debug {
    /// Takes exactly these partitions from now on. A partition that is new starts at the group's
    /// committed offset, or where `auto_offset_reset` says.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `InvalidState` where `AutoOffsetReset::None` finds no
    /// committed offset, or a failure of the log.
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// The partitions taken.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// The next records, in batches: at once if there are any, else after waiting up to
    /// `timeout`; empty if none came. Partitions take turns.
    ///
    /// # Errors
    /// `Corrupt` or `OffsetOutOfRange` for the partition that cannot be read (the others can be
    /// read by the next poll), or a failure of the log.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>>;

    /// The next offset that a poll will return for this partition.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset>;

    /// Goes on at `offset` with the next poll.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()>;

    /// Leaves these partitions out of polls until [`resume`](Self::resume).
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Takes paused partitions into polls again.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// The offset that the group has committed, if any.
    ///
    /// # Errors
    /// `InvalidState` without a group, or a failure of the log.
    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>>;

    /// Commits offsets for the group: those of the next records to process. Durable as an append
    /// is.
    ///
    /// # Errors
    /// `InvalidState` without a group, `OffsetOutOfRange` for an offset past the log end, or a
    /// failure of the log.
    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()>;

    /// Who this consumer is in its group, for
    /// [`send_offsets_to_transaction`](Producer::send_offsets_to_transaction).
    ///
    /// # Errors
    /// `InvalidState` without a group.
    fn group_metadata(&self) -> Result<GroupMetadata>;

    /// A handle that ends a blocked poll from another thread.
    fn waker(&self) -> ConsumerWaker;
}

/// Ends a consumer's blocked (or else its next) poll.
#[derive(Clone)]
pub struct ConsumerWaker(Arc<dyn Fn() + Send + Sync>);

impl ConsumerWaker {
    /// Wraps what it takes to end the poll.
    #[must_use]
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self(wake)
    }

    /// Ends the poll, which then returns what it has, or nothing.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for ConsumerWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsumerWaker")
    }
}

/// Where a consumer starts in a partition that its group has no committed offset for
/// (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the log start offset.
    Earliest,
    /// At the log end offset: only what comes from now on. Kafka's default.
    #[default]
    Latest,
    /// Nowhere: that is an error.
    None,
}

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// `group.id`. Default = none: no offsets can be committed.
    pub group: Option<String>,
    /// `auto.offset.reset`. Default = latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `max.poll.records`: the most records a poll returns, but for a batch that is larger
    /// alone. Default = 500, as in Kafka.
    pub max_poll_records: usize,
    /// `fetch.max.bytes`: the most bytes a poll returns, but for a batch that is larger alone.
    /// Default = 50 MiB, as in Kafka.
    pub fetch_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: None,
            auto_offset_reset: AutoOffsetReset::Latest,
            max_poll_records: 500,
            fetch_bytes_max: 50 << 20,
        }
    }
}
