//! Looking into a store while another process writes it: up to what that one has published.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use crate::batch::Place;
use crate::checkpoint::{CheckpointFiles, PartitionMark};
use crate::clock::Clock;
use crate::config::TopicConfig;
use crate::engine::files::read_store_file;
use crate::engine::state::{Engine, Side};
use crate::epochs::EpochHistory;
use crate::error::{Error, Result};
use crate::group::{Coordinator, OffsetsCache};
use crate::partition::{Partition, PartitionParts, partition_dir};
use crate::published::{PublishedEnd, read_published};
use crate::segment::{Segment, SegmentSpec};
use crate::signal::Signal;
use crate::storage::{OpenMode, Storage};
use crate::topic::{Topic, TopicFile, topics_dir};
use crate::types::{PartitionId, TopicName, TopicPartition};

/// Opens the store in the folder without a lock and without writing anything.
pub(crate) fn open_read_only(
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    dir: &Path,
) -> Result<Engine> {
    let Some(store_id) = read_store_file(&*storage, dir)? else {
        return Err(Error::NoStore { path: dir.to_owned() });
    };
    let engine = Engine {
        storage,
        clock,
        dir: dir.to_owned(),
        store_id,
        offsets: OffsetsCache::default(),
        groups: Coordinator::default(),
        deleting: RwLock::default(),
        signal: Signal::default(),
        topics: RwLock::new(BTreeMap::new()),
        topics_version: AtomicU64::new(0),
        side: Side::Reader(Mutex::new(())),
    };
    engine.refresh()?;
    Ok(engine)
}

/// How often a look is taken again when the writer changed the files in the middle of one.
const REFRESH_ATTEMPTS: usize = 20;

/// What the writer's files say at one moment.
struct Seen {
    /// By topic id and partition: how far it is published.
    ends: BTreeMap<(u64, PartitionId), PublishedEnd>,
    /// By topic id and partition: what the checkpoint says.
    marks: BTreeMap<(u64, PartitionId), PartitionMark>,
}

/// What looking at a topic gives.
enum Look {
    /// The topic as it is now.
    Topic(Topic),
    /// Not there yet, or not there any more.
    Nothing,
    /// The files changed while they were looked at.
    Changed,
}

impl Engine {
    /// Takes up what the writer has published since; nothing to do for the writer itself.
    pub(crate) fn refresh(&self) -> Result<()> {
        let Side::Reader(refreshing) = &self.side else { return Ok(()) };
        let _refreshing = refreshing.lock();
        for _ in 0..REFRESH_ATTEMPTS {
            if self.look()? {
                break;
            }
        }
        self.load_offsets()
    }

    /// Looks at all topics; false if some changed in the middle and are as they were before.
    fn look(&self) -> Result<bool> {
        let storage = &*self.storage;
        // First how far, then what there is: the files hold at least what was published.
        let published = read_published(storage, &self.dir, self.store_id)?;
        let checkpoint = CheckpointFiles::open(storage, &self.dir, OpenMode::Read)?.read()?;
        let marks = checkpoint.partitions.into_iter();
        let seen = Seen {
            ends: published.into_iter().map(|e| ((e.topic_id, e.partition), e)).collect(),
            marks: marks.map(|mark| ((mark.topic_id, mark.partition), mark)).collect(),
        };
        let dir = topics_dir(&self.dir);
        let mut whole = true;
        let mut topics = BTreeMap::new();
        for file_name in storage.list(&dir).map_err(|e| Error::io("list", &dir, e))? {
            let Ok(name) = TopicName::new(&file_name) else { continue };
            let file = match TopicFile::read(storage, &self.dir, &file_name) {
                // A topic may be deleted while this looks.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
                read => read?,
            };
            let known = self.topics.read().get(&name).map(Arc::clone);
            let known = known.filter(|topic| topic.id == file.id);
            match self.look_at(&name, &file, known.as_deref(), &seen)? {
                Look::Topic(topic) => drop(topics.insert(name, Arc::new(topic))),
                Look::Nothing => {}
                Look::Changed => {
                    whole = false;
                    topics.extend(known.map(|known| (name, known)));
                }
            }
        }
        *self.topics.write() = topics;
        Ok(whole)
    }

    fn look_at(
        &self,
        name: &TopicName,
        file: &TopicFile,
        known: Option<&Topic>,
        seen: &Seen,
    ) -> Result<Look> {
        let config = Arc::new(TopicConfig::parse(&file.configs)?);
        let mut partitions = Vec::new();
        for number in 0..file.partitions {
            let partition = PartitionId::new(number);
            // Between a topic's file and its first publication there is nothing to see.
            let Some(end) = seen.ends.get(&(file.id, partition)) else { return Ok(Look::Nothing) };
            let known = known.and_then(|topic| topic.partition(partition).ok());
            let topic_partition = TopicPartition::new(name.clone(), partition);
            let mark = seen.marks.get(&(file.id, partition));
            let specs = mark.map_or(&[][..], |mark| &mark.segments);
            let specs = published_segments(specs, end);
            let epochs = mark.map(|mark| mark.epochs.clone()).unwrap_or_default();
            partitions.push(match known.filter(|known| is_current(known, end, &specs)) {
                Some(known) => {
                    if let Some(active) = known.segments().last() {
                        active.extend(end.segment_end);
                    }
                    Arc::clone(known)
                }
                None => {
                    match self.open_view(topic_partition, known, end, (&specs, epochs), &config) {
                        Ok(Some(partition)) => Arc::new(partition),
                        Ok(None) => return Ok(Look::Changed),
                        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                            return Ok(Look::Changed);
                        }
                        Err(error) => return Err(error),
                    }
                }
            });
        }
        Ok(Look::Topic(Topic { name: name.clone(), id: file.id, config, partitions }))
    }

    /// Opens the segments up to the published one. Those that are open already stay the same
    /// objects: readers are in the middle of them. `None` if the checkpoint is of another moment
    /// than the publication.
    fn open_view(
        &self,
        topic_partition: TopicPartition,
        known: Option<&Arc<Partition>>,
        published: &PublishedEnd,
        (specs, epochs): (&[SegmentSpec], EpochHistory),
        config: &Arc<TopicConfig>,
    ) -> Result<Option<Partition>> {
        let has_active = specs.last().map(|spec| spec.id.base) == Some(published.segment_base);
        if !has_active {
            return Ok(None);
        }
        let dir = partition_dir(&self.dir, &topic_partition);
        let open = known.map(|known| known.segments()).unwrap_or_default();
        let place = Place {
            store_id: self.store_id,
            topic_id: published.topic_id,
            partition: topic_partition.partition,
        };
        let mut segments = Vec::new();
        for spec in specs {
            let segment = match open.iter().find(|segment| segment.id() == spec.id) {
                Some(segment) => Arc::clone(segment),
                None => {
                    let interval = config.index_interval_bytes;
                    let mode = OpenMode::Read;
                    Arc::new(Segment::open(&*self.storage, &dir, spec, mode, interval)?)
                }
            };
            segment.extend(spec.end);
            segment.load_index(&*self.storage, &place);
            segments.push(segment);
        }
        Ok(Some(Partition::new(PartitionParts {
            place,
            topic_partition,
            dir,
            config: Arc::clone(config),
            start: published.start,
            epochs,
            segments,
            damage: None,
            slot: None,
        })))
    }
}

/// The segments of a checkpoint up to the one that is published as active, which goes as far as
/// it is published.
fn published_segments(specs: &[SegmentSpec], published: &PublishedEnd) -> Vec<SegmentSpec> {
    let up_to = specs.iter().filter(|spec| spec.id.base <= published.segment_base);
    let mut specs: Vec<SegmentSpec> = up_to.copied().collect();
    if let Some(active) = specs.last_mut() {
        active.end = published.segment_end;
    }
    specs
}

/// Whether only the end of the active segment may have moved.
fn is_current(known: &Partition, end: &PublishedEnd, specs: &[SegmentSpec]) -> bool {
    let known_ids = known.segments().into_iter().map(|segment| segment.id());
    known.start() == end.start && known_ids.eq(specs.iter().map(|spec| spec.id))
}
