//! Who watches an output: when its first record could be read, and its last one, and what was in it.

use std::time::{Duration, Instant};

use headwater_log_store::{
    Consumer, ConsumerConfig, Log, Offset, PartitionId, RecordBatch, TopicName, TopicPartition,
};

use crate::kafka::inputs::PARTITIONS;
use crate::topology::digest::Digest;
use crate::topology::frames::Frame;

const POLL: Duration = Duration::from_millis(100);
/// How long nothing may come before a run has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A reader of what was committed to a topic, from its begin.
pub struct Output {
    consumer: Box<dyn Consumer>,
    digest: Digest,
}

/// When the records of an output could be read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub first: Instant,
    pub last: Instant,
}

/// All partitions of a topic.
pub fn partitions(topic: &str) -> Vec<TopicPartition> {
    let name = TopicName::new(topic).unwrap();
    let partition = |number| TopicPartition::new(name.clone(), PartitionId::new(number));
    (0..PARTITIONS).map(partition).collect()
}

/// A consumer of all partitions of a topic, from their begin.
pub fn reader(log: &dyn Log, topic: &str) -> Box<dyn Consumer> {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    let partitions = partitions(topic);
    consumer.assign(&partitions).unwrap();
    for partition in &partitions {
        consumer.seek(partition, Offset::ZERO).unwrap();
    }
    consumer
}

impl Output {
    pub fn new(log: &dyn Log, topic: &str) -> Self {
        Self { consumer: reader(log, topic), digest: Digest::default() }
    }

    /// Waits until as much has come as is expected, which has to be just that.
    pub fn watch(&mut self, expected: Digest, what: &str) -> Seen {
        let mut first = None;
        let mut last = Instant::now();
        while self.digest.records < expected.records {
            let batches = self.consumer.poll(POLL).unwrap();
            let now = Instant::now();
            if batches.is_empty() {
                let (seen, waited) = (self.digest.records, now - last);
                assert!(waited < PATIENCE, "{what}: {seen} of {} came", expected.records);
                continue;
            }
            first.get_or_insert(now);
            last = now;
            self.add(&batches);
        }
        assert_eq!(self.digest, expected, "{what} writes something else");
        Seen { first: first.unwrap_or(last), last }
    }

    /// Reads up to the end that the topic has now.
    pub fn read(mut self, log: &dyn Log, topic: &str) -> Digest {
        let partitions = partitions(topic);
        let ends: Vec<_> =
            partitions.iter().map(|partition| log.watermarks(partition).unwrap().end).collect();
        let is_read = |consumer: &dyn Consumer| {
            let mut ends = partitions.iter().zip(&ends);
            ends.all(|(partition, end)| consumer.position(partition).unwrap() >= *end)
        };
        while !is_read(self.consumer.as_ref()) {
            let batches = self.consumer.poll(POLL).unwrap();
            self.add(&batches);
        }
        self.digest
    }

    fn add(&mut self, batches: &[RecordBatch]) {
        for record in batches.iter().flat_map(RecordBatch::iter) {
            // The times of outputs behind a repartition topic depend on what was read first.
            self.digest.add(Frame { time_ms: 0, key: record.key, value: record.value });
        }
    }
}
