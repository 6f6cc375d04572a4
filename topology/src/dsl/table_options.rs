//! How a topic is read as a table.

use std::fmt;

use crate::dsl::options::{Consumed, Materialized};
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

impl<K, V> Materialized<K, V> {
    /// A versioned store, which knows the rows of each key as of any time within `history` before
    /// the latest record: for tables from topics, see
    /// [`table_with`](crate::StreamsBuilder::table_with).
    ///
    /// Records older than that are dropped and counted. Joins of streams find the row that a key
    /// had at the time of the record; joins with other tables and groupings leave out records that
    /// are not the newest of their key.
    ///
    /// ```
    /// # use headwater_topology::{Materialized, StreamsBuilder, TopologyTestDriver};
    /// # use std::time::Duration;
    /// let builder = StreamsBuilder::new();
    /// let kept = Materialized::named("prices").versioned(Duration::from_secs(3_600));
    /// let prices = builder.table_with::<String, i64>("prices", kept);
    /// builder.stream::<String, i64>("sales").join_table(&prices, |n, price| n * price).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, i64>("prices").pipe_input_at("nut", 2, 10)?;
    /// driver.input_topic::<String, i64>("prices").pipe_input_at("nut", 3, 20)?;
    /// driver.input_topic::<String, i64>("sales").pipe_input_at("nut", 100, 15)?;
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), 200, 15)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn versioned(self, history: std::time::Duration) -> VersionedMaterialized<K, V> {
        let history_ms = i64::try_from(history.as_millis()).unwrap_or(i64::MAX);
        VersionedMaterialized { materialized: self, history_ms }
    }
}

/// A table that is kept with its versions: made by [`Materialized::versioned`].
#[derive(Debug)]
pub struct VersionedMaterialized<K, V> {
    pub(crate) materialized: Materialized<K, V>,
    pub(crate) history_ms: i64,
}
