//! A file system in memory: the same log without a disk, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::storage::file::{OpenMode, Storage, StorageFile, StorageLock};

/// Files in memory. Clones share them, so that a store can be closed and opened again.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, String>,
}

impl MemoryStorage {
    /// An empty file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Storage for MemoryStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state.lock();
        if let Some(file) = state.files.get(path) {
            return Ok(Arc::clone(file) as Arc<dyn StorageFile>);
        }
        if mode != OpenMode::Create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = Arc::new(MemoryFile::default());
        state.files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names: BTreeSet<String> = state
            .files
            .keys()
            .chain(&state.dirs)
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.state.lock().files.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.files.retain(|file, _| !file.starts_with(path));
        state.dirs.retain(|dir| !dir.starts_with(path));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        if let Some(file) = state.files.remove(from) {
            state.files.insert(to.to_owned(), file);
            return Ok(());
        }
        if !state.dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = std::mem::take(&mut state.files);
        state.files = files.into_iter().map(|(p, f)| (moved(&p).unwrap_or(p), f)).collect();
        let dirs = std::mem::take(&mut state.dirs);
        state.dirs = dirs.into_iter().map(|path| moved(&path).unwrap_or(path)).collect();
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn StorageLock>> {
        let mut state = self.state.lock();
        if let Some(other) = state.locks.get(path) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, other.clone()));
        }
        state.locks.insert(path.to_owned(), holder.to_owned());
        Ok(Box::new(MemoryLock { state: Arc::clone(&self.state), path: path.to_owned() }))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        Ok(self.state.lock().locks.get(path).cloned())
    }

    fn boot_id(&self) -> Option<String> {
        Some("memory".to_owned())
    }
}

#[derive(Debug)]
struct MemoryLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl StorageLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

/// The bytes that were written, and a length that may be longer: the rest reads as zeros.
#[derive(Debug, Default)]
struct MemoryFile {
    content: RwLock<Content>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    len: usize,
}

impl StorageFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.read().len as u64)
    }

    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let content = self.content.read();
        let start = to_index(position)?;
        let end = start.checked_add(len).filter(|&end| end <= content.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let written = content.bytes.get(start..end.min(content.bytes.len())).unwrap_or_default();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(written);
        bytes.resize(len, 0);
        Ok(Bytes::from(bytes))
    }

    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content.write();
        let start = to_index(position)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.len = content.len.max(end);
        content.bytes.get_mut(start..end).expect("just made long enough").copy_from_slice(bytes);
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.write();
        content.len = content.len.max(to_index(len)?);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.write();
        content.len = to_index(len)?;
        let len = content.len;
        content.bytes.truncate(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn to_index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
