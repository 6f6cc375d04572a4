//! The log of the floors: files of frames, each with its length, its checksum, a time, a key and a
//! value. No offsets, no index, no recovery.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

const READ_BYTES: usize = 1 << 20;
/// What is written with one `write`, as large as the batches of a transaction of ours.
const WRITE_BYTES: usize = 128 << 10;
const HEADER_BYTES: usize = 8;
/// The length that stands for a null.
const NULL_LEN: u32 = u32::MAX;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub time_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Writes frames, some at a time.
#[derive(Debug)]
pub struct FrameWriter {
    file: File,
    buffer: Vec<u8>,
}

impl FrameWriter {
    pub fn create(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        Self { file, buffer: Vec::with_capacity(2 * WRITE_BYTES) }
    }

    pub fn push(&mut self, time_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let start = self.buffer.len();
        let buffer = &mut self.buffer;
        buffer.extend_from_slice(&[0; HEADER_BYTES]);
        buffer.extend_from_slice(&time_ms.to_be_bytes());
        let len = |bytes: Option<&[u8]>| {
            bytes.map_or(NULL_LEN, |bytes| u32::try_from(bytes.len()).unwrap()).to_be_bytes()
        };
        buffer.extend_from_slice(&len(key));
        buffer.extend_from_slice(&len(value));
        buffer.extend_from_slice(key.unwrap_or_default());
        buffer.extend_from_slice(value.unwrap_or_default());
        let content = &buffer[start + HEADER_BYTES..];
        let checksum = crc32fast::hash(content).to_be_bytes();
        let content_len = u32::try_from(content.len()).unwrap().to_be_bytes();
        buffer[start..start + 4].copy_from_slice(&content_len);
        buffer[start + 4..start + HEADER_BYTES].copy_from_slice(&checksum);
        if buffer.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        self.file.write_all(&self.buffer).unwrap();
        self.buffer.clear();
    }
}

/// Reads frames, each after its checksum was verified.
#[derive(Debug)]
pub struct FrameReader {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        Self { file, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// The time of the next frame.
    pub fn next_time_ms(&mut self) -> Option<i64> {
        let len = self.fill()?;
        let content = &self.buffer[self.start + HEADER_BYTES..self.start + len];
        Some(i64::from_be_bytes(*content.first_chunk().unwrap()))
    }

    /// The next frame.
    pub fn next(&mut self) -> Option<Frame<'_>> {
        let len = self.fill()?;
        let frame = &self.buffer[self.start..self.start + len];
        self.start += len;
        let (header, content) = frame.split_at(HEADER_BYTES);
        let checksum = crc32fast::hash(content).to_be_bytes();
        assert_eq!(header[4..], checksum, "a frame is damaged");
        let (time, rest) = content.split_first_chunk().unwrap();
        let (key_len, rest) = rest.split_first_chunk().unwrap();
        let (value_len, rest) = rest.split_first_chunk().unwrap();
        let (key, rest) = take(rest, *key_len);
        let (value, rest) = take(rest, *value_len);
        assert!(rest.is_empty(), "a frame is longer than what it holds");
        Some(Frame { time_ms: i64::from_be_bytes(*time), key, value })
    }

    /// Makes the next frame whole in the buffer, and returns its length.
    fn fill(&mut self) -> Option<usize> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            let content = bytes.first_chunk().map(|len| u32::from_be_bytes(*len) as usize);
            let len = content.map(|content| HEADER_BYTES + content);
            if let Some(len) = len.filter(|len| *len <= bytes.len()) {
                return Some(len);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let read = self.file.read(&mut self.buffer[self.end..]).unwrap();
            if read == 0 {
                assert_eq!(self.end, 0, "the last frame is whole");
                return None;
            }
            self.end += read;
        }
    }
}

fn take(bytes: &[u8], len: [u8; 4]) -> (Option<&[u8]>, &[u8]) {
    match u32::from_be_bytes(len) {
        NULL_LEN => (None, bytes),
        len => {
            let (taken, rest) = bytes.split_at(len as usize);
            (Some(taken), rest)
        }
    }
}
