//! A file that should be there and is not.

use std::io;

use bytes::Bytes;

use crate::storage::file::StorageFile;

/// Stands in for a file that is gone: it is empty, and nothing can be done with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MissingFile;

impl StorageFile for MissingFile {
    fn size(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn read(&self, _position: u64, _len: usize) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn write(&self, _position: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn reserve(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}
