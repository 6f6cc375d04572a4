//! The ids of nodes, sub-topologies and tasks, and where stores are.

use std::fmt;

/// A node of a graph, by its place in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(usize);

impl NodeId {
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    pub(crate) const fn index(self) -> usize {
        self.0
    }
}

/// A topic as the topology names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicRef {
    pub(crate) name: String,
    /// Whether it belongs to the application: a repartition topic, with the application's id
    /// before its name in the log.
    pub(crate) internal: bool,
}

impl TopicRef {
    pub(crate) fn external(name: impl Into<String>) -> Self {
        Self { name: name.into(), internal: false }
    }

    pub(crate) fn internal(name: impl Into<String>) -> Self {
        Self { name: name.into(), internal: true }
    }
}

/// A task: one sub-topology on one partition number. Displayed as in Kafka Streams: `0_3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The number of the sub-topology, as `Topology::describe` shows it.
    pub subtopology: u32,
    /// The partition number.
    pub partition: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// Where the rows of a store are; Kafka Streams' `BuiltInDslStoreSuppliers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreType {
    /// In memory, all of them. A start restores them from the changelog.
    #[default]
    InMemory,
    /// On disk, in the folder `state.dir`, and those in use in memory as well. They are written
    /// after each commit of the log, with a note of how far in the changelog they are: a start
    /// replays only what lies behind that.
    #[cfg(feature = "persistent")]
    Persistent,
}

impl StoreType {
    pub(crate) fn is_persistent(self) -> bool {
        self != Self::InMemory
    }
}
