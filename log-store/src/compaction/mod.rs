//! Compaction: of each key only the newest record is kept.
mod newest;
mod plan;
mod output;
mod cleaner;

pub use cleaner::CompactionReport;
pub(crate) use cleaner::{Cleaned, Cleaner, Stopped};
