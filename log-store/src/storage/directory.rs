//! The real file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::{Errno, pwritev};

use crate::storage::file::{FileKind, OpenMode, SETTLE_BYTES, Storage, StorageFile, StorageLock};
use crate::storage::map::{WriteMap, map_read};

/// Writes up to this size go through the mapping; larger ones are as fast by a system call.
const MAPPED_WRITE_BYTES_MAX: usize = 4096;

/// How many pieces the system takes in one call.
const PIECES_MAX: usize = 1024;

/// The largest block of the usual file systems; a multiple of the others.
const BLOCK_BYTES: u64 = 4096;

/// How long the note in a lock file is, filled up with blanks.
const HOLDER_BYTES: usize = 64;

/// How records are read from segment files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Views into memory mappings, without a copy. A disk that dies, or another program that
    /// shortens a file of the store, ends the process with SIGBUS. Default.
    #[default]
    Mapped,
    /// Copies by positioned reads: a dying disk is an error of that read.
    Positioned,
}

/// The folders and files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileStorage {
    reads: Reads,
}

impl FileStorage {
    /// Reads as told.
    #[must_use]
    pub fn new(reads: Reads) -> Self {
        Self { reads }
    }
}

impl Storage for FileStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(mode == OpenMode::Create)
            .mode(0o600)
            .open(path)?;
        let len = file.metadata()?.len();
        Ok(Arc::new(DirectoryFile {
            file,
            reads: self.reads,
            reserved: AtomicU64::new(len),
            read_map: RwLock::new(Bytes::new()),
            write_map: RwLock::new(None),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn StorageLock>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                note_holder(&file, holder)?;
                Ok(Box::new(FileLock { file }))
            }
            Err(fs::TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, read_holder(&mut file)?))
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        let kind = fs::symlink_metadata(path)?.file_type();
        Ok(match (kind.is_file(), kind.is_dir()) {
            (true, _) => FileKind::File,
            (_, true) => FileKind::Dir,
            _ => FileKind::Other,
        })
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // Shared, and given back at once: it only tells whether somebody has it for himself.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(fs::TryLockError::WouldBlock) => read_holder(&mut file).map(Some),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn boot_id(&self) -> Option<String> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    }
}

/// Notes who has the lock, over the note of the one before: that takes no space on a full disk.
fn note_holder(file: &File, holder: &str) -> io::Result<()> {
    let note = format!("{holder:<HOLDER_BYTES$}");
    match file.write_all_at(note.as_bytes(), 0) {
        // The note is for people; whoever has the lock has it without one.
        Err(error) if is_full(&error) => Ok(()),
        noted => noted,
    }
}

fn read_holder(file: &mut File) -> io::Result<String> {
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    Ok(holder.trim_end().to_owned())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The system drops the lock with the file, also when the process is killed.
#[derive(Debug)]
struct FileLock {
    file: File,
}

impl StorageLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was forked in the meantime has the file open, too,
        // until it becomes another program.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the lock of a store could not be given back");
        }
    }
}

#[derive(Debug)]
struct DirectoryFile {
    file: File,
    reads: Reads,
    /// The length that has disk space behind it.
    reserved: AtomicU64,
    /// The mapping that reads go through; it only ever gets longer.
    read_map: RwLock<Bytes>,
    /// The mapping that small writes go through, once space was reserved for it.
    write_map: RwLock<Option<WriteMap>>,
}

impl DirectoryFile {
    fn read_mapped(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let start = to_index(position)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let map = self.read_map.read();
        if end <= map.len() {
            return Ok(map.slice(start..end));
        }
        drop(map);
        let mut map = self.read_map.write();
        let file_len = to_index(self.file.metadata()?.len())?;
        if end > file_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if end > map.len() {
            *map = map_read(&self.file, file_len)?;
        }
        Ok(map.slice(start..end))
    }
}

impl StorageFile for DirectoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        match self.reads {
            _ if len == 0 => Ok(Bytes::new()),
            Reads::Mapped => self.read_mapped(position, len),
            Reads::Positioned => self.read_copy(position, len),
        }
    }

    fn read_copy(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(Bytes::from(bytes))
    }

    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= MAPPED_WRITE_BYTES_MAX
            && let Some(map) = &*self.write_map.read()
            && map.write(to_index(position)?, bytes)
        {
            return Ok(());
        }
        self.file.write_all_at(bytes, position)
    }

    fn write_vectored(&self, position: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut position, mut left) = (position, &mut slices[..]);
        // Empty ones at the front would be taken for a disk that writes nothing.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let next = left.get(..left.len().min(PIECES_MAX)).unwrap_or_default();
            match pwritev(&self.file, next, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let reserved = self.reserved.load(Ordering::Acquire);
        if reserved >= len && self.write_map.read().is_some() {
            return Ok(());
        }
        let len = len.max(reserved);
        if len == 0 {
            // The system refuses to reserve nothing.
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => {
                *self.write_map.write() = Some(WriteMap::new(&self.file, to_index(len)?)?);
            }
            // Without space behind it a mapping would end in SIGBUS on a full disk: such a file
            // system is written by system calls only.
            Err(Errno::OPNOTSUPP) => {
                if self.file.metadata()?.len() < len {
                    self.file.set_len(len)?;
                }
            }
            // It has the length already, but not every system confirms that on a full disk; without
            // that it is written by system calls only.
            Err(Errno::NOSPC) if len == reserved => {}
            Err(error) => return Err(error.into()),
        }
        self.reserved.store(len, Ordering::Release);
        Ok(())
    }

    fn settle(&self, position: u64, len: u64) -> io::Result<()> {
        // Pages that are mapped stay in the cache.
        *self.read_map.write() = Bytes::new();
        *self.write_map.write() = None;
        // What is on its way gets there first: only what counts as written can be dropped.
        self.file.sync_data()?;
        let (step, end) = (SETTLE_BYTES as u64, position + len);
        let mut begin = position - position % step;
        let (mut seen, mut on_disk, mut differs) = (Vec::new(), Vec::new(), false);
        let advise = |begin, advice| fadvise(&self.file, begin, NonZeroU64::new(step), advice);
        while begin < end {
            let len = to_index(step.min(end - begin))?;
            seen.resize(len, 0);
            self.file.read_exact_at(&mut seen, begin)?;
            // The next look is at the disk. ext4 has to forget that it has given these bytes a
            // place there: after a write that failed that place still counts as never written.
            advise(begin, Advice::DontNeed)?;
            advise(begin, Advice::WillNeed)?;
            on_disk.resize(len, 0);
            self.file.read_exact_at(&mut on_disk, begin)?;
            if seen != on_disk {
                advise(begin, Advice::DontNeed)?;
                self.file.write_all_at(&seen, begin)?;
                differs = true;
            }
            begin += step;
        }
        if differs {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn clear(&self, position: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        // Pages that are mapped for writing could come back.
        *self.write_map.write() = None;
        // The system gives the space back its first state, and forgets all that it knew of it.
        let how = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        // It does so for whole blocks only: the last one of the file is all of it.
        let is_last = position + len == self.file.metadata()?.len();
        let end =
            if is_last { (position + len).next_multiple_of(BLOCK_BYTES) } else { position + len };
        if fallocate(&self.file, how, position, end - position).is_ok() {
            return Ok(());
        }
        // Not every file system has that, and on a full disk there may be no room for the note.
        let (mut begin, end) = (position, position + len);
        let mut bytes = Vec::new();
        while begin < end {
            let step = (SETTLE_BYTES as u64).min(end - begin);
            bytes.resize(to_index(step)?, 0);
            self.file.read_exact_at(&mut bytes, begin)?;
            if bytes.iter().any(|&byte| byte != 0) {
                bytes.fill(0);
                self.file.write_all_at(&bytes, begin)?;
            }
            begin += step;
        }
        self.settle(position, len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        // The write mapping would reach past the end of the file.
        *self.write_map.write() = None;
        self.reserved.store(len, Ordering::Release);
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn to_index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::{FileLock, FileStorage, PIECES_MAX, Reads};
    use crate::storage::file::{OpenMode, Storage};
    use std::fs::File;

    #[test]
    fn pieces_are_written_one_behind_the_other_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = FileStorage::new(Reads::Positioned).open(&path, OpenMode::Create).unwrap();
        let text: Vec<u8> = (0..=255).cycle().take(3 * PIECES_MAX).collect();
        // Empty ones everywhere, and more than one call takes.
        let pieces: Vec<&[u8]> = text.chunks(2).flat_map(|two| [&[][..], two]).collect();
        file.write_vectored(5, &pieces).unwrap();
        file.write_vectored(2, &[]).unwrap();
        file.write_vectored(2, &[b"", b"abc", b""]).unwrap();
        assert_eq!(file.read(0, 5).unwrap(), &b"\0\0abc"[..]);
        assert_eq!(file.size().unwrap(), 5 + text.len() as u64);
        assert_eq!(file.read(5, text.len()).unwrap(), text);
    }

    /// Another thread starts a program while a store is open. Until the child runs it, it shares
    /// the lock; the store was closed and opened again in that moment, and found itself locked.
    #[test]
    fn a_lock_is_given_back_although_a_forked_child_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.lock");
        let file = File::create(&path).unwrap();
        file.try_lock().unwrap();
        let childs = file.try_clone().unwrap();
        drop(FileLock { file });
        let again = FileStorage::new(Reads::Positioned).lock(&path, "somebody").unwrap();
        drop((again, childs));
    }
}
