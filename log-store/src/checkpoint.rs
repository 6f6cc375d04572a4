//! The checkpoint: which segments the store has, and how far each is safe on disk.
//!
//! Two files are written in turn, so that one is whole at any moment. What a checkpoint says is
//! durable before the checkpoint is, and the journal behind it is recycled only after.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::epochs::{EpochHistory, EpochStart};
use crate::error::{Error, Result};
use crate::journal::JournalMark;
use crate::layout::{Fields, checked, put_checksum, put_string};
use crate::segment::{SegmentEnd, SegmentId, SegmentSpec};
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp};

const MAGIC: u32 = 0x4857_4350;
/// The newest version that is written and read.
const VERSION: u16 = 1;
/// Checkpoint files grow in steps of this.
const RESERVE_BYTES: u64 = 64 << 10;
/// In place of the time of what never was.
const NEVER: i64 = i64::MAX;
/// Bytes before the content: magic, version, content length.
const PREFIX_BYTES: usize = 10;
/// What a partition takes, its segments left out.
const PARTITION_BYTES: u64 = 28;
/// What an epoch of a partition takes.
const EPOCH_BYTES: u64 = 12;
/// What a segment takes.
const SEGMENT_BYTES: u64 = 44;
/// What is reserved beyond the needs that are known: for a longer boot id.
const HEADROOM_BYTES: u64 = 1 << 10;

/// How the session that wrote a checkpoint acknowledged appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redo {
    /// Every append is in the journal, and was durable there before it was anywhere else.
    SyncedJournal,
    /// Every append is in the journal.
    Journal,
    /// Only transactions are; plain appends went to their segments.
    Segments,
}

/// What one checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Counts the checkpoints of the store.
    pub(crate) generation: u64,
    /// Whether the store was closed right after.
    pub(crate) clean: bool,
    pub(crate) redo: Redo,
    /// Counts the unclean stops.
    pub(crate) epoch: LeaderEpoch,
    /// The start of the machine that it was written in, as far as that is known.
    pub(crate) boot_id: String,
    /// Where a replay of the journal begins.
    pub(crate) journal: JournalMark,
    /// How long the journal's file is.
    pub(crate) journal_bytes: u64,
    /// The id that the next new topic gets.
    pub(crate) next_topic_id: u64,
    pub(crate) partitions: Vec<PartitionMark>,
}

/// What a checkpoint says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionMark {
    pub(crate) topic_id: u64,
    pub(crate) partition: PartitionId,
    /// The log start offset.
    pub(crate) start: Offset,
    /// Its epochs.
    pub(crate) epochs: EpochHistory,
    /// All segments by base offset; the last is the active one, and its end the recovery point.
    /// There is always one.
    pub(crate) segments: Vec<SegmentSpec>,
}

impl Checkpoint {
    /// The bytes of its file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        content.extend_from_slice(&self.generation.to_be_bytes());
        content.push(u8::from(self.clean));
        content.push(match self.redo {
            Redo::Journal => 0,
            Redo::Segments => 1,
            Redo::SyncedJournal => 2,
        });
        content.extend_from_slice(&self.epoch.value().to_be_bytes());
        assert!(put_string(&mut content, &self.boot_id), "a boot id is a short word");
        content.extend_from_slice(&self.journal.position.to_be_bytes());
        content.extend_from_slice(&self.journal.sequence.to_be_bytes());
        content.extend_from_slice(&self.journal.durable_sequence.to_be_bytes());
        content.extend_from_slice(&self.journal_bytes.to_be_bytes());
        content.extend_from_slice(&self.next_topic_id.to_be_bytes());
        put_count(&mut content, self.partitions.len());
        for partition in &self.partitions {
            content.extend_from_slice(&partition.topic_id.to_be_bytes());
            content.extend_from_slice(&partition.partition.value().to_be_bytes());
            content.extend_from_slice(&partition.start.value().to_be_bytes());
            put_count(&mut content, partition.epochs.starts().len());
            for known in partition.epochs.starts() {
                content.extend_from_slice(&known.epoch.value().to_be_bytes());
                content.extend_from_slice(&known.start.value().to_be_bytes());
            }
            put_count(&mut content, partition.segments.len());
            for segment in &partition.segments {
                let clean_since_ms = segment.clean_since.map_or(NEVER, Timestamp::as_millis);
                content.extend_from_slice(&segment.id.base.value().to_be_bytes());
                content.extend_from_slice(&segment.id.revision.to_be_bytes());
                content.extend_from_slice(&segment.end.pack().to_be_bytes());
                let first_ms = segment.first_append_time.map_or(NEVER, Timestamp::as_millis);
                content.extend_from_slice(&first_ms.to_be_bytes());
                content.extend_from_slice(&segment.append_time.as_millis().to_be_bytes());
                content.extend_from_slice(&clean_since_ms.to_be_bytes());
            }
        }
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + content.len() + 4);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        put_count(&mut bytes, content.len());
        bytes.extend_from_slice(&content);
        put_checksum(&mut bytes);
        bytes
    }

    /// Reads a checkpoint from the bytes of its file; `None` if there is no whole one.
    ///
    /// # Errors
    /// `UnsupportedVersion`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let mut fields = Fields::new(bytes);
        let (magic, version) = (fields.u32(), fields.u16().unwrap_or_default());
        let content_len = fields.u32().unwrap_or_default() as usize;
        // Magic, version, length and checksum lie where they are in every version, so that a
        // damaged version is damage and not news.
        let whole = bytes.get(..PREFIX_BYTES + content_len + 4);
        let content = whole.and_then(checked).and_then(|bytes| bytes.get(PREFIX_BYTES..));
        let Some(content) = content.filter(|_| magic == Some(MAGIC)) else { return Ok(None) };
        if version > VERSION {
            return Err(Error::UnsupportedVersion {
                path: path.to_owned(),
                found: version.into(),
                supported: VERSION.into(),
            });
        }
        Ok(Self::decode(content))
    }

    /// Reads the content, without what is around it.
    pub(crate) fn decode(content: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(content);
        let generation = fields.u64()?;
        let clean = fields.u8()? == 1;
        let redo = match fields.u8()? {
            0 => Redo::Journal,
            1 => Redo::Segments,
            2 => Redo::SyncedJournal,
            _ => return None,
        };
        let epoch = LeaderEpoch::new(fields.u32()?);
        let boot_id = fields.string()?.to_owned();
        let journal = JournalMark {
            position: fields.u64()?,
            sequence: fields.u64()?,
            durable_sequence: fields.u64()?,
        };
        let journal_bytes = fields.u64()?;
        let next_topic_id = fields.u64()?;
        let mut partitions = Vec::new();
        for _ in 0..fields.u32()? {
            partitions.push(decode_partition(&mut fields)?);
        }
        fields.rest().is_empty().then_some(Self {
            generation,
            clean,
            redo,
            epoch,
            boot_id,
            journal,
            journal_bytes,
            next_topic_id,
            partitions,
        })
    }
}

fn decode_partition(fields: &mut Fields<'_>) -> Option<PartitionMark> {
    let topic_id = fields.u64()?;
    let partition = PartitionId::new(fields.u32()?);
    let start = Offset::new(fields.u64()?);
    let mut epochs = Vec::new();
    for _ in 0..fields.u32()? {
        let epoch = LeaderEpoch::new(fields.u32()?);
        epochs.push(EpochStart { epoch, start: Offset::new(fields.u64()?) });
    }
    let epochs = EpochHistory::from_starts(epochs)?;
    let mut segments = Vec::new();
    for _ in 0..fields.u32()? {
        let id = SegmentId { base: Offset::new(fields.u64()?), revision: fields.u32()? };
        let end = SegmentEnd::unpack(fields.u64()?);
        let first_append_time = optional_time(fields)?;
        let append_time = Timestamp::from_millis(fields.i64()?);
        let clean_since = optional_time(fields)?;
        segments.push(SegmentSpec { id, end, first_append_time, append_time, clean_since });
    }
    (!segments.is_empty()).then_some(PartitionMark { topic_id, partition, start, epochs, segments })
}

fn optional_time(fields: &mut Fields<'_>) -> Option<Option<Timestamp>> {
    let millis = fields.i64()?;
    Some((millis != NEVER).then_some(Timestamp::from_millis(millis)))
}

fn put_count(buffer: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a store has fewer than 4 billion of anything");
    buffer.extend_from_slice(&count.to_be_bytes());
}

/// By how much a checkpoint grows with so many more partitions, epochs and segments.
pub(crate) fn checkpoint_growth(partitions: usize, epochs: usize, segments: usize) -> u64 {
    partitions as u64 * PARTITION_BYTES
        + epochs as u64 * EPOCH_BYTES
        + segments as u64 * SEGMENT_BYTES
}

/// The two files that hold checkpoints in turn.
#[derive(Debug)]
pub(crate) struct CheckpointFiles {
    slots: [Slot; 2],
}

#[derive(Debug)]
struct Slot {
    path: PathBuf,
    /// None where the file is missing and this process only reads.
    file: Option<Arc<dyn StorageFile>>,
}

impl CheckpointFiles {
    /// Opens both files in the store's folder. A missing one is made anew by a writer: the other
    /// one stands in for it.
    pub(crate) fn open(storage: &dyn Storage, dir: &Path, mode: OpenMode) -> Result<Self> {
        let slot = |name: &str| -> Result<Slot> {
            let path = dir.join(name);
            let file = match storage.open(&path, mode) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => match mode {
                    OpenMode::Read => None,
                    OpenMode::Write | OpenMode::Create => {
                        let created = storage.open(&path, OpenMode::Create);
                        Some(created.map_err(|e| Error::io("create", &path, e))?)
                    }
                },
                opened => Some(opened.map_err(|e| Error::io("open", &path, e))?),
            };
            Ok(Slot { path, file })
        };
        Ok(Self { slots: [slot("checkpoint.0")?, slot("checkpoint.1")?] })
    }

    /// Makes the files, with their first space.
    pub(crate) fn create(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let files = Self::open(storage, dir, OpenMode::Create)?;
        files.reserve(0)?;
        Ok(files)
    }

    /// Makes durable what is in both files: what a killed writer left may be in the page cache only.
    pub(crate) fn sync(&self) -> Result<()> {
        for slot in &self.slots {
            let Some(file) = &slot.file else { continue };
            let settled = file.size().and_then(|len| file.settle(0, len));
            settled.map_err(|e| Error::io("sync", &slot.path, e))?;
        }
        Ok(())
    }

    /// Sees to it that checkpoints of that length can be written: a full disk is an error here, where
    /// nothing has happened yet, and not in the middle of a change.
    pub(crate) fn reserve(&self, len: u64) -> Result<()> {
        let len = (len + HEADROOM_BYTES).next_multiple_of(RESERVE_BYTES);
        for Slot { path, file } in &self.slots {
            let reserved = file.as_ref().map_or(Ok(()), |file| file.reserve(len));
            reserved.map_err(|e| Error::io("reserve space in", path, e))?;
        }
        Ok(())
    }

    /// Writes a checkpoint over the older one and makes it durable. Returns its length.
    pub(crate) fn write(&self, checkpoint: &Checkpoint) -> Result<u64> {
        let [even, odd] = &self.slots;
        let slot = if checkpoint.generation.is_multiple_of(2) { even } else { odd };
        let bytes = checkpoint.encode();
        let len = (bytes.len() as u64).next_multiple_of(RESERVE_BYTES);
        let file = slot.file.as_ref().expect("a writer has both files");
        file.reserve(len).map_err(|e| Error::io("reserve space in", &slot.path, e))?;
        file.write(0, &bytes).map_err(|e| Error::io("write", &slot.path, e))?;
        file.sync().map_err(|e| Error::io("sync", &slot.path, e))?;
        Ok(bytes.len() as u64)
    }

    /// The newer of the checkpoints that are whole.
    ///
    /// # Errors
    /// `UnsupportedVersion`, or `CorruptFile` if neither is whole.
    pub(crate) fn read(&self) -> Result<Checkpoint> {
        let mut newest: Option<Checkpoint> = None;
        for slot in &self.slots {
            if let Some(found) = slot.read()?
                && newest.as_ref().is_none_or(|best| best.generation < found.generation)
            {
                newest = Some(found);
            }
        }
        newest.ok_or_else(|| Error::CorruptFile {
            path: self.slots[0].path.clone(),
            reason: "neither of the two checkpoints is whole".to_owned(),
        })
    }
}

impl Slot {
    fn read(&self) -> Result<Option<Checkpoint>> {
        let failed = |e| Error::io("read", &self.path, e);
        let Some(file) = &self.file else { return Ok(None) };
        let len = usize::try_from(file.size().map_err(failed)?).unwrap_or(usize::MAX);
        Checkpoint::parse(&self.path, &file.read(0, len).map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointFiles, PartitionMark, Redo};
    use crate::epochs::EpochHistory;
    use crate::error::Error;
    use crate::journal::JournalMark;
    use crate::segment::{SegmentEnd, SegmentId, SegmentSpec};
    use crate::storage::{MemoryStorage, OpenMode, Storage};
    use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp};
    use std::path::Path;

    fn checkpoint(generation: u64) -> Checkpoint {
        let segment = |base, revision| SegmentSpec {
            id: SegmentId { base: Offset::new(base), revision },
            end: SegmentEnd { relative_offset: 10, position: 70 },
            first_append_time: Some(Timestamp::from_millis(-7)),
            append_time: Timestamp::from_millis(-5),
            clean_since: (revision > 0).then_some(Timestamp::from_millis(3)),
        };
        Checkpoint {
            generation,
            clean: false,
            redo: Redo::Segments,
            epoch: LeaderEpoch::new(3),
            boot_id: "boot".to_owned(),
            journal: JournalMark { position: 512, sequence: 9, durable_sequence: 8 },
            journal_bytes: 1 << 20,
            next_topic_id: 4,
            partitions: vec![PartitionMark {
                topic_id: 1,
                partition: PartitionId::new(2),
                start: Offset::new(3),
                epochs: EpochHistory::new(LeaderEpoch::new(2), Offset::new(1)),
                segments: vec![segment(0, 4), segment(10, 0)],
            }],
        }
    }

    fn files(storage: &MemoryStorage) -> CheckpointFiles {
        CheckpointFiles::create(storage, Path::new("")).unwrap()
    }

    #[test]
    fn the_newer_of_two_is_read_back() {
        let storage = MemoryStorage::new();
        files(&storage).write(&checkpoint(7)).unwrap();
        files(&storage).write(&checkpoint(8)).unwrap();
        assert_eq!(files(&storage).read().unwrap(), checkpoint(8));
    }

    #[test]
    fn a_damaged_one_gives_way_to_the_other_and_two_are_an_error() {
        let storage = MemoryStorage::new();
        files(&storage).write(&checkpoint(7)).unwrap();
        files(&storage).write(&checkpoint(8)).unwrap();
        let damage = |name: &str| {
            let file = storage.open(Path::new(name), OpenMode::Write).unwrap();
            file.write(40, &[0xff]).unwrap();
        };
        damage("checkpoint.0");
        assert_eq!(files(&storage).read().unwrap(), checkpoint(7));
        damage("checkpoint.1");
        let error = files(&storage).read().unwrap_err();
        assert!(matches!(error, Error::CorruptFile { .. }), "{error}");
    }

    #[test]
    fn a_checkpoint_grows_as_much_as_was_reserved_for_it() {
        let before = checkpoint(7).encode().len() as u64;
        let mut grown = checkpoint(7);
        grown.partitions.extend(checkpoint(7).partitions);
        let expected = before + super::checkpoint_growth(1, 1, 2);
        assert_eq!(grown.encode().len() as u64, expected);
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let storage = MemoryStorage::new();
        files(&storage).write(&checkpoint(8)).unwrap();
        let path = Path::new("checkpoint.0");
        let file = storage.open(path, OpenMode::Write).unwrap();
        let mut bytes = checkpoint(8).encode();
        bytes[5] = 9;
        // A damaged version is damage, and no newer version.
        file.write(0, &bytes).unwrap();
        assert!(matches!(files(&storage).read(), Err(Error::CorruptFile { .. })));
        bytes.truncate(bytes.len() - 4);
        crate::layout::put_checksum(&mut bytes);
        file.write(0, &bytes).unwrap();
        let error = files(&storage).read().unwrap_err().to_string();
        assert!(error.contains("checkpoint.0 has format version 9"), "{error}");
    }
}
