//! What most programs import: `use headwater::prelude::*;`.

pub use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Durability, Log, LogStore, NewTopic, Offset,
    PartitionId, Producer, ProducerConfig, ProducerRecord, Record, RecordBatch, RecordView,
    Timestamp, TopicName, TopicPartition,
};
pub use headwater_topology::{
    BoxError, FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord, KeyValueStore,
    Processor, ProcessorContext, PunctuationType, StateStore, Stores, StreamPartitioner,
};
pub use headwater_topology::{
    Branched, BufferConfig, EmitStrategy, JoinWindows, Repartitioned, SessionWindow,
    SessionWindows, SlidingWindows, StreamJoined, Suppressed, TopologyConfig, UnlimitedWindows,
};
pub use headwater_topology::{
    Consumed, Grouped, KGroupedStream, KStream, KTable, Materialized, Produced, Reset, Serde,
    Streams, StreamsBuilder, StreamsConfig, TimeWindows, TimestampExtractor, Topology, Windowed,
};
