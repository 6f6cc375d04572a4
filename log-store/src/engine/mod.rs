//! The log at work: appends, the group commit, checkpoints, recovery and the topics.
mod reserve;
mod recovery;
mod health;
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
mod alter;
mod retention;
mod scrub;
mod compaction;
mod background;

pub(crate) use append::check_record;
pub(crate) use background::{Intervals, ScrubSchedule, Task};
pub(crate) use commit::TransactionBatches;
pub(crate) use files::{
    BYTES as STORE_FILE_BYTES, COPY as STORE_FILE_COPY, parse_copy, write_store_file,
};
pub use health::{DamagedSegment, ScrubReport, StoreHealth};
pub(crate) use open::{create_or_open, lock_store};
pub(crate) use opening::{EngineConfig, journal_path};
pub(crate) use partition_files::empty_mark;
pub use recovery::{RecoveryReport, TornTail};
pub(crate) use reserve::RESERVE_NAME;
pub(crate) use state::{Engine, Writer};
pub(crate) use view::open_read_only;
