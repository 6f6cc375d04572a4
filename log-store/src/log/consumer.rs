//! Reading: the consumer, its settings, and what ends its polls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::log::group::{GroupMetadata, OffsetAndMetadata};
use crate::record::RecordBatch;
use crate::types::{Offset, Timestamp, TopicName, TopicPartition};

/// Reads records, and remembers for its group how far it has come.
pub trait Consumer: Send + fmt::Debug {
    /// Shares the partitions of these topics with the other members of the group, from the next
    /// poll on; instead of the topics subscribed before. Topics that do not exist yet are taken up
    /// when they do. No topics is [`unsubscribe`](Self::unsubscribe).
    ///
    /// All of a rebalance happens inside `poll`: a partition that is to go to another member is
    /// revoked in one, and the other member gets it in one of its own after that. A member that
    /// does not poll for `max.poll.interval.ms` loses its membership; its next poll tells the
    /// listener so, and joins anew. Dropping the consumer leaves the group without a call of the
    /// listener.
    ///
    /// # Errors
    /// `InvalidState` without a group, for a consumer that has assigned its own partitions, or
    /// from within a listener; `InvalidTopicName`; `ReadOnly` where no offsets can be committed.
    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<()>;

    /// The topics subscribed, in order.
    fn subscription(&self) -> Vec<TopicName>;

    /// Gives all partitions back, whether subscribed or assigned, and leaves the group. The
    /// listener is told before the partitions go.
    ///
    /// # Errors
    /// `InvalidState` from within a listener, or what the listener returns; the consumer has left
    /// all the same.
    fn unsubscribe(&mut self) -> Result<()>;

    /// Takes exactly these partitions from now on. A partition that is new starts at the group's
    /// committed offset, or where `auto_offset_reset` says.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `InvalidState` where `AutoOffsetReset::None` finds no
    /// committed offset or for a consumer that has subscribed, or a failure of the log.
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// The partitions taken.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// The next records, in batches: at once if there are any, else after waiting up to
    /// `timeout`; empty if none came. Partitions take turns. The rebalances of a subscription
    /// happen here.
    ///
    /// # Errors
    /// `Corrupt` or `OffsetOutOfRange` for the partition that cannot be read (the others can be
    /// read by the next poll), `InvalidState` where `AutoOffsetReset::None` finds no committed
    /// offset or from within a listener, what a listener returns, or a failure of the log.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>>;

    /// As [`poll`](Self::poll), but the rebalances of this poll are told to `told`, which may borrow
    /// what belongs to the thread that polls, instead of to the listener of the subscription.
    ///
    /// ```
    /// use headwater_log_store::{ConsumerConfig, Log, LogStore, NewTopic, Rebalance};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), headwater_log_store::Error> {
    /// let log = LogStore::in_memory()?;
    /// log.create_topic(&NewTopic::new("clicks").partitions(2))?;
    /// let config = ConsumerConfig { group: Some("g".to_owned()), ..Default::default() };
    /// let mut consumer = log.consumer(&config)?;
    /// consumer.subscribe(&["clicks"], Box::new(()))?;
    /// let mut mine = Vec::new();
    /// consumer.poll_with(Duration::ZERO, &mut |_, rebalance| {
    ///     if let Rebalance::Assigned(partitions) = rebalance {
    ///         mine.extend_from_slice(partitions);
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(mine.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`poll`](Self::poll), and what `told` returns.
    fn poll_with(
        &mut self,
        timeout: Duration,
        told: &mut RebalanceCallback<'_>,
    ) -> Result<Vec<RecordBatch>>;

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

    /// The log start offsets of partitions, assigned or not, in the order of the question.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, or a failure of the log.
    fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>>;

    /// The log end offsets of partitions, assigned or not, in the order of the question.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, or a failure of the log.
    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>>;

    /// As [`Log::offsets_for_times`](crate::Log::offsets_for_times).
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Corrupt`, or a failure of the log.
    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>>;

    /// How many offsets lie between this consumer's position and the log end; `None` while that
    /// is not known, which for a log on other machines is until the first fetch.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned, or a failure of the log.
    fn lag(&self, topic_partition: &TopicPartition) -> Result<Option<u64>>;

    /// The offset that the group has committed; `None` says that there is none. An offset that
    /// cannot be known right now is an error instead.
    ///
    /// # Errors
    /// `InvalidState` without a group, or a failure of the log.
    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>>;

    /// Commits offsets for the group: those of the next records to process. Durable as an append
    /// is.
    ///
    /// # Errors
    /// `InvalidState` without a group or for a partition that another member has, `UnknownMember`
    /// once this consumer has lost its membership, `GroupNotEmpty` for one that assigns its own
    /// partitions while the group has members, `OffsetOutOfRange` for an offset past the log end,
    /// or a failure of the log.
    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()>;

    /// Who this consumer is in its group, for
    /// [`send_offsets_to_transaction`](crate::Producer::send_offsets_to_transaction).
    ///
    /// # Errors
    /// `InvalidState` without a group.
    fn group_metadata(&self) -> Result<GroupMetadata>;

    /// A handle that ends a blocked poll from another thread.
    fn waker(&self) -> ConsumerWaker;
}

/// Is told, inside `poll`, which partitions come and go. `()` is one that does not care.
///
/// A listener may commit, seek, pause and ask through the consumer that it is given; it may not
/// poll, assign or subscribe. What it returns as an error is what the poll returns; the partitions
/// have come or gone all the same.
///
/// ```
/// use headwater_log_store::{Consumer, OffsetAndMetadata, RebalanceListener, Result};
/// use headwater_log_store::TopicPartition;
///
/// /// Commits what was processed before somebody else goes on with it.
/// struct CommitFirst;
///
/// impl RebalanceListener for CommitFirst {
///     fn on_partitions_revoked(
///         &mut self,
///         consumer: &mut dyn Consumer,
///         partitions: &[TopicPartition],
///     ) -> Result<()> {
///         let mut offsets = Vec::new();
///         for partition in partitions {
///             let position = consumer.position(partition)?;
///             offsets.push((partition.clone(), OffsetAndMetadata::from(position)));
///         }
///         consumer.commit(&offsets)
///     }
/// }
/// ```
pub trait RebalanceListener: Send {
    /// These partitions have come, in addition to those that the consumer has; their positions
    /// are the committed offsets. Not called for none. Default = nothing.
    ///
    /// # Errors
    /// Whatever the poll shall return.
    fn on_partitions_assigned(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        let _ = (consumer, partitions);
        Ok(())
    }

    /// These partitions will go, and nobody else has them yet: the last moment to commit. Not
    /// called for none. Default = nothing.
    ///
    /// # Errors
    /// Whatever the poll shall return.
    fn on_partitions_revoked(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        let _ = (consumer, partitions);
        Ok(())
    }

    /// These partitions are gone with the membership, and others may have them already: too late
    /// to commit. Default = as [`on_partitions_revoked`](Self::on_partitions_revoked), as in
    /// Kafka.
    ///
    /// # Errors
    /// Whatever the poll shall return.
    fn on_partitions_lost(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.on_partitions_revoked(consumer, partitions)
    }
}

impl RebalanceListener for () {}

/// What changes in a rebalance, as it is told to the callback of
/// [`poll_with`](Consumer::poll_with). Never without partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalance<'a> {
    /// As [`on_partitions_assigned`](RebalanceListener::on_partitions_assigned).
    Assigned(&'a [TopicPartition]),
    /// As [`on_partitions_revoked`](RebalanceListener::on_partitions_revoked).
    Revoked(&'a [TopicPartition]),
    /// As [`on_partitions_lost`](RebalanceListener::on_partitions_lost).
    Lost(&'a [TopicPartition]),
}

impl<'a> Rebalance<'a> {
    /// The partitions that come or go.
    #[must_use]
    pub fn partitions(self) -> &'a [TopicPartition] {
        match self {
            Self::Assigned(partitions) | Self::Revoked(partitions) | Self::Lost(partitions) => {
                partitions
            }
        }
    }

    /// Calls the method of a listener that is for this.
    ///
    /// # Errors
    /// What the listener returns.
    pub fn tell(
        self,
        listener: &mut dyn RebalanceListener,
        consumer: &mut dyn Consumer,
    ) -> Result<()> {
        match self {
            Self::Assigned(partitions) => listener.on_partitions_assigned(consumer, partitions),
            Self::Revoked(partitions) => listener.on_partitions_revoked(consumer, partitions),
            Self::Lost(partitions) => listener.on_partitions_lost(consumer, partitions),
        }
    }
}

/// Is told of the rebalances of one [`poll_with`](Consumer::poll_with).
pub type RebalanceCallback<'a> = dyn FnMut(&mut dyn Consumer, Rebalance<'_>) -> Result<()> + 'a;

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
    /// `client.id`: what the consumer is called in descriptions of its group, and what its member
    /// id begins with. Default = `consumer-<group>`.
    pub client_id: Option<String>,
    /// `max.poll.interval.ms`: a member that does not poll for longer loses its membership. Time
    /// inside a poll does not count. Default = 5 minutes, as in Kafka.
    pub max_poll_interval: Duration,
    /// `auto.offset.reset`. Default = latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `max.poll.records`: the most records a poll returns, but for a batch that is larger
    /// alone. Default = 500, as in Kafka.
    pub max_poll_records: usize,
    /// `fetch.max.bytes`: the most bytes a poll returns, but for a batch that is larger alone.
    /// Default = 50 MiB, as in Kafka.
    pub fetch_bytes_max: usize,
    /// `fetch.max.wait.ms`: how long a broker lets a fetch wait that finds nothing. Who reads up to
    /// a known end knows sooner with less that all before it is read. Default = the log's own; the
    /// embedded log has no such fetches.
    pub fetch_wait_max: Option<Duration>,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: None,
            client_id: None,
            max_poll_interval: Duration::from_secs(300),
            auto_offset_reset: AutoOffsetReset::Latest,
            max_poll_records: 500,
            fetch_bytes_max: 50 << 20,
            fetch_wait_max: None,
        }
    }
}
