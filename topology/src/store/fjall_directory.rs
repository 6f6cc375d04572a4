//! Persistent stores on `fjall`: one database for an application, a keyspace for each store.
//!
//! The note of how far a store is stands in its keyspace, among the rows. So the engine cannot bring
//! one to the disk without the other, whatever a power cut leaves of its journal.

use std::error::Error as _;
use std::io;
use std::ops::Bound;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use headwater_log_store::{LeaderEpoch, Offset};

use crate::backing::{Backing, Changes, Covered, Reader, StateDirectory, Visitor};
use crate::error::BoxError;
use crate::types::TaskId;

/// Where the note is. Rows come behind it: their keys have [`ROW`] before them, which makes a key
/// of an empty one as well.
const NOTE: [u8; 1] = [0];
const ROW: u8 = 1;
const AFTER_ROWS: [u8; 1] = [2];

/// What the note has: an offset, an epoch, and the number of the application's state.
const NOTE_BYTES: usize = 16;

/// The longest key of the engine.
const KEY_BYTES_MAX: usize = 65_535;

/// More than any store adds to the key of its changelog.
const KEY_BYTES_BESIDE: usize = 64;

/// What a start after a crash reads of the journals at most, but for the newest of 64 MB. The
/// engine would let them grow to 512 MiB, which takes seconds to read.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// See the module.
pub(crate) struct FjallDirectory {
    database: Database,
}

impl FjallDirectory {
    /// Opens the folder, or makes it. No other process has it open then.
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        let database = Database::builder(path).max_journaling_size(JOURNAL_BYTES_MAX).open();
        Ok(Self { database: database.map_err(explained)? })
    }
}

impl StateDirectory for FjallDirectory {
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError> {
        let name = format!("{task}.{store}");
        if name.len() > 255 {
            return Err(format!("its name {name} is longer than 255 bytes").into());
        }
        let rows = self.database.keyspace(&name, KeyspaceCreateOptions::default);
        let rows = rows.map_err(explained)?;
        Ok(Box::new(FjallStore { database: self.database.clone(), rows }))
    }
}

struct FjallStore {
    database: Database,
    rows: Keyspace,
}

impl Backing for FjallStore {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        let Some(bytes) = self.rows.get(NOTE).map_err(explained)? else { return Ok(None) };
        // A version before this one did not note all of it: its rows are made anew.
        let Ok(note) = <[u8; NOTE_BYTES]>::try_from(&*bytes) else { return Ok(None) };
        let [o0, o1, o2, o3, o4, o5, o6, o7, e0, e1, e2, e3, s0, s1, s2, s3] = note;
        Ok(Some(Covered {
            offset: Offset::new(u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7])),
            epoch: LeaderEpoch::new(u32::from_be_bytes([e0, e1, e2, e3])),
            state: u32::from_be_bytes([s0, s1, s2, s3]),
        }))
    }

    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError> {
        if key.len() >= KEY_BYTES_MAX {
            return Ok(());
        }
        let row = self.rows.get(row_key(key)).map_err(explained)?;
        row.map_or(Ok(()), |row| reader(&row))
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        let from = match range.0 {
            Bound::Unbounded => Bound::Included(vec![ROW]),
            bound => bound.map(|key| row_key(&key)),
        };
        let to = match range.1 {
            Bound::Unbounded => Bound::Excluded(AFTER_ROWS.to_vec()),
            bound => bound.map(|key| row_key(&key)),
        };
        let mut rows = self.rows.range((from, to));
        while let Some(row) = if from_end { rows.next_back() } else { rows.next() } {
            let (key, row) = row.into_inner().map_err(explained)?;
            if !visitor(key.get(1..).unwrap_or_default(), &row)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError> {
        // The engine looks for the place of each: neighbours are in the processor's caches by then.
        changes.sort();
        let batch = OwnedWriteBatch::with_capacity(self.database.clone(), changes.len() + 1);
        // As the database's own batches: it is with the operating system when it is committed.
        let mut batch = batch.durability(Some(PersistMode::Buffer));
        let mut place = Vec::new();
        for (key, row) in changes.iter() {
            if key.len() >= KEY_BYTES_MAX {
                let len = key.len();
                return Err(format!("a key of {len} bytes is too long for the disk").into());
            }
            put_row_key(key, &mut place);
            match row {
                Some(row) => batch.insert(&self.rows, &place[..], row),
                None => batch.remove(&self.rows, &place[..]),
            }
        }
        let mut note = covered.offset.value().to_be_bytes().to_vec();
        note.extend(covered.epoch.value().to_be_bytes());
        note.extend(covered.state.to_be_bytes());
        batch.insert(&self.rows, NOTE, note);
        batch.commit().map_err(explained)
    }

    fn clear(&self) -> Result<(), BoxError> {
        // The rows are gone from the disk before the journal is synced: a power cut in between
        // must not find the note there, nor an older one.
        self.rows.remove(NOTE).map_err(explained)?;
        self.database.persist(PersistMode::SyncAll).map_err(explained)?;
        self.rows.clear().map_err(explained)
    }

    fn len(&self) -> usize {
        self.rows.approximate_len().saturating_sub(1)
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_space()
    }

    fn key_bytes_max(&self) -> usize {
        KEY_BYTES_MAX - KEY_BYTES_BESIDE
    }
}

/// What the system has said, where that is the cause: the engine's own texts are for its developers.
fn explained(error: fjall::Error) -> BoxError {
    if matches!(error, fjall::Error::Poisoned) {
        return "a write to it has failed before; it takes writes again after the next start"
            .into();
    }
    let causes = std::iter::successors(error.source(), |cause| (**cause).source());
    match causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).last() {
        Some(cause) => io::Error::new(cause.kind(), cause.to_string()).into(),
        None => error.into(),
    }
}

fn row_key(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    put_row_key(key, &mut row);
    row
}

fn put_row_key(key: &[u8], row: &mut Vec<u8>) {
    row.clear();
    row.push(ROW);
    row.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::{Bound, RangeBounds};

    use headwater_log_store::{LeaderEpoch, Offset};
    use tempfile::TempDir;

    use super::{Backing, Covered, FjallDirectory, StateDirectory};
    use crate::types::TaskId;

    const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

    fn covered(offset: u64) -> Covered {
        Covered { offset: Offset::new(offset), epoch: LeaderEpoch::new(3), state: 7 }
    }

    type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

    fn visited(rows: &dyn Backing, range: Range, from_end: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut visitor = |key: &[u8], row: &[u8]| {
            found.push((key.to_vec(), row.to_vec()));
            Ok(true)
        };
        rows.visit(range, from_end, &mut visitor).unwrap();
        found
    }

    #[test]
    fn rows_of_any_key_are_found_again_in_their_order_and_the_note_is_none_of_them() {
        let dir = TempDir::new().unwrap();
        // An empty key once ended the process in the engine, which has none.
        let keys: [&[u8]; 6] = [b"", &[0], &[1], &[1, 0], &[255; 60], &[255; 65_000]];
        let model: BTreeMap<_, _> = keys.iter().map(|key| (key.to_vec(), key.to_vec())).collect();
        {
            let rows = FjallDirectory::open(dir.path()).unwrap().store(TASK, "s").unwrap();
            assert_eq!(rows.covered().unwrap(), None);
            let changes = model.iter().map(|(key, row)| (key, Some(row)));
            rows.write(&mut changes.collect(), covered(7)).unwrap();
        }
        let rows = FjallDirectory::open(dir.path()).unwrap().store(TASK, "s").unwrap();
        assert_eq!((rows.covered().unwrap(), rows.len()), (Some(covered(7)), keys.len()));
        for key in keys {
            assert_eq!(rows.get(key).unwrap().as_deref(), Some(key));
        }
        let ends = [Bound::Unbounded, Bound::Included(vec![1]), Bound::Excluded(vec![1])];
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
            let range = (from.clone(), to.clone());
            let inside = |key: &Vec<u8>| {
                let after = match from {
                    Bound::Included(from) => key >= from,
                    Bound::Excluded(from) => key > from,
                    Bound::Unbounded => true,
                };
                after && (Bound::Unbounded, to.clone()).contains(key)
            };
            let mut expected: Vec<_> = model.clone().into_iter().collect();
            expected.retain(|(key, _)| inside(key));
            assert_eq!(visited(&*rows, range.clone(), false), expected, "{range:?}");
            expected.reverse();
            assert_eq!(visited(&*rows, range, true), expected);
        }
        let mut changes = [([0; 65_535], None::<&[u8]>)].into_iter().collect();
        let error = rows.write(&mut changes, covered(8)).unwrap_err();
        assert_eq!(error.to_string(), "a key of 65535 bytes is too long for the disk");
        assert_eq!(rows.get(&[0; 65_535]).unwrap(), None);
    }

    #[test]
    fn an_error_of_the_system_is_said_in_its_words() {
        let full = std::io::Error::from_raw_os_error(28);
        let said = super::explained(fjall::Error::Io(full)).to_string();
        assert_eq!(said, "No space left on device (os error 28)");
        let said = super::explained(fjall::Error::Locked).to_string();
        assert_eq!(said, "FjallError: Locked");
    }

    #[test]
    fn cleared_rows_are_gone_together_with_their_note() {
        let dir = TempDir::new().unwrap();
        let directory = FjallDirectory::open(dir.path()).unwrap();
        let [rows, others] = ["s", "t"].map(|store| directory.store(TASK, store).unwrap());
        for rows in [&rows, &others] {
            let mut changes = [(b"k", Some(b"v"))].into_iter().collect();
            rows.write(&mut changes, covered(1)).unwrap();
        }
        rows.clear().unwrap();
        assert_eq!((rows.covered().unwrap(), rows.get(b"k").unwrap()), (None, None));
        assert_eq!(others.covered().unwrap(), Some(covered(1)));
        assert_eq!(others.get(b"k").unwrap(), Some(b"v".to_vec()));
    }
}
