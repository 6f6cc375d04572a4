//! The seam: what the topology runtime and the connectors ask of a log, whichever it is.
//!
//! The shape and the words are those of Kafka's three clients, because both an embedded log and a
//! Kafka cluster can do those well.
mod group;
mod consumer;
mod producer;
mod admin;

pub use admin::{
    AlterConfigOp, ConfigEntry, EpochEndOffset, Log, LogId, NewTopic, TopicDescription, Watermarks,
};
pub use consumer::{
    AutoOffsetReset, Consumer, ConsumerConfig, ConsumerWaker, Rebalance, RebalanceCallback,
    RebalanceListener,
};
pub use group::{
    GroupDescription, GroupMetadata, GroupOffsets, GroupPartition, GroupState, MemberDescription,
    OffsetAndMetadata,
};
pub use producer::{
    Acknowledgement, Compression, Producer, ProducerConfig, ProducerRecord, Receipt,
    RecordMetadata, TransactionBytes,
};
