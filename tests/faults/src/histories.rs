//! T12: what producers, consumers and copiers of killed processes did and saw is written down, and
//! the checker of histories looks for what must not be.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use fastrand::Rng;
use headwater_histories::{Action, History, Isolation, Line, Operation, Outcome, Report};
use headwater_log_store::{Log as _, LogStore};

use crate::child::this_program;
use crate::failure::{Context as _, Failure, Promise as _, Result, violation};
use crate::history_worker::{GROUP, HistoryWorkerArgs, INPUT, OUTPUT, name, partitions, value};
use crate::message::nanos;
use crate::place::{folder_in, memory, temporary};
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;

/// A worker is killed after so many lines at most; an operation is two.
const LINES_MAX: usize = 3_000;
/// The process that reads all of it at the end.
const LAST_READER: u32 = u32::MAX;

/// What histories are made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HistoriesArgs {
    /// How many.
    #[arg(long, default_value_t = 5)]
    count: u64,
    /// How many operations each has at least.
    #[arg(long, default_value_t = 10_000)]
    operations: usize,
}

/// Makes and checks histories.
pub(crate) fn run(args: &HistoriesArgs, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    for nth in 0..args.count {
        let seed = seed.wrapping_add(nth);
        let history = make(args.operations, seed, &mut tally)?;
        let report = history.check().to("check a history")?;
        judge(&history, &report, seed)?;
        count(&report, &mut tally);
    }
    for figure in ["transactions", "failed", "unknown", "read", "effects", "kills"] {
        if tally.get(figure) == 0 {
            return violation(format!("too gentle: {figure} 0 in {tally}"));
        }
    }
    Ok(tally)
}

/// Keeps a history that shows something forbidden, and says what.
fn judge(history: &History, report: &Report, seed: u64) -> Result {
    let Some(anomaly) = report.forbidden() else { return Ok(()) };
    let file = temporary().join(format!("headwater-history-{seed}.jsonl"));
    fs::write(&file, history.to_string()).to("keep the history")?;
    violation(format!("{anomaly:?} in {report}; the history is in {}", file.display()))
}

fn count(report: &Report, tally: &mut Tally) {
    tally.count("histories");
    for (name, figure) in [
        ("operations", report.operations),
        ("transactions", report.transactions),
        ("failed", report.failed),
        ("unknown", report.unknown),
        ("acknowledged", report.acknowledged),
        ("read", report.read),
        ("effects", report.effects),
        ("anomalies that are allowed", report.anomalies.len()),
    ] {
        tally.add(name, figure as u64);
    }
}

/// A store's history: its workers are killed one after the other.
fn make(operations: usize, seed: u64, tally: &mut Tally) -> Result<History> {
    let mut rng = Rng::with_seed(seed);
    let acknowledge = *rng.choice(&Acknowledge::ALL).expect("there are some");
    let mut store = StoreSettings::random(acknowledge, &mut rng);
    // A quarter of it holds what a copier polls at most.
    store.journal_bytes = store.journal_bytes.max(2 << 20);
    let folder = folder_in(&memory().unwrap_or_else(temporary), "histories")?;
    let dir = folder.path().join("store");
    let mut history = History::default();
    let mut life = 1;
    while history.lines.len() < operations {
        let worker = HistoryWorkerArgs { dir: dir.clone(), seed, life, store: store.clone() };
        let lines = live_and_die(&worker, rng.usize(1..LINES_MAX))?;
        take(&lines, &mut history)?;
        life += 1;
        tally.count("kills");
    }
    read_the_end(&store, &dir, &mut history)?;
    Ok(history)
}

/// What a worker says until it is killed, which happens when it has said enough.
fn live_and_die(args: &HistoryWorkerArgs, enough: usize) -> Result<Vec<String>> {
    let mut command = this_program(&args.arguments())?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut worker = Worker(command.spawn().to("start a worker")?);
    let stdout = worker.0.stdout.take().expect("it is a pipe");
    let mut from = BufReader::new(stdout);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let read = from.read_line(&mut line).to("listen to a worker")?;
        match line.strip_suffix('\n') {
            Some(whole) if whole.starts_with("failed ") => {
                return violation(format!("a worker that nobody disturbed {whole}"));
            }
            Some(whole) => lines.push(whole.to_owned()),
            // It is dead, and what it was about to say is cut off.
            None if read == 0 || lines.len() >= enough => return Ok(lines),
            None => return violation("a worker has ended by itself"),
        }
        if lines.len() == enough {
            worker.0.kill().to("kill a worker")?;
        }
    }
}

/// A worker that does not outlive its test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already, which is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Adds what a worker said; of an operation the last word counts.
fn take(lines: &[String], history: &mut History) -> Result {
    let mut operations: BTreeMap<u64, Operation> = BTreeMap::new();
    for line in lines {
        let parse = || -> Option<(u64, Operation)> {
            let (number, operation) = line.split_once(' ')?;
            Some((number.parse().ok()?, serde_json::from_str(operation).ok()?))
        };
        let Some((number, operation)) = parse() else {
            let why = line.clone();
            return Err(Failure::Setup { what: "understand a worker".to_owned(), why });
        };
        operations.insert(number, operation);
    }
    operations.into_values().for_each(|operation| history.push(operation));
    Ok(())
}

/// Opens the store once more, and reads all that there is.
fn read_the_end(store: &StoreSettings, dir: &Path, history: &mut History) -> Result {
    let begun = Instant::now();
    let log = store.open(dir).promised("open the store at the end")?;
    let start = nanos();
    let mut actions = Vec::new();
    for tp in [INPUT, OUTPUT].into_iter().flat_map(partitions) {
        let (records, end) = all_of(&log, &tp)?;
        actions.push(Action::Poll { partition: name(&tp), records, end: Some(end), whole: true });
    }
    history.push(Operation {
        process: LAST_READER,
        start,
        end: nanos(),
        outcome: Outcome::Ok,
        transaction: false,
        isolation: Isolation::ReadCommitted,
        actions,
    });
    let committed = log.group_offsets(GROUP).promised("ask for the copiers' offsets")?;
    for tp in partitions(INPUT) {
        let offset = committed.get(&tp).map_or(0, |committed| committed.offset.value());
        history.lines.push(Line::Committed { partition: name(&tp), offset });
    }
    log.close().promised("close the store")?;
    let after_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    history.lines.push(Line::Settled { after_ms });
    Ok(())
}

/// The offsets and values of a partition, and where it ends.
fn all_of(
    log: &LogStore,
    tp: &headwater_log_store::TopicPartition,
) -> Result<(Vec<(u64, u64)>, u64)> {
    let marks = log.watermarks(tp).promised("ask where a partition ends")?;
    let (mut records, mut at) = (Vec::new(), marks.start);
    while at < marks.end {
        let batches = log.fetch(tp, at, 1 << 20).promised("read a partition")?;
        let next = batches.iter().filter_map(headwater_log_store::RecordBatch::next_offset).max();
        let Some(next) = next else { return violation(format!("{tp} ends before its end")) };
        let records_of = batches.iter().flat_map(headwater_log_store::RecordBatch::iter);
        records.extend(records_of.map(|record| (record.offset.value(), value(record.value))));
        at = next;
    }
    Ok((records, marks.end.value()))
}
