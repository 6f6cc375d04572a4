//! Whole applications in one thread: workers that take their turns in a random order, on a file
//! system that loses power and fails, with a clock that jumps; and what has to come out of it.
pub(crate) mod cluster;
pub(crate) mod state_directory;
mod smoke;
mod world;
mod seeds;
