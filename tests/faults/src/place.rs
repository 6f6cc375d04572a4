//! Where the tests keep their files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::{Context as _, Result};

/// The folder for temporary files: `HEADWATER_FAULTS_DIR`, or that of the system.
pub(crate) fn temporary() -> PathBuf {
    std::env::var_os("HEADWATER_FAULTS_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// A folder in memory, if the machine has one.
pub(crate) fn memory() -> Option<PathBuf> {
    let shm = Path::new("/dev/shm");
    shm.is_dir().then(|| shm.to_owned())
}

/// A folder for a test, which goes when this is dropped.
pub(crate) fn temporary_folder(test: &str) -> Result<TempDir> {
    folder_in(&temporary(), test)
}

/// A folder for a test in one of these places.
pub(crate) fn folder_in(base: &Path, test: &str) -> Result<TempDir> {
    let prefix = format!("headwater-faults-{test}-");
    tempfile::Builder::new().prefix(&prefix).tempdir_in(base).to("make a folder")
}
