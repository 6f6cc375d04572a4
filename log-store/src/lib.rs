//! An embedded, partitioned, append-only commit log.
//!
//! [`LogStore`] keeps topics of partitions of records in a folder (or, for tests, in memory). It
//! writes Kafka's record batches, makes them durable through one journal with a sync for all that
//! arrives together, commits transactions over any set of partitions and consumer offsets, and
//! after a crash has what it acknowledged. What is written against the traits [`Log`],
//! [`Consumer`] and [`Producer`] runs on it and on other logs.
mod types;
mod epochs;
mod error;
mod varint;
mod clock;
mod layout;
mod record;
mod log;
mod config;
mod storage;
mod batch;
mod segment;
mod journal;
mod checkpoint;
mod published;
mod signal;
mod partitioner;
mod retention;
mod partition;
mod compaction;
mod topic;
mod group;
mod engine;
mod transaction;
mod producer;
mod consumer;
mod housekeeping;
pub mod inspect;
mod store;
mod builder;
#[cfg(feature = "testing")]
pub mod fuzzing;

pub use builder::LogStoreBuilder;
pub use clock::{Clock, ManualClock, SystemClock};
pub use compaction::CompactionReport;
pub use config::Durability;
pub use engine::{DamagedSegment, RecoveryReport, ScrubReport, StoreHealth, TornTail};
pub use error::{Error, Result};
pub use group::{OffsetReset, OffsetResetPlan, PartitionReset, ResetNote};
pub use log::{
    Acknowledgement, AlterConfigOp, AutoOffsetReset, Compression, ConfigEntry, Consumer,
    ConsumerConfig, ConsumerWaker, EpochEndOffset, GroupDescription, GroupMetadata, GroupOffsets,
    GroupPartition, GroupState, Log, LogId, MemberDescription, NewTopic, OffsetAndMetadata,
    Producer, ProducerConfig, ProducerRecord, Rebalance, RebalanceCallback, RebalanceListener,
    Receipt, RecordMetadata, TopicDescription, TransactionBytes, Watermarks,
};
pub use partitioner::partition_for_key;
pub use record::{Header, HeadersView, Record, RecordBatch, RecordBatchBuilder, RecordView};
#[cfg(feature = "testing")]
pub use storage::{CallEffect, CallFault, CallKind, CrashKind, Effect, SimulatedStorage};
pub use storage::{
    FileKind, FileStorage, MemoryStorage, OpenMode, Reads, Storage, StorageFile, StorageLock,
};
pub use store::LogStore;
pub use types::{
    CONSUMER_OFFSETS_TOPIC, InvalidTopicName, LeaderEpoch, Offset, PartitionId,
    TOPIC_NAME_BYTES_MAX, Timestamp, TopicName, TopicPartition,
};
