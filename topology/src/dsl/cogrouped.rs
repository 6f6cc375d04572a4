//! `CogroupedKStream`: several grouped streams into one aggregate per key, also in windows.

use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::cogroup_handles::{
    CogroupInput, CogroupedKStream, Kind, SessionWindowedCogroupedKStream, Shared,
    TimeWindowedCogroupedKStream,
};
use crate::dsl::handles::{KGroupedStream, KTable, TimeWindowKind};
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::Materialized;
use crate::dsl::scope::Scope;
use crate::dsl::session_windowed;
use crate::dsl::table_node::TableNode;
use crate::dsl::window_shape::WindowShape;
use crate::dsl::windowed;
use crate::dsl::windows::Windows;
use crate::error::BuildError;
use crate::graph::node::{NodeFactory, NodeKind, StoreDefinition};
use crate::graph::plan::Closing;
use crate::operators::aggregate::{self, AggregateOptions};
use crate::operators::aggregator::Fold;
use crate::operators::merge;
use crate::operators::session_aggregate;
use crate::operators::sliding_aggregate;
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::window_aggregate::{self, Windowing};
use crate::record::Change;
use crate::serdes::SerdeRef;
use crate::types::NodeId;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::windowed::{SessionWindow, Windowed};

struct TypedInput<K, V, F> {
    grouped: KGroupedStream<K, V>,
    aggregator: Arc<F>,
}

impl<K, V, A, F> CogroupInput<K, A> for TypedInput<K, V, F>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
    A: Clone + Send + 'static,
    F: Fn(&K, V, A) -> Option<A> + Send + Sync + 'static,
{
    fn parent(&self, store: &str) -> NodeId {
        self.grouped.aggregation_parent(store)
    }

    fn factory(&self, shared: &Shared<K, A>, node: NodeId, operator: usize) -> NodeFactory {
        let options = AggregateOptions {
            node,
            key_serde: Arc::clone(&shared.key_serde),
            value_serde: Arc::clone(&self.grouped.grouped.serdes.value),
            aggregate_serde: Arc::clone(&shared.aggregate_serde),
            state: Arc::clone(&shared.state),
        };
        let emit = EmitStrategy::OnWindowUpdate;
        let initializer = Arc::clone(&shared.initializer);
        let aggregator = Arc::clone(&self.aggregator);
        let add = move |key: &K, value: V, so_far: A| aggregator(key, value, so_far);
        match &shared.kind {
            Kind::Plain => aggregate::factory(options, Fold::new(move || initializer(), add)),
            Kind::Aligned(windows) => {
                let windowing = Windowing { windows: *windows, emit, operator };
                window_aggregate::factory(options, windowing, Fold::new(move || initializer(), add))
            }
            Kind::Sliding(windows) => {
                let windowing = Windowing { windows: *windows, emit, operator };
                sliding_aggregate::factory(
                    options,
                    windowing,
                    Fold::new(move || initializer(), add),
                )
            }
            Kind::Sessions(windows, merger) => {
                let windowing = Windowing { windows: *windows, emit, operator };
                let merger = Arc::clone(merger);
                let merge = move |key: &K, one: Option<A>, other| {
                    Some(match one {
                        Some(one) => merger(key, one, other),
                        None => other,
                    })
                };
                let fold = Fold::new(move || initializer(), add);
                session_aggregate::factory(options, windowing, fold, merge)
            }
        }
    }

    fn scope(&self) -> &Scope {
        &self.grouped.scope
    }

    fn key_serde(&self) -> SerdeRef<K> {
        Arc::clone(&self.grouped.grouped.serdes.key)
    }
}

impl<K, V> KGroupedStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Begins to fold several grouped streams into one aggregate: this one's values by
    /// `aggregator`. Where that returns an `Option`, `None` removes the key. Null keys and null
    /// values are dropped and counted; records are folded in the order in which they come.
    ///
    /// ```
    /// use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// let deposits = builder.stream::<String, i64>("deposits").group_by_key();
    /// let withdrawals = builder.stream::<String, i64>("withdrawals").group_by_key();
    /// deposits
    ///     .cogroup(|_, amount, balance: i64| balance + amount)
    ///     .cogroup(&withdrawals, |_, amount, balance| balance - amount)
    ///     .aggregate(|| 0, "balances")
    ///     .to_stream()
    ///     .to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, i64>("deposits").pipe_input_at("Ada", 50, 1)?;
    /// driver.input_topic::<String, i64>("withdrawals").pipe_input_at("Ada", 20, 2)?;
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("Ada".to_owned(), 50, 1), ("Ada".to_owned(), 30, 2)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn cogroup<A, R>(
        &self,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> CogroupedKStream<K, A>
    where
        A: Clone + Send + 'static,
        R: Into<Option<A>>,
    {
        CogroupedKStream { inputs: Vec::new(), name: None }.cogroup(self, aggregator)
    }
}

impl<K, A> CogroupedKStream<K, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    /// Adds another grouped stream, with an aggregator for its values. See the example of
    /// [`KGroupedStream::cogroup`].
    #[must_use]
    pub fn cogroup<V, R>(
        &self,
        grouped: &KGroupedStream<K, V>,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> Self
    where
        V: Clone + Send + 'static,
        R: Into<Option<A>>,
    {
        let mut inputs = self.inputs.clone();
        let aggregator =
            Arc::new(move |key: &K, value: V, so_far: A| aggregator(key, value, so_far).into());
        inputs.push(Rc::new(TypedInput { grouped: grouped.clone(), aggregator }));
        Self { inputs, name: self.name.clone() }
    }

    /// Names the nodes: `<name>-cogroup-agg-0` and so on, and `<name>-cogroup-merge`. Default =
    /// their kinds and numbers.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Groups by windows as well: see [`KGroupedStream::windowed_by`].
    #[must_use]
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::WindowedCogroup<K, A> {
        windows.window_cogroup(self.clone())
    }

    /// Folds the values of all streams, in a store of that name: each key starts from
    /// `initializer`.
    ///
    /// Every record that is not dropped gives a new aggregate; its timestamp is the largest so far
    /// of the key, its headers are those of the record. See the example of
    /// [`KGroupedStream::cogroup`].
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<K, A> {
        let materialized = materialized.into();
        let shared = self.shared(Kind::Plain, initializer, &materialized);
        let view = View::of_key_value_store(&materialized.store);
        let key_serde = Arc::clone(&shared.key_serde);
        let table = TableNode::kept(Arc::clone(&shared.state), Arc::clone(&key_serde), view);
        let store = key_value_store(materialized, &key_serde);
        self.add(&shared, store, table, None)
    }

    fn shared(
        &self,
        kind: Kind<K, A>,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: &Materialized<K, A>,
    ) -> Shared<K, A> {
        let first = self.inputs.first().map(|input| input.key_serde());
        let key_serde = materialized.key_serde.clone().or(first);
        Shared {
            kind,
            initializer: Arc::new(initializer),
            key_serde: key_serde.expect("a cogroup has a first stream"),
            aggregate_serde: Arc::clone(&materialized.value_serde),
            state: Arc::new(TableState::stored(&materialized.store)),
        }
    }

    fn scope(&self) -> &Scope {
        self.inputs.first().expect("a cogroup has a first stream").scope()
    }

    /// Adds an operator for each stream, and the node in which they meet.
    fn add<KR: Clone + Send + 'static>(
        &self,
        shared: &Shared<K, A>,
        store: StoreDefinition,
        table: TableNode<KR, A>,
        closing: Option<Closing>,
    ) -> KTable<KR, A> {
        let scope = self.scope();
        if self.inputs.iter().any(|input| !scope.is_same(input.scope())) {
            scope.refuse(BuildError::ForeignStream { operation: "cogroup" });
            return KTable::new(scope.clone(), scope.next_id(), table);
        }
        let parents: Vec<NodeId> =
            self.inputs.iter().map(|input| input.parent(&store.name)).collect();
        scope.copartition(&parents);
        let name_of = |suffix: String, prefix: &str| {
            let given = self.name.as_ref().map(|name| format!("{name}-cogroup-{suffix}"));
            scope.name_or_next(given.as_ref(), prefix)
        };
        let mut operators = Vec::new();
        for (index, (input, parent)) in self.inputs.iter().zip(&parents).enumerate() {
            let name = name_of(format!("agg-{index}"), "COGROUPKSTREAM-AGGREGATE-");
            let factory = input.factory(shared, scope.next_id(), index);
            let kind = NodeKind::Processor { stores: vec![store.name.clone()], factory };
            let node = scope.add_node(name, &[*parent], kind);
            if let Some(closing) = closing {
                scope.set_closing(node, closing);
            }
            operators.push(node);
        }
        if let Some(first) = operators.first() {
            scope.add_store_of(*first, store);
        }
        let name = name_of("merge".to_owned(), "COGROUPKSTREAM-MERGE-");
        let factory = merge::factory::<KR, Change<A>>();
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let merged = scope.add_node(name, &operators, kind);
        KTable::new(scope.clone(), merged, table)
    }
}

impl<K, A> TimeWindowedCogroupedKStream<K, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    /// Folds the values of each key and window, in a store of that name. Each stream has a stream
    /// time of its own, by which its records are late. Null keys and null values are dropped. The
    /// time of a result is the largest of its window.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TimeWindows};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let days = TimeWindows::of_size_with_no_grace(Duration::from_secs(86_400));
    /// let ins = builder.stream::<String, i64>("in").group_by_key();
    /// let outs = builder.stream::<String, i64>("out").group_by_key();
    /// let balance = ins.cogroup(|_, n, sum: i64| sum + n).cogroup(&outs, |_, n, sum| sum - n);
    /// balance.windowed_by(days).aggregate(|| 0, "balance-by-day");
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A> {
        let materialized = materialized.into();
        let (scope, operators) = (self.cogrouped.scope(), self.cogrouped.inputs.len());
        let shape = WindowShape::of(&self.windows);
        let (retention_ms, emit) = (materialized.retention_ms, EmitStrategy::OnWindowUpdate);
        let options =
            shape.store_options(scope, &materialized.store, retention_ms, emit, operators);
        let kind = match self.windows {
            TimeWindowKind::Aligned(windows) => Kind::Aligned(windows),
            TimeWindowKind::Sliding(windows) => Kind::Sliding(windows),
        };
        let shared = self.cogrouped.shared(kind, initializer, &materialized);
        let (state, key_serde) = (Arc::clone(&shared.state), Arc::clone(&shared.key_serde));
        let table = windowed::table_node(self.windows, state, &materialized.store, &key_serde);
        let store = windowed::store_definition(self.windows, options, materialized, key_serde);
        self.cogrouped.add(&shared, store, table, Some(shape.closing))
    }
}

impl<K, A> SessionWindowedCogroupedKStream<K, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    /// Folds the values of each key and session, in a store of that name; `merger` makes one
    /// aggregate of two, beginning with the initial one. Each stream has a stream time of its own,
    /// by which its records are late. Null keys and null values are dropped. The time of a result
    /// is the end of its session, and it has no headers.
    ///
    /// ```
    /// # use headwater_topology::{SessionWindows, StreamsBuilder};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(600));
    /// let clicks = builder.stream::<String, i64>("clicks").group_by_key();
    /// let taps = builder.stream::<String, i64>("taps").group_by_key();
    /// let both = clicks.cogroup(|_, _, n: i64| n + 1).cogroup(&taps, |_, _, n| n + 1);
    /// both.windowed_by(visits).aggregate(|| 0, |_, one, other| one + other, "visits");
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> A + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K, SessionWindow>, A> {
        let materialized = materialized.into();
        let (scope, operators) = (self.cogrouped.scope(), self.cogrouped.inputs.len());
        let shape = WindowShape::of_sessions(&self.windows);
        let (retention_ms, emit) = (materialized.retention_ms, EmitStrategy::OnWindowUpdate);
        let options =
            shape.store_options(scope, &materialized.store, retention_ms, emit, operators);
        let kind = Kind::Sessions(self.windows, Arc::new(merger));
        let shared = self.cogrouped.shared(kind, initializer, &materialized);
        let (state, key_serde) = (Arc::clone(&shared.state), Arc::clone(&shared.key_serde));
        let table = session_windowed::table_node(state, &materialized.store, &key_serde);
        let store = session_windowed::store_definition(options, materialized, key_serde);
        self.cogrouped.add(&shared, store, table, Some(shape.closing))
    }
}
