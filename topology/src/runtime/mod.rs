//! The runtime: it reads a graph and runs its tasks, on whatever log it is given.
pub(crate) mod commit_metadata;
pub(crate) mod resolve;
pub(crate) mod writer_merge;
pub(crate) mod record_queue;
pub(crate) mod task;
pub(crate) mod physical;
pub(crate) mod restore;
pub(crate) mod registry;
pub(crate) mod wipe;
pub(crate) mod task_set;
pub(crate) mod commit;
pub(crate) mod recovery;
pub(crate) mod replaying;
pub(crate) mod worker;
pub(crate) mod query;
pub(crate) mod streams;
