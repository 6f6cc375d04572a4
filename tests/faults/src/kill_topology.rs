//! T13: running topologies are killed at random moments, again and again; their output, their
//! stores and their changelogs are then what a fold over the input gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{Durability, Log, LogStore, ProducerConfig, ProducerRecord, Timestamp};
use headwater_topology::{StoreType, Streams, StreamsConfig};

use crate::child::{Writer, this_program};
use crate::failure::{Failure, Promise as _, Result, violation};
use crate::message::{Message, Recovered};
use crate::place::{folder_in, memory, temporary};
use crate::tally::Tally;
use crate::views::{self, Rows};

/// How often the runners of one store are killed before the next begins.
const KILLS_PER_STORE: u64 = 8;
/// One in so many stores lies on a disk.
const STORES_PER_DISK_STORE: u64 = 4;

/// What a runner runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunnerArgs {
    /// The folder of the log and of the stores on disk.
    #[arg(long)]
    dir: PathBuf,
    /// `num.stream.threads`.
    #[arg(long)]
    threads: usize,
    /// Whether stores are on disk.
    #[arg(long)]
    persistent: bool,
    /// Whether each commit is synced.
    #[arg(long)]
    sync: bool,
    /// What decides the records.
    #[arg(long)]
    seed: u64,
    /// The event time to begin with.
    #[arg(long)]
    from_ms: i64,
}

impl RunnerArgs {
    /// The `number`th of a test's stores, in this folder.
    pub(crate) fn new(dir: &Path, number: u64, sync: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            threads: 1 + usize::try_from(number % 2).unwrap_or_default(),
            persistent: number % 4 >= 2,
            sync,
            seed: 0,
            from_ms: 0,
        }
    }

    /// As what follows rounds before it, whose event times are over.
    pub(crate) fn for_round(&mut self, seed: u64, round: u64) {
        self.seed = seed.wrapping_mul(1_000).wrapping_add(round);
        self.from_ms = i64::try_from(round).unwrap_or_default() * 1_000_000;
    }

    /// The folder of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The arguments of a program that runs them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "runner".to_owned(),
            format!("--dir={}", self.dir.display()),
            format!("--threads={}", self.threads),
            format!("--seed={}", self.seed),
            format!("--from-ms={}", self.from_ms),
        ];
        arguments.extend(self.persistent.then(|| "--persistent".to_owned()));
        arguments.extend(self.sync.then(|| "--sync".to_owned()));
        arguments
    }

    fn open(&self) -> Result<LogStore> {
        let durability = if self.sync { Durability::Sync } else { Durability::Os };
        LogStore::builder(self.log())
            .durability(durability)
            .journal_bytes(4 << 20)
            .create(true)
            .open()
            .promised("the log does not open")
    }

    fn streams(&self, log: &Arc<dyn Log>) -> Result<Streams> {
        let store_type = if self.persistent { StoreType::Persistent } else { StoreType::InMemory };
        let config = StreamsConfig::new("views")
            .num_stream_threads(self.threads)
            .commit_interval(Duration::from_millis(20))
            .state_dir(self.dir.join("state"))
            // So that rows are read from the disk.
            .persistent_store_memory_bytes(4_096);
        Ok(Streams::new(&views::topology(store_type)?, config, Arc::clone(log)))
    }
}

/// Runs as a process that appends and processes until it is killed.
pub(crate) fn run_until_killed(args: &RunnerArgs) -> Result {
    let store = args.open()?;
    let recovered = Recovered::from(&store.recovery());
    let log: Arc<dyn Log> = Arc::new(store);
    views::create_topics(log.as_ref())?;
    let streams = args.streams(&log)?;
    streams.start().or_else(|error| violation(format!("no start: {error}")))?;
    println!("{}", Message::Opened(recovered));
    let mut producer = log.producer(&ProducerConfig::default()).promised("there is no producer")?;
    let mut rng = Rng::with_seed(args.seed);
    let mut event_ms = args.from_ms;
    // Bounded, should nobody kill it.
    for _ in 0..20_000 {
        for _ in 0..rng.u32(1..60) {
            event_ms += rng.i64(0..3);
            let late_ms = if rng.u8(0..10) == 0 { rng.i64(0..80) } else { 0 };
            let value = rng.i64(0..1_000).to_be_bytes();
            let key = format!("k{}", rng.u32(0..200));
            let sent = producer.send(&ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(&value),
                timestamp: Some(Timestamp::from_millis((event_ms - late_ms).max(0))),
                ..ProducerRecord::to(views::IN)
            });
            drop(sent.promised("a send has failed")?);
        }
        producer.flush().promised("a flush has failed")?;
        if let Some(error) = streams.error() {
            return violation(format!("the application has stopped: {error}"));
        }
        // As fast as it is processed, so that there is always some of both to be killed.
        if rng.u8(0..4) == 0 {
            let caught_up = streams.wait_until_caught_up_for(Duration::from_secs(60));
            match caught_up {
                Ok(true) => {}
                Ok(false) => return violation("it does not catch up within a minute"),
                Err(error) => return violation(format!("the application has stopped: {error}")),
            }
        }
    }
    Ok(())
}

/// Kills runners that many times.
pub(crate) fn run(kills: u64, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut number = 0;
    while tally.get("kills") < kills {
        let seed = seed.wrapping_add(number);
        let mut rng = Rng::with_seed(seed);
        let on_disk = number.is_multiple_of(STORES_PER_DISK_STORE);
        let base = memory().filter(|_| !on_disk).unwrap_or_else(temporary);
        let folder = folder_in(&base, "kill-topology")?;
        let mut args = RunnerArgs::new(folder.path(), number, rng.bool());
        for round in 0..KILLS_PER_STORE.min(kills - tally.get("kills")) {
            args.for_round(seed, round);
            let checked =
                kill(&args, &mut rng, &mut tally).and_then(|()| verify(&args, &mut tally));
            if let Err(failure) = checked {
                eprintln!("store {} of {args:?}", folder.keep().display());
                return Err(failure);
            }
        }
        number += 1;
    }
    for figure in ["records", "kills at work"] {
        if tally.get(figure) == 0 {
            return violation(format!("too gentle: {figure} 0 in {tally}"));
        }
    }
    Ok(tally)
}

/// Starts a runner and kills it after a while, or while it starts.
fn kill(args: &RunnerArgs, rng: &mut Rng, tally: &mut Tally) -> Result {
    let mut runner = Writer::start(this_program(&args.arguments())?)?;
    if rng.u8(0..8) == 0 {
        // While it starts: it opens the log, restores, or does its first work.
        runner.listen(Duration::from_micros(rng.u64(500..30_000)), |_| false)?;
        tally.count("kills at the start");
    } else {
        runner.listen(Duration::from_secs(60), |message| matches!(message, Message::Opened(_)))?;
        runner.listen(Duration::from_micros(rng.u64(0..250_000)), |_| false)?;
        tally.count("kills at work");
    }
    runner.kill()?.check_no_crash()?;
    tally.count("kills");
    Ok(())
}

/// Lets the application finish what is there, and compares.
pub(crate) fn verify(args: &RunnerArgs, tally: &mut Tally) -> Result {
    let log: Arc<dyn Log> = Arc::new(args.open()?);
    views::create_topics(log.as_ref())?;
    let streams = args.streams(&log)?;
    let stopped = |error: headwater_topology::Error| {
        Failure::Violation(format!("after the kill the application stops: {error}"))
    };
    streams.start().map_err(stopped)?;
    tally.add("records restored", streams.metrics().records_restored);
    streams.wait_until_caught_up().map_err(stopped)?;
    let (counts, sums, records) = views::check(log.as_ref())?;
    for (name, expected) in [("counts", counts), ("sums", sums)] {
        let rows = streams.store::<String, i64>(name).all().map_err(stopped)?;
        if rows.into_iter().collect::<Rows>() != expected {
            return violation(format!("store {name} is not the last of its output"));
        }
    }
    streams.close().map_err(stopped)?;
    tally.max("records", records);
    tally.add("records compared", records);
    Ok(())
}
