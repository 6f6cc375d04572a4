//! A file system in memory that loses power, is killed and fails, for tests.
//!
//! What was not synced may be there after a power cut in part: any sectors of it, with any length
//! of the file. Names are there once their folder was synced. A killed process leaves everything
//! that it wrote, the last write in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::storage::file::{OpenMode, Storage, StorageFile, StorageLock};

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process is gone, the page cache is not.
    Kill,
    /// The machine is gone, and what was not synced is so in part.
    PowerCut,
}

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallFault {
    /// The number of the call, counted from 1, as [`SimulatedStorage::calls`] counts.
    pub at: u64,
    /// Whether all later ones fail too.
    pub from_then_on: bool,
    /// What they fail with.
    pub kind: io::ErrorKind,
}

/// The file system. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    /// How many folders there ever were; the root is the folder 0.
    dirs: usize,
    names: Names,
    durable_names: Names,
    pending_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    fault: Option<CallFault>,
    boot: u64,
}

/// A name in a folder, by the folder's number.
type Name = (usize, String);
type Names = BTreeMap<Name, Node>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(Name, Node),
    Remove(Name),
    Rename(Name, Name),
}

/// A file: as readers see it, as it was synced last, and what came since.
#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl SimulatedStorage {
    /// An empty file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls were made that could fail.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Makes calls fail from now on.
    pub fn set_fault(&self, fault: Option<CallFault>) {
        self.state.lock().fault = fault;
    }

    /// What the next process finds. `choose(n)` gives a number below `n`, each time another one.
    #[must_use]
    pub fn crash(&self, kind: CrashKind, mut choose: impl FnMut(usize) -> usize) -> Self {
        let mut state = self.state.lock().clone();
        state.locks.clear();
        state.fault = None;
        state.calls = 0;
        if kind == CrashKind::PowerCut {
            state.boot += 1;
            let mut names = std::mem::take(&mut state.durable_names);
            for change in std::mem::take(&mut state.pending_names) {
                if choose(2) == 0 {
                    apply_name(&mut names, &change);
                }
            }
            state.names = names;
            // Some crashes lose nearly everything, some nearly nothing.
            let odds = choose(5);
            for inode in &mut state.inodes {
                inode.lose_power(odds, &mut choose);
            }
        }
        if kind == CrashKind::PowerCut {
            // What is there now is on the disk; after a kill it may still be in the page cache.
            state.durable_names = state.names.clone();
            state.pending_names.clear();
            for inode in &mut state.inodes {
                inode.durable = inode.bytes.clone();
                inode.pending.clear();
            }
        }
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes of a file, as readers see them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.file(path)?;
        state.inodes.get(inode).map(|inode| inode.bytes.clone())
    }
}

impl State {
    /// Counts a call, which may be one that fails.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Some(fault)
                if self.calls == fault.at || (self.calls > fault.at && fault.from_then_on) =>
            {
                Err(io::Error::new(fault.kind, format!("injected at call {}", self.calls)))
            }
            _ => Ok(()),
        }
    }

    /// The folder that a path names.
    fn dir(&self, path: &Path) -> Option<usize> {
        path.components().filter(|part| *part != Component::CurDir).try_fold(0, |dir, part| {
            match self.names.get(&(dir, part.as_os_str().to_str()?.to_owned())) {
                Some(Node::Dir(dir)) => Some(*dir),
                _ => None,
            }
        })
    }

    /// The name at the end of a path, in its folder.
    fn name(&self, path: &Path) -> io::Result<Name> {
        let dir = self.dir(path.parent().unwrap_or(Path::new("")));
        let name = path.file_name().and_then(|name| name.to_str());
        dir.zip(name.map(str::to_owned)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.names.get(&self.name(path).ok()?) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn inode(&mut self, inode: usize) -> &mut Inode {
        self.inodes.get_mut(inode).expect("inodes are never removed")
    }
}

fn apply_name(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl NameChange {
    fn is_in(&self, dir: usize) -> bool {
        match self {
            Self::Add(name, _) | Self::Remove(name) => name.0 == dir,
            Self::Rename(from, to) => from.0 == dir || to.0 == dir,
        }
    }
}

impl Inode {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        put(&mut self.bytes, position, bytes);
        self.pending.push(Change::Write(position, bytes.to_vec()));
    }

    fn set_len(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.pending.push(Change::Length(len));
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(len) => self.durable.resize(len, 0),
                Change::Write(position, bytes) => put(&mut self.durable, position, &bytes),
            }
        }
    }

    /// The disk never gets what was not synced, though readers still see it.
    fn fail_sync(&mut self) {
        self.pending.clear();
    }

    fn lose_power(&mut self, odds: usize, choose: &mut impl FnMut(usize) -> usize) {
        // Out of 4: how likely an unsynced sector is there all the same.
        let mut survives = || choose(4) < odds;
        let mut bytes = std::mem::take(&mut self.durable);
        for change in &self.pending {
            match change {
                Change::Length(len) if survives() => bytes.resize(*len, 0),
                Change::Length(_) => {}
                Change::Write(position, content) => {
                    let mut at = 0;
                    while at < content.len() {
                        let sector_left = SECTOR_BYTES - (position + at) % SECTOR_BYTES;
                        let len = sector_left.min(content.len() - at);
                        if survives() {
                            let part = content.get(at..at + len).unwrap_or_default();
                            put(&mut bytes, position + at, part);
                        }
                        at += len;
                    }
                }
            }
        }
        self.bytes = bytes;
    }
}

fn put(bytes: &mut Vec<u8>, position: usize, content: &[u8]) {
    let end = position + content.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes.get_mut(position..end).expect("long enough now").copy_from_slice(content);
}

impl Storage for SimulatedStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state.lock();
        state.call()?;
        let inode = match state.file(path) {
            Some(inode) => inode,
            None if mode == OpenMode::Create => {
                let name = state.name(path)?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_name(NameChange::Add(name, Node::File(inode)));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimulatedFile { state: Arc::clone(&self.state), inode }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let mut dirs: Vec<&Path> =
            path.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        dirs.reverse();
        for dir in dirs {
            if state.dir(dir).is_none() {
                let name = state.name(dir)?;
                state.dirs += 1;
                let node = Node::Dir(state.dirs);
                state.change_name(NameChange::Add(name, node));
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.call()?;
        let dir = state.dir(dir).ok_or(io::ErrorKind::NotFound)?;
        let inside = state.names.keys().filter(|name| name.0 == dir);
        Ok(inside.map(|(_, name)| name.clone()).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        state.file(path).ok_or(io::ErrorKind::NotFound)?;
        let name = state.name(path)?;
        state.change_name(NameChange::Remove(name));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let name = state.name(path)?;
        state.change_name(NameChange::Remove(name));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let (from, to) = (state.name(from)?, state.name(to)?);
        if !state.names.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from, to));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let dir = state.dir(dir).ok_or(io::ErrorKind::NotFound)?;
        for change in std::mem::take(&mut state.pending_names) {
            if change.is_in(dir) {
                apply_name(&mut state.durable_names, &change);
            } else {
                state.pending_names.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path, _holder: &str) -> io::Result<Box<dyn StorageLock>> {
        let mut state = self.state.lock();
        state.call()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another opener"));
        }
        Ok(Box::new(SimulatedLock { state: Arc::clone(&self.state), path: path.to_owned() }))
    }

    fn boot_id(&self) -> Option<String> {
        Some(format!("boot {}", self.state.lock().boot))
    }
}

#[derive(Debug)]
struct SimulatedLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl StorageLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl StorageFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        Ok(state.inode(self.inode).bytes.len() as u64)
    }

    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut state = self.state.lock();
        state.call()?;
        let start = to_index(position)?;
        let bytes = state.inode(self.inode).bytes.get(start..start + len);
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let start = to_index(position)?;
        if let Err(error) = state.call() {
            // A write that fails, or that a kill interrupts, is there in part.
            let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
            state.inode(self.inode).write(start, part);
            return Err(error);
        }
        state.inode(self.inode).write(start, bytes);
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let len = to_index(len)?;
        let inode = state.inode(self.inode);
        if inode.bytes.len() < len {
            inode.set_len(len);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let len = to_index(len)?;
        state.inode(self.inode).set_len(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = state.call() {
            // A process that is gone for good does not see what its sync would have said.
            if state.fault.is_some_and(|fault| !fault.from_then_on) {
                state.inode(self.inode).fail_sync();
            }
            return Err(error);
        }
        state.inode(self.inode).sync();
        Ok(())
    }
}

fn to_index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
