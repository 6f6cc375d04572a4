//! Topics come and go, and partitions lose their oldest records.

use std::sync::Arc;

use crate::config::TopicConfig;
use crate::engine::opening::DELETED_SUFFIX;
use crate::engine::partition_files::{create_partition_files, new_partition};
use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::log::{NewTopic, Watermarks};
use crate::partition::{Partition, partition_dir};
use crate::topic::{Topic, TopicFile, topics_dir};
use crate::types::{Offset, PartitionId, TopicName, TopicPartition};

/// The most partitions that a topic may have: each is a folder and an open file.
const PARTITIONS_MAX: u32 = 100_000;

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
        if self.topics.read().contains_key(&name) {
            return Err(Error::TopicExists { topic: name });
        }
        let id = {
            let mut side = writer.journal.lock();
            side.next_topic_id += 1;
            side.next_topic_id - 1
        };
        let storage = &*self.storage;
        let numbers = (0..new.partitions).map(PartitionId::new);
        let all: Vec<_> = numbers.map(|p| TopicPartition::new(name.clone(), p)).collect();
        for topic_partition in &all {
            create_partition_files(storage, &partition_dir(&self.dir, topic_partition))?;
        }
        storage.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))?;
        let file = TopicFile { id, partitions: new.partitions, configs: new.configs.clone() };
        file.write(storage, &self.dir, &name)?;
        let partitions = all
            .into_iter()
            .map(|tp| new_partition(self, &writer.published, tp, id, &config).map(Arc::new))
            .collect::<Result<_>>()?;
        let topic = Topic { name: name.clone(), id, config, partitions };
        let mut side = writer.journal.lock();
        self.topics.write().insert(name, Arc::new(topic));
        // Before the first append: what no checkpoint knows is empty after a crash.
        self.checkpoint(writer, &mut side, false).map_err(|error| writer.poison(&error))
    }

    /// Deletes a topic. From the moment its file is gone, it does not come back.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<()> {
        let writer = self.writer("delete_topic")?;
        writer.check("delete_topic")?;
        let _admin = writer.admin.lock();
        let topic = self.topic(name)?;
        let removals = self.offsets.removals(&topic.name);
        if !removals.is_empty() {
            self.commit_offsets(&removals)?;
        }
        for partition in &topic.partitions {
            partition.appender.lock().closed = true;
        }
        self.drain(writer)?;
        self.forget(writer, &topic).map_err(|error| writer.poison(&error))?;
        self.signal.notify();
        for partition in &topic.partitions {
            self.remove_dir(partition, topic.id)?;
        }
        Ok(())
    }

    fn forget(&self, writer: &Writer, topic: &Topic) -> Result<()> {
        let topics = topics_dir(&self.dir);
        let path = topics.join(topic.name.as_str());
        let mut side = writer.journal.lock();
        self.storage.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
        self.storage.sync_dir(&topics).map_err(|e| Error::io("sync", &topics, e))?;
        self.topics.write().remove(&topic.name);
        self.checkpoint(writer, &mut side, false)
    }

    /// Removes a folder under a name that says so: if this is interrupted, the next open goes on.
    fn remove_dir(&self, partition: &Partition, topic_id: u64) -> Result<()> {
        let from = &partition.dir;
        let to = self.dir.join(format!("{}.{topic_id}{DELETED_SUFFIX}", partition.topic_partition));
        self.storage.rename(from, &to).map_err(|e| Error::io("rename", from, e))?;
        self.storage.remove_dir(&to).map_err(|e| Error::io("remove", &to, e))
    }

    /// Moves the log start offset up to `before` and drops the segments that lie wholly below.
    pub(crate) fn delete_records(&self, partition: &Partition, before: Offset) -> Result<()> {
        let writer = self.writer("delete_records")?;
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
        let gone = {
            let mut side = writer.journal.lock();
            let gone = partition.take_segments_before_start();
            self.checkpoint(writer, &mut side, false).map_err(|error| writer.poison(&error))?;
            gone
        };
        if let Some(slot) = partition.slot {
            writer.published.update(slot, &partition.published_end());
        }
        for segment in gone {
            segment.remove_files(&*self.storage)?;
        }
        Ok(())
    }
}
