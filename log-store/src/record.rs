//! Records: as handed in to be appended, and as borrowed views into a batch that was read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Offset, Timestamp, TopicPartition};
use crate::varint;

/// One header of a record: a name, which may repeat, and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name.
    pub key: &'a str,
    /// The value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// A record to append, borrowed from the caller.
///
/// ```
/// use headwater_log_store::Record;
///
/// let record = Record::value(b"click").with_key(b"user-7");
/// assert_eq!(record.key, Some(&b"user-7"[..]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event time. Default = the time of the append.
    pub timestamp: Option<Timestamp>,
    /// The headers, in order.
    pub headers: &'a [Header<'a>],
}

impl<'a> Record<'a> {
    /// A record with a value only.
    #[must_use]
    pub fn value(value: &'a [u8]) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// The same record with a key.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same record with an event time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: Timestamp) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }

    /// The same record with headers.
    #[must_use]
    pub fn with_headers(self, headers: &'a [Header<'a>]) -> Self {
        Self { headers, ..self }
    }
}

/// A record that was read: slices of its batch, valid as long as the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// The event time, or the time of the append where the topic says so.
    pub timestamp: Timestamp,
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: HeadersView<'a>,
}

/// The headers of a record that was read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadersView<'a> {
    /// Encoded as in a Kafka batch, checked when the batch was parsed.
    encoded: &'a [u8],
    count: u32,
}

impl<'a> HeadersView<'a> {
    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is one header, and that is its name.
    #[must_use]
    #[inline]
    pub fn is_only(&self, key: &str) -> bool {
        self.count == 1
            && get_bytes(self.encoded).is_some_and(|(name, _)| name == Some(key.as_bytes()))
    }

    /// The headers in their order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.encoded;
        (0..self.count).map_while(move |_| {
            let (header, len) = decode_header(rest)?;
            rest = rest.get(len..)?;
            Some(header)
        })
    }

    /// The last header of that name, as Kafka's `lastHeader`.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<Header<'a>> {
        self.iter().filter(|header| header.key == key).last()
    }
}

impl fmt::Debug for HeadersView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends one header in the encoding of a Kafka batch.
pub(crate) fn encode_header(buffer: &mut Vec<u8>, header: &Header<'_>) {
    put_bytes(buffer, Some(header.key.as_bytes()));
    put_bytes(buffer, header.value);
}

/// Appends a length and the bytes; a null is the length -1.
#[inline]
pub(crate) fn put_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(buffer, -1),
        Some(bytes) => {
            varint::put(buffer, i64::try_from(bytes.len()).expect("a slice fits isize"));
            buffer.extend_from_slice(bytes);
        }
    }
}

/// How many bytes [`put_bytes`] writes.
#[inline]
pub(crate) fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| {
        varint::len(i64::try_from(bytes.len()).expect("a slice fits isize")) + bytes.len()
    })
}

/// Reads one header and how many bytes it took.
pub(crate) fn decode_header(bytes: &[u8]) -> Option<(Header<'_>, usize)> {
    let (key, key_end) = get_bytes(bytes)?;
    let (value, value_len) = get_bytes(bytes.get(key_end..)?)?;
    let key = std::str::from_utf8(key?).ok()?;
    Some((Header { key, value }, key_end + value_len))
}

/// Reads a length and its bytes, and how many bytes both took.
#[inline]
pub(crate) fn get_bytes(bytes: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let (len, start) = varint::get(bytes)?;
    if len == -1 {
        return Some((None, start));
    }
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    Some((Some(bytes.get(start..end)?), end))
}

/// Where a part of a record lies in its batch; the start is [`NULL`](Self::NULL) for Kafka's null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    /// The span of a null key or value.
    pub(crate) const NULL: Self = Self { start: u32::MAX, len: 0 };

    #[inline]
    fn slice(self, bytes: &[u8]) -> Option<&[u8]> {
        if self == Self::NULL {
            return None;
        }
        bytes.get(self.start as usize..self.start as usize + self.len as usize)
    }
}

/// Where the parts of one record lie in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordSpans {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Span,
    pub(crate) value: Span,
    pub(crate) headers: Span,
    pub(crate) header_count: u32,
}

/// Records of one partition that were read together: one owner of the bytes, borrowed views of
/// the records.
///
/// Cloning it costs a few reference counts, however many records there are; it keeps the mapping or buffer behind
/// it alive.
#[derive(Clone)]
pub struct RecordBatch {
    topic_partition: TopicPartition,
    bytes: Bytes,
    records: Arc<Vec<RecordSpans>>,
}

impl RecordBatch {
    /// Puts a checked batch together.
    pub(crate) fn new(
        topic_partition: TopicPartition,
        bytes: Bytes,
        records: Vec<RecordSpans>,
    ) -> Self {
        Self { topic_partition, bytes, records: Arc::new(records) }
    }

    /// The partition that the records come from.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// How many records there are; a poll never returns a batch without any.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record at `index`, counted from 0.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<RecordView<'_>> {
        self.records.get(index).map(|spans| self.view(spans))
    }

    /// The records by offset.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'_>> {
        self.records.iter().map(|spans| self.view(spans))
    }

    /// How many bytes the records keep in memory: the encoded batch, or what a compressed one has
    /// become.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The offset after the last record: where the next poll goes on.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.records.last().map(|spans| spans.offset.next())
    }

    /// Where the records lie in the bytes.
    pub(crate) fn spans(&self) -> &Arc<Vec<RecordSpans>> {
        &self.records
    }

    #[inline]
    fn view(&self, spans: &RecordSpans) -> RecordView<'_> {
        RecordView {
            offset: spans.offset,
            timestamp: spans.timestamp,
            key: spans.key.slice(&self.bytes),
            value: spans.value.slice(&self.bytes),
            headers: HeadersView {
                encoded: spans.headers.slice(&self.bytes).unwrap_or_default(),
                count: spans.header_count,
            },
        }
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("topic_partition", &self.topic_partition)
            .field("records", &self.records.len())
            .field("next_offset", &self.next_offset())
            .finish_non_exhaustive()
    }
}

/// Collects single messages into a [`RecordBatch`]: how a log that is not the embedded one fills
/// its polls.
#[derive(Debug)]
pub struct RecordBatchBuilder {
    topic_partition: TopicPartition,
    bytes: Vec<u8>,
    records: Vec<RecordSpans>,
}

impl RecordBatchBuilder {
    /// Starts an empty batch.
    #[must_use]
    pub fn new(topic_partition: TopicPartition) -> Self {
        Self { topic_partition, bytes: Vec::new(), records: Vec::new() }
    }

    /// Copies a record in.
    ///
    /// # Panics
    /// If the batch grows past 4 GiB, which the caller's poll limit has to prevent.
    pub fn push(&mut self, offset: Offset, timestamp: Timestamp, record: &Record<'_>) {
        let key = self.copy(record.key);
        let value = self.copy(record.value);
        let start = self.bytes.len();
        for header in record.headers {
            encode_header(&mut self.bytes, header);
        }
        let headers = span(start, self.bytes.len());
        let header_count = u32::try_from(record.headers.len()).expect("headers fit their bytes");
        self.records.push(RecordSpans { offset, timestamp, key, value, headers, header_count });
    }

    /// The finished batch.
    #[must_use]
    pub fn build(self) -> RecordBatch {
        RecordBatch::new(self.topic_partition, Bytes::from(self.bytes), self.records)
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Span {
        bytes.map_or(Span::NULL, |bytes| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            span(start, self.bytes.len())
        })
    }
}

/// The span from `start` to `end` of a batch that is shorter than 4 GiB.
pub(crate) fn span(start: usize, end: usize) -> Span {
    let start32 = u32::try_from(start).expect("a batch is shorter than 4 GiB");
    Span { start: start32, len: u32::try_from(end - start).expect("a batch is shorter than 4 GiB") }
}

#[cfg(test)]
mod tests {
    use super::{Header, Record, RecordBatchBuilder};
    use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};

    #[test]
    fn a_built_batch_gives_back_nulls_gaps_and_repeated_headers() {
        let topic_partition =
            TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(3));
        let mut builder = RecordBatchBuilder::new(topic_partition);
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "h", value: None }];
        let full = Record::value(b"v").with_key(b"k").with_headers(&headers);
        builder.push(Offset::new(5), Timestamp::from_millis(10), &full);
        builder.push(Offset::new(9), Timestamp::from_millis(7), &Record::default());
        builder.push(Offset::new(10), Timestamp::from_millis(7), &Record::value(b""));
        let batch = builder.build();

        let first = batch.get(0).unwrap();
        assert_eq!((first.key, first.value), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!(first.headers.iter().collect::<Vec<_>>(), headers);
        assert_eq!(first.headers.last("h"), Some(headers[1]));
        let second = batch.get(1).unwrap();
        assert_eq!((second.offset, second.key, second.value), (Offset::new(9), None, None));
        assert_eq!(batch.get(2).unwrap().value, Some(&b""[..]));
        assert_eq!(batch.next_offset(), Some(Offset::new(11)));
        assert_eq!(batch.iter().len(), 3);
    }
}
