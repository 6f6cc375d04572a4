//! Opening a store that is there: its files, its topics, and what an unclean stop left undone.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;

use crate::batch::Place;
use crate::checkpoint::{Checkpoint, CheckpointFiles, Redo, checkpoint_growth};
use crate::clock::Clock;
use crate::config::{Durability, TopicConfig};
use crate::engine::partition_files::{
    OpenedPartition, create_partition_files, empty_mark, finish_partition, remove_if_there,
    remove_segments, remove_topic_folders, remove_unknown_segments,
};
use crate::engine::recovery::{Recovering, RecoveryReport, apply, ends_after};
use crate::engine::reserve::Reserve;
use crate::engine::state::{Engine, JournalSide, Side, Writer, WriterParts};
use crate::error::{Error, Result};
use crate::group::{Coordinator, OffsetsCache};
use crate::journal::Journal;
use crate::partition::partition_dir;
use crate::published::Published;
use crate::segment::{Segment, SegmentEnd, SegmentId, SegmentSpec, scan};
use crate::signal::Signal;
use crate::storage::{OpenMode, Storage, StorageLock};
use crate::topic::{Topic, TopicFile, deleted_name, parse_deleted_name, topics_dir};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicName, TopicPartition};

/// How to open a store.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) journal_bytes: u64,
    pub(crate) compaction_bytes_max: usize,
    pub(crate) create: bool,
}

type OpenedTopic = (TopicName, u64, Arc<TopicConfig>, Vec<OpenedPartition>);

type TopicFiles = BTreeMap<TopicName, TopicFile>;

/// A store that is being opened.
pub(super) struct Opening<'a> {
    pub(super) config: &'a EngineConfig,
    pub(super) store_id: u128,
    pub(super) checkpoint: Checkpoint,
}

impl Opening<'_> {
    pub(super) fn open(
        mut self,
        checkpoints: CheckpointFiles,
        lock: Box<dyn StorageLock>,
    ) -> Result<Engine> {
        let config = self.config;
        let storage = &*config.storage;
        // What this open builds on must not go with the next power cut.
        checkpoints.sync()?;
        for dir in [&topics_dir(&config.dir), &config.dir] {
            storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        let (files, deleted) = self.topic_files()?;
        let ids = files.values().chain(deleted.values()).map(|file| file.id + 1);
        let next_topic_id = ids.fold(self.checkpoint.next_topic_id, |next: u64, id| next.max(id));
        if self.checkpoint.clean && !self.is_as_closed(&files)? {
            tracing::warn!(store = %config.dir.display(), "something was written after the close");
            self.checkpoint.clean = false;
        }
        let mut opened = self.open_topics(&files)?;
        let mut report = RecoveryReport { clean: self.checkpoint.clean, ..Default::default() };
        let reserve = Reserve::open(storage, &config.dir)?;
        let journal = self.recover(&opened, &reserve, &mut report)?;
        let epoch = self.begin_epoch(&mut opened);
        let checkpoint_len = self.checkpoint.encode().len() as u64;
        let published = self.secure_space(&opened, &checkpoints, checkpoint_len, &reserve)?;
        let mut open = BTreeMap::new();
        for (name, id, topic_config, partitions) in opened {
            let partitions = partitions
                .into_iter()
                .map(|p| finish_partition(&config.dir, p, &topic_config, &published).map(Arc::new))
                .collect::<Result<_>>()?;
            let topic = Topic { name: name.clone(), id, config: topic_config, partitions };
            open.insert(name, Arc::new(topic));
        }
        let engine = Engine {
            storage: Arc::clone(&config.storage),
            clock: Arc::clone(&config.clock),
            dir: config.dir.clone(),
            store_id: self.store_id,
            offsets: OffsetsCache::default(),
            groups: Coordinator::default(),
            deleting: RwLock::default(),
            signal: Signal::default(),
            topics: RwLock::new(open),
            topics_version: AtomicU64::new(0),
            side: Side::Writer(Box::new(Writer::new(WriterParts {
                durability: config.durability,
                recovery: report,
                published,
                reserve,
                journal: JournalSide {
                    journal,
                    checkpoints,
                    checkpoint_len,
                    generation: self.checkpoint.generation,
                    epoch,
                    boot_id: storage.boot_id().unwrap_or_default(),
                    next_topic_id,
                },
                checkpoint_bytes: config.journal_bytes,
                compaction_bytes_max: config.compaction_bytes_max,
                lock,
            }))),
        };
        self.finish(&engine, &files, &deleted)?;
        Ok(engine)
    }

    fn open_topics(&self, files: &TopicFiles) -> Result<Vec<OpenedTopic>> {
        let mut opened = Vec::new();
        for (name, file) in files {
            let config = Arc::new(TopicConfig::parse(&file.configs)?);
            let open = |n| self.open_partition(name, file.id, PartitionId::new(n), &config);
            let partitions = (0..file.partitions).map(open).collect::<Result<_>>()?;
            opened.push((name.clone(), file.id, config, partitions));
        }
        Ok(opened)
    }

    /// Makes what was opened durable, and then visible.
    fn finish(&self, engine: &Engine, files: &TopicFiles, deleted: &TopicFiles) -> Result<()> {
        // Before anything is visible: a second crash finds what this recovery has made.
        engine.checkpoint_now()?;
        engine.reveal()?;
        self.finish_deletions(files, deleted)?;
        engine.writer("open")?.reserve.keep(&*self.config.storage)?;
        engine.load_offsets()
    }

    /// Begins an epoch if the store was not closed. Returns the one that is current.
    fn begin_epoch(&self, opened: &mut [OpenedTopic]) -> LeaderEpoch {
        if self.checkpoint.clean {
            return self.checkpoint.epoch;
        }
        let epoch = self.checkpoint.epoch.next();
        for partition in opened.iter_mut().flat_map(|(.., partitions)| partitions) {
            let end = partition.segments.last().map_or(Offset::ZERO, |s| s.end_offset());
            partition.epochs.begin(epoch, end);
        }
        epoch
    }

    /// Secures what the files of the store itself may need until it is open.
    fn secure_space(
        &self,
        opened: &[OpenedTopic],
        checkpoints: &CheckpointFiles,
        checkpoint_len: u64,
        reserve: &Reserve,
    ) -> Result<Published> {
        let partitions = || opened.iter().flat_map(|(.., partitions)| partitions);
        let new = partitions().count().saturating_sub(self.checkpoint.partitions.len());
        // An unclean stop begins an epoch in each of them.
        let growth = checkpoint_growth(new, partitions().count(), new);
        reserve.lend(|| checkpoints.reserve(checkpoint_len + growth))?;
        let config = self.config;
        let open = || Published::open(&*config.storage, &config.dir, self.store_id);
        let published = reserve.lend(open)?;
        let keys = || partitions().map(|p| (p.place.topic_id, p.place.partition));
        reserve.lend(|| published.make_room(keys()))?;
        Ok(published)
    }

    /// Whether the files are as the close has left them that the checkpoint speaks of. If they are
    /// not, the checkpoint of a later session is damaged, and the journal is looked at.
    fn is_as_closed(&self, files: &TopicFiles) -> Result<bool> {
        let (storage, dir) = (&*self.config.storage, &self.config.dir);
        let mark = self.checkpoint.journal;
        if Journal::open(storage, &journal_path(dir), self.store_id, mark)?.goes_on()? {
            return Ok(false);
        }
        for (name, file) in files {
            for mark in self.checkpoint.partitions.iter().filter(|mark| mark.topic_id == file.id) {
                let Some(active) = mark.segments.last() else { continue };
                let topic_partition = TopicPartition::new(name.clone(), mark.partition);
                let dir = partition_dir(dir, &topic_partition);
                let Ok(segment) = Segment::open(storage, &dir, active, OpenMode::Read, 0) else {
                    continue;
                };
                if segment.file_len()? > u64::from(active.end.position) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The files of the topics that there are, and of those whose deletion was under way.
    fn topic_files(&self) -> Result<(TopicFiles, TopicFiles)> {
        let (storage, dir) = (&*self.config.storage, &self.config.dir);
        let (mut files, mut deleted) = (TopicFiles::new(), TopicFiles::new());
        let topics = topics_dir(dir);
        for name in storage.list(&topics).map_err(|e| Error::io("list", &topics, e))? {
            // A file that was not renamed to a topic's name in time is none.
            if let Some(topic) = parse_deleted_name(&name) {
                deleted.insert(topic, TopicFile::read(storage, dir, &name)?);
            } else if let Ok(topic) = TopicName::new(&name) {
                files.insert(topic, TopicFile::read(storage, dir, &name)?);
            }
        }
        // A topic whose file is gone is not forgotten: a deletion leaves one that says so.
        let is_known = |id: &u64| files.values().chain(deleted.values()).any(|f| f.id == *id);
        let mut ids = self.checkpoint.partitions.iter().map(|mark| mark.topic_id);
        match ids.find(|id| !is_known(id)) {
            None => Ok((files, deleted)),
            Some(id) => Err(Error::CorruptFile {
                path: topics,
                reason: format!("the file of the topic with id {id} is missing"),
            }),
        }
    }

    /// Goes on where deletions of topics were interrupted.
    fn finish_deletions(&self, files: &TopicFiles, deleted: &TopicFiles) -> Result<()> {
        let (storage, dir) = (&*self.config.storage, &self.config.dir);
        for (name, file) in deleted {
            if files.contains_key(name) {
                // It was created anew before the crash: the folders are the new one's.
                remove_if_there(storage, &topics_dir(dir).join(deleted_name(name)))?;
            } else {
                remove_topic_folders(storage, dir, name, file.partitions)?;
            }
        }
        Ok(())
    }

    fn open_partition(
        &self,
        name: &TopicName,
        topic_id: u64,
        partition: PartitionId,
        config: &TopicConfig,
    ) -> Result<OpenedPartition> {
        let storage = &*self.config.storage;
        let topic_partition = TopicPartition::new(name.clone(), partition);
        let dir = partition_dir(&self.config.dir, &topic_partition);
        let marks = &self.checkpoint.partitions;
        let known = marks.iter().find(|m| m.topic_id == topic_id && m.partition == partition);
        // A topic that no checkpoint knows was created right before a crash: it is empty.
        let mark = known
            .cloned()
            .unwrap_or_else(|| empty_mark(topic_id, partition, self.checkpoint.epoch));
        let place = Place { store_id: self.store_id, topic_id, partition };
        if known.is_none() {
            create_partition_files(storage, &dir)?;
        } else if !self.checkpoint.clean {
            self.check_unknown_segments(&dir, &place, &mark.segments)?;
        }
        let active = mark.segments.last().map_or(SegmentId::first(Offset::ZERO), |spec| spec.id);
        let (mut segments, mut damage) = (Vec::new(), None);
        for spec in &mark.segments {
            let interval = config.index_interval_bytes;
            let segment = match Segment::open(storage, &dir, spec, OpenMode::Write, interval) {
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::NotFound && spec.id != active =>
                {
                    Segment::missing(&dir, spec, interval)
                }
                opened => opened?,
            };
            if segment.file_len()? < u64::from(spec.end.position) {
                let found = Error::Corrupt {
                    topic_partition: topic_partition.clone(),
                    offset: spec.id.base,
                    path: segment.path().to_owned(),
                    position: segment.file_len()?,
                    reason: "the file is shorter than the checkpoint says".to_owned(),
                };
                if spec.id == active {
                    // Nobody knows where the partition goes on.
                    return Err(found);
                }
                tracing::error!(%found, "the partition takes no appends until it is repaired");
                damage.get_or_insert(found);
            }
            if self.checkpoint.clean || spec.id != active {
                segment.load_index(storage, &place);
                // Appends add to it only where it ends.
                if spec.id == active
                    && let Err(error) = segment.complete_index(&place, &topic_partition)
                {
                    // It is a cache: whoever reads the segment gets the error.
                    tracing::warn!(%topic_partition, %error, "an index was not completed");
                }
            } else {
                // It may speak of batches that the stop has taken.
                segment.drop_index(storage)?;
            }
            segments.push(Arc::new(segment));
        }
        if self.checkpoint.clean {
            // What was removed before the close may have come back with a power cut after it.
            let known: Vec<SegmentId> = segments.iter().map(|segment| segment.id()).collect();
            remove_segments(storage, &dir, |id| id.base < active.base && !known.contains(&id))?;
        }
        let (start, epochs) = (mark.start, mark.epochs);
        Ok(OpenedPartition { topic_partition, place, start, epochs, segments, damage })
    }

    /// Refuses to open by a checkpoint that is older than the data: a segment gets its first batch
    /// only when a checkpoint knows it, so that one must have been lost.
    fn check_unknown_segments(
        &self,
        dir: &Path,
        place: &Place,
        known: &[SegmentSpec],
    ) -> Result<()> {
        let storage = &*self.config.storage;
        let active = known.last().map_or(Offset::ZERO, |spec| spec.id.base);
        let names = storage.list(dir).map_err(|e| Error::io("list", dir, e))?;
        let ids = names.iter().filter_map(|name| SegmentId::parse_file_name(name));
        for id in ids.map(|(id, _)| id).filter(|id| id.base > active) {
            let spec = SegmentSpec { id, ..SegmentSpec::empty(id.base) };
            let Ok(segment) = Segment::open(storage, dir, &spec, OpenMode::Read, 0) else {
                continue;
            };
            if scan(&segment, SegmentEnd::default(), place)?.end != SegmentEnd::default() {
                let reason = format!(
                    "{} holds records that no whole checkpoint knows: a newer one is damaged",
                    segment.path().display()
                );
                return Err(Error::CorruptFile {
                    path: self.config.dir.join("checkpoint"),
                    reason,
                });
            }
        }
        Ok(())
    }

    /// Brings the active segments to what was acknowledged.
    fn recover(
        &self,
        opened: &[OpenedTopic],
        reserve: &Reserve,
        report: &mut RecoveryReport,
    ) -> Result<Journal> {
        let config = self.config;
        let mark = self.checkpoint.journal;
        let path = journal_path(&config.dir);
        let mut journal = Journal::open(&*config.storage, &path, self.store_id, mark)?;
        if journal.capacity() != self.checkpoint.journal_bytes {
            let (found, known) = (journal.capacity(), self.checkpoint.journal_bytes);
            let reason = format!("it has {found} bytes, and the checkpoint says {known}");
            return Err(Error::CorruptFile { path, reason });
        }
        if self.checkpoint.clean {
            return Ok(journal);
        }
        let mut recovering = BTreeMap::new();
        for (_, topic_id, topic_config, partitions) in opened {
            for partition in partitions {
                let Some(active) = partition.segments.last() else { continue };
                let key = (*topic_id, partition.topic_partition.partition);
                recovering.insert(
                    key,
                    Recovering {
                        topic_partition: partition.topic_partition.clone(),
                        place: partition.place,
                        segment: Arc::clone(active),
                        segment_bytes: topic_config.segment_bytes,
                        now: config.clock.now(),
                    },
                );
            }
        }
        // Where nothing tells one start of the machine from another, it counts as another.
        let boot_id = config.storage.boot_id().filter(|id| !id.is_empty());
        let same_boot = boot_id.is_some_and(|id| id == self.checkpoint.boot_id);
        let replay = journal.replay()?;
        // Before anything is cut: the next open is to find the same.
        let written = recovering.values().map(Recovering::written).collect::<Result<Vec<_>>>()?;
        let of_each = || recovering.values().zip(&written);
        match (self.checkpoint.redo, same_boot) {
            (redo @ (Redo::Journal | Redo::SyncedJournal), _) => {
                // What is in a segment was in the journal first: durable there, or at least in
                // the page cache, which has survived if the machine did not stop.
                let mut ends = of_each().zip(ends_after(&replay, &recovering));
                if (same_boot || redo == Redo::SyncedJournal)
                    && ends.any(|((partition, written), end)| partition.whole_end(written) > end)
                {
                    return Err(journal.lost());
                }
                // Durable before the segments have it: if they had more than the journal after a
                // second stop, that would be taken for a journal that has lost something.
                journal.write_back(&replay)?;
                recovering.values().try_for_each(Recovering::cut)?;
                apply(&journal, &replay, &recovering, reserve, report)?;
            }
            // The page cache has survived: all that was written is there, but for a torn end.
            (Redo::Segments, true) => {
                for (partition, written) in of_each() {
                    partition.keep_whole_batches(written)?;
                }
                apply(&journal, &replay, &recovering, reserve, report)?;
            }
            // Nobody knows what of the page cache reached the disk: the checkpoint did.
            (Redo::Segments, false) => recovering.values().try_for_each(Recovering::cut)?,
        }
        of_each().for_each(|(partition, written)| partition.report(written, report));
        for partition in opened.iter().flat_map(|(.., partitions)| partitions) {
            let known: Vec<SegmentId> = partition.segments.iter().map(|s| s.id()).collect();
            let dir = partition_dir(&config.dir, &partition.topic_partition);
            remove_unknown_segments(&*config.storage, &dir, &known)?;
        }
        tracing::info!(
            store = %config.dir.display(),
            entries = report.journal_entries,
            batches = report.batches_applied,
            torn = report.torn.len(),
            "recovered from a stop without a close"
        );
        Ok(journal)
    }
}

/// The journal's file.
pub(crate) fn journal_path(dir: &Path) -> PathBuf {
    dir.join("journal").join("journal.0")
}
