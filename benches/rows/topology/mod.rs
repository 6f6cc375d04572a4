//! The rows of the group `topology`: topologies on the embedded log beside hand-written loops over
//! the same bytes, and beside Kafka Streams.

pub mod frames;
pub mod digest;
pub mod cpu;
pub mod floor;
pub mod input;
pub mod ours;
pub mod kafka_streams;
pub mod case;
mod stateless;
mod aggregates;
mod on_disk;
mod windows;
mod joins;
mod nexmark;
mod rows;

pub use rows::rows;
