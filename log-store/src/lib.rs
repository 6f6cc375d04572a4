//! An embedded, partitioned, append-only commit log.
mod types;
mod error;
mod varint;
mod clock;
mod record;
mod log;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use log::{
    Acknowledgement, AutoOffsetReset, Consumer, ConsumerConfig, ConsumerWaker, GroupMetadata,
    GroupOffsets, Log, NewTopic, OffsetAndMetadata, Producer, ProducerConfig, ProducerRecord,
    Receipt, RecordMetadata, TopicDescription, TransactionBytes, Watermarks,
};
pub use record::{Header, HeadersView, Record, RecordBatch, RecordBatchBuilder, RecordView};
pub use types::{
    CONSUMER_OFFSETS_TOPIC, Offset, PartitionId, TOPIC_NAME_BYTES_MAX, Timestamp, TopicName,
    TopicPartition,
};
