//! Stores that earlier versions have written open for ever: with their records, ready for more,
//! and without a damaged byte.
//!
//! `tests/golden/v1` holds a store that was closed and one that was not. Files are kept without
//! their trailing zeros; `sizes` says how long each is. `HEADWATER_GOLDEN=write cargo test
//! --package headwater-log-store --test golden` makes them anew, which is only right as long as no
//! release has written that version.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use headwater_log_store::{
    Clock, Durability, Error, FileStorage, Header, Log, LogStore, ManualClock, NewTopic, Offset,
    PartitionId, ProducerConfig, ProducerRecord, Reads, Record, Timestamp, TopicName,
    TopicPartition, inspect,
};

const GROUP: &str = "golden-group";
/// The time of the first append; each one comes a second after the one before.
const BEGIN_MS: i64 = 1_700_000_000_000;

fn golden(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(variant)
}

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Result<LogStore, Error> {
    LogStore::builder(dir)
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .durability(Durability::Sync)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

/// A record as text: offset, time, key, value, headers.
fn line(offset: u64, millis: i64, key: &str, value: &str, headers: &str) -> String {
    format!("{offset} {millis} {key} {value} [{headers}]")
}

fn lines(store: &LogStore, topic_partition: &TopicPartition) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("null".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let start = store.watermarks(topic_partition).unwrap().start;
    let batches = store.fetch(topic_partition, start, usize::MAX).unwrap();
    let records = batches.iter().flat_map(|batch| batch.iter());
    records
        .map(|r| {
            let headers = r.headers.iter().map(|h| format!("{}={}", h.key, text(h.value)));
            let headers = headers.collect::<Vec<_>>().join(",");
            line(r.offset.value(), r.timestamp.as_millis(), &text(r.key), &text(r.value), &headers)
        })
        .collect()
}

/// Writes what [`expected`] says, up to the last append before the close.
fn fill(store: &LogStore, clock: &Arc<ManualClock>) {
    let segments = |topic: NewTopic| {
        topic.config("segment.bytes", "2048").config("index.interval.bytes", "256")
    };
    store.create_topic(&segments(NewTopic::new("events").partitions(2))).unwrap();
    let stamped = NewTopic::new("stamped").config("message.timestamp.type", "LogAppendTime");
    store.create_topic(&stamped).unwrap();
    for n in 0..60u64 {
        clock.advance(std::time::Duration::from_secs(1));
        let value = format!("value {n}");
        let headers = [Header { key: "n", value: Some(b"1") }, Header { key: "n", value: None }];
        let record = Record::value(value.as_bytes()).with_key(b"key").with_headers(&headers);
        let number = u32::try_from(n % 2).unwrap();
        store.append(&partition("events", number), &record).unwrap();
    }
    clock.advance(std::time::Duration::from_secs(1));
    let early = Record::value(b"early").with_timestamp(Timestamp::from_millis(5));
    store.append_batch(&partition("stamped", 0), &[early, Record::default()]).unwrap();
    let config =
        ProducerConfig { transactional_id: Some("golden".to_owned()), ..Default::default() };
    let mut producer = store.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    for number in 0..2 {
        producer
            .send(&ProducerRecord {
                topic: "events",
                partition: Some(PartitionId::new(number)),
                key: None,
                value: Some(b"together"),
                timestamp: Some(Timestamp::from_millis(BEGIN_MS)),
                headers: &[],
            })
            .unwrap();
    }
    producer.commit_transaction().unwrap();
    let offsets = [(partition("events", 0), Some(Offset::new(17))), (partition("events", 1), None)];
    store.alter_group_offsets(GROUP, &offsets).unwrap();
    store.delete_records(&partition("events", 1), Offset::new(3)).unwrap();
}

/// What is appended after the store was closed and opened again, and is only in the journal
/// and behind the recovery points when it stops without a close.
fn fill_more(store: &LogStore) {
    for n in 0..3 {
        let value = format!("late {n}");
        let record = Record::value(value.as_bytes()).with_timestamp(Timestamp::from_millis(n));
        store.append(&partition("events", 0), &record).unwrap();
    }
}

fn expected(unclean: bool) -> Vec<(TopicPartition, Vec<String>)> {
    let numbers = |parity: u64| (0..60).filter(move |n| n % 2 == parity);
    let events = |parity: u64| -> Vec<String> {
        let time = |n: u64| BEGIN_MS + 1_000 * (i64::try_from(n).unwrap() + 1);
        let value = |n| line(n / 2, time(n), "key", &format!("value {n}"), "n=1,n=null");
        let together = line(30, BEGIN_MS, "null", "together", "");
        numbers(parity).map(value).chain([together]).collect()
    };
    let mut first = events(0);
    if unclean {
        let late = |n: i64| line(31 + n.cast_unsigned(), n, "null", &format!("late {n}"), "");
        first.extend((0..3).map(late));
    }
    let appended = BEGIN_MS + 61_000;
    let stamped =
        vec![line(0, appended, "null", "early", ""), line(1, appended, "null", "null", "")];
    vec![
        (partition("events", 0), first),
        (partition("events", 1), events(1).split_off(3)),
        (partition("stamped", 0), stamped),
    ]
}

#[track_caller]
fn check(store: &LogStore, unclean: bool) {
    for (topic_partition, lines_expected) in expected(unclean) {
        assert_eq!(lines(store, &topic_partition), lines_expected, "{topic_partition}");
    }
    let offsets = store.group_offsets(GROUP).unwrap();
    let committed = offsets.into_iter().map(|(tp, o)| (tp, o.offset)).collect::<Vec<_>>();
    assert_eq!(committed, [(partition("events", 0), Offset::new(17))]);
}

fn verified(dir: &Path) -> inspect::VerifyReport {
    inspect::verify(&FileStorage::new(Reads::Positioned), dir).unwrap()
}

/// All files below a folder, from it on, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Takes a store into the repository.
fn keep(dir: &Path, variant: &str) {
    let target = golden(variant);
    let _ = fs::remove_dir_all(&target);
    let mut sizes = String::new();
    for path in files(dir).iter().filter(|path| *path != Path::new("store.lock")) {
        let bytes = fs::read(dir.join(path)).unwrap();
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let file = target.join("files").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &bytes[..written]).unwrap();
        sizes.push_str(&format!("{} {}\n", bytes.len(), path.display()));
    }
    fs::write(target.join("sizes"), sizes).unwrap();
}

/// Puts a store from the repository into a folder of its own.
fn unpack(variant: &str) -> tempfile::TempDir {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(write_if_asked);
    let dir = tempfile::tempdir().unwrap();
    let golden = golden(variant);
    for entry in fs::read_to_string(golden.join("sizes")).unwrap().lines() {
        let (size, path) = entry.split_once(' ').unwrap();
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut bytes = fs::read(golden.join("files").join(path)).unwrap();
        bytes.resize(size.parse().unwrap(), 0);
        fs::write(file, bytes).unwrap();
    }
    dir
}

/// Makes the golden stores, if asked to.
fn write_if_asked() {
    if std::env::var_os("HEADWATER_GOLDEN").is_none_or(|word| word != "write") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
    let store = open(dir.path(), &clock).unwrap();
    fill(&store, &clock);
    store.close().unwrap();
    keep(dir.path(), "closed");
    let store = open(dir.path(), &clock).unwrap();
    fill_more(&store);
    keep(dir.path(), "killed");
}

#[test]
fn a_store_of_version_1_opens_reads_appends_and_verifies() {
    for (variant, unclean) in [("closed", false), ("killed", true)] {
        let dir = unpack(variant);
        let before = verified(dir.path());
        assert_eq!((before.clean, &before.findings), (Some(!unclean), &vec![]), "{variant}");
        assert!(before.segments > 4, "{variant}: {before:?}");
        check(&LogStore::open_read_only(dir.path()).unwrap(), unclean);

        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
        let store = open(dir.path(), &clock).unwrap();
        assert_eq!(store.recovery().clean, !unclean, "{variant}");
        assert_eq!(store.recovery().batches_applied, if unclean { 3 } else { 0 }, "{variant}");
        check(&store, unclean);
        let more = partition("events", 1);
        assert_eq!(store.append(&more, &Record::value(b"more")).unwrap(), Offset::new(31));
        store.close().unwrap();
        assert_eq!(verified(dir.path()).findings, vec![], "{variant}");
        let store = open(dir.path(), &clock).unwrap();
        assert_eq!(lines(&store, &more).pop().unwrap(), line(31, BEGIN_MS, "null", "more", ""));
    }
}

/// Gives a file version 9, with a checksum that says so.
fn make_newer(path: &Path, position: usize, len: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position + 4..position + 6].copy_from_slice(&9u16.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[position..position + len - 4]);
    bytes[position + len - 4..position + len].copy_from_slice(&checksum.to_be_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_name_and_left_alone() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 3] = [
        ("store", |path| {
            make_newer(path, 0, 28);
            make_newer(path, 4096, 28);
        }),
        ("checkpoint.1", |path| newer_checkpoint(path)),
        ("topics/events", |path| make_newer(path, 0, fs::read(path).unwrap().len())),
    ];
    for (file, make_newer) in cases {
        let dir = unpack("closed");
        // Both copies, whichever is the one that counts.
        for file in [file, "checkpoint.0"].into_iter().take(1 + usize::from(file == "checkpoint.1"))
        {
            make_newer(&dir.path().join(file));
        }
        let before: Vec<_> = files(dir.path())
            .iter()
            .map(|p| fs::read(dir.path().join(p)))
            .map(Result::unwrap)
            .collect();
        let expected = "has format version 9; this version reads up to 1";
        let verify = |dir: &Path| inspect::verify(&FileStorage::new(Reads::Positioned), dir);
        let errors = [
            open(dir.path(), &clock).map(|_| ()),
            LogStore::open_read_only(dir.path()).map(|_| ()),
            verify(dir.path()).map(|_| ()),
        ];
        for error in errors {
            let message = error.expect_err(file).to_string();
            assert!(
                message.contains(expected) && message.contains(dir.path().to_str().unwrap()),
                "{file}: {message}"
            );
        }
        let _ = fs::remove_file(dir.path().join("store.lock"));
        let after: Vec<_> = files(dir.path())
            .iter()
            .map(|p| fs::read(dir.path().join(p)))
            .map(Result::unwrap)
            .collect();
        assert!(before == after, "{file}: something was written");
    }
}

#[test]
fn a_reader_beside_a_newer_writer_is_told_so() {
    let dir = unpack("killed");
    make_newer(&dir.path().join("published"), 0, 28);
    let error = LogStore::open_read_only(dir.path()).map(|_| ()).unwrap_err().to_string();
    let expected = "published has format version 9; this version reads up to 1";
    assert!(error.contains(expected), "{error}");
    // A writer makes the file anew, as it does at every open.
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
    check(&open(dir.path(), &clock).unwrap(), true);
    check(&LogStore::open_read_only(dir.path()).unwrap(), true);
}

fn newer_checkpoint(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let len = u32::from_be_bytes(bytes[6..10].try_into().unwrap()) as usize;
    make_newer(path, 0, 10 + len + 4);
}

#[test]
fn the_golden_stores_stay_small() {
    let all: u64 = ["closed", "killed"]
        .into_iter()
        .flat_map(|variant| {
            files(&golden(variant)).into_iter().map(move |f| golden(variant).join(f))
        })
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!((1..100_000).contains(&all), "{all} bytes");
}

#[test]
fn the_format_page_names_the_magics_and_positions_that_the_files_have() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let page = fs::read_to_string(page).unwrap();
    let dir = unpack("killed");
    for (file, magic) in [
        ("store", "HWST"),
        ("checkpoint.0", "HWCP"),
        ("checkpoint.1", "HWCP"),
        ("journal/journal.0", "HWJE"),
        ("published", "HWPU"),
        ("topics/events", "HWTP"),
    ] {
        let bytes = fs::read(dir.path().join(file)).unwrap();
        assert!(bytes.starts_with(magic.as_bytes()), "{file}");
        assert!(page.contains(&format!("magic \"{magic}\"")), "{magic} is not on the page");
    }
    let segment = fs::read(dir.path().join("events-0/00000000000000000000.log")).unwrap();
    let number = |at: usize, len: usize| {
        segment[at..at + len].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    // The positions of the page: length, magic, delta, producer, count.
    let length = usize::try_from(number(8, 4)).unwrap();
    assert_eq!((number(0, 8), number(16, 1), number(23, 4), number(57, 4)), (0, 2, 0, 1));
    assert_eq!((number(43, 8), number(51, 2), number(53, 4)), (u64::MAX, 0xffff, 0xffff_ffff));
    let store = fs::read(dir.path().join("store")).unwrap();
    assert_eq!(store[..28], store[4096..4124]);
    let mut place = store[8..24].to_vec();
    place.extend_from_slice(&1u64.to_be_bytes());
    place.extend_from_slice(&0u32.to_be_bytes());
    place.extend_from_slice(&0u64.to_be_bytes());
    place.extend_from_slice(&segment[8..12]);
    place.extend_from_slice(&segment[17..21]);
    assert_eq!(place.len(), 44);
    assert_eq!(u64::from(crc32fast::hash(&place).max(1)), number(12, 4));
    assert_eq!(u64::from(crc32c::crc32c(&segment[21..12 + length])), number(17, 4));
}
