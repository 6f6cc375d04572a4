//! Files as sources.
mod lines;
mod source;

pub use lines::{LINE_BYTES_MAX, LineReader};
pub use source::FileSource;
