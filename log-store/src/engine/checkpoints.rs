//! Checkpoints, and sealing segments, which needs one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::checkpoint::{Checkpoint, PartitionMark, Redo, checkpoint_growth};
use crate::config::Durability;
use crate::engine::state::{Engine, JournalSide, Writer};
use crate::error::{Error, Result};
use crate::partition::{Appender, Partition};
use crate::segment::{Segment, SegmentEnd, SegmentSpec};
use crate::storage::OpenMode;
use crate::topic::Topic;

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    Plain,
    /// It knows a topic that nobody else knows yet, or knows with fewer partitions.
    WithTopic(&'a Topic),
    /// Nothing comes after it.
    Close,
}

impl Engine {
    /// Makes the segments durable, says so in a checkpoint, and begins the journal anew.
    ///
    /// Nothing may be written to the journal that was not applied to its segments yet: that the
    /// journal is locked sees to it.
    pub(super) fn checkpoint(
        &self,
        writer: &Writer,
        side: &mut JournalSide,
        kind: Kind<'_>,
    ) -> Result<()> {
        // After a failed sync a second one would say that all is well.
        writer.check_released()?;
        writer.bytes_since_checkpoint.store(0, Ordering::Relaxed);
        let mut partitions = Vec::new();
        let topics = self.topics();
        let new = match kind {
            Kind::WithTopic(topic) => Some(topic),
            Kind::Plain | Kind::Close => None,
        };
        // One that grows is known already, as it was.
        let known = topics.iter().filter(|topic| new.is_none_or(|new| new.id != topic.id));
        for topic in known.map(|topic| &**topic).chain(new) {
            for partition in &topic.partitions {
                partitions.push(mark(partition)?);
            }
        }
        side.generation += 1;
        side.checkpoint_len = side.checkpoints.write(&Checkpoint {
            generation: side.generation,
            clean: matches!(kind, Kind::Close),
            redo: match writer.durability {
                Durability::Sync => Redo::SyncedJournal,
                Durability::Interval(_) => Redo::Journal,
                Durability::Os => Redo::Segments,
            },
            epoch: side.epoch,
            boot_id: side.boot_id.clone(),
            journal: side.journal.recycled_mark(),
            journal_bytes: side.journal.capacity(),
            next_topic_id: side.next_topic_id,
            partitions,
        })?;
        side.journal.recycle();
        Ok(())
    }

    /// Sees to it that the checkpoints may grow by so much, before what makes them grow begins.
    pub(super) fn make_room(side: &JournalSide, growth: u64) -> Result<()> {
        side.checkpoints.reserve(side.checkpoint_len + growth)
    }

    /// A checkpoint now; what fails poisons the store.
    pub(crate) fn checkpoint_now(&self) -> Result<()> {
        let writer = self.writer("checkpoint")?;
        writer.check("checkpoint")?;
        let mut side = writer.journal.lock();
        self.checkpoint(writer, &mut side, Kind::Plain).map_err(|error| writer.poison(&error))
    }

    /// Lets readers in other processes see what this one has opened.
    pub(super) fn reveal(&self) -> Result<()> {
        let topics = self.topics();
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let end = |p: &Arc<Partition>| Some((p.slot.clone()?, p.published_end(&p.active())));
        let ends: Vec<_> = partitions.filter_map(end).collect();
        self.writer("open")?.published.reveal(&*self.storage, &self.dir, &ends)
    }

    /// Counts bytes that went past the journal, and sees to a checkpoint when it is due.
    pub(super) fn count_bytes(&self, writer: &Writer, bytes: usize) -> Result<()> {
        let bytes = bytes as u64;
        let before = writer.bytes_since_checkpoint.fetch_add(bytes, Ordering::Relaxed);
        let due = before < writer.checkpoint_bytes && before + bytes >= writer.checkpoint_bytes;
        if !due {
            return Ok(());
        }
        let mut work = writer.work.lock();
        if work.served {
            work.checkpoint = true;
            writer.work_came.notify_all();
            return Ok(());
        }
        drop(work);
        self.checkpoint_now()
    }

    /// Seals the active segment and begins the next.
    pub(super) fn roll(
        &self,
        writer: &Writer,
        partition: &Partition,
        appender: &mut Appender,
    ) -> Result<()> {
        // Batches of this partition may be on their way; no new ones come, we hold its lock.
        self.drain(writer)?;
        let mut side = writer.journal.lock();
        // First the space: if the disk is full, all is as it was.
        Self::make_room(&side, checkpoint_growth(0, 0, 1))?;
        let active = self.create_segment(writer, partition, appender)?;
        let rolled = self.seal(writer, partition, appender, active, &mut side);
        rolled.map_err(|error| writer.poison(&error))
    }

    fn create_segment(
        &self,
        writer: &Writer,
        partition: &Partition,
        appender: &Appender,
    ) -> Result<Arc<Segment>> {
        let segment = Segment::open(
            &*self.storage,
            &partition.dir,
            &SegmentSpec::empty(appender.next_offset()),
            OpenMode::Create,
            partition.config().index_interval_bytes,
        )?;
        // A file of this name can only be left over from a roll that failed.
        segment.trim()?;
        let dir = &partition.dir;
        let synced = self.storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e));
        synced.map_err(|error| writer.poison_after_sync(error))?;
        Ok(Arc::new(segment))
    }

    fn seal(
        &self,
        writer: &Writer,
        partition: &Partition,
        appender: &mut Appender,
        active: Arc<Segment>,
        side: &mut MutexGuard<'_, JournalSide>,
    ) -> Result<()> {
        let sealed = std::mem::replace(&mut appender.active, Arc::clone(&active));
        sealed.trim()?;
        sealed.sync()?;
        sealed.save_index(&*self.storage, &partition.place);
        partition.push_segment(active);
        appender.next = SegmentEnd::default();
        // The checkpoint comes before the first byte in the new segment, so that a segment that
        // no checkpoint knows never holds anything that was acknowledged; and before the
        // publication, so that other processes find the segment in the checkpoint.
        self.checkpoint(writer, side, Kind::Plain)?;
        partition.announce(&writer.published, &appender.active);
        Ok(())
    }

    /// Ends all writing, leaves every file at its exact length, and lets the next opener in.
    pub(crate) fn close(&self) -> Result<()> {
        let Ok(writer) = self.writer("close") else { return Ok(()) };
        let _admin = writer.admin.lock();
        if !writer.begin_close() {
            return Ok(());
        }
        let closed = self.close_writer(writer);
        // Somebody may be in the middle of a write, even after a failure.
        writer.release(&mut writer.journal.lock());
        self.signal.notify();
        closed
    }

    fn close_writer(&self, writer: &Writer) -> Result<()> {
        let topics = self.topics();
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            partition.appender.lock().closed = true;
            // A compaction ends when it sees that the store is closed; the next opener may write
            // the same files.
            drop(partition.compacting.lock());
        }
        self.drain(writer)?;
        let mut side = writer.journal.lock();
        writer.check_poison()?;
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            let active = Arc::clone(&partition.appender.lock().active);
            let trimmed = active.trim();
            trimmed.map_err(|error| writer.poison(&error))?;
            active.save_index(&*self.storage, &partition.place);
            for segment in partition.segments().iter().filter(|other| other.id() != active.id()) {
                segment.save_rebuilt_index(&*self.storage, &partition.place);
            }
        }
        // Twice, so that both files say the same: losing either of them is then of no matter.
        let written = self.checkpoint(writer, &mut side, Kind::Close);
        let written = written.and_then(|()| self.checkpoint(writer, &mut side, Kind::Close));
        written.map_err(|error| writer.poison(&error))
    }
}

/// Makes a partition durable up to what is published, and says how far that is.
fn mark(partition: &Partition) -> Result<PartitionMark> {
    let segments = partition.segments();
    let specs = segments.iter().map(|segment| {
        Ok(SegmentSpec {
            id: segment.id(),
            end: segment.sync_published()?,
            first_append_time: segment.first_append_time(),
            append_time: segment.append_time(),
            clean_since: segment.clean_since(),
        })
    });
    Ok(PartitionMark {
        topic_id: partition.place.topic_id,
        partition: partition.topic_partition.partition,
        start: partition.start(),
        epochs: partition.epochs().since(partition.start()),
        segments: specs.collect::<Result<_>>()?,
    })
}
