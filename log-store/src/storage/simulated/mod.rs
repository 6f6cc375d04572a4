//! A file system in memory that loses power, is killed and fails, for tests.
//!
//! What was not synced may be there after a power cut in part: any sectors of it, with any length
//! of the file. Names are there once their folder was synced. A killed process leaves everything
//! that it wrote, the last write in part.
mod fault;
mod inode;
mod disk;
mod files;

pub use disk::CrashKind;
pub use fault::{CallEffect, CallFault, CallKind, Effect};
pub use files::SimulatedStorage;
