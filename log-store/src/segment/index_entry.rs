//! What the two index files of a segment have in common.

use crate::batch::Place;
use crate::types::Offset;

/// A place where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) relative_offset: u32,
    pub(super) position: u32,
    /// The latest timestamp of all batches before.
    pub(super) timestamp_before: i64,
}

/// Whether the checksum at the end of an index file matches.
pub(crate) fn is_index_whole(place: &Place, base: Offset, bytes: &[u8]) -> bool {
    let split = bytes.split_last_chunk::<4>();
    split.is_some_and(|(content, stored)| {
        checksum(place, base, content) == u32::from_be_bytes(*stored)
    })
}

/// The checksum of an index file, which is valid for its segment only.
pub(super) fn checksum(place: &Place, base: Offset, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // The same kind of checksum ties a batch to its place.
    hasher.update(&place.checksum(base, 0, 0).to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
