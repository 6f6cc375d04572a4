//! The seam below the log: files and folders, real ones and those of the tests.
mod file;
mod missing;
mod map;
mod directory;
mod memory;
#[cfg(feature = "testing")]
mod simulated;

pub use directory::{FileStorage, Reads};
pub use file::{FileKind, OpenMode, Storage, StorageFile, StorageLock};
pub use memory::MemoryStorage;
pub(crate) use missing::MissingFile;
#[cfg(feature = "testing")]
pub use simulated::{CallEffect, CallFault, CallKind, CrashKind, Effect, SimulatedStorage};
