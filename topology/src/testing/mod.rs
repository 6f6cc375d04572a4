//! The test driver: a topology's real tasks on the real log in memory, without threads.
pub(crate) mod topics;
pub(crate) mod output;
pub(crate) mod driver;
pub(crate) mod stores;
