//! Leader epochs: an offset that an unclean stop took, and that was used again, is known from the
//! one that it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, CallFault, ConsumerConfig, CrashKind, Durability, EpochEndOffset, Error,
    LeaderEpoch, Log, LogStore, ManualClock, NewTopic, Offset, PartitionId, Record,
    SimulatedStorage, Storage, Timestamp, TopicName, TopicPartition,
};

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn open(storage: &SimulatedStorage) -> LogStore {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(0))))
        .durability(Durability::Os)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
        .unwrap()
}

fn append(store: &LogStore, topic: &str, values: std::ops::Range<u32>) {
    for value in values {
        let value = value.to_string();
        store.append(&partition(topic, 0), &Record::value(value.as_bytes())).unwrap();
    }
}

/// Stops the machine and opens what is left.
fn stop(storage: &SimulatedStorage, store: LogStore, kind: CrashKind) -> SimulatedStorage {
    // With 0, nothing that was not synced is there.
    let after = storage.crash(kind, |_| 0);
    let at = storage.calls() + 1;
    let kind = io::ErrorKind::Other;
    storage.set_fault(Some(CallFault { at, from_then_on: true, kind }));
    drop(store);
    after
}

fn end_of(store: &LogStore, epoch: u32) -> (u32, u64) {
    let asked = Some(LeaderEpoch::new(epoch));
    let EpochEndOffset { leader_epoch, end_offset } =
        store.offset_for_leader_epoch(&partition("t", 0), asked).unwrap();
    (leader_epoch.value(), end_offset.value())
}

fn current(store: &LogStore, topic: &str) -> (u32, u64) {
    let found = store.offset_for_leader_epoch(&partition(topic, 0), None).unwrap();
    (found.leader_epoch.value(), found.end_offset.value())
}

/// Five records that last, five that a power cut takes, and ten that come after.
fn truncated() -> (SimulatedStorage, LogStore) {
    let storage = SimulatedStorage::new();
    let store = open(&storage);
    store.create_topic(&NewTopic::new("t")).unwrap();
    append(&store, "t", 0..5);
    store.close().unwrap();
    let store = open(&storage);
    append(&store, "t", 5..10);
    assert_eq!(current(&store, "t"), (0, 10));
    let storage = stop(&storage, store, CrashKind::PowerCut);
    let store = open(&storage);
    assert_eq!(current(&store, "t"), (1, 5));
    append(&store, "t", 100..110);
    (storage, store)
}

#[test]
fn only_an_unclean_stop_begins_an_epoch() {
    let storage = SimulatedStorage::new();
    let store = open(&storage);
    store.create_topic(&NewTopic::new("t")).unwrap();
    append(&store, "t", 0..3);
    for _ in 0..3 {
        store.close().unwrap();
        assert_eq!(current(&open(&storage), "t"), (0, 3));
    }
    let store = open(&storage);
    append(&store, "t", 3..5);
    let storage = stop(&storage, store, CrashKind::Kill);
    let store = open(&storage);
    assert_eq!((end_of(&store, 0), current(&store, "t")), ((0, 5), (1, 5)));
    // Topics that are made now begin in it; so do partitions.
    store.create_topic(&NewTopic::new("new")).unwrap();
    store.create_partitions("t", 2).unwrap();
    append(&store, "new", 0..1);
    assert_eq!(current(&store, "new"), (1, 1));
    // An epoch in which nothing was written leaves nothing behind.
    let storage = stop(&storage, store, CrashKind::Kill);
    let store = open(&storage);
    assert_eq!((end_of(&store, 0), end_of(&store, 1)), ((0, 5), (0, 5)));
    assert_eq!(current(&store, "t"), (2, 5));
    let found = store.offset_for_leader_epoch(&partition("t", 1), None).unwrap();
    assert_eq!(found.leader_epoch, LeaderEpoch::new(2));
}

#[test]
fn a_position_that_was_lost_is_past_the_end_of_its_epoch() {
    let (storage, store) = truncated();
    let check = |store: &LogStore| {
        assert_eq!(end_of(store, 0), (0, 5), "position 8 of epoch 0 was lost");
        assert_eq!(end_of(store, 1), (1, 15), "position 8 of epoch 1 is there");
        assert_eq!(end_of(store, 9), (1, 15), "there is no such epoch yet");
    };
    check(&store);
    let reader = LogStore::builder("store").storage(Arc::new(storage.clone()));
    check(&reader.open_read_only().unwrap());
    store.close().unwrap();
    check(&open(&storage));
}

#[test]
fn epochs_go_with_their_records() {
    let (storage, store) = truncated();
    store.delete_records(&partition("t", 0), Offset::new(7)).unwrap();
    store.close().unwrap();
    let store = open(&storage);
    assert_eq!(end_of(&store, 0), (0, 5), "nothing of it is left, but where it ended is known");
    assert_eq!(current(&store, "t"), (1, 15));
}

/// A committed offset as another version, or another tool, may have left it: the log itself never
/// keeps a commit for longer than the records that it is about.
fn commit_record(group: &str, offset: u64, epoch: u32) -> (Vec<u8>, Vec<u8>) {
    let string = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let key = [&[0, 1][..], &string(group), &string("t"), &[0; 4]].concat();
    let offset = offset.to_be_bytes();
    let value = [&[0, 3][..], &offset, &epoch.to_be_bytes(), &string(""), &[0; 8]].concat();
    (key, value)
}

fn position(store: &LogStore, group: &str, reset: AutoOffsetReset) -> Result<u64, Error> {
    let config = ConsumerConfig {
        group: Some(group.to_owned()),
        auto_offset_reset: reset,
        ..ConsumerConfig::default()
    };
    let mut consumer = store.consumer(&config)?;
    consumer.assign(&[partition("t", 0)])?;
    let position = consumer.position(&partition("t", 0))?;
    consumer.poll(Duration::ZERO)?;
    Ok(position.value())
}

#[test]
fn a_committed_offset_that_was_lost_is_out_of_range() {
    let (storage, store) = truncated();
    store.alter_group_offsets("here", &[(partition("t", 0), Some(Offset::new(8)))]).unwrap();
    let offsets = partition("__consumer_offsets", 0);
    for (group, offset, epoch) in [("lost", 8, 0), ("last", 5, 0), ("unknown", 8, u32::MAX)] {
        let (key, value) = commit_record(group, offset, epoch);
        store.append(&offsets, &Record::value(&value).with_key(&key)).unwrap();
    }
    store.close().unwrap();
    let store = open(&storage);
    let (earliest, latest) = (AutoOffsetReset::Earliest, AutoOffsetReset::Latest);
    for (group, reset, expected) in [
        ("lost", earliest, 0),
        ("lost", latest, 15),
        ("last", earliest, 5),
        ("last", AutoOffsetReset::None, 5),
        ("here", latest, 8),
        ("unknown", latest, 8),
    ] {
        assert_eq!(position(&store, group, reset).unwrap(), expected, "{group} {reset:?}");
    }
    let error = position(&store, "lost", AutoOffsetReset::None).unwrap_err();
    let Error::LogTruncated { offset, epoch, end, .. } = &error else { panic!("{error}") };
    assert_eq!((offset.value(), epoch.value(), end.value()), (8, 0, 5));
    let past = store.alter_group_offsets("here", &[(partition("t", 0), Some(Offset::new(16)))]);
    assert!(matches!(past, Err(Error::OffsetOutOfRange { .. })), "a commit past the log end");
}
