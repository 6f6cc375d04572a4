//! The seam below the log: files and folders, real ones and those of the tests.
mod file;
mod map;
mod directory;
mod memory;
#[cfg(feature = "testing")]
mod simulated;

pub use directory::{FileStorage, Reads};
pub use file::{FileKind, OpenMode, Storage, StorageFile, StorageLock};
pub use memory::MemoryStorage;
#[cfg(feature = "testing")]
pub use simulated::{CallEffect, CallFault, CallKind, CrashKind, Effect, SimulatedStorage};
