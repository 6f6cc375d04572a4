//! Reads lines of bounded length.

use std::io::{self, BufRead, Read};

/// The longest line in bytes, unless told otherwise: what a topic takes in one record by default.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Reads lines of any bytes, and counts.
///
/// A line ends with `\n` or `\r\n`, which is not part of it; the last one may end with the input.
///
/// ```
/// use headwater_connectors::file::{LINE_BYTES_MAX, LineReader};
///
/// let mut lines = LineReader::new(&b"one\r\ntwo"[..], LINE_BYTES_MAX);
/// assert_eq!(lines.next_line().unwrap(), Some(&b"one"[..]));
/// assert_eq!(lines.next_line().unwrap(), Some(&b"two"[..]));
/// assert_eq!(lines.next_line().unwrap(), None);
/// assert_eq!((lines.lines_read(), lines.bytes_read()), (2, 8));
/// ```
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    line: Vec<u8>,
    line_bytes_max: usize,
    lines_read: u64,
    bytes_read: u64,
}

impl<R: BufRead> LineReader<R> {
    /// Reads lines of at most `line_bytes_max` bytes.
    #[must_use]
    pub fn new(reader: R, line_bytes_max: usize) -> Self {
        Self::resume(reader, line_bytes_max, 0, 0)
    }

    /// Reads on where that many lines and bytes were read before.
    pub(crate) fn resume(
        reader: R,
        line_bytes_max: usize,
        lines_read: u64,
        bytes_read: u64,
    ) -> Self {
        Self { reader, line: Vec::new(), line_bytes_max, lines_read, bytes_read }
    }

    /// The next line without its end; `None` at the end of the input.
    ///
    /// # Errors
    /// What the reader failed with, or `InvalidData` for a line that is too long. The counts then
    /// stand before that line, and there is no reading on.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        const END_BYTES_MAX: u64 = 2;
        self.line.clear();
        let limit = self.line_bytes_max as u64 + END_BYTES_MAX;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let line = strip_end(&self.line);
        if line.len() > self.line_bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the line is longer than {} bytes", self.line_bytes_max),
            ));
        }
        self.lines_read += 1;
        self.bytes_read += read as u64;
        Ok(Some(line))
    }

    /// How many lines were read.
    #[must_use]
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// How many bytes were read, line ends included.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

/// The line without its `\n` or `\r\n`.
fn strip_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        None => line,
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
    }
}

#[cfg(test)]
mod tests {
    use super::LineReader;

    fn check(input: &[u8], expected: &[&[u8]]) {
        let mut reader = LineReader::new(input, 4);
        for line in expected {
            assert_eq!(reader.next_line().unwrap(), Some(*line), "{input:?}");
        }
        assert_eq!(reader.next_line().unwrap(), None, "{input:?}");
        assert_eq!(reader.bytes_read(), input.len() as u64);
        assert_eq!(reader.lines_read(), expected.len() as u64);
    }

    #[test]
    fn lines_end_with_a_line_feed_with_or_without_a_carriage_return_or_with_the_input() {
        check(b"", &[]);
        check(b"\n", &[b""]);
        check(b"a", &[b"a"]);
        check(b"a\n\nb\r\n", &[b"a", b"", b"b"]);
        check(b"a\rb\nc\r", &[b"a\rb", b"c\r"]);
        check(b"\xff\x00\nabcd\nabcd\r\nabcd", &[b"\xff\x00", b"abcd", b"abcd", b"abcd"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_and_is_not_counted() {
        for input in [&b"ok\nabcde\n"[..], b"ok\nabcdefgh", b"ok\nabcde\r\n", b"ok\nabcde"] {
            let mut reader = LineReader::new(input, 4);
            assert_eq!(reader.next_line().unwrap(), Some(&b"ok"[..]));
            let error = reader.next_line().unwrap_err();
            assert_eq!(error.to_string(), "the line is longer than 4 bytes");
            assert_eq!(reader.lines_read(), 1);
        }
    }
}
