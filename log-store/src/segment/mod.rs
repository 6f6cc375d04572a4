//! A segment: one file of batches, from its base offset up to the next segment's.
mod name;
mod offset_index;
mod state;
mod reader;
mod recovery;

pub(crate) use name::{SegmentFile, index_file_name, log_file_name, parse_file_name};
pub(crate) use reader::ReadLimits;
pub(crate) use recovery::scan;
pub(crate) use state::{Segment, SegmentEnd};
