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

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::layout::{Fields, checked};
use crate::segment::SegmentEnd;
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::types::{Offset, PartitionId};

const MAGIC: u32 = 0x4857_5055;
const VERSION: u16 = 1;
/// The file's name until it is whole.
const FRESH: &str = "published.new";
pub(crate) const SLOT_BYTES: usize = 64;
pub(crate) const CONTENT_BYTES: usize = 40;
/// Bytes of the header that are not zero.
const HEADER_BYTES: usize = 28;
/// The file grows by this many slots at a time.
const RESERVE_SLOTS: u64 = 64;
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
    next_slot: AtomicU32,
    writing: Mutex<()>,
}

/// A partition's place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishedSlot(u32);

impl Published {
    /// Begins the file anew, out of sight until [`reveal`](Self::reveal).
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, store_id: u128) -> Result<Self> {
        let path = dir.join("published");
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
            file.reserve(SLOT_BYTES as u64 * (RESERVE_SLOTS + 1))?;
            file.write(0, &header)?;
            Ok(file)
        });
        let file = created.map_err(|e| Error::io("create", &fresh, e))?;
        Ok(Self { path, file, next_slot: AtomicU32::new(1), writing: Mutex::new(()) })
    }

    /// Lets readers see the file in the place of that of an earlier writer: only when all partitions
    /// are in it, so that none of them is missing for a moment.
    pub(crate) fn reveal(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let renamed = storage.rename(&dir.join(FRESH), &self.path);
        renamed.map_err(|e| Error::io("rename", &self.path, e))
    }

    /// A place for one more partition, which begins with `end`. Partitions are added one at a time.
    pub(crate) fn add(&self, end: &PublishedEnd) -> Result<PublishedSlot> {
        let slot = PublishedSlot(self.next_slot.load(Ordering::Relaxed));
        let slots = (u64::from(slot.0) + 1).next_multiple_of(RESERVE_SLOTS) + 1;
        self.file
            .reserve(slots * SLOT_BYTES as u64)
            .map_err(|e| Error::io("reserve space in", &self.path, e))?;
        // Taken only now: readers stop at the first slot that is empty.
        self.next_slot.store(slot.0 + 1, Ordering::Relaxed);
        self.update(slot, || *end);
        Ok(slot)
    }

    /// Publishes how far a partition goes now. `end` is asked for under a lock, so that of two who
    /// publish at once the later one knows more.
    pub(crate) fn update(&self, slot: PublishedSlot, end: impl FnOnce() -> PublishedEnd) {
        let _writing = self.writing.lock();
        let end = end();
        let position = u64::from(slot.0) * SLOT_BYTES as u64;
        // The space is there, so what can fail is the disk; the readers of other processes then
        // see a little less, and the log itself does not depend on this file.
        if let Err(error) = self.file.write(position, &end.encode()) {
            tracing::warn!(path = %self.path.display(), %error, "publication failed");
        }
    }
}

/// The id of the store that the header is of; `None` if it is damaged.
pub(crate) fn published_store_id(header: &[u8]) -> Option<u128> {
    let mut fields = Fields::new(header.get(..HEADER_BYTES).and_then(checked)?);
    let begins = fields.u32()? == MAGIC && fields.u16()? == VERSION;
    fields.u16()?;
    fields.u128().filter(|_| begins)
}

/// Reads what the writer of the store has published last.
///
/// # Errors
/// `CorruptFile` if it is of another store or damaged; `Io` if it cannot be read.
pub(crate) fn read_published(
    storage: &dyn Storage,
    dir: &Path,
    store_id: u128,
) -> Result<Vec<PublishedEnd>> {
    let path = dir.join("published");
    let failed = |e| Error::io("read", &path, e);
    let corrupt =
        |reason: &str| Error::CorruptFile { path: path.clone(), reason: reason.to_owned() };
    let file = storage.open(&path, OpenMode::Read).map_err(failed)?;
    let len = usize::try_from(file.size().map_err(failed)?).unwrap_or(usize::MAX);
    let header = file.read(0, SLOT_BYTES.min(len)).map_err(failed)?;
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
        match end.ok_or_else(|| corrupt("a slot's checksum does not match"))?? {
            Some(end) => ends.push(end),
            // Slots are taken in order: behind the first that never was there is nothing.
            None => break,
        }
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

    #[test]
    fn readers_see_the_last_publication_of_every_partition() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        published.reveal(&storage, Path::new("")).unwrap();
        let slots: Vec<_> = (0..200).map(|p| published.add(&end(p, 0)).unwrap()).collect();
        published.update(slots[150], || end(150, 12));
        let ends = read(&storage, 9).unwrap();
        assert_eq!(ends.len(), 200);
        assert_eq!((ends[150], ends[151]), (end(150, 12), end(151, 0)));
    }

    #[test]
    fn damage_and_other_stores_are_named() {
        let storage = MemoryStorage::new();
        let published = Published::create(&storage, Path::new(""), 9).unwrap();
        published.reveal(&storage, Path::new("")).unwrap();
        published.add(&end(0, 5)).unwrap();
        assert!(read(&storage, 8).unwrap_err().contains("another store"));
        storage.open(Path::new("published"), OpenMode::Write).unwrap().write(70, &[1]).unwrap();
        assert!(read(&storage, 9).unwrap_err().contains("checksum"));
    }
}
