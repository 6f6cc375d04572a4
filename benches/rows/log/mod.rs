//! The rows of the group `log`: the embedded log beside floors and peers.

mod suite;
mod append;
mod read;
mod wake;
mod open;
mod rows;

pub use rows::rows;
