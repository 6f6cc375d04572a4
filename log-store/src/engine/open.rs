//! Creating and opening a store as its one writer.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::batch::Place;
use crate::checkpoint::{Checkpoint, CheckpointFiles, PartitionMark, Redo};
use crate::clock::Clock;
use crate::config::{Durability, TopicConfig};
use crate::engine::files::{read_store_file, write_store_file};
use crate::engine::recovery::{Recovering, RecoveryReport, apply};
use crate::engine::state::{Engine, JournalSide, Side, Writer, WriterParts};
use crate::error::{Error, Result};
use crate::group::OffsetsCache;
use crate::journal::{EntryWriter, Journal, JournalMark};
use crate::partition::{Partition, PartitionParts, partition_dir};
use crate::published::{Published, PublishedEnd};
use crate::segment::{Segment, SegmentEnd, SegmentId, SegmentSpec};
use crate::signal::Signal;
use crate::storage::{OpenMode, Storage, StorageLock};
use crate::topic::{Topic, TopicFile, topics_dir};
use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};

/// What a folder that is on its way out is renamed to first.
pub(super) const DELETED_SUFFIX: &str = "-delete";

/// How to open a store.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) journal_bytes: u64,
    pub(crate) create: bool,
}

/// A partition as its files are, before it is open to anybody.
struct OpenedPartition {
    topic_partition: TopicPartition,
    place: Place,
    start: Offset,
    segments: Vec<Arc<Segment>>,
}

/// Opens the store in the folder; creates it if there is none and the config says so.
pub(crate) fn create_or_open(config: EngineConfig) -> Result<Engine> {
    let storage = &*config.storage;
    let dir = &config.dir;
    let exists = read_store_file(storage, dir)?;
    if exists.is_none() && !config.create {
        return Err(Error::NoStore { path: dir.clone() });
    }
    create_store_dir(storage, dir)?;
    let lock = lock(&config)?;
    // Only what is read under the lock counts.
    let store_id = match read_store_file(storage, dir)? {
        Some(store_id) => store_id,
        None => create(&config)?,
    };
    let checkpoints = CheckpointFiles::open(storage, dir, OpenMode::Write)?;
    let checkpoint = checkpoints.read()?;
    Opening { config: &config, store_id, checkpoint }.open(checkpoints, lock)
}

fn lock(config: &EngineConfig) -> Result<Box<dyn StorageLock>> {
    let path = config.dir.join("store.lock");
    let since = config.clock.now();
    let holder = format!("process {} since {since} ms after 1970", std::process::id());
    config.storage.lock(&path, &holder).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Locked { path: config.dir.clone(), holder: error.to_string() }
        }
        _ => Error::io("lock", &path, error),
    })
}

/// Makes the store's folder, and durable that it is there: each new folder is a name in another.
fn create_store_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let is_missing = |dir: &&Path| {
        let listed = storage.list(dir);
        listed.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let ancestors = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = ancestors.take_while(is_missing).collect();
    storage.create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    for created in missing {
        let parent = created.parent().unwrap_or(Path::new(""));
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        storage.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))?;
    }
    Ok(())
}

fn create(config: &EngineConfig) -> Result<u128> {
    let storage = &*config.storage;
    let dir = &config.dir;
    for sub in [dir.join("journal"), topics_dir(dir)] {
        storage.create_dir(&sub).map_err(|e| Error::io("create", &sub, e))?;
    }
    let store_id = random_id(config.clock.now());
    Journal::create(storage, &journal_path(dir), config.journal_bytes)?;
    let journal_dir = dir.join("journal");
    storage.sync_dir(&journal_dir).map_err(|e| Error::io("sync", &journal_dir, e))?;
    CheckpointFiles::open(storage, dir, OpenMode::Create)?.write(&Checkpoint {
        generation: 1,
        clean: true,
        redo: Redo::Journal,
        epoch: 0,
        boot_id: storage.boot_id().unwrap_or_default(),
        journal: JournalMark { position: 0, sequence: 1, durable_sequence: 0 },
        next_topic_id: 1,
        partitions: Vec::new(),
    })?;
    write_store_file(storage, dir, store_id)?;
    Ok(store_id)
}

/// Tells stores apart; nothing depends on it being hard to guess. The standard library's hasher
/// is seeded by the system.
fn random_id(now: Timestamp) -> u128 {
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_i64(now.as_millis());
        u128::from(hasher.finish())
    };
    half() << 64 | half()
}

fn journal_path(dir: &Path) -> PathBuf {
    dir.join("journal").join("journal.0")
}

struct Opening<'a> {
    config: &'a EngineConfig,
    store_id: u128,
    checkpoint: Checkpoint,
}

impl Opening<'_> {
    fn open(self, checkpoints: CheckpointFiles, lock: Box<dyn StorageLock>) -> Result<Engine> {
        let config = self.config;
        let storage = &*config.storage;
        self.remove_deleted()?;
        let mut files = BTreeMap::new();
        for name in storage
            .list(&topics_dir(&config.dir))
            .map_err(|e| Error::io("list", &topics_dir(&config.dir), e))?
        {
            // A file that was not renamed to a topic's name in time is none.
            if let Ok(topic) = TopicName::new(&name) {
                files.insert(topic, TopicFile::read(storage, &config.dir, &name)?);
            }
        }
        let next_topic_id = files
            .values()
            .map(|file| file.id + 1)
            .fold(self.checkpoint.next_topic_id, |next: u64, id| next.max(id));
        let mut opened = Vec::new();
        for (name, file) in &files {
            let topic_config = Arc::new(TopicConfig::parse(&file.configs)?);
            let mut partitions = Vec::new();
            for number in 0..file.partitions {
                let partition = PartitionId::new(number);
                partitions.push(self.open_partition(name, file.id, partition, &topic_config)?);
            }
            opened.push((name.clone(), file.id, topic_config, partitions));
        }
        let mut report = RecoveryReport { clean: self.checkpoint.clean, ..Default::default() };
        let journal = self.recover(&opened, &mut report)?;
        let published = Published::create(storage, &config.dir, self.store_id)?;
        let mut topics = BTreeMap::new();
        for (name, id, topic_config, partitions) in opened {
            let partitions = partitions
                .into_iter()
                .map(|p| finish_partition(&config.dir, p, &topic_config, &published).map(Arc::new))
                .collect::<Result<_>>()?;
            let topic = Topic { name: name.clone(), id, config: topic_config, partitions };
            topics.insert(name, Arc::new(topic));
        }
        let engine = Engine {
            storage: Arc::clone(&config.storage),
            clock: Arc::clone(&config.clock),
            dir: config.dir.clone(),
            store_id: self.store_id,
            offsets: OffsetsCache::default(),
            signal: Signal::default(),
            topics: RwLock::new(topics),
            side: Side::Writer(Box::new(Writer::new(WriterParts {
                durability: config.durability,
                recovery: report,
                published,
                journal: JournalSide {
                    journal,
                    entry: EntryWriter::default(),
                    checkpoints,
                    generation: self.checkpoint.generation,
                    epoch: self.checkpoint.epoch + u32::from(!self.checkpoint.clean),
                    boot_id: storage.boot_id().unwrap_or_default(),
                    next_topic_id,
                },
                checkpoint_bytes: config.journal_bytes,
                lock,
            }))),
        };
        // Before anything is visible: a second crash finds what this recovery has made.
        engine.checkpoint_now()?;
        engine.load_offsets()?;
        Ok(engine)
    }

    /// Finishes the removal of folders that were on their way out.
    fn remove_deleted(&self) -> Result<()> {
        let (storage, dir) = (&*self.config.storage, &self.config.dir);
        let names = storage.list(dir).map_err(|e| Error::io("list", dir, e))?;
        for name in names.iter().filter(|name| name.ends_with(DELETED_SUFFIX)) {
            let path = dir.join(name);
            storage.remove_dir(&path).map_err(|e| Error::io("remove", &path, e))?;
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
        let mark = known.cloned().unwrap_or_else(|| empty_mark(topic_id, partition));
        if known.is_none() {
            create_partition_files(storage, &dir)?;
        } else if !self.checkpoint.clean {
            remove_unknown_segments(storage, &dir, &mark.segments)?;
        }
        let mut segments = Vec::new();
        for spec in &mark.segments {
            let interval = config.index_interval_bytes;
            let segment = Segment::open(storage, &dir, spec, OpenMode::Write, interval)?;
            if segment.file_len()? < u64::from(spec.end.position) {
                return Err(Error::Corrupt {
                    topic_partition,
                    offset: spec.id.base,
                    path: segment.path().to_owned(),
                    position: segment.file_len()?,
                    reason: "the file is shorter than the checkpoint says".to_owned(),
                });
            }
            segment.load_index(storage);
            segments.push(Arc::new(segment));
        }
        let place = Place { store_id: self.store_id, topic_id, partition };
        Ok(OpenedPartition { topic_partition, place, start: mark.start, segments })
    }

    /// Brings the active segments to what was acknowledged.
    fn recover(
        &self,
        opened: &[(TopicName, u64, Arc<TopicConfig>, Vec<OpenedPartition>)],
        report: &mut RecoveryReport,
    ) -> Result<Journal> {
        let config = self.config;
        let mark = self.checkpoint.journal;
        let path = journal_path(&config.dir);
        let mut journal = Journal::open(&*config.storage, &path, self.store_id, mark)?;
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
        let same_boot = config.storage.boot_id().unwrap_or_default() == self.checkpoint.boot_id;
        let replay = journal.replay()?;
        match (self.checkpoint.redo, same_boot) {
            (Redo::Journal, _) => {
                recovering.values().try_for_each(Recovering::cut)?;
                apply(&replay, &recovering, report)?;
            }
            // The page cache has survived: all that was written is there, but for a torn end.
            (Redo::Segments, true) => {
                for partition in recovering.values() {
                    partition.keep_whole_batches(report)?;
                }
                apply(&replay, &recovering, report)?;
            }
            // Nobody knows what of the page cache reached the disk: the checkpoint did.
            (Redo::Segments, false) => recovering.values().try_for_each(Recovering::cut)?,
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

/// The mark of a partition that nothing was ever written to.
fn empty_mark(topic_id: u64, partition: PartitionId) -> PartitionMark {
    let segments = vec![SegmentSpec::empty(Offset::ZERO)];
    PartitionMark { topic_id, partition, start: Offset::ZERO, segments }
}

/// Makes the folder of a new partition with its first segment. What lies there from a topic that
/// never came to be is removed.
pub(super) fn create_partition_files(storage: &dyn Storage, dir: &Path) -> Result<()> {
    storage.create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    remove_unknown_segments(storage, dir, &[])?;
    Segment::open(storage, dir, &SegmentSpec::empty(Offset::ZERO), OpenMode::Create, 0)?;
    storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

/// Removes segment files that the checkpoint does not know: they never held anything that was
/// acknowledged, or it is in others by now.
fn remove_unknown_segments(storage: &dyn Storage, dir: &Path, known: &[SegmentSpec]) -> Result<()> {
    let names = storage.list(dir).map_err(|e| Error::io("list", dir, e))?;
    for name in names {
        let Some((id, _)) = SegmentId::parse_file_name(&name) else { continue };
        if !known.iter().any(|segment| segment.id == id) {
            let path = dir.join(&name);
            storage.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn finish_partition(
    dir: &Path,
    opened: OpenedPartition,
    config: &Arc<TopicConfig>,
    published: &Published,
) -> Result<Partition> {
    let active = opened.segments.last();
    let end = PublishedEnd {
        topic_id: opened.place.topic_id,
        partition: opened.place.partition,
        start: opened.start,
        segment_base: active.map_or(Offset::ZERO, |segment| segment.base()),
        segment_end: active.map_or(SegmentEnd::default(), |segment| segment.end()),
    };
    Ok(Partition::new(PartitionParts {
        dir: partition_dir(dir, &opened.topic_partition),
        topic_partition: opened.topic_partition,
        place: opened.place,
        config: Arc::clone(config),
        start: opened.start,
        segments: opened.segments,
        slot: Some(published.add(&end)?),
    }))
}

/// A partition that was just created by [`create_partition_files`].
pub(super) fn new_partition(
    engine: &Engine,
    published: &Published,
    topic_partition: TopicPartition,
    topic_id: u64,
    config: &Arc<TopicConfig>,
) -> Result<Partition> {
    let dir = partition_dir(&engine.dir, &topic_partition);
    let empty = SegmentSpec::empty(Offset::ZERO);
    let interval = config.index_interval_bytes;
    let segment = Segment::open(&*engine.storage, &dir, &empty, OpenMode::Write, interval)?;
    let partition = topic_partition.partition;
    let opened = OpenedPartition {
        topic_partition,
        place: Place { store_id: engine.store_id, topic_id, partition },
        start: Offset::ZERO,
        segments: vec![Arc::new(segment)],
    };
    finish_partition(&engine.dir, opened, config, published)
}

/// The side of a store that only looks on.
pub(super) fn reader_side() -> Side {
    Side::Reader(Mutex::new(()))
}
