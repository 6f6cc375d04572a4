//! Topics change while they are in use: they get more partitions, and other configs.

use std::sync::Arc;

use crate::checkpoint::checkpoint_growth;
use crate::engine::admin::PARTITIONS_MAX;
use crate::engine::checkpoints::Kind;
use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::log::AlterConfigOp;
use crate::topic::{Topic, TopicFile};
use crate::types::CONSUMER_OFFSETS_TOPIC;

impl Engine {
    /// Gives a topic more partitions, up to `total`. Once this returns, they survive any crash.
    pub(crate) fn create_partitions(&self, name: &str, total: u32) -> Result<()> {
        let writer = self.writer("create_partitions")?;
        let _admin = writer.admin.lock();
        writer.check("create_partitions")?;
        let topic = self.topic(name)?;
        check_total(&topic, total)?;
        let count = topic.partition_count();
        {
            let side = writer.journal.lock();
            let new = (total - count) as usize;
            Self::make_room(&side, checkpoint_growth(new, new, new))?;
        }
        let grown = self.grow(writer, &topic, total);
        let grown = grown.map_err(|error| writer.poison_after_sync(error))?;
        // Before the first append to one of them: what no checkpoint knows is empty after a crash.
        let mut side = writer.journal.lock();
        let written = self.checkpoint(writer, &mut side, Kind::WithTopic(&grown));
        written.map_err(|error| writer.poison(&error))?;
        self.replace_topic(grown);
        Ok(())
    }

    fn grow(&self, writer: &Writer, topic: &Topic, total: u32) -> Result<Topic> {
        let mut partitions = topic.partitions.clone();
        let new = topic.partition_count()..total;
        partitions.extend(self.create_partition_range(
            writer,
            &topic.name,
            topic.id,
            new,
            &topic.config,
        )?);
        let configs = topic.config.given.clone();
        let file = TopicFile { id: topic.id, partitions: total, configs };
        file.write(&*self.storage, &self.dir, &topic.name)?;
        let (name, id, config) = (topic.name.clone(), topic.id, Arc::clone(&topic.config));
        Ok(Topic { name, id, config, partitions })
    }

    /// Changes configs of a topic, all of them or none. From then on they count.
    pub(crate) fn alter_configs(&self, name: &str, ops: &[AlterConfigOp]) -> Result<()> {
        let writer = self.writer("incremental_alter_configs")?;
        let _admin = writer.admin.lock();
        writer.check("incremental_alter_configs")?;
        let topic = self.topic(name)?;
        let config = topic.config.alter(ops)?;
        if name == CONSUMER_OFFSETS_TOPIC && config.delete {
            return Err(Error::InvalidConfig {
                key: "cleanup.policy".to_owned(),
                value: "delete".to_owned(),
                reason: format!("{name} holds the committed offsets of all groups"),
            });
        }
        let (config, partitions) = (Arc::new(config), topic.partition_count());
        let configs = config.given.clone();
        let file = TopicFile { id: topic.id, partitions, configs };
        let written = file.write(&*self.storage, &self.dir, &topic.name);
        written.map_err(|error| writer.poison_after_sync(error))?;
        topic.partitions.iter().for_each(|partition| partition.set_config(&config));
        let (name, partitions) = (topic.name.clone(), topic.partitions.clone());
        self.replace_topic(Topic { name, id: topic.id, config, partitions });
        Ok(())
    }

    fn replace_topic(&self, topic: Topic) {
        self.put_topic(topic);
        // Members of groups are to share new partitions.
        self.signal.notify();
    }
}

fn check_total(topic: &Topic, total: u32) -> Result<()> {
    let count = topic.partition_count();
    let reason = if topic.name.as_str() == CONSUMER_OFFSETS_TOPIC {
        "the offsets of all groups are in its one partition".to_owned()
    } else if total == count {
        format!("the topic has {count} already")
    } else if total < count {
        format!("the topic has {count}, and partitions cannot be taken away: records are in them")
    } else if total > PARTITIONS_MAX {
        format!("a topic has from 1 to {PARTITIONS_MAX}")
    } else {
        return Ok(());
    };
    Err(Error::InvalidConfig { key: "partitions".to_owned(), value: total.to_string(), reason })
}
