//! Topics, their configs, and what records keep on their way.

use headwater_log_store::{
    AlterConfigOp, Error, Header, NewTopic, Offset, PartitionId, ProducerRecord, Timestamp,
    partition_for_key,
};

use super::{Given, send, tp};

pub fn a_topic_is_created_described_listed_and_deleted(given: &Given) {
    let (log, topic) = (&given.log, given.name("t"));
    let new = NewTopic::new(&topic).partitions(3).config("retention.ms", "7200000");
    log.create_topic(&new).unwrap();
    let described = log.describe_topic(&topic).unwrap();
    assert_eq!((described.name.as_str(), described.partitions), (topic.as_str(), 3));
    assert_eq!(described.configs.get("retention.ms").map(String::as_str), Some("7200000"));
    assert!(log.topics().unwrap().contains(&described));
    assert!(matches!(log.create_topic(&new), Err(Error::TopicExists { .. })));
    log.delete_topic(&topic).unwrap();
    assert!(matches!(log.describe_topic(&topic), Err(Error::UnknownTopic { .. })));
    assert!(matches!(log.delete_topic(&topic), Err(Error::UnknownTopic { .. })));
    assert!(matches!(log.watermarks(&tp(&topic, 0)), Err(Error::UnknownTopic { .. })));
    let invalid = log.create_topic(&NewTopic::new("a/b"));
    assert!(matches!(invalid, Err(Error::InvalidTopicName(_))));
    let invalid = log.create_topic(&NewTopic::new(&topic).config("cleanup.policy", "burn"));
    assert!(matches!(invalid, Err(Error::InvalidConfig { .. })), "{invalid:?}");
}

pub fn topics_are_created_together_and_each_has_its_answer(given: &Given) {
    let (log, before) = (&given.log, given.topic("before", 1));
    let good = |name: &str, partitions| NewTopic::new(given.name(name)).partitions(partitions);
    let answers = log.create_topics(&[
        good("a", 2),
        NewTopic::new("a/b"),
        NewTopic::new(&before),
        good("none", 0),
        good("b", 3).config("retention.ms", "7200000"),
        good("burns", 1).config("cleanup.policy", "burn"),
    ]);
    assert!(
        matches!(
            answers[..],
            [
                Ok(()),
                Err(Error::InvalidTopicName(_)),
                Err(Error::TopicExists { .. }),
                Err(Error::InvalidConfig { .. }),
                Ok(()),
                Err(Error::InvalidConfig { .. }),
            ]
        ),
        "{answers:?}"
    );
    assert_eq!(log.describe_topic(&given.name("a")).unwrap().partitions, 2);
    let described = log.describe_topic(&given.name("b")).unwrap();
    assert_eq!(described.partitions, 3);
    assert_eq!(described.configs.get("retention.ms").map(String::as_str), Some("7200000"));
    let burns = log.describe_topic(&given.name("burns"));
    assert!(matches!(burns, Err(Error::UnknownTopic { .. })), "{burns:?}");
    assert!(log.create_topics(&[]).is_empty());
}

pub fn watermarks_of_many_partitions_come_in_their_order(given: &Given) {
    let (first, second) = (given.topic("t", 3), given.topic("u", 1));
    for (topic, partition, values) in
        [(&first, 0, &["a", "b", "c"][..]), (&first, 2, &["d"]), (&second, 0, &["e", "f"])]
    {
        given.send_all(topic, partition, values);
    }
    given.log.delete_records(&tp(&first, 0), Offset::new(2)).unwrap();
    let asked = [tp(&second, 0), tp(&first, 2), tp(&first, 1), tp(&first, 0)];
    let found = given.log.all_watermarks(&asked).unwrap();
    let found: Vec<_> = found.iter().map(|each| (each.start.value(), each.end.value())).collect();
    assert_eq!(found, [(0, 2), (0, 1), (0, 0), (2, 3)]);
    assert!(given.log.all_watermarks(&[]).unwrap().is_empty());
    let unknown = given.log.all_watermarks(&[tp(&first, 0), tp(&first, 9)]);
    assert!(matches!(unknown, Err(Error::UnknownPartition { .. })), "{unknown:?}");
    let unknown = given.log.all_watermarks(&[tp(&first, 0), tp(&given.name("none"), 0)]);
    assert!(matches!(unknown, Err(Error::UnknownTopic { .. })), "{unknown:?}");
}

pub fn a_topic_gets_more_partitions_and_never_fewer(given: &Given) {
    let topic = given.topic("t", 2);
    given.log.create_partitions(&topic, 5).unwrap();
    assert_eq!(given.log.describe_topic(&topic).unwrap().partitions, 5);
    given.send_all(&topic, 4, &["a"]);
    assert_eq!(given.values(&topic, 4), ["a"]);
    for total in [5, 1] {
        let refused = given.log.create_partitions(&topic, total);
        assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    }
    let unknown = given.log.create_partitions(&given.name("none"), 2);
    assert!(matches!(unknown, Err(Error::UnknownTopic { .. })), "{unknown:?}");
}

pub fn configs_of_a_topic_are_set_changed_and_taken_back(given: &Given) {
    let (log, topic) = (&given.log, given.name("t"));
    log.create_topic(&NewTopic::new(&topic).config("segment.bytes", "33554432")).unwrap();
    let find = |key: &str| {
        let configs = log.describe_configs(&topic).unwrap();
        let found = configs.into_iter().find(|config| config.name == key).unwrap();
        (found.value, found.is_default)
    };
    let default = find("retention.ms");
    assert!(default.1);
    let ops = [AlterConfigOp::set("retention.ms", "3600000")];
    log.incremental_alter_configs(&topic, &ops).unwrap();
    assert_eq!(find("retention.ms"), ("3600000".to_owned(), false));
    assert_eq!(find("segment.bytes"), ("33554432".to_owned(), false), "what was not named stays");
    log.incremental_alter_configs(&topic, &[AlterConfigOp::delete("retention.ms")]).unwrap();
    assert_eq!(find("retention.ms"), default);
    let refused = log.incremental_alter_configs(&topic, &[AlterConfigOp::set("retention.ms", "x")]);
    assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    let unknown = log.incremental_alter_configs(&given.name("none"), &ops);
    assert!(matches!(unknown, Err(Error::UnknownTopic { .. })), "{unknown:?}");
}

pub fn records_keep_keys_nulls_headers_and_timestamps(given: &Given) {
    let topic = given.topic("t", 1);
    let headers = [
        Header { key: "h", value: Some(b"1") },
        Header { key: "h", value: None },
        Header { key: "g", value: Some(b"") },
    ];
    let at = |millis| Some(Timestamp::from_millis(millis));
    let plain = ProducerRecord::to(&topic);
    let records = [
        ProducerRecord { key: Some(b"k"), value: Some(b"v"), timestamp: at(1_000), ..plain },
        ProducerRecord { key: Some(b"k"), value: None, timestamp: at(999), ..plain },
        ProducerRecord { key: None, value: Some(b""), timestamp: at(5), ..plain },
        ProducerRecord { key: Some(b""), value: Some(&[0, 255]), timestamp: at(6), ..plain },
        ProducerRecord { value: Some(b"h"), headers: &headers, timestamp: at(7), ..plain },
    ];
    let mut producer = given.producer();
    for (offset, record) in records.iter().enumerate() {
        let receipt = producer.send(record).unwrap();
        let metadata = receipt.wait().unwrap();
        assert_eq!(metadata.topic_partition, tp(&topic, 0));
        assert_eq!(metadata.offset, Offset::new(offset as u64));
    }
    let mut consumer = given.log.consumer(&Default::default()).unwrap();
    consumer.assign(&[tp(&topic, 0)]).unwrap();
    consumer.seek(&tp(&topic, 0), Offset::ZERO).unwrap();
    let mut read = 0;
    while read < records.len() {
        for batch in consumer.poll(super::PATIENCE).unwrap() {
            assert_eq!(batch.topic_partition(), &tp(&topic, 0));
            for found in batch.iter() {
                let sent = &records[read];
                assert_eq!(found.offset, Offset::new(read as u64));
                assert_eq!((found.key, found.value), (sent.key, sent.value), "record {read}");
                assert_eq!(Some(found.timestamp), sent.timestamp, "record {read}");
                assert_eq!(found.headers.iter().collect::<Vec<_>>(), sent.headers);
                read += 1;
            }
        }
    }
}

pub fn keys_choose_the_partition_as_in_kafka_and_records_without_one_are_spread(given: &Given) {
    let topic = given.topic("t", 4);
    let mut producer = given.producer();
    for key in ["a", "foobar", "headwater", "0"] {
        let record = ProducerRecord { key: Some(key.as_bytes()), ..ProducerRecord::to(&topic) };
        let metadata = producer.send(&record).unwrap().wait().unwrap();
        let expected = partition_for_key(key.as_bytes(), 4);
        assert_eq!(metadata.topic_partition.partition, expected, "{key}");
    }
    let value = [b'x'; 1024];
    for _ in 0..128 {
        let record = ProducerRecord { value: Some(&value), ..ProducerRecord::to(&topic) };
        drop(producer.send(&record).unwrap());
    }
    producer.flush().unwrap();
    for partition in 0..4 {
        let values = given.values(&topic, partition);
        let spread = values.iter().filter(|value| value.len() == 1024).count();
        assert!(spread >= 16, "partition {partition} has {spread} of 128 records");
    }
}

pub fn what_cannot_be_sent_is_refused(given: &Given) {
    let topic = given.topic("t", 2);
    let mut producer = given.producer();
    let unknown = producer.send(&ProducerRecord::to(&given.name("none")));
    assert!(matches!(unknown, Err(Error::UnknownTopic { .. })), "{unknown:?}");
    let partition = Some(PartitionId::new(2));
    let unknown = producer.send(&ProducerRecord { partition, ..ProducerRecord::to(&topic) });
    let Err(Error::UnknownPartition { partitions: 2, .. }) = unknown else { panic!("{unknown:?}") };
    let value = vec![b'x'; 3 << 20];
    let large = ProducerRecord { value: Some(&value), ..ProducerRecord::to(&topic) };
    let refused = producer.send(&large);
    assert!(matches!(refused, Err(Error::RecordTooLarge { .. })), "{refused:?}");
    send(producer.as_mut(), &topic, 1, "after").wait().unwrap();
    assert_eq!(given.values(&topic, 1), ["after"]);
}

pub fn records_are_deleted_from_the_front(given: &Given) {
    let topic = given.topic("t", 1);
    let (log, partition) = (&given.log, tp(&topic, 0));
    given.send_all(&topic, 0, &["a", "b", "c", "d"]);
    log.delete_records(&partition, Offset::new(2)).unwrap();
    let watermarks = log.watermarks(&partition).unwrap();
    assert_eq!((watermarks.start, watermarks.end), (Offset::new(2), Offset::new(4)));
    assert_eq!(given.values(&topic, 0), ["c", "d"]);
    log.delete_records(&partition, Offset::new(1)).unwrap();
    assert_eq!(log.watermarks(&partition).unwrap().start, Offset::new(2), "it only moves up");
    let past = log.delete_records(&partition, Offset::new(5));
    assert!(matches!(past, Err(Error::OffsetOutOfRange { .. })), "{past:?}");
    let unknown = log.delete_records(&tp(&topic, 7), Offset::new(1));
    assert!(matches!(unknown, Err(Error::UnknownPartition { .. })), "{unknown:?}");
}

pub fn offsets_are_found_by_timestamp(given: &Given) {
    let topic = given.topic("t", 2);
    let mut producer = given.producer();
    for (partition, millis) in [(0, 100), (0, 300), (0, 200), (1, 250)] {
        let record = ProducerRecord {
            partition: Some(PartitionId::new(partition)),
            timestamp: Some(Timestamp::from_millis(millis)),
            value: Some(b"v"),
            ..ProducerRecord::to(&topic)
        };
        producer.send(&record).unwrap().wait().unwrap();
    }
    let at = |partition, millis| (tp(&topic, partition), Timestamp::from_millis(millis));
    let asked = [at(0, 0), at(0, 101), at(0, 301), at(1, 250), at(1, 251)];
    let found = given.log.offsets_for_times(&asked).unwrap();
    assert_eq!(found, [Some(Offset::ZERO), Some(Offset::new(1)), None, Some(Offset::ZERO), None]);
    let unknown = given.log.offsets_for_times(&[at(5, 0)]);
    assert!(matches!(unknown, Err(Error::UnknownPartition { .. })), "{unknown:?}");
}
