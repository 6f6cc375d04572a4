//! What must not be in a history.

use crate::history::ViewSource;

/// Something that a history shows and that was promised not to be. Operations are named by their
/// numbers in the history, from 0 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Anomaly {
    /// An acknowledged value is not there, and others behind it are.
    LostWrite {
        /// The partition.
        partition: String,
        /// The value.
        value: u64,
        /// The offset that was acknowledged.
        offset: u64,
    },
    /// An acknowledged value is not there, and nothing behind it is.
    UnseenTail {
        /// The partition.
        partition: String,
        /// The value.
        value: u64,
    },
    /// One value has two places.
    Duplicate {
        /// The value.
        value: u64,
        /// Two of its places.
        places: [(String, u64); 2],
    },
    /// Two values have one place.
    InconsistentOffset {
        /// The partition.
        partition: String,
        /// The offset.
        offset: u64,
        /// Two of its values.
        values: [u64; 2],
    },
    /// G1a: a value was read that was never committed.
    AbortedRead {
        /// The partition.
        partition: String,
        /// The value.
        value: u64,
        /// Who read it.
        reader: usize,
    },
    /// G1b: what could be read of a partition ended in the middle of a transaction.
    IntermediateRead {
        /// The partition.
        partition: String,
        /// Where what could be read ended.
        end: u64,
        /// Whose transaction it was.
        writer: usize,
        /// Who read.
        reader: usize,
    },
    /// A transaction read what it had sent itself and not yet committed.
    PrecommittedRead {
        /// The partition.
        partition: String,
        /// The value.
        value: u64,
        /// The transaction.
        operation: usize,
    },
    /// G0: transactions overwrote each other in a circle. Kafka allows that, and so do we.
    WriteCycle {
        /// The operations of the circle.
        operations: Vec<usize>,
    },
    /// G1c: transactions read from each other in a circle.
    ReadCycle {
        /// The operations of the circle.
        operations: Vec<usize>,
    },
    /// A consumer went past a value that is there.
    PollSkip {
        /// The partition.
        partition: String,
        /// The last offset that the consumer had.
        after: u64,
        /// The first value that it went past.
        skipped: u64,
        /// Who read.
        reader: usize,
    },
    /// A consumer went back without a seek.
    NonMonotonicPoll {
        /// The partition.
        partition: String,
        /// The offset that it had, and the next that came.
        offsets: [u64; 2],
        /// Who read.
        reader: usize,
    },
    /// A producer's later record came before its earlier one.
    NonMonotonicSend {
        /// The partition.
        partition: String,
        /// The value that was sent first, and the one sent after it.
        values: [u64; 2],
    },
    /// A part of a transaction is there, and another part is not.
    TornTransaction {
        /// The transaction.
        operation: usize,
        /// A value of it that is there.
        present: u64,
        /// A value of it that is not.
        missing: u64,
    },
    /// A value below the committed offset has not exactly one effect, or one above it has any.
    OffsetEffectMismatch {
        /// The partition.
        partition: String,
        /// Where the value is.
        offset: u64,
        /// The value.
        value: u64,
        /// How many effects of it are there.
        effects: usize,
    },
    /// Two accounts of a view differ in a row.
    ViewMismatch {
        /// The view.
        name: String,
        /// Whose accounts.
        sources: [ViewSource; 2],
        /// The first row in which they differ.
        key: String,
    },
    /// It took longer than half a minute after the last fault until all was as it should be, or it
    /// never was.
    NotSettled {
        /// How long it took, in milliseconds; `None` if it never was.
        after_ms: Option<u64>,
    },
}

impl Anomaly {
    /// Whether the promises forbid it; what they allow is only told.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        !matches!(self, Self::WriteCycle { .. })
    }
}
