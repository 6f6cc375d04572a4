//! How long it takes to open a large store: after a clean stop, and after a kill.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_log_store::{
    Log as _, LogStore, NewTopic, Offset, PartitionId, Record, RecordBatch, TopicName,
    TopicPartition,
};

use crate::child::this_program;
use crate::failure::{Context as _, Promise as _, Result, chain, violation};
use crate::place::{folder_in, memory, temporary};
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;

const TOPIC: &str = "large";
const PARTITIONS: u32 = 4;
const VALUE_BYTES: usize = 1024;
const BATCH_RECORDS: usize = 1_000;
/// The default of `journal.bytes`.
const JOURNAL_BYTES: u64 = 64 << 20;
/// What is written before each kill: nearly as much as fits between two checkpoints.
const BEFORE_KILL_BYTES: u64 = 60 << 20;
/// Each figure is the median of so many.
const RUNS: usize = 7;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OpenTimeArgs {
    /// How large the store is.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// In memory instead of on a disk.
    #[arg(long)]
    memory: bool,
    /// The most milliseconds after a clean stop; more is a failure. Default = only measured.
    #[arg(long)]
    clean_ms_max: Option<u64>,
    /// The most milliseconds after a kill; more is a failure. Default = only measured.
    #[arg(long)]
    killed_ms_max: Option<u64>,
}

/// What the process does that is killed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FillerArgs {
    /// The folder of the store.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    store: StoreSettings,
    /// How much to write before it waits for its end.
    #[arg(long)]
    bytes: u64,
}

/// Fills a store, opens it again and again, and says how long that took.
pub(crate) fn run(args: &OpenTimeArgs) -> Result<Tally> {
    let base = memory().filter(|_| args.memory).unwrap_or_else(temporary);
    let folder = folder_in(&base, "open")?;
    let dir = folder.path().join("store");
    let mut tally = Tally::default();
    let store = settings(Acknowledge::Os).open(&dir).promised("a store cannot be created")?;
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", "67108864");
    store.create_topic(&topic).promised("a topic cannot be created")?;
    fill(&store, args.mib << 20).promised("a store cannot be filled")?;
    store.close().promised("a store does not close")?;
    drop(store);
    tally.add("MiB", args.mib);
    for acknowledge in [Acknowledge::Sync, Acknowledge::Os] {
        let settings = settings(acknowledge);
        let clean = median(|| open(&settings, &dir, true))?;
        let killed = median(|| {
            fill_and_kill(&settings, &dir)?;
            open(&settings, &dir, false)
        })?;
        let names = match acknowledge {
            Acknowledge::Os => ["Os: µs after a clean stop", "Os: µs after a kill"],
            _ => ["Sync: µs after a clean stop", "Sync: µs after a kill"],
        };
        for (name, time, max) in
            [(names[0], clean, args.clean_ms_max), (names[1], killed, args.killed_ms_max)]
        {
            tally.add(name, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            if max.is_some_and(|max| time > Duration::from_millis(max)) {
                return violation(format!("{name} is more than allowed in {tally}"));
            }
        }
    }
    Ok(tally)
}

fn settings(acknowledge: Acknowledge) -> StoreSettings {
    StoreSettings {
        acknowledge,
        journal_bytes: JOURNAL_BYTES,
        segment_bytes: 0,
        positioned: false,
        no_housekeeping: false,
        boot_id: None,
    }
}

fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[RUNS / 2])
}

/// Opens the store, reads its last record, and closes it; only the opening counts.
fn open(settings: &StoreSettings, dir: &Path, clean: bool) -> Result<Duration> {
    let begin = Instant::now();
    let store = settings.open(dir).promised("the store does not open")?;
    let time = begin.elapsed();
    if store.recovery().clean != clean {
        return violation(format!("{:?} instead of clean: {clean}", store.recovery()));
    }
    for number in 0..PARTITIONS {
        let partition = partition(number);
        let end = store.watermarks(&partition).promised("watermarks")?.end.value();
        let last = store.fetch(&partition, Offset::new(end - 1), 1).promised("the last record")?;
        if last.iter().map(RecordBatch::len).sum::<usize>() != 1 {
            return violation(format!("{partition} has no record at its end"));
        }
    }
    store.close().promised("the store does not close")?;
    Ok(time)
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(TOPIC).expect("a good name"), PartitionId::new(number))
}

fn fill(store: &LogStore, bytes: u64) -> std::result::Result<(), headwater_log_store::Error> {
    let value = vec![b'v'; VALUE_BYTES];
    let records = vec![Record::value(&value); BATCH_RECORDS];
    let batches = bytes.div_ceil((VALUE_BYTES * BATCH_RECORDS) as u64);
    for (number, _) in (0..PARTITIONS).cycle().zip(0..batches) {
        store.append_batch(&partition(number), &records)?;
    }
    Ok(())
}

fn fill_and_kill(settings: &StoreSettings, dir: &Path) -> Result {
    let mut arguments = vec![
        "filler".to_owned(),
        format!("--dir={}", dir.display()),
        format!("--bytes={BEFORE_KILL_BYTES}"),
    ];
    arguments.extend(settings.arguments());
    let mut command: Command = this_program(&arguments)?;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().to("start a filler")?;
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("it is a pipe");
    let mut byte = [0];
    while stdout.read(&mut byte).to("listen to a filler")? > 0 && byte != *b"\n" {
        said.push(char::from(byte[0]));
    }
    child.kill().to("kill a filler")?;
    child.wait().to("wait for a filler")?;
    if said == "filled" { Ok(()) } else { violation(format!("a filler says {said:?}")) }
}

/// Runs as the process that is killed.
pub(crate) fn fill_until_killed(args: &FillerArgs) {
    let said = match args.store.open(&args.dir) {
        Ok(store) => match fill(&store, args.bytes) {
            Ok(()) => {
                tell("filled");
                // It is killed before it can close the store; a parent that dies ends it too.
                let _ = io::stdin().read(&mut [0]);
                return;
            }
            Err(error) => chain(&error),
        },
        Err(error) => chain(&error),
    };
    tell(&said);
}

fn tell(text: &str) {
    let told = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    if told.is_err() {
        std::process::exit(1);
    }
}
