//! The seam below the log: files and folders, real ones and those of the tests.
mod file;
mod map;
mod directory;
mod memory;

pub use directory::{FileStorage, Reads};
pub use file::{OpenMode, Storage, StorageFile, StorageLock};
pub use memory::MemoryStorage;
