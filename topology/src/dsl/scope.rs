//! The graph that the handles of one builder write to.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::TopologyConfig;
use crate::error::BuildError;
use crate::graph::naming::{RepartitionNames, repartition_names};
use crate::graph::node::{NodeFactory, NodeKind, StoreDefinition, StoreUse};
use crate::graph::plan::{Closing, GraphBuilder, Topology};
use crate::types::{NodeId, TopicRef};

/// A shared handle on the graph in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope(Rc<RefCell<GraphBuilder>>);

impl Scope {
    pub(crate) fn new(config: TopologyConfig) -> Self {
        let graph = GraphBuilder::new(config);
        Self(Rc::new(RefCell::new(graph)))
    }

    pub(crate) fn kafka_compat(&self) -> bool {
        self.0.borrow().kafka_compat()
    }

    pub(crate) fn closing_above(&self, node: NodeId) -> Option<Closing> {
        self.0.borrow().closing_above(node)
    }

    /// Gives a repartition topic that many partitions, whatever stands above it.
    pub(crate) fn enforce_partitions(&self, topic: &str, partitions: u32) {
        self.0.borrow_mut().enforce_partitions(TopicRef::internal(topic), partitions);
    }

    pub(crate) fn set_closing(&self, node: NodeId, closing: Closing) {
        self.0.borrow_mut().set_closing(node, closing);
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn next_name(&self, prefix: &str) -> String {
        self.0.borrow_mut().naming.next(prefix)
    }

    /// A generated name, used up even where one is given.
    pub(crate) fn name_or_next(&self, name: Option<&String>, prefix: &str) -> String {
        let generated = self.next_name(prefix);
        name.cloned().unwrap_or(generated)
    }

    pub(crate) fn repartition_names(&self, prefix: &str) -> RepartitionNames {
        repartition_names(&mut self.0.borrow_mut().naming, prefix)
    }

    pub(crate) fn next_id(&self) -> NodeId {
        self.0.borrow().next_id()
    }

    pub(crate) fn add_node(&self, name: String, parents: &[NodeId], kind: NodeKind) -> NodeId {
        self.0.borrow_mut().add_node(name, parents, kind)
    }

    /// Adds a node without stores; `factory` is given the node's id.
    pub(crate) fn add_processor(
        &self,
        prefix: &str,
        parents: &[NodeId],
        factory: impl FnOnce(NodeId) -> NodeFactory,
    ) -> NodeId {
        let name = self.next_name(prefix);
        let factory = factory(self.next_id());
        self.add_node(name, parents, NodeKind::Processor { stores: Vec::new(), factory })
    }

    /// Adds a node with one store, whose keys the topics above have to agree on.
    pub(crate) fn add_stateful(
        &self,
        name: String,
        parent: NodeId,
        store: StoreDefinition,
        factory: NodeFactory,
    ) -> NodeId {
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.add_node(name, &[parent], kind);
        self.add_store_of(node, store);
        node
    }

    /// Adds a processor of the application's own, connected to these stores.
    pub(crate) fn add_own_processor(
        &self,
        prefix: &str,
        parent: NodeId,
        stores: Vec<StoreUse>,
        factory: NodeFactory,
    ) -> NodeId {
        let name = self.next_name(prefix);
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.add_node(name, &[parent], kind);
        let mut graph = self.0.borrow_mut();
        graph.set_own_processor(node);
        for store in stores {
            graph.connect(node, &store.store);
            graph.use_store(store);
        }
        node
    }

    /// Adds a store that belongs to no operator.
    pub(crate) fn add_store(&self, store: StoreDefinition) {
        self.0.borrow_mut().add_store(store);
    }

    /// Gives a node a store, whose keys the topics above have to agree on.
    pub(crate) fn add_store_of(&self, node: NodeId, store: StoreDefinition) {
        let mut graph = self.0.borrow_mut();
        graph.connect(node, &store.name);
        graph.add_store(store);
        graph.copartition_above(&[node]);
    }

    /// Gives the number of a generated name back, if it was the last one.
    pub(crate) fn give_back(&self, name: &str) {
        self.0.borrow_mut().naming.give_back(name);
    }

    /// How far back a store's versions go, if it keeps them.
    pub(crate) fn history_ms(&self, store: &str) -> Option<i64> {
        self.0.borrow().history_ms(store)
    }

    /// The node takes the side output of its parent.
    pub(crate) fn set_side(&self, node: NodeId) {
        self.0.borrow_mut().set_side(node);
    }

    /// The source reads a global table.
    pub(crate) fn set_global(&self, source: NodeId) {
        self.0.borrow_mut().set_global(source);
    }

    /// The topic leads back to a sub-topology that comes before the one that writes it.
    pub(crate) fn set_feedback(&self, topic: TopicRef) {
        self.0.borrow_mut().set_feedback(topic);
    }

    pub(crate) fn find_repartition(&self, above: NodeId, topic: &str) -> Option<NodeId> {
        self.0.borrow().repartitions.find(above, topic)
    }

    pub(crate) fn add_repartition(
        &self,
        source: NodeId,
        above: NodeId,
        topic: String,
        null_keys_pass: Arc<AtomicBool>,
    ) {
        self.0.borrow_mut().repartitions.add(source, above, topic, null_keys_pass);
    }

    /// Lets null keys pass the repartition steps above a node, which has a use for them.
    pub(crate) fn let_null_keys_pass(&self, node: NodeId) {
        let graph = self.0.borrow();
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            let sources = graph.sources_above(&[node]).into_iter();
            below
                .extend(sources.filter_map(|source| graph.repartitions.let_null_keys_pass(source)));
        }
    }

    /// The topics above all of these nodes have to agree on the partitions of keys.
    pub(crate) fn copartition(&self, nodes: &[NodeId]) {
        self.0.borrow_mut().copartition_above(nodes);
    }

    /// The name of a node.
    pub(crate) fn node_name(&self, node: NodeId) -> String {
        self.0.borrow().name(node).to_owned()
    }

    pub(crate) fn rename(&self, node: NodeId, name: &str) {
        self.0.borrow_mut().rename(node, name);
    }

    pub(crate) fn refuse(&self, error: BuildError) {
        self.0.borrow_mut().refuse(error);
    }

    pub(crate) fn build(&self) -> Result<Topology, BuildError> {
        self.0.borrow().build()
    }
}
