//! Our batches are Kafka's: the `kafka-protocol` crate, which is not ours, reads what we write and
//! writes what we read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use bytes::{Bytes, BytesMut};
use headwater_log_store::{
    AlterConfigOp, Compression, Error, Header, Log, LogStore, NewTopic, Offset, PartitionId,
    ProducerConfig, ProducerRecord, Record, RecordBatch, Timestamp, TopicName, TopicPartition,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as KafkaCompression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, Record as KafkaRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(0))
}

#[test]
fn kafka_protocol_decodes_our_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "n", value: None }];
    let first = Record::value(b"one")
        .with_key(b"k")
        .with_timestamp(Timestamp::from_millis(1_000))
        .with_headers(&headers);
    let second = Record::default().with_timestamp(Timestamp::from_millis(400));
    store.append_batch(&partition(), &[first, second]).unwrap();
    let config = ProducerConfig { transactional_id: Some("p".to_owned()), ..Default::default() };
    let mut producer = store.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    let timestamp = Some(Timestamp::from_millis(i64::MAX));
    let third = ProducerRecord { value: Some(b"three"), timestamp, ..ProducerRecord::to("t") };
    drop(producer.send(&third).unwrap());
    producer.commit_transaction().unwrap();
    drop(producer);
    store.close().unwrap();

    let path = dir.path().join("t-0").join("00000000000000000000.log");
    let mut segment = Bytes::from(std::fs::read(path).unwrap());
    let sets = RecordBatchDecoder::decode_all(&mut segment).unwrap();
    let records: Vec<KafkaRecord> = sets.into_iter().flat_map(|set| set.records).collect();
    let seen: Vec<_> = records
        .iter()
        .map(|r| (r.offset, r.timestamp, r.key.as_deref(), r.value.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 1_000, Some(&b"k"[..]), Some(&b"one"[..])),
            (1, 400, None, None),
            (2, i64::MAX, None, Some(&b"three"[..])),
        ]
    );
    let named: Vec<_> =
        records[0].headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    assert_eq!(named, [("h", Some(&b"1"[..])), ("n", None)]);
    assert!(records.iter().all(|r| !r.control && r.producer_id == NO_PRODUCER_ID));
}

#[test]
fn we_decode_the_batches_of_kafka_protocol() {
    let record = |offset: i64, key: Option<&'static [u8]>, value: Option<&'static [u8]>| {
        let mut record = KafkaRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: NO_SEQUENCE,
            timestamp: 10 * offset,
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        };
        record.headers.insert(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"x")));
        record
    };
    let records =
        [record(7, Some(b"k"), Some(b"seven")), record(8, None, None), record(9, None, Some(b""))];
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: KafkaCompression::None };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).unwrap();

    // The encoder begins a new batch where a producer's sequence does not go on.
    let mut rest = buffer.clone().freeze();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let batch = RecordBatch::from_kafka(partition(), rest.clone()).unwrap();
        rest = rest.slice(batch.bytes_len()..);
        batches.push(batch);
    }
    let decoded = || batches.iter().flat_map(RecordBatch::iter);
    let seen: Vec<_> =
        decoded().map(|r| (r.offset, r.timestamp.as_millis(), r.key, r.value)).collect();
    assert_eq!(
        seen,
        [
            (Offset::new(7), 70, Some(&b"k"[..]), Some(&b"seven"[..])),
            (Offset::new(8), 80, None, None),
            (Offset::new(9), 90, None, Some(&b""[..])),
        ]
    );
    let header = Header { key: "h", value: Some(&b"x"[..]) };
    assert!(decoded().all(|r| r.headers.iter().eq([header])));

    buffer[62] ^= 1;
    let error = RecordBatch::from_kafka(partition(), buffer.freeze()).unwrap_err().to_string();
    assert!(error.contains("t-0") && error.contains("checksum"), "{error}");
}

/// Lines of a web log as JSON: what topics of events are full of.
fn json_lines(count: u64) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(1);
    let paths = ["/", "/index.html", "/shop/cart", "/shop/item", "/images/logo.png", "/login"];
    let agents = ["Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0", "curl/8.5.0"];
    let line = |n: u64| {
        format!(
            "{{\"time\":{},\"host\":\"10.{}.{}.{}\",\"method\":\"GET\",\"path\":\"{}\",\"status\":{},\
             \"bytes\":{},\"agent\":\"{}\"}}",
            1_700_000_000_000 + n * 37,
            rng.u8(..),
            rng.u8(..),
            rng.u8(..),
            paths[rng.usize(..paths.len())],
            [200, 200, 200, 304, 404][rng.usize(..5)],
            rng.u32(200..90_000),
            agents[rng.usize(..agents.len())],
        )
    };
    (0..count).map(line).collect()
}

/// A segment of transactions by a producer of that setting: its bytes, closed.
fn segment(lines: &[String], topic: &NewTopic, compression: Compression) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(topic).unwrap();
    let transactional_id = Some("p".to_owned());
    let config = ProducerConfig { transactional_id, compression, ..ProducerConfig::default() };
    let mut producer = store.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    for (line, millis) in lines.iter().zip(1_700_000_000_000..) {
        let record = ProducerRecord {
            value: Some(line.as_bytes()),
            timestamp: Some(Timestamp::from_millis(millis)),
            ..ProducerRecord::to("t")
        };
        drop(producer.send(&record).unwrap());
    }
    producer.commit_transaction().unwrap();
    drop(producer);
    let read: Vec<RecordBatch> = store.fetch(&partition(), Offset::ZERO, usize::MAX).unwrap();
    let values = read.iter().flat_map(RecordBatch::iter).map(|r| r.value.unwrap());
    assert!(values.eq(lines.iter().map(String::as_bytes)));
    // From anywhere in a batch, and from any batch.
    for from in (0..lines.len()).step_by(lines.len() / 7) {
        let batches = store.fetch(&partition(), Offset::new(from as u64), 1).unwrap();
        let first = batches[0].get(0).unwrap();
        assert_eq!(
            (first.offset.value(), first.value),
            (from as u64, Some(lines[from].as_bytes()))
        );
    }
    store.close().unwrap();
    let reopened = LogStore::open(dir.path()).unwrap();
    assert!(reopened.scrub().unwrap().damaged.is_empty());
    reopened.close().unwrap();
    let path = dir.path().join("t-0").join("00000000000000000000.log");
    Bytes::from(std::fs::read(path).unwrap())
}

#[test]
fn kafka_protocol_reads_our_lz4_and_a_web_log_takes_a_third() {
    let lines = json_lines(20_000);
    let topic = NewTopic::new("t");
    let raw = segment(&lines, &topic, Compression::None);
    let mut compressed = segment(&lines, &topic, Compression::Lz4);
    let ratio = compressed.len() as f64 / raw.len() as f64;
    println!("{} of {} bytes: {ratio:.3}", compressed.len(), raw.len());
    assert!(ratio <= 0.35, "{ratio}");
    let sets = RecordBatchDecoder::decode_all(&mut compressed).unwrap();
    assert!(sets.iter().all(|set| set.compression == KafkaCompression::Lz4));
    let records = sets.into_iter().flat_map(|set| set.records);
    let seen: Vec<(i64, Bytes)> = records.map(|r| (r.offset, r.value.unwrap())).collect();
    let sent = lines.iter().map(|line| Bytes::copy_from_slice(line.as_bytes()));
    assert!(seen.into_iter().eq((0..).zip(sent)));
}

#[test]
fn the_topic_decides_over_the_producer() {
    let lines = json_lines(500);
    let topic = |value: &str| NewTopic::new("t").config("compression.type", value);
    let len = |topic: &NewTopic, compression| segment(&lines, topic, compression).len();
    let (raw, lz4) =
        (len(&topic("producer"), Compression::None), len(&topic("producer"), Compression::Lz4));
    assert!(lz4 < raw / 2);
    assert_eq!(len(&topic("uncompressed"), Compression::Lz4), raw);
    assert_eq!(len(&topic("lz4"), Compression::None), lz4);
}

#[test]
fn plain_appends_are_compressed_too_where_that_pays() {
    let store = LogStore::in_memory().unwrap();
    let topic = NewTopic::new("t").config("compression.type", "lz4");
    store.create_topic(&topic.config("message.timestamp.type", "LogAppendTime")).unwrap();
    let lines = json_lines(300);
    let records: Vec<Record<'_>> = lines.iter().map(|l| Record::value(l.as_bytes())).collect();
    store.append(&partition(), &Record::value(b"short")).unwrap();
    store.append_batch(&partition(), &records).unwrap();
    store.append(&partition(), &Record::value(b"short")).unwrap();
    let ops = [AlterConfigOp::set("compression.type", "uncompressed")];
    store.incremental_alter_configs("t", &ops).unwrap();
    store.append_batch(&partition(), &records).unwrap();
    let batches = store.fetch(&partition(), Offset::ZERO, usize::MAX).unwrap();
    let values: Vec<&[u8]> =
        batches.iter().flat_map(RecordBatch::iter).map(|r| r.value.unwrap()).collect();
    let all = || lines.iter().map(String::as_bytes);
    let short = || std::iter::once(&b"short"[..]);
    assert!(values.into_iter().eq(short().chain(all()).chain(short()).chain(all())));
}

#[test]
fn we_decode_the_lz4_of_kafka_protocol_and_refuse_its_other_codecs_by_name() {
    let record = |offset: i64| KafkaRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).unwrap(),
        timestamp: 10 * offset,
        key: None,
        value: Some(Bytes::from(format!("value {offset} {}", "x".repeat(200)))),
        headers: kafka_protocol::indexmap::IndexMap::new(),
    };
    let records: Vec<_> = (0..100).map(record).collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: KafkaCompression::Lz4 };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).unwrap();
    assert!(buffer.len() < 5_000, "it is compressed");
    let batch = RecordBatch::from_kafka(partition(), buffer.clone().freeze()).unwrap();
    let values: Vec<_> = batch.iter().map(|r| r.value.unwrap().to_vec()).collect();
    assert_eq!(values, records.iter().map(|r| r.value.clone().unwrap()).collect::<Vec<_>>());
    // The codec's bits say zstd now, under a checksum that fits.
    buffer[22] = 4;
    let crc = crc32c::crc32c(&buffer[21..]);
    buffer[17..21].copy_from_slice(&crc.to_be_bytes());
    let error = RecordBatch::from_kafka(partition(), buffer.freeze()).unwrap_err();
    assert!(matches!(error, Error::InvalidBatch { .. }), "{error}");
    assert!(error.to_string().contains("zstd, which is not supported"), "{error}");
}
