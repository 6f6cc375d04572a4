//! The store's folder as an inspection sees it: paths from the folder on, nothing followed, nothing
//! written, and a finding where something cannot be read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::inspect::report::{Finding, Severity};
use crate::storage::{FileKind, OpenMode, Storage, StorageFile};

/// How much of a file is read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Where the files come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) dir: &'a Path,
}

/// A finding about a file as such.
pub(super) fn finding(severity: Severity, path: &Path, reason: impl Into<String>) -> Finding {
    Finding {
        severity,
        path: path.to_owned(),
        position: 0,
        bytes: 0,
        topic_partition: None,
        offsets: None,
        reason: reason.into(),
    }
}

impl Source<'_> {
    /// What is there; `None` if nothing is.
    pub(super) fn kind(&self, path: &Path) -> Result<Option<FileKind>> {
        match self.storage.kind(&self.dir.join(path)) {
            Ok(kind) => Ok(Some(kind)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", &self.dir.join(path), error)),
        }
    }

    /// Opens a regular file to read.
    ///
    /// # Errors
    /// The finding why there is none, of this severity.
    pub(super) fn open(&self, path: &Path, missing: Severity) -> Result<OpenFile, Finding> {
        let file = match self.kind(path) {
            Ok(Some(FileKind::File)) => self.storage.open(&self.dir.join(path), OpenMode::Read),
            Ok(None) => return Err(finding(missing, path, "the file is missing")),
            Ok(Some(FileKind::Dir)) => {
                return Err(finding(missing, path, "there is a folder in place of the file"));
            }
            Ok(Some(FileKind::Other)) => {
                let reason = "there is a symbolic link or a device in place of the file";
                return Err(finding(missing, path, reason));
            }
            Err(error) => return Err(finding(missing, path, error.to_string())),
        };
        let opened = file.and_then(|file| Ok((file.size()?, file)));
        match opened {
            Ok((len, file)) => Ok(OpenFile { file, len, window: (0, Bytes::new()) }),
            Err(error) => Err(finding(missing, path, format!("it cannot be read: {error}"))),
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// The finding why it cannot be read, of this severity.
    pub(super) fn read(&self, path: &Path, missing: Severity) -> Result<Bytes, Finding> {
        let file = self.open(path, missing)?;
        let len = usize::try_from(file.len).unwrap_or(usize::MAX);
        file.file
            .read(0, len)
            .map_err(|error| finding(missing, path, format!("it cannot be read: {error}")))
    }

    /// The names in a folder, as paths from the store's folder on.
    ///
    /// # Errors
    /// The finding why there is none, of this severity.
    pub(super) fn list(&self, path: &Path, missing: Severity) -> Result<Vec<PathBuf>, Finding> {
        match self.kind(path) {
            Ok(Some(FileKind::Dir)) => {}
            Ok(None) => return Err(finding(missing, path, "the folder is missing")),
            Ok(Some(_)) => return Err(finding(missing, path, "this is not a folder")),
            Err(error) => return Err(finding(missing, path, error.to_string())),
        }
        match self.storage.list(&self.dir.join(path)) {
            Ok(names) => Ok(names.into_iter().map(|name| path.join(name)).collect()),
            Err(error) => Err(finding(missing, path, format!("it cannot be listed: {error}"))),
        }
    }
}

/// The last part of a path; empty if it is not UTF-8, which no name of a store is.
pub(super) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A file that is read from front to back in large pieces.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: Arc<dyn StorageFile>,
    /// The length when it was opened.
    pub(super) len: u64,
    window: (u64, Bytes),
}

impl OpenFile {
    /// The bytes from `position` on, as many as there are up to `len`.
    pub(super) fn get(&mut self, position: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let (begin, window) = &self.window;
        let start = position.checked_sub(*begin).and_then(|start| usize::try_from(start).ok());
        let inside = start.and_then(|start| Some(start..start.checked_add(len)?));
        if let Some(range) = inside.filter(|range| range.end <= window.len()) {
            return Ok(window.slice(range));
        }
        let window = self.file.read(position, len.max(WINDOW_BYTES).min(left))?;
        let bytes = window.slice(..len);
        self.window = (position, window);
        Ok(bytes)
    }
}
