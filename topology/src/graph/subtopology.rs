//! Sub-topologies: the parts of a graph that hang together by edges or by a store.

use std::collections::HashMap;

use crate::graph::node::{Node, NodeKind};
use crate::types::NodeId;

/// Groups nodes by union-find. Groups are ordered by their first nodes, as in Kafka Streams, because
/// task ids and what `describe` prints follow from it; nodes by creation.
pub(crate) fn subtopologies(nodes: &[Node]) -> Vec<Vec<NodeId>> {
    let mut roots = Roots { parents: (0..nodes.len()).collect() };
    let mut store_users: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for child in &node.children {
            roots.unite(index, child.index());
        }
        if let NodeKind::Processor { stores, .. } = &node.kind {
            for store in stores {
                let first = *store_users.entry(store).or_insert(index);
                roots.unite(first, index);
            }
        }
    }
    let mut groups: Vec<Vec<NodeId>> = Vec::new();
    let mut group_of_root: HashMap<usize, usize> = HashMap::new();
    for index in 0..nodes.len() {
        let group = *group_of_root.entry(roots.root(index)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.push(NodeId::new(index));
        }
    }
    groups
}

struct Roots {
    parents: Vec<usize>,
}

impl Roots {
    fn root(&mut self, mut index: usize) -> usize {
        while let Some(&parent) = self.parents.get(index).filter(|parent| **parent != index) {
            // Halving the path keeps it short for the next walk.
            let grandparent = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(index) {
                *slot = grandparent;
            }
            index = grandparent;
        }
        index
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(slot) = self.parents.get_mut(one.max(other)) {
            *slot = one.min(other);
        }
    }
}
