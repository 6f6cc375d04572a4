//! A topology as an application on the embedded log.

use std::path::Path;
use std::sync::Arc;

use headwater_log_store::{Durability, Log, LogStore, NewTopic, Offset};
use headwater_topology::{Streams, StreamsConfig, Topology};

use crate::ours::partition_of;
use crate::topology::cpu::cpu_seconds;
use crate::topology::digest::Digest;
use crate::topology::frames::Frame;

/// The topic that topologies write.
pub const OUTPUT: &str = "out";

const FETCH_BYTES_MAX: usize = 1 << 20;

/// Opens a store whose writes are with the operating system when they are acknowledged.
pub fn open(folder: &Path) -> LogStore {
    LogStore::builder(folder).durability(Durability::Os).create(true).open().unwrap()
}

/// Runs a topology over all that is in its inputs, as a new application that starts and is closed
/// again, and returns the processor time in seconds. `look` sees the log before what the
/// application has left behind is removed.
pub fn run(
    store: &LogStore,
    topology: &Topology,
    config: StreamsConfig,
    look: impl FnOnce(&LogStore),
) -> f64 {
    let log: Arc<dyn Log> = Arc::new(store.clone());
    log.create_topic(&NewTopic::new(OUTPUT)).unwrap();
    let id = config.application_id().to_owned();
    let seconds = cpu_seconds(|| run_once(topology, config, &log));
    look(store);
    remove(log.as_ref(), &id);
    seconds
}

/// Starts an application, and closes it when it is done.
pub fn run_once(topology: &Topology, config: StreamsConfig, log: &Arc<dyn Log>) {
    let streams = Streams::new(topology, config, Arc::clone(log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams.close().unwrap();
}

/// Removes the output and what an application has of its own.
pub fn remove(log: &dyn Log, application_id: &str) {
    let own = format!("{application_id}-");
    for topic in log.topics().unwrap() {
        let name = topic.name.as_str();
        if name == OUTPUT || name.starts_with(&own) {
            log.delete_topic(name).unwrap();
        }
    }
    log.delete_group(application_id).unwrap();
}

/// What an application has written to its output.
pub fn digest(store: &LogStore) -> Digest {
    let partition = partition_of(OUTPUT, 0);
    let mut digest = Digest::default();
    let mut next = Offset::ZERO;
    loop {
        let batches = store.fetch(&partition, next, FETCH_BYTES_MAX).unwrap();
        let Some(last) = batches.last() else { return digest };
        next = last.next_offset().unwrap();
        for record in batches.iter().flat_map(|batch| batch.iter()) {
            let time_ms = record.timestamp.as_millis();
            digest.add(Frame { time_ms, key: record.key, value: record.value });
        }
    }
}
