//! How a topic is read as a table.

use std::fmt;

use crate::dsl::options::{Consumed, Materialized, VersionedMaterialized};
use crate::serdes::DefaultSerde;

/// How a topic is read as a table: [`Consumed`], [`Materialized`] (the name of the store is the
/// short form), or a pair of both.
///
/// ```
/// use headwater_topology::{Consumed, Materialized, StreamsBuilder, TableOptions};
///
/// let builder = StreamsBuilder::new();
/// builder.table_with::<String, i64>("stock", "stock");
/// builder.table_with("users", Consumed::<String, String>::new().with_name("users"));
/// let kept = Materialized::named("prices").without_logging();
/// builder.table_with("prices", (Consumed::<String, f64>::new(), kept));
/// ```
pub struct TableOptions<K, V> {
    pub(crate) consumed: Consumed<K, V>,
    pub(crate) materialized: Option<Materialized<K, V>>,
    /// How far back versions go, if they are kept.
    pub(crate) history_ms: Option<i64>,
}

impl<K, V> From<Consumed<K, V>> for TableOptions<K, V> {
    fn from(consumed: Consumed<K, V>) -> Self {
        Self { consumed, materialized: None, history_ms: None }
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<Materialized<K, V>> for TableOptions<K, V> {
    fn from(materialized: Materialized<K, V>) -> Self {
        (Consumed::new(), materialized).into()
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<&str> for TableOptions<K, V> {
    fn from(store: &str) -> Self {
        Materialized::from(store).into()
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<String> for TableOptions<K, V> {
    fn from(store: String) -> Self {
        Materialized::from(store).into()
    }
}

impl<K, V, M: Into<Materialized<K, V>>> From<(Consumed<K, V>, M)> for TableOptions<K, V> {
    fn from((consumed, materialized): (Consumed<K, V>, M)) -> Self {
        Self { consumed, materialized: Some(materialized.into()), history_ms: None }
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<VersionedMaterialized<K, V>> for TableOptions<K, V> {
    fn from(versioned: VersionedMaterialized<K, V>) -> Self {
        (Consumed::new(), versioned).into()
    }
}

impl<K, V> From<(Consumed<K, V>, VersionedMaterialized<K, V>)> for TableOptions<K, V> {
    fn from((consumed, versioned): (Consumed<K, V>, VersionedMaterialized<K, V>)) -> Self {
        let VersionedMaterialized { materialized, history_ms } = versioned;
        Self { consumed, materialized: Some(materialized), history_ms: Some(history_ms) }
    }
}

impl<K, V> fmt::Debug for TableOptions<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableOptions")
            .field("consumed", &self.consumed)
            .field("materialized", &self.materialized)
            .field("history_ms", &self.history_ms)
            .finish()
    }
}
