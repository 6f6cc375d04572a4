//! Where the fields of a batch lie. All numbers are big-endian.
//!
//! ```text
//!  0 base offset         i64   | 17 CRC-32C of all that follows  u32 | 43 producer id     i64
//!  8 batch length        i32   | 21 attributes                   i16 | 51 producer epoch  i16
//! 12 leader epoch slot   i32   | 23 last offset delta            i32 | 53 base sequence   i32
//! 16 magic (2)           i8    | 27 base timestamp               i64 | 57 record count    i32
//!                              | 35 max timestamp                i64 | 61 records
//! ```
//!
//! The batch length counts from byte 12. On disk the leader epoch slot holds the checksum of the
//! batch's place (see `checksum`), because Kafka's own CRC leaves the first 17 bytes out.

/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes that the batch length leaves out: the base offset and the length itself.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
/// The one version that is written and read.
pub(crate) const MAGIC: u8 = 2;

pub(crate) const BASE_OFFSET: usize = 0;
pub(crate) const BATCH_LENGTH: usize = 8;
pub(crate) const PLACE: usize = 12;
pub(crate) const MAGIC_BYTE: usize = 16;
pub(crate) const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
pub(crate) const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const BASE_TIMESTAMP: usize = 27;
pub(crate) const MAX_TIMESTAMP: usize = 35;
pub(crate) const PRODUCER_ID: usize = 43;
pub(crate) const PRODUCER_EPOCH: usize = 51;
pub(crate) const BASE_SEQUENCE: usize = 53;
pub(crate) const RECORD_COUNT: usize = 57;

/// The codec number of LZ4.
pub(crate) const LZ4: i16 = 3;
/// Attribute bits 0 to 2: the compression codec.
pub(crate) const CODEC_MASK: i16 = 0b111;
/// Attribute bit 3: the records' time is the append time, kept in the max timestamp.
pub(crate) const APPEND_TIME: i16 = 0b1000;
/// Attribute bit 5: a transaction marker of Kafka's, which no record of ours is.
pub(crate) const CONTROL: i16 = 0b10_0000;
/// Attribute bit 6: the base timestamp is the time from which a compaction drops the tombstones
/// of the batch. The records' own times count from it all the same.
pub(crate) const DELETE_HORIZON: i16 = 0b100_0000;
