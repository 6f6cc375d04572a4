//! T5 on the program that users run: `headwater produce` is killed, and what is left of its lines is
//! a beginning of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::inspect::Severity;
use headwater_log_store::{
    Log as _, LogStore, NewTopic, Offset, PartitionId, RecordBatch, TopicName, TopicPartition,
};

use crate::failure::{Context as _, Failure, Promise as _, Result, violation};
use crate::message::Recovered;
use crate::place::{folder_in, memory, temporary};
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;
use crate::verify::inspect_store;

const TOPIC: &str = "lines";
/// How often one store's producers are killed.
const KILLS_PER_STORE: u64 = 25;
/// So many are long enough for some producers to come to their end.
const KILLS_OF_LONG_RUN: u64 = 500;
/// The most lines of a producer.
const LINES_MAX: u64 = 400;
/// A producer that takes longer than this hangs.
const PRODUCE_MAX: Duration = Duration::from_secs(60);

/// The program `headwater`, if it was built beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().to("find its own program")?;
    let headwater = own.with_file_name("headwater");
    match headwater.is_file() {
        true => Ok(headwater),
        false => Err(Failure::Skipped(format!("{} was not built", headwater.display()))),
    }
}

/// Kills producers that many times.
pub(crate) fn run(kills: u64, seed: u64) -> Result<Tally> {
    let program = program()?;
    let mut tally = Tally::default();
    let mut store: u64 = 0;
    while tally.get("kills") < kills {
        let base = memory().filter(|_| !store.is_multiple_of(8)).unwrap_or_else(temporary);
        let folder = folder_in(&base, "cli")?;
        let mut rng = Rng::with_seed(seed.wrapping_add(store));
        let mut lines = Vec::new();
        create(folder.path(), &mut rng)?;
        for _ in 0..KILLS_PER_STORE.min(kills - tally.get("kills")) {
            let round = Round { program: &program, dir: folder.path(), sessions: lines.len() };
            round.run(&mut rng, &mut lines, &mut tally).inspect_err(|_| {
                eprintln!("the store's seed is {}", seed.wrapping_add(store));
            })?;
        }
        store += 1;
    }
    // On a busy machine each of a few may be killed before its end.
    let is_ended = kills < KILLS_OF_LONG_RUN || tally.get("produced to the end") > 0;
    if tally.get("lines there") == 0 || !is_ended {
        return violation(format!("too gentle: {tally}"));
    }
    Ok(tally)
}

fn create(dir: &Path, rng: &mut Rng) -> Result {
    let settings = settings();
    let store = settings.open(dir).promised("a store cannot be created")?;
    let segment_bytes = (20_000 << rng.u32(0..6)).to_string();
    let topic = NewTopic::new(TOPIC).config("segment.bytes", segment_bytes);
    store.create_topic(&topic).promised("a topic cannot be created")?;
    store.close().promised("a store does not close")
}

fn settings() -> StoreSettings {
    StoreSettings {
        acknowledge: Acknowledge::Sync,
        journal_bytes: 1 << 20,
        segment_bytes: 0,
        positioned: false,
        no_housekeeping: true,
        boot_id: None,
    }
}

/// A session of `headwater produce`: which of its lines were sent.
#[derive(Clone, Copy, Debug)]
struct Session {
    seed: u64,
    /// How many of its lines must be there; after a kill that is what was found first.
    lines: u64,
}

struct Round<'a> {
    program: &'a Path,
    dir: &'a Path,
    sessions: usize,
}

impl Round<'_> {
    fn run(&self, rng: &mut Rng, sessions: &mut Vec<Session>, tally: &mut Tally) -> Result {
        let seed = rng.u64(0..1 << 40);
        let lines = rng.u64(1..LINES_MAX);
        let mut child = self.start()?;
        let stdin = child.stdin.take().expect("it is a pipe");
        let feeder = std::thread::spawn(move || feed(stdin, seed, lines));
        let killed = rng.u8(0..6) > 0;
        let produced =
            self.end(child, killed.then(|| Duration::from_micros(rng.u64(0..12_000))))?;
        feeder.join().map_err(|_| Failure::Setup {
            what: "feed a producer".to_owned(),
            why: "the thread has panicked".to_owned(),
        })?;
        match produced {
            Some(count) if count != lines => {
                return violation(format!("{count} lines were produced out of {lines}"));
            }
            Some(_) => tally.count("produced to the end"),
            None => tally.count("kills"),
        }
        inspect_store(&settings(), self.dir, Severity::Copy)?;
        let store = LogStore::open(self.dir).promised("a killed store does not open")?;
        Recovered::from(&store.recovery()).count(tally);
        let found = self.compare(&store, sessions, Session { seed, lines })?;
        if produced.is_some() && found != lines {
            return violation(format!("{lines} lines were acknowledged, and {found} are there"));
        }
        tally.add("lines there", found);
        sessions.push(Session { seed, lines: found });
        store.close().promised("a store does not close")?;
        inspect_store(&settings(), self.dir, Severity::Cache)
    }

    fn start(&self) -> Result<Child> {
        Command::new(self.program)
            .args(["produce", TOPIC, "--dir"])
            .arg(self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .to("start headwater produce")
    }

    /// Kills the producer after a while, or lets it come to its end: then it says how many lines
    /// were acknowledged.
    fn end(&self, mut child: Child, kill_after: Option<Duration>) -> Result<Option<u64>> {
        let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let (sender, said) = channel();
        let reader = std::thread::spawn(move || {
            let text: Vec<_> = stderr.lines().map_while(|line| line.ok()).collect();
            // Nobody listens any more after a kill.
            drop(sender.send(text.join("\n")));
        });
        let waited = said.recv_timeout(kill_after.unwrap_or(PRODUCE_MAX));
        let hangs = waited.is_err() && kill_after.is_none();
        child.kill().to("kill a producer")?;
        let status = child.wait().to("wait for a producer")?;
        drop(reader);
        if hangs {
            return violation("headwater produce hangs");
        }
        let Ok(text) = waited else { return Ok(None) };
        let count = text.strip_prefix("produced ").and_then(|rest| rest.split(' ').next());
        match (status.code(), count.and_then(|count| count.parse().ok())) {
            (Some(0), Some(count)) => Ok(Some(count)),
            (None, _) => Ok(None),
            (code, _) => violation(format!("headwater produce ended with {code:?}: {text}")),
        }
    }

    /// Compares all lines with those of all sessions, and returns how many of the last are there.
    fn compare(&self, store: &LogStore, sessions: &[Session], last: Session) -> Result<u64> {
        let topic = TopicName::new(TOPIC).expect("a good name");
        let partition = TopicPartition::new(topic, PartitionId::new(0));
        let batches = store.fetch(&partition, Offset::ZERO, usize::MAX);
        let batches = batches.promised("the lines cannot be read")?;
        let mut records = batches.iter().flat_map(RecordBatch::iter);
        let mut line_of = |session: &Session, number: u64| {
            let found = records.next()?.value.map(<[u8]>::to_vec);
            Some(found == Some(line(session.seed, number)))
        };
        for session in sessions {
            for number in 0..session.lines {
                if line_of(session, number) != Some(true) {
                    return violation(format!("line {number} of {session:?} is not what it was"));
                }
            }
        }
        for number in 0..last.lines {
            match line_of(&last, number) {
                None => return Ok(number),
                Some(true) => {}
                Some(false) => return violation(format!("line {number} of {last:?} is another")),
            }
        }
        match records.next() {
            None => Ok(last.lines),
            Some(record) => violation(format!(
                "there is more than was produced in {} sessions, from {} on",
                self.sessions + 1,
                record.offset
            )),
        }
    }
}

/// Writes lines until the reader is gone.
fn feed(mut stdin: ChildStdin, seed: u64, lines: u64) {
    for number in 0..lines {
        let mut line = line(seed, number);
        line.push(b'\n');
        if stdin.write_all(&line).is_err() {
            return;
        }
    }
}

fn line(seed: u64, number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let longest = if rng.u8(0..20) == 0 { 200_000 } else { 6_000 };
    let padding = rng.usize(0..longest);
    let mut line = format!("{seed} {number} ").into_bytes();
    line.extend(std::iter::repeat_with(|| rng.alphanumeric()).take(padding).map(|c| c as u8));
    line
}
