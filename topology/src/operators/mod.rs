//! The operators: one file each, a receiver and how to build it.
pub(crate) mod source;
pub(crate) mod sink;
pub(crate) mod filter;
pub(crate) mod map;
pub(crate) mod flat_map;
pub(crate) mod merge;
pub(crate) mod peek;
pub(crate) mod repartition;
pub(crate) mod aggregator;
pub(crate) mod emit_final;
pub(crate) mod aggregate;
pub(crate) mod window_aggregate;
pub(crate) mod table;
