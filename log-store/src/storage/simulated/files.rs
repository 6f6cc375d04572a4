//! The storage trait over the simulated disk: each call is counted, and may be one that fails.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::storage::file::{OpenMode, Storage, StorageFile, StorageLock};
use crate::storage::simulated::disk::{CrashKind, Disk};
use crate::storage::simulated::fault::{CallEffect, CallFault, CallKind, Effect, Verdict};
use crate::storage::simulated::inode::Inode;

/// The file system. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    disk: Disk,
    locks: BTreeSet<PathBuf>,
    calls: Vec<CallKind>,
    effect: Option<CallEffect>,
    /// How many calls did something else than they should.
    befallen: u64,
    boot: u64,
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
        self.state.lock().calls.len() as u64
    }

    /// What was called, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<CallKind> {
        self.state.lock().calls.clone()
    }

    /// Makes calls fail from now on.
    pub fn set_fault(&self, fault: Option<CallFault>) {
        self.set_effect(fault.map(CallEffect::from));
    }

    /// Makes calls do something else than they should from now on.
    pub fn set_effect(&self, effect: Option<CallEffect>) {
        self.state.lock().effect = effect;
    }

    /// How many calls failed, or did something else than they should.
    #[must_use]
    pub fn befallen(&self) -> u64 {
        self.state.lock().befallen
    }

    /// Says for how many more bytes there is space; none for any number. A new name takes 4 KiB.
    /// Files that are removed or cut give theirs back.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.state.lock().disk.set_free_bytes(free);
    }

    /// For how many more bytes there is space; none for any number.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.state.lock().disk.free_bytes()
    }

    /// What the next process finds. `choose(n)` gives a number below `n`, each time another one.
    #[must_use]
    pub fn crash(&self, kind: CrashKind, mut choose: impl FnMut(usize) -> usize) -> Self {
        let (mut disk, boot) = {
            let state = self.state.lock();
            (state.disk.clone(), state.boot + u64::from(kind == CrashKind::PowerCut))
        };
        disk.crash(kind, &mut choose);
        Self { state: Arc::new(Mutex::new(State { disk, boot, ..State::default() })) }
    }

    /// The bytes of a file, as readers see them. Not counted as a call.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.disk.file(path).map(|inode| state.disk.bytes(inode).to_vec())
    }

    /// The names in a folder and the lengths of the files among them. Not counted as calls.
    #[must_use]
    pub fn lengths(&self, dir: &Path) -> Vec<(String, u64)> {
        let state = self.state.lock();
        let length = |name: &String| {
            let inode = state.disk.file(&dir.join(name));
            inode.map_or(0, |inode| state.disk.bytes(inode).len() as u64)
        };
        let names = state.disk.list(dir).unwrap_or_default();
        names.into_iter().map(|name| (name.clone(), length(&name))).collect()
    }
}

impl State {
    /// Counts a call, which may be one that fails.
    fn call(&mut self, kind: CallKind) -> io::Result<Verdict> {
        self.calls.push(kind);
        let Some(effect) = self.effect else { return Ok(Verdict::AsUsual) };
        let calls = self.calls.len() as u64;
        let hit = calls == effect.at || (calls > effect.at && effect.from_then_on);
        self.befallen += u64::from(hit && effect.effect.is_for(kind));
        match effect.judge(calls, kind) {
            Verdict::Fails(error) => Err(error),
            verdict => Ok(verdict),
        }
    }
}

impl Storage for SimulatedStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state.lock();
        state.call(CallKind::Open)?;
        let inode = match state.disk.file(path) {
            Some(inode) => inode,
            None if mode == OpenMode::Create => state.disk.create_file(path)?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimulatedFile { state: Arc::clone(&self.state), inode }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
        state.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
        state.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
        state.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
        state.disk.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
        state.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.call(CallKind::SyncDir)? {
            Verdict::Lies => Ok(()),
            _ => state.disk.sync_dir(dir),
        }
    }

    fn lock(&self, path: &Path, _holder: &str) -> io::Result<Box<dyn StorageLock>> {
        let mut state = self.state.lock();
        state.call(CallKind::Names)?;
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
        Ok(self.state.lock().disk.bytes(self.inode).len() as u64)
    }

    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut state = self.state.lock();
        state.call(CallKind::Read)?;
        let start = to_index(position)?;
        let bytes = state.disk.bytes(self.inode).get(start..start + len);
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let start = to_index(position)?;
        if let Err(error) = state.call(CallKind::Write) {
            // A write that fails, or that a kill interrupts, is there in part.
            let short = state.effect.is_some_and(|e| e.effect == Effect::WritesShort);
            let written = if short { bytes.len().saturating_sub(1) } else { bytes.len() / 2 };
            state.disk.write(self.inode, start, bytes.get(..written).unwrap_or_default())?;
            return Err(error);
        }
        state.disk.write(self.inode, start, bytes)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Reserve)?;
        let len = to_index(len)?;
        if state.disk.bytes(self.inode).len() < len {
            state.disk.set_len(self.inode, len)?;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Truncate)?;
        let len = to_index(len)?;
        state.disk.set_len(self.inode, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.synced(Inode::sync)
    }

    fn settle(&self, position: u64, len: u64) -> io::Result<()> {
        let (position, len) = (to_index(position)?, to_index(len)?);
        self.synced(|inode| inode.settle(position, len))
    }

    fn clear(&self, position: u64, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let (start, len) = (to_index(position)?, to_index(len)?);
        let called = state.call(CallKind::Write);
        // One that fails is there in part.
        let cleared = if called.is_err() { len / 2 } else { len };
        state.disk.inode(self.inode).clear(start, cleared);
        called.map(drop)
    }
}

impl SimulatedFile {
    /// Counts a sync, which may be one that fails.
    fn synced(&self, sync: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.call(CallKind::Sync) {
            Err(error) => {
                // A process that is gone for good does not see what its sync would have said.
                let is_gone =
                    |e: CallEffect| e.from_then_on && matches!(e.effect, Effect::Fails(_));
                if !state.effect.is_some_and(is_gone) {
                    state.disk.inode(self.inode).fail_sync();
                }
                return Err(error);
            }
            Ok(Verdict::Lies) => {}
            Ok(_) => sync(state.disk.inode(self.inode)),
        }
        Ok(())
    }
}

fn to_index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
