//! What the embedded log does for its callers, on a real folder and in memory.
//!
//! Each test fills a store through the public interface and reads back the records themselves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Durability, Error, Header, Log, LogStore,
    LogStoreBuilder, ManualClock, NewTopic, Offset, PartitionId, Producer, ProducerConfig,
    ProducerRecord, Reads, Record, RecordBatch, Timestamp, TopicName, TopicPartition, Watermarks,
};

const ALL: [Durability; 3] =
    [Durability::Sync, Durability::Interval(Duration::from_millis(5)), Durability::Os];

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn builder(dir: &tempfile::TempDir, durability: Durability) -> LogStoreBuilder {
    LogStore::builder(dir.path()).create(true).durability(durability).journal_bytes(1 << 20)
}

fn strings(batches: &[RecordBatch]) -> Vec<String> {
    let records = batches.iter().flat_map(RecordBatch::iter);
    records.map(|r| String::from_utf8(r.value.unwrap_or(b"null").to_vec()).unwrap()).collect()
}

fn values(store: &LogStore, topic_partition: &TopicPartition) -> Vec<String> {
    let Watermarks { start, .. } = store.watermarks(topic_partition).unwrap();
    strings(&store.fetch(topic_partition, start, usize::MAX).unwrap())
}

fn append(store: &LogStore, topic_partition: &TopicPartition, value: &str) -> Offset {
    store.append(topic_partition, &Record::value(value.as_bytes())).unwrap()
}

#[test]
fn records_come_back_with_offsets_keys_headers_and_times_and_survive_a_reopen() {
    for (durability, reads) in
        ALL.into_iter().flat_map(|d| [(d, Reads::Mapped), (d, Reads::Positioned)])
    {
        let dir = tempfile::tempdir().unwrap();
        let t = partition("t", 0);
        let store = builder(&dir, durability).reads(reads).open().unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "h", value: None }];
        let full = Record::value(b"v")
            .with_key(b"k")
            .with_timestamp(Timestamp::from_millis(77))
            .with_headers(&headers);
        assert_eq!(store.append(&t, &full).unwrap(), Offset::ZERO);
        let many = [Record::value(b"a"), Record::default(), Record::value(b"c")];
        assert_eq!(store.append_batch(&t, &many).unwrap(), Offset::new(1));
        store.close().unwrap();

        let store = builder(&dir, durability).reads(reads).open().unwrap();
        assert!(store.recovery().clean);
        let batches = store.fetch(&t, Offset::ZERO, usize::MAX).unwrap();
        let first = batches[0].get(0).unwrap();
        assert_eq!((first.key, first.timestamp), (Some(&b"k"[..]), Timestamp::from_millis(77)));
        assert_eq!(first.headers.iter().collect::<Vec<_>>(), headers);
        assert_eq!(strings(&batches), ["v", "a", "null", "c"]);
        let from_two = store.fetch(&t, Offset::new(2), usize::MAX).unwrap();
        assert_eq!(strings(&from_two), ["null", "c"]);
        assert!(store.fetch(&t, Offset::new(4), usize::MAX).unwrap().is_empty());
        assert_eq!(append(&store, &t, "d"), Offset::new(4));
    }
}

#[test]
fn many_small_segments_read_as_one_log_from_every_offset() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let t = partition("t", 0);
        let store = builder(&dir, durability).open().unwrap();
        let topic = NewTopic::new("t")
            .config("segment.bytes", "2000")
            .config("index.interval.bytes", "300");
        store.create_topic(&topic).unwrap();
        let expected: Vec<String> = (0..300).map(|n| format!("value {n}")).collect();
        for value in &expected {
            append(&store, &t, value);
        }
        let check = |store: &LogStore| {
            for from in 0..expected.len() {
                let batches = store.fetch(&t, Offset::new(from as u64), 500).unwrap();
                let read = strings(&batches);
                assert!(!read.is_empty());
                assert_eq!(read, expected[from..from + read.len()], "{durability:?} {from}");
            }
            assert_eq!(values(store, &t), expected);
        };
        check(&store);
        store.close().unwrap();
        let files = std::fs::read_dir(dir.path().join("t-0")).unwrap().count();
        assert!(files > 20, "only {files} files: segments did not roll");
        check(&builder(&dir, durability).open().unwrap());
    }
}

#[test]
fn a_transaction_is_visible_in_all_partitions_and_offsets_at_once_or_not_at_all() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let store = builder(&dir, durability).open().unwrap();
        store.create_topic(&NewTopic::new("in")).unwrap();
        store.create_topic(&NewTopic::new("out").partitions(3)).unwrap();
        let input = partition("in", 0);
        append(&store, &input, "x");
        let config = ConsumerConfig { group: Some("app".to_owned()), ..ConsumerConfig::default() };
        let consumer = store.consumer(&config).unwrap();
        let mut producer = transactional(&store, "app-0");
        let send_all = |producer: &mut Box<dyn Producer>, value: &str| {
            (0..3)
                .map(|p| {
                    let partition = Some(PartitionId::new(p));
                    let value = Some(value.as_bytes());
                    let record = ProducerRecord { partition, value, ..ProducerRecord::to("out") };
                    producer.send(&record).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let offsets = [(input.clone(), Offset::new(1).into())];
        let metadata = consumer.group_metadata().unwrap();

        producer.begin_transaction().unwrap();
        let receipts = send_all(&mut producer, "aborted");
        producer.send_offsets_to_transaction(&offsets, &metadata).unwrap();
        producer.abort_transaction().unwrap();
        for receipt in receipts {
            assert!(receipt.wait().unwrap_err().to_string().contains("aborted"));
        }
        for p in 0..3 {
            assert!(values(&store, &partition("out", p)).is_empty());
        }
        assert_eq!(consumer.committed(&input).unwrap(), None);

        append(&store, &partition("out", 1), "before");
        producer.begin_transaction().unwrap();
        let receipts = send_all(&mut producer, "committed");
        producer.send_offsets_to_transaction(&offsets, &metadata).unwrap();
        assert!(values(&store, &partition("out", 0)).is_empty(), "visible before the commit");
        producer.commit_transaction().unwrap();
        let placed: Vec<_> = receipts.into_iter().map(|receipt| receipt.wait().unwrap()).collect();
        let at: Vec<u64> = placed.iter().map(|metadata| metadata.offset.value()).collect();
        assert_eq!(at, [0, 1, 0]);
        assert_eq!(values(&store, &partition("out", 1)), ["before", "committed"]);
        assert_eq!(consumer.committed(&input).unwrap().unwrap().offset, Offset::new(1));

        drop((producer, consumer));
        store.close().unwrap();
        let store = builder(&dir, durability).open().unwrap();
        assert_eq!(values(&store, &partition("out", 2)), ["committed"]);
        assert_eq!(store.group_offsets("app").unwrap()[&input].offset, Offset::new(1));
        assert_eq!(store.groups().unwrap(), ["app"]);
    }
}

fn transactional(store: &LogStore, id: &str) -> Box<dyn Producer> {
    store
        .producer(&ProducerConfig { transactional_id: Some(id.to_owned()), ..Default::default() })
        .unwrap()
}

#[test]
fn a_second_producer_with_the_same_id_fences_the_first() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let mut first = transactional(&store, "same");
    first.begin_transaction().unwrap();
    let record = ProducerRecord { value: Some(b"zombie"), ..ProducerRecord::to("t") };
    drop(first.send(&record).unwrap());
    let mut second = transactional(&store, "same");
    let error = first.commit_transaction().unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    second.begin_transaction().unwrap();
    second.commit_transaction().unwrap();
    assert!(values(&store, &partition("t", 0)).is_empty());
}

#[test]
fn a_transaction_that_outgrows_its_share_of_the_journal_says_so_and_writes_nothing() {
    let store = LogStore::in_memory_builder().journal_bytes(64 << 10).open().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let mut producer = transactional(&store, "p");
    producer.begin_transaction().unwrap();
    let value = vec![7; 1000];
    let record = ProducerRecord { value: Some(&value), ..ProducerRecord::to("t") };
    let error = (0..100).find_map(|_| producer.send(&record).err()).unwrap();
    assert!(matches!(error, Error::TransactionTooLarge { .. }), "{error}");
    let bytes = producer.transaction_bytes();
    assert!(bytes.used <= bytes.max && bytes.used > bytes.max - 2000, "{bytes:?}");
    producer.commit_transaction().unwrap();
    assert!(!values(&store, &partition("t", 0)).is_empty());
}

#[test]
fn a_journal_that_is_small_is_recycled_many_times_without_losing_anything() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let open = || builder(&dir, durability).journal_bytes(64 << 10).open().unwrap();
        let store = open();
        store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
        let mut expected = Vec::new();
        let mut producer = transactional(&store, "p");
        for round in 0..200 {
            let value = format!("{round}:{}", "x".repeat(round * 7 % 900));
            producer.begin_transaction().unwrap();
            for p in 0..2 {
                let partition = Some(PartitionId::new(p));
                let value = Some(value.as_bytes());
                let record = ProducerRecord { partition, value, ..ProducerRecord::to("t") };
                drop(producer.send(&record).unwrap());
            }
            producer.commit_transaction().unwrap();
            expected.push(value);
        }
        drop(producer);
        drop(store);
        let store = open();
        assert_eq!(values(&store, &partition("t", 0)), expected);
        assert_eq!(values(&store, &partition("t", 1)), expected);
    }
}

#[test]
fn appenders_on_many_threads_get_all_their_records_in_their_own_order() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let store = builder(&dir, durability).open().unwrap();
        store.create_topic(&NewTopic::new("t").config("segment.bytes", "5000")).unwrap();
        let t = partition("t", 0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (store, t) = (store.clone(), &t);
                scope.spawn(move || {
                    for n in 0..40 {
                        append(&store, t, &format!("{thread}/{n}"));
                    }
                });
            }
        });
        let all = values(&store, &t);
        assert_eq!(all.len(), 320);
        for thread in 0..8 {
            let prefix = format!("{thread}/");
            let own: Vec<&String> = all.iter().filter(|v| v.starts_with(&prefix)).collect();
            let expected: Vec<String> = (0..40).map(|n| format!("{thread}/{n}")).collect();
            assert_eq!(own, expected.iter().collect::<Vec<_>>(), "{durability:?}");
        }
    }
}

fn earliest(store: &LogStore) -> Box<dyn Consumer> {
    let config = ConsumerConfig {
        group: Some("g".to_owned()),
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    store.consumer(&config).unwrap()
}

#[test]
fn a_blocked_poll_gets_the_next_record_and_a_waker_ends_it() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let t = partition("t", 0);
    let mut consumer = earliest(&store);
    consumer.assign(std::slice::from_ref(&t)).unwrap();
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    let waker = consumer.waker();
    std::thread::scope(|scope| {
        let (polled, polls) = std::sync::mpsc::channel();
        let thread = scope.spawn(move || {
            for _ in 0..2 {
                polled.send(strings(&consumer.poll(Duration::from_secs(60)).unwrap())).unwrap();
            }
        });
        append(&store, &t, "new");
        assert_eq!(polls.recv().unwrap(), ["new"]);
        waker.wake();
        assert!(polls.recv().unwrap().is_empty());
        thread.join().unwrap();
    });
}

#[test]
fn a_consumer_goes_on_where_its_group_committed_and_can_seek_and_pause() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    let (a, b) = (partition("t", 0), partition("t", 1));
    for n in 0..4 {
        append(&store, &a, &format!("a{n}"));
        append(&store, &b, &format!("b{n}"));
    }
    let mut consumer = earliest(&store);
    consumer.assign(&[a.clone(), b.clone()]).unwrap();
    let mut all = strings(&consumer.poll(Duration::ZERO).unwrap());
    all.sort_unstable();
    assert_eq!(all, ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]);
    assert_eq!(consumer.position(&a).unwrap(), Offset::new(4));
    consumer.commit(&[(a.clone(), Offset::new(3).into())]).unwrap();
    let past_the_end = consumer.commit(&[(a.clone(), Offset::new(5).into())]).unwrap_err();
    assert!(past_the_end.to_string().contains("offset 5 of t-0"), "{past_the_end}");

    let mut second = earliest(&store);
    second.assign(std::slice::from_ref(&a)).unwrap();
    assert_eq!(strings(&second.poll(Duration::ZERO).unwrap()), ["a3"]);
    second.seek(&a, Offset::new(2)).unwrap();
    second.pause(std::slice::from_ref(&a)).unwrap();
    assert!(second.poll(Duration::ZERO).unwrap().is_empty());
    second.resume(std::slice::from_ref(&a)).unwrap();
    assert_eq!(strings(&second.poll(Duration::ZERO).unwrap()), ["a2", "a3"]);
    let error = second.position(&b).unwrap_err().to_string();
    assert!(error.contains("t-1 is not assigned"), "{error}");
}

#[test]
fn polls_stay_within_max_poll_records_and_lose_nothing() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t").partitions(3)).unwrap();
    let all: Vec<_> = (0..3).map(|p| partition("t", p)).collect();
    for n in 0..100 {
        append(&store, &all[n % 3], &format!("{n:03}"));
    }
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        max_poll_records: 7,
        ..ConsumerConfig::default()
    };
    let mut consumer = store.consumer(&config).unwrap();
    consumer.assign(&all).unwrap();
    let mut seen = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            break;
        }
        let records: usize = batches.iter().map(RecordBatch::len).sum();
        assert!(records <= 7, "{records} records in one poll");
        seen.extend(strings(&batches));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).map(|n| format!("{n:03}")).collect::<Vec<_>>());
}

#[test]
fn deleted_records_are_gone_and_their_segments_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = builder(&dir, Durability::Sync).open().unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    let t = partition("t", 0);
    for n in 0..100 {
        append(&store, &t, &format!("{n}"));
    }
    let logs = || std::fs::read_dir(dir.path().join("t-0")).unwrap().count();
    let before = logs();
    store.delete_records(&t, Offset::new(60)).unwrap();
    assert!(logs() < before, "no file went away");
    let expected: Vec<String> = (60..100).map(|n| n.to_string()).collect();
    assert_eq!(values(&store, &t), expected);
    let error = store.fetch(&t, Offset::new(59), 100).unwrap_err().to_string();
    assert!(error.contains("offset 59 of t-0 is out of range"), "{error}");
    drop(store);
    let store = builder(&dir, Durability::Sync).open().unwrap();
    assert_eq!(values(&store, &t), expected);
}

#[test]
fn a_deleted_topic_is_gone_with_its_offsets_and_can_be_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = builder(&dir, Durability::Sync).open().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let t = partition("t", 0);
    append(&store, &t, "old");
    store.alter_group_offsets("g", &[(t.clone(), Some(Offset::new(1)))]).unwrap();
    store.delete_topic("t").unwrap();
    let error = store.append(&t, &Record::value(b"x")).unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
    assert!(store.groups().unwrap().is_empty());
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    append(&store, &t, "new");
    drop(store);
    let store = builder(&dir, Durability::Sync).open().unwrap();
    assert_eq!(values(&store, &t), ["new"]);
    assert_eq!(store.describe_topic("t").unwrap().partitions, 2);
}

#[test]
fn a_reader_beside_the_writer_sees_what_is_published_and_writes_nothing() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let writer = builder(&dir, durability).open().unwrap();
        writer.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
        let t = partition("t", 0);
        append(&writer, &t, "0");
        let reader = LogStore::open_read_only(dir.path()).unwrap();
        let mut consumer = earliest(&reader);
        consumer.assign(std::slice::from_ref(&t)).unwrap();
        let mut seen = strings(&consumer.poll(Duration::ZERO).unwrap());
        for n in 1..100 {
            append(&writer, &t, &n.to_string());
            if n % 9 == 0 {
                seen.extend(strings(&consumer.poll(Duration::from_secs(10)).unwrap()));
            }
        }
        while seen.len() < 100 {
            seen.extend(strings(&consumer.poll(Duration::from_secs(10)).unwrap()));
        }
        let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(seen, expected, "{durability:?}");
        writer.create_topic(&NewTopic::new("later")).unwrap();
        append(&writer, &partition("later", 0), "too");
        assert_eq!(values(&reader, &partition("later", 0)), ["too"]);
        writer.alter_group_offsets("g", &[(t.clone(), Some(Offset::new(5)))]).unwrap();
        assert_eq!(reader.group_offsets("g").unwrap()[&t].offset, Offset::new(5));
        let error = reader.append(&t, &Record::value(b"x")).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
        drop(writer);
        assert_eq!(values(&reader, &t), expected, "after the writer has gone");
    }
}

#[test]
fn a_second_writer_is_refused_by_name_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = builder(&dir, Durability::Sync).open().unwrap();
    let error = LogStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    first.close().unwrap();
    LogStore::open(dir.path()).unwrap();
}

#[test]
fn a_folder_without_a_store_is_not_made_one_unasked() {
    let dir = tempfile::tempdir().unwrap();
    for opened in [LogStore::open(dir.path()), LogStore::open_read_only(dir.path())] {
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::NoStore { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_record_that_is_too_large_is_refused_by_name_and_nothing_is_written() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t").config("max.message.bytes", "1000")).unwrap();
    let t = partition("t", 0);
    let error = store.append(&t, &Record::value(&[0; 1000])).unwrap_err().to_string();
    assert!(error.contains("t-0") && error.contains("max.message.bytes=1000"), "{error}");
    assert_eq!(store.watermarks(&t).unwrap().end, Offset::ZERO);
    let many: Vec<_> = (0..50).map(|_| Record::value(&[1; 100])).collect();
    store.append_batch(&t, &many).unwrap();
    assert_eq!(store.watermarks(&t).unwrap().end, Offset::new(50));
}

#[test]
fn append_time_never_goes_back_though_the_clock_does() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let store = LogStore::in_memory_builder().clock(Arc::clone(&clock) as _).open().unwrap();
    let topic = NewTopic::new("t").config("message.timestamp.type", "LogAppendTime");
    store.create_topic(&topic).unwrap();
    let t = partition("t", 0);
    append(&store, &t, "a");
    clock.jump_to(Timestamp::from_millis(-50));
    store.append(&t, &Record::value(b"b").with_timestamp(Timestamp::from_millis(9))).unwrap();
    clock.jump_to(Timestamp::from_millis(2_000));
    append(&store, &t, "c");
    let batches = store.fetch(&t, Offset::ZERO, usize::MAX).unwrap();
    let times = batches.iter().flat_map(RecordBatch::iter).map(|r| r.timestamp.as_millis());
    assert_eq!(times.collect::<Vec<_>>(), [1_000, 1_000, 2_000]);
}

#[test]
fn damage_below_the_end_is_reported_with_its_place_and_the_rest_stays_readable() {
    for reads in [Reads::Mapped, Reads::Positioned] {
        let dir = tempfile::tempdir().unwrap();
        let store = builder(&dir, Durability::Sync).open().unwrap();
        store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
        let t = partition("t", 0);
        for n in 0..3 {
            append(&store, &t, &format!("value {n}"));
        }
        append(&store, &partition("t", 1), "whole");
        drop(store);
        let path = dir.path().join("t-0").join("00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();

        let store = builder(&dir, Durability::Sync).reads(reads).open().unwrap();
        let readable = store.fetch(&t, Offset::ZERO, usize::MAX).unwrap();
        assert_eq!(strings(&readable), ["value 0"]);
        let error = store.fetch(&t, Offset::new(1), usize::MAX).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Corrupt { .. }), "{text}");
        assert!(text.contains("t-0 is corrupt at offset 1"), "{text}");
        assert!(text.contains("00000000000000000000.log"), "{text}");
        assert_eq!(values(&store, &partition("t", 1)), ["whole"]);
        // A consumer of both partitions gets what can be read.
        let mut consumer = earliest(&store);
        consumer.assign(&[t.clone(), partition("t", 1)]).unwrap();
        let polls: Vec<_> = (0..6).map(|_| consumer.poll(Duration::ZERO)).collect();
        let read = polls.iter().flatten().flat_map(|batches| strings(batches));
        let mut read: Vec<_> = read.collect();
        read.sort_unstable();
        assert_eq!(read, ["value 0", "whole"]);
        assert!(polls.iter().any(Result::is_err));
    }
}

#[test]
fn an_offset_is_found_by_time_as_kafka_defines_it() {
    let dir = tempfile::tempdir().unwrap();
    let t = partition("t", 0);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let times: Vec<i64> = (0..400).map(|n| n * 10 + rng.i64(-300..300)).collect();
    let store = builder(&dir, Durability::Sync).open().unwrap();
    let topic =
        NewTopic::new("t").config("segment.bytes", "3000").config("index.interval.bytes", "200");
    store.create_topic(&topic).unwrap();
    for time in &times {
        let record = Record::value(b"x").with_timestamp(Timestamp::from_millis(*time));
        store.append(&t, &record).unwrap();
    }
    store.delete_records(&t, Offset::new(20)).unwrap();
    let check = |store: &LogStore| {
        for target in (-400..4_400).step_by(7) {
            let first = times.iter().enumerate().skip(20).find(|(_, time)| **time >= target);
            let found = store.offset_for_time(&t, Timestamp::from_millis(target)).unwrap();
            assert_eq!(found, first.map(|(offset, _)| Offset::new(offset as u64)), "{target}");
        }
    };
    check(&store);
    check(&LogStore::open_read_only(dir.path()).unwrap());
    store.close().unwrap();
    check(&builder(&dir, Durability::Sync).open().unwrap());
    // Without the saved indexes it is the same: they are caches.
    drop(store);
    for entry in std::fs::read_dir(dir.path().join("t-0")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension != "log") {
            std::fs::remove_file(path).unwrap();
        }
    }
    check(&builder(&dir, Durability::Sync).open().unwrap());
}

#[test]
fn retention_drops_old_segments_while_a_reader_is_in_them_and_waits_after_a_clock_jump() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let builder = builder(&dir, Durability::Sync).housekeeping(false);
        builder.clock(Arc::clone(&clock) as _).open().unwrap()
    };
    let store = open();
    let topic = NewTopic::new("t").config("segment.bytes", "1024").config("retention.ms", "10000");
    store.create_topic(&topic).unwrap();
    let t = partition("t", 0);
    for n in 0..100 {
        append(&store, &t, &format!("{n:02}"));
        clock.advance(Duration::from_millis(1_000));
    }
    let mut consumer = earliest(&store);
    consumer.assign(std::slice::from_ref(&t)).unwrap();
    let first = strings(&consumer.poll(Duration::ZERO).unwrap());
    assert_eq!(first[0], "00");

    // Ten seconds are kept, and the rest of the segment in which they begin.
    assert!(store.enforce_retention().unwrap() > 0);
    let start = store.watermarks(&t).unwrap().start.value();
    assert!((75..=90).contains(&start), "the log starts at {start}");
    let kept: Vec<String> = (start..100).map(|n| format!("{n:02}")).collect();
    assert_eq!(values(&store, &t), kept);
    drop(store);
    let store = open();
    assert_eq!(values(&store, &t), kept);

    // A jump by a day is somebody's mistake until it has stood the test of time.
    assert_eq!(store.enforce_retention().unwrap(), 0);
    clock.jump_to(Timestamp::from_millis(86_400_000));
    assert_eq!(store.enforce_retention().unwrap(), 0);
    assert_eq!(values(&store, &t), kept);
    // Then even the segment goes that nobody appends to any more; offsets go on.
    assert!(store.enforce_retention().unwrap() > 0);
    assert!(values(&store, &t).is_empty());
    assert_eq!(append(&store, &t, "next"), Offset::new(100));
}
