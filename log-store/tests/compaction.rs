//! Compaction keeps the newest record of each key, with its offset, time and headers, and takes
//! the others; whatever happens meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use headwater_log_store::*;

const HOUR_MS: i64 = 3_600_000;

fn tp() -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(0))
}

fn builder(storage: &SimulatedStorage, clock: &Arc<ManualClock>) -> LogStoreBuilder {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
}

fn topic() -> NewTopic {
    NewTopic::new("t")
        .config("cleanup.policy", "compact")
        .config("segment.bytes", "1024")
        .config("min.cleanable.dirty.ratio", "0")
        .config("delete.retention.ms", HOUR_MS.to_string())
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Appended {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    header: Option<String>,
}

/// All that was ever appended, by offset.
type History = BTreeMap<u64, Appended>;

fn append(store: &LogStore, history: &mut History, records: &[Appended]) -> Result<(), Error> {
    let headers: Vec<Vec<Header<'_>>> = records
        .iter()
        .map(|r| r.header.iter().map(|key| Header { key, value: Some(b"v") }).collect())
        .collect();
    let views: Vec<Record<'_>> = records
        .iter()
        .zip(&headers)
        .map(|(record, headers)| Record {
            key: Some(&record.key),
            value: record.value.as_deref(),
            timestamp: Some(Timestamp::from_millis(record.timestamp)),
            headers,
        })
        .collect();
    let first = store.append_batch(&tp(), &views)?.value();
    history.extend((first..).zip(records.iter().cloned()));
    Ok(())
}

fn read(store: &LogStore) -> History {
    let start = store.watermarks(&tp()).unwrap().start;
    let batches = store.fetch(&tp(), start, usize::MAX).unwrap();
    let records = batches.iter().flat_map(RecordBatch::iter).map(|record| {
        let headers: Vec<_> = record.headers.iter().collect();
        assert!(headers.iter().all(|header| header.value == Some(b"v")));
        let appended = Appended {
            key: record.key.unwrap().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: record.timestamp.as_millis(),
            header: headers.first().map(|header| header.key.to_owned()),
        };
        (record.offset.value(), appended)
    });
    records.collect()
}

/// The newest offset of each key.
fn newest(history: &History) -> BTreeMap<&[u8], u64> {
    history.iter().map(|(offset, record)| (&record.key[..], *offset)).collect()
}

/// What is there was appended so, and of what was appended the newest of each key is there, but
/// for tombstones.
fn check(history: &History, found: &History, context: &str) {
    for (offset, record) in found {
        assert_eq!(history.get(offset), Some(record), "{context}: offset {offset}");
    }
    for (key, offset) in newest(history) {
        let gone = !found.contains_key(&offset);
        let tombstone = history[&offset].value.is_none();
        assert!(!gone || tombstone, "{context}: the newest of {key:?}, {offset}, is gone");
        if gone {
            let older = found.values().any(|record| record.key == key);
            assert!(!older, "{context}: the tombstone of {key:?} went before what it deletes");
        }
    }
}

fn random(rng: &mut Rng, n: usize) -> Appended {
    let long = if rng.u8(..8) == 0 { 300 } else { 10 };
    Appended {
        key: format!("key-{}", rng.u8(..12)).into_bytes(),
        value: (rng.u8(..5) > 0).then(|| format!("{n}-{}", "x".repeat(long)).into_bytes()),
        timestamp: rng.i64(-1_000..1_000_000),
        header: (rng.u8(..4) == 0).then(|| format!("header-{n}")),
    }
}

fn fill(store: &LogStore, history: &mut History, rng: &mut Rng, batches: usize) {
    for _ in 0..batches {
        let next = history.len();
        let batch: Vec<_> = (0..rng.usize(1..6)).map(|n| random(rng, next + n)).collect();
        append(store, history, &batch).unwrap();
    }
}

fn durability(seed: u64) -> Durability {
    [Durability::Sync, Durability::Os, Durability::Interval(std::time::Duration::from_secs(1))]
        [usize::try_from(seed % 3).unwrap()]
}

/// `HEADWATER_CASES`, for a deeper run.
fn cases_or(cases: u64) -> u64 {
    std::env::var("HEADWATER_CASES").map_or(cases, |given| given.parse().unwrap())
}

/// Every call is the n-th in a deeper run, and every third otherwise.
fn stride() -> usize {
    if std::env::var_os("HEADWATER_CASES").is_some() { 1 } else { 3 }
}

#[test]
fn random_histories_are_compacted_to_the_newest_of_each_key() {
    for seed in 0..cases_or(25) {
        println!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        let (storage, clock) =
            (SimulatedStorage::new(), Arc::new(ManualClock::new(Timestamp::default())));
        let open = || {
            // Sometimes with memory for three keys only.
            let keys = if seed % 2 == 0 { 3 } else { 1 << 20 };
            let builder = builder(&storage, &clock).compaction_buffer_bytes(40 * keys);
            builder.durability(durability(seed)).open().unwrap()
        };
        let mut store = open();
        store.create_topic(&topic()).unwrap();
        let mut history = History::new();
        for round in 0..30 {
            let context = format!("seed {seed}, round {round}");
            let some = rng.usize(0..30);
            fill(&store, &mut history, &mut rng, some);
            clock.advance(std::time::Duration::from_secs(rng.u64(0..3_000)));
            let before = read(&store);
            let report = store.compact().unwrap();
            let found = read(&store);
            check(&history, &found, &context);
            assert_eq!(report.records_removed, (before.len() - found.len()) as u64, "{context}");
            assert!(found.iter().all(|entry| before.contains_key(entry.0)), "{context}");
            if rng.u8(..5) == 0 {
                store.close().unwrap();
                store = open();
            }
            assert_eq!(read(&store), found, "{context}");
            times_are_found(&store, &found, &mut rng, &context);
            reading_begins_anywhere(&store, &found, &mut rng, &context);
        }
        // What is sealed has nothing in it that another sealed record supersedes.
        while store.compact().unwrap().records_removed > 0 {}
        let found = read(&store);
        let active = storage_active_base(&storage);
        let sealed: History = found.clone().into_iter().filter(|(at, _)| *at < active).collect();
        let newest = newest(&sealed);
        assert!(sealed.iter().all(|(at, record)| newest[&record.key[..]] == *at), "seed {seed}");
        assert!(found.len() < history.len(), "seed {seed}");
    }
}

/// The base offset of the active segment: the largest of the files' names.
fn storage_active_base(storage: &SimulatedStorage) -> u64 {
    let names = storage.list(Path::new("store/t-0")).unwrap();
    let bases = names.iter().filter_map(|name| name.split('.').next()?.parse().ok());
    bases.max().unwrap()
}

fn times_are_found(store: &LogStore, found: &History, rng: &mut Rng, context: &str) {
    let time = rng.i64(-1_000..1_000_000);
    let expected = found.iter().find(|(_, record)| record.timestamp >= time).map(|(at, _)| *at);
    let offset = store.offset_for_time(&tp(), Timestamp::from_millis(time)).unwrap();
    assert_eq!(offset.map(Offset::value), expected, "{context}: time {time}");
}

fn reading_begins_anywhere(store: &LogStore, found: &History, rng: &mut Rng, context: &str) {
    let end = store.watermarks(&tp()).unwrap().end.value();
    let from = rng.u64(..=end);
    let batches = store.fetch(&tp(), Offset::new(from), usize::MAX).unwrap();
    let offsets = batches.iter().flat_map(RecordBatch::iter).map(|record| record.offset.value());
    let expected = found.range(from..).map(|(at, _)| *at);
    assert!(offsets.eq(expected), "{context}: from {from}");
}

#[test]
fn a_tombstone_stays_for_delete_retention_and_goes_with_the_next_compaction() {
    let (storage, clock) =
        (SimulatedStorage::new(), Arc::new(ManualClock::new(Timestamp::default())));
    let store = builder(&storage, &clock).open().unwrap();
    store.create_topic(&topic()).unwrap();
    let mut history = History::new();
    let record = |key: &str, value: Option<&str>| Appended {
        key: key.as_bytes().to_vec(),
        value: value.map(|value| value.as_bytes().to_vec()),
        timestamp: 7,
        header: None,
    };
    let mut filler = 0;
    // Seals what is there: a segment has 1,024 bytes.
    let mut seal = |store: &LogStore, history: &mut History| {
        filler += 1;
        let value = "x".repeat(1_000);
        append(store, history, &[record(&format!("filler-{filler}"), Some(&value))]).unwrap();
    };
    append(&store, &mut history, &[record("a", Some("1")), record("b", Some("1"))]).unwrap();
    append(&store, &mut history, &[record("a", None), record("c", Some("1"))]).unwrap();
    seal(&store, &mut history);
    seal(&store, &mut history);
    store.compact().unwrap();
    let offsets = |store: &LogStore| read(store).into_keys().collect::<Vec<_>>();
    assert_eq!(offsets(&store), [1, 2, 3, 4, 5], "only what the tombstone deletes went");

    // Many compactions within the time change nothing, though segments are put together.
    for _ in 0..5 {
        clock.advance(std::time::Duration::from_secs(11 * 60));
        seal(&store, &mut history);
        store.compact().unwrap();
        assert!(read(&store).contains_key(&2), "the tombstone went too early");
    }
    clock.advance(std::time::Duration::from_secs(5 * 60));
    seal(&store, &mut history);
    store.compact().unwrap();
    let found = read(&store);
    assert!(!found.contains_key(&2), "an hour after the first compaction it goes");
    check(&history, &found, "after the tombstone");
    assert!(found.contains_key(&1) && found.contains_key(&3));
    store.close().unwrap();
    let store = builder(&storage, &clock).open().unwrap();
    assert_eq!(read(&store), found);
}

#[test]
fn records_without_a_key_are_refused_by_a_compacted_topic() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&topic()).unwrap();
    let error = store.append(&tp(), &Record::value(b"v")).unwrap_err();
    assert!(matches!(error, Error::InvalidRecord { .. }), "{error}");
    assert!(error.to_string().contains("t-0") && error.to_string().contains("no key"), "{error}");
    let mut producer = store.producer(&ProducerConfig::default()).unwrap();
    let record = ProducerRecord { value: Some(b"v"), ..ProducerRecord::to("t") };
    let error = producer.send(&record).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::InvalidRecord { .. }), "{error}");
    assert_eq!(store.watermarks(&tp()).unwrap().end, Offset::ZERO);
}

/// Drops what a process had open that is gone: it can do nothing any more, not even close.
fn abandon(storage: &SimulatedStorage, store: LogStore) {
    let at = storage.calls() + 1;
    storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
    drop(store);
}

/// The store stops at every call of a compaction, and what is left opens with the same records.
#[test]
fn a_compaction_that_is_cut_off_at_any_call_loses_and_doubles_nothing() {
    let (mut cases, mut replaced) = (0, 0);
    for seed in 0..cases_or(2) {
        let mut rng = Rng::with_seed(seed);
        for kind in [CrashKind::Kill, CrashKind::PowerCut] {
            for call in (1 + seed..).step_by(stride()) {
                let (storage, clock) =
                    (SimulatedStorage::new(), Arc::new(ManualClock::new(Timestamp::default())));
                let store = builder(&storage, &clock).durability(durability(seed)).open().unwrap();
                store.create_topic(&topic()).unwrap();
                let mut history = History::new();
                fill(&store, &mut history, &mut Rng::with_seed(seed), 60);
                store.compact().unwrap();
                fill(&store, &mut history, &mut Rng::with_seed(seed + 100), 40);
                clock.advance(std::time::Duration::from_secs(4_000));
                // A checkpoint, so that a power cut under `Os` takes none of it.
                store.close().unwrap();
                let store = builder(&storage, &clock).durability(durability(seed)).open().unwrap();
                let before = read(&store);
                let first = storage.calls() + 1;
                let at = first + call;
                storage.set_fault(Some(CallFault {
                    at,
                    from_then_on: true,
                    kind: io::ErrorKind::Other,
                }));
                let compacted = store.compact();
                storage.set_fault(None);
                let through = storage.calls() < at;
                let left = storage.crash(kind, |n| rng.usize(..n));
                abandon(&storage, store);
                let store = builder(&left, &clock).durability(durability(seed)).open();
                let store =
                    store.unwrap_or_else(|e| panic!("seed {seed} {kind:?} call {call}: {e}"));
                let found = read(&store);
                let context = format!("seed {seed} {kind:?} call {call} {compacted:?}");
                check(&history, &found, &context);
                assert!(found.iter().all(|(at, _)| before.contains_key(at)), "{context}");
                replaced += usize::from(found.len() < before.len());
                cases += 1;
                // And again, whatever the first one has left over.
                store.compact().unwrap_or_else(|e| panic!("{context}: {e}"));
                check(&history, &read(&store), &context);
                assert_eq!(damage(&left, &store), [], "{context}");
                if through {
                    break;
                }
            }
        }
    }
    println!("{cases} crashes in compactions, {replaced} of them after a part was replaced");
    assert!(replaced > 0 && replaced < cases, "{replaced} of {cases}");
}

/// What is damaged once the store is closed. Indexes, which nothing waits for, and files that
/// nobody looks at any more do not count.
fn damage(storage: &SimulatedStorage, store: &LogStore) -> Vec<inspect::Finding> {
    store.close().unwrap();
    let report = inspect::verify(storage, Path::new("store")).unwrap();
    let of_no_matter = [inspect::Severity::Cache, inspect::Severity::Harmless];
    report.findings.into_iter().filter(|found| !of_no_matter.contains(&found.severity)).collect()
}

/// A disk that is full, or a file that cannot be opened, costs no record, and the next compaction
/// does what this one could not.
#[test]
fn a_compaction_that_fails_at_any_call_leaves_all_as_it_was() {
    let (mut cases, mut poisoned) = (0, 0);
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        let calls = (1..).step_by(stride());
        for (call, from_then_on) in calls.flat_map(|call| [(call, true), (call, false)]) {
            let (storage, clock) =
                (SimulatedStorage::new(), Arc::new(ManualClock::new(Timestamp::default())));
            let open = || builder(&storage, &clock).durability(Durability::Sync).open().unwrap();
            let store = open();
            store.create_topic(&topic()).unwrap();
            let mut history = History::new();
            fill(&store, &mut history, &mut Rng::with_seed(call), 60);
            let before = read(&store);
            let at = storage.calls() + call;
            storage.set_fault(Some(CallFault { at, from_then_on, kind }));
            let compacted = store.compact();
            let through = storage.calls() < at;
            storage.set_fault(None);
            let context = format!("{kind:?} at call {call}, {from_then_on}: {compacted:?}");
            check(&history, &read(&store), &context);
            cases += 1;
            if let Err(Error::Poisoned { .. }) = store.compact() {
                // A sync or a checkpoint has failed.
                poisoned += 1;
                assert!(compacted.is_err(), "{context}");
                drop(store);
                let store = open();
                check(&history, &read(&store), &context);
                continue;
            }
            let next = Appended { key: b"next".to_vec(), value: None, timestamp: 0, header: None };
            append(&store, &mut history, &[next]).unwrap();
            let found = read(&store);
            check(&history, &found, &context);
            assert!(
                found.len() < before.len(),
                "{context}: the second compaction did not take place"
            );
            assert_eq!(damage(&storage, &store), [], "{context}");
            if through {
                break;
            }
        }
    }
    println!("{cases} compactions with a failed call, {poisoned} stores poisoned by a sync");
    assert!(poisoned > 0 && poisoned < cases, "{poisoned} of {cases}");
}

#[test]
fn readers_and_writers_go_on_while_a_store_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::builder(dir.path())
        .create(true)
        .durability(Durability::Os)
        .compaction_check_interval(std::time::Duration::from_millis(5))
        .open()
        .unwrap();
    store.create_topic(&topic().config("segment.bytes", "16384")).unwrap();
    let done = AtomicBool::new(false);
    let keys = 50_u32;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // Each key's values rise, also for who reads across replaced segments.
            let (mut last, mut from, mut rounds) = (BTreeMap::new(), Offset::ZERO, 0);
            while !done.load(Ordering::Acquire) || rounds < 3 {
                let batches = store.fetch(&tp(), from, 1 << 16).unwrap();
                for record in batches.iter().flat_map(RecordBatch::iter) {
                    assert!(record.offset >= from);
                    from = record.offset + 1;
                    let value = u32::from_be_bytes(record.value.unwrap().try_into().unwrap());
                    let before = last.insert(record.key.unwrap().to_vec(), value);
                    assert!(before.is_none_or(|before| before < value), "{before:?} {value}");
                }
                if batches.is_empty() {
                    assert!(last.len() <= keys as usize);
                    (last, from, rounds) = (BTreeMap::new(), Offset::ZERO, rounds + 1);
                }
            }
            rounds
        });
        for n in 0..20_000_u32 {
            let key = (n % keys).to_be_bytes();
            store.append(&tp(), &Record::value(&n.to_be_bytes()).with_key(&key)).unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(reader.join().unwrap() >= 3);
    });
    store.compact().unwrap();
    let found = store.fetch(&tp(), Offset::ZERO, usize::MAX).unwrap();
    let values = found.iter().flat_map(RecordBatch::iter).map(|record| record.value.unwrap());
    let newest: Vec<u32> = values.map(|v| u32::from_be_bytes(v.try_into().unwrap())).collect();
    assert!(newest.len() < 1_000, "{} records are left of 20000", newest.len());
    assert!(newest.ends_with(&(20_000 - keys..20_000).collect::<Vec<_>>()));
    // Who looks on from another process sees the same.
    let other = LogStore::open_read_only(dir.path()).unwrap();
    let seen = other.fetch(&tp(), Offset::ZERO, usize::MAX).unwrap();
    assert_eq!(seen.iter().map(RecordBatch::len).sum::<usize>(), newest.len());
    store.close().unwrap();
    let report = inspect::verify(&FileStorage::new(Reads::Positioned), dir.path()).unwrap();
    assert_eq!(report.findings, vec![]);
}
