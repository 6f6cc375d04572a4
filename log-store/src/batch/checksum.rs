//! The checksums of a batch: Kafka's over its body, ours over its place.

use crc32fast::Hasher;

use crate::types::{Offset, PartitionId};

/// The partition that a batch belongs to, as far as its checksum goes.
///
/// Kafka's CRC does not cover the base offset and the length, and nothing in a batch says which
/// partition it is of. The checksum of the place does, so that valid bytes in the wrong place, or
/// a batch inside of a record's value, are never taken for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) store_id: u128,
    pub(crate) topic_id: u64,
    pub(crate) partition: PartitionId,
}

impl Place {
    /// The value of the leader epoch slot; never zero, which means "unwritten".
    pub(crate) fn checksum(&self, base_offset: Offset, batch_length: u32, body_crc: u32) -> u32 {
        self.prepare().of(base_offset, batch_length, body_crc)
    }

    /// Its part of the checksums of all batches, which is more than half of the work.
    pub(crate) fn prepare(&self) -> PlaceChecksum {
        let mut hasher = Hasher::new();
        let mut bytes = [0u8; 28];
        let fields: [&[u8]; 3] = [
            &self.store_id.to_be_bytes(),
            &self.topic_id.to_be_bytes(),
            &self.partition.value().to_be_bytes(),
        ];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        hasher.update(&bytes);
        PlaceChecksum { partition: hasher }
    }
}

/// Computes the checksums of the places of many batches of one partition.
#[derive(Clone, Debug)]
pub(crate) struct PlaceChecksum {
    /// What the partition has put into it.
    partition: Hasher,
}

impl PlaceChecksum {
    /// As [`Place::checksum`].
    pub(crate) fn of(&self, base_offset: Offset, batch_length: u32, body_crc: u32) -> u32 {
        let mut bytes = [0u8; 16];
        let (offset, rest) = bytes.split_at_mut(8);
        let (length, crc) = rest.split_at_mut(4);
        offset.copy_from_slice(&base_offset.value().to_be_bytes());
        length.copy_from_slice(&batch_length.to_be_bytes());
        crc.copy_from_slice(&body_crc.to_be_bytes());
        let mut hasher = self.partition.clone();
        hasher.update(&bytes);
        hasher.finalize().max(1)
    }
}

/// Kafka's checksum of a batch, over everything from the attributes on: CRC-32C, as iSCSI has it.
pub(crate) fn body_crc(body: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(body)
}
