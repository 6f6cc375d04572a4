//! The rows of the group `kafka`: the same topologies on Kafka Streams and here, on one broker, and
//! here on the embedded log.

mod topologies;
mod inputs;
mod outputs;
mod probes;
mod child;
mod program;
mod sides;
mod rows;

pub use child::{CHILD, child};
pub use rows::rows;
