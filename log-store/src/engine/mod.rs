//! The log at work: appends, the group commit, checkpoints, recovery and the topics.
mod recovery;
mod state;
mod checkpoints;
mod commit;
mod append;
mod files;
mod partition_files;
mod opening;
mod open;
mod view;
mod offsets;
mod groups;
mod admin;
mod retention;
mod background;

pub(crate) use append::check_size;
pub(crate) use background::Task;
pub(crate) use commit::TransactionBatches;
pub(crate) use open::create_or_open;
pub(crate) use opening::EngineConfig;
pub use recovery::{RecoveryReport, TornTail};
pub(crate) use state::{Engine, Writer};
pub(crate) use view::open_read_only;
