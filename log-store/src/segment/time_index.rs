//! The `.timeindex` file: for each entry of the offset index, how late the records before it are.
//!
//! ```text
//! an entry, 12 bytes: timestamp i64, relative offset u32
//! at the end:         the segment's latest timestamp i64, crc32 u32
//! ```
//!
//! An entry says, as Kafka's do, that every record with a later timestamp has at least that
//! offset.

use crate::batch::Place;
use crate::segment::index_entry::{Entry, checksum};
use crate::types::Offset;

const ENTRY_BYTES: usize = 12;

/// The bytes of the file.
pub(super) fn encode(
    place: &Place,
    base: Offset,
    entries: &[Entry],
    max_timestamp: i64,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES + 12);
    for entry in entries {
        bytes.extend_from_slice(&entry.timestamp_before.to_be_bytes());
        bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
    }
    bytes.extend_from_slice(&max_timestamp.to_be_bytes());
    let checksum = checksum(place, base, &bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// Adds the timestamps to the entries of the offset index, and returns the segment's latest one;
/// `None` if the file is not of the same entries.
pub(super) fn decode_into(
    place: &Place,
    base: Offset,
    bytes: &[u8],
    entries: &mut [Entry],
) -> Option<i64> {
    let (content, stored) = bytes.split_last_chunk::<4>()?;
    if checksum(place, base, content) != u32::from_be_bytes(*stored) {
        return None;
    }
    let (times, max_timestamp) = content.split_last_chunk::<8>()?;
    let max_timestamp = i64::from_be_bytes(*max_timestamp);
    let (times, rest) = times.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || times.len() != entries.len() {
        return None;
    }
    let mut latest = i64::MIN;
    for (time, entry) in times.iter().zip(entries) {
        let (timestamp, relative_offset) = time.split_first_chunk::<8>()?;
        let relative_offset = u32::from_be_bytes(relative_offset.try_into().ok()?);
        entry.timestamp_before = i64::from_be_bytes(*timestamp);
        if relative_offset != entry.relative_offset || entry.timestamp_before < latest {
            return None;
        }
        latest = entry.timestamp_before;
    }
    (max_timestamp >= latest).then_some(max_timestamp)
}
