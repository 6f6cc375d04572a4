//! Inputs: generated once, and kept as topics for us and as files of frames for the others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use headwater_log_store::{Log, LogStore, NewTopic, Record, Timestamp};

use crate::ours::partition_of;
use crate::topology::frames::FrameWriter;

/// The time of the first record of an input, in milliseconds: a multiple of all windows.
pub const START_MS: i64 = 1_700_000_000_000;

const BATCH_RECORDS: usize = 1_000;

/// Takes the records of an input in the order of their times.
pub struct Input<'a> {
    store: &'a LogStore,
    topics: RefCell<BTreeMap<String, Topic>>,
}

struct Topic {
    frames: FrameWriter,
    batch: Vec<(i64, Vec<u8>, Vec<u8>)>,
}

/// The file of frames of an input topic.
pub fn frames_of(folder: &Path, topic: &str) -> PathBuf {
    folder.join(format!("{topic}.frames"))
}

impl<'a> Input<'a> {
    /// Into topics of that store, and into files in that folder.
    pub fn new(store: &'a LogStore, folder: &Path, topics: &[&str]) -> Self {
        let open = |topic: &&str| {
            store.create_topic(&NewTopic::new(*topic)).unwrap();
            let frames = FrameWriter::create(&frames_of(folder, topic));
            ((*topic).to_owned(), Topic { frames, batch: Vec::new() })
        };
        Self { store, topics: RefCell::new(topics.iter().map(open).collect()) }
    }

    pub fn push(&self, topic: &str, time_ms: i64, key: &[u8], value: &[u8]) {
        let mut topics = self.topics.borrow_mut();
        let into = topics.get_mut(topic).unwrap();
        into.frames.push(time_ms, Some(key), Some(value));
        into.batch.push((time_ms, key.to_vec(), value.to_vec()));
        if into.batch.len() == BATCH_RECORDS {
            self.append(topic, &into.batch);
            into.batch.clear();
        }
    }

    fn append(&self, topic: &str, batch: &[(i64, Vec<u8>, Vec<u8>)]) {
        let records: Vec<Record<'_>> = batch
            .iter()
            .map(|(time_ms, key, value)| {
                let time = Timestamp::from_millis(*time_ms);
                Record::value(value).with_key(key).with_timestamp(time)
            })
            .collect();
        self.store.append_batch(&partition_of(topic, 0), &records).unwrap();
    }

    /// Writes what is left.
    pub fn end(self) {
        let topics = self.topics.take();
        for (name, mut topic) in topics {
            topic.frames.flush();
            if !topic.batch.is_empty() {
                self.append(&name, &topic.batch);
            }
        }
    }
}

/// The key of a number.
pub fn key(number: u32) -> String {
    format!("customer-{number:08}")
}

/// So many records with random keys and numbers as values; `per_ms` of them have the same time.
pub fn numbers(input: &Input<'_>, topic: &str, records: u32, keys: u32, per_ms: u32) {
    let mut random = Rng::with_seed(11);
    for number in 0..records {
        let time_ms = START_MS + i64::from(number / per_ms);
        let value = random.i64(1..1_000).to_be_bytes();
        input.push(topic, time_ms, key(random.u32(..keys)).as_bytes(), &value);
    }
}
