//! The `published` file: how far readers in other processes may look.
//!
//! ```text
//! header, 64 bytes:  magic u32, version u16, zero u16, store id u128, crc32 u32
//! a slot, 64 bytes:  topic id u64, partition u32, log start u64, segment base u64,
//!                    segment end u64 (relative offset and position), crc32 u32
//! ```
//!
//! A slot is rewritten at each publication, by a copy into a mapping. A reader that meets it half
//! written sees that its checksum does not match, and reads again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
/// The file grows by this many slots at a time.
const RESERVE_SLOTS: u32 = 64;
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
    pub(crate) fn encode(&self) -> [u8; CONTENT_BYTES] {
        let mut bytes = [0; CONTENT_BYTES];
        let fields: [&[u8]; 5] = [
            &self.topic_id.to_be_bytes(),
            &self.partition.value().to_be_bytes(),
            &self.start.value().to_be_bytes(),
            &self.segment_base.value().to_be_bytes(),
            &self.segment_end.pack().to_be_bytes(),
        ];
        let (content, checksum) = bytes.split_at_mut(CONTENT_BYTES - 4);
        let mut rest = &mut content[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        checksum.copy_from_slice(&crc32fast::hash(content).to_be_bytes());
        bytes
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
}

/// The file, as the writer has it.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    slots: Mutex<Slots>,
    writing: Mutex<()>,
}

/// Which partition has which slot.
#[derive(Debug)]
struct Slots {
    taken: BTreeMap<(u64, PartitionId), u32>,
    free: BTreeSet<u32>,
    /// Slots that an earlier writer has left something in.
    used: BTreeSet<u32>,
    /// Slots behind the header.
    count: u32,
    /// Whether the file is one that readers do not find yet.
    is_fresh: bool,
    /// Whether readers may see what is known of the partitions.
    is_revealed: bool,
}

/// A partition's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedSlot(u32);

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
        let slots = (len / SLOT_BYTES as u64).saturating_sub(1);
        let (Some(id), Ok(count)) = (published_store_id(header), u32::try_from(slots)) else {
            return Self::create(storage, dir, store_id);
        };
        if id != store_id {
            return Self::create(storage, dir, store_id);
        }
        file.reserve(len).map_err(|e| Error::io("reserve space in", &path, e))?;
        let mut slots = Slots::new(count, false);
        for (slot, content) in (0..count).zip(bytes.chunks(SLOT_BYTES).skip(1)) {
            if content.iter().any(|&byte| byte != 0) {
                slots.used.insert(slot);
            }
            if let Some(end) = content.get(..CONTENT_BYTES).and_then(PublishedEnd::decode)
                && slots.free.remove(&slot)
            {
                slots.free.extend(slots.taken.insert(end.key(), slot));
            }
        }
        Ok(Self { path, file, slots: Mutex::new(slots), writing: Mutex::new(()) })
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
            file.reserve(file_bytes(RESERVE_SLOTS))?;
            file.write(0, &header)?;
            Ok(file)
        });
        let file = created.map_err(|e| Error::io("create", &fresh, e))?;
        let slots = Mutex::new(Slots::new(RESERVE_SLOTS, true));
        Ok(Self { path, file, slots, writing: Mutex::new(()) })
    }

    /// Lets readers see these partitions, and no others.
    pub(crate) fn reveal(
        &self,
        storage: &dyn Storage,
        dir: &Path,
        ends: &[(PublishedSlot, PublishedEnd)],
    ) -> Result<()> {
        let mut slots = self.slots.lock();
        let keys: BTreeSet<_> = ends.iter().map(|(_, end)| end.key()).collect();
        let gone: Vec<_> = slots.taken.extract_if(.., |key, _| !keys.contains(key)).collect();
        slots.free.extend(gone.into_iter().map(|(_, slot)| slot));
        for (slot, end) in ends {
            self.update(*slot, || *end);
        }
        for slot in std::mem::take(&mut slots.used).intersection(&slots.free).copied() {
            let cleared = self.file.write(PublishedSlot(slot).position(), &[0; CONTENT_BYTES]);
            cleared.map_err(|e| Error::io("write", &self.path, e))?;
        }
        slots.is_revealed = true;
        if std::mem::replace(&mut slots.is_fresh, false) {
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
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.taken.get(&end.key()) {
            return Ok(PublishedSlot(*slot));
        }
        self.grow(&mut slots, 1)?;
        let slot = PublishedSlot(slots.free.pop_first().expect("there is one now"));
        slots.taken.insert(end.key(), slot.0);
        if slots.is_revealed {
            self.update(slot, || *end);
        }
        Ok(slot)
    }

    /// Sees to it that these partitions can all be added.
    pub(crate) fn make_room(
        &self,
        partitions: impl Iterator<Item = (u64, PartitionId)>,
    ) -> Result<()> {
        let mut slots = self.slots.lock();
        let new = partitions.filter(|key| !slots.taken.contains_key(key)).count();
        self.grow(&mut slots, new)
    }

    fn grow(&self, slots: &mut Slots, free: usize) -> Result<()> {
        while slots.free.len() < free {
            let count = slots.count + RESERVE_SLOTS;
            let reserved = self.file.reserve(file_bytes(count));
            reserved.map_err(|e| Error::io("reserve space in", &self.path, e))?;
            let new = slots.count..count;
            slots.free.extend(new);
            slots.count = count;
        }
        Ok(())
    }

    /// Publishes how far a partition goes now. `end` is asked for under a lock, so that of two who
    /// publish at once the later one knows more.
    pub(crate) fn update(&self, slot: PublishedSlot, end: impl FnOnce() -> PublishedEnd) {
        let _writing = self.writing.lock();
        let end = end();
        // The space is there, so what can fail is the disk; the readers of other processes then
        // see a little less, and the log itself does not depend on this file.
        if let Err(error) = self.file.write(slot.position(), &end.encode()) {
            tracing::warn!(path = %self.path.display(), %error, "publication failed");
        }
    }
}

impl Slots {
    /// Slots that are all free.
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

impl PublishedSlot {
    /// Where it lies in the file, behind the header.
    fn position(self) -> u64 {
        file_bytes(self.0)
    }
}

/// How long a file with that many slots is.
fn file_bytes(slots: u32) -> u64 {
    (u64::from(slots) + 1) * SLOT_BYTES as u64
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
    for position in (SLOT_BYTES..len).step_by(SLOT_BYTES) {
        let mut attempts = 0..READ_ATTEMPTS;
        let end = attempts.find_map(|_| match file.read(position as u64, CONTENT_BYTES) {
            Err(error) => Some(Err(failed(error))),
            Ok(bytes) if bytes.iter().all(|&byte| byte == 0) => Some(Ok(None)),
            Ok(bytes) => PublishedEnd::decode(&bytes).map(|end| Ok(Some(end))),
        });
        ends.extend(end.ok_or_else(|| corrupt("a slot's checksum does not match"))??);
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
        published.update(slots[150], || end(150, 12));
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
        assert_eq!(slots[0].0.0, 2, "a partition keeps its slot");
        assert_eq!(read(&storage, 9).unwrap(), [end(2, 8), end(3, 1)]);
        let new = [end(4, 0), end(5, 0)].map(|end| next.add(&end).unwrap().0);
        assert_eq!(new, [0, 1], "free slots are taken again");
        // That of another store is none to go on with.
        let other = Published::open(&storage, Path::new(""), 10).unwrap();
        reveal(&other, &storage, &[end(0, 1)]);
        assert_eq!(read(&storage, 10).unwrap(), [end(0, 1)]);
    }

    #[test]
    fn damage_and_other_stores_are_named() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        reveal(&published, &storage, &[end(0, 5)]);
        assert!(read(&storage, 8).unwrap_err().contains("another store"));
        storage.open(Path::new("published"), OpenMode::Write).unwrap().write(70, &[1]).unwrap();
        assert!(read(&storage, 9).unwrap_err().contains("checksum"));
    }
}
