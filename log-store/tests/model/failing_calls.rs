//! Every call to the file system fails in turn, once or from then on, in each way that it can.
//!
//! Whatever fails: the error says what, nothing that was acknowledged is lost, what was published
//! can be read, and the store opens again and takes appends. `HEADWATER_CASES=n` sets how many
//! runs there are, `HEADWATER_SEED=n` which; `HEADWATER_CASES=all` is all of them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use headwater_log_store::{
    CallEffect, CrashKind, Effect, Error, Log, LogStore, Offset, RecordBatch,
};

use crate::history::Rec;
use crate::subject::{Failure, Stop, Subject, partition};
use crate::workloads::{ALL, SYNC, Workload};

/// How calls fail.
const EFFECTS: [Effect; 8] = [
    Effect::Fails(ErrorKind::Other),
    Effect::Fails(ErrorKind::StorageFull),
    Effect::Fails(ErrorKind::Interrupted),
    Effect::WritesShort,
    Effect::ReadsShort,
    Effect::FailsToSync,
    Effect::LiesAboutSync,
    Effect::Panics,
];
/// How many runs there are if nobody says.
const CASES: usize = if cfg!(debug_assertions) { 500 } else { 20_000 };

/// What the runs have in common, to show that they tried something.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    failed_calls: BTreeMap<Effect, u64>,
    errors: BTreeMap<&'static str, u64>,
    poisoned: u64,
    acknowledged: u64,
    went_on: u64,
}

impl Tally {
    fn add(&mut self, subject: &Subject) {
        self.acknowledged += subject.history.count();
        for failure in &subject.failures {
            let name = match failure {
                Failure::Panicked => "panic",
                Failure::Error(Error::Poisoned { .. }) => "poisoned",
                Failure::Error(Error::DiskFull { .. }) => "disk full",
                Failure::Error(_) => "failed call",
            };
            *self.errors.entry(name).or_default() += 1;
        }
    }
}

/// Keeps the panics that are injected out of the output.
fn silence_injected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with("injected at call") {
                usual(info);
            }
        }));
    });
}

/// How many calls a workload makes, and what they are.
fn calls(workload: &Workload) -> (u64, Vec<headwater_log_store::CallKind>) {
    let mut subject = Subject::new(workload.durability, workload.name);
    (workload.before)(&mut subject);
    let before = subject.storage.calls();
    assert!((workload.run)(&mut subject).is_ok(), "{}: nothing fails", workload.name);
    subject.check_all();
    (before, subject.storage.trace().split_off(before as usize))
}

#[test]
fn whatever_call_fails_nothing_acknowledged_is_lost_and_the_store_opens_again() {
    silence_injected_panics();
    let mut runs = Vec::new();
    for workload in ALL {
        let (before, trace) = calls(workload);
        for (at, kind) in (before + 1..).zip(trace) {
            for effect in EFFECTS.into_iter().filter(|effect| effect.is_for(kind)) {
                for from_then_on in [false, true] {
                    runs.push((workload, CallEffect { at, from_then_on, effect }));
                }
            }
        }
    }
    let chosen = match std::env::var("HEADWATER_CASES").as_deref() {
        Ok("all") => runs.len(),
        Ok(number) => number.parse().expect("a number, or all"),
        Err(_) => CASES,
    };
    let seed = fastrand::u64(0..1 << 40);
    let seed = std::env::var("HEADWATER_SEED").map_or(seed, |n| n.parse().expect("a number"));
    println!("HEADWATER_SEED={seed}: {chosen} of {} runs", runs.len());
    // By chance: each nth one would leave out whole kinds of them, since they come in a rhythm.
    fastrand::Rng::with_seed(seed).shuffle(&mut runs);
    let mut tally = Tally::default();
    for (workload, effect) in runs.into_iter().take(chosen) {
        run(workload, effect, &mut tally);
    }
    println!("{tally:?}");
    assert_eq!(tally.failed_calls.len(), EFFECTS.len(), "{tally:?}");
    assert!(tally.acknowledged > 0 && tally.poisoned > 0 && tally.went_on > 0, "{tally:?}");
}

fn run(workload: &Workload, effect: CallEffect, tally: &mut Tally) {
    let mut subject =
        Subject::new(workload.durability, format_args!("{}, {effect:?}", workload.name));
    (workload.before)(&mut subject);
    subject.may_fail = true;
    subject.goes_on = true;
    subject.may_read_short = effect.effect == Effect::ReadsShort;
    subject.storage.set_effect(Some(effect));
    let done = (workload.run)(&mut subject);
    tally.runs += 1;
    *tally.failed_calls.entry(effect.effect).or_default() += subject.storage.befallen();
    tally.poisoned += u64::from(done.is_err());
    tally.went_on += u64::from(done.is_ok());
    tally.add(&subject);
    let lies = effect.effect == Effect::LiesAboutSync;
    let cut = subject.storage.crash(CrashKind::PowerCut, choices(effect.at));
    let mut after_cut = Subject::new(workload.durability, &subject.title);
    after_cut.history = subject.history.clone();
    after_cut.story.clone_from(&subject.story);
    after_cut.storage = cut;
    subject.storage.set_effect(None);
    check_readable(&subject, false);
    restart(&mut subject, done, workload);
    if lies {
        survive_lies(&mut after_cut);
        return;
    }
    // Nothing that was acknowledged was on its way to the disk only.
    let lossless = survives_power_cuts(workload);
    after_cut.open_and_settle(workload.durability, lossless);
    after_cut.check_all();
    // What a process finds when it starts is not in the page cache only.
    subject.crash(CrashKind::PowerCut, choices(effect.at));
    subject.open_and_settle(SYNC, true);
    subject.check_all();
}

/// Whether all that a workload has acknowledged survives a power cut.
fn survives_power_cuts(workload: &Workload) -> bool {
    workload.durability == SYNC && !workload.name.starts_with("closed and opened")
}

/// The same choices for the same number.
fn choices(seed: u64) -> impl FnMut(usize) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    move |n| rng.usize(0..n)
}

/// The process ends, with a close that may not be possible, and starts again.
fn restart(subject: &mut Subject, done: Result<(), Stop>, workload: &Workload) {
    if subject.store.is_some() {
        let closed = subject.call(LogStore::close);
        subject.tell(format_args!("close: {closed:?}"));
        let fine = done.is_err() || !subject.failures.is_empty() || closed.is_ok();
        subject.assert(fine, || format!("the store does not close: {closed:?}"));
        subject.store = None;
    }
    let durability = workload.durability;
    let lossy = workload.name.contains("lost power, Os");
    subject.open_and_settle(durability, !lossy);
    subject.check_all();
    subject.may_fail = false;
    let topics: Vec<String> = subject.history.current().topics.keys().cloned().collect();
    for topic in topics {
        let rec = Rec { value: Some("after".to_owned()), ..Rec::default() };
        let appended = subject.append(&topic, 0, &[rec]);
        subject.assert(appended.is_ok_and(|done| done), || "no append after that".to_owned());
    }
    // For the checkpoint: what comes now is to be durable whatever the durability is.
    let closed = subject.reopen(durability);
    subject.assert(closed.is_ok(), || "no close after that".to_owned());
    subject.check_all();
}

/// Reads what was acknowledged, whether the store takes writes or not.
fn check_readable(subject: &Subject, may_be_damaged: bool) {
    let Some(store) = &subject.store else { return };
    for (name, (_, bounds)) in &subject.history.current().topics {
        for (number, b) in (0..).zip(bounds) {
            let tp = partition(name, number);
            let Ok(watermarks) = store.watermarks(&tp) else { continue };
            let mut from = watermarks.start.value().max(b.start);
            let end = if may_be_damaged { b.end.min(watermarks.end.value()) } else { b.end };
            while from < end {
                match store.fetch(&tp, Offset::new(from), 2_000) {
                    Err(error) if may_be_damaged => {
                        let named = matches!(error, Error::Corrupt { .. } | Error::Io { .. });
                        subject.assert(named, || format!("{tp} at {from}: {error}"));
                        break;
                    }
                    Err(error) => subject.fail(format_args!("{tp} at {from}: {error}")),
                    Ok(batches) => {
                        let records = subject.history.records(name, number);
                        let before = from;
                        for read in batches.iter().flat_map(RecordBatch::iter) {
                            let value = read.value.map(|v| String::from_utf8_lossy(v).into_owned());
                            let right = read.offset.value() == from
                                && records.get(from as usize).is_none_or(|r| r.rec.value == value);
                            subject.assert(right, || format!("{tp} at {from}: {read:?}"));
                            from += 1;
                        }
                        subject.assert(from > before, || format!("{tp} gives nothing at {from}"));
                    }
                }
            }
        }
    }
}

/// After a disk has lied, and lost power, the store has what it had or says that it has not.
fn survive_lies(subject: &mut Subject) {
    subject.store = None;
    let opened = catch_unwind(AssertUnwindSafe(|| subject.open(SYNC)));
    match opened {
        Ok(Ok(())) => check_readable(subject, true),
        Ok(Err(Failure::Error(error))) => {
            let named = matches!(
                error,
                Error::LostDurableData { .. }
                    | Error::Corrupt { .. }
                    | Error::CorruptFile { .. }
                    | Error::Io { .. }
            );
            subject.assert(named, || format!("{error}"));
        }
        Ok(Err(Failure::Panicked)) | Err(_) => subject.fail("the open panicked"),
    }
}

/// How full the disk is: bytes that are left.
const FREE_BYTES: [u64; 8] = [0, 100, 1_000, 5_000, 20_000, 66_000, 140_000, 300_000];

#[test]
fn a_full_disk_poisons_nothing_and_all_goes_on_when_there_is_space_again() {
    let (mut full, mut runs) = (0, 0);
    for workload in ALL {
        for free in FREE_BYTES {
            let title = format!("{}, {free} bytes free", workload.name);
            let mut subject = Subject::new(workload.durability, title);
            (workload.before)(&mut subject);
            if subject.store.is_none() {
                continue;
            }
            subject.may_fail = true;
            subject.goes_on = true;
            subject.storage.set_free_bytes(Some(free));
            let done = (workload.run)(&mut subject);
            for failure in &subject.failures {
                let is_full = matches!(failure, Failure::Error(Error::DiskFull { .. }));
                subject.assert(is_full, || format!("{failure:?} of a full disk"));
            }
            full += subject.failures.len();
            runs += 1;
            subject.storage.set_free_bytes(None);
            if subject.store.is_none() {
                subject.open_and_settle(workload.durability, true);
            } else {
                subject.assert(done.is_ok(), || "the store takes no writes".to_owned());
            }
            subject.may_fail = false;
            subject.check_all();
            let topics: Vec<String> = subject.history.current().topics.keys().cloned().collect();
            for topic in topics {
                let rec = Rec { value: Some("x".repeat(100)), ..Rec::default() };
                let appended = subject.append(&topic, 0, &[rec]);
                subject.assert(appended.is_ok_and(|done| done), || "no append".to_owned());
            }
            let reopened = subject.reopen(workload.durability);
            subject.assert(reopened.is_ok(), || "no close".to_owned());
            subject.check_all();
        }
    }
    println!("{runs} runs met a full disk {full} times");
    assert!(full > 0);
}
