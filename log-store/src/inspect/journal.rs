//! Goes through the entries of the journal, as a replay would and as a dump does.

use std::io;

use bytes::Bytes;

use crate::inspect::source::OpenFile;
use crate::journal::{ALIGNMENT, EntryHeader, HEADER_BYTES, JournalMark};

/// An entry whose checksum matches.
#[derive(Clone, Debug)]
pub(super) struct WholeEntry {
    pub(super) position: u64,
    pub(super) header: EntryHeader,
    pub(super) payload: Bytes,
}

/// What a replay from a mark would find.
#[derive(Clone, Debug)]
pub(super) struct ReplayWalk {
    pub(super) entries: Vec<WholeEntry>,
    /// Where the first entry is missing.
    pub(super) mark: JournalMark,
    /// The sequence number that some later entry, or the mark, knows as durable.
    pub(super) durable: u64,
    /// Whether something that looks like the missing entry lies there.
    pub(super) torn: bool,
}

/// The whole entry at a position, if there is one.
pub(super) fn entry_at(
    file: &mut OpenFile,
    position: u64,
    store_id: u128,
) -> io::Result<Option<WholeEntry>> {
    let Some(header) = EntryHeader::parse(&file.get(position, HEADER_BYTES)?) else {
        return Ok(None);
    };
    let bytes = file.get(position, HEADER_BYTES + header.payload_len)?;
    Ok(header.payload(store_id, &bytes).map(|payload| WholeEntry {
        position,
        header,
        payload: bytes.slice_ref(payload),
    }))
}

/// All whole entries in the file, those of earlier laps included.
pub(super) fn all_entries(file: &mut OpenFile, store_id: u128) -> io::Result<Vec<WholeEntry>> {
    let mut entries = Vec::new();
    let mut position = 0;
    while position < file.len {
        match entry_at(file, position, store_id)? {
            Some(entry) => {
                position += entry.header.aligned_len() as u64;
                entries.push(entry);
            }
            None => position += ALIGNMENT as u64,
        }
    }
    Ok(entries)
}

/// What a replay from `mark` would find.
pub(super) fn replay(
    file: &mut OpenFile,
    store_id: u128,
    mark: JournalMark,
) -> io::Result<ReplayWalk> {
    let mut mark = mark;
    let mut entries = Vec::new();
    while let Some(entry) = entry_at(file, mark.position, store_id)? {
        if entry.header.sequence != mark.sequence {
            break;
        }
        mark.position += entry.header.aligned_len() as u64;
        mark.sequence += 1;
        mark.durable_sequence = mark.durable_sequence.max(entry.header.durable_sequence);
        entries.push(entry);
    }
    let mut durable = mark.durable_sequence;
    let mut position = mark.position;
    while position < file.len {
        let later = entry_at(file, position, store_id)?;
        let later = later.filter(|entry| entry.header.sequence > mark.sequence);
        durable = durable.max(later.as_ref().map_or(0, |entry| entry.header.durable_sequence));
        position += later.map_or(ALIGNMENT, |entry| entry.header.aligned_len()) as u64;
    }
    let torn = EntryHeader::parse(&file.get(mark.position, HEADER_BYTES)?)
        .is_some_and(|header| header.sequence == mark.sequence);
    Ok(ReplayWalk { entries, mark, durable, torn })
}
