//! Where the tests keep their files.

use std::path::{Path, PathBuf};

/// The folder for temporary files: `HEADWATER_FAULTS_DIR`, or that of the system.
pub(crate) fn temporary() -> PathBuf {
    std::env::var_os("HEADWATER_FAULTS_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// A folder in memory, if the machine has one.
pub(crate) fn memory() -> Option<PathBuf> {
    let shm = Path::new("/dev/shm");
    shm.is_dir().then(|| shm.to_owned())
}
