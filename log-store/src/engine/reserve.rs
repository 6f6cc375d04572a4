//! A little space that is kept in reserve: recovery, opening, retention and closing go on where
//! the disk is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::storage::{OpenMode, Storage, StorageFile};

/// What is kept: room for a few files and for the growth of the checkpoints.
pub(crate) const RESERVE_BYTES: u64 = 256 << 10;
pub(crate) const RESERVE_NAME: &str = "reserve";

/// The file that takes the space, whose content means nothing.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    file: Mutex<Option<Arc<dyn StorageFile>>>,
}

impl Reserve {
    /// Takes over what an earlier writer has kept, if that is anything.
    pub(super) fn open(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let path = dir.join(RESERVE_NAME);
        let file = match storage.open(&path, OpenMode::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|e| Error::io("open", &path, e))?),
        };
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Does something that may need space; if there is none, gives up the reserve and does it
    /// once more. So it must be something that a full disk leaves undone.
    pub(super) fn lend<T>(&self, mut operation: impl FnMut() -> Result<T>) -> Result<T> {
        match operation() {
            Err(Error::DiskFull { .. }) if self.give_up()? => operation(),
            done => done,
        }
    }

    /// Frees the space; false if there is none to free.
    fn give_up(&self) -> Result<bool> {
        let file = self.file.lock();
        let Some(file) = &*file else { return Ok(false) };
        if self.size(&**file)? == 0 {
            return Ok(false);
        }
        tracing::warn!(path = %self.path.display(), "the disk is full: giving up the reserve");
        file.truncate(0).map_err(|e| Error::io("truncate", &self.path, e))?;
        Ok(true)
    }

    /// Keeps space again, as soon as there is enough.
    pub(super) fn keep(&self, storage: &dyn Storage) -> Result<()> {
        let mut file = self.file.lock();
        if let Some(file) = &*file
            && self.size(&**file)? >= RESERVE_BYTES
        {
            return Ok(());
        }
        let opened = storage.open(&self.path, OpenMode::Create);
        let kept = opened.and_then(|opened| {
            let file = file.insert(opened);
            file.reserve(RESERVE_BYTES)?;
            Ok(Arc::clone(file))
        });
        let file = match kept.map_err(|e| Error::io("reserve space in", &self.path, e)) {
            // There will be another time.
            Err(Error::DiskFull { .. }) => return Ok(()),
            kept => kept?,
        };
        file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        let Some(dir) = self.path.parent() else { return Ok(()) };
        storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }

    fn size(&self, file: &dyn StorageFile) -> Result<u64> {
        file.size().map_err(|e| Error::io("read", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::{RESERVE_BYTES, Reserve};
    use crate::error::{Error, Result};
    use crate::storage::{OpenMode, SimulatedStorage, Storage};
    use std::path::Path;

    #[test]
    fn the_reserve_is_lent_once_and_kept_again_when_there_is_space() {
        let storage = SimulatedStorage::new();
        let reserve = Reserve::open(&storage, Path::new("")).unwrap();
        reserve.keep(&storage).unwrap();
        storage.set_free_bytes(Some(0));
        let mut number = 0;
        let mut write = || -> Result<()> {
            number += 1;
            let path = Path::new("file").with_extension(number.to_string());
            let file = storage.open(&path, OpenMode::Create);
            let written = file.and_then(|file| file.write(0, &[1; 200 << 10]));
            written.map_err(|e| Error::io("write", &path, e))
        };
        reserve.lend(&mut write).unwrap();
        let error = reserve.lend(&mut write).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        reserve.keep(&storage).unwrap();
        storage.set_free_bytes(Some(RESERVE_BYTES));
        reserve.keep(&storage).unwrap();
        assert_eq!(storage.free_bytes(), Some(0));
        // The next writer takes it over.
        Reserve::open(&storage, Path::new("")).unwrap().lend(&mut write).unwrap();
    }
}
