//! `KStream::deduplicate`, which Kafka Streams does not have.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::dsl::handles::KStream;
use crate::dsl::options::KeyValueSerdes;
use crate::dsl::repartition::repartition;
use crate::graph::node::{StoreDefinition, StoreKind};
use crate::operators::deduplicate::{self, SeenStore};
use crate::processor::StoreHandle;
use crate::serdes::DefaultSerde;
use crate::store::window_options::WindowStoreOptions;
use crate::types::StoreType;
use crate::window::windowed::millis;

impl<K, V> KStream<K, V>
where
    K: DefaultSerde + Hash + Eq + Clone + Send + 'static,
    V: DefaultSerde + Clone + Send + 'static,
{
    /// Lets the first record of each key through, and drops those of the same key that lie no
    /// further than `within` from it, before or after. Kafka Streams has no such operation.
    ///
    /// What was let through is kept in a store of that name; records that were dropped prolong
    /// nothing. They are counted, as are null keys, and records that come when stream time, the
    /// latest time that was let through, has passed theirs by more than `within`: nobody knows any
    /// more whether they repeat something. Null values are like any other; times and headers
    /// stay. A stream whose key was changed goes through the topic `<store>-repartition`.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// # use std::time::Duration;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// orders.deduplicate(Duration::from_millis(100), "seen-orders").to("once");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let orders = driver.input_topic::<String, String>("orders");
    /// for (id, time) in [("7", 0), ("7", 60), ("8", 70), ("7", 101)] {
    ///     orders.pipe_input_at(id, "tea", time)?;
    /// }
    /// let once = driver.output_topic::<String, String>("once")?.read_timed()?;
    /// let once: Vec<(&str, i64)> = once.iter().map(|(id, _, time)| (id.as_str(), *time)).collect();
    /// assert_eq!(once, [("7", 0), ("8", 70), ("7", 101)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn deduplicate(&self, within: Duration, store: &str) -> Self {
        let name = self.scope.next_name("KSTREAM-DEDUPLICATE-");
        let within_ms = millis(within);
        let serdes = KeyValueSerdes { key: K::default_serde(), value: V::default_serde() };
        let parent = if self.repartition_required {
            let names = self.scope.repartition_names(store);
            repartition(&self.scope, self.node, names, &serdes)
        } else {
            self.node
        };
        let key_serde = serdes.key;
        let factory = deduplicate::factory::<K, V>(
            self.scope.next_id(),
            within_ms,
            store.to_owned(),
            Arc::clone(&key_serde),
        );
        // A record in time lies at most `within` back, and may repeat one as much before it.
        let retention_ms = within_ms.saturating_mul(2).saturating_add(1);
        let options = WindowStoreOptions { retention_ms, operators: 1, emission: None };
        let store_name = store.to_owned();
        let build = move || {
            let name = store_name.clone();
            let key_serde = Arc::clone(&key_serde);
            StoreHandle::new(SeenStore::new(name, options, key_serde, <()>::default_serde()))
        };
        let definition = StoreDefinition {
            name: store.to_owned(),
            kind: StoreKind::Window { retention_ms, size_ms: None },
            logged: true,
            cached: Some(false),
            store_type: Some(StoreType::InMemory),
            configs: std::collections::BTreeMap::new(),
            factory: Arc::new(build),
        };
        let node = self.scope.add_stateful(name, parent, definition, factory);
        Self::new(self.scope.clone(), node, false)
    }
}
