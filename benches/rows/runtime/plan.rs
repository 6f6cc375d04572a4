//! What the rows of the runtime have in common: stores with an input, and a topology with state.

use std::path::Path;

use headwater_log_store::{Durability, Log, LogStore, NewTopic, Record, Timestamp};
use headwater_topology::{StreamsBuilder, Topology};

use crate::Scale;
use crate::ours::partition_of;
use crate::row::Row;
use crate::topology::input::{START_MS, key};
use crate::topology::ours::OUTPUT;

const BATCH_RECORDS: u32 = 1_000;

/// A run of rows: how large they are, which ones, and who gets them.
pub struct Plan<'a> {
    pub scale: Scale,
    pub only: &'a str,
    pub report: &'a mut dyn FnMut(Row<'_>),
}

impl Plan<'_> {
    /// Whether a row is asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(self.only)
    }
}

/// Opens a store in a folder of its own.
pub fn open(folder: &Path, durability: Durability) -> LogStore {
    LogStore::builder(folder).durability(durability).create(true).open().unwrap()
}

/// Makes the topic `in`: numbered records with random keys, spread over the partitions.
pub fn fill(store: &LogStore, records: u32, keys: u32, partitions: u32) {
    store.create_topic(&NewTopic::new("in").partitions(partitions)).unwrap();
    let mut random = fastrand::Rng::with_seed(21);
    let value = 1_i64.to_be_bytes();
    for first in (0..records).step_by(BATCH_RECORDS as usize) {
        let partition = first / BATCH_RECORDS % partitions;
        // A key stays in its partition.
        let number =
            |random: &mut fastrand::Rng| random.u32(..keys / partitions) * partitions + partition;
        let keys: Vec<String> =
            (0..BATCH_RECORDS.min(records - first)).map(|_| key(number(&mut random))).collect();
        let time = Timestamp::from_millis(START_MS + i64::from(first / 10));
        let batch: Vec<Record<'_>> = keys
            .iter()
            .map(|key| Record::value(&value).with_key(key.as_bytes()).with_timestamp(time))
            .collect();
        store.append_batch(&partition_of("in", partition), &batch).unwrap();
    }
}

/// Counts by key, and sends the counts to the output.
pub fn counts() -> Topology {
    let builder = StreamsBuilder::new();
    let counts = builder.stream::<String, i64>("in").group_by_key().count("counts");
    drop(counts.to_stream().to(OUTPUT));
    builder.build().unwrap()
}
