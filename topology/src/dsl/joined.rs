//! How a stream is joined with a table.

use std::fmt;
use std::time::Duration;

use crate::dsl::options::KeyValueSerdes;
use crate::serdes::{DefaultSerde, SerdeRef};

/// How a stream is joined with a table: serdes for a repartition topic, a name, and how long its
/// records wait for the rows of a versioned table.
pub struct Joined<K, V> {
    pub(crate) serdes: KeyValueSerdes<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) grace_ms: Option<i64>,
}

impl<K: DefaultSerde, V: DefaultSerde> Joined<K, V> {
    /// The types' own serdes.
    #[must_use]
    pub fn new() -> Self {
        Self::with(K::default_serde(), V::default_serde())
    }

    /// Names the join's node, and the repartition topic if there is one: `<name>-repartition`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::new().with_name(name)
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Joined<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<&str> for Joined<K, V> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<K, V> Joined<K, V> {
    /// With these serdes of the stream's keys and values.
    #[must_use]
    pub fn with(key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        Self {
            serdes: KeyValueSerdes { key: key_serde, value: value_serde },
            name: None,
            grace_ms: None,
        }
    }

    /// See [`named`](Self::named).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets each record wait for rows that come late: until the stream has come that far beyond
    /// the record's time. Only for joins with versioned tables, and only for joins with a name,
    /// after which the buffer's store is called: `<name>-Buffer`. Default = records do not wait.
    ///
    /// The time of the stream is here the latest of the records that have waited in this join. They
    /// are joined in the order of their times, with the rows of their times, and keep their times
    /// and headers. A record that is older than the grace when it comes is joined at once. The
    /// table's history has to be as long as the grace at least.
    ///
    /// A null key has no row to wait for: a left join joins it at once, an inner one drops it.
    ///
    /// ```
    /// # use headwater_topology::{Joined, Materialized, StreamsBuilder, TopologyTestDriver};
    /// # use std::time::Duration;
    /// let builder = StreamsBuilder::new();
    /// let kept = Materialized::named("prices").versioned(Duration::from_secs(3_600));
    /// let prices = builder.table_with::<String, i64>("prices", kept);
    /// let sales = builder.stream::<String, i64>("sales");
    /// let waiting = Joined::named("revenue").with_grace_period(Duration::from_millis(10));
    /// sales.join_table_with(&prices, |_, n, price| n * price, waiting).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let sales = driver.input_topic::<String, i64>("sales");
    /// sales.pipe_input_at("nut", 100, 15)?;
    /// driver.input_topic::<String, i64>("prices").pipe_input_at("nut", 2, 10)?; // late, but in time
    /// sales.pipe_input_at("nut", 1, 25)?;
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), 200, 15)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_grace_period(mut self, grace: Duration) -> Self {
        self.grace_ms = Some(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
        self
    }
}

impl<K, V> fmt::Debug for Joined<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("name", &self.name)
            .field("grace_ms", &self.grace_ms)
            .finish_non_exhaustive()
    }
}
