//! One entry for each parser of bytes that may be anything: for the fuzzers in `fuzz/`, and for
//! the test that replays what they have found.
//!
//! An input must never cause a panic; what a parser accepts must encode to the same bytes where
//! the format has one way to say it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::batch::{BatchHeader, Place};
use crate::checkpoint::Checkpoint;
use crate::clock::ManualClock;
use crate::engine::parse_copy;
use crate::group::OffsetCommit;
use crate::inspect::verify;
use crate::journal::{EntryHeader, EntryWriter, batches};
use crate::layout::{put_checksum, written_len};
use crate::log::{Log, NewTopic};
use crate::published::{CONTENT_BYTES, PublishedEnd, published_store_id};
use crate::record::{Record, RecordBatch};
use crate::segment::OffsetIndex;
use crate::storage::{MemoryStorage, OpenMode, Storage};
use crate::store::LogStore;
use crate::topic::TopicFile;
use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};
use crate::varint;

/// The names that [`run`] takes.
pub const TARGETS: [&str; 10] = [
    "varint",
    "batch",
    "journal_entry",
    "checkpoint",
    "published",
    "topic_file",
    "store_file",
    "offset_index",
    "offsets_record",
    "open",
];

const STORE_ID: u128 = 7;
/// The folder of the store in memory.
const DIR: &str = "store";

/// Feeds `data` to the parser of that name.
///
/// # Panics
/// If the parser breaks its promise, or there is none of that name.
pub fn run(target: &str, data: &[u8]) {
    match target {
        "varint" => varints(data),
        "batch" => batch(data),
        "journal_entry" => journal_entry(data),
        "checkpoint" => checkpoint(data),
        "published" => published(data),
        "topic_file" => topic_file(data),
        "store_file" => store_file(data),
        "offset_index" => offset_index(data),
        "offsets_record" => offsets_record(data),
        "open" => open(data),
        _ => panic!("there is no fuzz target {target}"),
    }
}

/// The bytes with a checksum that matches, which no fuzzer would ever guess.
fn with_checksum(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    put_checksum(&mut bytes);
    bytes
}

fn varints(data: &[u8]) {
    if let Some((value, len)) = varint::get(data) {
        let mut again = Vec::new();
        varint::put(&mut again, value);
        assert!(again.len() <= len && varint::len(value) == again.len());
        assert_eq!(varint::get(&again), Some((value, again.len())));
    }
}

fn topic_partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("t").expect("a valid name"), PartitionId::new(0))
}

fn batch(data: &[u8]) {
    let place = Place { store_id: STORE_ID, topic_id: 1, partition: PartitionId::new(0) };
    if let Ok(header) = BatchHeader::parse(data) {
        assert!(header.next_offset() > header.base_offset);
        let _ = header.verify(data, &place);
        // As if the checksums matched: the records must be safe to look for all the same.
        let mut records = Vec::new();
        if let Some(bytes) = data.get(..header.bytes_len)
            && header.records(bytes, 0, Offset::ZERO, &mut records).is_ok()
        {
            assert_eq!(records.len(), header.record_count as usize);
            let bytes = Bytes::copy_from_slice(bytes);
            let batch = RecordBatch::new(topic_partition(), bytes, records);
            for record in batch.iter() {
                let headers: usize = record.headers.iter().map(|h| h.key.len()).sum();
                assert!(headers <= data.len() && record.offset < header.next_offset());
            }
        }
    }
    let _ = RecordBatch::from_kafka(topic_partition(), Bytes::copy_from_slice(data));
}

fn journal_entry(data: &[u8]) {
    if let Some(header) = EntryHeader::parse(data) {
        let _ = header.payload(STORE_ID, data);
    }
    if let Some(found) = batches(data) {
        let mut writer = EntryWriter::new();
        found.iter().for_each(|batch| writer.add(batch));
        let bytes = writer.finish(STORE_ID, 9, 8).concat();
        let header = EntryHeader::parse(&bytes).expect("it was just written");
        assert_eq!(header.payload(STORE_ID, &bytes), Some(data));
    }
}

fn checkpoint(data: &[u8]) {
    let path = Path::new("checkpoint.0");
    let _ = Checkpoint::parse(path, data);
    if let Some(checkpoint) = Checkpoint::decode(data) {
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::parse(path, &bytes).expect("our version"), Some(checkpoint));
    }
}

fn published(data: &[u8]) {
    let _ = published_store_id(&with_checksum(data));
    let bytes = with_checksum(data);
    if bytes.len() == CONTENT_BYTES
        && let Some(end) = PublishedEnd::decode(&bytes)
    {
        assert_eq!(end.encode()[..], bytes[..]);
    }
}

fn topic_file(data: &[u8]) {
    let path = || PathBuf::from("topics/t");
    let _ = TopicFile::parse(path(), data);
    if let Ok(file) = TopicFile::parse(path(), &with_checksum(data)) {
        let bytes = file.encode().expect("what was read is short enough to write");
        assert_eq!(TopicFile::parse(path(), &bytes).expect("it was just written"), file);
    }
}

fn store_file(data: &[u8]) {
    let path = Path::new("store");
    let _ = parse_copy(path, data);
    let _ = parse_copy(path, &with_checksum(data));
}

/// The first two bytes say how the rest is split between the two files.
fn offset_index(data: &[u8]) {
    let Some((split, rest)) = data.split_first_chunk::<2>() else { return };
    let split = usize::from(u16::from_be_bytes(*split)).min(rest.len());
    let (offsets, times) = rest.split_at(split);
    let base = Offset::new(40);
    let place = Place { store_id: STORE_ID, topic_id: 1, partition: PartitionId::new(0) };
    let sign = |content: &[u8]| OffsetIndex::sign(&place, base, content.to_vec());
    let (offsets, times) = (sign(offsets), sign(times));
    if let Some(index) = OffsetIndex::decode(&place, base, &offsets, &times, u32::MAX) {
        let again = (index.encode(&place, base), index.encode_times(&place, base));
        assert_eq!(again, (offsets, times));
        for (relative_offset, position, _) in index.entries() {
            assert_eq!(index.lookup(relative_offset).position, position);
        }
    }
}

/// The first byte says how long the key is; 255: that the value is null.
fn offsets_record(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*len).min(rest.len()));
    let value = Some(value).filter(|_| *len < 255);
    if let Some(commit) = OffsetCommit::decode(key, value) {
        let again = commit.key().expect("what was read is short enough to write");
        let now = Timestamp::from_millis(5);
        let value = commit.value(now).expect("what was read is short enough to write");
        assert_eq!(OffsetCommit::decode(&again, value.as_deref()), Some(commit));
    }
}

/// The files of a small store that was not closed.
fn sample_store() -> &'static [(PathBuf, Vec<u8>)] {
    static SAMPLE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let storage = MemoryStorage::new();
        let store = open_in(&storage).expect("an empty folder");
        let topic = NewTopic::new("t").config("segment.bytes", "1024");
        store.create_topic(&topic).expect("there is none");
        for _ in 0..20 {
            let record = Record::value(b"some value").with_key(b"key");
            store.append(&topic_partition(), &record).expect("memory does not fail");
        }
        let committed = [(topic_partition(), Some(Offset::new(3)))];
        store.alter_group_offsets("group", &committed).expect("memory does not fail");
        files(&storage, Path::new(DIR))
    })
}

fn open_in(storage: &MemoryStorage) -> crate::error::Result<LogStore> {
    LogStore::builder(DIR)
        .storage(Arc::new(storage.clone()))
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(1_000))))
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

fn files(storage: &dyn Storage, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for name in storage.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match storage.open(&path, OpenMode::Read) {
            Ok(file) => {
                let len = file.size().and_then(|len| {
                    usize::try_from(len).map_err(|_| std::io::ErrorKind::FileTooLarge.into())
                });
                let bytes = len.and_then(|len| file.read(0, len));
                found.push((path, bytes.expect("memory does not fail").to_vec()));
            }
            Err(_) => found.extend(files(storage, &path)),
        }
    }
    found
}

/// Changes a store as the input says, looks at it, opens it, and reads all of it.
fn open(data: &[u8]) {
    let storage = MemoryStorage::new();
    for (path, bytes) in change(sample_store().to_vec(), data) {
        let dir = path.parent().unwrap_or(Path::new(""));
        storage.create_dir(dir).expect("memory does not fail");
        let file = storage.open(&path, OpenMode::Create).expect("memory does not fail");
        // Zeros at the end take no memory.
        let written = bytes.get(..written_len(&bytes)).unwrap_or_default();
        file.write(0, written).expect("memory does not fail");
        file.reserve(bytes.len() as u64).expect("memory does not fail");
    }
    let _ = verify(&storage, Path::new(DIR));
    let Ok(store) = open_in(&storage) else { return };
    for topic in store.topics().unwrap_or_default() {
        for number in 0..topic.partitions.min(64) {
            let tp = TopicPartition::new(topic.name.clone(), PartitionId::new(number));
            let Ok(marks) = store.watermarks(&tp) else { continue };
            let batches = store.fetch(&tp, marks.start, usize::MAX).unwrap_or_default();
            for record in batches.iter().flat_map(RecordBatch::iter) {
                assert!(record.offset >= marks.start && record.offset < marks.end);
            }
            let _ = store.append(&tp, &Record::value(b"more"));
        }
    }
    let _ = store.close();
    let _ = verify(&storage, Path::new(DIR));
}

/// Each change is 8 bytes: which file, how, where (two bytes), and what.
fn change(mut files: Vec<(PathBuf, Vec<u8>)>, data: &[u8]) -> Vec<(PathBuf, Vec<u8>)> {
    for change in data.as_chunks::<8>().0.iter().take(32) {
        let [which, how, high, low, what @ ..] = *change;
        let which = usize::from(which) % files.len().max(1);
        let at = usize::from(u16::from_be_bytes([high, low]));
        let other = usize::from(what[0]) % files.len().max(1);
        let other = files.get(other).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        let Some((path, bytes)) = files.get_mut(which) else { break };
        match how % 6 {
            0 => bytes.iter_mut().skip(at).zip(what).for_each(|(byte, by)| *byte ^= by),
            1 => bytes.iter_mut().skip(at).zip(what).for_each(|(byte, by)| *byte = by),
            2 => bytes.truncate(at),
            3 => bytes.extend(what.repeat(at % 64)),
            4 => *bytes = other,
            _ => {
                let name = String::from_utf8_lossy(&what).replace(['/', '\0'], "-");
                *path = path.with_file_name(format!("0{name}"));
            }
        }
    }
    files
}
