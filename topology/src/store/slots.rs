//! What tells the rows of one key apart in a store of windows: where they stand in time, in Kafka's
//! bytes.

use std::hash::Hash;

/// What tells the rows of one key apart. The order is that in which they are read.
pub(crate) trait Slot: Copy + Ord + Hash + 'static {
    /// How many bytes follow the key in a changelog.
    const BYTES: usize;

    /// What a store of such slots is called.
    const NAME: &'static str;

    /// The slot that comes before all others from that time on.
    fn first(time_ms: i64) -> Self;

    /// The time by which the store's clock goes, and by which rows are hidden.
    fn time_ms(self) -> i64;

    /// The number that tells rows of one key and time apart, where there may be several.
    fn sequence(self) -> i32 {
        0
    }

    fn write(self, buffer: &mut Vec<u8>);

    /// Reads exactly [`BYTES`](Self::BYTES).
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// Reads a big-endian number off the front.
fn take_i64(bytes: &[u8]) -> Option<(i64, &[u8])> {
    bytes.split_first_chunk::<8>().map(|(time, rest)| (i64::from_be_bytes(*time), rest))
}

/// The start of a sliding window; in a changelog with a sequence number after it, always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WindowStart(pub(crate) i64);

impl Slot for WindowStart {
    const BYTES: usize = 12;
    const NAME: &'static str = "sliding-window";

    fn first(time_ms: i64) -> Self {
        Self(time_ms)
    }

    fn time_ms(self) -> i64 {
        self.0
    }

    fn write(self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.0.to_be_bytes());
        buffer.extend_from_slice(&0_i32.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        take_i64(bytes).map(|(start_ms, _sequence)| Self(start_ms))
    }
}

/// A session: its end counts first, as in Kafka's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Session {
    pub(crate) end_ms: i64,
    pub(crate) start_ms: i64,
}

impl Slot for Session {
    const BYTES: usize = 16;
    const NAME: &'static str = "session";

    fn first(time_ms: i64) -> Self {
        Self { end_ms: time_ms, start_ms: i64::MIN }
    }

    fn time_ms(self) -> i64 {
        self.end_ms
    }

    fn write(self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.end_ms.to_be_bytes());
        buffer.extend_from_slice(&self.start_ms.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (end_ms, rest) = take_i64(bytes)?;
        let (start_ms, _) = take_i64(rest)?;
        Some(Self { end_ms, start_ms })
    }
}

/// A record of a join, of which there may be several of one key and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JoinSlot {
    pub(crate) time_ms: i64,
    pub(crate) sequence: i32,
}

impl Slot for JoinSlot {
    const BYTES: usize = 12;
    const NAME: &'static str = "stream-join";

    fn first(time_ms: i64) -> Self {
        Self { time_ms, sequence: i32::MIN }
    }

    fn time_ms(self) -> i64 {
        self.time_ms
    }

    fn sequence(self) -> i32 {
        self.sequence
    }

    fn write(self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.time_ms.to_be_bytes());
        buffer.extend_from_slice(&self.sequence.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (time_ms, rest) = take_i64(bytes)?;
        let sequence = i32::from_be_bytes(rest.try_into().ok()?);
        Some(Self { time_ms, sequence })
    }
}
