//! Goes through the batches of one segment file, over damage and on behind it.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::batch::{BatchHeader, Fault, HEADER_BYTES, Place};
use crate::inspect::source::OpenFile;
use crate::layout;
use crate::segment::SegmentEnd;
use crate::types::Offset;

/// How a segment is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentSpan<'a> {
    pub(super) base: Offset,
    /// Where it ends, as the checkpoint says; `None`: where its whole batches end.
    pub(super) end: Option<SegmentEnd>,
    /// What its batches are checked against; without it only Kafka's checksum counts.
    pub(super) place: Option<&'a Place>,
    /// Whether offsets may be missing between batches, as after a compaction.
    pub(super) gaps: bool,
}

/// Where a whole batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchStart {
    pub(super) position: u32,
    /// Its base offset, counted from the segment's.
    pub(super) relative_offset: u32,
    /// The latest timestamp of its records.
    pub(super) max_timestamp: i64,
}

/// Bytes that are not what was written there, and the offsets that are lost with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) position: u64,
    pub(super) bytes: u64,
    pub(super) offsets: Range<Offset>,
    pub(super) reason: String,
}

/// What a walk comes upon.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// A whole batch, and its bytes.
    Batch(u64, &'a BatchHeader, &'a [u8]),
    Damage(&'a Damage),
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    pub(super) batches: Vec<BatchStart>,
    /// How many bytes they take.
    pub(super) bytes: u64,
    pub(super) damage: Vec<Damage>,
    /// The offset after the last whole batch.
    pub(super) next: Offset,
    /// The position after the last whole batch.
    pub(super) end: u64,
    /// How many bytes behind that are something, where the end was not known.
    pub(super) torn: u64,
}

/// Goes through a segment.
///
/// # Errors
/// What the system reports.
pub(super) fn walk(
    file: &mut OpenFile,
    span: &SegmentSpan<'_>,
    see: &mut dyn FnMut(&Seen<'_>),
) -> io::Result<Walk> {
    let known_end = span.end.map(|end| u64::from(end.position));
    let limit = known_end.unwrap_or(file.len).min(file.len);
    let end_offset = span.end.map(|end| span.base + u64::from(end.relative_offset));
    let last = end_offset.unwrap_or(Offset::MAX);
    let mut found = Walk { next: span.base, ..Walk::default() };
    let mut position = 0;
    while position < limit {
        match judge(file, position, limit, span.place)? {
            Ok((header, bytes)) => {
                if let Some(damage) = found.misplaced(position, &header, last, span.gaps) {
                    found.lose(damage, see);
                }
                if header.base_offset >= found.next && header.next_offset() <= last {
                    found.take(position, &header, span.base);
                    see(&Seen::Batch(position, &header, &bytes));
                }
                position += header.bytes_len as u64;
            }
            Err(fault) => {
                let (next, header) = resume(file, position, limit, &(found.next..last), span)?;
                if header.is_none() && known_end.is_none() {
                    found.torn = written_len(file, position, limit)?;
                    break;
                }
                let offsets = found.next..header.map_or(last, |header| header.base_offset);
                let (bytes, reason) = (next - position, fault.to_string());
                found.next = offsets.end;
                found.lose(Damage { position, bytes, offsets, reason }, see);
                position = next;
            }
        }
    }
    if let (Some(end), Some(last)) = (known_end, end_offset) {
        let lost = |position, reason: String| {
            let offsets = found.next..last;
            Damage { position, bytes: 0, offsets, reason }
        };
        let reason = "batches are missing before the end of the segment";
        if file.len < end {
            let reason = format!("the file ends at byte {}, before byte {end}", file.len);
            found.lose(lost(file.len, reason), see);
        } else if found.next < last && !span.gaps {
            found.lose(lost(limit, reason.to_owned()), see);
        }
    }
    Ok(found)
}

impl Walk {
    fn take(&mut self, position: u64, header: &BatchHeader, base: Offset) {
        self.next = header.next_offset();
        self.end = position + header.bytes_len as u64;
        self.bytes += header.bytes_len as u64;
        self.batches.push(BatchStart {
            position: u32::try_from(position).unwrap_or(u32::MAX),
            relative_offset: u32::try_from(header.base_offset - base).unwrap_or(u32::MAX),
            max_timestamp: header.max_timestamp.as_millis(),
        });
    }

    fn lose(&mut self, damage: Damage, see: &mut dyn FnMut(&Seen<'_>)) {
        see(&Seen::Damage(&damage));
        self.damage.push(damage);
    }

    /// What is wrong with the place of a whole batch among the others.
    fn misplaced(
        &self,
        position: u64,
        header: &BatchHeader,
        last: Offset,
        gaps: bool,
    ) -> Option<Damage> {
        let bytes = header.bytes_len as u64;
        let nothing = self.next..self.next;
        let (bytes, offsets, reason) = if header.base_offset < self.next {
            (bytes, nothing, "the batch repeats offsets of an earlier one")
        } else if header.next_offset() > last {
            (bytes, nothing, "the batch lies behind the segment's last offset")
        } else if header.base_offset > self.next && !gaps {
            (0, self.next..header.base_offset, "batches are missing before this one")
        } else {
            return None;
        };
        Some(Damage { position, bytes, offsets, reason: reason.to_owned() })
    }
}

/// How many bytes from `position` on are not just zeros.
fn written_len(file: &mut OpenFile, position: u64, limit: u64) -> io::Result<u64> {
    let mut written = 0;
    let mut at = position;
    while at < limit {
        let len = usize::try_from(limit - at).unwrap_or(usize::MAX).min(1 << 16);
        let bytes = file.get(at, len)?;
        match layout::written_len(&bytes) as u64 {
            0 => {}
            len => written = at + len - position,
        }
        at += len as u64;
    }
    Ok(written)
}

/// The batch at `position`, if it is whole, or why it is not.
fn judge(
    file: &mut OpenFile,
    position: u64,
    limit: u64,
    place: Option<&Place>,
) -> io::Result<Result<(BatchHeader, Bytes), Fault>> {
    let left = usize::try_from(limit - position).unwrap_or(usize::MAX);
    let header = match BatchHeader::parse(&file.get(position, HEADER_BYTES.min(left))?) {
        Ok(header) => header,
        Err(fault) => return Ok(Err(fault)),
    };
    if header.bytes_len > left {
        return Ok(Err(Fault::Truncated));
    }
    let bytes = file.get(position, header.bytes_len)?;
    let mut records = Vec::new();
    let verified = match place {
        Some(place) => header.verify(&bytes, place),
        None => header.verify_body(&bytes),
    };
    let parsed = verified.and_then(|batch| header.records(batch, 0, Offset::ZERO, &mut records));
    Ok(parsed.map(|_| (header, bytes.clone())))
}

/// Where the next whole batch begins behind damage; the limit if there is none. It must be of
/// these offsets, which keeps batches inside of records' values from being taken for one.
fn resume(
    file: &mut OpenFile,
    damaged: u64,
    limit: u64,
    offsets: &Range<Offset>,
    span: &SegmentSpan<'_>,
) -> io::Result<(u64, Option<BatchHeader>)> {
    /// How many positions are looked at in one step.
    const STEP: usize = 1 << 16;
    let end = damaged + written_len(file, damaged, limit)?;
    let mut from = damaged + 1;
    while from < end {
        let left = usize::try_from(limit - from).unwrap_or(usize::MAX);
        let bytes = file.get(from, (STEP + HEADER_BYTES - 1).min(left))?;
        for (position, bytes) in (from..end).zip(bytes.windows(HEADER_BYTES)) {
            let Ok(header) = BatchHeader::parse(bytes) else { continue };
            let fits = header.bytes_len as u64 <= limit - position
                && header.base_offset >= offsets.start
                && header.next_offset() <= offsets.end;
            if fits && judge(file, position, limit, span.place)?.is_ok() {
                return Ok((position, Some(header)));
            }
        }
        from += STEP as u64;
    }
    Ok((limit, None))
}
