//! What a floor loop works with: the input as frames, and files for what it writes.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use crate::topology::digest::Digest;
use crate::topology::frames::{FrameReader, FrameWriter};

/// After so many records the floors write their changed keys to the changelog: about as many as a
/// commit of ours has.
const COMMIT_RECORDS: u64 = 100_000;

/// A run of a floor loop.
pub struct Floor {
    pub inputs: Vec<FrameReader>,
    pub out: FrameWriter,
    pub changelog: FrameWriter,
    records: u64,
}

impl Floor {
    /// A run over files of frames; what it writes goes to files in `folder`.
    pub fn new(inputs: &[PathBuf], folder: &Path) -> Self {
        Self {
            inputs: inputs.iter().map(|path| FrameReader::open(path)).collect(),
            out: FrameWriter::create(&output(folder)),
            changelog: FrameWriter::create(&folder.join("changelog")),
            records: 0,
        }
    }

    /// Whether it is time to write to the changelog; to be asked after each record.
    pub fn is_commit_due(&mut self) -> bool {
        self.records += 1;
        self.records.is_multiple_of(COMMIT_RECORDS)
    }

    /// Of several inputs the one whose next record is the earliest.
    pub fn earliest(&mut self) -> Option<usize> {
        let times = self.inputs.iter_mut().map(FrameReader::next_time_ms).enumerate();
        let next = times.filter_map(|(index, time_ms)| Some((time_ms?, index))).min();
        next.map(|(_, index)| index)
    }

    /// Writes what is left.
    pub fn end(mut self) {
        self.out.flush();
        self.changelog.flush();
    }
}

fn output(folder: &Path) -> PathBuf {
    folder.join("out")
}

/// What a run has written to its output.
pub fn digest(folder: &Path) -> Digest {
    let mut digest = Digest::default();
    let mut reader = FrameReader::open(&output(folder));
    while let Some(frame) = reader.next() {
        digest.add(frame);
    }
    digest
}

/// A table of a floor: a hash table that notes which keys were changed since the last commit.
pub struct FloorTable<K, V> {
    rows: HashMap<K, (V, bool)>,
    dirty: Vec<K>,
}

impl<K, V> Default for FloorTable<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), dirty: Vec::new() }
    }
}

impl<K: Hash + Eq + Clone, V> FloorTable<K, V> {
    /// Changes a row, and returns what `change` does.
    pub fn change<R>(
        &mut self,
        key: &K,
        initial: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        if let Some((row, is_dirty)) = self.rows.get_mut(key) {
            if !std::mem::replace(is_dirty, true) {
                self.dirty.push(key.clone());
            }
            return change(row);
        }
        let mut row = initial();
        let changed = change(&mut row);
        self.dirty.push(key.clone());
        self.rows.insert(key.clone(), (row, true));
        changed
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(row, _)| row)
    }

    /// Takes a row out. It is written as a null.
    pub fn remove(&mut self, key: &K) {
        if let Some((_, is_dirty)) = self.rows.remove(key)
            && !is_dirty
        {
            self.dirty.push(key.clone());
        }
    }

    /// Writes the rows that were changed: `write` gets the key, and the row if it is there.
    pub fn commit(&mut self, mut write: impl FnMut(&K, Option<&V>)) {
        for key in self.dirty.drain(..) {
            match self.rows.get_mut(&key) {
                Some((row, is_dirty)) => {
                    *is_dirty = false;
                    write(&key, Some(row));
                }
                None => write(&key, None),
            }
        }
    }
}
