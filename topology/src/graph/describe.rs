//! The text of a topology, as Kafka Streams prints it.

use std::collections::HashMap;
use std::fmt::Write;

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
        let sizes = sizes(graph);
        let mut text = String::from("Topologies:\n ");
        for (index, _) in graph.subtopologies.iter().enumerate() {
            let global = graph.is_global(index);
            let of = if global { " for global store (will not generate tasks)" } else { "" };
            let _ = writeln!(text, "  Sub-topology: {index}{of}");
            let ids = graph.subtopology(index).map(|(id, _)| id).collect();
            for id in in_order(graph, &sizes, ids) {
                describe_node(graph, &sizes, graph.node(id), &mut text);
            }
            if !global {
                text.push('\n');
            }
        }
        text
    }
}

fn describe_node(graph: &Graph, sizes: &HashMap<NodeId, usize>, node: &Node, text: &mut String) {
    let name = &node.name;
    let successors = || names(graph, sizes, &node.children);
    let predecessors = || names(graph, sizes, &node.parents);
    let _ = match &node.kind {
        NodeKind::Source { topics, .. } => {
            let mut topics: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
            topics.sort_unstable();
            let topics = topics.join(", ");
            writeln!(text, "    Source: {name} (topics: [{topics}])\n      --> {}", successors())
        }
        NodeKind::Processor { stores, .. } => writeln!(
            text,
            "    Processor: {name} (stores: [{}])\n      --> {}\n      <-- {}",
            stores.join(", "),
            successors(),
            predecessors(),
        ),
        NodeKind::DynamicSink { .. } => writeln!(
            text,
            "    Sink: {name} (extractor class: closure)\n      <-- {}",
            predecessors()
        ),
        NodeKind::Sink { topic, .. } => {
            writeln!(text, "    Sink: {name} (topic: {})\n      <-- {}", topic.name, predecessors())
        }
    };
}

fn names(graph: &Graph, sizes: &HashMap<NodeId, usize>, ids: &[NodeId]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    let ids = in_order(graph, sizes, ids.to_vec());
    ids.iter().map(|id| graph.node(*id).name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Nodes with more below them come first; equals by name.
fn in_order(graph: &Graph, sizes: &HashMap<NodeId, usize>, mut ids: Vec<NodeId>) -> Vec<NodeId> {
    ids.sort_by(|a, b| {
        let size = |id: &NodeId| sizes.get(id).copied().unwrap_or_default();
        size(b).cmp(&size(a)).then_with(|| graph.node(*a).name.cmp(&graph.node(*b).name))
    });
    ids.dedup();
    ids
}

/// How many nodes hang below each, itself included, once for every path.
fn sizes(graph: &Graph) -> HashMap<NodeId, usize> {
    let mut sizes: HashMap<NodeId, usize> = HashMap::new();
    // Children are created after their parents.
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let below: usize =
            node.children.iter().map(|child| sizes.get(child).copied().unwrap_or(1)).sum();
        sizes.insert(NodeId::new(index), below.saturating_add(1));
    }
    sizes
}
