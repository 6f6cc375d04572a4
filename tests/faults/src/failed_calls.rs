//! T4: every kind of system call fails under a real writer, once, for good, or as the last thing that
//! it does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use crate::child::{Ended, Writer, this_program};
use crate::disk::tool;
use crate::failure::{Context as _, Failure, Result, violation};
use crate::message::Message;
use crate::model::{Loss, Model};
use crate::place::{folder_in, memory, temporary};
use crate::plan::Plan;
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;
use crate::verify::verify;
use crate::writer::WriterArgs;

/// Which calls fail, and how.
const CALLS: [(&str, &[&str]); 15] = [
    ("write", &["EIO", "ENOSPC"]),
    ("pwrite64", &["EIO", "ENOSPC"]),
    ("pwritev", &["EIO", "ENOSPC", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
    ("fallocate", &["ENOSPC", "EIO", "EOPNOTSUPP"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("unlink", &["EIO", "EACCES"]),
    ("mkdir", &["EIO", "ENOSPC"]),
    ("openat", &["EMFILE", "EIO", "ENOSPC", "EACCES"]),
    ("mmap", &["ENOMEM"]),
    ("read", &["EIO", "EINTR"]),
    ("pread64", &["EIO", "EINTR"]),
    ("fadvise64", &["EIO"]),
];
/// How many units the writer writes: about a thousand calls.
const UNITS: u32 = 100;
/// The calls from this one on are made by the loader before the program begins.
const LOADER_CALLS: usize = 9;
/// The most calls of one kind that an opening makes.
const OPENING_CALLS: u64 = 12;

/// The figure of runs.
const FAILED_CALLS: &str = "failed calls";

/// A call that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    /// A number in [`CALLS`].
    call: usize,
    /// Which call of its kind, counted from 1 in each thread.
    nth: u64,
}

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// That call fails.
    Once,
    /// That call and all later ones of its kind fail.
    ForGood,
    /// That call fails, and the process is killed.
    FailAndKill,
    /// The process is killed at that call.
    Kill,
}

/// Lets that many calls fail, each in a run of its own.
pub(crate) fn run(points: u64, seed: u64) -> Result<Tally> {
    tool("strace", &["-V".as_ref()])?;
    let mut tally = Tally::default();
    let rng = &mut Rng::with_seed(seed);
    let runs: Vec<_> = [(Acknowledge::Sync, true), (Acknowledge::Os, false)]
        .into_iter()
        .chain([(Acknowledge::Interval, true), (Acknowledge::Os, true)])
        .map(|(acknowledge, positioned)| Run::new(acknowledge, positioned, seed))
        .collect::<Result<_>>()?;
    tally.add("calls", runs.iter().map(|run| run.points.len() as u64).sum());
    while tally.get(FAILED_CALLS) < points {
        let run = &runs[rng.usize(0..runs.len())];
        // All kinds of calls alike, though there are few of some.
        let call = rng.usize(0..CALLS.len());
        let of_call: Vec<_> = run.points.iter().filter(|point| point.call == call).collect();
        let Some(point) = rng.choice(of_call) else { continue };
        let error = CALLS[call].1[rng.usize(0..CALLS[call].1.len())];
        let mode = match rng.u8(0..4) {
            0 => Mode::FailAndKill,
            1 => Mode::Kill,
            // Writes go to the pipe as well, by which the writer tells what it has done; and what
            // is interrupted for ever is tried for ever.
            2 if CALLS[call].0 != "write" && error != "EINTR" => Mode::ForGood,
            _ => Mode::Once,
        };
        run.fail(*point, mode, error, rng, &mut tally).inspect_err(|_| {
            eprintln!("{} number {}: {error}, {mode:?}", CALLS[call].0, point.nth);
            eprintln!("{:?}", run.settings);
        })?;
    }
    if points >= 500 && (tally.get("poisoned") == 0 || tally.get("disk full") == 0) {
        return violation(format!("too gentle: {tally}"));
    }
    Ok(tally)
}

/// A run of the writer without a failure, and the calls that it has made.
struct Run {
    settings: StoreSettings,
    seed: u64,
    points: Vec<Point>,
}

impl Run {
    fn new(acknowledge: Acknowledge, positioned: bool, seed: u64) -> Result<Self> {
        let settings = StoreSettings {
            acknowledge,
            journal_bytes: 64 << 10,
            segment_bytes: 16 << 10,
            positioned,
            // So that its calls come in the same order each time.
            no_housekeeping: true,
            boot_id: None,
        };
        let folder = folder_in(&place(), "calls")?;
        let (dir, trace) = (folder.path().join("store"), folder.path().join("trace"));
        let mut run = Self { settings, seed, points: Vec::new() };
        let names: Vec<_> = CALLS.iter().map(|(name, _)| *name).collect();
        let options = ["-y".to_owned(), format!("--trace={}", names.join(","))];
        let ended = run.traced(&dir, &trace, &options, vec![0], UNITS)?;
        if !ended.messages.contains(&Message::Closed) {
            return Err(Failure::Skipped(format!("strace ended with {:?}", ended.status)));
        }
        let text = std::fs::read_to_string(&trace).to("read a trace")?;
        run.points = points(&text, &dir);
        match run.points.len() {
            0 => Err(Failure::Skipped("strace shows no calls here".to_owned())),
            _ => Ok(run),
        }
    }

    /// Runs a writer under strace.
    fn traced(
        &self,
        dir: &Path,
        trace: &Path,
        options: &[String],
        from: Vec<u32>,
        units: u32,
    ) -> Result<Ended> {
        let (dir, store) = (dir.to_owned(), self.settings.clone());
        let args = WriterArgs { dir, seed: self.seed, from, units, store };
        let program = this_program(&args.arguments())?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(trace).args(options);
        strace.arg(program.get_program()).args(program.get_args());
        Writer::start(strace)?.wait()
    }

    fn fail(
        &self,
        point: Point,
        mode: Mode,
        error: &str,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result {
        let folder = folder_in(&place(), "calls")?;
        let dir = folder.path().join("store");
        let mut model = Model::new(Plan::new(self.seed, self.settings.journal_bytes), 1);
        let inject = injection(point, mode, error);
        let nowhere = Path::new("/dev/null");
        let ended = self.traced(&dir, nowhere, &inject, model.from(), UNITS)?;
        // Who gets no memory may abort, and what there is must be right all the same.
        if error != "ENOMEM" {
            ended.check_no_crash()?;
        }
        count(&ended, mode, tally);
        model.absorb(&ended.messages, tally)?;
        if rng.u8(0..3) == 0 {
            // The next opening meets a failure too.
            let call = rng.usize(0..LOADER_CALLS);
            let point = Point { call, nth: rng.u64(1..OPENING_CALLS) };
            let error = CALLS[call].1[rng.usize(0..CALLS[call].1.len())];
            let mode = if rng.bool() { Mode::Once } else { Mode::FailAndKill };
            let inject = injection(point, mode, error);
            let ended = self.traced(&dir, nowhere, &inject, model.from(), 0)?;
            ended.check_no_crash()?;
            tally.count("failures while opening");
        }
        verify(&self.settings, &dir, Loss::None, &mut model, tally)
    }
}

/// In memory, where a sync costs nothing.
fn place() -> PathBuf {
    memory().unwrap_or_else(temporary)
}

fn count(ended: &Ended, mode: Mode, tally: &mut Tally) {
    tally.count(FAILED_CALLS);
    match mode {
        Mode::Once | Mode::ForGood => {}
        Mode::FailAndKill | Mode::Kill => tally.count("with a kill"),
    }
    let failed = |message: &&Message| matches!(message, Message::Failed { .. });
    for message in ended.messages.iter().filter(failed) {
        let Message::Failed { poisoned, .. } = message else { continue };
        tally.count(if *poisoned { "poisoned" } else { "errors that poison nothing" });
    }
    if ended.messages.contains(&Message::Full) {
        tally.count("disk full");
    }
    if !ended.messages.iter().any(|message| failed(&message) || *message == Message::Full) {
        tally.count("unnoticed by the writer, or its end");
    }
}

fn injection(point: Point, mode: Mode, error: &str) -> [String; 2] {
    let (call, nth) = (CALLS[point.call].0, point.nth);
    let what = match mode {
        Mode::Once => format!("error={error}:when={nth}"),
        Mode::ForGood => format!("error={error}:when={nth}+"),
        Mode::FailAndKill => format!("error={error}:signal=SIGKILL:when={nth}"),
        Mode::Kill => format!("signal=SIGKILL:when={nth}"),
    };
    [format!("--trace={call}"), format!("--inject={call}:{what}")]
}

/// The calls of a trace that concern the store, with their numbers in their threads.
fn points(trace: &str, dir: &Path) -> Vec<Point> {
    let dir = dir.to_string_lossy();
    let mut counts: HashMap<(&str, usize), u64> = HashMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        // A line `<... call resumed>` is the second half of a call that was counted.
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        let Some(call) = CALLS.iter().position(|(known, _)| *known == name) else { continue };
        let count = counts.entry((thread, call)).or_default();
        *count += 1;
        let point = Point { call, nth: *count };
        if line.contains(&*dir) && !points.contains(&point) {
            points.push(point);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::{CALLS, Mode, Point, injection, points};
    use std::path::Path;

    fn call(name: &str) -> usize {
        CALLS.iter().position(|(known, _)| *known == name).unwrap()
    }

    #[test]
    fn calls_are_counted_by_thread_and_kept_if_they_concern_the_store() {
        let trace = "7 read(3</lib/libc.so>, 8) = 8\n\
                     7 read(4</d/store/x>, 8) = 8\n\
                     8  read(4</d/store/x>, <unfinished ...>\n\
                     8  <... read resumed>) = 8\n\
                     7 fsync(4</d/store>) = 0\n\
                     7 getpid() = 7\n";
        let read = |nth| Point { call: call("read"), nth };
        let fsync = Point { call: call("fsync"), nth: 1 };
        assert_eq!(points(trace, Path::new("/d/store")), [read(2), read(1), fsync]);
    }

    #[test]
    fn an_injection_names_the_call_and_its_number() {
        let point = Point { call: call("fdatasync"), nth: 5 };
        let [trace, inject] = injection(point, Mode::FailAndKill, "EIO");
        assert_eq!(trace, "--trace=fdatasync");
        assert_eq!(inject, "--inject=fdatasync:error=EIO:signal=SIGKILL:when=5");
        assert!(injection(point, Mode::ForGood, "EIO")[1].ends_with("when=5+"));
    }
}
