//! Holds the two index files of a segment against its batches.

use crate::batch::Place;
use crate::inspect::segments::BatchStart;
use crate::segment::{OffsetIndex, SegmentFile, is_index_whole};
use crate::types::Offset;

/// The bytes of both files.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexFiles<'a> {
    pub(super) offsets: &'a [u8],
    pub(super) times: &'a [u8],
}

impl IndexFiles<'_> {
    /// What is wrong with which of the two, given the batches of the segment.
    pub(super) fn fault(
        &self,
        place: &Place,
        base: Offset,
        segment_bytes: u32,
        batches: &[BatchStart],
    ) -> Option<(SegmentFile, &'static str)> {
        let damaged = "its checksum does not match, or it is of another segment";
        if !is_index_whole(place, base, self.offsets) {
            return Some((SegmentFile::OffsetIndex, damaged));
        }
        if !is_index_whole(place, base, self.times) {
            return Some((SegmentFile::TimeIndex, damaged));
        }
        let Some(index) = OffsetIndex::decode(place, base, self.offsets, self.times, segment_bytes)
        else {
            return Some((SegmentFile::OffsetIndex, "it does not go with its segment"));
        };
        let mut latest = i64::MIN;
        let mut batches = batches.iter().peekable();
        batches.peek()?;
        for (relative_offset, position, timestamp_before) in index.entries() {
            while let Some(batch) = batches.next_if(|batch| batch.position < position) {
                latest = latest.max(batch.max_timestamp);
            }
            let begin = batches.peek().filter(|batch| batch.position == position);
            if begin.is_none_or(|batch| batch.relative_offset != relative_offset) {
                let reason = "it points at other places than the segment's batches";
                return Some((SegmentFile::OffsetIndex, reason));
            }
            if latest != timestamp_before {
                let reason = "it has other timestamps than the segment's batches";
                return Some((SegmentFile::TimeIndex, reason));
            }
        }
        for batch in batches.take_while(|batch| batch.position < index.covered()) {
            latest = latest.max(batch.max_timestamp);
        }
        let reason = "its latest timestamp is another than the segment's";
        (latest != index.max_timestamp()).then_some((SegmentFile::TimeIndex, reason))
    }
}
