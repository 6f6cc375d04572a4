//! What most programs import: `use headwater::prelude::*;`.

pub use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Log, NewTopic, Offset, PartitionId, Producer,
    ProducerConfig, ProducerRecord, Record, RecordBatch, RecordView, Timestamp, TopicName,
    TopicPartition,
};
