//! A trial: the changelog as the store. An index in memory has the place of each key's newest value, which is
//! read from the log's mapped segments. There is no second copy, and no second write beside the
//! changelog's own; nothing is compacted here.

use std::collections::HashMap;
use std::path::Path;

use headwater_log_store::{
    Durability, Log, LogStore, NewTopic, Offset, PartitionId, Record, TopicName, TopicPartition,
};
use headwater_topology::BoxError;
use headwater_topology::engines::Covered;

use crate::load::Rows;

/// A read verifies a whole batch and walks through it to its record: small ones make it quick.
const BATCH_BYTES_MAX: &str = "4096";

pub struct Changelog {
    log: LogStore,
    partition: TopicPartition,
    newest: HashMap<Vec<u8>, Offset>,
    /// The puts since the last commit.
    changes: HashMap<Vec<u8>, Vec<u8>>,
}

impl Changelog {
    /// An empty one in a folder.
    pub fn create(dir: &Path) -> Result<Self, BoxError> {
        let log = LogStore::builder(dir).create(true).durability(Durability::Os).open()?;
        let topic = NewTopic::new("changelog").config("max.message.bytes", BATCH_BYTES_MAX);
        log.create_topic(&topic)?;
        let partition = TopicPartition::new(TopicName::new("changelog")?, PartitionId::new(0));
        Ok(Self { log, partition, newest: HashMap::new(), changes: HashMap::new() })
    }
}

impl Rows for Changelog {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        if let Some(value) = self.changes.get(key) {
            return Ok(Some(value.clone()));
        }
        let Some(offset) = self.newest.get(key) else { return Ok(None) };
        let batches = self.log.fetch(&self.partition, *offset, 1)?;
        let record = batches.first().and_then(|batch| batch.get(0));
        let record = record.filter(|record| record.offset == *offset);
        let value = record.and_then(|record| record.value).ok_or("a line is missing")?;
        Ok(Some(value.to_vec()))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError> {
        self.changes.insert(key, value);
        Ok(())
    }

    fn commit(&mut self, _: Covered) -> Result<(), BoxError> {
        let changes: Vec<_> = self.changes.drain().collect();
        let lines: Vec<_> =
            changes.iter().map(|(key, value)| Record::value(value).with_key(key)).collect();
        let first = self.log.append_batch(&self.partition, &lines)?;
        drop(lines);
        let keys = changes.into_iter().map(|(key, _)| key);
        self.newest.extend(keys.zip(first.value()..).map(|(key, at)| (key, Offset::new(at))));
        Ok(())
    }
}
