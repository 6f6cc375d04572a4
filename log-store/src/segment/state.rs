//! A segment that is open: its file, and how far readers may look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::batch::Place;
use crate::error::{Error, Result};
use crate::segment::name::{SegmentFile, SegmentId};
use crate::segment::offset_index::{IndexedBatch, OffsetIndex};
use crate::segment::position::SegmentEnd;
use crate::storage::{MissingFile, OpenMode, Storage, StorageFile};
use crate::types::{Offset, Timestamp};

/// The first step by which a segment's space grows; each step doubles it.
const RESERVE_BYTES_MIN: u64 = 64 << 10;
/// The largest step by which a segment's space grows.
const RESERVE_BYTES_MAX: u64 = 16 << 20;

/// No end of a segment: what was synced is not known.
const NOT_SYNCED: u64 = u64::MAX;

/// An open segment. Writers extend it beyond its published end; readers stay below.
#[derive(Debug)]
pub(crate) struct Segment {
    id: SegmentId,
    clean_since: Option<Timestamp>,
    /// `i64::MAX` before the first append.
    first_append_ms: AtomicI64,
    append_time_ms: AtomicI64,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    end: AtomicU64,
    /// The end up to which the last sync has covered the file.
    synced: AtomicU64,
    reserved: AtomicU64,
    index_interval: u32,
    pub(super) index: RwLock<IndexCache>,
}

/// The index, and whether the file was looked at already.
#[derive(Debug, Default)]
pub(super) struct IndexCache {
    pub(super) index: OffsetIndex,
    pub(super) loaded: bool,
    /// Whether there is a valid file beside the segment, maybe with less.
    is_saved: bool,
}

/// What a segment is known by before it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSpec {
    pub(crate) id: SegmentId,
    /// How far readers may look.
    pub(crate) end: SegmentEnd,
    /// The time of the first append to it; none if there was none.
    pub(crate) first_append_time: Option<Timestamp>,
    /// The time of the last append to it.
    pub(crate) append_time: Timestamp,
    /// When it was compacted first; none if it has not been.
    pub(crate) clean_since: Option<Timestamp>,
}

impl SegmentSpec {
    /// A segment that nothing was written to.
    pub(crate) fn empty(base: Offset) -> Self {
        Self {
            id: SegmentId::first(base),
            end: SegmentEnd::default(),
            first_append_time: None,
            append_time: Timestamp::from_millis(i64::MIN),
            clean_since: None,
        }
    }
}

/// A batch that readers may see from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication {
    pub(crate) begin: SegmentEnd,
    pub(crate) end: SegmentEnd,
    /// The latest timestamp in it.
    pub(crate) max_timestamp: Timestamp,
    /// When it was appended.
    pub(crate) append_time: Timestamp,
}

impl Segment {
    /// Opens a segment's file in the partition's folder. What lies beyond its end is not looked
    /// at.
    pub(crate) fn open(
        storage: &dyn Storage,
        dir: &Path,
        spec: &SegmentSpec,
        mode: OpenMode,
        index_interval: u32,
    ) -> Result<Self> {
        let path = dir.join(spec.id.file_name(SegmentFile::Log));
        let file = storage.open(&path, mode).map_err(|e| Error::io("open", &path, e))?;
        let len = file.size().map_err(|e| Error::io("read", &path, e))?;
        Ok(Self::over(path, file, len, spec, index_interval))
    }

    fn over(
        path: PathBuf,
        file: Arc<dyn StorageFile>,
        len: u64,
        spec: &SegmentSpec,
        index_interval: u32,
    ) -> Self {
        Self {
            id: spec.id,
            clean_since: spec.clean_since,
            first_append_ms: AtomicI64::new(
                spec.first_append_time.map_or(i64::MAX, Timestamp::as_millis),
            ),
            append_time_ms: AtomicI64::new(spec.append_time.as_millis()),
            path,
            file,
            end: AtomicU64::new(spec.end.pack()),
            synced: AtomicU64::new(spec.end.pack()),
            reserved: AtomicU64::new(len),
            index_interval,
            index: RwLock::new(IndexCache::default()),
        }
    }

    /// A sealed segment whose file is gone: every read of it is an error.
    pub(crate) fn missing(dir: &Path, spec: &SegmentSpec, index_interval: u32) -> Self {
        let path = dir.join(spec.id.file_name(SegmentFile::Log));
        Self::over(path, Arc::new(MissingFile), 0, spec, index_interval)
    }

    /// What it is known by.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// Its first offset.
    pub(crate) fn base(&self) -> Offset {
        self.id.base
    }

    /// The time of the last append to it.
    pub(crate) fn append_time(&self) -> Timestamp {
        Timestamp::from_millis(self.append_time_ms.load(Ordering::Acquire))
    }

    /// The time of the first append to it; none if there was none.
    pub(crate) fn first_append_time(&self) -> Option<Timestamp> {
        let millis = self.first_append_ms.load(Ordering::Acquire);
        (millis != i64::MAX).then_some(Timestamp::from_millis(millis))
    }

    /// Whether every offset is there: only a compaction leaves some out.
    pub(super) fn is_dense(&self) -> bool {
        self.clean_since.is_none()
    }

    /// When it was compacted first; none if it has not been.
    pub(crate) fn clean_since(&self) -> Option<Timestamp> {
        self.clean_since
    }

    /// The file with the batches.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How far readers may look.
    pub(crate) fn end(&self) -> SegmentEnd {
        SegmentEnd::unpack(self.end.load(Ordering::Acquire))
    }

    /// The offset after the last one that readers may look at.
    pub(crate) fn end_offset(&self) -> Offset {
        self.base() + u64::from(self.end().relative_offset)
    }

    pub(super) fn file(&self) -> &dyn StorageFile {
        &*self.file
    }

    pub(super) fn index_interval(&self) -> u32 {
        self.index_interval
    }

    /// The length of the file, unwritten space included.
    pub(crate) fn file_len(&self) -> Result<u64> {
        self.file.size().map_err(|e| Error::io("read", &self.path, e))
    }

    /// Secures disk space up to `position`, in steps, but not past `bytes_max` by choice.
    pub(crate) fn reserve(&self, position: u32, bytes_max: u32) -> Result<()> {
        let needed = u64::from(position);
        let reserved = self.reserved.load(Ordering::Acquire);
        if needed <= reserved {
            return Ok(());
        }
        let step = reserved.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let wanted = (reserved + step).min(u64::from(bytes_max)).max(needed);
        // A disk that is too full for the step may still have room for this batch.
        let reserve = |len| self.file.reserve(len).map(|()| len);
        let got = reserve(wanted).or_else(|_| reserve(needed));
        let got = got.map_err(|e| Error::io("reserve space in", &self.path, e))?;
        self.reserved.store(got, Ordering::Release);
        Ok(())
    }

    /// Writes a batch that begins beyond the published end.
    pub(crate) fn write(&self, position: u32, batch: &[u8]) -> Result<()> {
        self.file.write(u64::from(position), batch).map_err(|e| Error::io("write", &self.path, e))
    }

    /// Lets readers see everything up to the end of a batch, and considers it for the index.
    pub(crate) fn publish(&self, batch: &Publication) {
        // A reader that is filling the index takes this batch in itself.
        if let Some(mut cache) = self.index.try_write() {
            let indexed = IndexedBatch {
                relative_offset: batch.begin.relative_offset,
                position: batch.begin.position,
                end: batch.end.position,
                max_timestamp: batch.max_timestamp.as_millis(),
            };
            cache.index.note(&indexed, self.index_interval);
        }
        self.note_append(batch.append_time);
        self.end.store(batch.end.pack(), Ordering::Release);
    }

    /// Notes an append at that time.
    pub(crate) fn note_append(&self, append_time: Timestamp) {
        self.append_time_ms.fetch_max(append_time.as_millis(), Ordering::AcqRel);
        if self.first_append_ms.load(Ordering::Relaxed) == i64::MAX {
            self.first_append_ms.store(append_time.as_millis(), Ordering::Release);
        }
    }

    /// Lets readers see everything up to `end`, as another process has published it.
    pub(crate) fn extend(&self, end: SegmentEnd) {
        self.end.fetch_max(end.pack(), Ordering::AcqRel);
    }

    /// Makes everything up to the published end durable, and returns that end.
    pub(crate) fn sync_published(&self) -> Result<SegmentEnd> {
        let end = self.end();
        if self.synced.load(Ordering::Acquire) != end.pack() {
            self.sync()?;
            self.synced.store(end.pack(), Ordering::Release);
        }
        Ok(end)
    }

    /// Makes all that was written durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Cuts off what lies beyond the published end.
    pub(crate) fn trim(&self) -> Result<()> {
        let len = u64::from(self.end().position);
        if self.file_len()? != len {
            self.file.truncate(len).map_err(|e| Error::io("truncate", &self.path, e))?;
            self.reserved.store(len, Ordering::Release);
            // The cut is to be durable before anything is written behind it.
            self.synced.store(NOT_SYNCED, Ordering::Release);
        }
        Ok(())
    }

    /// Keeps what lies between the published end and `kept`, and makes it durable; fills what lies
    /// behind with zeros, but keeps the space, so that a recovery needs none: what the journal
    /// brings back had its place there before.
    ///
    /// A process that had to stop because a sync had failed has left the page cache with what the
    /// disk does not have, and no later sync would bring it there.
    pub(crate) fn settle(&self, kept: SegmentEnd) -> Result<()> {
        let (begin, end) = (u64::from(self.end().position), u64::from(kept.position));
        let len = self.file_len()?;
        // First: who clears may drop the block in which it begins, and what is kept of that is not
        // on the disk yet.
        if begin < end {
            let settled = self.file.settle(begin, end - begin);
            settled.map_err(|e| Error::io("sync", &self.path, e))?;
            self.synced.store(kept.pack(), Ordering::Release);
        }
        if end < len {
            let cleared = self.file.clear(end, len - end);
            cleared.map_err(|e| Error::io("clear", &self.path, e))?;
            // The zeros are to be durable with the next checkpoint.
            self.synced.store(NOT_SYNCED, Ordering::Release);
        }
        self.file.reserve(len).map_err(|e| Error::io("reserve space in", &self.path, e))
    }

    /// Writes the index beside the segment. It is a cache, so nothing waits for it to be durable,
    /// and a failure costs no more than a scan later on.
    pub(crate) fn save_index(&self, storage: &dyn Storage, place: &Place) {
        let Some(dir) = self.path.parent() else { return };
        let (index, times) = {
            let mut cache = self.index.write();
            // A failure is not tried again.
            cache.is_saved = true;
            (cache.index.encode(place, self.base()), cache.index.encode_times(place, self.base()))
        };
        for (kind, bytes) in [(SegmentFile::OffsetIndex, index), (SegmentFile::TimeIndex, times)] {
            let path = dir.join(self.id.file_name(kind));
            let saved = storage.open(&path, OpenMode::Create).and_then(|file| {
                file.truncate(0)?;
                file.write(0, &bytes)
            });
            if let Err(error) = saved {
                tracing::warn!(path = %path.display(), %error, "an index was not saved");
            }
        }
    }

    /// Writes the index of a sealed segment beside it if that had none and a lookup has made it
    /// again: nobody waits for index files to be durable, so a power cut may leave them empty.
    pub(crate) fn save_rebuilt_index(&self, storage: &dyn Storage, place: &Place) {
        let is_rebuilt = {
            let cache = self.index.read();
            let end = self.end().position;
            !cache.is_saved && end > 0 && cache.index.covered() >= end
        };
        if is_rebuilt {
            self.save_index(storage, place);
        }
    }

    /// Takes the saved index, if there is a valid one.
    pub(crate) fn load_index(&self, storage: &dyn Storage, place: &Place) {
        let mut cache = self.index.write();
        if std::mem::replace(&mut cache.loaded, true) {
            return;
        }
        let Some(dir) = self.path.parent() else { return };
        let read = |kind| -> std::io::Result<_> {
            let file = storage.open(&dir.join(self.id.file_name(kind)), OpenMode::Read)?;
            let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
            file.read(0, len)
        };
        let (Ok(index), Ok(times)) = (read(SegmentFile::OffsetIndex), read(SegmentFile::TimeIndex))
        else {
            return;
        };
        match OffsetIndex::decode(place, self.base(), &index, &times, self.end().position) {
            Some(index) => {
                cache.is_saved = true;
                if index.covered() >= cache.index.covered() {
                    cache.index = index.without_tail();
                }
            }
            None => tracing::warn!(path = %self.path.display(), "its index is invalid: rebuilding"),
        }
    }

    /// Removes the saved index, durably: it is not to come back when the segment has other batches.
    pub(crate) fn drop_index(&self, storage: &dyn Storage) -> Result<()> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        let mut removed = false;
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let path = dir.join(self.id.file_name(kind));
            match storage.remove(&path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", &path, error)),
            }
        }
        self.index.write().loaded = true;
        if removed {
            storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    }

    /// Removes the files of a segment that no checkpoint knows any more.
    pub(crate) fn remove_files(&self, storage: &dyn Storage) -> Result<()> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        for kind in SegmentFile::ALL {
            let path = dir.join(self.id.file_name(kind));
            match storage.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
