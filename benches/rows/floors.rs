//! The floors: hand-written loops that do nothing but the bytes. A record is a frame of its length
//! and its checksum, four bytes each, and its value.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headwater_log_store::Record;
use memmap2::{MmapMut, MmapOptions};

use crate::contender::{Class, Contender, Handles, Kind, share};

const FRAME_HEADER_BYTES: usize = 8;
const SCAN_BYTES: usize = 1 << 20;
const MAP_BYTES: usize = 256 << 20;
const RECYCLED_BYTES: usize = 64 << 20;

/// A `write` a batch, and under D2 an `fdatasync`.
pub const WRITE: Kind = Kind { name: "write", open: open::<Written> };
/// The same, with the name that it has under D2.
pub const WRITE_SYNC: Kind = Kind { name: "write + fdatasync", ..WRITE };
/// A copy into a mapping of a file whose space is allocated.
pub const MMAP: Kind = Kind { name: "mmap", open: open::<Mapped> };
/// A `write` over an older part of a file that never grows, and under D2 an `fdatasync`.
pub const RECYCLED: Kind = Kind { name: "recycled file", open: open::<Recycled> };

trait Floor: Contender + Sized + 'static {
    fn open(path: PathBuf, class: Class) -> Self;
}

fn open<F: Floor>(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    share(|number| F::open(folder.join(number.to_string()), class), handles)
}

fn open_file(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn push_frame(frames: &mut Vec<u8>, record: &Record<'_>) {
    let value = record.value.unwrap();
    frames.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
    frames.extend_from_slice(&crc32fast::hash(value).to_be_bytes());
    frames.extend_from_slice(value);
}

struct Written {
    file: File,
    path: PathBuf,
    class: Class,
    frames: Vec<u8>,
    /// All frames have the same length, so that a number is a position.
    frame_bytes: usize,
    frame: Vec<u8>,
}

impl Floor for Written {
    fn open(path: PathBuf, class: Class) -> Self {
        let file = open_file(&path);
        Self { file, path, class, frames: Vec::new(), frame_bytes: 0, frame: Vec::new() }
    }
}

impl Contender for Written {
    fn append(&mut self, record: &Record<'_>) {
        self.append_batch(std::slice::from_ref(record));
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        self.frames.clear();
        records.iter().for_each(|record| push_frame(&mut self.frames, record));
        self.frame_bytes = self.frames.len() / records.len();
        self.file.write_all(&self.frames).unwrap();
        if self.class == Class::D2 {
            self.file.sync_data().unwrap();
        }
    }

    fn scan(&mut self) -> usize {
        let mut file = File::open(&self.path).unwrap();
        let mut buffer = vec![0; SCAN_BYTES];
        let (mut filled, mut frames) = (0, 0);
        loop {
            let read = file.read(&mut buffer[filled..]).unwrap();
            if read == 0 {
                assert_eq!(filled, 0, "the last frame is whole");
                return frames;
            }
            filled += read;
            let mut rest = &buffer[..filled];
            while let Some((header, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
                let value_len = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
                let Some((value, after)) = after.split_at_checked(value_len as usize) else {
                    break;
                };
                verify(*header, value);
                frames += 1;
                rest = after;
            }
            let left = rest.len();
            buffer.copy_within(filled - left..filled, 0);
            filled = left;
        }
    }

    fn read(&mut self, offset: u64) -> usize {
        self.frame.resize(self.frame_bytes, 0);
        self.file.read_exact_at(&mut self.frame, offset * self.frame_bytes as u64).unwrap();
        let (header, value) = self.frame.split_first_chunk::<FRAME_HEADER_BYTES>().unwrap();
        verify(*header, value);
        value.len()
    }
}

fn verify(header: [u8; FRAME_HEADER_BYTES], value: &[u8]) {
    let [_, _, _, _, checksum @ ..] = header;
    assert_eq!(crc32fast::hash(value), u32::from_be_bytes(checksum));
    black_box(value);
}

struct Mapped {
    path: PathBuf,
    map: MmapMut,
    end: usize,
    files: usize,
}

impl Mapped {
    /// The next file, its space allocated.
    #[expect(unsafe_code, reason = "the floor is the mapping itself, in a folder of its own")]
    fn map(path: &Path, number: usize) -> MmapMut {
        let file = open_file(&path.with_extension(number.to_string()));
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, MAP_BYTES as u64).unwrap();
        // SAFETY: the file was just made in a temporary folder; nobody else opens or cuts it.
        unsafe { MmapOptions::new().len(MAP_BYTES).map_mut(&file).unwrap() }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.map[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
}

impl Floor for Mapped {
    fn open(path: PathBuf, class: Class) -> Self {
        assert_eq!(class, Class::D1, "this floor does not sync");
        Self { map: Self::map(&path, 0), path, end: 0, files: 1 }
    }
}

impl Contender for Mapped {
    fn append(&mut self, record: &Record<'_>) {
        let value = record.value.unwrap();
        if self.end + FRAME_HEADER_BYTES + value.len() > MAP_BYTES {
            self.map = Self::map(&self.path, self.files);
            (self.end, self.files) = (0, self.files + 1);
        }
        let checksum = crc32fast::hash(value).to_be_bytes();
        self.put(&u32::try_from(value.len()).unwrap().to_be_bytes());
        self.put(&checksum);
        self.put(value);
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        records.iter().for_each(|record| self.append(record));
    }
}

struct Recycled {
    file: File,
    class: Class,
    end: usize,
    frames: Vec<u8>,
}

impl Floor for Recycled {
    fn open(path: PathBuf, class: Class) -> Self {
        let mut file = open_file(&path);
        file.write_all(&vec![0; RECYCLED_BYTES]).unwrap();
        file.sync_all().unwrap();
        Self { file, class, end: 0, frames: Vec::new() }
    }
}

impl Contender for Recycled {
    fn append(&mut self, record: &Record<'_>) {
        self.append_batch(std::slice::from_ref(record));
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        self.frames.clear();
        records.iter().for_each(|record| push_frame(&mut self.frames, record));
        if self.end + self.frames.len() > RECYCLED_BYTES {
            self.end = 0;
        }
        self.file.write_all_at(&self.frames, self.end as u64).unwrap();
        self.end += self.frames.len();
        if self.class == Class::D2 {
            self.file.sync_data().unwrap();
        }
    }
}
