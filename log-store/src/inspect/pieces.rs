//! What a segment that is written anew is put together from.

use std::ops::Range;

use crate::batch::{BatchBuilder, HEADER_BYTES, Place};
use crate::inspect::segments::Walk;
use crate::segment::{SegmentEnd, SegmentSpec};
use crate::types::Offset;

/// The most offsets that one empty batch stands for.
const HOLE_OFFSETS_MAX: u64 = 1 << 31;

/// A part of a segment that is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes of the old file.
    Keep(Range<u64>),
    /// Empty batches for these offsets.
    Lose(Range<Offset>),
}

/// The pieces of a segment of which `limit` bytes are there.
pub(super) fn pieces(found: &Walk, limit: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut position = 0;
    let keep = |pieces: &mut Vec<Piece>, range: Range<u64>| {
        if !range.is_empty() {
            pieces.push(Piece::Keep(range));
        }
    };
    for damage in &found.damage {
        keep(&mut pieces, position..damage.position.min(limit));
        if !damage.offsets.is_empty() {
            pieces.push(Piece::Lose(damage.offsets.clone()));
        }
        position = damage.position + damage.bytes;
    }
    keep(&mut pieces, position..limit);
    pieces
}

/// The offsets that the pieces go without.
pub(super) fn lost(pieces: &[Piece]) -> Vec<Range<Offset>> {
    let lost = |piece: &Piece| match piece {
        Piece::Lose(offsets) => Some(offsets.clone()),
        Piece::Keep(_) => None,
    };
    pieces.iter().filter_map(lost).collect()
}

/// How many bytes the pieces take, and how many of those are of the old file.
pub(super) fn bytes_len(pieces: &[Piece]) -> (u64, u64) {
    let (mut all, mut kept) = (0, 0);
    for piece in pieces {
        match piece {
            Piece::Keep(range) => {
                kept += range.end - range.start;
                all += range.end - range.start;
            }
            Piece::Lose(offsets) => {
                let batches = (offsets.end - offsets.start).div_ceil(HOLE_OFFSETS_MAX);
                all += batches * HEADER_BYTES as u64;
            }
        }
    }
    (all, kept)
}

/// Empty batches in place of offsets that are lost, so that nobody takes them for a gap or gives
/// them out again.
pub(super) fn hole(place: &Place, offsets: &Range<Offset>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut first = offsets.start;
    while first < offsets.end {
        let next = (first + HOLE_OFFSETS_MAX).min(offsets.end);
        let mut batch = BatchBuilder::default();
        let last_offset_delta = u32::try_from(next - first - 1).expect("at most 2^31");
        batch.seal_empty(last_offset_delta);
        batch.place(place, first);
        bytes.extend_from_slice(batch.bytes());
        first = next;
    }
    bytes
}

/// The offset after a segment.
pub(super) fn end_offset(spec: &SegmentSpec) -> Offset {
    spec.id.base + u64::from(spec.end.relative_offset)
}

/// Where the whole batches of a segment end.
pub(super) fn end_of(found: &Walk, base: Offset) -> SegmentEnd {
    SegmentEnd {
        relative_offset: u32::try_from(found.next - base).unwrap_or(u32::MAX),
        position: u32::try_from(found.end).unwrap_or(u32::MAX),
    }
}
