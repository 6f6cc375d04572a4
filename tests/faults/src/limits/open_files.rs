//! A thousand partitions, and sixty-four files that may be open.

use std::path::Path;

use headwater_log_store::{
    Error, Log as _, LogStore, NewTopic, Offset, PartitionId, Record, TopicName, TopicPartition,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::{Context as _, Promise as _, Result, chain, violation};
use crate::tally::Tally;

/// How many files the limited process may have open.
const OPEN_FILES: u64 = 64;
const PARTITIONS: u32 = 1_000;
const JOURNAL_BYTES: u64 = 64 << 10;

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).expect("a good name"), PartitionId::new(number))
}

fn open(dir: &Path) -> std::result::Result<LogStore, Error> {
    LogStore::builder(dir).journal_bytes(JOURNAL_BYTES).create(true).open()
}

/// What the limited process does: it asks for more files than it gets, and goes on with what it has.
pub(crate) fn limited(dir: &Path) -> Result {
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    setrlimit(Resource::Nofile, limit).to("limit the open files")?;
    let store = open(dir).promised("a store of one partition does not open")?;
    let small = partition("small", 0);
    store.append(&small, &Record::value(b"before")).promised("an append")?;
    match store.create_topic(&NewTopic::new("refused").partitions(PARTITIONS)) {
        Err(error @ Error::Io { .. }) => println!("{}", chain(&error)),
        other => return violation(format!("{PARTITIONS} partitions in {OPEN_FILES}: {other:?}")),
    }
    // What failed has left the rest alone.
    store.append(&small, &Record::value(b"after")).promised("an append after the refusal")?;
    let fetched = store.fetch(&small, Offset::ZERO, 1 << 20).promised("a fetch")?;
    let count: usize = fetched.iter().map(headwater_log_store::RecordBatch::len).sum();
    if count < 2 || store.describe_topic("refused").is_ok() {
        return violation(format!("{count} records, and maybe a topic that was refused"));
    }
    store.close().promised("a close")
}

/// What a limited process does with a store that has more partitions than it may have open files.
pub(crate) fn limited_open(dir: &Path) -> Result {
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    setrlimit(Resource::Nofile, limit).to("limit the open files")?;
    match open(dir) {
        Err(error @ Error::Io { .. }) => {
            println!("{}", chain(&error));
            Ok(())
        }
        other => violation(format!("{PARTITIONS} partitions in {OPEN_FILES}: {other:?}")),
    }
}

/// Runs both, and looks at the store before, between and after.
pub(crate) fn run(
    dir: &Path,
    limited: impl Fn(&str, &Path) -> Result,
    tally: &mut Tally,
) -> Result {
    let store = open(dir).promised("a store cannot be created")?;
    store.create_topic(&NewTopic::new("small")).promised("a topic")?;
    store.close().promised("a close")?;
    limited("open-files", dir)?;
    let store = open(dir).promised("the store does not open after it ran out of files")?;
    check(&store, "small", 0, 2)?;
    store
        .create_topic(&NewTopic::new("many").partitions(PARTITIONS))
        .promised("many partitions")?;
    for number in 0..PARTITIONS {
        let value = number.to_be_bytes();
        store.append(&partition("many", number), &Record::value(&value)).promised("an append")?;
    }
    store.close().promised("a close")?;
    limited("open-files-open", dir)?;
    let store = open(dir).promised("the store does not open after an open that failed")?;
    check(&store, "small", 0, 2)?;
    for number in 0..PARTITIONS {
        check(&store, "many", number, 1)?;
    }
    tally.add("partitions in 64 files", u64::from(PARTITIONS));
    store.close().promised("a close")
}

fn check(store: &LogStore, topic: &str, number: u32, records: u64) -> Result {
    let partition = partition(topic, number);
    let end = store.watermarks(&partition).promised("watermarks")?.end.value();
    let fetched = store.fetch(&partition, Offset::ZERO, 1 << 20).promised("a fetch")?;
    let found = fetched.iter().map(headwater_log_store::RecordBatch::len).sum::<usize>() as u64;
    match (end, found) == (records, records) {
        true => Ok(()),
        false => violation(format!("{partition} ends at {end} with {found} of {records} records")),
    }
}
