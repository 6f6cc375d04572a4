//! Joins of two tables by their keys.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::KTable;
use crate::dsl::table_node::{Above, TableNode};
use crate::error::BuildError;
use crate::graph::node::NodeKind;
use crate::operators::table_join::{self, JoinSideOptions};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::types::NodeId;

/// Whose rows are rows of the join without one on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Neither,
    Left,
    Both,
}

struct Joined<K, V, V2, F> {
    left: KTable<K, V>,
    right: KTable<K, V2>,
    join: Arc<F>,
}

impl<K, V, V2, R, F> Above<K, R> for Joined<K, V, V2, F>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    V2: Clone + 'static,
    R: 'static,
    F: Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    fn send_old(&self, _force: bool) -> bool {
        // Both sides are kept in any case.
        self.left.table.send_old(true);
        self.right.table.send_old(true);
        true
    }

    fn makes_old_rows(&self) -> bool {
        // A side sends what its update was joined to before, also where the rows are stored.
        true
    }

    fn view(&self) -> View<K, R> {
        table_join::view(self.left.table.view(), self.right.table.view(), Arc::clone(&self.join))
    }
}

impl<K, V> KTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Joins the rows of two tables that have the same key.
    ///
    /// A change on either side is joined with the row that the other side has at that moment;
    /// where that is missing, nothing is sent. The time of a result is the later one of both
    /// rows, its headers are those of the change. A removed row is a tombstone, also where there
    /// was no result before. Updates out of order are like any other. Both tables get a store if
    /// they have none, and their topics need the same number of partitions.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let names = builder.table::<String, String>("names");
    /// let cities = builder.table::<String, String>("cities");
    /// names.join(&cities, |name, city| format!("{name} of {city}")).to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("names").pipe_input_at("7", "Ada", 10)?;
    /// driver.input_topic::<String, String>("cities").pipe_input_at("7", "Rome", 5)?;
    /// let out = driver.output_topic::<String, Option<String>>("out")?.read_timed()?;
    /// assert_eq!(out, [("7".to_owned(), Some("Ada of Rome".to_owned()), 10)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn join<V2, R>(
        &self,
        other: &KTable<K, V2>,
        joiner: impl Fn(V, V2) -> R + Send + Sync + 'static,
    ) -> KTable<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |_: &K, left: Option<V>, right: Option<V2>| Some(joiner(left?, right?));
        self.add_join(other, join, Outer::Neither)
    }

    /// As [`join`](Self::join), where a row of this table without one of the other is joined with
    /// `None`. The time is then that of the change.
    #[must_use]
    pub fn left_join<V2, R>(
        &self,
        other: &KTable<K, V2>,
        joiner: impl Fn(V, Option<V2>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |_: &K, left: Option<V>, right| Some(joiner(left?, right));
        self.add_join(other, join, Outer::Left)
    }

    /// As [`join`](Self::join), where a row of either table without one of the other is joined
    /// with `None`. The time is then that of the change.
    #[must_use]
    pub fn outer_join<V2, R>(
        &self,
        other: &KTable<K, V2>,
        joiner: impl Fn(Option<V>, Option<V2>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |_: &K, left: Option<V>, right: Option<V2>| {
            (left.is_some() || right.is_some()).then(|| joiner(left, right))
        };
        self.add_join(other, join, Outer::Both)
    }

    fn add_join<V2, R>(
        &self,
        other: &KTable<K, V2>,
        join: impl Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
        outer: Outer,
    ) -> KTable<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let scope = &self.scope;
        if !scope.is_same(&other.scope) {
            scope.refuse(BuildError::ForeignStream { operation: "join" });
        }
        let join = Arc::new(join);
        let merge_name = scope.next_name("KTABLE-MERGE-");
        // A removal is told from an update that was never a row by the old value.
        if outer != Outer::Neither {
            self.table.send_old(true);
        }
        if outer == Outer::Both {
            other.table.send_old(true);
        }
        let state = Arc::new(TableState::default());
        let this_join = Arc::clone(&join);
        let this = self.add_join_side(
            "KTABLE-JOINTHIS-",
            (&state, outer == Outer::Neither),
            other,
            move |key, left, right| this_join(key, left, right),
        );
        let other_join = Arc::clone(&join);
        let other_side = other.add_join_side(
            "KTABLE-JOINOTHER-",
            (&state, outer != Outer::Both),
            self,
            move |key, right, left| other_join(key, left, right),
        );
        let factory = table_join::merge::<K, R>(scope.next_id(), Arc::clone(&state));
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = scope.add_node(merge_name, &[this, other_side], kind);
        scope.copartition(&[node]);
        let above = Joined { left: self.clone(), right: other.clone(), join };
        let table = TableNode::through(state, self.key_serde(), above)
            .with_parts(vec![(this, "-join-this"), (other_side, "-join-other")]);
        KTable::new(scope.clone(), node, table)
    }

    /// The node that takes the changes of this table to the rows of the other.
    fn add_join_side<V2, R>(
        &self,
        prefix: &str,
        (state, needs_other): (&Arc<TableState>, bool),
        other: &KTable<K, V2>,
        join: impl Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
    ) -> NodeId
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let name = self.scope.next_name(prefix);
        let view = other.table.view();
        let stores = view.stores.clone();
        let node = self.scope.next_id();
        let state = Arc::clone(state);
        let options = JoinSideOptions { node, state, other: view, needs_other };
        let kind = NodeKind::Processor { stores, factory: table_join::side(options, join) };
        self.scope.add_node(name, &[self.node], kind)
    }
}
