//! Consumer groups: how far each has come.
mod offsets;

pub(crate) use offsets::{OffsetCommit, OffsetsCache};
