//! A file system of a megabyte that fills up and is freed, again and again.

use std::path::Path;

use fastrand::Rng;
use headwater_log_store::{
    Error, Log as _, LogStore, NewTopic, Offset, PartitionId, Record, RecordBatch, TopicName,
    TopicPartition,
};

use crate::failure::{Failure, Promise as _, Result, violation};
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;

const TOPIC: &str = "full";
const SEGMENT_BYTES: u32 = 32 << 10;
/// Far more than fits.
const APPENDS_MAX: u64 = 100_000;

/// The settings of the smallest store.
pub(crate) fn settings(acknowledge: Acknowledge) -> StoreSettings {
    StoreSettings {
        acknowledge,
        journal_bytes: 64 << 10,
        segment_bytes: SEGMENT_BYTES,
        positioned: false,
        no_housekeeping: false,
        boot_id: None,
    }
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new(TOPIC).expect("a good name"), PartitionId::new(0))
}

/// Makes a store with its one topic.
pub(crate) fn create(settings: &StoreSettings, dir: &Path) -> Result<LogStore> {
    let store = settings.open(dir).promised("a small store cannot be created")?;
    let topic = NewTopic::new(TOPIC).config("segment.bytes", SEGMENT_BYTES.to_string());
    store.create_topic(&topic).promised("a topic")?;
    Ok(store)
}

/// Fills and frees a file system that many times.
pub(crate) fn run(dir: &Path, times: u64, rng: &mut Rng, tally: &mut Tally) -> Result {
    for (nth, acknowledge) in Acknowledge::ALL.into_iter().enumerate() {
        let dir = dir.join(format!("store-{nth}"));
        let settings = settings(acknowledge);
        let mut store = create(&settings, &dir)?;
        for _ in 0..times.div_ceil(Acknowledge::ALL.len() as u64) {
            let (start, end) = fill(&store, rng)?;
            check(&store, start, end)?;
            tally.count("disk filled");
            // Room is made by what the log offers for it, which needs none.
            let before = Offset::new(start + (end - start) * rng.u64(3..=4) / 4);
            store.delete_records(&partition(), before).promised("delete_records on a full disk")?;
            tally.count("disk freed");
            if rng.u8(0..8) == 0 {
                store.close().promised("a close on a nearly full disk")?;
                store = settings.open(&dir).promised("a store on a nearly full disk")?;
                tally.count("reopened");
            }
        }
        let (start, end) = fill(&store, rng)?;
        check(&store, start, end)?;
        store.close().promised("a close on a full disk")?;
        drop(store);
        std::fs::remove_dir_all(&dir).map_err(|error| Failure::Setup {
            what: "remove a store".to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(())
}

/// Appends until the disk is full, and once more: no refusal has written anything.
pub(crate) fn fill(store: &LogStore, rng: &mut Rng) -> Result<(u64, u64)> {
    let mut refused = 0;
    let watermarks = store.watermarks(&partition()).promised("watermarks")?;
    let mut next = watermarks.end.value();
    for _ in 0..APPENDS_MAX {
        let long = if refused == 0 { 9_000 } else { 300 };
        let appended = store.append(&partition(), &Record::value(&value(next, rng.usize(0..long))));
        match appended {
            Ok(offset) if offset.value() == next => next += 1,
            Ok(offset) => return violation(format!("offset {offset} instead of {next}")),
            Err(Error::DiskFull { .. }) if refused == 3 => {
                return Ok((watermarks.start.value(), next));
            }
            Err(Error::DiskFull { .. }) => refused += 1,
            Err(error) => return Err(error).promised("an append to a full disk"),
        }
    }
    violation("the disk does not fill up")
}

/// A value that says which it is.
fn value(offset: u64, padding: usize) -> Vec<u8> {
    let mut value = offset.to_be_bytes().to_vec();
    let byte = u8::try_from(offset % 251).unwrap_or_default();
    value.resize(8 + padding, byte);
    value
}

/// Everything that was acknowledged is there.
pub(crate) fn check(store: &LogStore, start: u64, end: u64) -> Result {
    let mut from = start;
    let batches = store.fetch(&partition(), Offset::new(start), usize::MAX);
    for record in batches.promised("a fetch from a full disk")?.iter().flat_map(RecordBatch::iter) {
        let found = record.value.unwrap_or_default();
        if record.offset.value() != from || found != value(from, found.len().saturating_sub(8)) {
            return violation(format!("offset {} where {from} belongs, or torn", record.offset));
        }
        from += 1;
    }
    if from == end { Ok(()) } else { violation(format!("records up to {from} instead of {end}")) }
}
