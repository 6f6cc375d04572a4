//! The DSL and the runtime of Headwater: Kafka Streams' topologies over any log that has the shape
//! of `headwater_log_store::Log`.
//!
//! A topology is put together with a [`StreamsBuilder`] from [`KStream`]s and [`KTable`]s, and
//! finished as a [`Topology`]: plain data, which
//! [`describe`](Topology::describe) prints as Kafka Streams does.
mod types;
mod error;
mod record;
mod serdes;
mod partitioner;
mod time;
mod window;
mod metrics;
mod error_handler;
mod backing;
mod config;
mod config_keys;
mod punctuation;
mod current;
mod store;
mod context;
mod failing;
mod producing;
mod processor;
mod processing;
mod graph;
mod state_stores;
mod operators;
mod dsl;
mod runtime;
mod replay;
mod testing;
#[cfg(feature = "engines")]
#[doc(hidden)]
pub mod engines;
#[cfg(test)]
mod simulation;

pub use config::{ProcessingGuarantee, StreamsConfig, TopologyConfig};
pub use dsl::branched::{Branched, BranchedKStream};
pub use dsl::builder::{StreamsBuilder, Topics};
pub use dsl::cogroup_handles::{
    CogroupedKStream, SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream,
};
pub use dsl::global_table::GlobalKTable;
pub use dsl::handles::{
    KGroupedStream, KGroupedTable, KStream, KTable, SessionWindowedKStream, TimeWindowedKStream,
};
pub use dsl::joined::Joined;
pub use dsl::options::{Consumed, Grouped, Materialized, Produced};
pub use dsl::printed::Printed;
pub use dsl::repartitioned::Repartitioned;
pub use dsl::stream_ends::Terminal;
pub use dsl::stream_joined::StreamJoined;
pub use dsl::suppressed::{
    BufferConfig, Eager, Strict, SuppressKey, Suppressed, TimeLimit, WhenFull, WindowCloses,
};
pub use dsl::table_joined::TableJoined;
pub use dsl::table_options::{TableOptions, VersionedMaterialized};
pub use dsl::windows::Windows;
pub use error::{BoxError, BuildError, Error, RecordPosition, Result};
pub use error_handler::{
    ErrorHandler, ErrorResponse, FailedOutput, FailedRecord, FailureKind, RETRIES_MAX,
};
pub use graph::plan::Topology;
pub use metrics::{DropReason, Latency, MetricsSnapshot, StoreSize};
pub use operators::dropped::DroppedRecord;
pub use partitioner::StreamPartitioner;
pub use processing::context::{Processor, ProcessorContext};
pub use processing::fixed_key::{FixedKeyProcessor, FixedKeyProcessorContext};
pub use punctuation::{Cancellable, PunctuationType};
pub use record::{FixedKeyRecord, Headers, Record};
pub use replay::reset::{InputReset, Reset, ResetPlan};
pub use runtime::crew::StreamThreadExceptionResponse;
pub use runtime::formats::Part;
pub use runtime::read_only::{
    ReadOnlyKeyValueStore, ReadOnlySessionStore, ReadOnlyVersionedStore, ReadOnlyWindowStore,
};
pub use runtime::restoring::StateRestoreListener;
pub use runtime::status::{Progress, StreamsState};
pub use runtime::streams::Streams;
pub use runtime::threads::ThreadMetadata;
pub use runtime::upgrade::{PlannedPart, UpgradeChange, UpgradePlan};
pub use serdes::{
    BytesSerde, DefaultSerde, JsonSerde, NumberSerde, OptionSerde, Serde, SerdeRef, StringSerde,
    UnitSerde,
};
pub use state_stores::builder::{StoreBuilder, Stores};
pub use state_stores::connect::{ConnectedStores, OpenStore, StateStore};
pub use state_stores::key_value::{
    KeyValueIterator, KeyValueStore, TimestampedIterator, TimestampedKeyValueStore,
};
pub use state_stores::session::SessionStore;
pub use state_stores::versioned::{VersionedKeyValueStore, VersionedPut, VersionedRecord};
pub use state_stores::window::{TimestampedWindowStore, WindowStore};
pub use store::table::ValueAndTimestamp;
pub use testing::driver::TopologyTestDriver;
pub use testing::output::TestOutputTopic;
pub use testing::topics::{TestInputTopic, TestRecord};
pub use time::TimestampExtractor;
pub use types::{StoreType, TaskId};
pub use window::emit_strategy::EmitStrategy;
pub use window::join_windows::JoinWindows;
pub use window::session_windows::SessionWindows;
pub use window::sliding_windows::SlidingWindows;
pub use window::time_windows::{TimeWindows, UnlimitedWindows};
pub use window::windowed::{
    AnyWindow, SessionWindow, SessionWindowedSerde, TimeWindowedSerde, Window, Windowed,
};
