//! T13: running topologies are stopped at random moments for longer than any commit takes, and go
//! on as if nothing had been; meanwhile others are refused, and readers see whole results only.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use headwater_log_store::{Error, LogStore};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::child::{Writer, this_program};
use crate::failure::{Context as _, Promise as _, Result, violation};
use crate::kill_topology::{RunnerArgs, verify};
use crate::message::Message;
use crate::place::{folder_in, memory, temporary};
use crate::tally::Tally;
use crate::views;

/// How often one runner is stopped before it is killed.
const STOPS_PER_RUNNER: u64 = 5;
/// How many runners one store has.
const RUNNERS_PER_STORE: u64 = 4;
/// One in so many stores lies on a disk.
const STORES_PER_DISK_STORE: u64 = 4;

/// Stops runners that many times.
pub(crate) fn run(stops: u64, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut number = 0;
    while tally.get("stops") < stops {
        let seed = seed.wrapping_add(number);
        let mut rng = Rng::with_seed(seed);
        let on_disk = number.is_multiple_of(STORES_PER_DISK_STORE);
        let base = memory().filter(|_| !on_disk).unwrap_or_else(temporary);
        let folder = folder_in(&base, "stop-topology")?;
        let mut args = RunnerArgs::new(folder.path(), number, rng.bool());
        for round in 0..RUNNERS_PER_STORE {
            args.for_round(seed, round);
            let left = stops.saturating_sub(tally.get("stops")).min(STOPS_PER_RUNNER);
            let checked = stop_often(&args, left, &mut rng, &mut tally)
                .and_then(|()| verify(&args, &mut tally));
            if let Err(failure) = checked {
                eprintln!("store {} of {args:?}", folder.keep().display());
                return Err(failure);
            }
            if tally.get("stops") >= stops {
                break;
            }
        }
        number += 1;
    }
    for figure in ["records", "refused openers", "stops with work under way"] {
        if tally.get(figure) == 0 {
            return violation(format!("too gentle: {figure} 0 in {tally}"));
        }
    }
    Ok(tally)
}

/// Stops one runner again and again, looks at it while it stands still, and kills it in the end.
fn stop_often(args: &RunnerArgs, stops: u64, rng: &mut Rng, tally: &mut Tally) -> Result {
    let mut runner = Writer::start(this_program(&args.arguments())?)?;
    runner.listen(Duration::from_secs(60), |message| matches!(message, Message::Opened(_)))?;
    for _ in 0..stops {
        if !runner.listen(Duration::from_micros(rng.u64(0..100_000)), |_| false)? {
            break;
        }
        let began = Instant::now();
        let pid = stop(&runner)?;
        let looked_at = look(&args.log(), &runner.id().to_string(), tally);
        // Many commit intervals; some are as long as a sleeping laptop's, to the application.
        let max_ms = if rng.u8(0..8) == 0 { 3_000 } else { 300 };
        let long = Duration::from_millis(rng.u64(50..max_ms));
        runner.listen(long.saturating_sub(began.elapsed()), |_| false)?;
        kill_process(pid, Signal::CONT).to("let a runner go on")?;
        looked_at?;
        tally.count("stops");
        tally.max("longest stop in ms", u64::try_from(began.elapsed().as_millis()).unwrap_or(0));
    }
    runner.listen(Duration::from_micros(rng.u64(0..100_000)), |_| false)?;
    runner.kill()?.check_no_crash()
}

/// Stops it with all its threads.
fn stop(runner: &Writer) -> Result<Pid> {
    let raw = i32::try_from(runner.id()).to("name a process")?;
    let Some(pid) = Pid::from_raw(raw) else { return violation("a process has no id") };
    kill_process(pid, Signal::STOP).to("stop a runner")?;
    // It stays a child to be waited for, whatever it has done.
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), options).to("wait for a stop")?;
    if status.is_some_and(|status| status.stopped()) {
        Ok(pid)
    } else {
        violation(format!("a runner has ended by itself: {status:?}"))
    }
}

/// Nobody else can take the store of a process that stands still, and what others see of it is the
/// beginning of what has to come out, and stays as it is.
fn look(log: &Path, holder_id: &str, tally: &mut Tally) -> Result {
    match LogStore::open(log) {
        Err(Error::Locked { holder, .. }) if holder.contains(holder_id) => {
            tally.count("refused openers");
        }
        other => return violation(format!("process {holder_id} has it open, and here: {other:?}")),
    }
    let reader = LogStore::open_read_only(log).promised("a reader beside a stopped process")?;
    let (due, seen) = views::check_so_far(&reader)?;
    tally.add("records seen of stopped processes", seen);
    if seen < due {
        tally.count("stops with work under way");
    }
    if views::check_so_far(&reader)? != (due, seen) {
        return violation("a process that stands still has written");
    }
    Ok(())
}
