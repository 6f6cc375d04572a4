//! The scrub finds every damaged byte of a sealed segment, says where it is, changes nothing, and
//! keeps nobody from reading and writing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log_store::{
    CallFault, Error, Log, LogStore, LogStoreBuilder, ManualClock, MemoryStorage, NewTopic, Offset,
    OpenMode, PartitionId, ProducerConfig, ProducerRecord, Record, RecordBatch, SimulatedStorage,
    Storage, Timestamp, TopicName, TopicPartition,
};

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn builder(storage: &Arc<dyn Storage>) -> LogStoreBuilder {
    LogStore::builder("store").storage(Arc::clone(storage)).journal_bytes(64 << 10).create(true)
}

/// A store with several sealed segments in each of two partitions.
fn filled(storage: &Arc<dyn Storage>) -> LogStore {
    let store = builder(storage).housekeeping(false).open().unwrap();
    let topic = NewTopic::new("t").partitions(2).config("segment.bytes", "2048");
    store.create_topic(&topic).unwrap();
    for number in 0..60 {
        for to in 0..2 {
            let value = format!("{number} {}", "x".repeat(100));
            store.append(&partition("t", to), &Record::value(value.as_bytes())).unwrap();
        }
    }
    store
}

fn segments(storage: &Arc<dyn Storage>, number: u32) -> Vec<PathBuf> {
    let dir = Path::new("store").join(partition("t", number).to_string());
    let names = storage.list(&dir).unwrap().into_iter().filter(|name| name.ends_with(".log"));
    names.map(|name| dir.join(name)).collect()
}

fn flip(storage: &Arc<dyn Storage>, path: &Path, position: u64, bit: u8) {
    let file = storage.open(path, OpenMode::Write).unwrap();
    let byte = file.read(position, 1).unwrap()[0];
    file.write(position, &[byte ^ (1 << bit)]).unwrap();
}

fn count(store: &LogStore, number: u32) -> Result<usize, Error> {
    let batches = store.fetch(&partition("t", number), Offset::ZERO, usize::MAX)?;
    Ok(batches.iter().map(RecordBatch::len).sum())
}

#[test]
fn a_pass_over_a_whole_store_counts_what_is_sealed() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = filled(&storage);
    let report = store.scrub().unwrap();
    let sealed: Vec<PathBuf> = (0..2)
        .flat_map(|number| {
            let mut segments = segments(&storage, number);
            segments.pop();
            segments
        })
        .collect();
    let size = |path: &PathBuf| storage.open(path, OpenMode::Read).unwrap().size().unwrap();
    assert!(sealed.len() > 4 && report.damaged.is_empty(), "{report:?}");
    assert_eq!(report.segments, sealed.len() as u64);
    assert_eq!(report.bytes, sealed.iter().map(size).sum::<u64>());
    let health = store.health();
    assert_eq!((health.scrub_passes, health.scrubbed_bytes), (1, report.bytes));
    assert!(health.damaged.is_empty() && health.poisoned.is_none());
}

#[test]
fn every_flipped_bit_is_found_where_it_is_and_nobody_else_is_kept() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = filled(&storage);
    let path = segments(&storage, 0)[1].clone();
    let len = storage.open(&path, OpenMode::Read).unwrap().size().unwrap();
    let seed = fastrand::u64(0..1 << 40);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let (position, bit) = (rng.u64(0..len), rng.u8(0..8));
        flip(&storage, &path, position, bit);
        let report = store.scrub().unwrap();
        let story = format!("byte {position}, bit {bit}: {report:?}");
        assert_eq!(report.damaged.len(), 1, "{story}");
        let damaged = &report.damaged[0];
        assert_eq!(damaged.topic_partition, partition("t", 0), "{story}");
        assert_eq!(damaged.path, path, "{story}");
        assert!(damaged.position <= position && position - damaged.position < 400, "{story}");
        assert_eq!(store.health().damaged, report.damaged, "{story}");
        // A read of the damaged offset says the same; all others go on.
        let read = store.fetch(&partition("t", 0), damaged.offset, 1).unwrap_err();
        assert!(matches!(read, Error::Corrupt { .. }), "{story}: {read}");
        flip(&storage, &path, position, bit);
    }
    assert_eq!(count(&store, 1).unwrap(), 60);
    let report = store.scrub().unwrap();
    assert!(report.damaged.is_empty() && store.health().damaged.is_empty(), "{report:?}");
}

#[test]
fn damage_is_forgotten_when_retention_has_taken_its_segment() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = filled(&storage);
    flip(&storage, &segments(&storage, 0)[0], 100, 3);
    assert_eq!(store.scrub().unwrap().damaged.len(), 1);
    let append = |n| store.append(&partition("t", n), &Record::value(b"more"));
    let refused = append(0).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
    append(1).unwrap();
    let end = store.watermarks(&partition("t", 0)).unwrap().end;
    store.delete_records(&partition("t", 0), end).unwrap();
    append(0).unwrap();
    assert!(store.health().damaged.is_empty());
    assert!(store.scrub().unwrap().damaged.is_empty());
}

#[test]
fn a_segment_that_cannot_be_read_is_damage_and_the_others_are_read() {
    let simulated = SimulatedStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(simulated.clone());
    let store = filled(&storage);
    let whole = store.scrub().unwrap();
    let at = simulated.calls() + 5;
    let kind = std::io::ErrorKind::Other;
    simulated.set_fault(Some(CallFault { at, from_then_on: false, kind }));
    let report = store.scrub().unwrap();
    assert_eq!((report.segments, report.damaged.len()), (whole.segments, 1));
    assert!(report.damaged[0].reason.contains("cannot be read"), "{report:?}");
    assert!(store.health().poisoned.is_none());
    assert_eq!(count(&store, 0).unwrap(), 60);
}

/// The clock stands until it is moved, so the thread has something to do exactly then; appends wake
/// it to look.
#[test]
fn the_background_scrub_finds_damage_in_its_time() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    filled(&storage).close().unwrap();
    let path = segments(&storage, 1)[2].clone();
    flip(&storage, &path, 200, 0);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let store = builder(&storage)
        .clock(Arc::clone(&clock) as _)
        .scrub_bytes_per_second(1 << 30)
        .scrub_pause(Duration::from_secs(3_600))
        .open()
        .unwrap();
    let mut producer = store.producer(&ProducerConfig::default()).unwrap();
    let record = ProducerRecord {
        partition: Some(PartitionId::new(0)),
        value: Some(b"x"),
        ..ProducerRecord::to("t")
    };
    let started = Instant::now();
    let mut passes = |wanted: u64| {
        while store.health().scrub_passes < wanted {
            assert!(started.elapsed() < Duration::from_secs(60), "the scrub does not go on");
            clock.advance(Duration::from_secs(1));
            drop(producer.send(&record).unwrap());
            std::thread::yield_now();
        }
    };
    passes(1);
    let damaged = store.health().damaged;
    assert_eq!(damaged.len(), 1);
    assert_eq!((&damaged[0].path, &damaged[0].topic_partition), (&path, &partition("t", 1)));
    flip(&storage, &path, 200, 0);
    passes(2);
    assert!(store.health().damaged.is_empty());
}

#[test]
fn a_scrub_rate_of_zero_turns_it_off() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    filled(&storage).close().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let builder = builder(&storage).clock(Arc::clone(&clock) as _).scrub_bytes_per_second(0);
    let store = builder.open().unwrap();
    clock.advance(Duration::from_secs(1_000_000));
    store.append(&partition("t", 0), &Record::value(b"x")).unwrap();
    store.close().unwrap();
    assert_eq!(store.health().scrub_passes, 0);
}
