//! The journal: one redo log for the whole store, in a file that is preallocated and recycled.
mod entry;
mod file;

pub(crate) use entry::{
    ALIGNMENT, EntryHeader, EntryWriter, HEADER_BYTES, JournaledBatch, batches,
};
pub(crate) use file::{Journal, JournalMark, Replay};
