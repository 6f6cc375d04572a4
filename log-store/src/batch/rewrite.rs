//! Writes a batch anew with some of its records: what a compaction leaves of it.

use crate::batch::decode::BatchHeader;
use crate::batch::encode::BatchBuilder;
use crate::batch::format::{APPEND_TIME, DELETE_HORIZON};
use crate::log::Compression;
use crate::record::{Header, Record, RecordView};
use crate::types::Timestamp;

impl BatchBuilder {
    /// Makes it the batch of `header` with those records only, which keep their offsets and
    /// times; the batch keeps the offsets that it takes. From `delete_horizon` on a compaction may
    /// drop its tombstones; it is given where there are some.
    pub(crate) fn rewrite(
        &mut self,
        header: &BatchHeader,
        records: &[RecordView<'_>],
        delete_horizon: Option<Timestamp>,
    ) {
        let first = records.first().map_or(Timestamp::NONE, |record| record.timestamp);
        self.begin(delete_horizon.unwrap_or(first));
        let mut headers: Vec<Header<'_>> = Vec::new();
        for view in records {
            headers.clear();
            headers.extend(view.headers.iter());
            let record =
                Record { key: view.key, value: view.value, timestamp: None, headers: &headers };
            let delta = u32::try_from(view.offset - header.base_offset);
            self.push_at(&record, view.timestamp, delta.expect("a record lies in its batch"));
        }
        let mut attributes = if delete_horizon.is_some() { DELETE_HORIZON } else { 0 };
        if header.has_append_time() {
            attributes |= APPEND_TIME;
            self.set_max_timestamp(header.max_timestamp);
        }
        if header.is_compressed() {
            self.compress(Compression::Lz4);
        }
        self.seal_as(attributes, header.last_offset_delta);
    }
}

#[cfg(test)]
mod tests {
    use crate::batch::{BatchBuilder, BatchHeader, Place};
    use crate::record::{Header, Record, RecordBatch, RecordView};
    use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};
    use bytes::Bytes;

    const PLACE: Place = Place { store_id: 7, topic_id: 3, partition: PartitionId::new(2) };

    fn parse(bytes: &[u8]) -> (BatchHeader, RecordBatch) {
        let topic = TopicName::new("t").unwrap();
        let header = BatchHeader::parse(bytes).unwrap();
        header.verify(bytes, &PLACE).unwrap();
        let tp = TopicPartition::new(topic, PartitionId::new(2));
        (header, RecordBatch::from_kafka(tp, Bytes::copy_from_slice(bytes)).unwrap())
    }

    fn batch(append_time: Option<Timestamp>) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        let headers = [Header { key: "h", value: None }, Header { key: "h", value: Some(b"x") }];
        for (key, value, millis) in
            [(b"a", Some(&b"1"[..]), 50), (b"b", None, -7), (b"c", Some(b"3"), i64::MAX)]
        {
            let record = Record { value, headers: &headers, ..Record::default() }.with_key(key);
            builder.push(&record, Timestamp::from_millis(millis));
        }
        builder.seal(append_time);
        builder.place(&PLACE, Offset::new(100));
        builder.bytes().to_vec()
    }

    fn check(append_time: Option<Timestamp>, horizon: Option<Timestamp>) {
        let (header, whole) = parse(&batch(append_time));
        let kept: Vec<RecordView<'_>> = whole.iter().skip(1).collect();
        let mut builder = BatchBuilder::default();
        builder.rewrite(&header, &kept, horizon);
        builder.place(&PLACE, header.base_offset);
        let (again, records) = parse(builder.bytes());
        assert_eq!(records.iter().collect::<Vec<_>>(), kept);
        assert_eq!(again.delete_horizon(), horizon);
        assert_eq!(again.next_offset(), header.next_offset());
        assert_eq!(again.base_offset, header.base_offset);
        assert_eq!(again.has_append_time(), append_time.is_some());
        assert_eq!(again.max_timestamp, header.max_timestamp);
        assert_eq!(builder.max_timestamp(), header.max_timestamp);
    }

    #[test]
    fn what_is_kept_keeps_its_offset_time_and_headers() {
        check(None, None);
        check(None, Some(Timestamp::from_millis(1_000)));
        check(None, Some(Timestamp::from_millis(i64::MAX)));
        check(Some(Timestamp::from_millis(9)), None);
        check(Some(Timestamp::from_millis(9)), Some(Timestamp::from_millis(1_000)));
    }
}
