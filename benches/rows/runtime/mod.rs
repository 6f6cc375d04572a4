//! The rows of the group `runtime`: guarantees, latency, threads, repartitioning, restore, replay and
//! memory.

mod plan;
mod throughput;
mod latency;
mod repartition;
mod restore;
mod memory;
mod rows;

pub use memory::{CHILD as MEMORY_CHILD, child as memory_child};
pub use rows::rows;
