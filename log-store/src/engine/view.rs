//! Looking into a store while another process writes it: up to what that one has published.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::batch::Place;
use crate::clock::Clock;
use crate::config::TopicConfig;
use crate::engine::files::read_store_file;
use crate::engine::open::reader_side;
use crate::engine::state::{Engine, Side};
use crate::error::{Error, Result};
use crate::group::OffsetsCache;
use crate::partition::{Partition, PartitionParts, SegmentEntry, partition_dir};
use crate::published::{PublishedEnd, read_published};
use crate::segment::{Segment, SegmentEnd, SegmentFile, parse_file_name};
use crate::signal::Signal;
use crate::storage::{OpenMode, Storage};
use crate::topic::{Topic, TopicFile, topics_dir};
use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};

type Ends = BTreeMap<(u64, PartitionId), PublishedEnd>;

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
        signal: Signal::default(),
        topics: RwLock::new(BTreeMap::new()),
        side: reader_side(),
    };
    engine.refresh()?;
    Ok(engine)
}

impl Engine {
    /// Takes up what the writer has published since; nothing to do for the writer itself.
    pub(crate) fn refresh(&self) -> Result<()> {
        let Side::Reader(refreshing) = &self.side else { return Ok(()) };
        let _refreshing = refreshing.lock();
        let storage = &*self.storage;
        let published = read_published(storage, &self.dir, self.store_id)?;
        let ends: Ends = published.into_iter().map(|e| ((e.topic_id, e.partition), e)).collect();
        let dir = topics_dir(&self.dir);
        let mut topics = BTreeMap::new();
        for file_name in storage.list(&dir).map_err(|e| Error::io("list", &dir, e))? {
            let Ok(name) = TopicName::new(&file_name) else { continue };
            // A topic may be deleted while this looks.
            let Ok(file) = TopicFile::read(storage, &self.dir, &file_name) else { continue };
            let known = self.topics.read().get(&name).map(Arc::clone);
            let known = known.filter(|topic| topic.id == file.id);
            if let Some(topic) = self.refresh_topic(&name, &file, known.as_deref(), &ends)? {
                topics.insert(name, Arc::new(topic));
            }
        }
        *self.topics.write() = topics;
        self.load_offsets()
    }

    fn refresh_topic(
        &self,
        name: &TopicName,
        file: &TopicFile,
        known: Option<&Topic>,
        ends: &Ends,
    ) -> Result<Option<Topic>> {
        let config = Arc::new(TopicConfig::parse(&file.configs)?);
        let mut partitions = Vec::new();
        for number in 0..file.partitions {
            let partition = PartitionId::new(number);
            // Between a topic's file and its first publication there is nothing to see.
            let Some(end) = ends.get(&(file.id, partition)) else { return Ok(None) };
            let known = known.and_then(|topic| topic.partition(partition).ok());
            let topic_partition = TopicPartition::new(name.clone(), partition);
            partitions.push(match known.filter(|known| is_current(known, end)) {
                Some(known) => {
                    if let Some(active) = known.segments().last() {
                        active.segment.extend(end.segment_end);
                    }
                    Arc::clone(known)
                }
                None => match self.open_view(topic_partition, known, end, &config) {
                    Ok(partition) => Arc::new(partition),
                    Err(Error::Io { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                },
            });
        }
        Ok(Some(Topic { name: name.clone(), id: file.id, config, partitions }))
    }

    /// Opens the segments up to the published one. Those that are open already stay the same
    /// objects: readers are in the middle of them.
    fn open_view(
        &self,
        topic_partition: TopicPartition,
        known: Option<&Arc<Partition>>,
        published: &PublishedEnd,
        config: &Arc<TopicConfig>,
    ) -> Result<Partition> {
        let dir = partition_dir(&self.dir, &topic_partition);
        let names = self.storage.list(&dir).map_err(|e| Error::io("list", &dir, e))?;
        let logs = names.iter().filter_map(|name| parse_file_name(name));
        let mut bases: Vec<Offset> = logs
            .filter(|(base, file)| *file == SegmentFile::Log && *base <= published.segment_base)
            .map(|(base, _)| base)
            .collect();
        bases.sort_unstable();
        let open = known.map(|known| known.segments()).unwrap_or_default();
        let mut segments = Vec::new();
        for (index, &base) in bases.iter().enumerate() {
            let known = open.iter().find(|entry| entry.segment.base() == base);
            let segment = match known {
                Some(entry) => Arc::clone(&entry.segment),
                None => Arc::new(self.open_segment(&dir, base, config)?),
            };
            let end = match bases.get(index + 1) {
                None => published.segment_end,
                Some(next) => SegmentEnd {
                    relative_offset: u32::try_from(*next - base).unwrap_or(u32::MAX),
                    position: u32::try_from(segment.file_len()?).unwrap_or(u32::MAX),
                },
            };
            segment.extend(end);
            segment.load_index(&*self.storage);
            let append_time = Timestamp::from_millis(i64::MIN);
            segments.push(SegmentEntry { segment, append_time });
        }
        if segments.is_empty() {
            return Err(Error::io("open", &dir, std::io::ErrorKind::NotFound.into()));
        }
        Ok(Partition::new(PartitionParts {
            place: Place {
                store_id: self.store_id,
                topic_id: published.topic_id,
                partition: topic_partition.partition,
            },
            topic_partition,
            dir,
            config: Arc::clone(config),
            start: published.start,
            segments,
            slot: None,
        }))
    }

    fn open_segment(&self, dir: &Path, base: Offset, config: &TopicConfig) -> Result<Segment> {
        let end = SegmentEnd::default();
        let interval = config.index_interval_bytes;
        Segment::open(&*self.storage, dir, base, end, OpenMode::Read, interval)
    }
}

/// Whether only the end of the active segment may have moved.
fn is_current(known: &Partition, end: &PublishedEnd) -> bool {
    let segments = known.segments();
    let active = segments.last().map(|entry| entry.segment.base());
    known.start() == end.start && active == Some(end.segment_base)
}
