//! The sparse index of a segment: every few kilobytes, which offset begins at which position, and
//! how late the records before it are.
//!
//! It is a cache. A lookup gives a batch at or before the wanted one, and the reader goes on from
//! there by the batches themselves; an index that is short, or missing, makes that longer and
//! never wrong. On disk it is two files with a checksum each, `.index` and `.timeindex`; if one
//! does not match, both are dropped.

use crate::batch::Place;
use crate::segment::index_entry::{Entry, checksum};
use crate::segment::position::SegmentEnd;
use crate::segment::time_index;
use crate::types::Offset;

/// Bytes of an entry, as in Kafka: relative offset and position, four each.
const ENTRY_BYTES: usize = 8;

/// A batch, as far as an index goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexedBatch {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
    /// The position after it.
    pub(crate) end: u32,
    /// The latest timestamp in it.
    pub(crate) max_timestamp: i64,
}

/// Entries by rising offset and position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    entries: Vec<Entry>,
    /// All batches before this position were considered.
    covered: u32,
    /// The latest timestamp of those.
    max_timestamp: i64,
}

impl Default for OffsetIndex {
    fn default() -> Self {
        Self { entries: Vec::new(), covered: 0, max_timestamp: i64::MIN }
    }
}

impl OffsetIndex {
    /// The same index without the batches from its last entry on. Of the two files, one may be of
    /// an earlier save than the other; if their entries are the same, they differ in these only.
    pub(crate) fn without_tail(mut self) -> Self {
        let last = self.entries.last();
        (self.covered, self.max_timestamp) =
            last.map_or((0, i64::MIN), |entry| (entry.position, entry.timestamp_before));
        self
    }

    /// The position up to which batches were considered.
    pub(crate) fn covered(&self) -> u32 {
        self.covered
    }

    /// The latest timestamp of the batches that were considered.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Considers a batch, which must begin at [`covered`](Self::covered), for an entry.
    pub(crate) fn note(&mut self, batch: &IndexedBatch, interval: u32) {
        let IndexedBatch { relative_offset, position, .. } = *batch;
        if position != self.covered {
            return;
        }
        let last = self.entries.last().map_or(0, |entry| entry.position);
        if position > last && position - last >= interval {
            let timestamp_before = self.max_timestamp;
            self.entries.push(Entry { relative_offset, position, timestamp_before });
        }
        self.covered = batch.end;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// Where a batch begins that is at or before the offset.
    pub(crate) fn lookup(&self, relative_offset: u32) -> SegmentEnd {
        self.last(|entry| entry.relative_offset <= relative_offset)
    }

    /// Where a batch begins before which every timestamp is earlier than `timestamp`.
    pub(crate) fn lookup_time(&self, timestamp: i64) -> SegmentEnd {
        self.last(|entry| entry.timestamp_before < timestamp)
    }

    fn last(&self, is_before: impl Fn(&Entry) -> bool) -> SegmentEnd {
        let after = self.entries.partition_point(is_before);
        let entry = after.checked_sub(1).and_then(|index| self.entries.get(index));
        entry.map_or_else(SegmentEnd::default, |entry| SegmentEnd {
            relative_offset: entry.relative_offset,
            position: entry.position,
        })
    }

    /// The entries: relative offset, position, and the latest timestamp before.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, u32, i64)> {
        self.entries.iter().map(|e| (e.relative_offset, e.position, e.timestamp_before))
    }

    /// The bytes of the `.index` file.
    pub(crate) fn encode(&self, place: &Place, base: Offset) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES + 8);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes.extend_from_slice(&self.covered.to_be_bytes());
        let checksum = checksum(place, base, &bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// An index file of this content, whatever it is.
    #[cfg(feature = "testing")]
    pub(crate) fn sign(place: &Place, base: Offset, mut content: Vec<u8>) -> Vec<u8> {
        let checksum = checksum(place, base, &content);
        content.extend_from_slice(&checksum.to_be_bytes());
        content
    }

    /// The bytes of the `.timeindex` file.
    pub(crate) fn encode_times(&self, place: &Place, base: Offset) -> Vec<u8> {
        time_index::encode(place, base, &self.entries, self.max_timestamp)
    }

    /// Reads both files of a segment that is `segment_bytes` long; `None` on any doubt.
    pub(crate) fn decode(
        place: &Place,
        base: Offset,
        index: &[u8],
        times: &[u8],
        segment_bytes: u32,
    ) -> Option<Self> {
        let (content, stored) = index.split_last_chunk::<4>()?;
        if checksum(place, base, content) != u32::from_be_bytes(*stored) {
            return None;
        }
        let (entries, covered) = content.split_last_chunk::<4>()?;
        let covered = u32::from_be_bytes(*covered);
        let (chunks, rest) = entries.as_chunks::<ENTRY_BYTES>();
        let mut entries: Vec<Entry> = chunks.iter().map(|chunk| decode_entry(*chunk)).collect();
        let rising = entries.windows(2).all(|pair| {
            matches!(pair, [a, b] if a.relative_offset < b.relative_offset && a.position < b.position)
        });
        let inside = entries.last().is_none_or(|entry| entry.position < covered);
        if !rest.is_empty() || !rising || !inside || covered > segment_bytes {
            return None;
        }
        let max_timestamp = time_index::decode_into(place, base, times, &mut entries)?;
        Some(Self { entries, covered, max_timestamp })
    }
}

fn decode_entry(chunk: [u8; ENTRY_BYTES]) -> Entry {
    let both = u64::from_be_bytes(chunk);
    let position = u32::try_from(both & u64::from(u32::MAX)).expect("masked to 32 bits");
    let relative_offset = u32::try_from(both >> 32).expect("shifted to 32 bits");
    Entry { relative_offset, position, timestamp_before: i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::{IndexedBatch, OffsetIndex};
    use crate::batch::Place;
    use crate::types::{Offset, PartitionId};

    const PLACE: Place = Place { store_id: 5, topic_id: 6, partition: PartitionId::new(7) };

    /// Batches of 10 offsets and 100 bytes; every third one is late.
    fn filled() -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for batch in 0..100u32 {
            let max_timestamp = i64::from(batch) * 1_000 - if batch % 3 == 0 { 5_000 } else { 0 };
            let (relative_offset, position) = (batch * 10, batch * 100);
            let end = position + 100;
            index.note(&IndexedBatch { relative_offset, position, end, max_timestamp }, 250);
        }
        index
    }

    #[test]
    fn a_lookup_gives_the_last_entry_at_or_before() {
        let index = filled();
        assert_eq!((index.covered(), index.max_timestamp()), (10_000, 98_000));
        for (relative_offset, position) in [(0, 0), (29, 0), (30, 300), (59, 300), (60, 600)] {
            assert_eq!(index.lookup(relative_offset).position, position, "{relative_offset}");
        }
        assert_eq!(index.lookup(u32::MAX).position, 9_900);
    }

    #[test]
    fn a_lookup_by_time_skips_only_batches_that_are_earlier() {
        let index = filled();
        for timestamp in -10_000..110_000 {
            let position = index.lookup_time(timestamp).position;
            for batch in 0..position / 100 {
                let late = if batch % 3 == 0 { 5_000 } else { 0 };
                assert!(i64::from(batch) * 1_000 - late < timestamp, "{timestamp}: {batch}");
            }
        }
        assert_eq!(index.lookup_time(110_000).position, 9_900);
    }

    #[test]
    fn without_its_tail_an_index_is_as_it_was_before_the_last_entry() {
        let mut index = filled().without_tail();
        assert_eq!((index.covered(), index.max_timestamp()), (9_900, 98_000));
        let batch = IndexedBatch {
            relative_offset: 990,
            position: 9_900,
            end: 10_000,
            max_timestamp: 94_000,
        };
        index.note(&batch, 250);
        assert_eq!(index, filled());
        let empty = OffsetIndex { covered: 200, max_timestamp: 7, ..OffsetIndex::default() };
        assert_eq!(empty.without_tail(), OffsetIndex::default());
    }

    #[test]
    fn a_batch_out_of_line_is_not_noted() {
        let mut index = filled();
        let before = index.clone();
        let batch = IndexedBatch {
            relative_offset: 5_000,
            position: 12_000,
            end: 13_000,
            max_timestamp: i64::MAX,
        };
        index.note(&batch, 250);
        assert_eq!(index, before);
    }

    #[test]
    fn the_files_give_the_same_index_back_and_every_damage_drops_it() {
        let (index, base) = (filled(), Offset::new(77));
        let files = [index.encode(&PLACE, base), index.encode_times(&PLACE, base)];
        let decode = |base, files: &[Vec<u8>; 2], bytes| {
            OffsetIndex::decode(&PLACE, base, &files[0], &files[1], bytes)
        };
        assert_eq!(decode(base, &files, 10_000), Some(index));
        assert_eq!(decode(Offset::new(78), &files, 10_000), None);
        let other = Place { partition: PartitionId::new(8), ..PLACE };
        assert_eq!(OffsetIndex::decode(&other, base, &files[0], &files[1], 10_000), None);
        assert_eq!(decode(base, &files, 9_999), None, "longer than its segment");
        for file in 0..2 {
            for bit in 0..files[file].len() * 8 {
                let mut bad = files.clone();
                bad[file][bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(base, &bad, 10_000), None, "file {file}, bit {bit}");
            }
            for len in 0..files[file].len() {
                let mut bad = files.clone();
                bad[file].truncate(len);
                assert_eq!(decode(base, &bad, 10_000), None, "file {file}, length {len}");
            }
        }
    }
}
