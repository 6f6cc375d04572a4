//! How long a restart takes after a kill where a large store is on disk: as long as it takes to
//! replay what the store does not have yet. Its rows stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use headwater_log_store::{Log, LogStore, NewTopic, ProducerConfig, ProducerRecord};
use headwater_topology::{
    Materialized, StoreType, Streams, StreamsBuilder, StreamsConfig, StreamsState, Topology,
};

use crate::child::{Writer, this_program};
use crate::failure::{Context as _, Failure, Promise as _, Result, violation};
use crate::message::{Message, Recovered, nanos};
use crate::place::{folder_in, temporary};
use crate::tally::Tally;

const IN: &str = "in";
const ROWS: &str = "rows";
const PARTITIONS: u32 = 2;
/// With a key of 16 bytes and a time of 8, a row takes a KiB.
const VALUE_BYTES: usize = 1_000;
const ROWS_PER_MIB: u64 = 1_024;
/// How many rows a filler updates before it waits until they are processed.
const ROWS_AT_ONCE: u64 = 16_384;
/// How many rows are looked at after a restart, beside the first and the last of the difference.
const ROWS_CHECKED: u64 = 1_000;
/// What the store has missed, in rows: where a kill hits is chance, so the store is put back.
const DIFFERENCES: [(u64, [&str; 2]); 2] = [
    (1_000, ["records of a small difference", "ms to running with them"]),
    (100_000, ["records of a larger difference", "ms to running with those"]),
];

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// How large the rows are together.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// The most milliseconds to running after a kill at work, and with a small difference; more is a
    /// failure. Default = only measured.
    #[arg(long)]
    ms_max: Option<u64>,
}

/// What the process does that is killed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RowFillerArgs {
    /// The folder of the log and of the store.
    #[arg(long)]
    dir: PathBuf,
    /// How many rows it updates, the first ones.
    #[arg(long)]
    rows: u64,
    /// What they are updated to.
    #[arg(long)]
    version: i64,
}

/// Fills a store, kills its process, and starts it again with more or less to replay.
pub(crate) fn run(args: &RestartArgs, seed: u64) -> Result<Tally> {
    let folder = folder_in(&temporary(), "restart")?;
    let (dir, state) = (folder.path(), folder.path().join("state"));
    let rows = args.mib * ROWS_PER_MIB;
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    fill_and_kill(dir, rows, 1, None)?;
    tally.add("MiB of rows", args.mib);
    tally.add("MiB on disk", bytes_in(&state)? >> 20);
    // In the middle of the next round of updates: what one commit has written is missing at most.
    fill_and_kill(dir, rows, 2, Some(Duration::from_millis(rng.u64(100..400))))?;
    let restarted = Restarted::begin(dir)?;
    tally.add("ms to open the log after a kill at work", restarted.log_ms);
    tally.add("ms to running", restarted.ms);
    tally.add("records replayed", restarted.replayed);
    if restarted.replayed >= rows / 2 {
        return violation(format!("the store was made anew: {tally}"));
    }
    restarted.catch_up()?;
    for (version, (difference, [records, ms])) in (3..).zip(DIFFERENCES) {
        let difference = difference.min(rows / 2);
        let aside = dir.join("state-before");
        copy(&state, &aside)?;
        fill_and_kill(dir, difference, version, None)?;
        std::fs::remove_dir_all(&state).to("remove the folder of the store")?;
        std::fs::rename(&aside, &state).to("put the folder of the store back")?;
        let restarted = Restarted::begin(dir)?;
        tally.add(records, restarted.replayed);
        tally.add(ms, restarted.ms);
        if restarted.replayed != difference {
            return violation(format!("{difference} records were to be replayed: {tally}"));
        }
        restarted.check(&mut rng, rows, difference, version)?;
        restarted.catch_up()?;
    }
    tally.add("rows checked", ROWS_CHECKED * DIFFERENCES.len() as u64);
    let slowest = tally.get("ms to running").max(tally.get(DIFFERENCES[0].1[1]));
    match args.ms_max.filter(|max| slowest > *max) {
        Some(max) => violation(format!("a restart takes longer than {max} ms: {tally}")),
        None => Ok(tally),
    }
}

/// An application that was started again after a kill.
struct Restarted {
    streams: Streams,
    log_ms: u64,
    /// With that of the log.
    ms: u64,
    replayed: u64,
}

impl Restarted {
    /// Opens the log and starts the application: that is what counts.
    fn begin(dir: &Path) -> Result<Self> {
        let begin = Instant::now();
        let log: Arc<dyn Log> = Arc::new(open(dir)?);
        let log_ms = ms_since(begin);
        let streams = start(dir, &log)?;
        if streams.state() != StreamsState::Running {
            return violation(format!("after its start it is {:?}", streams.state()));
        }
        let ms = ms_since(begin);
        let replayed = streams.metrics().records_restored;
        Ok(Self { streams, log_ms, ms, replayed })
    }

    /// The first rows have the version of the difference, the others an older one.
    fn check(&self, rng: &mut Rng, rows: u64, difference: u64, version: i64) -> Result {
        let store = self.streams.store::<String, Vec<u8>>(ROWS);
        let some = (0..ROWS_CHECKED).map(|_| rng.u64(0..rows));
        for row in [0, difference - 1, difference, rows - 1].into_iter().chain(some) {
            let found = store.get(&key(row)).map_err(stopped)?.unwrap_or_default();
            let is_expected = |version| found == value(&key(row), version);
            let expected = match row < difference {
                true => is_expected(version),
                false => (1..version).any(is_expected),
            };
            if !expected {
                return violation(format!("row {row} is not that of the last record"));
            }
        }
        Ok(())
    }

    fn catch_up(self) -> Result {
        self.streams.wait_until_caught_up().map_err(stopped)?;
        self.streams.close().map_err(stopped)
    }
}

fn ms_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn stopped(error: headwater_topology::Error) -> Failure {
    Failure::Violation(format!("after the kill the application stops: {error}"))
}

fn open(dir: &Path) -> Result<LogStore> {
    LogStore::builder(dir.join("log")).create(true).open().promised("the log does not open")
}

/// The rows are made by the application, so that the input is small.
fn topology() -> Result<Topology> {
    let builder = StreamsBuilder::new();
    let rows = Materialized::named(ROWS).with_store_type(StoreType::Persistent);
    let input = builder.stream::<String, i64>(IN).group_by_key();
    input.aggregate(Vec::new, |key, version, _| value(key, version), rows);
    builder.build().to("build a topology")
}

fn start(dir: &Path, log: &Arc<dyn Log>) -> Result<Streams> {
    let config = StreamsConfig::new("rows").state_dir(dir.join("state"));
    let streams = Streams::new(&topology()?, config, Arc::clone(log));
    streams.start().map_err(stopped)?;
    Ok(streams)
}

fn key(row: u64) -> String {
    format!("{row:016}")
}

/// Bytes that do not compress, so that a MiB of rows is one on disk.
fn value(key: &str, version: i64) -> Vec<u8> {
    let row: u64 = key.parse().unwrap_or_default();
    let mut rng = Rng::with_seed(row.wrapping_mul(1_000).wrapping_add_signed(version));
    let mut value = vec![0; VALUE_BYTES];
    rng.fill(&mut value);
    value
}

/// Runs a filler until it is ready, or for so long, and kills it.
fn fill_and_kill(dir: &Path, rows: u64, version: i64, limit: Option<Duration>) -> Result {
    let mut filler = Writer::start(this_program(&[
        "row-filler".to_owned(),
        format!("--dir={}", dir.display()),
        format!("--rows={rows}"),
        format!("--version={version}"),
    ])?)?;
    let (is_opened, is_ready) = (
        |message: &Message| matches!(message, Message::Opened(_)),
        |message: &Message| *message == Message::Ready,
    );
    let long = Duration::from_secs(3_600);
    let went_on =
        filler.listen(long, is_opened)? && filler.listen(limit.unwrap_or(long), is_ready)?;
    filler.kill()?.check_no_crash()?;
    if went_on { Ok(()) } else { violation("a filler ends by itself") }
}

/// Runs as the process that is killed.
pub(crate) fn fill_until_killed(args: &RowFillerArgs) -> Result {
    let store = open(&args.dir)?;
    let recovered = Recovered::from(&store.recovery());
    let log: Arc<dyn Log> = Arc::new(store);
    if log.describe_topic(IN).is_err() {
        let topic = NewTopic::new(IN).partitions(PARTITIONS);
        log.create_topic(&topic).promised("a topic cannot be created")?;
    }
    let streams = start(&args.dir, &log)?;
    println!("{}", Message::Opened(recovered));
    let mut producer = log.producer(&ProducerConfig::default()).promised("there is no producer")?;
    for (unit, first) in
        (0..).zip((0..args.rows).step_by(usize::try_from(ROWS_AT_ONCE).unwrap_or(1)))
    {
        for row in first..args.rows.min(first + ROWS_AT_ONCE) {
            let sent = producer.send(&ProducerRecord {
                key: Some(key(row).as_bytes()),
                value: Some(&args.version.to_be_bytes()),
                ..ProducerRecord::to(IN)
            });
            drop(sent.promised("a send has failed")?);
        }
        producer.flush().promised("a flush has failed")?;
        streams.wait_until_caught_up().map_err(stopped)?;
        println!(
            "{}",
            Message::Acknowledged { thread: 0, unit, nanos: nanos(), offsets: Vec::new() }
        );
    }
    println!("{}", Message::Ready);
    // It is killed before it can close the store.
    loop {
        std::thread::park();
    }
}

fn bytes_in(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).to("look into a folder")? {
        let entry = entry.to("look into a folder")?;
        let metadata = entry.metadata().to("look at a file")?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> Result {
    std::fs::create_dir(to).to("make a folder")?;
    for entry in std::fs::read_dir(from).to("look into a folder")? {
        let entry = entry.to("look into a folder")?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to)?,
            false => drop(std::fs::copy(from, to).to("copy a file")?),
        }
    }
    Ok(())
}
