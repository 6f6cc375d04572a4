//! Writing: the producer, its records, and the receipts that it gives for them.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::log::group::{GroupMetadata, OffsetAndMetadata};
use crate::record::Header;
use crate::types::{Offset, PartitionId, Timestamp, TopicPartition};

/// Writes records, alone or in transactions.
pub trait Producer: Send + fmt::Debug {
    /// Appends a record. Outside of a transaction it is on its way when this returns, and
    /// acknowledged when the receipt resolves; inside of one it is held until the commit.
    ///
    /// # Errors
    /// `InvalidState` of a producer [without receipts](ProducerConfig::without_receipts),
    /// `UnknownTopic`, `UnknownPartition`, `RecordTooLarge`, `TransactionTooLarge` (nothing was
    /// written), or a failure of the log.
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt>;

    /// As [`send`](Self::send), for one who needs no receipt: the commit, or
    /// [`flush`](Self::flush), answers for the record. It costs less where many are sent. Default =
    /// `send`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_without_receipt(&mut self, record: &ProducerRecord<'_>) -> Result<()> {
        self.send(record).map(drop)
    }

    /// Waits until all that was sent outside of a transaction is acknowledged.
    ///
    /// # Errors
    /// A failure of the log.
    fn flush(&mut self) -> Result<()>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// `InvalidState` if one is open, or the producer has no `transactional.id`.
    fn begin_transaction(&mut self) -> Result<()>;

    /// Makes offsets of a group part of the open transaction.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction or for a partition that another member has,
    /// `UnknownMember` or `IllegalGeneration` if a rebalance has overtaken the member,
    /// `GroupNotEmpty` for one who is no member of a group that has some, or a failure of the log.
    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()>;

    /// Makes all of the open transaction visible, or (if this fails or the process dies first)
    /// nothing of it.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction. `UnknownMember`, `IllegalGeneration` or
    /// `GroupNotEmpty` if a rebalance has overtaken the member whose offsets are in it: nothing
    /// took place, and the transaction is still open, to be aborted. Or a failure of the log;
    /// whether the transaction took place is then unknown, and the producer is to be dropped.
    fn commit_transaction(&mut self) -> Result<()>;

    /// Drops the open transaction. Never asks to be retried.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction, or a failure of the log.
    fn abort_transaction(&mut self) -> Result<()>;

    /// The encoded bytes that the open transaction holds, and the most that it may.
    fn transaction_bytes(&self) -> TransactionBytes;
}

/// How full a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionBytes {
    /// What it holds.
    pub used: usize,
    /// The most that it may hold.
    pub max: usize,
}

/// A record for a topic.
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition. Default = by the key's murmur2 hash as in Kafka; without a key, spread in
    /// runs (sticky).
    pub partition: Option<PartitionId>,
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event time. Default = the time of the append.
    pub timestamp: Option<Timestamp>,
    /// The headers, in order.
    pub headers: &'a [Header<'a>],
}

impl<'a> ProducerRecord<'a> {
    /// A record with neither key nor value, to be filled by struct update.
    #[must_use]
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, timestamp: None, headers: &[] }
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub topic_partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
}

/// The promise of an acknowledgement. It may be dropped: the record is sent all the same.
#[derive(Debug)]
pub struct Receipt(Inner);

#[derive(Debug)]
enum Inner {
    Acknowledged(RecordMetadata),
    Pending { acknowledgement: Arc<dyn Acknowledgement>, index: u64 },
}

/// What stands behind the receipts of one or several records.
pub trait Acknowledgement: Send + Sync + fmt::Debug {
    /// Blocks until the record that the receipt was made for is acknowledged or has failed.
    ///
    /// # Errors
    /// What the record failed with.
    fn wait(&self, index: u64) -> Result<RecordMetadata>;
}

impl Receipt {
    /// The receipt of a record that is acknowledged already.
    #[must_use]
    pub fn acknowledged(metadata: RecordMetadata) -> Self {
        Self(Inner::Acknowledged(metadata))
    }

    /// The receipt of the record that `acknowledgement` knows as `index`.
    #[must_use]
    pub fn pending(acknowledgement: Arc<dyn Acknowledgement>, index: u64) -> Self {
        Self(Inner::Pending { acknowledgement, index })
    }

    /// Blocks until the record is acknowledged. Inside a transaction that is at its commit; before
    /// it, this returns an error instead of waiting for ever.
    ///
    /// # Errors
    /// What the record failed with; `InvalidState` before its transaction was committed.
    pub fn wait(self) -> Result<RecordMetadata> {
        match self.0 {
            Inner::Acknowledged(metadata) => Ok(metadata),
            Inner::Pending { acknowledgement, index } => acknowledgement.wait(index),
        }
    }
}

/// How a producer writes.
#[derive(Clone, Debug, Default)]
pub struct ProducerConfig {
    /// `transactional.id`. Default = none: no transactions. A second producer with the same id
    /// fences the first.
    pub transactional_id: Option<String>,
    /// `compression.type`: how batches are compressed, where the topic's config of that name
    /// leaves it to the producer. Default = none.
    pub compression: Compression,
    /// Whether all records are sent [without a receipt](Producer::send_without_receipt), and
    /// [`send`](Producer::send) is refused. Nothing is kept for receipts then, and nothing is done
    /// as acknowledgements come. Default = false.
    pub without_receipts: bool,
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all. Default, as in Kafka.
    #[default]
    None,
    /// LZ4 frames, which every client of Kafka reads. A batch that it would not make shorter is
    /// left as it is, so it pays where batches are large: in transactions, and where records are
    /// appended many at a time.
    Lz4,
}
