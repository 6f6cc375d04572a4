//! Our batches are Kafka's: the `kafka-protocol` crate, which is not ours, reads what we write and
//! writes what we read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use bytes::{Bytes, BytesMut};
use headwater_log_store::{
    Header, Log, LogStore, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord, Record,
    RecordBatch, Timestamp, TopicName, TopicPartition,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    Record as KafkaRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
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
    let config = ProducerConfig { transactional_id: Some("p".to_owned()) };
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
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
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
