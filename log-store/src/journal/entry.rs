//! One entry of the journal: the batches that become durable together.
//!
//! ```text
//!  0 magic            u32 | 16 highest sequence known durable  u64
//!  4 payload length   u32 | 24 crc32                           u32
//!  8 sequence         u64 | 28 payload: for each batch topic id u64, partition u32,
//!                         |    length u32, and the batch as it goes to its segment
//! ```
//!
//! Entries begin at multiples of 512 bytes. The checksum covers the store's id, the header and
//! the payload, so that nothing of another store passes for an entry; sequence numbers are never
//! used again, so that nothing of an earlier lap or life does.

use crate::layout::Fields;
use crate::types::PartitionId;

/// Every entry begins at a multiple of this: the unit that a disk writes whole.
pub(crate) const ALIGNMENT: usize = 512;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 28;
/// Bytes before each batch.
pub(crate) const BATCH_OVERHEAD: usize = 16;

const MAGIC: u32 = 0x4857_4a45;
const CRC: usize = 24;
/// What an entry is filled up with.
const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// A batch of an entry that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournaledBatch<'a> {
    pub(crate) topic_id: u64,
    pub(crate) partition: PartitionId,
    pub(crate) bytes: &'a [u8],
}

/// The header of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) payload_len: usize,
    pub(crate) sequence: u64,
    pub(crate) durable_sequence: u64,
    crc: u32,
}

impl EntryHeader {
    /// Reads a header; `None` if there is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.u32()? != MAGIC {
            return None;
        }
        Some(Self {
            payload_len: fields.u32()? as usize,
            sequence: fields.u64()?,
            durable_sequence: fields.u64()?,
            crc: fields.u32()?,
        })
    }

    /// The bytes that the entry takes in the journal.
    pub(crate) fn aligned_len(&self) -> usize {
        (HEADER_BYTES + self.payload_len).next_multiple_of(ALIGNMENT)
    }

    /// The payload of the entry that `bytes` begins with, if its checksum matches.
    pub(crate) fn payload<'a>(&self, store_id: u128, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + self.payload_len)?;
        (self.crc == checksum(store_id, bytes.get(..CRC)?, [payload])).then_some(payload)
    }
}

/// The batches of a verified payload; `None` if they are malformed.
pub(crate) fn batches(payload: &[u8]) -> Option<Vec<JournaledBatch<'_>>> {
    let mut fields = Fields::new(payload);
    let mut batches = Vec::new();
    while !fields.rest().is_empty() {
        let topic_id = fields.u64()?;
        let partition = PartitionId::new(fields.u32()?);
        let len = fields.u32()? as usize;
        batches.push(JournaledBatch { topic_id, partition, bytes: fields.bytes(len)? });
    }
    Some(batches)
}

/// Puts an entry together. Its batches stay where they are: they are most of it, and are written
/// from there.
#[derive(Debug)]
pub(crate) struct EntryWriter<'a> {
    /// What is before each batch.
    heads: Vec<u8>,
    batches: Vec<&'a [u8]>,
    header: [u8; HEADER_BYTES],
    payload_len: usize,
}

impl<'a> EntryWriter<'a> {
    /// An entry without batches.
    pub(crate) fn new() -> Self {
        let header = [0; HEADER_BYTES];
        Self { heads: Vec::new(), batches: Vec::new(), header, payload_len: 0 }
    }

    /// Adds a batch.
    pub(crate) fn add(&mut self, batch: &JournaledBatch<'a>) {
        let len = u32::try_from(batch.bytes.len()).expect("a batch is shorter than 4 GiB");
        self.heads.extend_from_slice(&batch.topic_id.to_be_bytes());
        self.heads.extend_from_slice(&batch.partition.value().to_be_bytes());
        self.heads.extend_from_slice(&len.to_be_bytes());
        self.batches.push(batch.bytes);
        self.payload_len += BATCH_OVERHEAD + batch.bytes.len();
    }

    /// The bytes that the entry will take in the journal.
    pub(crate) fn aligned_len(&self) -> usize {
        self.len().next_multiple_of(ALIGNMENT)
    }

    fn len(&self) -> usize {
        HEADER_BYTES + self.payload_len
    }

    /// Fills in the header and gives the bytes to write, piece by piece.
    pub(crate) fn finish(&mut self, store_id: u128, sequence: u64, durable: u64) -> Vec<&[u8]> {
        let payload_len = u32::try_from(self.payload_len)
            .expect("an entry is a part of the journal, which is shorter than 4 GiB");
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&MAGIC.to_be_bytes());
        fields.extend_from_slice(&payload_len.to_be_bytes());
        fields.extend_from_slice(&sequence.to_be_bytes());
        fields.extend_from_slice(&durable.to_be_bytes());
        let crc = checksum(store_id, &fields, self.payload());
        fields.extend_from_slice(&crc.to_be_bytes());
        self.header.copy_from_slice(&fields);
        // Whole sectors, so that the end of an entry never shares one with the next.
        let padding = ZEROS.get(..self.aligned_len() - self.len()).unwrap_or_default();
        [&self.header[..]].into_iter().chain(self.payload()).chain([padding]).collect()
    }

    fn payload(&self) -> impl Iterator<Item = &[u8]> {
        let heads = self.heads.chunks_exact(BATCH_OVERHEAD);
        heads.zip(&self.batches).flat_map(|(head, batch)| [head, *batch])
    }
}

fn checksum<'a>(store_id: u128, header: &[u8], payload: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store_id.to_be_bytes());
    hasher.update(header);
    payload.into_iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::{EntryHeader, EntryWriter, JournaledBatch, batches};
    use crate::types::PartitionId;

    const BATCHES: [JournaledBatch<'static>; 2] = [
        JournaledBatch { topic_id: 1, partition: PartitionId::new(0), bytes: b"first" },
        JournaledBatch { topic_id: 9, partition: PartitionId::new(7), bytes: b"" },
    ];

    fn entry(store_id: u128) -> Vec<u8> {
        let mut writer = EntryWriter::new();
        BATCHES.iter().for_each(|batch| writer.add(batch));
        let len = writer.aligned_len();
        let bytes = writer.finish(store_id, 5, 4).concat();
        assert_eq!(bytes.len(), len);
        bytes
    }

    #[test]
    fn an_entry_gives_its_batches_back() {
        let bytes = entry(3);
        assert_eq!(bytes.len() % 512, 0);
        let header = EntryHeader::parse(&bytes).unwrap();
        assert_eq!((header.sequence, header.durable_sequence), (5, 4));
        assert_eq!(header.aligned_len(), bytes.len());
        assert_eq!(batches(header.payload(3, &bytes).unwrap()).unwrap(), BATCHES);
    }

    #[test]
    fn damage_and_another_store_are_noticed() {
        let good = entry(3);
        let header = EntryHeader::parse(&good).unwrap();
        assert_eq!(header.payload(4, &good), None);
        for bit in 0..(super::HEADER_BYTES + header.payload_len) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let payload = EntryHeader::parse(&bad)
                .and_then(|header| header.payload(3, &bad).map(<[u8]>::to_vec));
            assert_eq!(payload, None, "bit {bit} went unnoticed");
        }
    }
}
