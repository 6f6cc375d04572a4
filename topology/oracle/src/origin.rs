//! Where the records of an operator come from.

use std::collections::BTreeSet;

use crate::case::Op;

/// Whether the order in which the records of two operators arrive is decided by their times. It is
/// not where one record goes through two internal topics that are read together: Kafka's test
/// driver then keeps the order of writing, which no consumer of a log can see.
pub(crate) fn are_ordered(ops: &[Op], one: &str, other: &str) -> bool {
    let ((topics, changed), (others, too)) = (origin(ops, one), origin(ops, other));
    topics.is_disjoint(&others) || !changed && !too
}

/// Whether the keys of an operator's records may be others than those of its topics.
pub(crate) fn changes_keys(ops: &[Op], id: &str) -> bool {
    origin(ops, id).1
}

/// The topics that an operator's records come from, and whether their keys may have changed on the
/// way.
fn origin(ops: &[Op], id: &str) -> (BTreeSet<String>, bool) {
    let own = id.split('.').next().unwrap_or(id);
    let Some(op) = ops.iter().find(|op| op.id == own) else {
        return (BTreeSet::new(), false);
    };
    let mut topics: BTreeSet<String> = op.topic.iter().cloned().collect();
    let changes = ["selectKey", "map", "flatMap", "repartition", "foreignKeyJoin", "process"];
    let groups = op.op == "aggregate" && op.key.is_some();
    let mut changed = groups || changes.contains(&op.op.as_str());
    for input in op.from.iter().chain(&op.with) {
        let (more, too) = origin(ops, input);
        topics.extend(more);
        changed |= too;
    }
    (topics, changed)
}
