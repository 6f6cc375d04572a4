//! `KStream`: what makes other records of the records of a stream, one by one.

use crate::dsl::handles::KStream;
use crate::error::BoxError;
use crate::operators::{filter, flat_map, map};

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Names the node of the last operation. Default = its kind and a number, which is used up
    /// all the same: naming one node never renames another.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.scope.rename(self.node, name);
        self
    }

    /// Keeps the records that satisfy the predicate, as they are.
    ///
    /// Null keys and null values are passed to the predicate where the types have them, late records
    /// like any others; records keep their order, times and headers.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").filter(|_, n| *n > 1).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 1, 10), ("k", 2, 5)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("k".to_owned(), 2, 5)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let node = self.scope.add_processor("KSTREAM-FILTER-", &[self.node], |node| {
            filter::factory(node, predicate)
        });
        Self::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Keeps the records that do not satisfy the predicate: the other half of
    /// [`filter`](Self::filter).
    #[must_use]
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes of each record another one. The key is new: a grouping, a join or
    /// [`to_table`](Self::to_table) repartitions.
    ///
    /// Null keys and null values are passed to the closure where the types have them, late records
    /// like any others; records keep their order, times and headers.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").map(|key, n| (n, key)).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 1, 10)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<i64, String>("out")?.read_timed()?;
    /// assert_eq!(out, [(1, "k".to_owned(), 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn map<K2, V2>(
        &self,
        mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let node = self
            .scope
            .add_processor("KSTREAM-MAP-", &[self.node], |node| map::factory(node, mapper));
        KStream::new(self.scope.clone(), node, true)
    }

    /// As [`map`](Self::map), with a closure that can fail: the processing handler then decides
    /// about the record.
    #[must_use]
    pub fn try_map<K2, V2, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(K, V) -> Result<(K2, V2), E> + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-MAP-", &[self.node], |node| {
            map::try_factory(node, move |key, value| mapper(key, value).map_err(Into::into))
        });
        KStream::new(self.scope.clone(), node, true)
    }

    /// Makes of each value another one; the key stays, and so does the partition.
    ///
    /// Null keys and null values are passed to the closure where the types have them, late records
    /// like any others; records keep their order, times and headers.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let lengths = builder.stream::<String, String>("lines").map_values(|line| line.len() as u64);
    /// ```
    #[must_use]
    pub fn map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.add_map_values(move |key, value| (key, mapper(value)))
    }

    /// As [`map_values`](Self::map_values), with a look at the key.
    #[must_use]
    pub fn map_values_with_key<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.add_map_values(move |key, value| {
            let value = mapper(&key, value);
            (key, value)
        })
    }

    fn add_map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(K, V) -> (K, V2) + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let node = self
            .scope
            .add_processor("KSTREAM-MAPVALUES-", &[self.node], |node| map::factory(node, mapper));
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// As [`map_values`](Self::map_values), with a closure that can fail: the processing handler
    /// then decides about the record.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let numbers =
    ///     builder.stream::<String, String>("numbers").try_map_values(|text| text.parse::<i64>());
    /// ```
    #[must_use]
    pub fn try_map_values<V2: Clone + Send + 'static, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(V) -> Result<V2, E> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.try_map_values_with_key(move |_, value| mapper(value))
    }

    /// As [`try_map_values`](Self::try_map_values), with a look at the key.
    #[must_use]
    pub fn try_map_values_with_key<V2: Clone + Send + 'static, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(&K, V) -> Result<V2, E> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let node = self.scope.add_processor("KSTREAM-MAPVALUES-", &[self.node], |node| {
            map::try_factory(node, move |key, value| {
                let value = mapper(&key, value).map_err(Into::into)?;
                Ok((key, value))
            })
        });
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Makes of each record any number of others, in order. The keys are new, as with
    /// [`map`](Self::map). All of them have the record's time and headers.
    ///
    /// Null keys and null values are passed to the closure where the types have them, late records
    /// like any others.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").flat_map(|key, n| (0..n).map(move |i| (i, key.clone()))).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 2, 10)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<i64, String>("out")?.read_timed()?;
    /// assert_eq!(out, [(0, "k".to_owned(), 10), (1, "k".to_owned(), 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn flat_map<K2, V2, I>(
        &self,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = (K2, V2)> + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-FLATMAP-", &[self.node], |node| {
            flat_map::factory(node, mapper)
        });
        KStream::new(self.scope.clone(), node, true)
    }

    /// Makes of each value any number of others, in order; the key stays. For the rest see
    /// [`flat_map`](Self::flat_map).
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").flat_map_values(|n| [n, -n]).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 2, 10)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("k".to_owned(), 2, 10), ("k".to_owned(), -2, 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn flat_map_values<V2, I>(
        &self,
        mapper: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = V2> + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-FLATMAPVALUES-", &[self.node], |node| {
            flat_map::factory(node, move |key: K, value| {
                mapper(value).into_iter().map(move |value| (key.clone(), value))
            })
        });
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Gives each record another key, as [`map`](Self::map) does; the value stays. A `None` is a
    /// key like any other here, but the records that have it are dropped by what needs a key.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").select_key(|_, n| n % 2).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 3, 10)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<i64, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [(1, 3, 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn select_key<K2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        let node = self.scope.add_processor("KSTREAM-KEY-SELECT-", &[self.node], |node| {
            map::factory(node, move |key, value| (mapper(&key, &value), value))
        });
        KStream::new(self.scope.clone(), node, true)
    }
}
