//! What most programs import: `use headwater::prelude::*;`.

pub use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Durability, Log, LogStore, NewTopic, Offset,
    PartitionId, Producer, ProducerConfig, ProducerRecord, Record, RecordBatch, RecordView,
    Timestamp, TopicName, TopicPartition,
};
pub use headwater_topology::{
    BoxError, DefaultSerde, ErrorResponse, FixedKeyProcessor, FixedKeyProcessorContext,
    FixedKeyRecord, KeyValueStore, Processor, ProcessorContext, PunctuationType, StateStore,
    Stores, StreamPartitioner,
};
pub use headwater_topology::{
    Branched, BufferConfig, EmitStrategy, GlobalKTable, JoinWindows, Joined, JsonSerde,
    Repartitioned, SerdeRef, SessionWindow, SessionWindows, SlidingWindows, StoreType,
    StreamJoined, Suppressed, TableJoined, TopologyConfig, UnlimitedWindows,
};
pub use headwater_topology::{
    Consumed, Grouped, KGroupedStream, KStream, KTable, Materialized, Produced, Reset, Serde,
    Streams, StreamsBuilder, StreamsConfig, StreamsState, TimeWindows, TimestampExtractor,
    Topology, TopologyTestDriver, Windowed,
};
