//! Memory maps of segment files: the only unsafe code of the crate.
#![expect(unsafe_code, reason = "mapping files is what this module is for")]

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// A mapping that is read. Clones and slices of it share one reference count.
pub(crate) fn map_read(file: &File, len: usize) -> io::Result<Bytes> {
    // SAFETY: the file belongs to the store, whose lock keeps other writers out; the log never
    // shortens it below the bytes that readers look at, and never writes such bytes again. That
    // other programs leave the folder alone is the documented condition of `Reads::Mapped`.
    let map = unsafe { MmapOptions::new().len(len).map(file)? };
    Ok(Bytes::from_owner(map))
}

/// A mapping that small writes go through: a copy in memory instead of a system call.
#[derive(Clone)]
pub(crate) struct WriteMap {
    map: Arc<MmapRaw>,
}

impl WriteMap {
    /// Maps the first `len` bytes of the file, which has disk space for all of them.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        Ok(Self { map: Arc::new(MmapOptions::new().len(len).map_raw(file)?) })
    }

    /// Copies `bytes` to `position`; false if the mapping does not reach that far.
    pub(crate) fn write(&self, position: usize, bytes: &[u8]) -> bool {
        let Some(end) = position.checked_add(bytes.len()) else { return false };
        if end > self.map.len() {
            return false;
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
}
