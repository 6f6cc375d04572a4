//! Joins of two tables by a foreign key in the rows of one.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::KTable;
use crate::dsl::scope::Scope;
use crate::dsl::table_joined::TableJoined;
use crate::dsl::table_node::{Above, TableNode};
use crate::error::BuildError;
use crate::graph::node::{NodeKind, StoreDefinition, StoreKind};
use crate::operators::foreign_key::foreign_change;
use crate::operators::foreign_key::messages::{
    Registration, RegistrationSerde, Response, ResponseSerde,
};
use crate::operators::foreign_key::register::{self, RegisterOptions};
use crate::operators::foreign_key::resolve::{self, ResolveOptions};
use crate::operators::foreign_key::subscribe::{self, SubscriptionOptions};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::{sink, source, table_source};
use crate::partitioner::{ByKey, ByKeyIfAny, PartitionerRef};
use crate::processor::StoreHandle;
use crate::serdes::{OptionSerde, SerdeRef, pair_format};
use crate::store::bytes_store::BytesStore;
use crate::time::TimestampExtractor;
use crate::types::{NodeId, StoreType, TopicRef};

/// How many names Kafka Streams generates for a join by foreign key, the last one for its store:
/// where the join is materialized under a name, it is free again.
const NAMES: usize = 14;

/// The result of a join, which is kept only where it is materialized.
struct Unkept {
    scope: Scope,
    name: String,
}

impl Unkept {
    fn refuse(&self) {
        self.scope.refuse(BuildError::InvalidOption {
            what: format!("the rows of the join {} are needed below", self.name),
            reason: "they are kept nowhere: call `materialized` on the join".to_owned(),
        });
    }
}

impl<K: Hash + Eq + Clone + 'static, R: Clone + 'static> Above<K, R> for Unkept {
    fn send_old(&self, force: bool) -> bool {
        if force {
            self.refuse();
        }
        false
    }

    fn view(&self) -> View<K, R> {
        self.refuse();
        View::of_key_value_store(&self.name)
    }
}

impl<K, V> KTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Joins each row with the row of another table that it names by a foreign key; several rows
    /// may name the same one. Rows without a foreign key, or with one that has no row, have no
    /// result.
    ///
    /// The tables need not be partitioned alike: a change of this table is registered, through the
    /// topic `<name>-subscription-registration-topic`, with the task that has the foreign key,
    /// which answers through `<name>-subscription-response-topic`; a change of the other table is
    /// sent to all rows registered for it. An answer about a row that has changed since is
    /// dropped and counted. Both tables get a store if they have none.
    ///
    /// Where this table changes, the result has the later time of both rows, and where the other
    /// one does, the time of its change; headers are those of the change. A removed row is a
    /// tombstone, also where there was no result before.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let songs = builder.table::<String, String>("artist-of-song");
    /// let artists = builder.table::<String, String>("artists");
    /// songs
    ///     .join_on(&artists, |_, artist| Some(artist.clone()), |_, name| name, "song-artist")
    ///     .to_stream()
    ///     .to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let songs = driver.input_topic::<String, String>("artist-of-song");
    /// songs.pipe_input_at("Hello", "7", 10)?;
    /// songs.pipe_input_at("Someone", "7", 11)?;
    /// driver.input_topic::<String, String>("artists").pipe_input_at("7", "Adele", 5)?;
    /// let out = driver.output_topic::<String, Option<String>>("out")?.read_timed()?;
    /// let adele = || Some("Adele".to_owned());
    /// assert_eq!(out, [("Hello".to_owned(), adele(), 5), ("Someone".to_owned(), adele(), 5)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn join_on<F, V2, R>(
        &self,
        other: &KTable<F, V2>,
        foreign_key: impl Fn(&K, &V) -> Option<F> + Send + Sync + 'static,
        joiner: impl Fn(V, V2) -> R + Send + Sync + 'static,
        joined: impl Into<TableJoined<K, F, V, V2>>,
    ) -> KTable<K, R>
    where
        F: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |_: &K, left, right: Option<V2>| Some(joiner(left, right?));
        self.add_foreign_key_join(other, foreign_key, join, joined.into(), false)
    }

    /// As [`join_on`](Self::join_on), where rows without a foreign key, or with one that has no
    /// row, are joined with `None`.
    #[must_use]
    pub fn left_join_on<F, V2, R>(
        &self,
        other: &KTable<F, V2>,
        foreign_key: impl Fn(&K, &V) -> Option<F> + Send + Sync + 'static,
        joiner: impl Fn(V, Option<V2>) -> R + Send + Sync + 'static,
        joined: impl Into<TableJoined<K, F, V, V2>>,
    ) -> KTable<K, R>
    where
        F: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |_: &K, left, right| Some(joiner(left, right));
        self.add_foreign_key_join(other, foreign_key, join, joined.into(), true)
    }

    fn add_foreign_key_join<F, V2, R>(
        &self,
        other: &KTable<F, V2>,
        foreign_key: impl Fn(&K, &V) -> Option<F> + Send + Sync + 'static,
        join: impl Fn(&K, V, Option<V2>) -> Option<R> + Send + Sync + 'static,
        joined: TableJoined<K, F, V, V2>,
        left: bool,
    ) -> KTable<K, R>
    where
        F: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let scope = &self.scope;
        if !scope.is_same(&other.scope) {
            scope.refuse(BuildError::ForeignStream { operation: "join_on" });
        }
        for _ in 1..NAMES {
            scope.next_name("KTABLE-FK-JOIN-");
        }
        let store_name = scope.next_name("KTABLE-FK-JOIN-STATE-STORE-");
        other.table.send_old(true);
        self.table.send_old(true);
        let parts = Parts { scope, name: &joined.name };
        let value_serde = Arc::clone(&joined.value_serde);
        let options = RegisterOptions {
            node: scope.next_id(),
            value_serde: Arc::clone(&value_serde),
            foreign_key_serde: other.key_serde(),
            left,
        };
        let factory = register::factory(options, foreign_key);
        let registered =
            parts.add("-subscription-registration-processor", self.node, Vec::new(), factory);
        let by_foreign_key = joined
            .other_partitioner
            .map(|by_key| Arc::new(ByKeyIfAny(by_key)) as PartitionerRef<_, _>);
        let subscriptions =
            parts.add_subscriptions::<K, F>(registered, self, other, by_foreign_key);
        let answered = parts.add_answers::<K, F, V2>(subscriptions, self.key_serde(), other);
        let response_serde: SerdeRef<Response<V2>> =
            Arc::new(ResponseSerde(joined.other_value_serde));
        let by_key =
            joined.partitioner.map(|by_key| Arc::new(ByKey(by_key)) as PartitionerRef<_, _>);
        let responses = parts.add_responses(answered, self.key_serde(), response_serde, by_key);
        scope.copartition(&[responses, self.node]);
        let view = self.table.view();
        let stores = view.stores.clone();
        let options = ResolveOptions { node: scope.next_id(), value_serde, left: view };
        let factory = resolve::factory::<K, V, V2, R, _>(options, join);
        let resolved = parts.add("-subscription-response-resolver", responses, stores, factory);
        let state = Arc::new(TableState::default());
        let factory = table_source::factory::<K, R, Option<R>>(
            scope.next_id(),
            self.key_serde(),
            Arc::clone(&state),
        );
        let node = parts.add("-result", resolved, Vec::new(), factory);
        let above = Unkept { scope: scope.clone(), name: joined.name.clone() };
        let table = TableNode::through(state, self.key_serde(), above);
        KTable::new(scope.clone(), node, table.with_spare_name(store_name))
    }
}

/// An answer goes to the task that has registered the row.
fn to_the_row<K, V2>(_: &str, _: &K, response: &Response<V2>, _: u32) -> Option<Vec<u32>> {
    Some(vec![response.primary_partition])
}

/// Adds the nodes of a join, all named after it.
struct Parts<'a> {
    scope: &'a Scope,
    name: &'a str,
}

impl Parts<'_> {
    fn named(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    fn add(
        &self,
        suffix: &str,
        parent: NodeId,
        stores: Vec<String>,
        factory: crate::graph::node::NodeFactory,
    ) -> NodeId {
        let kind = NodeKind::Processor { stores, factory };
        self.scope.add_node(self.named(suffix), &[parent], kind)
    }

    /// The way of registrations to the task of their foreign key, and the store of them there.
    fn add_subscriptions<K, F>(
        &self,
        registered: NodeId,
        left: &KTable<K, impl Clone>,
        right: &KTable<F, impl Clone>,
        by_foreign_key: Option<PartitionerRef<Option<F>, Registration<K>>>,
    ) -> NodeId
    where
        K: Hash + Eq + Clone + Send + 'static,
        F: Hash + Eq + Clone + Send + 'static,
    {
        let scope = self.scope;
        let topic = TopicRef::internal(self.named("-subscription-registration-topic"));
        let left_key_serde = Arc::clone(&left.table.key_serde);
        let foreign_key_serde = Arc::clone(&right.table.key_serde);
        let key_serde: SerdeRef<Option<F>> =
            Arc::new(OptionSerde::new(Arc::clone(&foreign_key_serde)));
        let value_serde: SerdeRef<Registration<K>> =
            Arc::new(RegistrationSerde(Arc::clone(&left_key_serde)));
        let factory = sink::factory(
            scope.next_id(),
            topic.clone(),
            Arc::clone(&key_serde),
            Arc::clone(&value_serde),
            by_foreign_key,
        );
        let format = pair_format(&*key_serde, &*value_serde);
        let kind = NodeKind::Sink { topic: topic.clone(), format, factory };
        scope.add_node(self.named("-subscription-registration-sink"), &[registered], kind);
        let source =
            self.add_source("-subscription-registration-source", topic, key_serde, value_serde);
        scope.copartition(&[source, right.node]);
        let store = self.named("-subscription-store");
        let factory = subscribe::receive(SubscriptionOptions {
            node: scope.next_id(),
            store: store.clone(),
            foreign_key_serde,
            primary_key_serde: left_key_serde,
        });
        let receive = self.add("-subscription-receive", source, Vec::new(), factory);
        scope.add_store_of(
            receive,
            StoreDefinition {
                name: store,
                kind: StoreKind::KeyValue,
                logged: true,
                cached: Some(false),
                store_type: Some(StoreType::InMemory),
                configs: Default::default(),
                factory: Arc::new(|| StoreHandle::new(BytesStore::default())),
            },
        );
        receive
    }

    /// The answers to registrations and the changes of the right side.
    fn add_answers<K, F, V2>(
        &self,
        subscriptions: NodeId,
        left_key_serde: SerdeRef<K>,
        right: &KTable<F, V2>,
    ) -> [NodeId; 2]
    where
        K: Hash + Eq + Clone + Send + 'static,
        F: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let view = right.table.view();
        let stores = view.stores.clone();
        let factory = subscribe::answer::<K, F, V2>(self.scope.next_id(), view);
        let answered = self.add("-subscription-join-foreign", subscriptions, stores, factory);
        let store = self.named("-subscription-store");
        let factory = foreign_change::factory::<K, F, V2>(SubscriptionOptions {
            node: self.scope.next_id(),
            store: store.clone(),
            foreign_key_serde: right.key_serde(),
            primary_key_serde: left_key_serde,
        });
        let changed = self.add("-foreign-join-subscription", right.node, vec![store], factory);
        [answered, changed]
    }

    /// The way of answers back to the task of the row.
    fn add_responses<K, V2>(
        &self,
        answered: [NodeId; 2],
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<Response<V2>>,
        by_key: Option<PartitionerRef<K, Response<V2>>>,
    ) -> NodeId
    where
        K: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let scope = self.scope;
        let topic = TopicRef::internal(self.named("-subscription-response-topic"));
        let factory = sink::factory(
            scope.next_id(),
            topic.clone(),
            Arc::clone(&key_serde),
            Arc::clone(&value_serde),
            Some(by_key.unwrap_or_else(|| Arc::new(to_the_row))),
        );
        let format = pair_format(&*key_serde, &*value_serde);
        let kind = NodeKind::Sink { topic: topic.clone(), format, factory };
        scope.add_node(self.named("-subscription-response-sink"), &answered, kind);
        scope.set_feedback(topic.clone());
        self.add_source("-subscription-response-source", topic, key_serde, value_serde)
    }

    fn add_source<K, V>(
        &self,
        suffix: &str,
        topic: TopicRef,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> NodeId
    where
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let factory = source::factory(source::SourceOptions {
            node: self.scope.next_id(),
            key_serde,
            value_serde,
            extractor: TimestampExtractor::record_time(),
            repartition: true,
        });
        let kind = NodeKind::Source { topics: vec![topic], reset: None, factory };
        self.scope.add_node(self.named(suffix), &[], kind)
    }
}
