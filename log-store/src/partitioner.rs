//! Which partition a record goes to: Kafka's choice.

use crate::types::PartitionId;

/// Records without a key go to one partition until this many bytes went there, as with Kafka's
/// `batch.size`.
const STICKY_BYTES: usize = 16 << 10;

/// The partition of a key: Kafka's murmur2 of its bytes, so that every client of the same data
/// agrees.
///
/// ```
/// use headwater_log_store::{PartitionId, partition_for_key};
///
/// assert_eq!(partition_for_key(b"foobar", 8), PartitionId::new(6));
/// ```
///
/// # Panics
/// If `partitions` is zero.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionId {
    if partitions == 1 {
        return PartitionId::new(0);
    }
    PartitionId::new((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// Kafka's variant of the 32-bit murmur2 hash.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let len = u32::try_from(bytes.len()).expect("a key is shorter than 4 GiB");
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = SEED ^ len;
    for block in blocks {
        // Kafka reads the blocks with the least significant byte first.
        let mut k = block.iter().rev().fold(0, |k, &byte| k << 8 | u32::from(byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash ^= tail.iter().rev().fold(0, |k, &byte| k << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Spreads records without a key: a run to one partition, then a run to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sticky {
    partition: u32,
    bytes: usize,
}

impl Sticky {
    /// The partition for a record of that size.
    pub(crate) fn next(&mut self, bytes: usize, partitions: u32) -> PartitionId {
        if self.bytes >= STICKY_BYTES {
            self.partition += 1;
            self.bytes = 0;
        }
        if self.partition >= partitions {
            self.partition = 0;
        }
        self.bytes += bytes;
        PartitionId::new(self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sticky, murmur2, partition_for_key};

    #[test]
    fn hashes_and_partitions_are_kafkas() {
        for (key, hash, of_10, of_16) in [
            (&b"21"[..], -973_932_308, 0, 12),
            (b"foobar", -790_332_482, 6, 14),
            (b"a-little-bit-long-string", -985_981_536, 2, 0),
            (b"a-little-bit-longer-string", -1_486_304_829, 9, 3),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971, 7, 13),
            (b"abc", 479_470_107, 7, 11),
            (b"", 275_646_681, 1, 9),
            (b"a", -1_563_381_124, 4, 12),
            ("é".as_bytes(), 186_971_271, 1, 7),
        ] {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
            assert_eq!(partition_for_key(key, 10).value(), of_10, "{key:?}");
            assert_eq!(partition_for_key(key, 16).value(), of_16, "{key:?}");
        }
        assert_eq!(partition_for_key(&42i64.to_be_bytes(), 8).value(), 0);
    }

    #[test]
    fn records_without_a_key_go_in_runs_around_all_partitions() {
        let mut sticky = Sticky::default();
        let chosen: Vec<u32> = (0..12).map(|_| sticky.next(8 << 10, 3).value()).collect();
        assert_eq!(chosen, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    }
}
