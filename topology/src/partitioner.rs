//! Which partition a record of a sink goes to.

use headwater_log_store::PartitionId;

/// Kafka's default partitioner: murmur2 of the bytes, without its sign, modulo the partitions.
pub(crate) fn partition_for_key(bytes: &[u8], partitions: u32) -> PartitionId {
    let positive = murmur2(bytes) & 0x7fff_ffff;
    PartitionId::new(positive % partitions.max(1))
}

/// A record without a key keeps the partition number of the task that writes it, as far as the
/// topic has it: a producer's free choice would make two replays differ.
pub(crate) fn partition_for_task(task_partition: u32, partitions: u32) -> PartitionId {
    PartitionId::new(task_partition % partitions.max(1))
}

fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ len;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        // Kafka's hash reads its blocks from the low byte on.
        let mut k = block.iter().rev().fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash ^= tail.iter().rev().fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{murmur2, partition_for_key};

    #[test]
    fn murmur2_agrees_with_kafkas_vectors() {
        let cases: [(&[u8], i32, u32); 8] = [
            (b"21", -973_932_308, 0),
            (b"foobar", -790_332_482, 6),
            (b"a-little-bit-long-string", -985_981_536, 2),
            (b"a-little-bit-longer-string", -1_486_304_829, 9),
            (b"abc", 479_470_107, 7),
            (b"", 275_646_681, 1),
            ("é".as_bytes(), 186_971_271, 1),
            (b"a", -1_563_381_124, 4),
        ];
        for (key, hash, partition_of_10) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
            assert_eq!(partition_for_key(key, 10).value(), partition_of_10, "{key:?}");
        }
    }
}
