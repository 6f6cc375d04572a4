//! Consumers that assign their own partitions.

use std::time::{Duration, Instant};

use headwater_log_store::{AutoOffsetReset, ConsumerConfig, Error, Offset, RecordBatch};

use super::{Given, PATIENCE, poll_values, send, tp};

pub fn a_consumer_starts_where_it_is_told_to(given: &Given) {
    let topic = given.topic("t", 1);
    given.send_all(&topic, 0, &["a", "b"]);
    let partition = tp(&topic, 0);
    let consumer = |reset| {
        let config = ConsumerConfig { auto_offset_reset: reset, ..ConsumerConfig::default() };
        let mut consumer = given.log.consumer(&config).unwrap();
        consumer.assign(std::slice::from_ref(&partition)).unwrap();
        consumer
    };
    let mut latest = consumer(AutoOffsetReset::Latest);
    assert_eq!(latest.position(&partition).unwrap(), Offset::new(2));
    let mut earliest = consumer(AutoOffsetReset::Earliest);
    assert_eq!(earliest.assignment(), std::slice::from_ref(&partition));
    assert_eq!(earliest.position(&partition).unwrap(), Offset::ZERO);
    assert_eq!(poll_values(earliest.as_mut(), 2)[&0], ["a", "b"]);
    given.send_all(&topic, 0, &["c"]);
    assert_eq!(poll_values(latest.as_mut(), 1)[&0], ["c"]);
    assert_eq!(poll_values(earliest.as_mut(), 1)[&0], ["c"]);
    let unknown = earliest.assign(&[tp(&topic, 3)]);
    assert!(matches!(unknown, Err(Error::UnknownPartition { .. })), "{unknown:?}");
    assert_eq!(earliest.assignment(), std::slice::from_ref(&partition), "nothing was changed");
    let partitions = [partition];
    assert_eq!(earliest.beginning_offsets(&partitions).unwrap(), [Offset::ZERO]);
    assert_eq!(earliest.end_offsets(&partitions).unwrap(), [Offset::new(3)]);
}

pub fn a_consumer_without_a_place_to_begin_at_is_an_error(given: &Given) {
    let topic = given.topic("t", 1);
    let mut consumer = given
        .log
        .consumer(&ConsumerConfig {
            group: Some(given.name("g")),
            auto_offset_reset: AutoOffsetReset::None,
            ..ConsumerConfig::default()
        })
        .unwrap();
    let refused = consumer.assign(&[tp(&topic, 0)]);
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    consumer.commit(&[(tp(&topic, 0), Offset::ZERO.into())]).unwrap();
    consumer.assign(&[tp(&topic, 0)]).unwrap();
    given.send_all(&topic, 0, &["a"]);
    assert_eq!(poll_values(consumer.as_mut(), 1)[&0], ["a"]);
}

pub fn seek_pause_and_resume_say_what_the_next_poll_returns(given: &Given) {
    let topic = given.topic("t", 2);
    given.send_all(&topic, 0, &["a0", "a1", "a2"]);
    given.send_all(&topic, 1, &["b0", "b1"]);
    let (a, b) = (tp(&topic, 0), tp(&topic, 1));
    let mut consumer = given.member("g");
    consumer.assign(&[a.clone(), b.clone()]).unwrap();
    consumer.pause(std::slice::from_ref(&b)).unwrap();
    assert_eq!(poll_values(consumer.as_mut(), 3)[&0], ["a0", "a1", "a2"]);
    assert!(consumer.poll(Duration::from_millis(300)).unwrap().is_empty(), "the rest is paused");
    consumer.seek(&a, Offset::new(1)).unwrap();
    assert_eq!(consumer.position(&a).unwrap(), Offset::new(1));
    assert_eq!(poll_values(consumer.as_mut(), 2)[&0], ["a1", "a2"]);
    consumer.seek(&a, Offset::ZERO).unwrap();
    consumer.seek(&a, Offset::new(2)).unwrap();
    consumer.resume(std::slice::from_ref(&b)).unwrap();
    let values = poll_values(consumer.as_mut(), 3);
    assert_eq!(
        (&values[&0][..], &values[&1][..]),
        (&["a2".into()][..], &["b0".into(), "b1".into()][..])
    );
    // What stays assigned goes on where it is, and what comes back begins anew.
    consumer.assign(std::slice::from_ref(&a)).unwrap();
    given.send_all(&topic, 0, &["a3"]);
    assert_eq!(poll_values(consumer.as_mut(), 1)[&0], ["a3"]);
    consumer.assign(&[a, b]).unwrap();
    assert_eq!(poll_values(consumer.as_mut(), 2)[&1], ["b0", "b1"]);
}

pub fn a_poll_returns_no_more_than_it_may_and_all_comes_in_order(given: &Given) {
    let topic = given.topic("t", 3);
    let mut producer = given.producer();
    for number in 0..900 {
        drop(send(producer.as_mut(), &topic, number % 3, &format!("{}", number / 3)));
    }
    producer.flush().unwrap();
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        max_poll_records: 7,
        ..ConsumerConfig::default()
    };
    let mut consumer = given.log.consumer(&config).unwrap();
    consumer.assign(&[tp(&topic, 0), tp(&topic, 1), tp(&topic, 2)]).unwrap();
    let mut next = [0_u64; 3];
    let deadline = Instant::now() + PATIENCE;
    while next.iter().sum::<u64>() < 900 {
        assert!(Instant::now() < deadline, "{next:?}");
        let batches = consumer.poll(Duration::from_millis(200)).unwrap();
        let records: usize = batches.iter().map(|batch| batch.len()).sum();
        let single = batches.len() == 1;
        assert!(records <= 7 || single, "{records} records in {} batches", batches.len());
        for batch in &batches {
            assert!(!batch.is_empty());
            let partition = batch.topic_partition().partition.index();
            for record in batch.iter() {
                assert_eq!(record.offset, Offset::new(next[partition]));
                assert_eq!(super::text(record.value), next[partition].to_string());
                next[partition] += 1;
            }
        }
    }
    assert_eq!(next, [300; 3]);
}

pub fn a_blocked_poll_ends_when_somebody_wakes_it(given: &Given) {
    let topic = given.topic("t", 1);
    let mut consumer = given.member("g");
    consumer.assign(&[tp(&topic, 0)]).unwrap();
    let waker = consumer.waker();
    let begun = Instant::now();
    let waking = std::thread::spawn(move || waker.wake());
    assert!(consumer.poll(PATIENCE).unwrap().is_empty());
    assert!(begun.elapsed() < PATIENCE, "the poll has waited for its time");
    waking.join().unwrap();
}

/// On a cluster the last offsets of a partition are marks of transactions. A restore waited out its
/// last poll there, although it was at the end.
pub fn who_polls_for_the_end_of_a_partition_waits_for_no_record_behind_it(given: &Given) {
    let topic = given.topic("t", 1);
    let mut producer = given.transactional("p");
    for value in ["a", "b"] {
        producer.begin_transaction().unwrap();
        drop(send(producer.as_mut(), &topic, 0, value));
        producer.commit_transaction().unwrap();
    }
    let partition = tp(&topic, 0);
    let end = given.log.watermarks(&partition).unwrap().end;
    for fetch_wait_max in [None, Some(Duration::from_millis(1))] {
        let config = ConsumerConfig { fetch_wait_max, ..ConsumerConfig::default() };
        let mut consumer = given.log.consumer(&config).unwrap();
        consumer.assign(std::slice::from_ref(&partition)).unwrap();
        consumer.seek(&partition, Offset::ZERO).unwrap();
        let (begun, mut records) = (Instant::now(), 0);
        while consumer.position(&partition).unwrap() < end {
            let batches = consumer.poll(PATIENCE).unwrap();
            records += batches.iter().map(RecordBatch::len).sum::<usize>();
        }
        assert_eq!(records, 2);
        assert!(begun.elapsed() < PATIENCE, "a poll has waited for its time");
    }
}

pub fn lag_and_position_reach_the_end(given: &Given) {
    let topic = given.topic("t", 1);
    let partition = tp(&topic, 0);
    given.send_all(&topic, 0, &["a", "b", "c"]);
    let mut consumer = given.member("g");
    consumer.assign(std::slice::from_ref(&partition)).unwrap();
    assert_eq!(consumer.lag(&partition).unwrap(), Some(3));
    poll_values(consumer.as_mut(), 3);
    assert_eq!(consumer.position(&partition).unwrap(), Offset::new(3));
    let deadline = Instant::now() + PATIENCE;
    while consumer.lag(&partition).unwrap() != Some(0) {
        assert!(Instant::now() < deadline, "there is nothing ahead");
        assert!(consumer.poll(Duration::from_millis(50)).unwrap().is_empty());
    }
}

pub fn what_is_not_assigned_has_no_position(given: &Given) {
    let topic = given.topic("t", 2);
    let mut consumer = given.member("g");
    consumer.assign(&[tp(&topic, 0)]).unwrap();
    let other = tp(&topic, 1);
    let partitions = std::slice::from_ref(&other);
    for (call, result) in [
        ("position", consumer.position(&other).map(drop)),
        ("seek", consumer.seek(&other, Offset::ZERO)),
        ("pause", consumer.pause(partitions)),
        ("resume", consumer.resume(partitions)),
        ("lag", consumer.lag(&other).map(drop)),
    ] {
        assert!(matches!(result, Err(Error::InvalidState { .. })), "{call}: {result:?}");
    }
}

pub fn what_is_out_of_range_is_reset_or_an_error_and_the_others_can_be_read(given: &Given) {
    let topic = given.topic("t", 2);
    given.send_all(&topic, 0, &["a", "b", "c"]);
    given.send_all(&topic, 1, &["d"]);
    let (a, b) = (tp(&topic, 0), tp(&topic, 1));
    given.log.delete_records(&a, Offset::new(2)).unwrap();
    let consumer = |reset| {
        let group = Some(given.name("g"));
        let config = ConsumerConfig { group, auto_offset_reset: reset, ..Default::default() };
        let mut consumer = given.log.consumer(&config).unwrap();
        consumer
            .commit(&[(a.clone(), Offset::ZERO.into()), (b.clone(), Offset::ZERO.into())])
            .unwrap();
        consumer.assign(&[a.clone(), b.clone()]).unwrap();
        consumer
    };
    let mut earliest = consumer(AutoOffsetReset::Earliest);
    let values = poll_values(earliest.as_mut(), 2);
    assert_eq!((&values[&0][..], &values[&1][..]), (&["c".into()][..], &["d".into()][..]));

    let mut none = consumer(AutoOffsetReset::None);
    let (mut failed, mut read) = (false, Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while !failed || read.is_empty() {
        assert!(Instant::now() < deadline, "error: {failed}, read: {read:?}");
        match none.poll(Duration::from_millis(200)) {
            Ok(batches) => {
                let records = batches.iter().flat_map(|batch| batch.iter());
                read.extend(records.map(|record| super::text(record.value)));
            }
            Err(Error::InvalidState { reason, .. }) => {
                assert!(reason.contains(&a.to_string()), "{reason}");
                failed = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(read, ["d"]);
    none.seek(&a, Offset::new(2)).unwrap();
    assert_eq!(poll_values(none.as_mut(), 1)[&0], ["c"]);
}

pub fn a_record_of_most_of_a_mebibyte_is_read_with_those_around_it(given: &Given) {
    let topic = given.topic("t", 1);
    let large = "x".repeat(900_000);
    let sent = ["before", &large, "after"];
    given.send_all(&topic, 0, &sent);
    assert_eq!(given.values(&topic, 0), sent);
}
