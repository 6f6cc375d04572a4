//! The files of a partition: made, looked over, and put together into a partition that is open.

use std::path::Path;
use std::sync::Arc;

use crate::batch::Place;
use crate::checkpoint::PartitionMark;
use crate::config::TopicConfig;
use crate::engine::state::Engine;
use crate::epochs::EpochHistory;
use crate::error::{Error, Result};
use crate::partition::{Partition, PartitionParts, partition_dir};
use crate::published::{Published, PublishedEnd};
use crate::segment::{Segment, SegmentEnd, SegmentId, SegmentSpec};
use crate::storage::{OpenMode, Storage};
use crate::topic::{deleted_name, topics_dir};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicName, TopicPartition};

/// A partition as its files are, before it is open to anybody.
pub(super) struct OpenedPartition {
    pub(super) topic_partition: TopicPartition,
    pub(super) place: Place,
    pub(super) start: Offset,
    pub(super) epochs: EpochHistory,
    pub(super) segments: Vec<Arc<Segment>>,
    /// What is wrong with a sealed one.
    pub(super) damage: Option<Error>,
}

/// The mark of a partition that nothing was ever written to.
pub(crate) fn empty_mark(
    topic_id: u64,
    partition: PartitionId,
    epoch: LeaderEpoch,
) -> PartitionMark {
    let segments = vec![SegmentSpec::empty(Offset::ZERO)];
    let epochs = EpochHistory::new(epoch, Offset::ZERO);
    PartitionMark { topic_id, partition, start: Offset::ZERO, epochs, segments }
}

/// Makes the folder of a new partition with its first segment. What lies there from a topic that
/// never came to be is removed.
pub(super) fn create_partition_files(storage: &dyn Storage, dir: &Path) -> Result<()> {
    storage.create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    let empty = SegmentSpec::empty(Offset::ZERO);
    // The first segment is emptied and not made anew: an open on a full disk can do that.
    remove_unknown_segments(storage, dir, &[empty.id])?;
    Segment::open(storage, dir, &empty, OpenMode::Create, 0)?.trim()?;
    storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

/// Removes segment files that the checkpoint does not know: they never held anything that was
/// acknowledged, or it is in others by now.
pub(super) fn remove_unknown_segments(
    storage: &dyn Storage,
    dir: &Path,
    known: &[SegmentId],
) -> Result<()> {
    remove_segments(storage, dir, |id| !known.contains(&id))
}

/// Removes the files of the segments that `is_gone` names, durably.
pub(super) fn remove_segments(
    storage: &dyn Storage,
    dir: &Path,
    is_gone: impl Fn(SegmentId) -> bool,
) -> Result<()> {
    let names = storage.list(dir).map_err(|e| Error::io("list", dir, e))?;
    let mut removed = false;
    for name in names {
        let Some((id, _)) = SegmentId::parse_file_name(&name) else { continue };
        if is_gone(id) {
            let path = dir.join(&name);
            storage.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
            removed = true;
        }
    }
    if removed {
        storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    }
    Ok(())
}

/// Removes a file, which may be gone already.
pub(super) fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Removes what is left of a deleted topic, and last the file that says so. If this is
/// interrupted, the next open goes on.
pub(super) fn remove_topic_folders(
    storage: &dyn Storage,
    dir: &Path,
    name: &TopicName,
    partitions: u32,
) -> Result<()> {
    for number in 0..partitions {
        let topic_partition = TopicPartition::new(name.clone(), PartitionId::new(number));
        let path = partition_dir(dir, &topic_partition);
        match storage.remove_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, error));
            }
            _ => {}
        }
    }
    // The folders must not come back after the file that would have them removed is gone.
    storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    remove_if_there(storage, &topics_dir(dir).join(deleted_name(name)))
}

pub(super) fn finish_partition(
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
        epochs: opened.epochs,
        segments: opened.segments,
        damage: opened.damage,
        slot: Some(published.add(&end)?),
    }))
}

/// A partition that was just created by [`create_partition_files`].
pub(super) fn new_partition(
    engine: &Engine,
    published: &Published,
    topic_partition: TopicPartition,
    topic_id: u64,
    epoch: LeaderEpoch,
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
        epochs: EpochHistory::new(epoch, Offset::ZERO),
        segments: vec![Arc::new(segment)],
        damage: None,
    };
    finish_partition(&engine.dir, opened, config, published)
}
