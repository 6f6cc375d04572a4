//! A segment: one file of batches, from its base offset up to the next segment's.
mod name;
mod position;
mod index_entry;
mod time_index;
mod offset_index;
mod state;
mod spare_spans;
mod reader;
mod recovery;
mod scrub;

pub(crate) use index_entry::is_index_whole;
pub(crate) use name::{SegmentFile, SegmentId};
pub(crate) use offset_index::OffsetIndex;
pub(crate) use position::SegmentEnd;
pub(crate) use reader::{ReadLimits, WholeBatch};
pub(crate) use recovery::{Scan, scan};
pub(crate) use spare_spans::SpareSpans;
pub(crate) use state::{Publication, Segment, SegmentSpec};
