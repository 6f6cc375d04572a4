//! Why a history cannot be judged.

/// What is wrong with a history itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line is not one.
    #[error("history {number}: {source}")]
    Line {
        /// Which line, or the first of the lines that make it, from 1 on.
        number: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Two operations have sent one value, so that nobody can tell whose was read.
    #[error("value {value} is sent by operation {first} and again by operation {second}")]
    ValueSentTwice {
        /// The value.
        value: u64,
        /// The number of the operation that sent it first.
        first: usize,
        /// The number of the other.
        second: usize,
    },
    /// A value was read that nobody sent.
    #[error("operation {operation} reads value {value} of {partition}, which nobody sent")]
    UnknownValue {
        /// The value.
        value: u64,
        /// Where it was read.
        partition: String,
        /// The number of the operation that read it.
        operation: usize,
    },
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
