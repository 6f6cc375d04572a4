//! The graph that the DSL writes and the runtime reads: plain data, and a factory for each node.
pub(crate) mod node;
pub(crate) mod naming;
pub(crate) mod subtopology;
pub(crate) mod validate;
pub(crate) mod repartition;
pub(crate) mod plan;
pub(crate) mod java_order;
pub(crate) mod describe;
