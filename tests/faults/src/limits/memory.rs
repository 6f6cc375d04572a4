//! A process that may have 256 MiB, a log that is much larger, and a consumer that is a million
//! records behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log as _, LogStore, NewTopic, PartitionId, Reads, Record,
    RecordBatch, TopicName, TopicPartition,
};

use crate::failure::{Context as _, Failure, Promise as _, Result, violation};
use crate::tally::Tally;

const MEMORY_BYTES: u64 = 256 << 20;
const RECORDS: u64 = 1_000_000;
const BATCH_RECORDS: u64 = 500;
const TOPIC: &str = "behind";

/// A control group of this process. It is removed when this is dropped.
#[derive(Debug)]
struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    /// Limits the memory, page cache included, of those who will join it.
    fn create() -> Result<Self> {
        let name = format!("headwater-faults-{}", std::process::id());
        for (root, key) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ] {
            let path = Path::new(root).join(&name);
            if std::fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self { path };
            if std::fs::write(group.path.join(key), MEMORY_BYTES.to_string()).is_ok() {
                return Ok(group);
            }
        }
        Err(Failure::Skipped("no control group can limit the memory here".to_owned()))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}

/// Runs the limited process.
pub(crate) fn run(
    dir: &Path,
    mib: u64,
    limited: impl Fn(&[String]) -> Result,
    tally: &mut Tally,
) -> Result {
    let group = ControlGroup::create()?;
    limited(&[
        "--which=memory".to_owned(),
        format!("--dir={}", dir.display()),
        format!("--mib={mib}"),
        format!("--group={}", group.path.display()),
    ])?;
    tally.add("MiB of log in 256 MiB of memory", mib);
    tally.add("records behind", RECORDS);
    Ok(())
}

/// What the limited process does: it fills a log, and reads all of it.
pub(crate) fn limited(dir: &Path, mib: u64, group: &Path) -> Result {
    let own = std::process::id().to_string();
    std::fs::write(group.join("cgroup.procs"), own).to("join a control group")?;
    let value_len = usize::try_from((mib << 20) / RECORDS).unwrap_or(usize::MAX).max(16);
    let partition =
        TopicPartition::new(TopicName::new(TOPIC).expect("a good name"), PartitionId::new(0));
    for reads in [Reads::Mapped, Reads::Positioned] {
        let store = LogStore::builder(dir).create(true).reads(reads).open();
        let store = store.promised("a store in little memory")?;
        if store.describe_topic(TOPIC).is_err() {
            store.create_topic(&NewTopic::new(TOPIC)).promised("a topic")?;
            fill(&store, &partition, value_len)?;
        }
        read(&store, &partition, value_len)?;
        store.close().promised("a close in little memory")?;
    }
    Ok(())
}

fn value(number: u64, len: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(len, u8::try_from(number % 253).unwrap_or_default());
    value
}

fn fill(store: &LogStore, partition: &TopicPartition, value_len: usize) -> Result {
    let mut number = 0;
    while number < RECORDS {
        let values: Vec<_> =
            (number..number + BATCH_RECORDS).map(|n| value(n, value_len)).collect();
        let records: Vec<_> = values.iter().map(|value| Record::value(value)).collect();
        store.append_batch(partition, &records).promised("an append in little memory")?;
        number += BATCH_RECORDS;
    }
    Ok(())
}

fn read(store: &LogStore, partition: &TopicPartition, value_len: usize) -> Result {
    let config =
        ConsumerConfig { auto_offset_reset: AutoOffsetReset::Earliest, ..Default::default() };
    let mut consumer = store.consumer(&config).promised("a consumer")?;
    consumer.assign(std::slice::from_ref(partition)).promised("an assignment")?;
    let mut next = 0;
    while next < RECORDS {
        let batches = consumer.poll(Duration::from_secs(10)).promised("a poll in little memory")?;
        if batches.is_empty() {
            return violation(format!("nothing comes at offset {next}"));
        }
        for record in batches.iter().flat_map(RecordBatch::iter) {
            if record.offset.value() != next || record.value != Some(&*value(next, value_len)) {
                return violation(format!("offset {} where {next} belongs", record.offset));
            }
            next += 1;
        }
    }
    Ok(())
}
