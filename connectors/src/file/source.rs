//! The lines of a text file, plain or gzip, as a source.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use headwater_log_store::Record;
use serde_json::Value;

use crate::connector::{Source, SourceOffset, SourcePartition};
use crate::error::{Error, Result};
use crate::file::lines::{LINE_BYTES_MAX, LineReader};

/// The first bytes of every gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// How much is read from the file, and decompressed, at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The lines of a text file, each the value of a record without key and timestamp.
///
/// A gzip file is known by its first bytes, whatever its name. A file may grow between two runs:
/// the second one reads what came after the first. A last line without line end counts as a line;
/// that it has grown later is an error, as is a file that has become shorter.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    name: String,
    line_bytes_max: usize,
    lines: Option<LineReader<Input>>,
}

/// An open file, decompressed if need be.
struct Input(Box<dyn BufRead + Send>);

impl FileSource {
    /// Reads the file at `path`.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let name = path.to_string_lossy().into_owned();
        Self { path, name, line_bytes_max: LINE_BYTES_MAX, lines: None }
    }

    /// Keeps the position under this name, so that the file can be moved, or reached by another
    /// path. Default = the path as it was given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The longest line in bytes; a longer one is an error. Default = 1 MiB.
    #[must_use]
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }

    /// Opens the file and goes to `position`, which `line` lines end at.
    fn open(&self, line: u64, position: u64) -> Result<Input> {
        let open = |source| Error::Open { path: self.path.clone(), source };
        let read = |source| Error::Read { path: self.path.clone(), line: line + 1, source };
        let changed =
            |reason| Error::FileChanged { path: self.path.clone(), line, position, reason };

        let mut file =
            BufReader::with_capacity(BUFFER_BYTES, File::open(&self.path).map_err(open)?);
        let is_gzip = file.fill_buf().map_err(read)?.starts_with(&GZIP_MAGIC);
        // The byte before the position is read too: it shows whether a line ends there.
        let skip = position.saturating_sub(1);
        let mut input = if is_gzip {
            let decoder = MultiGzDecoder::new(file);
            let mut input = BufReader::with_capacity(BUFFER_BYTES, decoder);
            io::copy(&mut input.by_ref().take(skip), &mut io::sink()).map_err(read)?;
            Input(Box::new(input))
        } else {
            file.seek(SeekFrom::Start(skip)).map_err(read)?;
            Input(Box::new(file))
        };
        if position > 0 {
            let mut before = [0];
            if input.0.read(&mut before).map_err(read)? == 0 {
                return Err(changed("it ends before that"));
            }
            let at_end = input.0.fill_buf().map_err(read)?.is_empty();
            if before != *b"\n" && !at_end {
                return Err(changed("no line ends there"));
            }
        }
        Ok(input)
    }
}

impl Source for FileSource {
    fn partition(&self) -> SourcePartition {
        SourcePartition::from([("filename".to_owned(), Value::from(self.name.as_str()))])
    }

    fn start(&mut self, offset: Option<&SourceOffset>) -> Result<()> {
        let number = |name: &str| match offset {
            None => Ok(0),
            Some(offset) => {
                offset.get(name).and_then(Value::as_u64).ok_or_else(|| Error::InvalidPosition {
                    of: self.name.clone(),
                    reason: format!("it has no number {name:?}: {offset:?}"),
                })
            }
        };
        let (line, position) = (number("line")?, number("position")?);
        let input = self.open(line, position)?;
        self.lines = Some(LineReader::resume(input, self.line_bytes_max, line, position));
        Ok(())
    }

    fn next_record(&mut self) -> Result<Option<Record<'_>>> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let line = lines.lines_read() + 1;
        match lines.next_line() {
            Ok(value) => Ok(value.map(Record::value)),
            Err(source) => Err(Error::Read { path: self.path.clone(), line, source }),
        }
    }

    fn offset(&self) -> SourceOffset {
        let (line, position) =
            self.lines.as_ref().map_or((0, 0), |lines| (lines.lines_read(), lines.bytes_read()));
        SourceOffset::from([
            ("line".to_owned(), Value::from(line)),
            ("position".to_owned(), Value::from(position)),
        ])
    }

    fn place(&self) -> String {
        let line = self.lines.as_ref().map_or(0, LineReader::lines_read);
        format!("{} line {line}", self.path.display())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.0.consume(bytes);
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}
