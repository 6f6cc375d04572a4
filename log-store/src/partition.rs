//! A partition: its segments, the one place that assigns offsets, and lock-free reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::batch::{BatchBuilder, Place, PlaceChecksum};
use crate::config::TopicConfig;
use crate::epochs::EpochHistory;
use crate::error::{Error, Result};
use crate::log::{EpochEndOffset, Watermarks};
use crate::published::{Published, PublishedEnd, PublishedSlot};
use crate::record::RecordBatch;
use crate::segment::{Publication, ReadLimits, Segment, SegmentEnd, SegmentId, SpareSpans};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicPartition};

/// A partition that is open.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) place: Place,
    pub(crate) place_checksum: PlaceChecksum,
    pub(crate) dir: PathBuf,
    config: RwLock<Arc<TopicConfig>>,
    /// `max.message.bytes`, for those who ask with every record.
    message_bytes_max: AtomicU32,
    /// Whether `cleanup.policy` has `compact`, likewise.
    compact: AtomicBool,
    /// Where its end is published for other processes; none in a read-only store.
    pub(crate) slot: Option<PublishedSlot>,
    pub(crate) appender: Mutex<Appender>,
    /// Held while it is compacted.
    pub(crate) compacting: Mutex<()>,
    start: AtomicU64,
    epochs: EpochHistory,
    damage: Option<Error>,
    /// What the scrub has found damaged, and has not found whole again since.
    scrubbed: RwLock<BTreeMap<SegmentId, Error>>,
    segments: RwLock<Vec<Arc<Segment>>>,
}

/// What appends change, one at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) active: Arc<Segment>,
    /// Where the next batch goes. Under `Os` that is the published end; else batches may be on
    /// their way through the journal.
    pub(crate) next: SegmentEnd,
    /// The time of the last append; it never goes back.
    pub(crate) append_time: Timestamp,
    /// Whether the topic was deleted or the store closed.
    pub(crate) closed: bool,
    pub(crate) direct: DirectWrite,
}

/// What appends that go straight to the segment use again and again, so that they allocate
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct DirectWrite {
    pub(crate) builder: BatchBuilder,
    pub(crate) publications: Vec<Publication>,
}

/// A batch with its place: what the journal makes durable and the segment takes up.
#[derive(Debug)]
pub(crate) struct PlacedBatch {
    pub(crate) partition: Arc<Partition>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) begin: SegmentEnd,
    pub(crate) end: SegmentEnd,
    pub(crate) append_time: Timestamp,
    pub(crate) batch: BatchBuilder,
}

impl PlacedBatch {
    /// What readers get to see once it is durable.
    pub(crate) fn publication(&self) -> Publication {
        Publication {
            begin: self.begin,
            end: self.end,
            max_timestamp: self.batch.max_timestamp(),
            append_time: self.append_time,
        }
    }
}

impl Appender {
    /// The offset that the next record gets.
    pub(crate) fn next_offset(&self) -> Offset {
        self.active.base() + u64::from(self.next.relative_offset)
    }

    /// Whether the active segment must be sealed before it takes batches of `bytes` and `records`
    /// together, at that time.
    pub(crate) fn must_roll(
        &self,
        bytes: usize,
        records: u64,
        now: Timestamp,
        config: &TopicConfig,
    ) -> bool {
        let full = u64::from(self.next.position) + bytes as u64 > u64::from(config.segment_bytes);
        let offsets = u64::from(self.next.relative_offset) + records > u64::from(u32::MAX);
        offsets || ((full || self.is_old(now, config)) && self.next.position > 0)
    }

    /// Whether the first append to the active segment is longer ago than `segment.ms`.
    fn is_old(&self, now: Timestamp, config: &TopicConfig) -> bool {
        let first = self.active.first_append_time();
        let now = now.max(self.append_time);
        first.is_some_and(|first| {
            let age_ms = now.as_millis().saturating_sub(first.as_millis());
            u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= config.segment_ms)
        })
    }

    /// The end of a batch that begins at the next place; `None` past 4 GiB.
    pub(crate) fn end_after(&self, bytes: usize, records: u32) -> Option<SegmentEnd> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(SegmentEnd {
            relative_offset: self.next.relative_offset.checked_add(records)?,
            position: self.next.position.checked_add(bytes)?,
        })
    }

    /// The time of an append now, which is never before that of an earlier one.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.append_time = self.append_time.max(now);
        self.append_time
    }
}

/// What makes a partition.
pub(crate) struct PartitionParts {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) place: Place,
    pub(crate) dir: PathBuf,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) start: Offset,
    pub(crate) epochs: EpochHistory,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) damage: Option<Error>,
    pub(crate) slot: Option<PublishedSlot>,
}

impl Partition {
    /// A partition over open segments, of which there is at least one.
    pub(crate) fn new(parts: PartitionParts) -> Self {
        let active = Arc::clone(parts.segments.last().expect("a partition has an active segment"));
        let latest = parts.segments.iter().map(|segment| segment.append_time()).max();
        Self {
            topic_partition: parts.topic_partition,
            place: parts.place,
            place_checksum: parts.place.prepare(),
            dir: parts.dir,
            message_bytes_max: AtomicU32::new(parts.config.message_bytes_max),
            compact: AtomicBool::new(parts.config.compact),
            config: RwLock::new(parts.config),
            slot: parts.slot,
            appender: Mutex::new(Appender {
                next: active.end(),
                append_time: latest.unwrap_or_default(),
                active,
                closed: false,
                direct: DirectWrite::default(),
            }),
            compacting: Mutex::new(()),
            start: AtomicU64::new(parts.start.value()),
            epochs: parts.epochs,
            damage: parts.damage,
            scrubbed: RwLock::default(),
            segments: RwLock::new(parts.segments),
        }
    }

    /// Its topic's configs, as they are now.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read())
    }

    /// Takes the configs that its topic has from now on.
    pub(crate) fn set_config(&self, config: &Arc<TopicConfig>) {
        self.message_bytes_max.store(config.message_bytes_max, Ordering::Relaxed);
        self.compact.store(config.compact, Ordering::Relaxed);
        *self.config.write() = Arc::clone(config);
    }

    /// `max.message.bytes`.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.load(Ordering::Relaxed) as usize
    }

    /// Whether it is compacted by key.
    pub(crate) fn is_compacted(&self) -> bool {
        self.compact.load(Ordering::Relaxed)
    }

    /// What partitions are locked in the order of.
    pub(crate) fn place_key(&self) -> (u64, PartitionId) {
        (self.place.topic_id, self.place.partition)
    }

    /// Where it begins and how far readers may look.
    pub(crate) fn watermarks(&self) -> Watermarks {
        let segments = self.segments.read();
        let end = segments.last().map_or(Offset::ZERO, |segment| segment.end_offset());
        Watermarks { start: self.start().min(end), end }
    }

    /// What was wrong with it when it was opened: it takes no appends until somebody has decided what
    /// is to become of it.
    pub(crate) fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// Notes what the scrub has found in a sealed segment: damage, or that it is whole.
    pub(crate) fn note_scrubbed(&self, id: SegmentId, damage: Option<Error>) {
        let mut scrubbed = self.scrubbed.write();
        match damage {
            Some(damage) => scrubbed.insert(id, damage),
            None => scrubbed.remove(&id),
        };
    }

    /// Refuses appends while there is damage that somebody has to decide about: who appends to a
    /// log with a hole in it makes the copy that still has what is lost diverge.
    pub(crate) fn check_undamaged(&self) -> Result<()> {
        if let Some(damage) = self.damage() {
            return Err(damage.clone());
        }
        let scrubbed = self.scrubbed.read();
        if scrubbed.is_empty() {
            return Ok(());
        }
        // What retention or a compaction has taken is no damage any more.
        let segments = self.segments();
        let damage = segments.iter().find_map(|segment| scrubbed.get(&segment.id()));
        damage.map_or(Ok(()), |damage| Err(damage.clone()))
    }

    /// Its epochs, as they were when it was opened.
    pub(crate) fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// Refuses an offset that was lost in an unclean stop, and may have been used again since.
    pub(crate) fn check_epoch(&self, offset: Offset, epoch: LeaderEpoch) -> Result<()> {
        match self.epochs.end_of(epoch).filter(|end| offset > *end) {
            None => Ok(()),
            Some(end) => {
                let topic_partition = self.topic_partition.clone();
                Err(Error::LogTruncated { topic_partition, offset, epoch, end })
            }
        }
    }

    /// Where an epoch ends; the current one with `None`.
    pub(crate) fn epoch_end(&self, epoch: Option<LeaderEpoch>) -> EpochEndOffset {
        let asked = epoch.unwrap_or(self.epochs.latest());
        let Watermarks { start, end } = self.watermarks();
        match self.epochs.at_most(asked) {
            Some(leader_epoch) => EpochEndOffset {
                leader_epoch,
                end_offset: self.epochs.end_of(leader_epoch).unwrap_or(end),
            },
            // All of its records are gone.
            None => EpochEndOffset {
                leader_epoch: asked,
                end_offset: self.epochs.end_of(asked).map_or(start, |end| end.min(start)),
            },
        }
    }

    /// The log start offset.
    pub(crate) fn start(&self) -> Offset {
        Offset::new(self.start.load(Ordering::Acquire))
    }

    /// Moves the log start offset up.
    pub(crate) fn raise_start(&self, start: Offset) {
        self.start.fetch_max(start.value(), Ordering::AcqRel);
    }

    /// All segments, the active one last.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    /// Makes `active` the active segment.
    pub(crate) fn push_segment(&self, active: Arc<Segment>) {
        self.segments.write().push(active);
    }

    /// Takes sealed segments out that lie wholly before the log start offset.
    pub(crate) fn take_segments_before_start(&self) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.write();
        let start = self.start();
        let sealed = segments.len().saturating_sub(1);
        let bases = segments.iter().skip(1).map(|segment| segment.base());
        let count = bases.take(sealed).take_while(|next_base| *next_base <= start).count();
        segments.drain(..count).collect()
    }

    /// Puts `fresh` in the place of sealed segments; false if they are not all there any more.
    pub(crate) fn replace_segments(&self, old: &[Arc<Segment>], fresh: Vec<Arc<Segment>>) -> bool {
        let mut segments = self.segments.write();
        let same = |(there, old): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(there, old);
        let Some(first) = old.first() else { return false };
        let Some(at) = segments.iter().position(|there| Arc::ptr_eq(there, first)) else {
            return false;
        };
        let range = at..at + old.len();
        let all = segments.get(range.clone()).is_some_and(|there| there.iter().zip(old).all(same));
        if all {
            segments.splice(range, fresh);
        }
        all
    }

    /// The segment that is written to.
    pub(crate) fn active(&self) -> Arc<Segment> {
        Arc::clone(self.segments.read().last().expect("a partition has an active segment"))
    }

    /// What other processes may know of it, given its active segment.
    pub(crate) fn published_end(&self, active: &Segment) -> PublishedEnd {
        PublishedEnd {
            topic_id: self.place.topic_id,
            partition: self.topic_partition.partition,
            start: self.start(),
            segment_base: active.base(),
            segment_end: active.end(),
        }
    }

    /// Tells other processes how far it goes, given its active segment.
    pub(crate) fn announce(&self, published: &Published, active: &Segment) {
        if let Some(slot) = &self.slot {
            published.update(slot, &self.published_end(active));
        }
    }

    /// Reads records from `from` on, beginning where `cursor` points if that is the place, and says
    /// where to go on: at the end without records, that is behind offsets whose records are gone.
    pub(crate) fn fetch(
        &self,
        cursor: &mut Option<Cursor>,
        from: Offset,
        limits: ReadLimits,
        spare: &mut SpareSpans,
    ) -> Result<(Option<RecordBatch>, Offset)> {
        let Watermarks { start, end } = self.watermarks();
        if from < start || from > end {
            let topic_partition = self.topic_partition.clone();
            return Err(Error::OffsetOutOfRange { topic_partition, offset: from, start, end });
        }
        let mut from = from;
        while from < end {
            let mut at = match cursor.take() {
                Some(cursor) if cursor.is_at(self, from) => cursor,
                _ => self.seek(from)?,
            };
            let whose = (&self.place, &self.topic_partition);
            let read = at.segment.read(at.position, from, limits, whose, spare)?;
            at.position = read.1;
            if let Some(next) = read.0.as_ref().and_then(RecordBatch::next_offset) {
                at.offset = next;
                *cursor = Some(at);
                return Ok((read.0, next));
            }
            let is_active = self.is_active(&at.segment);
            if at.position < at.segment.end().position {
                // It came after the read above.
                *cursor = Some(at);
            } else if is_active {
                break;
            } else {
                // A sealed segment is never added to: what follows is in another one.
                from = at.segment.end_offset().max(from);
            }
        }
        Ok((None, from))
    }

    /// The first offset whose record has this timestamp or a later one, if there is one.
    pub(crate) fn offset_for_time(&self, timestamp: Timestamp) -> Result<Option<Offset>> {
        let start = self.start();
        for segment in self.segments() {
            let tp = &self.topic_partition;
            // Records before the log start offset are gone, though their bytes may be there.
            let found = segment.offset_for_time(timestamp, start, &self.place, tp)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn seek(&self, offset: Offset) -> Result<Cursor> {
        let (segment, next_base) = {
            let segments = self.segments.read();
            let after = segments.partition_point(|segment| segment.base() <= offset);
            let found = segments.get(after.saturating_sub(1));
            let found = Arc::clone(found.expect("a partition has an active segment"));
            (found, segments.get(after).map(|next| next.base()))
        };
        if next_base.is_some_and(|next| next > offset) && segment.end_offset() <= offset {
            // It cannot be, and a reader would look for it for ever.
            return Err(Error::Corrupt {
                topic_partition: self.topic_partition.clone(),
                offset,
                path: segment.path().to_owned(),
                position: u64::from(segment.end().position),
                reason: "the next segment begins at a later offset than this one ends".to_owned(),
            });
        }
        let position = segment.seek(offset, &self.place, &self.topic_partition)?;
        Ok(Cursor { topic_id: self.place.topic_id, segment, offset, position })
    }

    fn is_active(&self, segment: &Arc<Segment>) -> bool {
        self.segments.read().last().is_some_and(|active| Arc::ptr_eq(active, segment))
    }
}

/// Where a reader is, so that it need not look for the place again.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// A topic that was made anew has other segments, though the same name.
    topic_id: u64,
    segment: Arc<Segment>,
    offset: Offset,
    position: u32,
}

impl Cursor {
    fn is_at(&self, partition: &Partition, offset: Offset) -> bool {
        self.offset == offset && self.topic_id == partition.place.topic_id
    }
}

/// The folder of a partition in the store's folder.
pub(crate) fn partition_dir(dir: &Path, topic_partition: &TopicPartition) -> PathBuf {
    dir.join(topic_partition.to_string())
}
