//! Headwater's embedded log, as a contender.

use std::hint::black_box;
use std::path::Path;

use headwater_log_store::{
    Durability, Log, LogStore, NewTopic, Offset, PartitionId, Record, TopicName, TopicPartition,
};

use crate::contender::{Class, Contender, Handles, Kind};

/// The embedded log, with the durability that the class asks for.
pub const OURS: Kind = Kind { name: "headwater", open };
/// The topic that it writes.
pub const TOPIC: &str = "bench";

const FETCH_BYTES_MAX: usize = 1 << 20;

/// Opens a store with a topic of that many partitions, or makes it.
pub fn open_store(folder: &Path, class: Class, partitions: usize) -> LogStore {
    let durability = match class {
        Class::D1 => Durability::Os,
        Class::D2 => Durability::Sync,
    };
    let store = LogStore::builder(folder).durability(durability).create(true).open().unwrap();
    if store.describe_topic(TOPIC).is_err() {
        let partitions = u32::try_from(partitions).unwrap();
        store.create_topic(&NewTopic::new(TOPIC).partitions(partitions)).unwrap();
    }
    store
}

/// A partition of the topic.
pub fn partition(number: usize) -> TopicPartition {
    partition_of(TOPIC, u32::try_from(number).unwrap())
}

/// A partition of any topic.
pub fn partition_of(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn open(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    let store = open_store(folder, class, handles.partitions);
    let handle = |n: usize| {
        let ours = Ours { store: store.clone(), partition: partition(n % handles.partitions) };
        Box::new(ours) as Box<dyn Contender>
    };
    (0..handles.count).map(handle).collect()
}

struct Ours {
    store: LogStore,
    partition: TopicPartition,
}

impl Contender for Ours {
    fn append(&mut self, record: &Record<'_>) {
        self.store.append(&self.partition, record).unwrap();
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        self.store.append_batch(&self.partition, records).unwrap();
    }

    fn scan(&mut self) -> usize {
        let mut next = Offset::ZERO;
        let mut records = 0;
        loop {
            let batches = self.store.fetch(&self.partition, next, FETCH_BYTES_MAX).unwrap();
            if batches.is_empty() {
                return records;
            }
            for batch in batches {
                for record in batch.iter() {
                    black_box(record.value);
                    records += 1;
                }
                next = batch.next_offset().unwrap();
            }
        }
    }

    fn read(&mut self, offset: u64) -> usize {
        let batches = self.store.fetch(&self.partition, Offset::new(offset), 1).unwrap();
        let record = batches[0].get(0).unwrap();
        assert_eq!(record.offset.value(), offset);
        record.value.unwrap().len()
    }
}
