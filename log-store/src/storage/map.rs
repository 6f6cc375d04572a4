//! Memory maps of segment files: the only unsafe code of the crate.
#![expect(unsafe_code, reason = "mapping files is what this module is for")]

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapOptions, MmapRaw};

/// A mapping that is read. Clones and slices of it share one reference count.
pub(crate) fn map_read(file: &File, len: usize) -> io::Result<Bytes> {
    // SAFETY: the file belongs to the store, whose lock keeps other writers out; the log never
    // shortens it below the bytes that readers look at, and never writes such bytes again. That
    // other programs leave the folder alone is the documented condition of `Reads::Mapped`.
    let map = unsafe { MmapOptions::new().len(len).map(file)? };
    Ok(Bytes::from_owner(map))
}

/// The smallest piece of a mapping that is brought in at a time.
const POPULATE_BYTES_MIN: usize = 16 << 10;
/// The largest.
const POPULATE_BYTES_MAX: usize = 1 << 20;

/// A mapping that small writes go through: a copy in memory instead of a system call.
///
/// Pages are brought in ahead of the writes, many with one system call: one by one, by the fault of
/// the first write to each, they cost more than all the rest of a small append. How far ahead grows
/// with what was written, so that a file with little in it takes little memory.
pub(crate) struct WriteMap {
    map: MmapRaw,
    /// Up to here there are pages, or were none to be had.
    populated: AtomicUsize,
}

impl WriteMap {
    /// Maps the first `len` bytes of the file, which has disk space for all of them.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(len).map_raw(file)?;
        Ok(Self { map, populated: AtomicUsize::new(0) })
    }

    /// Copies `bytes` to `position`; false if the mapping does not reach that far.
    pub(crate) fn write(&self, position: usize, bytes: &[u8]) -> bool {
        let Some(end) = position.checked_add(bytes.len()) else { return false };
        if end > self.map.len() {
            return false;
        }
        if end > self.populated.load(Ordering::Relaxed) {
            self.populate(position, end);
        }
        // SAFETY: `position..end` lies inside of the mapping, which lives as long as `self`; the
        // source is a borrowed slice, and nobody reads the target before it is published with a
        // release store.
        unsafe {
            let target = self.map.as_mut_ptr().add(position);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        true
    }

    /// Brings in the pages from `position` to `end` and some behind them. Two who do so at once
    /// only do some of it twice.
    fn populate(&self, position: usize, end: usize) {
        let ahead = position.clamp(POPULATE_BYTES_MIN, POPULATE_BYTES_MAX);
        let begin = position - position % POPULATE_BYTES_MIN;
        let end = (end + ahead).min(self.map.len());
        // Where the system does not know how, each page comes with its first write.
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(Advice::PopulateWrite, begin, end - begin);
        self.populated.fetch_max(end, Ordering::Relaxed);
    }
}

impl fmt::Debug for WriteMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteMap").field("len", &self.map.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{WriteMap, map_read};
    use std::io::Write as _;

    #[test]
    fn a_write_through_the_map_is_seen_by_a_mapped_reader_and_stays_inside() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 64]).unwrap();
        let reader = map_read(&file, 64).unwrap();
        let writer = WriteMap::new(&file, 64).unwrap();
        assert!(writer.write(60, b"tail"));
        assert!(!writer.write(61, b"over"));
        assert!(!writer.write(usize::MAX, b"wrap"));
        assert_eq!(&reader[60..], b"tail");
        assert_eq!(&reader[..60], &[0; 60]);
    }
    #[test]
    fn writes_go_where_they_belong_whatever_was_brought_in_before_them() {
        let len = 3 * super::POPULATE_BYTES_MAX + 5_000;
        let file = tempfile::tempfile().unwrap();
        file.set_len(len as u64).unwrap();
        let writer = WriteMap::new(&file, len).unwrap();
        // One after the other, then back, then far ahead, then the very end.
        let positions = (0..200_000).step_by(1_000).chain([7, 2_000_003, len - 3]);
        let mut expected = vec![0; len];
        for position in positions {
            assert!(writer.write(position, b"abc"));
            expected[position..position + 3].copy_from_slice(b"abc");
        }
        assert_eq!(map_read(&file, len).unwrap(), expected);
    }
}
