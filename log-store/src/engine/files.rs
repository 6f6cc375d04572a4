//! The `store` file, which says that a folder holds a store, and whose.
//!
//! ```text
//! magic u32, version u16, zero u16, store id u128, crc32 u32; again at byte 4096
//! ```

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{Fields, checked, put_checksum};
use crate::storage::{OpenMode, Storage};

const MAGIC: u32 = 0x4857_5354;
const VERSION: u16 = 1;
pub(crate) const BYTES: usize = 28;
/// Where the second copy lies: in another sector and page.
pub(crate) const COPY: u64 = 4096;

/// The name of the file.
fn path(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// Writes the file, as the last step of making a store: before it there is none.
pub(crate) fn write_store_file(storage: &dyn Storage, dir: &Path, store_id: u128) -> Result<()> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&store_id.to_be_bytes());
    put_checksum(&mut bytes);
    let (path, fresh) = (path(dir), dir.join("store.new"));
    let written = storage.open(&fresh, OpenMode::Create).and_then(|file| {
        file.truncate(0)?;
        file.write(0, &bytes)?;
        file.write(COPY, &bytes)?;
        file.sync()?;
        storage.rename(&fresh, &path)?;
        storage.sync_dir(dir)
    });
    written.map_err(|e| Error::io("write", &path, e))
}

/// The id of the store in the folder; `None` if there is no store.
pub(super) fn read_store_file(storage: &dyn Storage, dir: &Path) -> Result<Option<u128>> {
    let path = path(dir);
    let file = match storage.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    let mut failed = None;
    for position in [0, COPY] {
        match file.read(position, BYTES) {
            Ok(bytes) => {
                if let Some(id) = parse_copy(&path, &bytes)? {
                    return Ok(Some(id));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => failed = Some(error),
        }
    }
    // A disk that cannot be read says nothing of what is on it.
    if let Some(error) = failed {
        return Err(Error::io("read", &path, error));
    }
    Err(Error::CorruptFile { path, reason: "neither of its two copies is whole".to_owned() })
}

/// The id of the store that one of the two copies says; `None` if it is damaged.
///
/// # Errors
/// `UnsupportedVersion`.
pub(crate) fn parse_copy(path: &Path, bytes: &[u8]) -> Result<Option<u128>> {
    // The checksum comes first: a damaged version is damage and not news.
    let Some(content) = checked(bytes) else { return Ok(None) };
    let mut fields = Fields::new(content);
    if fields.u32() != Some(MAGIC) {
        return Ok(None);
    }
    let version = fields.u16().unwrap_or_default();
    if version > VERSION {
        let (path, found, supported) = (path.to_owned(), version.into(), VERSION.into());
        return Err(Error::UnsupportedVersion { path, found, supported });
    }
    fields.u16();
    Ok(fields.u128())
}

#[cfg(test)]
mod tests {
    use super::{read_store_file, write_store_file};
    use crate::storage::{MemoryStorage, OpenMode, Storage};
    use std::path::Path;

    #[test]
    fn the_second_copy_stands_in_for_the_first() {
        let (storage, dir) = (MemoryStorage::new(), Path::new("d"));
        assert_eq!(read_store_file(&storage, dir).unwrap(), None);
        write_store_file(&storage, dir, 77).unwrap();
        let file = storage.open(&dir.join("store"), OpenMode::Write).unwrap();
        file.write(10, &[0xff]).unwrap();
        assert_eq!(read_store_file(&storage, dir).unwrap(), Some(77));
        file.write(4096 + 10, &[0xff]).unwrap();
        let error = read_store_file(&storage, dir).unwrap_err().to_string();
        assert!(error.contains("neither of its two copies"), "{error}");
    }
}
