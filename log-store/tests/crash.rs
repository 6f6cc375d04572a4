//! Whatever stops the machine, at whatever call: the store opens again with all that was
//! acknowledged, nothing that was not appended, and every transaction whole or absent.
//!
//! A random workload runs on a file system that stops at a random call. What it leaves behind is
//! opened (sometimes it stops again in the middle of that) and compared with what the workload
//! knows. `HEADWATER_SEED=n` runs one seed again; `HEADWATER_CASES=n` sets how many are run.
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
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{
    CallFault, CrashKind, Durability, Error, Log, LogStore, ManualClock, NewTopic, Offset,
    PartitionId, ProducerConfig, ProducerRecord, Record, RecordBatch, SimulatedStorage, Storage,
    Timestamp, TopicName, TopicPartition,
};

const TOPIC: &str = "t";
const PARTITIONS: u32 = 2;
const GROUP: &str = "group";

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(TOPIC).unwrap(), PartitionId::new(number))
}

fn open(storage: &SimulatedStorage, durability: Durability) -> Result<LogStore, Error> {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(0))))
        .durability(durability)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

/// What the workload has done, as far as the callers know.
#[derive(Clone, Debug, Default)]
struct Model {
    created: bool,
    /// Whether most values are long, so that the journal fills.
    large_values: bool,
    /// All values ever handed to each partition, acknowledged or not; the acknowledged ones come
    /// first.
    values: Vec<Vec<String>>,
    acknowledged: Vec<usize>,
    /// What was there at the last close, and survives everything.
    closed: Vec<usize>,
    /// The numbers of values that belong to one transaction, by partition.
    transactions: Vec<Vec<(usize, String)>>,
    /// Log start offsets, acknowledged and asked for.
    start: Vec<(u64, u64)>,
    /// Group offsets, acknowledged and all that were tried since.
    committed: Option<u64>,
    /// Whether a topic was created or deleted last, where that is known. It lasts in any case.
    others: BTreeMap<String, bool>,
    tried: Vec<u64>,
}

impl Model {
    fn new() -> Self {
        let n = PARTITIONS as usize;
        Self {
            values: vec![Vec::new(); n],
            acknowledged: vec![0; n],
            closed: vec![0; n],
            start: vec![(0, 0); n],
            ..Self::default()
        }
    }
}

/// Runs operations until one fails; that one's outcome is unknown. Returns what was open then.
fn work(
    storage: &SimulatedStorage,
    durability: Durability,
    rng: &mut Rng,
    model: &mut Model,
) -> Option<LogStore> {
    let mut store = open(storage, durability).ok()?;
    if !model.created {
        // Small segments roll all the time; with large ones the journal fills and is recycled.
        let small = rng.u8(0..4) > 0;
        model.large_values = !small;
        let segment_bytes = if small { rng.u32(1_024..6_000) } else { 1 << 20 }.to_string();
        let topic = NewTopic::new(TOPIC)
            .partitions(PARTITIONS)
            .config("segment.bytes", segment_bytes)
            .config("index.interval.bytes", "200");
        if store.create_topic(&topic).is_err() {
            return Some(store);
        }
        model.created = true;
    }
    for _ in 0..rng.usize(1..60) {
        let done = match rng.u32(0..20) {
            0..10 => append(&store, rng, model),
            10..16 => transaction(&store, rng, model),
            16 => delete_records(&store, rng, model),
            17 => commit(&store, rng, model),
            18 => {
                let other = format!("other-{}", rng.u32(0..5));
                let exists = store.describe_topic(&other).is_ok();
                model.others.remove(&other);
                let changed = match exists {
                    true => store.delete_topic(&other),
                    false => store.create_topic(&NewTopic::new(other.clone())),
                };
                if changed.is_ok() {
                    model.others.insert(other, !exists);
                }
                changed
            }
            _ => match store.close().and_then(|()| open(storage, durability)) {
                Ok(again) => {
                    model.closed.clone_from(&model.acknowledged);
                    store = again;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if done.is_err() {
            break;
        }
    }
    Some(store)
}

/// Drops what a process had open that is gone: it can do nothing any more, not even close.
fn abandon(storage: &SimulatedStorage, store: Option<LogStore>) {
    let at = storage.calls() + 1;
    storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
    drop(store);
}

fn value(rng: &mut Rng, model: &Model, partition: usize) -> String {
    let longest = if model.large_values || rng.u8(0..8) == 0 { 3_000 } else { 60 };
    let padding = "x".repeat(rng.usize(0..longest));
    format!("{partition}/{}/{padding}", model.values[partition].len())
}

fn append(store: &LogStore, rng: &mut Rng, model: &mut Model) -> Result<(), Error> {
    let number = rng.usize(0..PARTITIONS as usize);
    let mut values = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let value = value(rng, model, number);
        model.values[number].push(value.clone());
        values.push(value);
    }
    let records: Vec<_> = values.iter().map(|v| Record::value(v.as_bytes())).collect();
    let first = store.append_batch(&partition(u32::try_from(number).unwrap()), &records)?;
    assert_eq!(first, Offset::new(model.acknowledged[number] as u64), "offsets must be dense");
    model.acknowledged[number] += values.len();
    Ok(())
}

fn transaction(store: &LogStore, rng: &mut Rng, model: &mut Model) -> Result<(), Error> {
    let config = ProducerConfig { transactional_id: Some("p".to_owned()), ..Default::default() };
    let mut producer = store.producer(&config)?;
    producer.begin_transaction()?;
    let mut members = Vec::new();
    let mut counts = vec![0; PARTITIONS as usize];
    let abort = rng.u8(0..6) == 0;
    let before = model.values.clone();
    for _ in 0..rng.usize(1..6) {
        let number = rng.usize(0..PARTITIONS as usize);
        let value = value(rng, model, number);
        model.values[number].push(value.clone());
        let record = ProducerRecord {
            partition: Some(PartitionId::new(u32::try_from(number).unwrap())),
            value: Some(value.as_bytes()),
            ..ProducerRecord::to(TOPIC)
        };
        drop(producer.send(&record)?);
        counts[number] += 1;
        members.push((number, value));
    }
    if abort {
        model.values = before;
        return producer.abort_transaction();
    }
    let offset = model.acknowledged[0] as u64;
    let consumer = store.consumer(&headwater_log_store::ConsumerConfig {
        group: Some(GROUP.to_owned()),
        ..Default::default()
    })?;
    let offsets = [(partition(0), Offset::new(offset).into())];
    producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata()?)?;
    model.transactions.push(members);
    model.tried.push(offset);
    producer.commit_transaction()?;
    for (acknowledged, count) in model.acknowledged.iter_mut().zip(counts) {
        *acknowledged += count;
    }
    model.committed = Some(offset);
    model.tried.clear();
    Ok(())
}

fn delete_records(store: &LogStore, rng: &mut Rng, model: &mut Model) -> Result<(), Error> {
    let number = rng.usize(0..PARTITIONS as usize);
    let before = rng.u64(0..=model.acknowledged[number] as u64);
    let start = &mut model.start[number];
    start.1 = start.1.max(before);
    store.delete_records(&partition(u32::try_from(number).unwrap()), Offset::new(before))?;
    start.0 = start.0.max(before);
    Ok(())
}

fn commit(store: &LogStore, rng: &mut Rng, model: &mut Model) -> Result<(), Error> {
    let offset = rng.u64(0..=model.acknowledged[0] as u64);
    model.tried.push(offset);
    store.alter_group_offsets(GROUP, &[(partition(0), Some(Offset::new(offset)))])?;
    model.committed = Some(offset);
    model.tried.clear();
    Ok(())
}

/// Compares a partition of an opened store with the model, and returns where it ends.
fn verify_partition(
    store: &LogStore,
    number: usize,
    lossless: bool,
    model: &Model,
    story: &str,
) -> usize {
    let tp = partition(u32::try_from(number).unwrap());
    let watermarks = store.watermarks(&tp).unwrap();
    let (kept, asked) = model.start[number];
    let start = watermarks.start.value();
    assert!(start <= asked, "{story}: {tp} starts at {start}, past {asked}");
    if lossless {
        assert!(start >= kept, "{story}: {tp} starts at {start}, before {kept}");
    }
    let batches = store.fetch(&tp, watermarks.start, usize::MAX).unwrap();
    let records = batches.iter().flat_map(RecordBatch::iter);
    let read: Vec<(u64, String)> = records
        .map(|r| (r.offset.value(), String::from_utf8(r.value.unwrap().to_vec()).unwrap()))
        .collect();
    let end = usize::try_from(watermarks.end.value()).unwrap();
    let expected: Vec<(u64, String)> = model.values[number]
        .iter()
        .enumerate()
        .map(|(offset, value)| (offset as u64, value.clone()))
        .take(end)
        .skip(usize::try_from(start).unwrap())
        .collect();
    assert!(end <= model.values[number].len(), "{story}: {tp} has more than was appended");
    assert!(read == expected, "{story}: {tp} reads\n{read:?}\nbut was\n{expected:?}");
    let least = if lossless { model.acknowledged[number] } else { model.closed[number] };
    assert!(end >= least, "{story}: {tp} ends at {end}, acknowledged were {least}");
    // From anywhere it is the same, whatever became of the indexes.
    for from in (0..5).map(|n| start + n * (end as u64 - start) / 5) {
        let batches = store.fetch(&tp, Offset::new(from), 2_000).unwrap();
        let offsets = batches.iter().flat_map(RecordBatch::iter).map(|r| r.offset.value());
        assert!(offsets.zip(from..).all(|(a, b)| a == b), "{story}: {tp} from {from}");
    }
    end
}

/// Compares an opened store with the model, and brings the model to what it found.
fn verify(store: &LogStore, lossless: bool, model: &mut Model, story: &str) {
    if !model.created && store.describe_topic(TOPIC).is_err() {
        return;
    }
    let mut found = Vec::new();
    for number in 0..PARTITIONS as usize {
        found.push(verify_partition(store, number, lossless, model, story));
    }
    for (other, created) in &model.others {
        let exists = store.describe_topic(other).is_ok();
        assert_eq!(exists, *created, "{story}: topic {other}");
    }
    for members in &model.transactions {
        let there = |(number, value): &(usize, String)| {
            model.values[*number][..found[*number]].contains(value)
        };
        let count = members.iter().filter(|member| there(member)).count();
        assert!(
            count == 0 || count == members.len(),
            "{story}: {count} of {} records of a transaction are there",
            members.len()
        );
    }
    let offsets = store.group_offsets(GROUP).unwrap();
    let committed = offsets.get(&partition(0)).map(|offset| offset.offset.value());
    if lossless {
        let allowed = model.committed.into_iter().chain(model.tried.iter().copied());
        assert!(
            committed == model.committed || allowed.into_iter().any(|c| Some(c) == committed),
            "{story}: the group is at {committed:?}, not {:?} or {:?}",
            model.committed,
            model.tried
        );
    }
    for (number, end) in found.into_iter().enumerate() {
        model.values[number].truncate(end);
        model.acknowledged[number] = end;
        model.closed[number] = model.closed[number].min(end);
        let start = store.watermarks(&partition(u32::try_from(number).unwrap())).unwrap().start;
        model.start[number] = (start.value(), start.value());
    }
    // What is gone stays gone: its numbers are used again by other values.
    let values = model.values.clone();
    model.transactions.retain(|members| members.iter().all(|(n, v)| values[*n].contains(v)));
    model.committed = committed;
    model.tried.clear();
    model.created = true;
}

/// What the runs of a test have in common, to show that they tried something.
#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    acknowledged: usize,
    torn: usize,
    replayed: usize,
    second_crashes: u64,
    power_cuts: u64,
}

fn run(seed: u64, tally: &mut Tally) {
    let mut rng = Rng::with_seed(seed);
    let durabilities =
        [Durability::Sync, Durability::Interval(Duration::from_secs(1)), Durability::Os];
    let durability = durabilities[rng.usize(0..3)];
    let mut storage = SimulatedStorage::new();
    let mut model = Model::new();
    tally.cases += 1;
    for round in 0..rng.usize(1..4) {
        let kind = if rng.bool() { CrashKind::Kill } else { CrashKind::PowerCut };
        let story = format!("HEADWATER_SEED={seed}, round {round}, {durability:?}, {kind:?}");
        let at = storage.calls() + rng.u64(1..600);
        let fault = CallFault { at, from_then_on: true, kind: io::ErrorKind::Other };
        storage.set_fault(Some(fault));
        let store = work(&storage, durability, &mut rng, &mut model);
        let after = storage.crash(kind, |n| rng.usize(0..n));
        abandon(&storage, store);
        storage = after;
        let mut lossless = kind == CrashKind::Kill || durability == Durability::Sync;
        // Now and then the machine stops again while the store is recovering.
        while rng.u8(0..3) == 0 {
            let at = rng.u64(1..120);
            storage.set_fault(Some(CallFault { at, ..fault }));
            let store = open(&storage, durability).ok();
            let kind = if rng.bool() { CrashKind::Kill } else { CrashKind::PowerCut };
            let after = storage.crash(kind, |n| rng.usize(0..n));
            abandon(&storage, store);
            storage = after;
            tally.second_crashes += 1;
            lossless &= kind == CrashKind::Kill || durability == Durability::Sync;
        }
        let store = open(&storage, durability).unwrap_or_else(|e| panic!("{story}: {e}"));
        tally.torn += store.recovery().torn.len();
        tally.replayed += store.recovery().batches_applied;
        tally.power_cuts += u64::from(kind == CrashKind::PowerCut);
        tally.acknowledged += model.acknowledged.iter().sum::<usize>();
        verify(&store, lossless, &mut model, &story);
        let after = storage.crash(CrashKind::Kill, |n| rng.usize(0..n));
        abandon(&storage, Some(store));
        storage = after;
    }
}

/// What several threads were told about their appends, by partition: the offset and the value.
type Told = Vec<(usize, u64, String)>;

/// Appends to both partitions until the machine stops, and notes what was acknowledged.
fn append_until_it_stops(store: &LogStore, thread: usize) -> Told {
    let mut told = Told::new();
    for n in 0..60 {
        let number = (thread + n) % PARTITIONS as usize;
        let value = format!("{thread}/{n}/{}", "x".repeat(n * 7 % 90));
        let record = Record::value(value.as_bytes());
        match store.append(&partition(u32::try_from(number).unwrap()), &record) {
            Ok(offset) => told.push((number, offset.value(), value)),
            Err(_) => break,
        }
    }
    told
}

#[test]
fn no_crash_loses_what_one_of_several_threads_was_told() {
    let cases = std::env::var("HEADWATER_CASES").map_or(200, |n| n.parse::<u64>().unwrap() / 5);
    let first = fastrand::u64(0..1 << 40);
    println!("seeds {first} to {}", first + cases);
    let (mut acknowledged, mut stopped) = (0, 0);
    for seed in first..first + cases {
        let mut rng = Rng::with_seed(seed);
        let storage = SimulatedStorage::new();
        let store = open(&storage, Durability::Sync).unwrap();
        let segment_bytes = rng.u32(1_024..20_000).to_string();
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
        store.create_topic(&topic.config("segment.bytes", segment_bytes)).unwrap();
        // Once or for good: after one call that failed nothing may be acknowledged by mistake.
        let at = storage.calls() + rng.u64(1..300);
        let kind = if rng.bool() { io::ErrorKind::Other } else { io::ErrorKind::StorageFull };
        storage.set_fault(Some(CallFault { at, from_then_on: rng.bool(), kind }));
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let store = store.clone();
                std::thread::spawn(move || append_until_it_stops(&store, thread))
            })
            .collect();
        let told: Told = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        // Nothing survives that was not synced, or some of it.
        let all_gone = rng.bool();
        let after = storage.crash(CrashKind::PowerCut, |n| match (all_gone, n) {
            (true, 5) => 0,
            (true, n) => n - 1,
            (false, n) => rng.usize(0..n),
        });
        stopped += u64::from(told.len() < 180);
        abandon(&storage, Some(store));
        let store = open(&after, Durability::Sync).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for number in 0..PARTITIONS {
            let batches = store.fetch(&partition(number), Offset::ZERO, usize::MAX).unwrap();
            let read: Vec<_> = batches.iter().flat_map(RecordBatch::iter).collect();
            for (at, record) in (0..).zip(&read) {
                assert_eq!(record.offset.value(), at, "seed {seed}: partition {number}");
            }
            for (_, offset, value) in told.iter().filter(|(n, ..)| *n == number as usize) {
                let there = read.get(usize::try_from(*offset).unwrap()).and_then(|r| r.value);
                let expected = Some(value.as_bytes());
                assert_eq!(there, expected, "seed {seed}: partition {number}, offset {offset}");
            }
        }
        acknowledged += told.len();
    }
    println!("{cases} crashes, {stopped} in the middle, {acknowledged} appends acknowledged");
    assert!(acknowledged > 0 && stopped > 0);
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_tears_a_transaction() {
    let mut tally = Tally::default();
    if let Ok(seed) = std::env::var("HEADWATER_SEED") {
        run(seed.parse().expect("HEADWATER_SEED is a number"), &mut tally);
        return;
    }
    let cases = std::env::var("HEADWATER_CASES").map_or(1_000, |n| n.parse().unwrap());
    let first = fastrand::u64(0..1 << 40);
    println!("seeds {first} to {}", first + cases);
    for seed in first..first + cases {
        run(seed, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.acknowledged > 0 && tally.torn > 0 && tally.replayed > 0, "{tally:?}");
    assert!(tally.second_crashes > 0 && tally.power_cuts > 0, "{tally:?}");
    assert!(!Path::new("store").exists(), "the tests must not touch the disk");
}
