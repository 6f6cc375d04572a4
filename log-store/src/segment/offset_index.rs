//! The sparse index of a segment: every few kilobytes, which offset begins at which position.
//!
//! It is a cache. A lookup gives a batch at or before the wanted one, and the reader goes on from
//! there by the batches themselves; an index that is short, or missing, makes that longer and
//! never wrong. On disk it carries a checksum; a file that does not match is dropped.

use crate::types::Offset;

/// Bytes of an entry, as in Kafka: relative offset and position, four each.
const ENTRY_BYTES: usize = 8;
/// Bytes behind the entries: the position up to which they speak, and a checksum over all.
const TRAILER_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    relative_offset: u32,
    position: u32,
}

/// Entries by rising offset and position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    entries: Vec<Entry>,
    /// All batches before this position were considered.
    covered: u32,
}

impl OffsetIndex {
    /// The position up to which batches were considered.
    pub(crate) fn covered(&self) -> u32 {
        self.covered
    }

    /// Considers the batch at `position`, which must be [`covered`](Self::covered), for an entry.
    pub(crate) fn note(&mut self, relative_offset: u32, position: u32, end: u32, interval: u32) {
        if position != self.covered {
            return;
        }
        let last = self.entries.last().map_or(0, |entry| entry.position);
        if position > last && position - last >= interval {
            self.entries.push(Entry { relative_offset, position });
        }
        self.covered = end;
    }

    /// The position of a batch that begins at or before the offset.
    pub(crate) fn lookup(&self, relative_offset: u32) -> u32 {
        let after = self.entries.partition_point(|e| e.relative_offset <= relative_offset);
        after.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(0, |entry| entry.position)
    }

    /// The bytes of the `.index` file.
    pub(crate) fn encode(&self, base: Offset) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES + TRAILER_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes.extend_from_slice(&self.covered.to_be_bytes());
        let checksum = checksum(base, &bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Reads an `.index` file of a segment that is `segment_bytes` long; `None` on any doubt.
    pub(crate) fn decode(base: Offset, bytes: &[u8], segment_bytes: u32) -> Option<Self> {
        let (content, stored) = bytes.split_last_chunk::<4>()?;
        if checksum(base, content) != u32::from_be_bytes(*stored) {
            return None;
        }
        let (entries, covered) = content.split_last_chunk::<4>()?;
        let covered = u32::from_be_bytes(*covered);
        let (chunks, rest) = entries.as_chunks::<ENTRY_BYTES>();
        let entries: Vec<Entry> = chunks.iter().map(|chunk| decode_entry(*chunk)).collect();
        let rising = entries.windows(2).all(|pair| {
            matches!(pair, [a, b] if a.relative_offset < b.relative_offset && a.position < b.position)
        });
        let inside = entries.last().is_none_or(|entry| entry.position < covered);
        let valid = rest.is_empty() && rising && inside && covered <= segment_bytes;
        valid.then_some(Self { entries, covered })
    }
}

fn decode_entry(chunk: [u8; ENTRY_BYTES]) -> Entry {
    let both = u64::from_be_bytes(chunk);
    let position = u32::try_from(both & u64::from(u32::MAX)).expect("masked to 32 bits");
    let relative_offset = u32::try_from(both >> 32).expect("shifted to 32 bits");
    Entry { relative_offset, position }
}

fn checksum(base: Offset, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&base.value().to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::OffsetIndex;
    use crate::types::Offset;

    fn filled() -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for batch in 0..100u32 {
            index.note(batch * 10, batch * 100, (batch + 1) * 100, 250);
        }
        index
    }

    #[test]
    fn a_lookup_gives_the_last_entry_at_or_before() {
        let index = filled();
        assert_eq!(index.covered(), 10_000);
        for (relative_offset, position) in [(0, 0), (29, 0), (30, 300), (59, 300), (60, 600)] {
            assert_eq!(index.lookup(relative_offset), position, "{relative_offset}");
        }
        assert_eq!(index.lookup(u32::MAX), 9_900);
    }

    #[test]
    fn a_batch_out_of_line_is_not_noted() {
        let mut index = filled();
        let before = index.clone();
        index.note(5_000, 12_000, 13_000, 250);
        assert_eq!(index, before);
    }

    #[test]
    fn the_file_gives_the_same_index_back_and_every_damage_drops_it() {
        let (index, base) = (filled(), Offset::new(77));
        let bytes = index.encode(base);
        assert_eq!(OffsetIndex::decode(base, &bytes, 10_000), Some(index));
        assert_eq!(OffsetIndex::decode(Offset::new(78), &bytes, 10_000), None);
        assert_eq!(OffsetIndex::decode(base, &bytes, 9_999), None, "longer than its segment");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(OffsetIndex::decode(base, &bad, 10_000), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(OffsetIndex::decode(base, &bytes[..len], 10_000), None, "length {len}");
        }
    }
}
