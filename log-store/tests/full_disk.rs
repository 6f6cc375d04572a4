//! A full disk is an error of the append that needs space, and of nothing else: opening, recovery,
//! reading, retention, deleting and closing go on, and appends go on when there is space again.
//!
//! The file system is one in memory that counts what its files take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{
    CallFault, CrashKind, Durability, Error, Log, LogStore, ManualClock, NewTopic, Offset,
    PartitionId, Record, RecordBatch, SimulatedStorage, Storage, Timestamp, TopicName,
    TopicPartition,
};

const DURABILITIES: [Durability; 3] =
    [Durability::Sync, Durability::Interval(Duration::from_secs(1)), Durability::Os];

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn open(
    storage: &SimulatedStorage,
    clock: &Arc<ManualClock>,
    durability: Durability,
) -> Result<LogStore, Error> {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .clock(Arc::clone(clock) as _)
        .durability(durability)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

fn values(store: &LogStore, topic_partition: &TopicPartition) -> Vec<String> {
    let start = store.watermarks(topic_partition).unwrap().start;
    let batches = store.fetch(topic_partition, start, usize::MAX).unwrap();
    let records = batches.iter().flat_map(RecordBatch::iter);
    records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

/// Appends until there is no more space; what was acknowledged goes to `expected`.
fn fill(store: &LogStore, to: &TopicPartition, rng: &mut Rng, expected: &mut Vec<String>) {
    loop {
        let value = format!("{}/{}", expected.len(), "x".repeat(rng.usize(0..3_000)));
        match store.append(to, &Record::value(value.as_bytes())) {
            Ok(_) => expected.push(value),
            Err(Error::DiskFull { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_full(done: Result<(), Error>) -> bool {
    match done {
        Ok(()) => false,
        Err(Error::DiskFull { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Fills a store, stops it as `kind` says (none closes it), opens it without a free byte, lets it do
/// all that needs no space, and goes on when there is some.
fn check(seed: u64, durability: Durability, kind: Option<CrashKind>) {
    let mut rng = Rng::with_seed(seed);
    let story = format!("seed {seed}, {durability:?}, {kind:?}");
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let mut storage = SimulatedStorage::new();
    let store = open(&storage, &clock, durability).unwrap();
    let topic = NewTopic::new("t").partitions(2).config("segment.bytes", "20000");
    store.create_topic(&topic.config("retention.ms", "1000")).unwrap();
    store.create_topic(&NewTopic::new("other")).unwrap();
    let to = partition("t", 0);
    storage.set_free_bytes(Some(rng.u64(0..300_000)));
    let mut expected = Vec::new();
    fill(&store, &to, &mut rng, &mut expected);
    storage.set_free_bytes(Some(0));
    fill(&store, &to, &mut rng, &mut expected);
    assert!(is_full(store.create_topic(&NewTopic::new("new").partitions(3))), "{story}");
    assert!(values(&store, &to) == expected, "{story}: other values");

    let lossless = kind != Some(CrashKind::PowerCut) || durability == Durability::Sync;
    match kind {
        None => {
            store.close().unwrap_or_else(|e| panic!("{story}: closing: {e}"));
            drop(store);
        }
        Some(kind) => {
            let after = storage.crash(kind, |n| rng.usize(0..n));
            let at = storage.calls() + 1;
            let fault = CallFault { at, from_then_on: true, kind: std::io::ErrorKind::Other };
            storage.set_fault(Some(fault));
            drop(store);
            storage = after;
        }
    }
    storage.set_free_bytes(Some(0));
    let store = open(&storage, &clock, durability).unwrap_or_else(|e| panic!("{story}: {e}"));
    assert!(store.describe_topic("new").is_err(), "{story}");
    let found = values(&store, &to);
    assert!(found.len() == expected.len() || !lossless, "{story}: {}", found.len());
    assert!(found == expected[..found.len()], "{story}: other values");
    expected = found;

    // What is about to be freed, whatever it is, comes after something that needs none.
    store.close().unwrap_or_else(|e| panic!("{story}: closing: {e}"));
    storage.set_free_bytes(Some(0));
    let store = open(&storage, &clock, durability).unwrap_or_else(|e| panic!("{story}: {e}"));
    match rng.u8(0..3) {
        0 => {
            clock.advance(Duration::from_secs(5));
            store.enforce_retention().unwrap_or_else(|e| panic!("{story}: retention: {e}"));
            let found = values(&store, &to);
            // A recovery from a power cut may have used up what a new segment needs.
            let is_enough = found.is_empty() || kind == Some(CrashKind::PowerCut);
            assert!(is_enough && found.len() < 200, "{story}: {} records are kept", found.len());
            expected.drain(..expected.len() - found.len());
        }
        1 => {
            let before = Offset::new(rng.u64(0..=expected.len() as u64));
            store.delete_records(&to, before).unwrap();
            expected.drain(..usize::try_from(before.value()).unwrap());
        }
        _ => store.delete_topic("other").unwrap_or_else(|e| panic!("{story}: deleting: {e}")),
    }
    assert!(values(&store, &to) == expected, "{story}: other values");
    storage.set_free_bytes(Some(1 << 20));
    store.append(&to, &Record::value(b"more")).unwrap_or_else(|e| panic!("{story}: {e}"));
    expected.push("more".to_owned());
    store.close().unwrap();
    let store = open(&storage, &clock, durability).unwrap();
    assert!(values(&store, &to) == expected, "{story}: other values");
}

#[test]
fn a_full_disk_stops_appends_and_nothing_else() {
    let first = fastrand::u64(0..1 << 40);
    println!("seeds {first} to {}", first + 25);
    for seed in first..first + 25 {
        for durability in DURABILITIES {
            for kind in [None, Some(CrashKind::Kill), Some(CrashKind::PowerCut)] {
                check(seed, durability, kind);
            }
        }
    }
}

/// Every step by which a checkpoint outgrows its file is refused before it begins, and the store
/// goes on.
#[test]
fn checkpoints_never_find_the_disk_full() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let storage = SimulatedStorage::new();
    let store = open(&storage, &clock, Durability::Sync).unwrap();
    let topic = NewTopic::new("rolling").config("segment.bytes", "1024");
    store.create_topic(&topic.config("max.message.bytes", "1024")).unwrap();
    let to = partition("rolling", 0);
    let value = [b'x'; 900];
    let (mut records, mut refused) = (0, 0);
    // Each record rolls: 36 bytes in the checkpoint, whose file grows at 64 KiB.
    while records < 2_500 {
        storage.set_free_bytes(Some(70 << 10));
        match store.append(&to, &Record::value(&value)) {
            Ok(_) => records += 1,
            Err(Error::DiskFull { path, .. }) => {
                assert!(path.to_string_lossy().contains("checkpoint"), "{}", path.display());
                refused += 1;
                storage.set_free_bytes(None);
                assert!(!is_full(store.append(&to, &Record::value(&value)).map(drop)));
                records += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "no checkpoint outgrew its file");
    storage.set_free_bytes(Some(0));
    store.close().unwrap();
    let store = open(&storage, &clock, Durability::Sync).unwrap();
    assert_eq!(values(&store, &to).len(), records);
}
