//! `KTable::suppress`: fewer updates, or only final ones.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::KTable;
use crate::dsl::suppressed::{SuppressKey, Suppressed};
use crate::dsl::table_node::{Above, TableNode};
use crate::error::BuildError;
use crate::graph::node::{NodeKind, StoreDefinition, StoreKind};
use crate::operators::suppress::{self, SuppressOptions};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::processor::StoreHandle;
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::store::suppress_buffer::SuppressBuffer;
use crate::types::StoreType;

/// A table some of whose updates are held back.
struct HeldBack<K, V> {
    above: KTable<K, V>,
    store: String,
}

impl<K, V> Above<K, V> for HeldBack<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn send_old(&self, force: bool) -> bool {
        self.above.table.send_old(force)
    }

    fn view(&self) -> View<K, V> {
        suppress::view(&self.store, self.above.table.view())
    }
}

impl<K, V> KTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Holds updates back, in a buffer whose store is `<name>-store`, and sends the last one of each
    /// key when its time has come: see [`Suppressed`].
    ///
    /// Stream time here is the latest time of the updates that come to this node, so an update
    /// waits until another one moves it on. A later update of a key takes the place of the one that
    /// is held back, and waits from the same time. Results come by the time that they wait from,
    /// then by the bytes of their keys; with the time and the headers of the latest update. A join
    /// below sees of a key that is held back what was sent before.
    ///
    /// Windowed tables only can wait for their windows to close:
    ///
    /// ```
    /// use headwater_topology::{
    ///     BufferConfig, StreamsBuilder, Suppressed, TimeWindows, TopologyTestDriver,
    /// };
    /// use std::time::Duration;
    ///
    /// let tens = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key().windowed_by(tens);
    /// let last = Suppressed::until_window_closes(BufferConfig::unbounded());
    /// let counts = clicks.count("counts").suppress(last, "final-counts").to_stream();
    /// counts.map(|windowed, count| (windowed.to_string(), count)).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, String>("clicks");
    /// for time in [1, 9, 10] {
    ///     clicks.pipe_input_at("k", "click", time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?;
    /// assert_eq!(out.read_timed()?, [("k@0/10".to_owned(), 2, 9)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    ///
    /// ```compile_fail
    /// # use headwater_topology::{BufferConfig, StreamsBuilder, Suppressed};
    /// # let builder = StreamsBuilder::new();
    /// let users = builder.table::<String, String>("users");
    /// let last = Suppressed::until_window_closes(BufferConfig::unbounded());
    /// let _ = users.suppress(last, "no-windows-here");
    /// ```
    #[must_use]
    pub fn suppress<U: SuppressKey<K>>(&self, suppressed: Suppressed<U>, name: &str) -> Self
    where
        V: DefaultSerde,
    {
        self.suppress_with(suppressed, name, V::default_serde())
    }

    /// As [`suppress`](Self::suppress), with this serde for the values of the buffer.
    #[must_use]
    pub fn suppress_with<U: SuppressKey<K>>(
        &self,
        suppressed: Suppressed<U>,
        name: &str,
        value_serde: SerdeRef<V>,
    ) -> Self {
        let scope = &self.scope;
        if self.table.is_versioned() {
            scope.refuse(BuildError::InvalidOption {
                what: format!("suppression {name}"),
                reason: "the updates of a versioned table cannot be held back".to_owned(),
            });
        }
        let Suppressed { buffer, wait_ms, .. } = suppressed;
        let closing = scope.closing_above(self.node);
        let wait_ms = match (wait_ms, closing) {
            (Some(wait_ms), _) => wait_ms,
            // The millisecond of such an end belongs to the window, which is open through it.
            (None, Some(closing)) if closing.end_is_inclusive && !scope.kafka_compat() => {
                closing.grace_ms.saturating_add(1)
            }
            (None, Some(closing)) => closing.grace_ms,
            (None, None) => {
                scope.refuse(BuildError::InvalidOption {
                    what: format!("suppression {name}"),
                    reason: "no windowed aggregation above says when windows close".to_owned(),
                });
                0
            }
        };
        // What those downstream know of a key is the old value of its first update.
        self.table.send_old(true);
        let store = format!("{name}-store");
        let state = Arc::new(TableState::default());
        state.send_old();
        let factory = suppress::factory::<K, V>(SuppressOptions {
            node: scope.next_id(),
            store: store.clone(),
            state: Arc::clone(&state),
            buffer_time_ms: U::buffer_time_ms,
            wait_ms,
            drops_tombstones: U::DROPS_TOMBSTONES,
            records_max: buffer.records_max,
            bytes_max: buffer.bytes_max,
            shuts_down: buffer.shuts_down,
        });
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = scope.add_node(name.to_owned(), &[self.node], kind);
        let (key_serde, counts_bytes) = (self.key_serde(), buffer.bytes_max < u64::MAX);
        let store_name = store.clone();
        let build = move || {
            let (key_serde, value_serde) = (Arc::clone(&key_serde), Arc::clone(&value_serde));
            let name = store_name.clone();
            StoreHandle::new(SuppressBuffer::new(name, counts_bytes, key_serde, value_serde))
        };
        scope.add_store_of(
            node,
            StoreDefinition {
                name: store.clone(),
                kind: StoreKind::KeyValue,
                logged: buffer.logged,
                cached: Some(false),
                store_type: Some(StoreType::InMemory),
                configs: buffer.configs,
                factory: Arc::new(build),
            },
        );
        let above = HeldBack { above: self.clone(), store };
        Self::new(scope.clone(), node, TableNode::through(state, self.key_serde(), above))
    }
}
