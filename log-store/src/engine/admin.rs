//! Topics come and go, and partitions lose their oldest records.

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::checkpoint_growth;
use crate::config::{Durability, TopicConfig};
use crate::engine::checkpoints::Kind;
use crate::engine::partition_files::{
    create_partition_files, new_partition, remove_if_there, remove_topic_folders,
};
use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::log::{NewTopic, Watermarks};
use crate::partition::{Partition, partition_dir};
use crate::topic::{Topic, TopicFile, deleted_name, topics_dir};
use crate::types::{CONSUMER_OFFSETS_TOPIC, Offset, PartitionId, TopicName, TopicPartition};

/// The most partitions that a topic may have: each is a folder and an open file.
pub(super) const PARTITIONS_MAX: u32 = 100_000;

impl Engine {
    /// Creates a topic. Once this returns, it survives any crash.
    pub(crate) fn create_topic(&self, new: &NewTopic) -> Result<()> {
        let writer = self.writer("create_topic")?;
        writer.check("create_topic")?;
        let name = TopicName::new(&new.name)?;
        if new.partitions == 0 || new.partitions > PARTITIONS_MAX {
            return Err(Error::InvalidConfig {
                key: "partitions".to_owned(),
                value: new.partitions.to_string(),
                reason: format!("a topic has from 1 to {PARTITIONS_MAX}"),
            });
        }
        let config = Arc::new(TopicConfig::parse(&new.configs)?);
        let _admin = writer.admin.lock();
        writer.check("create_topic")?;
        if self.topics.read().contains_key(&name) {
            return Err(Error::TopicExists { topic: name });
        }
        let id = {
            let mut side = writer.journal.lock();
            let partitions = new.partitions as usize;
            Self::make_room(&side, checkpoint_growth(partitions, partitions, partitions))?;
            side.next_topic_id += 1;
            side.next_topic_id - 1
        };
        let file = TopicFile { id, partitions: new.partitions, configs: new.configs.clone() };
        let topic = self.create_files(writer, &name, &file, &config);
        let topic = topic.map_err(|error| writer.poison_after_sync(error))?;
        // Before the first append, which nobody can make yet: what no checkpoint knows is empty
        // after a crash.
        let mut side = writer.journal.lock();
        let written = self.checkpoint(writer, &mut side, Kind::WithTopic(&topic));
        written.map_err(|error| writer.poison(&error))?;
        self.put_topic(topic);
        Ok(())
    }

    fn create_files(
        &self,
        writer: &Writer,
        name: &TopicName,
        file: &TopicFile,
        config: &Arc<TopicConfig>,
    ) -> Result<Topic> {
        let storage = &*self.storage;
        // An earlier topic of this name may not be wholly gone; the new one must not go with it.
        remove_if_there(storage, &topics_dir(&self.dir).join(deleted_name(name)))?;
        let all = 0..file.partitions;
        let partitions = self.create_partition_range(writer, name, file.id, all, config)?;
        // Last of all that may find the disk full: with its file the topic exists.
        file.write(storage, &self.dir, name)?;
        Ok(Topic { name: name.clone(), id: file.id, config: Arc::clone(config), partitions })
    }

    /// Makes new partitions of a topic, which nobody sees yet.
    pub(super) fn create_partition_range(
        &self,
        writer: &Writer,
        name: &TopicName,
        topic_id: u64,
        numbers: Range<u32>,
        config: &Arc<TopicConfig>,
    ) -> Result<Vec<Arc<Partition>>> {
        let storage = &*self.storage;
        let all = numbers.map(|n| TopicPartition::new(name.clone(), PartitionId::new(n)));
        let all: Vec<_> = all.collect();
        for topic_partition in &all {
            create_partition_files(storage, &partition_dir(&self.dir, topic_partition))?;
        }
        storage.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))?;
        let published = &writer.published;
        let epoch = writer.journal.lock().epoch;
        let open = |tp| new_partition(self, published, tp, topic_id, epoch, config).map(Arc::new);
        all.into_iter().map(open).collect()
    }

    /// Deletes a topic. From the moment its file has another name, it does not come back.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<()> {
        let writer = self.writer("delete_topic")?;
        let _admin = writer.admin.lock();
        writer.check("delete_topic")?;
        let topic = self.topic(name)?;
        if name == CONSUMER_OFFSETS_TOPIC {
            return Err(Error::InvalidState {
                operation: "delete_topic",
                reason: format!("{name} holds the committed offsets of all groups"),
            });
        }
        // An offset that cannot be read now would be there when a repair has made it readable.
        self.offsets.check()?;
        let _deleting = Deleting::begin(self, &topic.name);
        let removals = self.offsets.removals(&topic.name);
        if !removals.is_empty() {
            // What frees space must not fail for want of it.
            writer.reserve.lend(|| self.commit_offsets(&removals))?;
        }
        if writer.durability != Durability::Sync {
            // No power cut may bring offsets back that were removed, now or before, once the topic
            // is gone: the next one of that name would begin there.
            self.checkpoint_now()?;
        }
        for partition in &topic.partitions {
            partition.appender.lock().closed = true;
        }
        self.drain(writer)?;
        self.forget(writer, &topic).map_err(|error| writer.poison(&error))?;
        self.signal.notify();
        // A compaction that is under way ends when it sees that the topic is gone.
        for partition in &topic.partitions {
            drop(partition.compacting.lock());
        }
        remove_topic_folders(&*self.storage, &self.dir, &topic.name, topic.partition_count())
    }

    fn forget(&self, writer: &Writer, topic: &Topic) -> Result<()> {
        let topics = topics_dir(&self.dir);
        let from = topics.join(topic.name.as_str());
        let to = topics.join(deleted_name(&topic.name));
        let mut side = writer.journal.lock();
        self.storage.rename(&from, &to).map_err(|e| Error::io("rename", &from, e))?;
        self.storage.sync_dir(&topics).map_err(|e| Error::io("sync", &topics, e))?;
        self.remove_topic(&topic.name);
        self.checkpoint(writer, &mut side, Kind::Plain)
    }

    /// Moves the log start offset up to `before` and drops the segments that lie wholly below.
    pub(crate) fn delete_records(&self, partition: &Partition, before: Offset) -> Result<()> {
        let writer = self.writer("delete_records")?;
        let _admin = writer.admin.lock();
        writer.check("delete_records")?;
        let Watermarks { start, end } = partition.watermarks();
        if before > end {
            let topic_partition = partition.topic_partition.clone();
            return Err(Error::OffsetOutOfRange { topic_partition, offset: before, start, end });
        }
        if before <= start {
            return Ok(());
        }
        partition.raise_start(before);
        self.drop_before_start(writer, partition)
    }

    /// Drops the sealed segments that lie wholly below the log start offset. The caller has `admin`
    /// locked.
    pub(super) fn drop_before_start(&self, writer: &Writer, partition: &Partition) -> Result<()> {
        let gone = {
            let mut side = writer.journal.lock();
            let gone = partition.take_segments_before_start();
            self.checkpoint(writer, &mut side, Kind::Plain)
                .map_err(|error| writer.poison(&error))?;
            gone
        };
        partition.announce(&writer.published, &partition.active());
        let removed = self.remove_segments(partition, &gone);
        removed.map_err(|error| writer.poison_after_sync(error))
    }
}

/// While it lives, no offsets of a topic are committed.
struct Deleting<'a> {
    engine: &'a Engine,
    topic: TopicName,
}

impl<'a> Deleting<'a> {
    /// Waits for commits that are under way.
    fn begin(engine: &'a Engine, topic: &TopicName) -> Self {
        engine.deleting.write().insert(topic.clone());
        Self { engine, topic: topic.clone() }
    }
}

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        self.engine.deleting.write().remove(&self.topic);
    }
}
