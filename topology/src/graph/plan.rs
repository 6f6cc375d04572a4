//! The graph: how it is written node by node, and the finished topology.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::TopologyConfig;
use crate::error::BuildError;
use crate::graph::naming::Naming;
use crate::graph::node::{Node, NodeKind, StoreDefinition, StoreKind, StoreUse};
use crate::graph::repartition::Repartitions;
use crate::graph::subtopology::subtopologies;
use crate::graph::validate::{check_store_uses, validate};
use crate::types::{NodeId, StoreType, TopicRef};

/// A finished topology: what to run, checked, and cheap to clone.
///
/// [`describe`](Self::describe) prints it as Kafka Streams does.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(crate) graph: Arc<Graph>,
}

/// The nodes, stores and sub-topologies of a topology.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stores: Vec<StoreDefinition>,
    /// The nodes of each sub-topology, by creation.
    pub(crate) subtopologies: Vec<Vec<NodeId>>,
    /// Topics that need the same number of partitions.
    pub(crate) copartitioned: Vec<BTreeSet<TopicRef>>,
    /// How many partitions the application wants a repartition topic to have.
    pub(crate) enforced_partitions: BTreeMap<TopicRef, u32>,
    /// Whether results are Kafka Streams' also where Headwater's would differ.
    pub(crate) kafka_compat: bool,
    /// Whether stores have a record cache that do not say otherwise.
    pub(crate) caching_enabled: bool,
    /// The sources of global tables.
    globals: BTreeSet<NodeId>,
    /// The nodes that take the side output of their parent.
    sides: BTreeSet<NodeId>,
    /// The topics that lead back to a sub-topology before the one that writes them.
    feedback: BTreeSet<TopicRef>,
}

impl Graph {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.index()).expect("ids come from this graph")
    }

    pub(crate) fn store(&self, name: &str) -> Option<&StoreDefinition> {
        self.stores.iter().find(|store| store.name == name)
    }

    /// Whether a sub-topology is a global table: it has no tasks, and its store is that of all.
    pub(crate) fn is_global(&self, index: usize) -> bool {
        self.subtopology(index).any(|(id, _)| self.globals.contains(&id))
    }

    /// The children of a node that take what it is for.
    pub(crate) fn main_children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.node(id).children.iter().copied().filter(|child| !self.sides.contains(child))
    }

    /// The children of a node that take its side output.
    pub(crate) fn side_children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.node(id).children.iter().copied().filter(|child| self.sides.contains(child))
    }

    /// The nodes of one sub-topology.
    pub(crate) fn subtopology(&self, index: usize) -> impl Iterator<Item = (NodeId, &Node)> {
        self.subtopologies.get(index).into_iter().flatten().map(|id| (*id, self.node(*id)))
    }

    /// The topics that a sub-topology reads, by the order of its sources.
    pub(crate) fn source_topics(&self, index: usize) -> Vec<(NodeId, &TopicRef)> {
        let mut found = Vec::new();
        for (id, node) in self.subtopology(index) {
            if let NodeKind::Source { topics, .. } = &node.kind {
                found.extend(topics.iter().map(|topic| (id, topic)));
            }
        }
        found
    }

    /// The topics that a sub-topology writes.
    pub(crate) fn sink_topics(&self, index: usize) -> Vec<(NodeId, &TopicRef)> {
        let mut found = Vec::new();
        for (id, node) in self.subtopology(index) {
            if let NodeKind::Sink { topic, .. } = &node.kind {
                found.push((id, topic));
            }
        }
        found
    }

    /// The stores of a sub-topology.
    pub(crate) fn stores_of(&self, index: usize) -> Vec<&StoreDefinition> {
        let mut names = BTreeSet::new();
        for (_, node) in self.subtopology(index) {
            if let NodeKind::Processor { stores, .. } = &node.kind {
                names.extend(stores.iter().map(String::as_str));
            }
        }
        names.into_iter().filter_map(|name| self.store(name)).collect()
    }

    /// The sub-topologies so that each comes after those that write its repartition topics, as far
    /// as they do not wait for each other: the answers of a foreign-key join lead back.
    pub(crate) fn upstream_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut written: BTreeSet<&TopicRef> = BTreeSet::new();
        while order.len() < self.subtopologies.len() {
            let left = || (0..self.subtopologies.len()).filter(|index| !order.contains(index));
            let is_ready = |index: &usize| {
                let own: Vec<&TopicRef> =
                    self.sink_topics(*index).into_iter().map(|(_, topic)| topic).collect();
                self.source_topics(*index).iter().all(|(_, topic)| {
                    !topic.internal
                        || written.contains(topic)
                        || self.feedback.contains(*topic)
                        || own.contains(topic)
                })
            };
            let Some(next) = left().find(is_ready).or_else(|| left().next()) else { break };
            written.extend(self.sink_topics(next).into_iter().map(|(_, topic)| topic));
            order.push(next);
        }
        order
    }
}

/// A graph in the making.
#[derive(Debug, Default)]
pub(crate) struct GraphBuilder {
    pub(crate) naming: Naming,
    nodes: Vec<Node>,
    stores: Vec<StoreDefinition>,
    copartitioned: Vec<BTreeSet<TopicRef>>,
    enforced_partitions: BTreeMap<TopicRef, u32>,
    /// When the windows of aggregations close, by node.
    closings: BTreeMap<NodeId, Closing>,
    kafka_compat: bool,
    caching_enabled: bool,
    store_type: StoreType,
    pub(crate) repartitions: Repartitions,
    globals: BTreeSet<NodeId>,
    sides: BTreeSet<NodeId>,
    feedback: BTreeSet<TopicRef>,
    /// The application's own processors that have a generated name.
    own_processors: BTreeSet<NodeId>,
    store_uses: Vec<StoreUse>,
    error: Option<BuildError>,
}

/// When the windows of an aggregation close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// How far stream time goes beyond a window's end while the window still takes records.
    pub(crate) grace_ms: i64,
    /// Whether the millisecond of its end belongs to a window.
    pub(crate) end_is_inclusive: bool,
}

impl GraphBuilder {
    pub(crate) fn new(config: TopologyConfig) -> Self {
        let TopologyConfig { kafka_compat, caching_enabled, store_type } = config;
        Self { kafka_compat, caching_enabled, store_type, ..Self::default() }
    }

    /// Whether results are Kafka Streams' also where Headwater's would differ.
    pub(crate) fn kafka_compat(&self) -> bool {
        self.kafka_compat
    }

    pub(crate) fn enforce_partitions(&mut self, topic: TopicRef, partitions: u32) {
        self.enforced_partitions.insert(topic, partitions);
    }

    pub(crate) fn set_closing(&mut self, id: NodeId, closing: Closing) {
        self.closings.insert(id, closing);
    }

    /// When the windows close that a node gets results of: as the aggregations nearest above it
    /// say, the one with the longest grace if there are several.
    pub(crate) fn closing_above(&self, id: NodeId) -> Option<Closing> {
        if let Some(closing) = self.closings.get(&id) {
            return Some(*closing);
        }
        let parents = self.nodes.get(id.index()).into_iter().flat_map(|node| &node.parents);
        parents
            .filter_map(|parent| self.closing_above(*parent))
            .max_by_key(|closing| (closing.grace_ms, closing.end_is_inclusive))
    }

    /// Adds a node below its parents.
    pub(crate) fn add_node(&mut self, name: String, parents: &[NodeId], kind: NodeKind) -> NodeId {
        let id = NodeId::new(self.nodes.len());
        for parent in parents {
            if let Some(parent) = self.nodes.get_mut(parent.index()) {
                parent.children.push(id);
            }
        }
        self.nodes.push(Node { name, kind, parents: parents.to_vec(), children: Vec::new() });
        id
    }

    /// The id that the next node will have.
    pub(crate) fn next_id(&self) -> NodeId {
        NodeId::new(self.nodes.len())
    }

    pub(crate) fn add_store(&mut self, mut store: StoreDefinition) {
        // What cannot be on disk is there only if it was asked for, which is an error.
        let default = if store.logged { self.store_type } else { StoreType::InMemory };
        store.store_type.get_or_insert(default);
        self.stores.push(store);
    }

    /// How far back a store's versions go, if it keeps them.
    pub(crate) fn history_ms(&self, name: &str) -> Option<i64> {
        let store = self.stores.iter().find(|store| store.name == name)?;
        match store.kind {
            StoreKind::Versioned { history_ms } => Some(history_ms),
            StoreKind::KeyValue | StoreKind::Window { .. } => None,
        }
    }

    /// Remembers what a processor wants a store to be.
    pub(crate) fn use_store(&mut self, store: StoreUse) {
        self.store_uses.push(store);
    }

    /// Lets a node use a store.
    pub(crate) fn connect(&mut self, id: NodeId, store: &str) {
        let kind = self.nodes.get_mut(id.index()).map(|node| &mut node.kind);
        if let Some(NodeKind::Processor { stores, .. }) = kind
            && !stores.iter().any(|connected| connected == store)
        {
            stores.push(store.to_owned());
        }
    }

    /// The sources above some nodes.
    pub(crate) fn sources_above(&self, ids: &[NodeId]) -> Vec<NodeId> {
        let mut sources = Vec::new();
        let mut above = ids.to_vec();
        while let Some(id) = above.pop() {
            let Some(node) = self.nodes.get(id.index()) else { continue };
            if matches!(node.kind, NodeKind::Source { .. }) && !sources.contains(&id) {
                sources.push(id);
            }
            above.extend(&node.parents);
        }
        sources
    }

    /// The topic leads back to a sub-topology before the one that writes it.
    pub(crate) fn set_feedback(&mut self, topic: TopicRef) {
        self.feedback.insert(topic);
    }

    /// The node takes the side output of its parent.
    pub(crate) fn set_side(&mut self, id: NodeId) {
        self.sides.insert(id);
    }

    /// The source reads a global table.
    pub(crate) fn set_global(&mut self, source: NodeId) {
        self.globals.insert(source);
    }

    /// The node is a processor of the application's own.
    pub(crate) fn set_own_processor(&mut self, id: NodeId) {
        self.own_processors.insert(id);
    }

    /// The name of a node.
    pub(crate) fn name(&self, id: NodeId) -> &str {
        self.nodes.get(id.index()).map_or("", |node| &node.name)
    }

    pub(crate) fn rename(&mut self, id: NodeId, name: &str) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            if self.own_processors.remove(&id) {
                self.naming.give_back(&node.name);
            }
            name.clone_into(&mut node.name);
        }
    }

    /// Remembers a mistake; the first one is what `build` reports.
    pub(crate) fn refuse(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// A node with state keeps each key in one task, so the topics above it have to agree on the
    /// partition of a key.
    pub(crate) fn copartition_above(&mut self, ids: &[NodeId]) {
        let mut topics = BTreeSet::new();
        for source in self.sources_above(ids) {
            if let Some(NodeKind::Source { topics: read, .. }) =
                self.nodes.get(source.index()).map(|node| &node.kind)
            {
                topics.extend(read.iter().cloned());
            }
        }
        if topics.len() > 1 {
            self.copartitioned.push(topics);
        }
    }

    /// The stores of the global tables.
    fn global_stores(&self) -> BTreeSet<&str> {
        let nodes = self
            .nodes
            .iter()
            .filter(|node| node.parents.iter().any(|parent| self.globals.contains(parent)));
        let stores = nodes.filter_map(|node| match &node.kind {
            NodeKind::Processor { stores, .. } => Some(stores.iter().map(String::as_str)),
            _ => None,
        });
        stores.flatten().collect()
    }

    /// Checks the graph and finishes it.
    pub(crate) fn build(&self) -> Result<Topology, BuildError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        validate(&self.nodes, &self.stores)?;
        check_store_uses(&self.store_uses, &self.stores, &self.global_stores())?;
        Ok(Topology {
            graph: Arc::new(Graph {
                subtopologies: subtopologies(&self.nodes),
                nodes: self.nodes.clone(),
                stores: self.stores.clone(),
                copartitioned: self.copartitioned.clone(),
                enforced_partitions: self.enforced_partitions.clone(),
                kafka_compat: self.kafka_compat,
                caching_enabled: self.caching_enabled,
                globals: self.globals.clone(),
                sides: self.sides.clone(),
                feedback: self.feedback.clone(),
            }),
        })
    }
}
