//! A store on a disk that is full: the application stops with an error that says where, its log has
//! all of it, and it goes on where it was when there is space.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use headwater_log_store::{Durability, Log, LogStore, NewTopic, ProducerConfig, ProducerRecord};
use headwater_topology::{Error, Materialized, StoreType, Streams, StreamsBuilder, StreamsConfig};

use crate::failure::{Context as _, Failure, Promise as _, Result, chain, violation};
use crate::tally::Tally;

const IN: &str = "in";
const STORE: &str = "rows";
const PARTITIONS: u32 = 2;
const KEYS: u64 = 6_000;
const VALUE_BYTES: usize = 1_000;
const RECORDS_AT_ONCE: u64 = 500;
/// Far more than fits.
const RECORDS_MAX: u64 = 200_000;
/// How much of the disk is free at most when an application starts to fill it.
const FREE_BYTES_MAX: u64 = 12 << 20;

/// Fills the disk of the stores that many times. `small` is that disk; the log is in
/// `dir`, which has room.
pub(crate) fn run(
    dir: &Path,
    small: &Path,
    times: u64,
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result {
    let filler = small.join("filler");
    let store = LogStore::builder(dir.join("log")).durability(Durability::Os).create(true);
    let log: Arc<dyn Log> = Arc::new(store.open().promised("the log does not open")?);
    let topic = NewTopic::new(IN).partitions(PARTITIONS);
    log.create_topic(&topic).promised("a topic was not made")?;
    let mut versions = vec![0; usize::try_from(KEYS).to("count keys")?];
    for nth in 0..times {
        fill(&filler, if nth % 4 == 3 { 0 } else { rng.u64(0..FREE_BYTES_MAX) })?;
        let error = run_until_it_stops(small, &log, &mut versions, rng, tally)?;
        let said = chain(&error);
        if !said.contains(STORE) || !said.contains(&*small.to_string_lossy()) {
            return violation(format!("the disk is full, and the application says: {said}"));
        }
        std::fs::remove_file(&filler).to("remove what fills the disk")?;
        let streams = streams(small, &log)?;
        let went_on = streams.start().and_then(|()| streams.wait_until_caught_up());
        went_on.map_err(|error| stopped(&error))?;
        tally.add("records replayed", streams.metrics().records_restored);
        check(&streams, &versions, tally)?;
        streams.close().map_err(|error| stopped(&error))?;
        tally.count("times the disk was full");
        tally.add("times it was said so", u64::from(said.contains("No space left")));
    }
    Ok(())
}

fn stopped(error: &Error) -> Failure {
    Failure::Violation(format!("with space the application stops: {}", chain(error)))
}

/// The rows are made by the application, so that its input is small.
fn streams(small: &Path, log: &Arc<dyn Log>) -> Result<Streams> {
    let builder = StreamsBuilder::new();
    let rows = Materialized::named(STORE).with_store_type(StoreType::Persistent);
    let input = builder.stream::<String, i64>(IN).group_by_key();
    input.aggregate(Vec::new, |key, version, _| value(key, version), rows);
    let config = StreamsConfig::new("small")
        .state_dir(small.join("state"))
        .persistent_store_memory_bytes(1 << 20);
    Ok(Streams::new(&builder.build().to("build a topology")?, config, Arc::clone(log)))
}

/// Bytes that do not compress, so that the disk fills up.
fn value(key: &str, version: i64) -> Vec<u8> {
    let key: u64 = key.parse().unwrap_or_default();
    let mut rng = Rng::with_seed(key.wrapping_mul(1_000_000).wrapping_add_signed(version));
    let mut value = vec![0; VALUE_BYTES];
    rng.fill(&mut value);
    value
}

/// Appends and processes until the disk of the stores is full, and returns what it stopped with.
fn run_until_it_stops(
    small: &Path,
    log: &Arc<dyn Log>,
    versions: &mut [i64],
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<Error> {
    let streams = streams(small, log)?;
    let mut producer = log.producer(&ProducerConfig::default()).promised("there is no producer")?;
    let mut outcome = streams.start();
    let mut records = 0;
    while outcome.is_ok() && records < RECORDS_MAX {
        for _ in 0..RECORDS_AT_ONCE {
            let key = rng.usize(0..versions.len());
            versions[key] += 1;
            let sent = producer.send(&ProducerRecord {
                key: Some(key.to_string().as_bytes()),
                value: Some(&versions[key].to_be_bytes()),
                ..ProducerRecord::to(IN)
            });
            drop(sent.promised("a send has failed")?);
        }
        producer.flush().promised("a flush has failed")?;
        records += RECORDS_AT_ONCE;
        outcome = streams.wait_until_caught_up();
    }
    tally.add("records", records);
    // It says so once more, or not; it does not hang.
    let _ = streams.close();
    match outcome {
        Ok(()) => violation(format!("{records} records have not filled the disk")),
        Err(error) => Ok(error),
    }
}

/// Every row is that of its last record.
fn check(streams: &Streams, versions: &[i64], tally: &mut Tally) -> Result {
    let store = streams.store::<String, Vec<u8>>(STORE);
    for (key, version) in versions.iter().enumerate() {
        let key = key.to_string();
        let found = store.get(&key).map_err(|error| stopped(&error))?;
        let expected = (*version > 0).then(|| value(&key, *version));
        if found != expected {
            return violation(format!("row {key} is not that of its record {version}"));
        }
        tally.count("rows compared");
    }
    Ok(())
}

/// Leaves about so many bytes of the disk free.
fn fill(filler: &Path, leave: u64) -> Result {
    let mut file = File::create(filler).to("fill the disk")?;
    let block = vec![1; 4_096];
    loop {
        let free = rustix::fs::fstatvfs(&file).to("measure a file system")?;
        if free.f_bavail * free.f_bsize <= leave || file.write_all(&block).is_err() {
            return Ok(());
        }
    }
}
