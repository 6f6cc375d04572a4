//! The machine stops after every call of the short workloads, and what is on the disk then comes
//! out in many ways; now and then it stops again while the store recovers.
//!
//! `HEADWATER_CASES=n` sets how many crash images there are at each call (64 is the deep size),
//! `HEADWATER_STEP=n` that each nth call is taken only, and `HEADWATER_SEED=n` what is chosen.

use fastrand::Rng;
use headwater_log_store::{CallEffect, CrashKind, Durability, Effect};

use crate::history::Rec;
use crate::subject::{Failure, Subject};
use crate::workloads::{ALL, Workload};

/// What the crashes have in common, to show that they tried something.
#[derive(Debug, Default)]
struct Tally {
    crash_points: u64,
    crash_images: u64,
    power_cuts: u64,
    second_crashes: u64,
    failed_calls: u64,
    torn_tails: usize,
    batches_replayed: usize,
    acknowledged: u64,
}

fn number(name: &str, quick: u64) -> u64 {
    std::env::var(name).map_or(quick, |n| n.parse().expect("a number"))
}

#[test]
fn a_crash_after_any_call_leaves_what_was_acknowledged() {
    let images = number("HEADWATER_CASES", if cfg!(debug_assertions) { 2 } else { 4 });
    let step = number("HEADWATER_STEP", if cfg!(debug_assertions) { 7 } else { 1 });
    let seed = number("HEADWATER_SEED", fastrand::u64(0..1 << 40));
    println!("HEADWATER_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    for workload in ALL {
        let mut call = 1 + rng.u64(0..step);
        // Until the workload is through before the call comes.
        while crash_at(workload, call, images, &mut rng, &mut tally) {
            call += step;
        }
    }
    println!("{tally:?}");
    assert!(tally.torn_tails > 0 && tally.acknowledged > 0, "{tally:?}");
    assert!(tally.second_crashes > 0 && tally.batches_replayed > 0, "{tally:?}");
    assert!(tally.failed_calls > 0 && tally.power_cuts > 0, "{tally:?}");
}

/// Runs a workload up to a call, and looks at what it leaves behind; false if it makes fewer.
fn crash_at(workload: &Workload, call: u64, images: u64, rng: &mut Rng, tally: &mut Tally) -> bool {
    let title = format!("{}, stops at call {call}", workload.name);
    let mut subject = Subject::new(workload.durability, title);
    (workload.before)(&mut subject);
    let before = subject.storage.calls();
    subject.may_fail = true;
    let error = Effect::Fails(std::io::ErrorKind::Other);
    // Before it stops, a call may have failed that the workload went on after.
    if call > 1 && rng.u8(0..4) == 0 {
        let at = before + rng.u64(1..call);
        let full = Effect::Fails(std::io::ErrorKind::StorageFull);
        let effect = if rng.bool() { error } else { full };
        subject.goes_on = true;
        subject.storage.set_effect(Some(CallEffect { at, from_then_on: false, effect }));
        let went_on = (workload.run)(&mut subject).is_ok();
        tally.failed_calls += subject.storage.befallen();
        if !went_on && subject.store.is_none() {
            return true;
        }
    } else {
        let at = before + call;
        let effect = CallEffect { at, from_then_on: true, effect: error };
        subject.storage.set_effect(Some(effect));
        if (workload.run)(&mut subject).is_ok() {
            return false;
        }
    }
    tally.crash_points += 1;
    let kept = !workload.name.contains("lost power, Os") || subject.store.is_some();
    for _ in 0..images {
        look_at_image(&subject, workload.durability, kept, rng, tally);
    }
    subject.abandon();
    true
}

fn look_at_image(
    stopped: &Subject,
    durability: Durability,
    kept: bool,
    rng: &mut Rng,
    tally: &mut Tally,
) {
    let mut image = Subject::new(durability, &stopped.title);
    image.clock = std::sync::Arc::clone(&stopped.clock);
    image.history = stopped.history.clone();
    image.story.clone_from(&stopped.story);
    let mut lossless = kept;
    let mut storage = stopped.storage.clone();
    loop {
        let kind = if rng.bool() { CrashKind::Kill } else { CrashKind::PowerCut };
        image.tell(format_args!("crash {kind:?}"));
        tally.crash_images += 1;
        tally.power_cuts += u64::from(kind == CrashKind::PowerCut);
        // A workload may have opened the store with another durability than it began with.
        lossless &= kind == CrashKind::Kill || stopped.durability == Durability::Sync;
        let after = storage.crash(kind, |n| rng.usize(0..n));
        if image.store.is_some() {
            image.abandon();
        }
        image.storage = after;
        if rng.u8(0..4) > 0 {
            break;
        }
        let at = rng.u64(1..150);
        let effect = Effect::Fails(std::io::ErrorKind::Other);
        image.storage.set_effect(Some(CallEffect { at, from_then_on: true, effect }));
        if let Err(Failure::Panicked) = image.open(stopped.durability) {
            image.fail("an open panicked");
        }
        image.tell(format_args!("stops at call {at} of the recovery"));
        storage = image.storage.clone();
        tally.second_crashes += 1;
    }
    image.open_and_settle(stopped.durability, lossless);
    let recovery = image.store().recovery();
    tally.torn_tails += recovery.torn.len();
    tally.batches_replayed += recovery.batches_applied;
    image.check_all();
    tally.acknowledged += image.history.count();
    let topics: Vec<String> = image.history.current().topics.keys().cloned().collect();
    for topic in topics {
        let rec = Rec { value: Some("after".to_owned()), ..Rec::default() };
        let appended = image.append(&topic, 0, &[rec]);
        image.assert(appended.is_ok_and(|done| done), || "no append after that".to_owned());
    }
    image.abandon();
}
