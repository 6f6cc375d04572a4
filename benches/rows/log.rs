//! Rows of the group `log`: the embedded log against loops that do nothing but the bytes.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use headwater::log_store::{
    Durability, Log, LogStore, NewTopic, Offset, PartitionId, Record, TopicName, TopicPartition,
};

use crate::Scale;
use crate::row::{Measure, Row, Side};

const TOPIC: &str = "bench";
const FETCH_BYTES_MAX: usize = 1 << 20;
const BATCH_RECORDS: usize = 1000;
/// The frame of the floor: the payload's length and its checksum, each of four bytes.
const FRAME_HEADER_BYTES: usize = 8;

/// Measures each row, and hands it to `print`.
pub fn rows(scale: Scale, mut print: impl FnMut(Row<'_>)) {
    append_one_by_one(scale, &mut print);
    scan(scale, &mut print);
}

fn append_one_by_one(scale: Scale, print: &mut dyn FnMut(Row<'_>)) {
    let records = match scale {
        Scale::Quick => 50_000,
        Scale::Full => 2_000_000,
    };
    let payload = payload();
    let ours = || {
        let folder = folder();
        let (store, topic_partition) = open(folder.path());
        let started = Instant::now();
        for _ in 0..records {
            store.append(&topic_partition, &Record::value(&payload)).unwrap();
        }
        measure(records, started.elapsed())
    };
    let floor = || {
        let folder = folder();
        let mut file = File::create(folder.path().join("floor")).unwrap();
        let mut frame = Vec::new();
        let started = Instant::now();
        for _ in 0..records {
            frame.clear();
            push_frame(&mut frame, &payload);
            file.write_all(&frame).unwrap();
        }
        measure(records, started.elapsed())
    };
    print(Row {
        name: "append one by one, 100 B, D1",
        unit: "rec/s",
        ours: Side::new("headwater", ours),
        floor: Some(Side::new("write", floor)),
        peer: None,
        goal_floor: Some(2.5),
        goal_peer: Some(3.0),
    });
}

fn scan(scale: Scale, print: &mut dyn FnMut(Row<'_>)) {
    let records = match scale {
        Scale::Quick => 100_000,
        Scale::Full => 5_000_000,
    };
    let payload = payload();
    let folder = folder();
    let (store, topic_partition) = open(folder.path());
    let batch = vec![Record::value(&payload); BATCH_RECORDS];
    for _ in 0..records / BATCH_RECORDS {
        store.append_batch(&topic_partition, &batch).unwrap();
    }
    let path = folder.path().join("floor");
    let mut file = BufWriter::with_capacity(FETCH_BYTES_MAX, File::create(&path).unwrap());
    let mut frame = Vec::new();
    push_frame(&mut frame, &payload);
    for _ in 0..records {
        file.write_all(&frame).unwrap();
    }
    file.flush().unwrap();
    let ours = || {
        let started = Instant::now();
        let mut next = Offset::ZERO;
        let mut seen = 0;
        while seen < records {
            for batch in store.fetch(&topic_partition, next, FETCH_BYTES_MAX).unwrap() {
                for record in batch.iter() {
                    black_box(record.value);
                    seen += 1;
                }
                next = batch.next_offset().unwrap();
            }
        }
        measure(records, started.elapsed())
    };
    let floor = || {
        let started = Instant::now();
        assert_eq!(scan_frames(&path), records);
        measure(records, started.elapsed())
    };
    print(Row {
        name: "scan, 100 B, checksums verified",
        unit: "rec/s",
        ours: Side::new("headwater", ours),
        floor: Some(Side::new("read", floor)),
        peer: None,
        goal_floor: Some(0.8),
        goal_peer: Some(1.5),
    });
}

/// Reads a file of frames through one buffer, and verifies each.
fn scan_frames(path: &Path) -> usize {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; FETCH_BYTES_MAX];
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
            let [a, b, c, d, checksum @ ..] = *header;
            let payload_len = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some((payload, after)) = after.split_at_checked(payload_len) else { break };
            assert_eq!(crc32fast::hash(payload), u32::from_be_bytes(checksum));
            black_box(payload);
            frames += 1;
            rest = after;
        }
        let left = rest.len();
        buffer.copy_within(filled - left..filled, 0);
        filled = left;
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A store that survives a kill, but not a power loss: the class D1.
fn open(folder: &Path) -> (LogStore, TopicPartition) {
    let store = LogStore::builder(folder).durability(Durability::Os).create(true).open().unwrap();
    store.create_topic(&NewTopic::new(TOPIC)).unwrap();
    (store, TopicPartition::new(TopicName::new(TOPIC).unwrap(), PartitionId::new(0)))
}

fn payload() -> [u8; 100] {
    std::array::from_fn(|index| b'a' + u8::try_from(index % 26).unwrap())
}

fn push_frame(frames: &mut Vec<u8>, payload: &[u8]) {
    frames.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frames.extend_from_slice(&crc32fast::hash(payload).to_be_bytes());
    frames.extend_from_slice(payload);
}

fn measure(records: usize, elapsed: Duration) -> Measure {
    Measure { units: records as u64, elapsed }
}
