//! Finds the end of what was written after an unclean stop.

use crate::batch::{BatchHeader, HEADER_BYTES, Place};
use crate::error::{Error, Result};
use crate::layout::written_len;
use crate::segment::position::SegmentEnd;
use crate::segment::state::Segment;

/// What a scan found behind the point where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The end of the last whole batch.
    pub(crate) end: SegmentEnd,
    /// How many bytes of a torn batch lie behind it.
    pub(crate) torn_bytes: u64,
}

/// Goes from `begin` over whole, verified batches that follow one another without a gap, and
/// stops at the first that is not: what lies behind was never acknowledged.
pub(crate) fn scan(segment: &Segment, begin: SegmentEnd, place: &Place) -> Result<Scan> {
    let file_len = segment.file_len()?;
    let read = |position: u32, len: u64| {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        segment
            .file()
            .read(u64::from(position), len)
            .map_err(|e| Error::io("read", segment.path(), e))
    };
    let mut end = begin;
    loop {
        let available = file_len.saturating_sub(u64::from(end.position));
        let head = read(end.position, available.min(HEADER_BYTES as u64))?;
        let Ok(header) = BatchHeader::parse(&head) else { break };
        let expected = segment.base() + u64::from(end.relative_offset);
        if header.bytes_len as u64 > available || header.base_offset != expected {
            break;
        }
        let batch = read(end.position, header.bytes_len as u64)?;
        let mut records = Vec::new();
        let whole = header
            .verify(&batch, place)
            .and_then(|bytes| header.records(bytes, 0, expected, &mut records).map(drop));
        let relative = u32::try_from(header.next_offset() - segment.base());
        let position =
            u32::try_from(header.bytes_len).ok().and_then(|l| end.position.checked_add(l));
        let (Ok(()), Ok(relative_offset), Some(position)) = (whole, relative, position) else {
            break;
        };
        end = SegmentEnd { relative_offset, position };
    }
    let rest = file_len.saturating_sub(u64::from(end.position));
    let torn = read(end.position, rest)?;
    let torn_bytes = written_len(&torn) as u64;
    Ok(Scan { end, torn_bytes })
}
