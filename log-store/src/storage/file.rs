//! What the log asks of a file system.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// How much of a file is settled at a time; a multiple of every size of pages.
pub(super) const SETTLE_BYTES: usize = 1 << 20;
/// How much of a file is cleared at a time.
const CLEAR_BYTES: usize = 64 << 10;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file to read and write; it is created if missing and keeps its content if not.
    Create,
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// Neither: a symbolic link, a device, a pipe.
    Other,
}

/// Folders and files. All paths are inside the store's folder.
///
/// Nothing here is durable until it is synced: a file's bytes by [`StorageFile::sync`], the
/// existence of a file by [`Storage::sync_dir`] of its folder.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a folder and its parents; existing ones are left alone.
    ///
    /// # Errors
    /// What the system reports.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with its files.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or folder, replacing a file of the new name.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system reports; never to be retried.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file at `path` for this opener alone, until the lock is dropped, and notes
    /// `holder` in it.
    ///
    /// # Errors
    /// `WouldBlock`, with what the holder noted as its text, if it is taken; or what the system
    /// reports.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn StorageLock>>;

    /// What a path stands for; a symbolic link is not followed. Default = what can be listed is a
    /// folder, and what can be opened is a file.
    ///
    /// # Errors
    /// `NotFound`, or what the system reports.
    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        match self.list(path) {
            Ok(_) => Ok(FileKind::Dir),
            Err(_) => self.open(path, OpenMode::Read).map(|_| FileKind::File),
        }
    }

    /// What the holder of the lock file at `path` noted in it; `None` if nobody holds it. Nothing
    /// is written. Default = nobody can be seen to hold it.
    ///
    /// # Errors
    /// What the system reports.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        let _ = path;
        Ok(None)
    }

    /// What tells one start of the machine from another; `None` where the system has nothing.
    fn boot_id(&self) -> Option<String>;
}

/// A lock that is held until it is dropped.
pub trait StorageLock: Send + Sync + fmt::Debug {}

/// An open file. Reads and writes may run at the same time from many threads; the log never
/// writes bytes that a reader may look at.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// The length in bytes.
    ///
    /// # Errors
    /// What the system reports.
    fn size(&self) -> io::Result<u64>;

    /// Exactly `len` bytes from `position` on, as a view or a copy.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or what the system reports.
    fn read(&self, position: u64, len: usize) -> io::Result<Bytes>;

    /// As [`read`](Self::read), but always a copy: where the disk is broken, that is an error of this
    /// call and not a signal that ends the process. Default = `read`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_copy(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.read(position, len)
    }

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// What the system reports; how much was written is then unknown.
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of `pieces` at `position`, one behind the other. Default = they are put together,
    /// and written.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_vectored(&self, position: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.write(position, &pieces.concat())
    }

    /// Makes the file at least `len` long, with space on the disk behind it and zeros in it, so
    /// that a later write below `len` cannot fail for want of space.
    ///
    /// # Errors
    /// `StorageFull`, or what the system reports.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes from `position` on durable as they are seen here, `len` of them, whatever an
    /// earlier process could not get to the disk. Of bytes whose sync has failed the system's cache
    /// says that they are written; with some file systems it even goes on to lose what is written
    /// over them later. Nobody reads or writes the file meanwhile. Default = all of it is written
    /// once more, and synced.
    ///
    /// # Errors
    /// What the system reports; also of writes that have failed before.
    fn settle(&self, position: u64, len: u64) -> io::Result<()> {
        let end = position + len;
        let mut position = position;
        while position < end {
            let step = usize::try_from(end - position).unwrap_or(usize::MAX).min(SETTLE_BYTES);
            let bytes = self.read(position, step)?;
            self.write(position, &bytes)?;
            position += step as u64;
        }
        self.sync()
    }

    /// Fills with zeros the `len` bytes from `position` on, all of which are in the file, and keeps
    /// their space; they are durable with the next sync. As after [`settle`](Self::settle), no
    /// write that has failed there has a bearing on what is written there next. What lies before
    /// them in the same block has to be on the disk already, or on its way there. Nobody reads or
    /// writes them meanwhile. Default = zeros are written over all that is none.
    ///
    /// # Errors
    /// What the system reports.
    fn clear(&self, position: u64, len: u64) -> io::Result<()> {
        let end = position + len;
        let mut position = position;
        while position < end {
            let step = usize::try_from(end - position).unwrap_or(usize::MAX).min(CLEAR_BYTES);
            if self.read_copy(position, step)?.iter().any(|&byte| byte != 0) {
                self.write(position, &vec![0; step])?;
            }
            position += step as u64;
        }
        Ok(())
    }

    /// Cuts the file to `len`. No reader looks at or beyond it.
    ///
    /// # Errors
    /// What the system reports.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// What the system reports. Never to be retried: the system forgets the failure, and with it
    /// the bytes.
    fn sync(&self) -> io::Result<()>;
}
