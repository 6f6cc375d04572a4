//! Option values of the DSL, each with a short form.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headwater_log_store::AutoOffsetReset;

use crate::partitioner::{PartitionerRef, StreamPartitioner};
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::time::TimestampExtractor;
use crate::types::StoreType;

/// The serdes of a key and a value: by default those of the types.
pub(crate) struct KeyValueSerdes<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
}

impl<K: DefaultSerde, V: DefaultSerde> Default for KeyValueSerdes<K, V> {
    fn default() -> Self {
        Self { key: K::default_serde(), value: V::default_serde() }
    }
}

impl<K, V> Clone for KeyValueSerdes<K, V> {
    fn clone(&self) -> Self {
        Self { key: SerdeRef::clone(&self.key), value: SerdeRef::clone(&self.value) }
    }
}

/// How topics are read: serdes, event time, and where to start.
///
/// ```
/// use headwater_topology::{Consumed, StreamsBuilder, TimestampExtractor};
/// use headwater_log_store::Timestamp;
///
/// // The value is its own event time, in milliseconds.
/// let by_value = TimestampExtractor::from_fn(|_: &String, value: &i64| {
///     Some(Timestamp::from_millis(*value))
/// });
/// let builder = StreamsBuilder::new();
/// builder.stream_with("ticks", Consumed::new().with_timestamp_extractor(by_value)).to("out");
/// ```
pub struct Consumed<K, V> {
    pub(crate) serdes: KeyValueSerdes<K, V>,
    pub(crate) extractor: TimestampExtractor<K, V>,
    pub(crate) reset: Option<AutoOffsetReset>,
    pub(crate) name: Option<String>,
}

impl<K: DefaultSerde, V: DefaultSerde> Consumed<K, V> {
    /// The types' own serdes, record time, the application's `auto.offset.reset`.
    #[must_use]
    pub fn new() -> Self {
        Self::with(K::default_serde(), V::default_serde())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Consumed<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Consumed<K, V> {
    /// With these serdes.
    #[must_use]
    pub fn with(key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        Self {
            serdes: KeyValueSerdes { key: key_serde, value: value_serde },
            extractor: TimestampExtractor::record_time(),
            reset: None,
            name: None,
        }
    }

    /// With another serde for the keys.
    #[must_use]
    pub fn with_key_serde(mut self, serde: SerdeRef<K>) -> Self {
        self.serdes.key = serde;
        self
    }

    /// With another serde for the values.
    #[must_use]
    pub fn with_value_serde(mut self, serde: SerdeRef<V>) -> Self {
        self.serdes.value = serde;
        self
    }

    /// With another event time. Default = [`TimestampExtractor::record_time`].
    #[must_use]
    pub fn with_timestamp_extractor(mut self, extractor: TimestampExtractor<K, V>) -> Self {
        self.extractor = extractor;
        self
    }

    /// Where to start in a partition that the application has no committed offset for. Default =
    /// the application's `auto.offset.reset`.
    #[must_use]
    pub fn with_offset_reset_policy(mut self, reset: AutoOffsetReset) -> Self {
        self.reset = Some(reset);
        self
    }

    /// Names the source. Default = `KSTREAM-SOURCE-` and a number.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K, V> fmt::Debug for Consumed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumed")
            .field("extractor", &self.extractor)
            .field("reset", &self.reset)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a topic is written.
pub struct Produced<K, V> {
    pub(crate) serdes: KeyValueSerdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) partitioner: Option<PartitionerRef<K, V>>,
}

impl<K: DefaultSerde, V: DefaultSerde> Produced<K, V> {
    /// The types' own serdes.
    #[must_use]
    pub fn new() -> Self {
        Self::with(K::default_serde(), V::default_serde())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Produced<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Produced<K, V> {
    /// With these serdes.
    #[must_use]
    pub fn with(key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        let serdes = KeyValueSerdes { key: key_serde, value: value_serde };
        Self { serdes, name: None, partitioner: None }
    }

    /// With a partitioner. Default = Kafka's, by the bytes of the key.
    #[must_use]
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V>) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Names the sink. Default = `KSTREAM-SINK-` and a number.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K, V> fmt::Debug for Produced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Produced").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a stream is grouped: serdes for a repartition topic, and its name.
pub struct Grouped<K, V> {
    pub(crate) serdes: KeyValueSerdes<K, V>,
    pub(crate) name: Option<String>,
}

impl<K: DefaultSerde, V: DefaultSerde> Grouped<K, V> {
    /// The types' own serdes.
    #[must_use]
    pub fn new() -> Self {
        Self::with(K::default_serde(), V::default_serde())
    }

    /// Names the grouping: a repartition topic is then named `<name>-repartition` instead of
    /// after the store, and shared by all aggregations of this grouping.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::new().with_name(name)
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Grouped<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<&str> for Grouped<K, V> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<K, V> Grouped<K, V> {
    /// With these serdes.
    #[must_use]
    pub fn with(key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        Self { serdes: KeyValueSerdes { key: key_serde, value: value_serde }, name: None }
    }

    /// See [`named`](Self::named).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Self { serdes: self.serdes.clone(), name: self.name.clone() }
    }
}

impl<K, V> fmt::Debug for Grouped<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How the rows of a table are kept. The name of the store is the short form.
///
/// ```
/// use headwater_topology::{Materialized, StreamsBuilder};
///
/// let builder = StreamsBuilder::new();
/// let words = builder.stream::<String, String>("words").group_by_key();
/// words.count("counts").to_stream().to("out");
/// words.reduce(|old, new| old + &new, Materialized::named("joined").without_logging());
/// ```
pub struct Materialized<K, V> {
    pub(crate) store: String,
    pub(crate) key_serde: Option<SerdeRef<K>>,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) logged: bool,
    pub(crate) cached: Option<bool>,
    pub(crate) store_type: Option<StoreType>,
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) retention_ms: Option<i64>,
}

impl<K, V: DefaultSerde> Materialized<K, V> {
    /// A store of that name: a changelog `<application.id>-<name>-changelog` on, the types' own
    /// serdes.
    #[must_use]
    pub fn named(store: impl Into<String>) -> Self {
        Self::with(store, V::default_serde())
    }
}

impl<K, V: DefaultSerde> From<&str> for Materialized<K, V> {
    fn from(store: &str) -> Self {
        Self::named(store)
    }
}

impl<K, V: DefaultSerde> From<String> for Materialized<K, V> {
    fn from(store: String) -> Self {
        Self::named(store)
    }
}

impl<K, V> Materialized<K, V> {
    /// A store of that name with this serde for its values.
    #[must_use]
    pub fn with(store: impl Into<String>, value_serde: SerdeRef<V>) -> Self {
        Self {
            store: store.into(),
            key_serde: None,
            value_serde,
            logged: true,
            cached: None,
            store_type: None,
            configs: BTreeMap::new(),
            retention_ms: None,
        }
    }

    /// With another serde for the keys. Default = that of the grouping.
    #[must_use]
    pub fn with_key_serde(mut self, serde: SerdeRef<K>) -> Self {
        self.key_serde = Some(serde);
        self
    }

    /// Without a changelog: the store is empty after a restart.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }

    /// With a record cache: of several updates of a key between two commits only the last is sent,
    /// with the value that was sent before as the old one; none is sent of a row that has come and
    /// gone in between. Default = as [`TopologyConfig`](crate::TopologyConfig) says: without.
    ///
    /// Updates are sent by each commit, in the order of the last changes, and when all caches
    /// together exceed [`statestore_cache_max_bytes`](crate::StreamsConfig::statestore_cache_max_bytes).
    /// The rows are in the store at once, so that joins see them before the update is sent. A
    /// replay holds nothing back. Versioned tables have no cache, nor have sliding windows and
    /// sessions that are sent when they close.
    ///
    /// ```
    /// # use headwater_topology::{Materialized, StreamsBuilder};
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// clicks.count(Materialized::named("counts").with_caching_enabled()).to_stream().to("out");
    /// ```
    #[must_use]
    pub fn with_caching_enabled(mut self) -> Self {
        self.cached = Some(true);
        self
    }

    /// Without a record cache, whatever [`TopologyConfig`](crate::TopologyConfig) says: every
    /// update is sent.
    #[must_use]
    pub fn with_caching_disabled(mut self) -> Self {
        self.cached = Some(false);
        self
    }

    /// With the rows in memory, or on disk: see [`StoreType`]. Default = as
    /// [`TopologyConfig`](crate::TopologyConfig) says: in memory.
    #[must_use]
    pub fn with_store_type(mut self, store_type: StoreType) -> Self {
        self.store_type = Some(store_type);
        self
    }

    /// With a config for the changelog topic, over Kafka Streams' defaults.
    #[must_use]
    pub fn with_logging_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }

    /// How long windows are kept. Default, and the least allowed = size and grace. Only for
    /// windowed aggregations.
    #[must_use]
    pub fn with_retention(mut self, retention: std::time::Duration) -> Self {
        self.retention_ms = Some(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        self
    }
}

impl<K, V> fmt::Debug for Materialized<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Materialized")
            .field("store", &self.store)
            .field("logged", &self.logged)
            .finish_non_exhaustive()
    }
}
