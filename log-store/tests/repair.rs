//! A repaired store opens, has every whole record, names what it lost, and gives no offset out
//! twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use headwater_log_store::inspect::{Severity, plan_repair, repair, verify};
use headwater_log_store::{
    Durability, Error, FileStorage, Log, LogStore, NewTopic, Offset, PartitionId, Reads, Record,
    RecordBatch, SystemClock, TopicName, TopicPartition,
};

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(number))
}

fn open(dir: &Path) -> Result<LogStore, Error> {
    LogStore::builder(dir)
        .durability(Durability::Sync)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

/// A store with 40 records in each of two partitions, in several segments; the last 5 of each
/// came after a close, and without another if it was killed.
fn sample(dir: &Path, close: bool) {
    let store = open(dir).unwrap();
    let topic = NewTopic::new("t").partitions(2).config("segment.bytes", "1024");
    store.create_topic(&topic).unwrap();
    let append = |store: &LogStore, from, to| {
        for n in from..to {
            for number in 0..2 {
                let value = format!("{number}/{n}");
                store.append(&partition(number), &Record::value(value.as_bytes())).unwrap();
            }
        }
    };
    append(&store, 0, 35);
    store.close().unwrap();
    let store = open(dir).unwrap();
    append(&store, 35, 40);
    if close {
        store.close().unwrap();
        return;
    }
    // As a kill leaves it: a copy of the folder while the store is open.
    let copy = dir.with_extension("copy");
    copy_dir(dir, &copy);
    drop(store);
    fs::remove_dir_all(dir).unwrap();
    fs::rename(copy, dir).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn segments(dir: &Path, number: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(format!("t-{number}"))).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Damages a store, repairs it, and compares what it has with what the plan says.
#[track_caller]
fn check(close: bool, damage: impl Fn(&Path), steps: &[&str], lost: &[(u32, u64, u64)]) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    sample(&dir, close);
    damage(&dir);
    let (storage, clock) = (FileStorage::new(Reads::Positioned), SystemClock::new());
    let plan = plan_repair(&storage, &clock, &dir).unwrap();
    let shown: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(plan.beyond_repair, Vec::<String>::new());
    assert_eq!(shown.len(), steps.len(), "{shown:#?}");
    for (shown, step) in shown.iter().zip(steps) {
        assert!(shown.contains(step), "{step:?} is not in {shown:?}");
    }
    let expected: Vec<_> = lost
        .iter()
        .map(|&(number, from, to)| (partition(number), Offset::new(from)..Offset::new(to)))
        .collect();
    assert_eq!(plan.lost(), expected);

    repair(&storage, &clock, &dir, &plan).unwrap();
    let again = plan_repair(&storage, &clock, &dir).unwrap();
    assert_eq!(again.steps, vec![], "a repaired store needs no repair");
    let verified = verify(&storage, &dir).unwrap();
    assert!(verified.severity() < Some(Severity::Data), "{:#?}", verified.findings);
    if close {
        // For readers in other processes nothing else has to happen first.
        let reader = LogStore::open_read_only(&dir).unwrap();
        for number in 0..2 {
            assert_eq!(reader.watermarks(&partition(number)).unwrap().end, Offset::new(40));
            read(&reader, &partition(number));
        }
    }
    let store = open(&dir).unwrap();
    for number in 0..2 {
        let is_lost =
            |n: u64| lost.iter().any(|(p, from, to)| *p == number && (*from..*to).contains(&n));
        let expected: Vec<_> =
            (0..40).filter(|n| !is_lost(*n)).map(|n| (n, format!("{number}/{n}"))).collect();
        assert_eq!(read(&store, &partition(number)), expected);
        let next = store.append(&partition(number), &Record::value(b"more")).unwrap();
        assert_eq!(next, Offset::new(40), "an offset is given out twice");
    }
    store.close().unwrap();
    let verified = verify(&storage, &dir).unwrap();
    assert!(!verified.is_damaged(), "{:#?}", verified.findings);
}

fn read(store: &LogStore, topic_partition: &TopicPartition) -> Vec<(u64, String)> {
    let mut consumer = store.consumer(&Default::default()).unwrap();
    consumer.assign(std::slice::from_ref(topic_partition)).unwrap();
    consumer.seek(topic_partition, Offset::ZERO).unwrap();
    let mut records = Vec::new();
    loop {
        let batches = consumer.poll(std::time::Duration::ZERO).unwrap();
        if batches.is_empty() {
            return records;
        }
        for record in batches.iter().flat_map(RecordBatch::iter) {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            records.push((record.offset.value(), value));
        }
    }
}

#[test]
fn a_whole_store_needs_no_repair() {
    for close in [true, false] {
        check(close, |_| {}, &[], &[]);
    }
}

#[test]
fn a_damaged_batch_is_left_out_and_named() {
    for close in [true, false] {
        let damage = |dir: &Path| flip(&segments(dir, 0)[0], 100);
        check(
            close,
            damage,
            &["t-0/00000000000000000000.log anew", "write both", "published"],
            &[(0, 1, 2)],
        );
    }
}

#[test]
fn a_segment_that_is_gone_or_cut_leaves_its_offsets_taken() {
    for close in [true, false] {
        let gone = |dir: &Path| fs::remove_file(&segments(dir, 1)[1]).unwrap();
        check(
            close,
            gone,
            &["lost: t-1 offsets 14..28", "write both", "published"],
            &[(1, 14, 28)],
        );
        let cut = |dir: &Path| {
            let file = fs::OpenOptions::new().write(true).open(&segments(dir, 1)[0]).unwrap();
            file.set_len(100).unwrap();
        };
        check(close, cut, &["lost: t-1 offsets 1..14", "write both", "published"], &[(1, 1, 14)]);
    }
}

#[test]
fn the_store_file_comes_back_from_its_copy_or_from_the_published_one() {
    check(true, |dir| flip(&dir.join("store"), 10), &["from its other copy"], &[]);
    let both = |dir: &Path| {
        flip(&dir.join("store"), 10);
        flip(&dir.join("store"), 4_100);
    };
    check(true, both, &["from the published file"], &[]);
    check(false, |dir| fs::remove_file(dir.join("store")).unwrap(), &["from the published"], &[]);
    check(true, |dir| flip(&dir.join("published"), 10), &["the published file anew"], &[]);
}

#[test]
fn a_store_without_an_id_is_beyond_repair_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    sample(&dir, true);
    fs::remove_file(dir.join("store")).unwrap();
    fs::remove_file(dir.join("published")).unwrap();
    let (storage, clock) = (FileStorage::new(Reads::Positioned), SystemClock::new());
    let plan = plan_repair(&storage, &clock, &dir).unwrap();
    assert!(plan.beyond_repair[0].contains("the store's id is lost"), "{plan:?}");
    let error = repair(&storage, &clock, &dir, &plan).unwrap_err().to_string();
    assert!(error.contains("the store's id is lost"), "{error}");
}

#[test]
fn checkpoints_are_written_from_the_segments_when_both_are_gone() {
    for close in [true, false] {
        let both = |dir: &Path| {
            flip(&dir.join("checkpoint.0"), 20);
            fs::remove_file(dir.join("checkpoint.1")).unwrap();
        };
        check(close, both, &["from what the segments hold", "published"], &[]);
    }
    check(true, |dir| flip(&dir.join("checkpoint.1"), 20), &["write both checkpoints"], &[]);
}

#[test]
fn a_journal_comes_back_and_what_only_it_had_is_named() {
    let journal = |dir: &Path| dir.join("journal/journal.0");
    check(true, |dir| fs::remove_file(journal(dir)).unwrap(), &["65536 bytes"], &[]);
    // The first entry after the close is damaged, and later ones are not; the segments have all.
    let damage = |dir: &Path| flip(&journal(dir), 40);
    check(false, damage, &["go on without the journal", "write both", "published"], &[]);
}

#[test]
fn a_topics_file_comes_back_with_the_id_that_its_batches_have() {
    let damage = |dir: &Path| flip(&dir.join("topics/t"), 12);
    check(true, damage, &["the file of topic t with id 1, 2 partitions"], &[]);
    check(true, |dir| fs::remove_file(dir.join("topics/t")).unwrap(), &["topic t with id 1"], &[]);
}

#[test]
fn what_is_in_the_place_of_a_file_makes_way() {
    let folder = |dir: &Path| {
        let segment = &segments(dir, 0)[0];
        fs::remove_file(segment).unwrap();
        fs::create_dir(segment).unwrap();
    };
    check(true, folder, &["lost: t-0 offsets 0..14", "write both", "published"], &[(0, 0, 14)]);
    let link = |dir: &Path| {
        let checkpoint = dir.join("checkpoint.0");
        fs::remove_file(&checkpoint).unwrap();
        std::os::unix::fs::symlink("elsewhere", checkpoint).unwrap();
    };
    check(true, link, &["write both checkpoints"], &[]);
}

#[test]
fn a_plan_is_not_run_on_a_store_that_is_being_written_or_has_changed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    sample(&dir, true);
    flip(&segments(&dir, 0)[0], 100);
    let (storage, clock) = (FileStorage::new(Reads::Positioned), SystemClock::new());
    let plan = plan_repair(&storage, &clock, &dir).unwrap();
    let store = open(&dir).unwrap();
    assert!(verify(&storage, &dir).unwrap().writer.is_some());
    let refused = repair(&storage, &clock, &dir, &plan);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    store.close().unwrap();
    flip(&segments(&dir, 1)[0], 100);
    let error = repair(&storage, &clock, &dir, &plan).unwrap_err().to_string();
    assert!(error.contains("has changed since the plan was made"), "{error}");
}
