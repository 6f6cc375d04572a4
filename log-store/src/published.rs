//! The `published` file: how far readers in other processes may look.
//!
//! ```text
//! header, 64 bytes:  magic u32, version u16, zero u16, store id u128, crc32 u32
//! a slot, 64 bytes:  topic id u64, partition u32, log start u64, segment base u64,
//!                    segment end u64 (relative offset and position), crc32 u32
//! ```
//!
//! A partition has two slots, which publications overwrite in turn by a copy into a mapping. So
//! when a writer is killed in the middle of a copy, or a reader comes in the middle of one, the
//! other slot stands: of those whose checksum matches the newer one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::layout::{Fields, checked};
use crate::segment::SegmentEnd;
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::types::{Offset, PartitionId};

const MAGIC: u32 = 0x4857_5055;
const VERSION: u16 = 1;
const NAME: &str = "published";
/// The file's name until it is whole.
const FRESH: &str = "published.new";
pub(crate) const SLOT_BYTES: usize = 64;
pub(crate) const CONTENT_BYTES: usize = 40;
/// Bytes of the header that are not zero.
const HEADER_BYTES: usize = 28;
/// Bytes of a slot that stay the same from one publication to the next, but for a few of them.
const HEAD_BYTES: usize = 28;
/// The slots of a partition, side by side.
const SLOTS_EACH: u32 = 2;
/// The file grows by slots for this many partitions at a time.
const RESERVE_PAIRS: u32 = 32;
/// How often a half-written slot is read again before it counts as damaged.
const READ_ATTEMPTS: usize = 1_000;

/// How far one partition is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedEnd {
    pub(crate) topic_id: u64,
    pub(crate) partition: PartitionId,
    pub(crate) start: Offset,
    /// The base offset of the active segment.
    pub(crate) segment_base: Offset,
    pub(crate) segment_end: SegmentEnd,
}

impl PublishedEnd {
    /// Which partition it is of.
    fn key(&self) -> (u64, PartitionId) {
        (self.topic_id, self.partition)
    }

    /// The bytes of its slot.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn encode(&self) -> [u8; CONTENT_BYTES] {
        Head::new(self).encode(self.segment_end)
    }

    /// Reads a slot; `None` if its checksum does not match.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(checked(bytes)?);
        Some(Self {
            topic_id: fields.u64()?,
            partition: PartitionId::new(fields.u32()?),
            start: Offset::new(fields.u64()?),
            segment_base: Offset::new(fields.u64()?),
            segment_end: SegmentEnd::unpack(fields.u64()?),
        })
    }

    /// Rises with each publication of a partition.
    fn progress(&self) -> (Offset, u64, Offset) {
        (self.segment_base, self.segment_end.pack(), self.start)
    }

    /// Adds it to those that were found, of which there is one for each partition: the newest.
    pub(crate) fn add_to(self, ends: &mut Vec<Self>) {
        // The slots of a partition lie side by side.
        match ends.last_mut() {
            Some(last) if last.key() == self.key() => {
                if self.progress() > last.progress() {
                    *last = self;
                }
            }
            _ => ends.push(self),
        }
    }
}

/// What most publications of a partition have in common, encoded.
#[derive(Clone, Debug)]
struct Head {
    bytes: [u8; HEAD_BYTES],
    hasher: Hasher,
}

impl Head {
    fn new(end: &PublishedEnd) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        let fields: [&[u8]; 4] = [
            &end.topic_id.to_be_bytes(),
            &end.partition.value().to_be_bytes(),
            &end.start.value().to_be_bytes(),
            &end.segment_base.value().to_be_bytes(),
        ];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        let mut hasher = Hasher::new();
        hasher.update(&bytes);
        Self { bytes, hasher }
    }

    fn encode(&self, segment_end: SegmentEnd) -> [u8; CONTENT_BYTES] {
        let segment_end = segment_end.pack().to_be_bytes();
        let mut hasher = self.hasher.clone();
        hasher.update(&segment_end);
        let mut bytes = [0; CONTENT_BYTES];
        let (head, tail) = bytes.split_at_mut(HEAD_BYTES);
        let (end, checksum) = tail.split_at_mut(segment_end.len());
        head.copy_from_slice(&self.bytes);
        end.copy_from_slice(&segment_end);
        checksum.copy_from_slice(&hasher.finalize().to_be_bytes());
        bytes
    }
}

/// The file, as the writer has it.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    pairs: Mutex<Pairs>,
}

/// Which partition has which pair of slots.
#[derive(Debug)]
struct Pairs {
    taken: BTreeMap<(u64, PartitionId), u32>,
    free: BTreeSet<u32>,
    /// Those that an earlier writer has left something in.
    used: BTreeSet<u32>,
    /// Pairs behind the header.
    count: u32,
    /// Whether the file is one that readers do not find yet.
    is_fresh: bool,
    /// Whether readers may see what is known of the partitions.
    is_revealed: bool,
}

/// A partition's place in the file.
#[derive(Clone, Debug)]
pub(crate) struct PublishedSlot {
    pair: u32,
    state: Arc<Mutex<SlotState>>,
}

#[derive(Debug)]
struct SlotState {
    latest: PublishedEnd,
    head: Head,
    /// Which slot of the pair the next publication overwrites.
    next: u32,
}

impl Published {
    /// Goes on with the file of an earlier writer, which takes no space on a full disk, or begins
    /// anew if there is no good one. Nothing changes for readers until [`reveal`](Self::reveal).
    pub(crate) fn open(storage: &dyn Storage, dir: &Path, store_id: u128) -> Result<Self> {
        let path = dir.join(NAME);
        let failed = |e| Error::io("read", &path, e);
        let file = match storage.open(&path, OpenMode::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Self::create(storage, dir, store_id);
            }
            opened => opened.map_err(|e| Error::io("open", &path, e))?,
        };
        let len = file.size().map_err(failed)?;
        let bytes = file.read(0, usize::try_from(len).unwrap_or(usize::MAX)).map_err(failed)?;
        let header = bytes.get(..SLOT_BYTES).unwrap_or_default();
        let pairs = (len / SLOT_BYTES as u64).saturating_sub(1) / u64::from(SLOTS_EACH);
        let (Some(id), Ok(count)) = (published_store_id(header), u32::try_from(pairs)) else {
            return Self::create(storage, dir, store_id);
        };
        if id != store_id {
            return Self::create(storage, dir, store_id);
        }
        file.reserve(len).map_err(|e| Error::io("reserve space in", &path, e))?;
        let mut pairs = Pairs::new(count, false);
        let behind_header = bytes.get(SLOT_BYTES..).unwrap_or_default();
        for (pair, slots) in (0..count).zip(behind_header.chunks(SLOT_BYTES * SLOTS_EACH as usize))
        {
            if slots.iter().any(|&byte| byte != 0) {
                pairs.used.insert(pair);
            }
            let mut ends = Vec::new();
            valid_slots(slots).for_each(|end| end.add_to(&mut ends));
            if let [end] = ends.as_slice()
                && pairs.free.remove(&pair)
            {
                pairs.free.extend(pairs.taken.insert(end.key(), pair));
            }
        }
        Ok(Self { path, file, pairs: Mutex::new(pairs) })
    }

    /// Begins the file anew, out of sight until [`reveal`](Self::reveal).
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, store_id: u128) -> Result<Self> {
        let path = dir.join(NAME);
        let mut header = Vec::with_capacity(SLOT_BYTES);
        header.extend_from_slice(&MAGIC.to_be_bytes());
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.extend_from_slice(&[0; 2]);
        header.extend_from_slice(&store_id.to_be_bytes());
        let checksum = crc32fast::hash(&header);
        header.extend_from_slice(&checksum.to_be_bytes());
        header.resize(SLOT_BYTES, 0);
        let fresh = dir.join(FRESH);
        let created = storage.open(&fresh, OpenMode::Create).and_then(|file| {
            file.truncate(0)?;
            file.reserve(slot_position(RESERVE_PAIRS, 0))?;
            file.write(0, &header)?;
            Ok(file)
        });
        let file = created.map_err(|e| Error::io("create", &fresh, e))?;
        Ok(Self { path, file, pairs: Mutex::new(Pairs::new(RESERVE_PAIRS, true)) })
    }

    /// Lets readers see these partitions, and no others.
    pub(crate) fn reveal(
        &self,
        storage: &dyn Storage,
        dir: &Path,
        ends: &[(PublishedSlot, PublishedEnd)],
    ) -> Result<()> {
        let mut pairs = self.pairs.lock();
        let keys: BTreeSet<_> = ends.iter().map(|(_, end)| end.key()).collect();
        let gone: Vec<_> = pairs.taken.extract_if(.., |key, _| !keys.contains(key)).collect();
        pairs.free.extend(gone.into_iter().map(|(_, pair)| pair));
        for (slot, end) in ends {
            self.write_both(slot, end);
        }
        for pair in std::mem::take(&mut pairs.used).intersection(&pairs.free).copied() {
            let zeros = [0; SLOT_BYTES * SLOTS_EACH as usize];
            let cleared = self.file.write(slot_position(pair, 0), &zeros);
            cleared.map_err(|e| Error::io("write", &self.path, e))?;
        }
        pairs.is_revealed = true;
        if std::mem::replace(&mut pairs.is_fresh, false) {
            // Durable, so that the next writer need not make another one, for which a full disk
            // may have no space.
            self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
            // Only now that all partitions are in it, so that none is missing for a moment.
            let renamed = storage.rename(&dir.join(FRESH), &self.path);
            renamed.map_err(|e| Error::io("rename", &self.path, e))?;
            storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    }

    /// The place of a partition, which gets one if it has none.
    pub(crate) fn add(&self, end: &PublishedEnd) -> Result<PublishedSlot> {
        let mut pairs = self.pairs.lock();
        let known = pairs.taken.get(&end.key()).copied();
        let pair = match known {
            Some(pair) => pair,
            None => {
                self.grow(&mut pairs, 1)?;
                pairs.free.pop_first().expect("there is one now")
            }
        };
        pairs.taken.insert(end.key(), pair);
        let state = SlotState { latest: *end, head: Head::new(end), next: 0 };
        let slot = PublishedSlot { pair, state: Arc::new(Mutex::new(state)) };
        if known.is_none() && pairs.is_revealed {
            self.write_both(&slot, end);
        }
        Ok(slot)
    }

    /// Sees to it that these partitions can all be added.
    pub(crate) fn make_room(
        &self,
        partitions: impl Iterator<Item = (u64, PartitionId)>,
    ) -> Result<()> {
        let mut pairs = self.pairs.lock();
        let new = partitions.filter(|key| !pairs.taken.contains_key(key)).count();
        self.grow(&mut pairs, new)
    }

    fn grow(&self, pairs: &mut Pairs, free: usize) -> Result<()> {
        while pairs.free.len() < free {
            let count = pairs.count + RESERVE_PAIRS;
            let reserved = self.file.reserve(slot_position(count, 0));
            reserved.map_err(|e| Error::io("reserve space in", &self.path, e))?;
            pairs.free.extend(pairs.count..count);
            pairs.count = count;
        }
        Ok(())
    }

    /// Publishes how far a partition goes now. Two may do so at once, in any order: nothing that was
    /// published is taken back.
    pub(crate) fn update(&self, slot: &PublishedSlot, end: &PublishedEnd) {
        let mut state = slot.state.lock();
        let latest = state.latest;
        let is_append = end.segment_base == latest.segment_base && end.start == latest.start;
        if is_append && end.segment_end.pack() > latest.segment_end.pack() {
            state.latest.segment_end = end.segment_end;
            return self.write_next(slot, &mut state);
        }
        let furthest = if end.progress() > latest.progress() { *end } else { latest };
        let end = PublishedEnd { start: end.start.max(latest.start), ..furthest };
        if end == latest {
            return;
        }
        (state.latest, state.head) = (end, Head::new(&end));
        self.write_next(slot, &mut state);
    }

    /// Publishes what a partition begins with: an earlier writer may have gone further, and lost it.
    fn write_both(&self, slot: &PublishedSlot, end: &PublishedEnd) {
        let mut state = slot.state.lock();
        (state.latest, state.head) = (*end, Head::new(end));
        (0..SLOTS_EACH).for_each(|_| self.write_next(slot, &mut state));
    }

    fn write_next(&self, slot: &PublishedSlot, state: &mut SlotState) {
        let bytes = state.head.encode(state.latest.segment_end);
        // The space is there, so what can fail is the disk; the readers of other processes then
        // see a little less, and the log itself does not depend on this file.
        if let Err(error) = self.file.write(slot_position(slot.pair, state.next), &bytes) {
            tracing::warn!(path = %self.path.display(), %error, "publication failed");
        }
        state.next = (state.next + 1) % SLOTS_EACH;
    }
}

impl Pairs {
    /// Pairs that are all free.
    fn new(count: u32, is_fresh: bool) -> Self {
        Self {
            taken: BTreeMap::new(),
            free: (0..count).collect(),
            used: BTreeSet::new(),
            count,
            is_fresh,
            is_revealed: false,
        }
    }
}

/// Where a slot of a pair lies in the file, behind the header.
fn slot_position(pair: u32, slot: u32) -> u64 {
    (u64::from(pair) * u64::from(SLOTS_EACH) + u64::from(slot) + 1) * SLOT_BYTES as u64
}

/// What the valid ones of these slots say.
fn valid_slots(slots: &[u8]) -> impl Iterator<Item = PublishedEnd> {
    slots.chunks(SLOT_BYTES).filter_map(|slot| PublishedEnd::decode(slot.get(..CONTENT_BYTES)?))
}

/// The id of the store that the header is of; `None` if it is damaged.
pub(crate) fn published_store_id(header: &[u8]) -> Option<u128> {
    let mut fields = Fields::new(header.get(..HEADER_BYTES).and_then(checked)?);
    let begins = fields.u32()? == MAGIC && fields.u16()? == VERSION;
    fields.u16()?;
    fields.u128().filter(|_| begins)
}

/// Refuses the file of a newer writer. A damaged version is damage, and no newer one.
fn check_version(path: &Path, header: &[u8]) -> Result<()> {
    let mut fields = Fields::new(header.get(..HEADER_BYTES).and_then(checked).unwrap_or_default());
    let (magic, version) = (fields.u32(), fields.u16().unwrap_or_default());
    if magic == Some(MAGIC) && version > VERSION {
        let (path, found, supported) = (path.to_owned(), version.into(), VERSION.into());
        return Err(Error::UnsupportedVersion { path, found, supported });
    }
    Ok(())
}

/// Reads what the writer of the store has published last.
///
/// # Errors
/// `UnsupportedVersion` if a newer writer has it; `CorruptFile` if it is of another store or damaged; `Io` if it cannot be read.
pub(crate) fn read_published(
    storage: &dyn Storage,
    dir: &Path,
    store_id: u128,
) -> Result<Vec<PublishedEnd>> {
    let path = dir.join(NAME);
    let failed = |e| Error::io("read", &path, e);
    let corrupt =
        |reason: &str| Error::CorruptFile { path: path.clone(), reason: reason.to_owned() };
    let file = storage.open(&path, OpenMode::Read).map_err(failed)?;
    let len = usize::try_from(file.size().map_err(failed)?).unwrap_or(usize::MAX);
    let header = file.read(0, SLOT_BYTES.min(len)).map_err(failed)?;
    check_version(&path, &header)?;
    let of = published_store_id(&header).ok_or_else(|| corrupt("bad header"))?;
    if of != store_id {
        return Err(corrupt("it belongs to another store"));
    }
    let mut ends = Vec::new();
    let pair_bytes = SLOT_BYTES * SLOTS_EACH as usize;
    for position in (SLOT_BYTES..len).step_by(pair_bytes) {
        let mut attempts = 0..READ_ATTEMPTS;
        let found = attempts.find_map(|_| {
            match file.read(position as u64, pair_bytes.min(len - position)) {
                Err(error) => Some(Err(failed(error))),
                Ok(slots) => {
                    let found: Vec<_> = valid_slots(&slots).collect();
                    let is_free = slots.iter().all(|&byte| byte == 0);
                    (is_free || !found.is_empty()).then_some(Ok(found))
                }
            }
        });
        let found = found.ok_or_else(|| corrupt("the checksums of both slots do not match"))??;
        found.into_iter().for_each(|end| end.add_to(&mut ends));
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::{Published, PublishedEnd, read_published};
    use crate::segment::SegmentEnd;
    use crate::storage::{MemoryStorage, OpenMode, Storage};
    use crate::types::{Offset, PartitionId};
    use std::path::Path;

    fn end(partition: u32, offset: u32) -> PublishedEnd {
        PublishedEnd {
            topic_id: 3,
            partition: PartitionId::new(partition),
            start: Offset::ZERO,
            segment_base: Offset::new(100),
            segment_end: SegmentEnd { relative_offset: offset, position: offset * 70 },
        }
    }

    fn read(storage: &MemoryStorage, store_id: u128) -> Result<Vec<PublishedEnd>, String> {
        read_published(storage, Path::new(""), store_id).map_err(|error| error.to_string())
    }

    fn reveal(published: &Published, storage: &MemoryStorage, ends: &[PublishedEnd]) {
        let slots: Vec<_> = ends.iter().map(|e| (published.add(e).unwrap(), *e)).collect();
        published.reveal(storage, Path::new(""), &slots).unwrap();
    }

    #[test]
    fn readers_see_the_last_publication_of_every_partition() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[]);
        let slots: Vec<_> = (0..200).map(|p| published.add(&end(p, 0)).unwrap()).collect();
        published.update(&slots[150], &end(150, 12));
        let ends = read(&storage, 9).unwrap();
        assert_eq!(ends.len(), 200);
        assert_eq!((ends[150], ends[151]), (end(150, 12), end(151, 0)));
    }

    #[test]
    fn the_next_writer_goes_on_in_place_and_forgets_what_is_gone() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[end(0, 5), end(1, 6), end(2, 7)]);
        let next = Published::open(&storage, Path::new(""), 9).unwrap();
        let slots = [end(2, 8), end(3, 1)].map(|end| (next.add(&end).unwrap(), end));
        assert_eq!(read(&storage, 9).unwrap(), [end(0, 5), end(1, 6), end(2, 7)], "not yet");
        next.reveal(&storage, Path::new(""), &slots).unwrap();
        assert_eq!(slots[0].0.pair, 2, "a partition keeps its slot");
        assert_eq!(read(&storage, 9).unwrap(), [end(2, 8), end(3, 1)]);
        let new = [end(4, 0), end(5, 0)].map(|end| next.add(&end).unwrap().pair);
        assert_eq!(new, [0, 1], "free slots are taken again");
        // That of another store is none to go on with.
        let other = Published::open(&storage, Path::new(""), 10).unwrap();
        reveal(&other, &storage, &[end(0, 1)]);
        assert_eq!(read(&storage, 10).unwrap(), [end(0, 1)]);
    }

    #[test]
    fn a_slot_that_is_half_written_leaves_the_publication_before_it() {
        // A writer that is killed in the middle of its copy never finishes it.
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[]);
        let slots = [0, 1].map(|p| published.add(&end(p, 5)).unwrap());
        let file = storage.open(Path::new("published"), OpenMode::Write).unwrap();
        for offset in 6..20 {
            let before = file.read(0, 5 * 64).unwrap();
            published.update(&slots[1], &end(1, offset));
            let after = file.read(0, 5 * 64).unwrap();
            let changed: Vec<_> = (0..after.len()).filter(|&n| before[n] != after[n]).collect();
            for half in 0..changed.len() {
                changed.iter().for_each(|&n| file.write(n as u64, &before[n..=n]).unwrap());
                changed[..half].iter().for_each(|&n| file.write(n as u64, &after[n..=n]).unwrap());
                assert_eq!(read(&storage, 9), Ok(vec![end(0, 5), end(1, offset - 1)]), "{half}");
            }
            file.write(0, &after).unwrap();
            assert_eq!(read(&storage, 9), Ok(vec![end(0, 5), end(1, offset)]));
        }
    }

    #[test]
    fn a_publication_of_less_than_is_known_changes_nothing() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[]);
        let slot = published.add(&end(0, 5)).unwrap();
        for offset in [7, 6, 5, 7] {
            published.update(&slot, &end(0, offset));
            assert_eq!(read(&storage, 9), Ok(vec![end(0, 7)]));
        }
        // The start of the log is raised by one who has not seen the last append; then an append
        // is published by one who has not seen the new start.
        let raised = |offset| PublishedEnd { start: Offset::new(103), ..end(0, offset) };
        published.update(&slot, &raised(6));
        assert_eq!(read(&storage, 9), Ok(vec![raised(7)]));
        published.update(&slot, &end(0, 8));
        assert_eq!(read(&storage, 9), Ok(vec![raised(8)]));
    }

    #[test]
    fn a_file_with_one_slot_for_each_partition_is_read() {
        // As the first versions wrote it.
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[]);
        let file = storage.open(Path::new("published"), OpenMode::Write).unwrap();
        let ends = [0, 1, 2].map(|p| end(p, 5 + p));
        for (slot, end) in (1..).zip(&ends) {
            file.write(slot * 64, &end.encode()).unwrap();
        }
        assert_eq!(read(&storage, 9), Ok(ends.to_vec()));
    }

    #[test]
    fn damage_and_other_stores_are_named() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[end(0, 5)]);
        assert!(read(&storage, 8).unwrap_err().contains("another store"));
        let file = storage.open(Path::new("published"), OpenMode::Write).unwrap();
        file.write(70, &[1]).unwrap();
        assert_eq!(read(&storage, 9), Ok(vec![end(0, 5)]), "the other slot is whole");
        file.write(134, &[1]).unwrap();
        assert!(read(&storage, 9).unwrap_err().contains("checksum"));
    }
}
