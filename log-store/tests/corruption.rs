//! Damage to any byte of any file is never read as data: the store gives the same records, or an
//! error that names the place, or makes a cache anew; and `verify` finds it.
//!
//! Each case damages a copy of a small store (one that was closed, one that was not), looks at it,
//! opens it, and reads every partition. `HEADWATER_SWEEP=deep` leaves no bit out; the quick sweep
//! flips every bit of a segment, and one bit in every other byte of the rest: in the even bytes of
//! a store that was closed, in the odd ones of one that was not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_log_store::inspect::{Severity, VerifyReport, verify};
use headwater_log_store::{
    Durability, Error, Log, LogStore, ManualClock, MemoryStorage, NewTopic, Offset, OpenMode,
    PartitionId, ProducerConfig, ProducerRecord, Record, RecordBatch, Storage, Timestamp,
    TopicName, TopicPartition,
};

const DIR: &str = "store";
/// Every batch takes 128 bytes: then one bit of a length leads to the start of another batch.
const VALUE_BYTES: usize = 59;

type Files = BTreeMap<PathBuf, Image>;

/// A file: what was written, and its length, which may be longer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Image {
    bytes: Vec<u8>,
    len: usize,
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(number))
}

fn open(storage: &MemoryStorage) -> Result<LogStore, Error> {
    LogStore::builder(DIR)
        .storage(Arc::new(storage.clone()))
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(1_000))))
        .durability(Durability::Sync)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

fn value(number: u64) -> Vec<u8> {
    format!("{number:0VALUE_BYTES$}").into_bytes()
}

fn append(store: &LogStore, number: u32, from: u64, to: u64) {
    for n in from..to {
        store.append(&partition(number), &Record::value(&value(n))).unwrap();
    }
}

/// The files of a store of two partitions with several segments, a transaction and offsets.
fn sample(segment_bytes: u32, records: u64, close: bool) -> Files {
    sample_and_earlier(segment_bytes, records, close).0
}

/// A store, and what it was some time before.
fn sample_and_earlier(segment_bytes: u32, records: u64, close: bool) -> (Files, Files) {
    let storage = MemoryStorage::new();
    let store = open(&storage).unwrap();
    let topic = NewTopic::new("t")
        .partitions(2)
        .config("segment.bytes", segment_bytes.to_string())
        .config("index.interval.bytes", "256");
    store.create_topic(&topic).unwrap();
    append(&store, 0, 0, records);
    append(&store, 1, 0, 5);
    store.alter_group_offsets("g", &[(partition(0), Some(Offset::new(3)))]).unwrap();
    store.close().unwrap();
    let earlier = take(&storage, Path::new(DIR));
    let store = open(&storage).unwrap();
    let config = ProducerConfig { transactional_id: Some("p".to_owned()), ..Default::default() };
    let mut producer = store.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    for (number, n) in [(0, records), (1, 5)] {
        let record = ProducerRecord {
            topic: "t",
            partition: Some(PartitionId::new(number)),
            key: None,
            value: Some(&value(n)),
            timestamp: Some(Timestamp::from_millis(1_000)),
            headers: &[],
        };
        producer.send(&record).unwrap();
    }
    producer.commit_transaction().unwrap();
    append(&store, 1, 6, 8);
    if close {
        store.close().unwrap();
    }
    (take(&storage, Path::new(DIR)), earlier)
}

fn take(storage: &MemoryStorage, dir: &Path) -> Files {
    let mut files = Files::new();
    for name in storage.list(dir).unwrap() {
        let path = dir.join(name);
        match storage.open(&path, OpenMode::Read) {
            Ok(file) => {
                let len = usize::try_from(file.size().unwrap()).unwrap();
                let mut bytes = file.read(0, len).unwrap().to_vec();
                bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1));
                files.insert(path, Image { bytes, len });
            }
            Err(_) => files.extend(take(storage, &path)),
        }
    }
    files
}

fn put(files: &Files) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for (path, image) in files {
        storage.create_dir(path.parent().unwrap()).unwrap();
        let file = storage.open(path, OpenMode::Create).unwrap();
        file.write(0, &image.bytes).unwrap();
        file.reserve(image.len as u64).unwrap();
    }
    storage
}

/// What a whole read of a partition gives, and the error that ended it.
fn read(
    store: &LogStore,
    topic_partition: &TopicPartition,
    what: &dyn Fn() -> String,
) -> (Vec<Vec<u8>>, Option<Error>) {
    let mut values = Vec::new();
    let mut from = match store.watermarks(topic_partition) {
        Ok(watermarks) => watermarks.start,
        Err(error) => return (values, Some(error)),
    };
    loop {
        match store.fetch(topic_partition, from, 2_000) {
            Err(error) => return (values, Some(error)),
            Ok(batches) if batches.is_empty() => return (values, None),
            Ok(batches) => {
                for record in batches.iter().flat_map(RecordBatch::iter) {
                    assert_eq!(record.offset, from, "{}: {topic_partition} has a hole", what());
                    values.push(record.value.unwrap().to_vec());
                    from = from.next();
                }
            }
        }
    }
}

/// How a damaged store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Same,
    ErrorAtOpen,
    ErrorAtRead,
}

/// What is there in a whole store.
struct Expected {
    values: Vec<Vec<Vec<u8>>>,
    verified: VerifyReport,
}

fn expected(files: &Files) -> Expected {
    let storage = put(files);
    let verified = verify(&storage, Path::new(DIR)).unwrap();
    assert_eq!(verified.findings, vec![]);
    let store = open(&storage).unwrap();
    let values =
        (0..2).map(|n| read(&store, &partition(n), &String::new)).map(|(values, error)| {
            assert!(error.is_none());
            values
        });
    Expected { values: values.collect(), verified }
}

/// Opens and reads a damaged store; what may be lost is the last `torn` records of each partition.
fn judge(files: &Files, expected: &Expected, torn: usize, what: &dyn Fn() -> String) -> Outcome {
    let begin = std::time::Instant::now();
    let storage = put(files);
    let verified = verify(&storage, Path::new(DIR));
    let outcome = match open(&storage) {
        Err(error) => {
            check_error(&error, &what());
            Outcome::ErrorAtOpen
        }
        Ok(store) => read_all(&store, expected, torn, what),
    };
    let found = |least: Severity| match &verified {
        Ok(report) => report.severity() >= Some(least),
        Err(error) => {
            check_error(error, &what());
            true
        }
    };
    match outcome {
        Outcome::Same => {}
        Outcome::ErrorAtOpen | Outcome::ErrorAtRead => {
            assert!(found(Severity::Data), "{}: verify finds {verified:?}", what());
        }
    }
    assert!(begin.elapsed().as_secs() < 2, "{} takes {:?}", what(), begin.elapsed());
    outcome
}

fn read_all(
    store: &LogStore,
    expected: &Expected,
    torn: usize,
    what: &dyn Fn() -> String,
) -> Outcome {
    let mut outcome = Outcome::Same;
    for (number, values_expected) in (0..).zip(&expected.values) {
        let (values, error) = read(store, &partition(number), what);
        assert!(values_expected.starts_with(&values), "{}: partition {number} is other", what());
        match error {
            None => {
                let least = values_expected.len() - torn;
                assert!(
                    values.len() >= least,
                    "{}: partition {number} is short: {} {:?}",
                    what(),
                    values.len(),
                    store.watermarks(&partition(number))
                );
            }
            Some(error) => {
                check_error(&error, &what());
                outcome = Outcome::ErrorAtRead;
            }
        }
    }
    outcome
}

/// An error must say where: a path inside of the store, or a partition and an offset.
fn check_error(error: &Error, what: &str) {
    let message = error.to_string();
    let named = match error {
        Error::Corrupt { path, .. }
        | Error::CorruptFile { path, .. }
        | Error::LostDurableData { path, .. }
        | Error::UnsupportedVersion { path, .. }
        | Error::NoStore { path }
        | Error::Io { path, .. } => path.starts_with(DIR),
        Error::UnknownTopic { .. } => false,
        _ => false,
    };
    assert!(named, "{what}: {message}");
}

fn is_deep() -> bool {
    std::env::var("HEADWATER_SWEEP").is_ok_and(|word| word == "deep")
}

/// Counts outcomes, and says them when dropped.
#[derive(Debug, Default)]
struct Tally {
    name: &'static str,
    outcomes: BTreeMap<Outcome, u64>,
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self { name, outcomes: BTreeMap::new() }
    }

    fn add(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        println!("{}: {:?}", self.name, self.outcomes);
    }
}

/// The files that hold something: all of the store's own, and of one partition the first segment
/// with its index files and the last one; of all partitions in the deep sweep.
fn kinds(files: &Files) -> Vec<PathBuf> {
    let written = files.iter().filter(|(_, image)| !image.bytes.is_empty());
    let mut paths: Vec<PathBuf> = written.map(|(path, _)| path.clone()).collect();
    if is_deep() {
        return paths;
    }
    let of_segment = |path: &PathBuf| {
        path.to_str().unwrap().contains("-0/0000") || path.starts_with("store/t-1")
    };
    let mine = |path: &PathBuf| path.starts_with("store/t-0");
    let mut shown: Vec<PathBuf> = paths.iter().filter(|path| mine(path)).take(3).cloned().collect();
    shown.extend(paths.iter().rfind(|p| mine(p) && p.to_str().unwrap().ends_with(".log")).cloned());
    paths.retain(|path| !of_segment(path) || shown.contains(path));
    paths
}

/// After a stop without a close, damage to the end of the journal cannot be told from an entry
/// that was written in part, but for what its segments have of it: nothing is lost silently in a
/// store whose machine went on.
const TORN: usize = 0;

#[test]
fn every_bit_of_a_segment_is_checked_wherever_a_read_begins() {
    // One segment of 16 KiB, and the store stays open: an index that was built before damage, and
    // reads that begin at the damaged batch, before it and after it.
    let files = sample(1 << 20, 127, true);
    let storage = put(&files);
    let store = open(&storage).unwrap();
    let path = Path::new(DIR).join("t-0/00000000000000000000.log");
    let file = storage.open(&path, OpenMode::Write).unwrap();
    let bytes = file.read(0, 128 * 128).unwrap();
    assert_eq!(read(&store, &partition(0), &String::new).0.len(), 128);
    let mut found = 0u64;
    for position in 0..bytes.len() {
        let batch = (position / 128) as u64;
        for bit in 0..8 {
            file.write(position as u64, &[bytes[position] ^ 1 << bit]).unwrap();
            for from in batch.saturating_sub(1)..(batch + 2).min(128) {
                let fetched = store.fetch(&partition(0), Offset::new(from), 300);
                let records = match &fetched {
                    Ok(batches) => batches.iter().flat_map(RecordBatch::iter).collect(),
                    Err(Error::Corrupt { path: at, offset, .. }) => {
                        assert!(*at == path && offset.value() <= from.max(batch), "{fetched:?}");
                        found += u64::from(from == batch);
                        Vec::new()
                    }
                    Err(error) => panic!("byte {position} bit {bit}: {error}"),
                };
                for (n, record) in (from..).zip(&records) {
                    let same = record.offset.value() == n && record.value == Some(&value(n));
                    assert!(same, "byte {position} bit {bit}, from {from}: {record:?}");
                }
                assert!(fetched.is_err() || !records.is_empty(), "byte {position} bit {bit}");
            }
        }
        file.write(position as u64, &bytes[position..=position]).unwrap();
    }
    assert_eq!(found, 131_072, "every flipped bit must be an error where it lies");
}

#[test]
fn a_flipped_bit_in_any_file_is_found_or_harmless() {
    for (close, records) in [(true, 20), (false, 20)] {
        let files = sample(1_500, records, close);
        let expected = expected(&files);
        assert_eq!(expected.verified.clean, Some(close));
        let mut tally = Tally::new("flipped bits");
        for path in kinds(&files) {
            for position in 0..files[&path].bytes.len() {
                for bit in 0..8 {
                    let chosen = bit == position / 2 % 8 && (position % 2 == 0) == close;
                    if !is_deep() && !chosen {
                        continue;
                    }
                    let mut damaged = files.clone();
                    damaged.get_mut(&path).unwrap().bytes[position] ^= 1 << bit;
                    let what = || format!("{} byte {position} bit {bit}", path.display());
                    tally.add(judge(&damaged, &expected, TORN, &what));
                }
            }
        }
        assert!(tally.count(Outcome::ErrorAtRead) > 100, "{tally:?}");
    }
}

#[test]
fn a_file_of_any_other_length_is_found_or_harmless() {
    for close in [true, false] {
        let files = sample(1_500, 20, close);
        let expected = expected(&files);
        let mut tally = Tally::new("other lengths");
        for path in kinds(&files) {
            let written = files[&path].bytes.len();
            let step = if is_deep() { 1 } else { 7 };
            let shorter = (0..written).step_by(step).chain([files[&path].len - 1]);
            for len in shorter {
                let mut damaged = files.clone();
                let image = damaged.get_mut(&path).unwrap();
                image.bytes.truncate(len);
                image.len = len;
                let what = || format!("{} cut to {len}", path.display());
                tally.add(judge(&damaged, &expected, TORN, &what));
            }
            for (garbage, more) in [(0u8, 1), (0, 512), (0, 70_000), (0xa5, 1), (0xa5, 700)] {
                let mut damaged = files.clone();
                let image = damaged.get_mut(&path).unwrap();
                image.bytes.resize(image.len, 0);
                image.bytes.resize(image.len + more, garbage);
                image.len += more;
                let what = || format!("{} with {more} more bytes {garbage}", path.display());
                tally.add(judge(&damaged, &expected, TORN, &what));
            }
            let mut damaged = files.clone();
            damaged.remove(&path);
            let what = || format!("{} removed", path.display());
            if !path.ends_with("store") {
                tally.add(judge(&damaged, &expected, TORN, &what));
            }
        }
        assert!(tally.count(Outcome::ErrorAtOpen) > 100, "{tally:?}");
    }
}

#[test]
fn whole_batches_in_the_wrong_place_are_never_data() {
    for close in [true, false] {
        let files = sample(1 << 20, 20, close);
        let expected = expected(&files);
        let (first, other) =
            ("store/t-0/00000000000000000000.log", "store/t-1/00000000000000000000.log");
        let batch =
            |path: &str, n: usize| files[Path::new(path)].bytes[n * 128..(n + 1) * 128].to_vec();
        let mut tally = Tally::new("misplaced batches");
        for n in 0..20 {
            for m in 0..20 {
                let mut swapped = files.clone();
                let bytes = &mut swapped.get_mut(Path::new(first)).unwrap().bytes;
                bytes[n * 128..(n + 1) * 128].copy_from_slice(&batch(first, m));
                let what = || format!("batch {m} in place of {n}");
                let outcome = judge(&swapped, &expected, TORN, &what);
                assert_eq!(outcome == Outcome::Same, n == m, "{}", what());
                tally.add(outcome);
                bytes_swap(&mut swapped, first, m, &batch(first, n));
                tally.add(judge(&swapped, &expected, TORN, &|| format!("{m} and {n} swapped")));
            }
            let mut moved = files.clone();
            bytes_swap(&mut moved, first, n, &batch(other, n % 5));
            let what = || format!("a batch of another partition at {n}");
            assert_eq!(judge(&moved, &expected, TORN, &what), Outcome::ErrorAtRead);
            let mut doubled = files.clone();
            let bytes = &mut doubled.get_mut(Path::new(first)).unwrap().bytes;
            let twice = bytes[n * 128..(n + 1) * 128].to_vec();
            bytes.splice(n * 128..n * 128, twice);
            tally.add(judge(&doubled, &expected, TORN, &|| format!("batch {n} twice")));
        }
        assert!(tally.count(Outcome::ErrorAtRead) > 100, "{tally:?}");
    }
}

fn bytes_swap(files: &mut Files, path: &str, at: usize, batch: &[u8]) {
    let bytes = &mut files.get_mut(Path::new(path)).unwrap().bytes;
    bytes[at * 128..(at + 1) * 128].copy_from_slice(batch);
}

#[test]
fn blocks_of_an_earlier_state_and_of_other_files_are_found_or_harmless() {
    for close in [true, false] {
        let (files, earlier) = sample_and_earlier(1_500, 20, close);
        let expected = expected(&files);
        let mut tally = Tally::new("stale blocks");
        let paths = kinds(&files);
        for path in &paths {
            let sources = paths.iter().map(|other| &files[other]).chain(earlier.get(path));
            for (number, source) in sources.enumerate() {
                if *source == files[path] {
                    continue;
                }
                for block in (0..files[path].bytes.len()).step_by(512) {
                    let mut damaged = files.clone();
                    let bytes = &mut damaged.get_mut(path).unwrap().bytes;
                    let end = (block + 512).min(bytes.len());
                    for (at, byte) in bytes[block..end].iter_mut().enumerate() {
                        *byte = source.bytes.get(block + at).copied().unwrap_or_default();
                    }
                    let what = || format!("{} block {block} from {number}", path.display());
                    tally.add(judge(&damaged, &expected, TORN, &what));
                }
            }
        }
        assert!(tally.count(Outcome::ErrorAtOpen) > 0, "{tally:?}");
        assert!(tally.count(Outcome::ErrorAtRead) > 20, "{tally:?}");
    }
}
