//! `StreamJoined`: how a stream is joined with another one.

use std::collections::BTreeMap;
use std::fmt;

use crate::serdes::{DefaultSerde, SerdeRef};

/// How a stream is joined with another one: the stores of both, serdes, and names. The name of the
/// stores is the short form.
///
/// The stores are `<store>-this-join-store` and `<store>-other-join-store` (with `outer-` before
/// `this` and `other` on the sides of an outer join that the other side can do without), and
/// `<store>-left-shared-join-store` or `<store>-outer-shared-join-store`.
///
/// ```
/// use headwater_topology::{JoinWindows, StreamJoined, StreamsBuilder};
/// use std::time::Duration;
///
/// let builder = StreamsBuilder::new();
/// let (left, right) = (builder.stream::<String, i64>("a"), builder.stream::<String, i64>("b"));
/// let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(5));
/// left.join(&right, |a, b| a + b, windows, StreamJoined::named("sums").with_name("add"));
/// ```
pub struct StreamJoined<K, V1, V2> {
    pub(crate) store: String,
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeRef<K>,
    pub(crate) this: SerdeRef<V1>,
    pub(crate) other: SerdeRef<V2>,
    pub(crate) logged: bool,
    pub(crate) configs: BTreeMap<String, String>,
}

impl<K: DefaultSerde, V1: DefaultSerde, V2: DefaultSerde> StreamJoined<K, V1, V2> {
    /// Stores of that name (Kafka's `withStoreName`): changelogs on, the types' own serdes.
    #[must_use]
    pub fn named(store: impl Into<String>) -> Self {
        Self::with(store, K::default_serde(), V1::default_serde(), V2::default_serde())
    }
}

impl<K: DefaultSerde, V1: DefaultSerde, V2: DefaultSerde> From<&str> for StreamJoined<K, V1, V2> {
    fn from(store: &str) -> Self {
        Self::named(store)
    }
}

impl<K, V1, V2> StreamJoined<K, V1, V2> {
    /// Stores of that name with these serdes: of the keys, of this stream's values, of the other's.
    #[must_use]
    pub fn with(
        store: impl Into<String>,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V1>,
        other_value_serde: SerdeRef<V2>,
    ) -> Self {
        Self {
            store: store.into(),
            name: None,
            key: key_serde,
            this: value_serde,
            other: other_value_serde,
            logged: true,
            configs: BTreeMap::new(),
        }
    }

    /// Names the join's nodes, and its repartition topics if there are any:
    /// `<name>-left-repartition` and `<name>-right-repartition`. Default = generated names for
    /// nodes, the stores' name for topics.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Without changelogs: the stores are empty after a restart.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }

    /// With a config for the changelog topics, over Kafka Streams' defaults.
    #[must_use]
    pub fn with_logging_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

impl<K, V1, V2> fmt::Debug for StreamJoined<K, V1, V2> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamJoined")
            .field("store", &self.store)
            .field("name", &self.name)
            .field("logged", &self.logged)
            .finish_non_exhaustive()
    }
}
