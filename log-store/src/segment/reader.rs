//! Reads a segment: finds the batch of an offset, and hands out records.

use std::io::ErrorKind;

use crate::batch::{
    BatchHeader, Fault, HEADER_BYTES, Place, PlaceChecksum, UNCOMPRESSED_BYTES_MAX,
};
use crate::error::{Error, Result};
use crate::record::{RecordBatch, RecordSpans};
use crate::segment::offset_index::{IndexedBatch, OffsetIndex};
use crate::segment::position::SegmentEnd;
use crate::segment::spare_spans::SpareSpans;
use crate::segment::state::Segment;
use crate::types::{Offset, Timestamp, TopicPartition};

/// How much one read returns, but for a batch that is larger alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadLimits {
    pub(crate) bytes_max: usize,
    pub(crate) records_max: usize,
}

/// The largest piece that is looked at in one step, so that a reader's working set stays in the
/// processor's cache.
const STEP_BYTES_MAX: usize = 256 << 10;
/// How far a seek looks ahead: from one entry of the index to the next, and a little more.
const SEEK_BYTES: usize = 8 << 10;
/// No record takes less.
const RECORD_BYTES_MIN: usize = 7;

/// A batch whose checksums match.
#[derive(Clone, Debug)]
pub(crate) struct WholeBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: bytes::Bytes,
    /// The place after it.
    pub(crate) next: SegmentEnd,
}

impl Segment {
    /// The position of the batch that holds `offset`, or of the first one after it.
    pub(crate) fn seek(
        &self,
        offset: Offset,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<u32> {
        let relative = self.relative(offset);
        self.complete_index(place, topic_partition)?;
        let checksum = place.prepare();
        let mut at = self.look_up(&checksum, topic_partition, |index| index.lookup(relative))?;
        let end = self.end();
        while at.position < end.position {
            let (last, is_next_behind) = self.skip(at, offset, &checksum, topic_partition);
            at = last;
            if is_next_behind && self.is_dense() {
                break;
            }
            let WholeBatch { header, next, .. } = self.batch_at(at, place, topic_partition)?;
            if header.next_offset() > offset {
                break;
            }
            at = next;
        }
        Ok(at.position)
    }

    /// The first offset from `from` on whose record has this timestamp or a later one, if there
    /// is one.
    pub(crate) fn offset_for_time(
        &self,
        timestamp: Timestamp,
        from: Offset,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<Option<Offset>> {
        self.complete_index(place, topic_partition)?;
        {
            let cache = self.index.read();
            let complete = cache.index.covered() >= self.end().position;
            if complete && cache.index.max_timestamp() < timestamp.as_millis() {
                return Ok(None);
            }
        }
        let checksum = place.prepare();
        let mut at = self.look_up(&checksum, topic_partition, |index| {
            index.lookup_time(timestamp.as_millis())
        })?;
        let end = self.end().position;
        while at.position < end {
            let WholeBatch { header, next, .. } = self.batch_at(at, place, topic_partition)?;
            if header.max_timestamp >= timestamp && header.next_offset() > from {
                let limits = ReadLimits { bytes_max: header.bytes_len, records_max: 1 };
                let first = from.max(header.base_offset);
                let whose = (place, topic_partition);
                let spare = &mut SpareSpans::none();
                let read = self.read(at.position, first, limits, whose, spare)?;
                let records = read.0.as_ref().into_iter().flat_map(RecordBatch::iter);
                let late = records.filter(|record| record.timestamp >= timestamp);
                if let Some(offset) = late.map(|record| record.offset).min() {
                    return Ok(Some(offset));
                }
            }
            at = next;
        }
        Ok(None)
    }

    /// Goes on to the last batch that begins at or before `offset`, as far as a few kilobytes show
    /// it, and says whether the next one is seen to begin behind it.
    ///
    /// A header whose checksum of the place matches says where its batch ends and where it begins,
    /// and that is all that is needed here: the bodies of those that are skipped are not looked at.
    fn skip(
        &self,
        at: SegmentEnd,
        offset: Offset,
        place: &PlaceChecksum,
        topic_partition: &TopicPartition,
    ) -> (SegmentEnd, bool) {
        let available = (self.end().position - at.position) as usize;
        let chunk = self.bytes(at.position, SEEK_BYTES.min(available), topic_partition);
        // Some of it may not be there: who goes on batch by batch finds out where.
        let Ok(chunk) = chunk else { return (at, false) };
        let header_at = |position: usize| {
            let header = BatchHeader::parse(chunk.get(position..)?).ok()?;
            header.is_placed_with(place).then_some(header)
        };
        let (mut last, mut position) = (at, 0);
        let Some(mut header) = header_at(0) else { return (at, false) };
        while let Some(next) = header_at(position + header.bytes_len) {
            if next.base_offset <= header.base_offset {
                break;
            }
            if next.base_offset > offset {
                return (last, header.base_offset <= offset);
            }
            position += header.bytes_len;
            header = next;
            last = SegmentEnd {
                relative_offset: self.relative(header.base_offset),
                position: at.position + u32::try_from(position).expect("it is inside of a chunk"),
            };
        }
        (last, false)
    }

    /// Reads records from `from` on, beginning at the batch at `position`. Returns them, if there
    /// are any, and where to go on.
    pub(crate) fn read(
        &self,
        position: u32,
        from: Offset,
        limits: ReadLimits,
        (place, topic_partition): (&Place, &TopicPartition),
        spare: &mut SpareSpans,
    ) -> Result<(Option<RecordBatch>, u32)> {
        let segment_end = self.end();
        let end = segment_end.position;
        let (mut position, mut from) = (position, from);
        while position < end {
            let available = (end - position) as usize;
            let wanted = limits.bytes_max.clamp(HEADER_BYTES, STEP_BYTES_MAX).min(available);
            let mut chunk = self.bytes(position, wanted, topic_partition)?;
            let mut records = spare.take();
            if let Ok(header) = BatchHeader::parse(&chunk) {
                if header.bytes_len > chunk.len() && header.bytes_len <= available {
                    chunk = self.bytes(position, header.bytes_len, topic_partition)?;
                }
                // As if all batches were like the first one; it may be damaged, hence the bound.
                let batches = (chunk.len() / header.bytes_len).max(1);
                let expected = (header.record_count as usize).saturating_mul(batches);
                records.reserve_exact(expected.min(chunk.len() / RECORD_BYTES_MIN));
            }
            let Decoded { taken, next, uncompressed, fault } =
                decode_all(&chunk, from, limits, place, self.is_dense(), &mut records);
            // What came before the damage is returned; the next read begins with the damage.
            if let Some(fault) = fault.filter(|_| taken == 0) {
                let from = from.max(self.base());
                return Err(self.corrupt(topic_partition, from, position, &fault));
            }
            position += u32::try_from(taken).expect("a chunk lies inside of the segment");
            if !records.is_empty() {
                let bytes = uncompressed.unwrap_or_else(|| chunk.slice(..taken));
                let batch = RecordBatch::new(topic_partition.clone(), bytes, records);
                spare.lend(&batch);
                return Ok((Some(batch), position));
            }
            // Batches without records take offsets all the same.
            from = next.map_or(from, |next| next.max(from));
        }
        if self.is_dense() && from < self.base() + u64::from(segment_end.relative_offset) {
            let fault = Fault::Header("the segment goes on, but there is none");
            return Err(self.corrupt(topic_partition, from, position, &fault));
        }
        Ok((None, position))
    }

    /// Asks the index, and drops it if it leads to anything but the batch that it speaks of: then
    /// the way is from the start of the segment.
    fn look_up(
        &self,
        place: &PlaceChecksum,
        topic_partition: &TopicPartition,
        ask: impl Fn(&OffsetIndex) -> SegmentEnd,
    ) -> Result<SegmentEnd> {
        let at = ask(&self.index.read().index);
        if at == SegmentEnd::default() {
            return Ok(at);
        }
        let available = self.end().position.saturating_sub(at.position) as usize;
        let head = self.bytes(at.position, HEADER_BYTES.min(available), topic_partition)?;
        let expected = self.base() + u64::from(at.relative_offset);
        let is_there = BatchHeader::parse(&head)
            .is_ok_and(|header| header.base_offset == expected && header.is_placed_with(place));
        if is_there {
            return Ok(at);
        }
        tracing::warn!(path = %self.path().display(), "its index is wrong: rebuilding");
        self.index.write().index = OffsetIndex::default();
        Ok(SegmentEnd::default())
    }

    /// Takes the batches into the index that came since it was last complete, up to the first that
    /// is damaged.
    pub(crate) fn complete_index(
        &self,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<()> {
        let end = self.end().position;
        if self.index.read().index.covered() >= end {
            return Ok(());
        }
        let mut cache = self.index.write();
        let mut at = SegmentEnd { relative_offset: 0, position: cache.index.covered() };
        while at.position < end {
            // Damage ends the index, not the reading: what lies before it can be found.
            let WholeBatch { header, next, .. } = match self.batch(at, place, topic_partition) {
                Err(Error::Corrupt { .. }) => break,
                batch => batch?,
            };
            // What was covered before is checked by its length only.
            let known = at.position == 0 || at.relative_offset > 0;
            if known && self.check_follows(at, &header, topic_partition).is_err() {
                break;
            }
            let batch = IndexedBatch {
                relative_offset: self.relative(header.base_offset),
                position: at.position,
                end: next.position,
                max_timestamp: header.max_timestamp.as_millis(),
            };
            cache.index.note(&batch, self.index_interval());
            at = next;
        }
        Ok(())
    }

    /// The batch at a place, which goes on where the one before has ended.
    pub(crate) fn batch_at(
        &self,
        at: SegmentEnd,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<WholeBatch> {
        let batch = self.batch(at, place, topic_partition)?;
        self.check_follows(at, &batch.header, topic_partition)?;
        Ok(batch)
    }

    /// The batch at a place. Its checksums are checked even where only its header is needed: a
    /// damaged one would lead past records that are there.
    fn batch(
        &self,
        at: SegmentEnd,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<WholeBatch> {
        let available = (self.end().position - at.position) as usize;
        let head = self.bytes(at.position, HEADER_BYTES.min(available), topic_partition)?;
        let corrupt = |fault| {
            let offset = self.base() + u64::from(at.relative_offset);
            self.corrupt(topic_partition, offset, at.position, &fault)
        };
        let header = BatchHeader::parse(&head).map_err(corrupt)?;
        if header.bytes_len > available {
            return Err(corrupt(Fault::Truncated));
        }
        let bytes = self.bytes(at.position, header.bytes_len, topic_partition)?;
        header.verify(&bytes, place).map_err(corrupt)?;
        let len = u32::try_from(header.bytes_len).expect("it lies inside of the segment");
        let relative_offset = self.relative(header.next_offset());
        let next = SegmentEnd { relative_offset, position: at.position + len };
        Ok(WholeBatch { header, bytes, next })
    }

    /// Refuses a batch that does not go on where the one before has ended: it may be whole, and of
    /// this partition, and yet from another place in it.
    fn check_follows(
        &self,
        at: SegmentEnd,
        header: &BatchHeader,
        topic_partition: &TopicPartition,
    ) -> Result<()> {
        let expected = self.base() + u64::from(at.relative_offset);
        if follows(header, expected, self.is_dense()) {
            return Ok(());
        }
        Err(self.corrupt(topic_partition, expected, at.position, &OUT_OF_PLACE))
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset - self.base()).unwrap_or(u32::MAX)
    }

    /// Bytes below the published end, which must be there.
    fn bytes(
        &self,
        position: u32,
        len: usize,
        topic_partition: &TopicPartition,
    ) -> Result<bytes::Bytes> {
        self.file().read(u64::from(position), len).map_err(|error| match error.kind() {
            // Only a file that is too short stays so: anything else may be read the next time.
            ErrorKind::UnexpectedEof if self.is_short(u64::from(position) + len as u64) => {
                self.corrupt(topic_partition, self.base(), position, &Fault::Truncated)
            }
            ErrorKind::NotFound => {
                let fault = Fault::Header("its file is missing");
                self.corrupt(topic_partition, self.base(), position, &fault)
            }
            _ => Error::io("read", self.path(), error),
        })
    }

    fn is_short(&self, end: u64) -> bool {
        self.file().size().is_ok_and(|size| size < end)
    }

    pub(super) fn corrupt(
        &self,
        topic_partition: &TopicPartition,
        offset: Offset,
        position: u32,
        fault: &Fault,
    ) -> Error {
        if let Fault::TooLarge { next_offset } = *fault {
            return Error::BatchTooLarge {
                topic_partition: topic_partition.clone(),
                offset,
                next_offset,
                bytes_max: UNCOMPRESSED_BYTES_MAX,
            };
        }
        Error::Corrupt {
            topic_partition: topic_partition.clone(),
            offset,
            path: self.path().to_owned(),
            position: u64::from(position),
            reason: fault.to_string(),
        }
    }
}

const OUT_OF_PLACE: Fault = Fault::Header("its offset does not follow the batch before");

/// Whether a batch goes on at `expected`, or (where offsets may be missing) behind it.
fn follows(header: &BatchHeader, expected: Offset, dense: bool) -> bool {
    header.base_offset == expected || (!dense && header.base_offset > expected)
}

/// What batches of a chunk gave.
#[derive(Debug, Default)]
struct Decoded {
    /// How many bytes of the chunk were used up.
    taken: usize,
    /// The offset after them.
    next: Option<Offset>,
    /// What the records lie in, where that is not the chunk.
    uncompressed: Option<bytes::Bytes>,
    /// Why the batch behind them could not be decoded, if damage ended it.
    fault: Option<Fault>,
}

/// Decodes whole batches from the start of `chunk` until a limit is reached. A compressed one is
/// decoded alone: its records lie elsewhere.
fn decode_all(
    chunk: &[u8],
    from: Offset,
    limits: ReadLimits,
    place: &Place,
    dense: bool,
    records: &mut Vec<RecordSpans>,
) -> Decoded {
    let mut decoded = Decoded::default();
    while let Some(rest) = chunk.get(decoded.taken..).filter(|rest| !rest.is_empty()) {
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            // The chunk may end inside of a header; the next one then begins there.
            Err(_) if decoded.taken > 0 && rest.len() < HEADER_BYTES => break,
            Err(fault) => return Decoded { fault: Some(fault), ..decoded },
        };
        if header.bytes_len > rest.len() && decoded.taken > 0 {
            break;
        }
        let in_place = match decoded.next {
            Some(expected) => follows(&header, expected, dense),
            // The first one holds the wanted offset, or in a compacted segment one behind it.
            None => header.next_offset() > from && (!dense || header.base_offset <= from),
        };
        if !in_place {
            return Decoded { fault: Some(OUT_OF_PLACE), ..decoded };
        }
        let whole = records.len() + header.record_count as usize;
        if !records.is_empty() && (whole > limits.records_max || header.is_compressed()) {
            break;
        }
        let before = records.len();
        let found = header
            .verify(rest, place)
            .and_then(|batch| header.records(batch, decoded.taken, from, records));
        match found {
            Ok(uncompressed) => decoded.uncompressed = uncompressed,
            Err(fault) => {
                records.truncate(before);
                return Decoded { fault: Some(fault), ..decoded };
            }
        }
        decoded.next = Some(header.next_offset());
        decoded.taken += header.bytes_len;
        if decoded.uncompressed.is_some() && !records.is_empty() {
            break;
        }
    }
    decoded
}
