//! Transactions: all or nothing, over records and committed offsets.

use std::time::{Duration, Instant};

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Error, GroupMetadata, NewTopic, Offset, Producer,
    ProducerRecord,
};

use super::{Given, PATIENCE, poll_values, send, tp};

pub fn nothing_is_visible_before_the_commit_and_all_after_it(given: &Given) {
    let (a, b) = (given.topic("a", 1), given.topic("b", 1));
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut reader = given.log.consumer(&config).unwrap();
    reader.assign(&[tp(&a, 0), tp(&b, 0)]).unwrap();
    let mut producer = given.transactional("p");
    producer.begin_transaction().unwrap();
    let first = send(producer.as_mut(), &a, 0, "a0");
    let early = send(producer.as_mut(), &a, 0, "a1");
    let other = send(producer.as_mut(), &b, 0, "b0");
    assert!(producer.transaction_bytes().used > 0);
    let waiting = early.wait();
    assert!(matches!(waiting, Err(Error::InvalidState { .. })), "{waiting:?}");
    assert!(reader.poll(Duration::from_millis(500)).unwrap().is_empty());
    producer.commit_transaction().unwrap();
    assert_eq!(first.wait().unwrap().offset, Offset::ZERO);
    assert_eq!(other.wait().unwrap().topic_partition, tp(&b, 0));
    let deadline = Instant::now() + PATIENCE;
    let mut values = Vec::new();
    while values.len() < 3 {
        assert!(Instant::now() < deadline, "{values:?}");
        for batch in reader.poll(Duration::from_millis(200)).unwrap() {
            values.extend(batch.iter().map(|record| super::text(record.value)));
        }
    }
    values.sort();
    assert_eq!(values, ["a0", "a1", "b0"]);
    assert_eq!(producer.transaction_bytes().used, 0);
}

pub fn nothing_of_an_aborted_transaction_is_ever_read(given: &Given) {
    let topic = given.topic("t", 1);
    let mut producer = given.transactional("p");
    for (value, commits) in [("kept", true), ("dropped", false), ("kept too", true)] {
        producer.begin_transaction().unwrap();
        let receipt = send(producer.as_mut(), &topic, 0, value);
        match commits {
            true => {
                producer.commit_transaction().unwrap();
                receipt.wait().unwrap();
            }
            false => {
                producer.abort_transaction().unwrap();
                let failed = receipt.wait();
                assert!(matches!(failed, Err(Error::InvalidState { .. })), "{failed:?}");
            }
        }
    }
    // One that nobody ends: its producer dies, and the next of its id ends it.
    producer.begin_transaction().unwrap();
    drop(send(producer.as_mut(), &topic, 0, "left open"));
    drop(producer);
    let _next = given.transactional("p");
    assert_eq!(given.values(&topic, 0), ["kept", "kept too"]);
}

pub fn offsets_are_committed_with_the_records_or_not_at_all(given: &Given) {
    let (input, output) = (given.topic("in", 1), given.topic("out", 1));
    given.send_all(&input, 0, &["a", "b", "c"]);
    let group = given.name("g");
    let mut member = given.member("g");
    member.subscribe(&[&input], Box::new(())).unwrap();
    assert_eq!(poll_values(member.as_mut(), 3)[&0], ["a", "b", "c"]);
    let mut producer = given.transactional("p");
    for (offset, commits) in [(1, true), (2, false), (3, true)] {
        producer.begin_transaction().unwrap();
        drop(send(producer.as_mut(), &output, 0, &format!("up to {offset}")));
        let offsets = [(tp(&input, 0), Offset::new(offset).into())];
        let metadata = member.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&offsets, &metadata).unwrap();
        match commits {
            true => producer.commit_transaction().unwrap(),
            false => producer.abort_transaction().unwrap(),
        }
        let committed = given.log.group_offsets(&group).unwrap()[&tp(&input, 0)].offset;
        assert_eq!(committed, Offset::new(if commits { offset } else { 1 }));
    }
    assert_eq!(given.values(&output, 0), ["up to 1", "up to 3"]);
    // Who assigns its own partitions commits from outside, once the members have left.
    let outside = GroupMetadata::outside(&group);
    let offsets = [(tp(&input, 0), Offset::ZERO.into())];
    producer.begin_transaction().unwrap();
    let refused = producer
        .send_offsets_to_transaction(&offsets, &outside)
        .and_then(|()| producer.commit_transaction());
    assert!(matches!(refused, Err(Error::GroupNotEmpty { .. })), "{refused:?}");
    producer.abort_transaction().unwrap();
    drop(member);
    producer.begin_transaction().unwrap();
    producer.send_offsets_to_transaction(&offsets, &outside).unwrap();
    producer.commit_transaction().unwrap();
    assert_eq!(given.log.group_offsets(&group).unwrap()[&tp(&input, 0)].offset, Offset::ZERO);
}

pub fn a_second_producer_of_the_same_id_fences_the_first(given: &Given) {
    let topic = given.topic("t", 1);
    let mut first = given.transactional("p");
    first.begin_transaction().unwrap();
    drop(send(first.as_mut(), &topic, 0, "of the first"));
    let mut second = given.transactional("p");
    second.begin_transaction().unwrap();
    drop(send(second.as_mut(), &topic, 0, "of the second"));
    second.commit_transaction().unwrap();
    let record = ProducerRecord { value: Some(b"late"), ..ProducerRecord::to(&topic) };
    let fenced = first.send(&record).map(drop).and_then(|()| first.commit_transaction());
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    drop(first);
    assert_eq!(given.values(&topic, 0), ["of the second"]);
}

pub fn a_member_that_was_overtaken_commits_nothing(given: &Given) {
    let (input, output) = (given.topic("in", 2), given.topic("out", 1));
    let (mut first, mut second) = (given.member("g"), given.member("g"));
    first.subscribe(&[&input], Box::new(())).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while first.assignment().len() < 2 {
        assert!(Instant::now() < deadline, "nothing was assigned");
        first.poll(Duration::from_millis(20)).unwrap();
    }
    let before = first.group_metadata().unwrap();
    second.subscribe(&[&input], Box::new(())).unwrap();
    while second.assignment().is_empty() {
        assert!(Instant::now() < deadline, "nothing has moved");
        first.poll(Duration::from_millis(20)).unwrap();
        second.poll(Duration::from_millis(20)).unwrap();
    }
    let mut producer = given.transactional("p");
    producer.begin_transaction().unwrap();
    drop(send(producer.as_mut(), &output, 0, "late"));
    let offsets = [(tp(&input, 0), Offset::ZERO.into())];
    let refused = producer
        .send_offsets_to_transaction(&offsets, &before)
        .and_then(|()| producer.commit_transaction());
    assert!(matches!(refused, Err(Error::IllegalGeneration { .. })), "{refused:?}");
    producer.abort_transaction().unwrap();
    assert!(given.values(&output, 0).is_empty());
    assert!(given.log.group_offsets(&given.name("g")).unwrap().is_empty());
}

pub fn calls_that_do_not_fit_the_state_are_refused(given: &Given) {
    let topic = given.topic("t", 1);
    let offsets = [(tp(&topic, 0), Offset::ZERO.into())];
    let group = GroupMetadata::outside(given.name("g"));
    let mut producer = given.transactional("p");
    let record = ProducerRecord::to(&topic);
    for (call, result) in [
        ("send", producer.send(&record).map(drop)),
        ("offsets", producer.send_offsets_to_transaction(&offsets, &group)),
        ("commit", producer.commit_transaction()),
        ("abort", producer.abort_transaction()),
    ] {
        assert!(matches!(result, Err(Error::InvalidState { .. })), "{call}: {result:?}");
    }
    producer.begin_transaction().unwrap();
    let twice = producer.begin_transaction();
    assert!(matches!(twice, Err(Error::InvalidState { .. })), "{twice:?}");
    producer.abort_transaction().unwrap();
    let plain = given.producer().begin_transaction();
    assert!(matches!(plain, Err(Error::InvalidState { .. })), "{plain:?}");
}

pub fn the_end_of_a_partition_is_reached_after_many_transactions(given: &Given) {
    let topic = given.topic("t", 1);
    let mut producer = given.transactional("p");
    let mut expected = Vec::new();
    for number in 0..50 {
        producer.begin_transaction().unwrap();
        let value = number.to_string();
        drop(send(producer.as_mut(), &topic, 0, &value));
        match number % 3 {
            0 => producer.abort_transaction().unwrap(),
            _ => {
                producer.commit_transaction().unwrap();
                expected.push(value);
            }
        }
    }
    assert_eq!(given.values(&topic, 0), expected);
    let end = given.log.watermarks(&tp(&topic, 0)).unwrap().end;
    assert!(given.values_from(&topic, 0, end).is_empty());
}

fn valued<'a>(topic: &'a str, value: &'a str) -> ProducerRecord<'a> {
    ProducerRecord { value: Some(value.as_bytes()), ..ProducerRecord::to(topic) }
}

pub fn the_commit_and_the_flush_answer_for_records_without_receipts(given: &Given) {
    let topic = given.topic("t", 1);
    let mut plain = given.without_receipts(None);
    let refused = plain.send(&valued(&topic, "refused"));
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    let mut expected = Vec::new();
    let mut send = |producer: &mut dyn Producer, name: &str| {
        for number in 0..300 {
            let value = format!("{name}-{number}");
            producer.send_without_receipt(&valued(&topic, &value)).unwrap();
            expected.push(value);
        }
    };
    send(plain.as_mut(), "flushed");
    plain.flush().unwrap();
    let mut transactional = given.without_receipts(Some("p"));
    for (round, commits) in [("first", true), ("dropped", false), ("second", true)] {
        transactional.begin_transaction().unwrap();
        if commits {
            send(transactional.as_mut(), round);
            transactional.commit_transaction().unwrap();
        } else {
            transactional.send_without_receipt(&valued(&topic, "dropped")).unwrap();
            transactional.abort_transaction().unwrap();
        }
    }
    assert_eq!(given.values(&topic, 0), expected);
}

pub fn a_record_without_a_receipt_that_the_log_refuses_fails_the_commit_or_the_flush(
    given: &Given,
) {
    let topic = given.name("t");
    given.log.create_topic(&NewTopic::new(&topic).config("max.message.bytes", "1000")).unwrap();
    let large = vec![b'x'; 5_000];
    let record = ProducerRecord { value: Some(&large), ..ProducerRecord::to(&topic) };
    let mut plain = given.without_receipts(None);
    let answered = plain.send_without_receipt(&record).and_then(|()| plain.flush());
    assert!(answered.is_err(), "a flush has answered for a record that is not there");
    plain.flush().unwrap();
    let mut transactional = given.without_receipts(Some("p"));
    transactional.begin_transaction().unwrap();
    let answered = transactional
        .send_without_receipt(&record)
        .and_then(|()| transactional.commit_transaction());
    assert!(answered.is_err(), "a transaction was committed without its record");
    assert_eq!(given.values(&topic, 0), Vec::<String>::new());
}
