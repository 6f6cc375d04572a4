//! Transactions do not depend on each other in a circle.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::anomaly::Anomaly;
use crate::history::Action;
use crate::index::Index;

/// How an operation depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// The other's record is the next one of a partition.
    WriteWrite,
    /// The other has read its value.
    WriteRead,
}

/// Looks for circles of operations; one that anybody read in is forbidden.
pub(crate) fn cycles(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let graph = dependencies(index);
    for component in tarjan_scc(&graph) {
        if component.len() < 2 {
            continue;
        }
        let mut operations = component;
        operations.sort_unstable();
        // Any edge between two of a strongly connected component is part of a circle.
        let is_inside = |number: &usize| operations.binary_search(number).is_ok();
        let has_read = operations.iter().any(|&from| {
            graph.edges(from).any(|(_, to, edge)| is_inside(&to) && *edge == Edge::WriteRead)
        });
        found.push(if has_read {
            Anomaly::ReadCycle { operations }
        } else {
            Anomaly::WriteCycle { operations }
        });
    }
}

fn dependencies(index: &Index<'_>) -> DiGraphMap<usize, Edge> {
    let mut graph = DiGraphMap::new();
    let mut add = |from: usize, to: usize, edge: Edge| {
        if from != to {
            let edge = graph.edge_weight(from, to).copied().map_or(edge, |other| edge.max(other));
            graph.add_edge(from, to, edge);
        }
    };
    // What is no transaction is no unit, so nothing can be in its middle.
    let is_transaction = |&number: &usize| {
        index.operations.get(number).is_some_and(|operation| operation.transaction)
    };
    let writer =
        |value: &u64| index.sent.get(value).map(|sent| sent.operation).filter(is_transaction);
    for known in index.partitions.values() {
        let writers: Vec<usize> = known.values.values().flatten().filter_map(writer).collect();
        for pair in writers.windows(2) {
            if let [before, after] = *pair {
                add(before, after, Edge::WriteWrite);
            }
        }
    }
    for (number, operation) in index.operations.iter().enumerate() {
        if !operation.transaction {
            continue;
        }
        for action in &operation.actions {
            let Action::Poll { records, .. } = action else { continue };
            for writer in records.iter().filter_map(|(_, value)| writer(value)) {
                add(writer, number, Edge::WriteRead);
            }
        }
    }
    graph
}
