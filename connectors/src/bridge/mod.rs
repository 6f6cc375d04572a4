//! A bridge between two logs: topics of one are mirrored in the other, exactly once.
mod pattern;
mod plan;
mod mirror;

pub use mirror::{Bridge, BridgeProgress, PartitionProgress};
