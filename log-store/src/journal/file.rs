//! The journal's file: written from the front, begun again after each checkpoint, replayed after
//! an unclean stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::journal::entry::{
    ALIGNMENT, BATCH_OVERHEAD, EntryHeader, EntryWriter, HEADER_BYTES, JournaledBatch, batches,
};
use crate::storage::{OpenMode, Storage, StorageFile};

/// How much is written back at a time.
const WRITE_BACK_BYTES: usize = 1 << 20;
/// By how much the space grows that has been written at all.
const FILL_BYTES: u64 = 1 << 20;
/// How much of such a step tells whether there are entries in it.
const PROBE_BYTES: u64 = 4096;

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalMark {
    /// The byte position of the first entry to replay.
    pub(crate) position: u64,
    /// The sequence number that it has, if it was written.
    pub(crate) sequence: u64,
    /// The highest sequence number that was known to be durable.
    pub(crate) durable_sequence: u64,
}

/// The journal, as its one writer has it.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    store_id: u128,
    capacity: u64,
    mark: JournalMark,
    /// Up to where the file has been written at all; none if that was not looked at yet.
    filled: Option<u64>,
}

impl Journal {
    /// Creates the file with all the space that it will ever take, and the first of it filled.
    pub(crate) fn create(storage: &dyn Storage, path: &Path, capacity: u64) -> Result<()> {
        let created = storage.open(path, OpenMode::Create).and_then(|file| {
            // From nothing: of a file that an earlier attempt could not sync, the disk may have less
            // than is to be seen here, and no later sync would say so.
            file.truncate(0)?;
            file.reserve(capacity)?;
            file.write(0, &zeros(capacity.min(FILL_BYTES)))?;
            file.sync()
        });
        created.map_err(|e| Error::io("create", path, e))
    }

    /// Opens the file to go on at `mark`.
    pub(crate) fn open(
        storage: &dyn Storage,
        path: &Path,
        store_id: u128,
        mark: JournalMark,
    ) -> Result<Self> {
        let file = storage.open(path, OpenMode::Write).map_err(|e| Error::io("open", path, e))?;
        let capacity = file.size().map_err(|e| Error::io("read", path, e))?;
        Ok(Self { path: path.to_owned(), file, store_id, capacity, mark, filled: None })
    }

    /// How long the file is.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The error that an entry which was applied once is gone.
    pub(crate) fn lost(&self) -> Error {
        Error::LostDurableData { path: self.path.clone(), sequence: self.mark.sequence }
    }

    /// Refuses to go without an entry that is known to be durable.
    pub(crate) fn check_expendable(&self, sequence: u64) -> Result<()> {
        if sequence <= self.mark.durable_sequence {
            return Err(Error::LostDurableData { path: self.path.clone(), sequence });
        }
        Ok(())
    }

    /// Where the next entry goes.
    pub(crate) fn mark(&self) -> JournalMark {
        self.mark
    }

    /// The most bytes of batches that one transaction may hold: with their overhead they stay
    /// below a quarter of the journal.
    pub(crate) fn transaction_bytes_max(&self) -> usize {
        usize::try_from(self.capacity / 4).unwrap_or(usize::MAX)
    }

    /// The bytes that a batch takes in an entry.
    pub(crate) fn batch_len(bytes: usize) -> usize {
        bytes + BATCH_OVERHEAD
    }

    /// Whether an entry fits behind the last one.
    pub(crate) fn has_room(&self, entry: &EntryWriter<'_>) -> bool {
        self.mark.position + entry.aligned_len() as u64 <= self.capacity
    }

    /// Whether an entry was written where the mark says that the next one goes.
    pub(crate) fn goes_on(&self) -> Result<bool> {
        let entry = self.entry(self.mark.position)?;
        Ok(entry.is_some_and(|(header, _)| header.sequence >= self.mark.sequence))
    }

    /// Goes back to the front. The caller has a checkpoint that says so, and that is durable.
    pub(crate) fn recycle(&mut self) {
        self.mark.position = 0;
    }

    /// The mark as it will be after [`recycle`](Self::recycle).
    pub(crate) fn recycled_mark(&self) -> JournalMark {
        JournalMark { position: 0, ..self.mark }
    }

    /// Writes an entry, which fits, and returns its sequence number. It is not durable yet.
    pub(crate) fn write(&mut self, entry: &mut EntryWriter<'_>) -> Result<u64> {
        let JournalMark { position, sequence, durable_sequence } = self.mark;
        let end = position + entry.aligned_len() as u64;
        self.fill(end)?;
        let pieces = entry.finish(self.store_id, sequence, durable_sequence);
        let written = self.file.write_vectored(position, &pieces);
        written.map_err(|e| Error::io("write", &self.path, e))?;
        self.mark.position = end;
        self.mark.sequence += 1;
        Ok(sequence)
    }

    /// Sees to it that the file has been written up to `end`, and that this is durable, before an
    /// entry goes there. What is only reserved ext4 does not give back after a write that failed,
    /// however often it is written again: the entries of a later session would be zeros after a
    /// power cut. Done step by step, since it would make every new store wait.
    fn fill(&mut self, end: u64) -> Result<()> {
        let filled = match self.filled {
            Some(filled) => filled,
            None => self.find_filled().map_err(|e| Error::io("read", &self.path, e))?,
        };
        self.filled = Some(filled);
        if end <= filled {
            return Ok(());
        }
        let end = end.next_multiple_of(FILL_BYTES).min(self.capacity);
        // Somebody before may have failed right here.
        let cleared = self.file.clear(filled, end - filled);
        cleared.map_err(|e| Error::io("clear", &self.path, e))?;
        let zeroed = self.file.write(filled, &zeros(end - filled));
        zeroed.map_err(|e| Error::io("write", &self.path, e))?;
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        self.filled = Some(end);
        Ok(())
    }

    /// Up to where the file has been written at all, or less: where there is an entry, its step was
    /// filled, and those before it. The first one always is.
    fn find_filled(&self) -> io::Result<u64> {
        let (mut filled, mut end) = (1, self.capacity.div_ceil(FILL_BYTES));
        while filled < end {
            let step = filled + (end - filled) / 2;
            let len = PROBE_BYTES.min(self.capacity - step * FILL_BYTES);
            let probe = usize::try_from(len).unwrap_or(usize::MAX);
            let bytes = self.file.read_copy(step * FILL_BYTES, probe)?;
            if bytes.iter().any(|&byte| byte != 0) {
                filled = step + 1;
            } else {
                end = step;
            }
        }
        Ok((filled * FILL_BYTES).max(self.mark.position).min(self.capacity))
    }

    /// What it takes to make the entries durable that are written by now.
    pub(crate) fn syncer(&self) -> JournalSyncer {
        JournalSyncer {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            sequence: self.mark.sequence - 1,
        }
    }

    /// Notes that all entries up to `sequence` are durable.
    pub(crate) fn note_durable(&mut self, sequence: u64) {
        self.mark.durable_sequence = self.mark.durable_sequence.max(sequence);
    }

    /// Makes all entries durable that are written.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        self.note_durable(self.mark.sequence - 1);
        Ok(())
    }

    /// Reads all entries from the mark on and leaves the mark behind the last.
    ///
    /// # Errors
    /// `LostDurableData` if an entry is damaged that a later one, or the mark, knows as durable.
    pub(crate) fn replay(&mut self) -> Result<Replay> {
        let (mut entries, first) = (Vec::new(), self.mark.sequence);
        let mut positions = Vec::new();
        while let Some((header, bytes)) = self.entry(self.mark.position)? {
            if header.sequence != self.mark.sequence {
                break;
            }
            positions.push(self.mark.position);
            self.mark.position += header.aligned_len() as u64;
            self.mark.sequence += 1;
            self.mark.durable_sequence = self.mark.durable_sequence.max(header.durable_sequence);
            entries.push(bytes);
        }
        let durable = (self.mark.durable_sequence + 1).saturating_sub(first);
        let unsure = usize::try_from(durable).ok().and_then(|n| positions.get(n).copied());
        let unsure_from = unsure.unwrap_or(self.mark.position);
        let torn_bytes = self.torn_entry()?.map_or(0, |header| header.aligned_len() as u64);
        let behind = self.look_behind()?;
        if behind.durable.max(self.mark.durable_sequence) >= self.mark.sequence {
            return Err(self.lost());
        }
        // Entries that were cut off are still there, whole or in part: their numbers are not used
        // again, or they would come back behind new ones, or put together with parts of them.
        let lap = self.capacity / ALIGNMENT as u64;
        self.mark.sequence = self.mark.sequence.max(behind.highest + 1) + lap;
        Ok(Replay { entries, first, unsure_from, torn_bytes })
    }

    /// The header of the next entry, if that was written in part.
    fn torn_entry(&self) -> Result<Option<EntryHeader>> {
        let JournalMark { position, sequence, .. } = self.mark;
        if self.capacity.saturating_sub(position) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let bytes = self.file.read(position, HEADER_BYTES);
        let bytes = bytes.map_err(|e| Error::io("read", &self.path, e))?;
        Ok(EntryHeader::parse(&bytes).filter(|header| header.sequence == sequence))
    }

    /// Makes the entries durable that a replay has found: the page cache may have some that the disk
    /// does not have. Those that no later one knows as durable are written once more, since after a
    /// sync that failed the next one would say that all is well.
    pub(crate) fn write_back(&self, replay: &Replay) -> Result<()> {
        let mut position = replay.unsure_from;
        while position < self.mark.position {
            let len = usize::try_from(self.mark.position - position).unwrap_or(usize::MAX);
            let bytes = self.file.read(position, len.min(WRITE_BACK_BYTES));
            let bytes = bytes.map_err(|e| Error::io("read", &self.path, e))?;
            let written = self.file.write(position, &bytes);
            written.map_err(|e| Error::io("write", &self.path, e))?;
            position += bytes.len() as u64;
        }
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }

    /// What whole entries behind the mark say that are not of an earlier lap.
    fn look_behind(&self) -> Result<Behind> {
        let mut behind = Behind::default();
        let mut position = self.mark.position;
        while position + HEADER_BYTES as u64 <= self.capacity {
            let mut step = ALIGNMENT;
            if let Some((header, _)) = self.entry(position)?
                && header.sequence > self.mark.sequence
            {
                behind.durable = behind.durable.max(header.durable_sequence);
                behind.highest = behind.highest.max(header.sequence);
                step = header.aligned_len();
            }
            position += step as u64;
        }
        Ok(behind)
    }

    /// The whole entry at `position`, if there is one: its header and its payload.
    fn entry(&self, position: u64) -> Result<Option<(EntryHeader, bytes::Bytes)>> {
        let available = self.capacity.saturating_sub(position);
        if available < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let read = |len: usize| {
            self.file.read(position, len).map_err(|e| Error::io("read", &self.path, e))
        };
        let Some(header) = EntryHeader::parse(&read(HEADER_BYTES)?) else { return Ok(None) };
        let len = HEADER_BYTES + header.payload_len;
        if len as u64 > available {
            return Ok(None);
        }
        let bytes = read(len)?;
        Ok(header.payload(self.store_id, &bytes).map(|payload| {
            let payload = bytes.slice_ref(payload);
            (header, payload)
        }))
    }
}

fn zeros(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len).expect("no more than an entry, which is in memory, too")]
}

/// What whole entries say that a replay did not reach.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    /// The highest sequence number that is known to be durable.
    durable: u64,
    /// The highest sequence number.
    highest: u64,
}

/// Makes journal entries durable without holding the journal.
#[derive(Debug)]
pub(crate) struct JournalSyncer {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    sequence: u64,
}

impl JournalSyncer {
    /// Syncs, and returns the sequence number up to which entries are durable now.
    pub(crate) fn sync(&self) -> Result<u64> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        Ok(self.sequence)
    }
}

/// The entries that a replay found, oldest first.
#[derive(Debug)]
pub(crate) struct Replay {
    entries: Vec<bytes::Bytes>,
    /// The sequence number of the first.
    first: u64,
    /// Where the first entry begins that no later one knows as durable.
    unsure_from: u64,
    torn_bytes: u64,
}

impl Replay {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The sequence number of the first entry; the others count on from it.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The length of the entry behind the last one, if that was written in part; else 0.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// The batches of each entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Vec<JournaledBatch<'_>>> {
        self.entries.iter().map(|payload| batches(payload).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::{Journal, JournalMark};
    use crate::error::Error;
    use crate::journal::entry::{EntryWriter, JournaledBatch};
    use crate::storage::{MemoryStorage, OpenMode, Storage};
    use crate::types::PartitionId;
    use std::path::Path;

    const PATH: &str = "journal";
    const START: JournalMark = JournalMark { position: 0, sequence: 1, durable_sequence: 0 };

    fn journal(storage: &MemoryStorage, mark: JournalMark) -> Journal {
        Journal::open(storage, Path::new(PATH), 42, mark).unwrap()
    }

    fn write(journal: &mut Journal, value: &[u8], sync: bool) {
        let mut entry = EntryWriter::new();
        entry.add(&JournaledBatch { topic_id: 1, partition: PartitionId::new(0), bytes: value });
        assert!(journal.has_room(&entry));
        journal.write(&mut entry).unwrap();
        if sync {
            journal.sync().unwrap();
        }
    }

    fn values(storage: &MemoryStorage, mark: JournalMark) -> Result<Vec<Vec<u8>>, Error> {
        let replay = journal(storage, mark).replay()?;
        let batches = replay.entries().flatten();
        Ok(batches.map(|batch| batch.bytes.to_vec()).collect())
    }

    fn filled(values: &[&[u8]], sync: bool) -> MemoryStorage {
        let storage = MemoryStorage::new();
        Journal::create(&storage, Path::new(PATH), 16 << 10).unwrap();
        let mut journal = journal(&storage, START);
        values.iter().for_each(|value| write(&mut journal, value, sync));
        storage
    }

    fn damage(storage: &MemoryStorage, position: u64) {
        let file = storage.open(Path::new(PATH), OpenMode::Write).unwrap();
        file.write(position, &[0xff; 4]).unwrap();
    }

    /// Two entries of the same place and number that are alike but for their first sectors: the
    /// second one, not wholly written either, filled in what the first one lacked.
    #[test]
    fn a_torn_entry_is_not_made_whole_by_a_torn_one_after_it() {
        let storage = filled(&[&[b'x'; 2_000]], false);
        let file = storage.open(Path::new(PATH), OpenMode::Write).unwrap();
        let first_sector = file.read(0, 512).unwrap();
        damage(&storage, 1_024);
        let mut torn = journal(&storage, START);
        assert_eq!(torn.replay().unwrap().len(), 0);
        // The checkpoint at the end of the recovery knows where the journal goes on.
        let mark = torn.mark();
        write(&mut torn, &[b'x'; 2_400], false);
        file.write(0, &first_sector).unwrap();
        assert_eq!(values(&storage, mark).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn entries_are_replayed_in_order() {
        let storage = filled(&[b"a", b"bb", b"ccc"], true);
        assert_eq!(values(&storage, START).unwrap(), [&b"a"[..], b"bb", b"ccc"]);
    }

    #[test]
    fn an_earlier_lap_is_not_replayed() {
        let storage = filled(&[b"a", b"b", b"c"], true);
        let mut second = journal(&storage, START);
        second.replay().unwrap();
        second.recycle();
        let mark = second.mark();
        write(&mut second, b"d", true);
        assert_eq!(values(&storage, mark).unwrap(), [b"d"]);
    }

    #[test]
    fn entries_that_were_lost_do_not_come_back_behind_a_new_one() {
        // A power cut took the first of three entries. The next life begins where that one was,
        // and its first entry ends where the old second one begins.
        let storage = filled(&[b"gone", b"lost", b"lost"], false);
        damage(&storage, 20);
        let mut recovered = journal(&storage, START);
        assert_eq!(recovered.replay().unwrap().len(), 0);
        let mark = recovered.mark();
        write(&mut recovered, b"new", true);
        assert_eq!(values(&storage, mark).unwrap(), [b"new"]);
    }

    #[test]
    fn a_torn_last_entry_ends_the_replay() {
        let storage = filled(&[b"a", b"b"], false);
        damage(&storage, 512 + 20);
        assert_eq!(values(&storage, START).unwrap(), [b"a"]);
        assert_eq!(journal(&storage, START).replay().unwrap().torn_bytes(), 512);
        let whole = filled(&[b"a", b"b"], false);
        assert_eq!(journal(&whole, START).replay().unwrap().torn_bytes(), 0);
    }

    #[test]
    fn a_damaged_entry_that_a_later_one_knows_as_durable_is_reported() {
        let storage = filled(&[b"a", b"b", b"c", b"d"], true);
        damage(&storage, 512 + 20);
        let error = values(&storage, START).unwrap_err();
        assert!(matches!(error, Error::LostDurableData { sequence: 2, .. }), "{error}");
    }

    #[test]
    fn entries_that_the_checkpoint_knows_as_durable_must_be_there() {
        let storage = filled(&[], true);
        let mark = JournalMark { durable_sequence: 1, ..START };
        let error = values(&storage, mark).unwrap_err();
        assert!(matches!(error, Error::LostDurableData { sequence: 1, .. }), "{error}");
    }
}
