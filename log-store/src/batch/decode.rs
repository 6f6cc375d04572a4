//! The one place that parses batches: what it has accepted is trusted everywhere else.

use std::fmt;

use bytes::Bytes;

use crate::batch::checksum::{Place, PlaceChecksum, body_crc};
use crate::batch::compression::{UNCOMPRESSED_BYTES_MAX, Unreadable, uncompress};
use crate::batch::format::{
    APPEND_TIME, ATTRIBUTES, BASE_OFFSET, BASE_TIMESTAMP, BATCH_LENGTH, CODEC_MASK, CONTROL, CRC,
    DELETE_HORIZON, HEADER_BYTES, LAST_OFFSET_DELTA, LENGTH_OVERHEAD, LZ4, MAGIC, MAGIC_BYTE,
    MAX_TIMESTAMP, PLACE, RECORD_COUNT,
};
use crate::error::{Error, Result};
use crate::record::{RecordBatch, RecordSpans, Span, decode_header, span};
use crate::types::{Offset, Timestamp, TopicPartition};
use crate::varint;

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing but zeros where the header would be: never written.
    Unwritten,
    /// The bytes end before the batch does.
    Truncated,
    /// A field of the header cannot be.
    Header(&'static str),
    /// The place's checksum does not match: damaged, or written for another place.
    Place,
    /// Kafka's checksum does not match.
    Crc,
    /// The checksums match, but a record cannot be parsed.
    Record,
    /// The records are compressed, and take more than a reader has room for.
    TooLarge { next_offset: Offset },
    /// The batch uses something that this version does not read.
    Unsupported(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten => f.write_str("there are only zeros where a batch should be"),
            Self::Truncated => f.write_str("the file ends inside of a batch"),
            Self::Header(field) => write!(f, "the batch header is invalid: {field}"),
            Self::Place => f.write_str("the checksum of the batch's place does not match"),
            Self::Crc => f.write_str("the checksum of the batch does not match"),
            Self::Record => f.write_str("a record inside of the batch is malformed"),
            Self::TooLarge { .. } => {
                write!(f, "its records take more than {UNCOMPRESSED_BYTES_MAX} bytes uncompressed")
            }
            Self::Unsupported(what) => write!(f, "the batch is {what}, which is not supported"),
        }
    }
}

/// The header of a batch, its fields checked against each other but its checksums not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: Offset,
    /// All bytes of the batch, header included.
    pub(crate) bytes_len: usize,
    pub(crate) last_offset_delta: u32,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) record_count: u32,
    attributes: i16,
    /// The checksum of the place, in the leader epoch slot.
    pub(crate) place: u32,
    pub(crate) crc: u32,
    base_timestamp: i64,
}

impl BatchHeader {
    /// Reads a header from the start of `bytes`, which may go on behind the batch.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(if bytes.iter().all(|&b| b == 0) {
                Fault::Unwritten
            } else {
                Fault::Truncated
            });
        };
        // Looked at first, because in almost all headers it is there.
        let is_magic = field::<1>(header, MAGIC_BYTE) == [MAGIC];
        if !is_magic && *header == [0; HEADER_BYTES] {
            return Err(Fault::Unwritten);
        }
        let base_offset = i64::from_be_bytes(field(header, BASE_OFFSET));
        let base_offset =
            u64::try_from(base_offset).map_err(|_| Fault::Header("negative base offset"))?;
        let length = i32::from_be_bytes(field(header, BATCH_LENGTH));
        let length = usize::try_from(length).map_err(|_| Fault::Header("negative length"))?;
        if length < HEADER_BYTES - LENGTH_OVERHEAD {
            return Err(Fault::Header("length is shorter than a header"));
        }
        if !is_magic {
            return Err(Fault::Header("magic is not 2"));
        }
        let delta = i32::from_be_bytes(field(header, LAST_OFFSET_DELTA));
        let last_offset_delta =
            u32::try_from(delta).map_err(|_| Fault::Header("negative last offset delta"))?;
        if base_offset > Offset::MAX.value() - u64::from(last_offset_delta) {
            return Err(Fault::Header("the last offset is past the largest one"));
        }
        let count = i32::from_be_bytes(field(header, RECORD_COUNT));
        let record_count =
            u32::try_from(count).map_err(|_| Fault::Header("negative record count"))?;
        if u64::from(record_count) > u64::from(last_offset_delta) + 1 {
            return Err(Fault::Header("more records than offsets"));
        }
        Ok(Self {
            base_offset: Offset::new(base_offset),
            bytes_len: length + LENGTH_OVERHEAD,
            last_offset_delta,
            max_timestamp: Timestamp::from_millis(i64::from_be_bytes(field(header, MAX_TIMESTAMP))),
            record_count,
            base_timestamp: i64::from_be_bytes(field(header, BASE_TIMESTAMP)),
            attributes: i16::from_be_bytes(field(header, ATTRIBUTES)),
            place: u32::from_be_bytes(field(header, PLACE)),
            crc: u32::from_be_bytes(field(header, CRC)),
        })
    }

    /// The offset after the batch.
    pub(crate) fn next_offset(&self) -> Offset {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }

    /// Whether the records' time is that of their append.
    pub(crate) fn has_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// From when on a compaction drops the batch's tombstones; none if no compaction has come by
    /// them yet.
    pub(crate) fn delete_horizon(&self) -> Option<Timestamp> {
        let has_one = self.attributes & DELETE_HORIZON != 0;
        has_one.then_some(Timestamp::from_millis(self.base_timestamp))
    }

    /// The word for how the records are compressed.
    pub(crate) fn codec_name(&self) -> &'static str {
        match self.attributes & CODEC_MASK {
            0 => "none",
            1 => "gzip",
            2 => "snappy",
            3 => "lz4",
            4 => "zstd",
            _ => "unknown",
        }
    }

    /// The batch's own bytes out of `bytes`, if both checksums match.
    pub(crate) fn verify<'a>(&self, bytes: &'a [u8], place: &Place) -> Result<&'a [u8], Fault> {
        let batch = bytes.get(..self.bytes_len).ok_or(Fault::Truncated)?;
        if !self.is_placed(place) {
            return Err(Fault::Place);
        }
        self.verify_body(batch)
    }

    /// Whether the header is whole and was written for this place.
    pub(crate) fn is_placed(&self, place: &Place) -> bool {
        self.is_placed_with(&place.prepare())
    }

    /// The same, for many batches of a partition.
    pub(crate) fn is_placed_with(&self, place: &PlaceChecksum) -> bool {
        let length = u32::try_from(self.bytes_len - LENGTH_OVERHEAD);
        length.is_ok_and(|length| self.place == place.of(self.base_offset, length, self.crc))
    }

    /// The batch's own bytes out of `bytes`, if Kafka's checksum matches.
    pub(crate) fn verify_body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let batch = bytes.get(..self.bytes_len).ok_or(Fault::Truncated)?;
        if self.crc != body_crc(batch.get(ATTRIBUTES..).unwrap_or_default()) {
            return Err(Fault::Crc);
        }
        Ok(batch)
    }

    /// Whether its records are compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.attributes & CODEC_MASK != 0
    }

    /// Finds the records of a verified batch and adds those from `from` on to `records`. Their
    /// spans count from `base`, where the batch begins in the caller's buffer; those of compressed
    /// ones count in the bytes that are returned.
    pub(crate) fn records(
        &self,
        batch: &[u8],
        base: usize,
        from: Offset,
        records: &mut Vec<RecordSpans>,
    ) -> Result<Option<Bytes>, Fault> {
        let content = batch.get(HEADER_BYTES..).ok_or(Fault::Truncated)?;
        if self.attributes & CONTROL != 0 {
            return Err(Fault::Unsupported("a control batch"));
        }
        match self.attributes & CODEC_MASK {
            0 => {
                self.records_in(content, base + HEADER_BYTES, from, records)?;
                Ok(None)
            }
            LZ4 => {
                let content = uncompress(content).map_err(|unreadable| match unreadable {
                    Unreadable::Malformed => Fault::Header("its records are no LZ4 frame"),
                    Unreadable::TooLarge => Fault::TooLarge { next_offset: self.next_offset() },
                })?;
                self.records_in(&content, 0, from, records)?;
                Ok(Some(content))
            }
            1 => Err(Fault::Unsupported("compressed with gzip")),
            2 => Err(Fault::Unsupported("compressed with snappy")),
            4 => Err(Fault::Unsupported("compressed with zstd")),
            _ => Err(Fault::Unsupported("compressed with an unknown codec")),
        }
    }

    fn records_in(
        &self,
        content: &[u8],
        base: usize,
        from: Offset,
        records: &mut Vec<RecordSpans>,
    ) -> Result<(), Fault> {
        let mut position = 0;
        let mut least_delta = 0;
        for _ in 0..self.record_count {
            let rest = content.get(position..).ok_or(Fault::Record)?;
            let (delta, spans, len) = self.record(rest, base + position).ok_or(Fault::Record)?;
            if delta < least_delta || delta > i64::from(self.last_offset_delta) {
                return Err(Fault::Record);
            }
            least_delta = delta + 1;
            if spans.offset >= from {
                records.push(spans);
            }
            position += len;
        }
        if position == content.len() { Ok(()) } else { Err(Fault::Record) }
    }

    /// Parses one record: its offset delta, its spans, and how many bytes it takes.
    #[inline]
    fn record(&self, bytes: &[u8], base: usize) -> Option<(i64, RecordSpans, usize)> {
        let (len, start) = varint::get(bytes)?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        // The first byte has the attributes, of which a record has none.
        let mut rest = bytes.get(start..end)?.get(1..)?;
        let end_position = base + end;
        let timestamp_delta = take_number(&mut rest)?;
        let offset_delta = take_number(&mut rest)?;
        let key = take_span(&mut rest, end_position)?;
        let value = take_span(&mut rest, end_position)?;
        let header_count = u32::try_from(take_number(&mut rest)?).ok()?;
        let headers = span(end_position - rest.len(), end_position);
        for _ in 0..header_count {
            rest = rest.get(decode_header(rest)?.1..)?;
        }
        if !rest.is_empty() {
            return None;
        }
        let timestamp = if self.attributes & APPEND_TIME == 0 {
            Timestamp::from_millis(self.base_timestamp.wrapping_add(timestamp_delta))
        } else {
            self.max_timestamp
        };
        let offset = self.base_offset + u64::try_from(offset_delta).ok()?;
        let spans = RecordSpans { offset, timestamp, key, value, headers, header_count };
        Some((offset_delta, spans, end))
    }
}

impl RecordBatch {
    /// Parses a batch of Kafka's (version 2, uncompressed or compressed with LZ4) as it comes from a client, a broker
    /// or a segment: its CRC is checked, and its leader epoch is left to the caller.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`] with the check that failed.
    pub fn from_kafka(topic_partition: TopicPartition, bytes: Bytes) -> Result<Self> {
        let parse = || {
            let header = BatchHeader::parse(&bytes)?;
            let mut records = Vec::with_capacity(bytes.len().min(header.record_count as usize));
            let batch = header.verify_body(&bytes)?;
            let uncompressed = header.records(batch, 0, Offset::ZERO, &mut records)?;
            Ok((uncompressed.unwrap_or_else(|| bytes.slice(..header.bytes_len)), records))
        };
        match parse() {
            Ok((bytes, records)) => Ok(Self::new(topic_partition, bytes, records)),
            Err(fault) => {
                let reason = Fault::to_string(&fault);
                Err(Error::InvalidBatch { topic_partition, reason })
            }
        }
    }
}

/// The number at the front.
#[inline]
fn take_number(rest: &mut &[u8]) -> Option<i64> {
    let (number, len) = varint::get(rest)?;
    *rest = rest.get(len..)?;
    Some(number)
}

/// The span of the key or value at the front of what ends at the position `end`.
#[inline]
fn take_span(rest: &mut &[u8], end: usize) -> Option<Span> {
    let len = take_number(rest)?;
    if len == -1 {
        return Some(Span::NULL);
    }
    let start = end - rest.len();
    *rest = rest.get(usize::try_from(len).ok()?..)?;
    Some(span(start, end - rest.len()))
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    header.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).expect("fields lie inside")
}

#[cfg(test)]
mod tests {
    use super::{
        ATTRIBUTES, BATCH_LENGTH, BatchHeader, CRC, Fault, HEADER_BYTES, LENGTH_OVERHEAD,
        PLACE as PLACE_AT, UNCOMPRESSED_BYTES_MAX, body_crc,
    };
    use crate::batch::checksum::Place;
    use crate::batch::encode::BatchBuilder;
    use crate::log::Compression;
    use crate::record::{Header, Record, RecordBatch};
    use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};
    use bytes::Bytes;
    use std::io::Write as _;

    const PLACE: Place = Place { store_id: 7 << 100, topic_id: 3, partition: PartitionId::new(2) };

    fn batch(records: &[(Record<'_>, i64)], base_offset: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for (record, millis) in records {
            builder.push(record, Timestamp::from_millis(*millis));
        }
        builder.seal(None);
        builder.place(&PLACE, Offset::new(base_offset));
        builder.bytes().to_vec()
    }

    fn sample() -> Vec<u8> {
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "h", value: None }];
        let first = Record::value(b"value").with_key(b"key").with_headers(&headers);
        batch(&[(first, 1_000), (Record::default(), 990), (Record::value(b""), i64::MAX)], 40)
    }

    fn decode(bytes: &[u8], place: &Place, from: u64) -> Result<RecordBatch, Fault> {
        let header = BatchHeader::parse(bytes)?;
        let batch = header.verify(bytes, place)?;
        let mut records = Vec::new();
        let uncompressed = header.records(batch, 0, Offset::new(from), &mut records)?;
        let topic = TopicName::new("t").unwrap();
        let topic_partition = TopicPartition::new(topic, place.partition);
        let bytes = uncompressed.unwrap_or_else(|| Bytes::copy_from_slice(bytes));
        Ok(RecordBatch::new(topic_partition, bytes, records))
    }

    #[test]
    fn records_survive_a_round_trip_with_nulls_headers_and_times() {
        let decoded = decode(&sample(), &PLACE, 0).unwrap();
        let records: Vec<_> = decoded.iter().collect();
        assert_eq!(records[0].key, Some(&b"key"[..]));
        assert_eq!(records[0].value, Some(&b"value"[..]));
        assert_eq!(
            records[0].headers.iter().map(|h| h.value).collect::<Vec<_>>(),
            [Some(&b"1"[..]), None]
        );
        assert_eq!((records[1].key, records[1].value), (None, None));
        assert_eq!(records[2].value, Some(&b""[..]));
        let place = |r: &crate::record::RecordView<'_>| (r.offset.value(), r.timestamp.as_millis());
        let places: Vec<_> = records.iter().map(place).collect();
        assert_eq!(places, [(40, 1_000), (41, 990), (42, i64::MAX)]);
    }

    /// The records of `sample`, and some more of their kind, compressed.
    fn compressed() -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for number in 0..50 {
            let record = Record::value(b"the same words again and again").with_key(b"key");
            builder.push(&record, Timestamp::from_millis(number));
        }
        let before = builder.len();
        builder.compress(Compression::Lz4);
        assert!(builder.len() < before / 4);
        // As a commit does where records get the time of their append: twice.
        builder.compress(Compression::Lz4);
        builder.seal(None);
        builder.seal(Some(Timestamp::from_millis(99)));
        builder.place(&PLACE, Offset::new(1_000));
        builder.bytes().to_vec()
    }

    #[test]
    fn compressed_records_are_read_from_any_offset_and_every_flipped_bit_is_noticed() {
        let good = compressed();
        for from in [0, 1_000, 1_001, 1_049, 1_050] {
            let decoded = decode(&good, &PLACE, from).unwrap();
            let offsets: Vec<u64> = decoded.iter().map(|r| r.offset.value()).collect();
            assert_eq!(offsets, (from.max(1_000)..1_050).collect::<Vec<_>>());
            assert!(decoded.iter().all(|r| r.value == Some(b"the same words again and again")));
            assert!(decoded.iter().all(|r| r.timestamp == Timestamp::from_millis(99)));
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, &PLACE, 0).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn records_that_grow_too_large_are_refused_with_the_offset_behind_them() {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&vec![0; UNCOMPRESSED_BYTES_MAX + 1]).unwrap();
        let mut bomb = compressed()[..HEADER_BYTES].to_vec();
        bomb.extend(encoder.finish().unwrap());
        let length = u32::try_from(bomb.len() - LENGTH_OVERHEAD).unwrap();
        let crc = body_crc(&bomb[ATTRIBUTES..]);
        let place = PLACE.checksum(Offset::new(1_000), length, crc);
        for (at, value) in [(BATCH_LENGTH, length), (CRC, crc), (PLACE_AT, place)] {
            bomb[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        let error = decode(&bomb, &PLACE, 0).unwrap_err();
        assert_eq!(error, Fault::TooLarge { next_offset: Offset::new(1_050) });
    }

    #[test]
    fn records_before_the_wanted_offset_are_left_out() {
        let offsets: Vec<_> =
            decode(&sample(), &PLACE, 41).unwrap().iter().map(|r| r.offset.value()).collect();
        assert_eq!(offsets, [41, 42]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, &PLACE, 0).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let good = sample();
        for len in 0..good.len() {
            assert!(decode(&good[..len], &PLACE, 0).is_err(), "length {len} went unnoticed");
        }
    }

    #[test]
    fn a_batch_of_another_place_is_refused() {
        let good = sample();
        for place in [
            Place { store_id: 1, ..PLACE },
            Place { topic_id: 4, ..PLACE },
            Place { partition: PartitionId::new(3), ..PLACE },
        ] {
            assert_eq!(decode(&good, &place, 0).unwrap_err(), Fault::Place);
        }
    }

    #[test]
    fn zeros_are_unwritten_space() {
        assert_eq!(BatchHeader::parse(&[0; 100]).unwrap_err(), Fault::Unwritten);
        assert_eq!(BatchHeader::parse(&[0; 10]).unwrap_err(), Fault::Unwritten);
    }

    #[test]
    fn append_time_replaces_the_time_of_every_record() {
        let mut builder = BatchBuilder::default();
        builder.push(&Record::value(b"a"), Timestamp::from_millis(5));
        builder.push(&Record::value(b"b"), Timestamp::from_millis(9));
        builder.seal(Some(Timestamp::from_millis(77)));
        builder.place(&PLACE, Offset::ZERO);
        let decoded = decode(builder.bytes(), &PLACE, 0).unwrap();
        assert!(decoded.iter().all(|r| r.timestamp == Timestamp::from_millis(77)));
    }
}
