//! The text of a topology, as Kafka Streams prints it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write;

use crate::graph::java_order::{TreeSet, hash_order};
use crate::graph::node::{Node, NodeKind};
use crate::graph::plan::{Graph, Topology};
use crate::types::NodeId;

impl Topology {
    /// The text that Kafka Streams' `Topology.describe()` gives for the same topology with the
    /// same names: its visualisers read it.
    ///
    /// ```
    /// use headwater_topology::StreamsBuilder;
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("in").filter(|_, value| !value.is_empty()).to("out");
    /// assert_eq!(
    ///     builder.build()?.describe(),
    ///     "Topologies:
    ///    Sub-topology: 0
    ///     Source: KSTREAM-SOURCE-0000000000 (topics: [in])
    ///       --> KSTREAM-FILTER-0000000001
    ///     Processor: KSTREAM-FILTER-0000000001 (stores: [])
    ///       --> KSTREAM-SINK-0000000002
    ///       <-- KSTREAM-SOURCE-0000000000
    ///     Sink: KSTREAM-SINK-0000000002 (topic: out)
    ///       <-- KSTREAM-FILTER-0000000001
    ///
    /// "
    /// );
    /// # Ok::<(), headwater_topology::BuildError>(())
    /// ```
    #[must_use]
    pub fn describe(&self) -> String {
        let graph = &self.graph;
        let mut text = String::from("Topologies:\n ");
        for (index, _) in graph.subtopologies.iter().enumerate() {
            let global = graph.is_global(index);
            let of = if global { " for global store (will not generate tasks)" } else { "" };
            let _ = writeln!(text, "  Sub-topology: {index}{of}");
            let drawing = Drawing::new(graph, index);
            for id in drawing.in_order() {
                drawing.describe(graph.node(id), id, &mut text);
            }
            if !global {
                text.push('\n');
            }
        }
        text
    }
}

/// A sub-topology as Kafka Streams puts it together to print it: node by node in the order of a
/// hash set, while sizes grow. A node's neighbours stand as their sizes were when it met them.
struct Drawing<'a> {
    graph: &'a Graph,
    nodes: Vec<NodeId>,
    /// How many nodes hang below each, itself included, once for every path.
    sizes: HashMap<NodeId, usize>,
    parents: HashMap<NodeId, TreeSet<NodeId>>,
    children: HashMap<NodeId, TreeSet<NodeId>>,
}

impl<'a> Drawing<'a> {
    fn new(graph: &'a Graph, index: usize) -> Self {
        let nodes = graph.subtopology(index).map(|(id, node)| (node.name.as_str(), id));
        let nodes = hash_order(nodes.collect());
        let sizes = nodes.iter().map(|id| (*id, 1)).collect();
        let (parents, children) = (HashMap::new(), HashMap::new());
        let mut drawing = Self { graph, nodes, sizes, parents, children };
        for id in drawing.nodes.clone() {
            for parent in &graph.node(id).parents {
                let (sizes, places) = (&drawing.sizes, &mut drawing.parents);
                let comes_first = |other| is_before(graph, sizes, *parent, other);
                places.entry(id).or_default().insert(*parent, comes_first);
                let comes_first = |other| is_before(graph, sizes, id, other);
                drawing.children.entry(*parent).or_default().insert(id, comes_first);
                drawing.grow(*parent, drawing.size(id));
            }
        }
        drawing
    }

    fn size(&self, id: NodeId) -> usize {
        self.sizes.get(&id).copied().unwrap_or_default()
    }

    /// Adds to the size of a node, and to those above it that have met it.
    fn grow(&mut self, id: NodeId, by: usize) {
        *self.sizes.entry(id).or_default() += by;
        let above = self.parents.get(&id).map(TreeSet::items).unwrap_or_default();
        for parent in above {
            self.grow(parent, by);
        }
    }

    /// The nodes with more below them first.
    fn in_order(&self) -> Vec<NodeId> {
        let mut nodes = self.nodes.clone();
        let place = |id: &NodeId| (Reverse(self.size(*id)), self.graph.node(*id).name.as_str());
        nodes.sort_by(|one, other| place(one).cmp(&place(other)));
        nodes
    }

    fn names(&self, neighbours: Option<&TreeSet<NodeId>>) -> String {
        let ids = neighbours.map(TreeSet::items).unwrap_or_default();
        if ids.is_empty() {
            return "none".to_owned();
        }
        ids.iter().map(|id| self.graph.node(*id).name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn describe(&self, node: &Node, id: NodeId, text: &mut String) {
        let name = &node.name;
        let successors = || self.names(self.children.get(&id));
        let predecessors = || self.names(self.parents.get(&id));
        let _ = match &node.kind {
            NodeKind::Source { topics, .. } => {
                let topics = topics.iter().map(|topic| (topic.name.as_str(), topic.name.as_str()));
                let topics = hash_order(topics.collect()).join(", ");
                writeln!(
                    text,
                    "    Source: {name} (topics: [{topics}])\n      --> {}",
                    successors()
                )
            }
            NodeKind::Processor { stores, .. } => {
                let stores = stores.iter().map(|store| (store.as_str(), store.as_str()));
                let stores = hash_order(stores.collect()).join(", ");
                let (successors, predecessors) = (successors(), predecessors());
                writeln!(
                    text,
                    "    Processor: {name} (stores: [{stores}])\n      --> {successors}\n      <-- {predecessors}",
                )
            }
            NodeKind::DynamicSink { .. } => writeln!(
                text,
                "    Sink: {name} (extractor class: closure)\n      <-- {}",
                predecessors()
            ),
            NodeKind::Sink { topic, .. } => {
                let topic = &topic.name;
                writeln!(text, "    Sink: {name} (topic: {topic})\n      <-- {}", predecessors())
            }
        };
    }
}

/// Whether a node comes before another one: larger ones do, and those of equal size by name.
fn is_before(graph: &Graph, sizes: &HashMap<NodeId, usize>, one: NodeId, other: NodeId) -> bool {
    let place = |id| (Reverse(sizes.get(&id).copied().unwrap_or_default()), &graph.node(id).name);
    place(one) < place(other)
}
