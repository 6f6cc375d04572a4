//! Encodes records into a batch, once, into a buffer that is used again.

use crate::batch::checksum::{Place, PlaceChecksum, body_crc};
use crate::batch::compression::compress;
use crate::batch::format::{
    APPEND_TIME, ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_LENGTH, CRC,
    HEADER_BYTES, LAST_OFFSET_DELTA, LENGTH_OVERHEAD, LZ4, MAGIC, MAGIC_BYTE, MAX_TIMESTAMP, PLACE,
    PRODUCER_EPOCH, PRODUCER_ID, RECORD_COUNT,
};
use crate::log::Compression;
use crate::record::{Record, bytes_len, encode_header, put_bytes};
use crate::types::{Offset, Timestamp};
use crate::varint;

/// The most that a batch of one record takes beside keys, values and headers: 1 attribute byte, and
/// the longest numbers, since the limit that this is held against is a bound, not a measure.
const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + varint::VARLONG_BYTES_MAX * 4 + 1;

/// A batch that is being filled.
///
/// `push` the records, `seal` it when it is known how their time is kept, `place` it when its
/// offset is known; then [`bytes`](Self::bytes) is what goes to disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchBuilder {
    buffer: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u32,
    /// The attributes' bits for how the records are compressed, which they are at the end.
    codec: i16,
    crc: u32,
}

impl BatchBuilder {
    /// How many bytes a batch of this record alone takes.
    #[inline]
    pub(crate) fn size_of(record: &Record<'_>) -> usize {
        OVERHEAD_BYTES_MAX + payload_len(record)
    }

    /// Adds a record with its event time.
    pub(crate) fn push(&mut self, record: &Record<'_>, timestamp: Timestamp) {
        self.push_sized(record, timestamp, Self::size_of(record));
    }

    /// Adds a record whose [`size_of`](Self::size_of) is known.
    #[inline]
    pub(crate) fn push_sized(&mut self, record: &Record<'_>, timestamp: Timestamp, size: usize) {
        if self.count == 0 {
            self.begin(timestamp);
        }
        self.put_record(record, timestamp, self.count, size - OVERHEAD_BYTES_MAX);
    }

    /// Begins a batch whose times count from `base_timestamp`.
    pub(super) fn begin(&mut self, base_timestamp: Timestamp) {
        self.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        self.base_timestamp = base_timestamp.as_millis();
        self.max_timestamp = i64::MIN;
    }

    /// Adds a record at a distance from the first offset of the batch.
    pub(super) fn push_at(&mut self, record: &Record<'_>, timestamp: Timestamp, delta: u32) {
        self.put_record(record, timestamp, delta, payload_len(record));
    }

    fn put_record(
        &mut self,
        record: &Record<'_>,
        timestamp: Timestamp,
        delta: u32,
        payload: usize,
    ) {
        let millis = timestamp.as_millis();
        self.max_timestamp = self.max_timestamp.max(millis);
        let timestamp_delta = millis.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(delta);
        let header_count = to_i64(record.headers.len());
        let body_len = 1
            + varint::len(timestamp_delta)
            + varint::len(offset_delta)
            + varint::len(header_count)
            + payload;
        self.buffer.reserve(body_len + varint::VARLONG_BYTES_MAX);
        varint::put(&mut self.buffer, to_i64(body_len));
        self.buffer.push(0);
        varint::put(&mut self.buffer, timestamp_delta);
        varint::put(&mut self.buffer, offset_delta);
        put_bytes(&mut self.buffer, record.key);
        put_bytes(&mut self.buffer, record.value);
        varint::put(&mut self.buffer, header_count);
        for header in record.headers {
            encode_header(&mut self.buffer, header);
        }
        self.count += 1;
    }

    /// Compresses the records, if that makes them shorter. After the last `push`, and before `seal`.
    pub(crate) fn compress(&mut self, compression: Compression) {
        let records = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
        let compressed = match compression {
            Compression::None => None,
            Compression::Lz4 if self.codec == 0 => compress(records),
            Compression::Lz4 => None,
        };
        if let Some(compressed) = compressed {
            self.buffer.truncate(HEADER_BYTES);
            self.buffer.extend_from_slice(&compressed);
            self.codec = LZ4;
        }
    }

    /// How many records it holds.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes it can take without asking for more memory.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Fills in all that does not depend on the offset. With `append_time`, that is the time of
    /// all its records.
    pub(crate) fn seal(&mut self, append_time: Option<Timestamp>) {
        let attributes = if append_time.is_some() { APPEND_TIME } else { 0 };
        self.max_timestamp = append_time.map_or(self.max_timestamp, Timestamp::as_millis);
        self.seal_as(attributes, self.count - 1);
    }

    /// Fills in all that does not depend on the offset.
    pub(super) fn seal_as(&mut self, attributes: i16, last_offset_delta: u32) {
        let length = self.batch_length();
        self.put(BATCH_LENGTH, length.to_be_bytes());
        self.put(MAGIC_BYTE, [MAGIC]);
        self.put(ATTRIBUTES, (attributes | self.codec).to_be_bytes());
        self.put(LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        self.put(BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        self.put(MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        self.put(PRODUCER_ID, (-1i64).to_be_bytes());
        self.put(PRODUCER_EPOCH, (-1i16).to_be_bytes());
        self.put(BASE_SEQUENCE, (-1i32).to_be_bytes());
        self.put(RECORD_COUNT, self.count.to_be_bytes());
        self.crc = body_crc(self.buffer.get(ATTRIBUTES..).unwrap_or_default());
        self.put(CRC, self.crc.to_be_bytes());
    }

    /// Says that the records have this time, whatever they came with.
    pub(super) fn set_max_timestamp(&mut self, timestamp: Timestamp) {
        self.max_timestamp = timestamp.as_millis();
    }

    /// The latest timestamp in it, once it is sealed.
    pub(crate) fn max_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.max_timestamp)
    }

    /// Makes it a batch without records that takes offsets all the same, as a repair leaves one
    /// where records were.
    pub(crate) fn seal_empty(&mut self, last_offset_delta: u32) {
        self.begin(Timestamp::NONE);
        self.max_timestamp = Timestamp::NONE.as_millis();
        self.seal_as(0, last_offset_delta);
    }

    /// Fills in where it goes.
    pub(crate) fn place(&mut self, place: &Place, base_offset: Offset) {
        self.place_with(&place.prepare(), base_offset);
    }

    /// Fills in where it goes.
    pub(crate) fn place_with(&mut self, place: &PlaceChecksum, base_offset: Offset) {
        let checksum = place.of(base_offset, self.batch_length(), self.crc);
        self.put(BASE_OFFSET, base_offset.value().to_be_bytes());
        self.put(PLACE, checksum.to_be_bytes());
    }

    /// The batch as it goes to disk.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Empties it and keeps the buffer.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.codec = 0;
        self.buffer.clear();
    }

    fn batch_length(&self) -> u32 {
        u32::try_from(self.buffer.len() - LENGTH_OVERHEAD).expect("a batch is shorter than 4 GiB")
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.buffer
            .get_mut(at..at + N)
            .expect("a batch that is not empty has its header")
            .copy_from_slice(&bytes);
    }
}

#[inline]
fn payload_len(record: &Record<'_>) -> usize {
    let headers = record.headers.iter();
    bytes_len(record.key)
        + bytes_len(record.value)
        + headers.map(|h| bytes_len(Some(h.key.as_bytes())) + bytes_len(h.value)).sum::<usize>()
}

fn to_i64(len: usize) -> i64 {
    i64::try_from(len).expect("a length fits isize")
}
