//! The one error type of the crate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{InvalidTopicName, LeaderEpoch, Offset, TopicName, TopicPartition};

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the log.
///
/// After any `Err` of an append or a commit the outcome is unknown, unless the variant says that
/// nothing was written: the records may or may not be there after the store is opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A topic name breaks Kafka's rules.
    #[error(transparent)]
    InvalidTopicName(#[from] InvalidTopicName),
    /// No such topic.
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// The topic asked for.
        topic: TopicName,
    },
    /// The topic exists, but not that partition.
    #[error("partition {topic_partition} does not exist: the topic has {partitions} partitions")]
    UnknownPartition {
        /// The partition asked for.
        topic_partition: TopicPartition,
        /// How many partitions the topic has.
        partitions: u32,
    },
    /// A topic of that name is there already.
    #[error("topic {topic} exists already")]
    TopicExists {
        /// The topic that was to be created.
        topic: TopicName,
    },
    /// A configuration key or value is refused.
    #[error("{key}={value} is refused: {reason}")]
    InvalidConfig {
        /// The key, in Kafka's words.
        key: String,
        /// The value as given.
        value: String,
        /// What is wrong with it, and what to do instead.
        reason: String,
    },
    /// The offset lies outside of what the partition holds.
    #[error(
        "offset {offset} of {topic_partition} is out of range: the log has {start} up to, not \
         including, {end}"
    )]
    OffsetOutOfRange {
        /// The partition.
        topic_partition: TopicPartition,
        /// The offset asked for.
        offset: Offset,
        /// The log start offset.
        start: Offset,
        /// The log end offset.
        end: Offset,
    },
    /// The offset belongs to an epoch that ended before it: what was there is lost, and other records
    /// may have its place.
    #[error(
        "offset {offset} of {topic_partition} is of epoch {epoch}, which ends at {end}: what was \
         there was lost in an unclean stop"
    )]
    LogTruncated {
        /// The partition.
        topic_partition: TopicPartition,
        /// The offset.
        offset: Offset,
        /// Its epoch.
        epoch: LeaderEpoch,
        /// Where that epoch ends.
        end: Offset,
    },
    /// A record or batch is larger than allowed. Nothing was written.
    #[error(
        "a record for {topic_partition} takes {bytes} bytes, more than {limit_name}={bytes_max}"
    )]
    RecordTooLarge {
        /// The partition it was meant for.
        topic_partition: TopicPartition,
        /// The encoded size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
        /// The configuration key that sets the limit.
        limit_name: &'static str,
    },
    /// A record cannot be in its topic. Nothing was written.
    #[error("a record for {topic_partition} is refused: {reason}")]
    InvalidRecord {
        /// The partition it was meant for.
        topic_partition: TopicPartition,
        /// What is wrong with it.
        reason: String,
    },
    /// A transaction has outgrown its share of the journal. Nothing was written.
    #[error(
        "the transaction holds {bytes} bytes, more than the {bytes_max} that fit (a quarter of \
         journal.bytes): commit more often or enlarge the journal"
    )]
    TransactionTooLarge {
        /// What the transaction holds.
        bytes: usize,
        /// The most that it may hold.
        bytes_max: usize,
    },
    /// A producer or consumer call does not fit the state of its transaction or assignment.
    #[error("{operation} is not possible: {reason}")]
    InvalidState {
        /// The call.
        operation: &'static str,
        /// Why it does not fit.
        reason: String,
    },
    /// A group has neither members nor committed offsets.
    #[error("group {group:?} does not exist")]
    UnknownGroup {
        /// The group asked for.
        group: String,
    },
    /// A group has live members, so only they may change its offsets.
    #[error(
        "group {group:?} has live members ({}): its offsets can be changed from outside once they \
         have left",
        members.join(", ")
    )]
    GroupNotEmpty {
        /// The group.
        group: String,
        /// The ids of its members.
        members: Vec<String>,
    },
    /// A member has left its group or was put out of it: other members have its partitions.
    #[error(
        "{member_id:?} is no member of group {group:?}: it left, or did not poll for \
         max.poll.interval.ms; nothing was committed"
    )]
    UnknownMember {
        /// The group.
        group: String,
        /// The member's id.
        member_id: String,
    },
    /// A commit comes from before the last rebalance that its member took part in. Nothing was
    /// written.
    #[error(
        "generation {generation} of member {member_id:?} of group {group:?} is over: it is in \
         generation {current}; nothing was committed"
    )]
    IllegalGeneration {
        /// The group.
        group: String,
        /// The member's id.
        member_id: String,
        /// The generation that the commit came with.
        generation: i32,
        /// The generation that the member is in.
        current: i32,
    },
    /// The records of a compressed batch take more room than a reader has. A reader that goes on at
    /// `next_offset` leaves them out.
    #[error(
        "the batch of {topic_partition} at offset {offset} takes more than {bytes_max} bytes \
         uncompressed; the next one begins at offset {next_offset}"
    )]
    BatchTooLarge {
        /// The partition.
        topic_partition: TopicPartition,
        /// The first offset that cannot be read.
        offset: Offset,
        /// The offset after the batch.
        next_offset: Offset,
        /// The limit.
        bytes_max: usize,
    },
    /// Stored bytes are not what was written. They are never cut or skipped silently.
    #[error("{topic_partition} is corrupt at offset {offset}, {path} byte {position}: {reason}")]
    Corrupt {
        /// The partition.
        topic_partition: TopicPartition,
        /// The first offset that cannot be read.
        offset: Offset,
        /// The segment file.
        path: PathBuf,
        /// The byte position in that file.
        position: u64,
        /// Which check failed.
        reason: String,
    },
    /// Bytes that were handed in are not a batch of Kafka's.
    #[error("the bytes for {topic_partition} are not a record batch: {reason}")]
    InvalidBatch {
        /// The partition that they were said to be of.
        topic_partition: TopicPartition,
        /// Which check failed.
        reason: String,
    },
    /// A file of the store itself (not of a partition) cannot be used.
    #[error("{path} cannot be used: {reason}")]
    CorruptFile {
        /// The file.
        path: PathBuf,
        /// Which check failed.
        reason: String,
    },
    /// The disk lost data that it had confirmed as durable.
    #[error(
        "{path} lost durable data: entry {sequence} is damaged, yet a later one says that it was \
         synced"
    )]
    LostDurableData {
        /// The journal.
        path: PathBuf,
        /// The journal entry that is gone.
        sequence: u64,
    },
    /// The store's folder has no store in it.
    #[error("{path} holds no store: create one first")]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// Another opener holds the store.
    #[error("{path} is locked: {holder}")]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as far as it is known.
        holder: String,
    },
    /// A file was written by a newer version of Headwater.
    #[error("{path} has format version {found}; this version reads up to {supported}")]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The disk is full. Nothing was written; appends work again when there is space.
    #[error("no space left for {path}")]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed, so that nobody knows what the disk holds. Open the store
    /// again: what was durable is there.
    #[error("the store refuses writes since an earlier failure: {cause}")]
    Poisoned {
        /// The failure, as it was reported.
        cause: Arc<str>,
    },
    /// A system call failed.
    #[error("{operation} {path} failed")]
    Io {
        /// What was tried: `read`, `write`, `sync`, …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// Another producer with the same `transactional.id` has taken over.
    #[error("producer {transactional_id:?} was fenced by a newer one with the same id")]
    Fenced {
        /// The id that both use.
        transactional_id: String,
    },
    /// The store was opened read-only.
    #[error("the store was opened read-only: {operation} needs the writer")]
    ReadOnly {
        /// The call.
        operation: &'static str,
    },
    /// This log cannot do that.
    #[error("this log does not support {operation}: {reason}")]
    Unsupported {
        /// The call.
        operation: &'static str,
        /// Why, and what to use instead.
        reason: String,
    },
    /// A log other than the embedded one failed.
    #[error("{operation} failed: {reason}")]
    External {
        /// The call.
        operation: &'static str,
        /// The other side's words.
        reason: String,
        /// Whether the same call may succeed later.
        retriable: bool,
    },
}

impl Error {
    /// A failed system call on `path`; a full disk gets its own variant.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let source = Arc::new(source);
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull { path, source },
            _ => Self::Io { operation, path, source },
        }
    }
}
