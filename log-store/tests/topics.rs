//! Topics change while they are in use: more partitions, other configs. What is acknowledged stays,
//! at whatever call the machine stops, and what is not is as before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AlterConfigOp, CallFault, Consumer, ConsumerConfig, CrashKind, Durability, Error, Log,
    LogStore, ManualClock, MemoryStorage, NewTopic, Offset, PartitionId, ProducerConfig,
    ProducerRecord, Record, RecordBatch, SimulatedStorage, Storage, Timestamp, TopicName,
    TopicPartition,
};

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(number))
}

fn open(storage: &Arc<dyn Storage>, clock: &Arc<ManualClock>) -> Result<LogStore, Error> {
    LogStore::builder("store")
        .storage(Arc::clone(storage))
        .clock(Arc::clone(clock) as _)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(0)))
}

fn memory() -> (Arc<dyn Storage>, LogStore) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = open(&storage, &clock()).unwrap();
    (storage, store)
}

fn values(store: &LogStore, number: u32) -> Vec<String> {
    let batches = store.fetch(&partition(number), Offset::ZERO, usize::MAX).unwrap();
    let records = batches.iter().flat_map(RecordBatch::iter);
    records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

fn poll(consumer: &mut dyn Consumer) {
    consumer.poll(Duration::ZERO).unwrap();
}

fn segment_names(storage: &Arc<dyn Storage>) -> Vec<String> {
    let names = storage.list(Path::new("store/t-0")).unwrap();
    names.into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn new_partitions_are_written_to_read_and_there_after_a_close() {
    let (storage, store) = memory();
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    let mut producer = store.producer(&ProducerConfig::default()).unwrap();
    let send = |producer: &mut dyn headwater_log_store::Producer, key: u32| {
        let key = key.to_string();
        let record = ProducerRecord {
            key: Some(key.as_bytes()),
            value: Some(key.as_bytes()),
            ..ProducerRecord::to("t")
        };
        producer.send(&record).unwrap().wait().unwrap().topic_partition.partition.value()
    };
    (0..50).for_each(|key| assert!(send(&mut *producer, key) < 2));
    let reader = LogStore::builder("store").storage(Arc::clone(&storage));
    let reader = reader.open_read_only().unwrap();
    let before = [values(&store, 0), values(&store, 1)];
    store.create_partitions("t", 5).unwrap();
    assert_eq!([values(&store, 0), values(&store, 1)], before);
    // A producer that knew the topic before spreads its keys over all partitions now.
    let used: BTreeSet<u32> = (0..50).map(|key| send(&mut *producer, key)).collect();
    assert_eq!(used, (0..5).collect());
    assert_eq!(reader.describe_topic("t").unwrap().partitions, 5);
    assert_eq!(values(&reader, 4), values(&store, 4));
    let all: Vec<_> = (0..5).map(|number| values(&store, number)).collect();
    store.close().unwrap();
    let store = open(&storage, &clock()).unwrap();
    assert_eq!(store.describe_topic("t").unwrap().partitions, 5);
    assert_eq!((0..5).map(|number| values(&store, number)).collect::<Vec<_>>(), all);
}

#[test]
fn the_number_of_partitions_only_grows() {
    let (_, store) = memory();
    store.create_topic(&NewTopic::new("t").partitions(3)).unwrap();
    store.alter_group_offsets("g", &[(partition(0), Some(Offset::ZERO))]).unwrap();
    for (topic, total, reason) in [
        ("t", 0, "cannot be taken away"),
        ("t", 2, "cannot be taken away"),
        ("t", 3, "the topic has 3 already"),
        ("t", 100_001, "from 1 to 100000"),
        ("u", 5, "topic u does not exist"),
        ("__consumer_offsets", 2, "in its one partition"),
    ] {
        let error = store.create_partitions(topic, total).unwrap_err().to_string();
        assert!(error.contains(reason), "{topic} {total}: {error}");
    }
    assert_eq!(store.describe_topic("t").unwrap().partitions, 3);
}

#[test]
fn members_of_a_group_share_new_partitions() {
    let (_, store) = memory();
    store.create_topic(&NewTopic::new("t").partitions(1)).unwrap();
    let config = ConsumerConfig { group: Some("g".to_owned()), ..Default::default() };
    let mut members: Vec<_> = (0..2).map(|_| store.consumer(&config).unwrap()).collect();
    for member in &mut members {
        member.subscribe(&["t"], Box::new(())).unwrap();
        poll(&mut **member);
    }
    store.create_partitions("t", 4).unwrap();
    for _ in 0..3 {
        members.iter_mut().for_each(|member| poll(&mut **member));
    }
    let counts: Vec<_> = members.iter().map(|member| member.assignment().len()).collect();
    assert_eq!(counts, [2, 2]);
    let all: BTreeSet<_> = members.iter().flat_map(|member| member.assignment()).collect();
    assert_eq!(all, (0..4).map(partition).collect());
}

#[test]
fn altered_configs_count_at_once_and_after_a_close() {
    let (storage, store) = memory();
    let topic = NewTopic::new("t").config("max.message.bytes", "200");
    store.create_topic(&topic.config("segment.bytes", "4096")).unwrap();
    let long = [b'x'; 500];
    let refused = store.append(&partition(0), &Record::value(&long)).unwrap_err();
    assert!(matches!(refused, Error::RecordTooLarge { bytes_max: 200, .. }), "{refused}");
    let ops = [
        AlterConfigOp::set("max.message.bytes", "1000"),
        AlterConfigOp::set("message.timestamp.type", "LogAppendTime"),
        AlterConfigOp::delete("segment.bytes"),
    ];
    store.incremental_alter_configs("t", &ops).unwrap();
    let late = Record { timestamp: Some(Timestamp::from_millis(77)), ..Record::value(&long) };
    store.append(&partition(0), &late).unwrap();
    let batches = store.fetch(&partition(0), Offset::ZERO, 1 << 20).unwrap();
    assert_eq!(batches[0].get(0).unwrap().timestamp, Timestamp::from_millis(0));
    let check = |store: &LogStore| {
        let configs = store.describe_configs("t").unwrap();
        let find = |name: &str| {
            let found = configs.iter().find(|config| config.name == name).unwrap();
            (found.value.clone(), found.is_default)
        };
        assert_eq!(find("max.message.bytes"), ("1000".to_owned(), false));
        assert_eq!(find("message.timestamp.type"), ("LogAppendTime".to_owned(), false));
        assert_eq!(find("segment.bytes"), ("1073741824".to_owned(), true));
        assert_eq!(find("cleanup.policy"), ("delete".to_owned(), true));
    };
    check(&store);
    store.close().unwrap();
    let store = open(&storage, &clock()).unwrap();
    check(&store);
    store.append(&partition(0), &late).unwrap();
    assert_eq!(segment_names(&storage).len(), 1);
    store.incremental_alter_configs("t", &[AlterConfigOp::set("segment.bytes", "1024")]).unwrap();
    store.append(&partition(0), &late).unwrap();
    assert_eq!(segment_names(&storage).len(), 2, "the next append rolls");
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let (_, store) = memory();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "4096")).unwrap();
    store.alter_group_offsets("g", &[(partition(0), Some(Offset::ZERO))]).unwrap();
    let before = store.describe_configs("t").unwrap();
    let good = || AlterConfigOp::set("segment.bytes", "8192");
    for (topic, bad, reason) in [
        ("t", AlterConfigOp::set("flush.ms", "1"), "setting of the store"),
        ("t", AlterConfigOp::delete("flush.ms"), "setting of the store"),
        ("t", AlterConfigOp::delete("nothing"), "no such topic config"),
        ("t", AlterConfigOp::set("retention.ms", "-2"), "whole number from -1"),
        ("t", AlterConfigOp::delete("segment.bytes"), "changed twice"),
        ("u", AlterConfigOp::set("retention.ms", "1"), "topic u does not exist"),
        ("__consumer_offsets", AlterConfigOp::delete("cleanup.policy"), "offsets of all groups"),
    ] {
        let error = store.incremental_alter_configs(topic, &[good(), bad]).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert_eq!(store.describe_configs("t").unwrap(), before);
}

/// The age of a segment is counted from its first append, over closes and kills.
#[test]
fn a_segment_is_sealed_by_the_first_append_after_segment_ms() {
    let (storage, clock) = (Arc::new(MemoryStorage::new()) as Arc<dyn Storage>, clock());
    let mut store = open(&storage, &clock).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.ms", "10000")).unwrap();
    let append = |seconds: u64, store: &LogStore| {
        clock.advance(Duration::from_secs(seconds));
        store.append(&partition(0), &Record::value(b"x")).unwrap();
        segment_names(&storage).len()
    };
    assert_eq!(append(100, &store), 1, "an empty segment has no age");
    assert_eq!(append(6, &store), 1);
    store.close().unwrap();
    store = open(&storage, &clock).unwrap();
    assert_eq!(append(3, &store), 1);
    assert_eq!(append(1, &store), 2);
    assert_eq!(append(9, &store), 2);
    assert_eq!(append(1, &store), 3);
    assert_eq!(values(&store, 0).len(), 6);
}

/// Stops the machine at every call of a change, opens what is left, and compares it with what was
/// acknowledged.
fn crash_everywhere(
    change: impl Fn(&LogStore) -> Result<(), Error>,
    is_done: impl Fn(&LogStore) -> bool,
) {
    let clock = clock();
    for kind in [CrashKind::Kill, CrashKind::PowerCut] {
        for call in 1.. {
            let storage = SimulatedStorage::new();
            let seam: Arc<dyn Storage> = Arc::new(storage.clone());
            let store = open(&seam, &clock).unwrap();
            store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
            store.append(&partition(0), &Record::value(b"kept")).unwrap();
            let at = storage.calls() + call;
            let fault = CallFault { at, from_then_on: true, kind: io::ErrorKind::Other };
            storage.set_fault(Some(fault));
            let changed = change(&store);
            let mut rng = fastrand::Rng::with_seed(call);
            let after = storage.crash(kind, |n| rng.usize(0..n));
            storage.set_fault(Some(CallFault { at: storage.calls() + 1, ..fault }));
            drop(store);
            let seam: Arc<dyn Storage> = Arc::new(after);
            let store = open(&seam, &clock)
                .unwrap_or_else(|error| panic!("{kind:?} at call {call}: {error}"));
            assert_eq!(values(&store, 0), ["kept"], "{kind:?} at call {call}");
            if changed.is_ok() {
                assert!(is_done(&store), "{kind:?} at call {call}: it was acknowledged");
                break;
            }
            // Whatever it is now, it can be done (again), and used.
            if !is_done(&store) {
                change(&store).unwrap_or_else(|e| panic!("{kind:?} at call {call}: {e}"));
            }
            assert!(is_done(&store));
            let last = store.describe_topic("t").unwrap().partitions - 1;
            store.append(&partition(last), &Record::value(b"new")).unwrap();
            drop(store);
            let store = open(&seam, &clock).unwrap();
            assert!(is_done(&store));
            assert_eq!(values(&store, last), ["new"], "{kind:?} at call {call}");
        }
    }
}

#[test]
fn partitions_are_added_wholly_or_not_at_all() {
    crash_everywhere(
        |store| store.create_partitions("t", 4),
        |store| store.describe_topic("t").unwrap().partitions == 4,
    );
}

#[test]
fn configs_are_altered_wholly_or_not_at_all() {
    let ops =
        [AlterConfigOp::set("segment.bytes", "2048"), AlterConfigOp::set("retention.ms", "1000")];
    crash_everywhere(
        |store| store.incremental_alter_configs("t", &ops),
        |store| {
            let configs = store.describe_topic("t").unwrap().configs;
            assert!(configs.is_empty() || configs.len() == 2, "{configs:?}");
            configs.len() == 2
        },
    );
}

#[test]
fn a_full_disk_refuses_new_partitions_and_changes_nothing() {
    let storage = SimulatedStorage::new();
    let seam: Arc<dyn Storage> = Arc::new(storage.clone());
    let store = LogStore::builder("store")
        .storage(seam)
        .durability(Durability::Os)
        .housekeeping(false)
        .create(true)
        .open()
        .unwrap();
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    for free in (0..40).map(|blocks| blocks * 4096) {
        storage.set_free_bytes(Some(free));
        match store.create_partitions("t", 4) {
            Ok(()) => break,
            Err(Error::DiskFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(store.describe_topic("t").unwrap().partitions, 2);
    }
    assert_eq!(store.describe_topic("t").unwrap().partitions, 4);
    storage.set_free_bytes(None);
    store.append(&partition(3), &Record::value(b"x")).unwrap();
}
