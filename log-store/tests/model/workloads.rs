//! Short workloads that each go through one part of the log, for tests that try every call of them.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log_store::{CrashKind, Durability};

use crate::history::{Rec, TopicSpec};
use crate::operations::Transaction;
use crate::subject::{Stop, Subject};

/// A workload: what is there before it, and what it does.
#[derive(Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub durability: Durability,
    /// Done before any call fails; leaves the store open or not.
    pub before: fn(&mut Subject),
    pub run: fn(&mut Subject) -> Result<(), Stop>,
}

pub const SYNC: Durability = Durability::Sync;
pub const OS: Durability = Durability::Os;
pub const INTERVAL: Durability = Durability::Interval(Duration::from_secs(1));

const fn workload(
    name: &'static str,
    durability: Durability,
    before: fn(&mut Subject),
    run: fn(&mut Subject) -> Result<(), Stop>,
) -> Workload {
    Workload { name, durability, before, run }
}

pub const ALL: &[Workload] = &[
    workload("a new store", SYNC, nothing, open_and_append),
    workload("topics come and go", SYNC, an_open_store, topics),
    workload("topics come and go, Os", OS, an_open_store, topics),
    workload("appends", SYNC, two_topics, appends),
    workload("appends, Interval", INTERVAL, two_topics, appends),
    workload("appends, Os", OS, two_topics, appends),
    workload("rolls", SYNC, two_topics, rolls),
    workload("rolls, Interval", INTERVAL, two_topics, rolls),
    workload("rolls, Os", OS, two_topics, rolls),
    workload("many batches at once", SYNC, two_topics, many_batches),
    workload("many batches at once, Os", OS, two_topics, many_batches),
    workload("a journal that fills", SYNC, two_topics, fills_the_journal),
    workload("checkpoints by size, Os", OS, two_topics, fills_the_journal),
    workload("transactions", SYNC, two_topics, transactions),
    workload("transactions, Interval", INTERVAL, two_topics, transactions),
    workload("transactions, Os", OS, two_topics, transactions),
    workload("deleted records", SYNC, segments, deletes_records),
    workload("deleted records, Os", OS, segments, deletes_records),
    workload("retention", SYNC, segments, retention),
    workload("commits of groups", SYNC, two_topics, commits),
    workload("commits of groups, Interval", INTERVAL, two_topics, commits),
    workload("closed and opened", SYNC, two_topics, closed_and_opened),
    workload("closed and opened, Os", OS, two_topics, closed_and_opened),
    workload("recovery", SYNC, a_kill, recovery),
    workload("recovery, Interval", INTERVAL, a_kill, recovery),
    workload("recovery, Os", OS, a_kill, recovery),
    workload("recovery of lost power", SYNC, a_power_cut, recovery),
    workload("recovery of lost power, Os", OS, a_power_cut, recovery_with_losses),
];

fn rec(value: impl Into<String>) -> Rec {
    Rec { value: Some(value.into()), ..Rec::default() }
}

fn long(len: usize) -> Rec {
    rec("x".repeat(len))
}

fn spec(partitions: u32, configs: &[(&str, &str)]) -> TopicSpec {
    let small = [("segment.bytes", "1100"), ("index.interval.bytes", "200")];
    let configs: BTreeMap<_, _> = small.iter().chain(configs).copied().collect();
    let owned = configs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    TopicSpec { partitions, configs: owned.collect() }
}

/// What is done before must not fail.
fn sure(result: Result<impl Sized, Stop>) {
    assert!(result.is_ok(), "nothing fails yet");
}

fn nothing(_: &mut Subject) {}

fn an_open_store(subject: &mut Subject) {
    subject.open_and_settle(subject.durability, true);
}

fn two_topics(subject: &mut Subject) {
    an_open_store(subject);
    sure(subject.create_topic("t", &spec(2, &[("segment.bytes", "2000")])));
    sure(subject.create_topic("large", &spec(1, &[("segment.bytes", "1000000")])));
    sure(subject.append("t", 0, &[rec("first")]));
}

fn segments(subject: &mut Subject) {
    an_open_store(subject);
    sure(subject.create_topic("t", &spec(2, &[("retention.ms", "1000")])));
    for n in 0..4 {
        sure(subject.append("t", 0, &[long(600 + n)]));
        sure(subject.append("t", 1, &[rec("kept")]));
    }
}

fn a_kill(subject: &mut Subject) {
    stopped_in_the_middle(subject);
    subject.crash(CrashKind::Kill, |_| 0);
}

/// Half of what was not synced is there.
fn a_power_cut(subject: &mut Subject) {
    stopped_in_the_middle(subject);
    let mut turn = 0;
    subject.crash(CrashKind::PowerCut, |n| {
        turn += 1;
        if n == 5 { 2 } else { turn % n }
    });
}

/// Something for every kind of recovery: batches behind the recovery points, rolled segments, a
/// transaction, and removals that are not synced.
fn stopped_in_the_middle(subject: &mut Subject) {
    segments(subject);
    sure(subject.delete_records("t", 0, 2));
    sure(transactions(subject));
    sure(appends(subject));
    // Torn by hand: a write that the stop has interrupted.
    let at = subject.storage.calls() + 1;
    let kind = std::io::ErrorKind::Other;
    let fault = headwater_log_store::CallFault { at, from_then_on: true, kind };
    subject.may_fail = true;
    subject.storage.set_fault(Some(fault));
    assert!(subject.append("t", 1, &[long(50)]).is_err(), "the write fails");
    subject.failures.clear();
}

fn open_and_append(subject: &mut Subject) -> Result<(), Stop> {
    subject.open_if_possible(subject.durability, true)?;
    subject.create_topic("t", &spec(1, &[]))?;
    if subject.history.topic("t").is_some() {
        subject.append("t", 0, &[rec("a"), rec("b")])?;
    }
    subject.reopen(subject.durability)
}

fn topics(subject: &mut Subject) -> Result<(), Stop> {
    subject.create_topic("a", &spec(2, &[]))?;
    for _ in 0..2 {
        if subject.history.topic("b").is_none() {
            subject.create_topic("b", &spec(1, &[]))?;
        }
        if subject.history.topic("b").is_some() {
            subject.append("b", 0, &[rec("of this life")])?;
            let end = subject.history.bounds("b", 0).end;
            subject.commit("g", &[("b", 0, Some(end))])?;
            subject.delete_topic("b")?;
        }
    }
    if subject.history.topic("a").is_some() {
        subject.append("a", 1, &[rec("still there")])?;
    }
    Ok(())
}

fn appends(subject: &mut Subject) -> Result<(), Stop> {
    for n in 0..3 {
        subject.append("t", 0, &[rec(format!("one {n}"))])?;
        subject.append("t", 1, &[rec("of two"), rec("two of two")])?;
    }
    subject.send("t", 1, &[rec("sent"), rec("sent too")])?;
    Ok(())
}

fn rolls(subject: &mut Subject) -> Result<(), Stop> {
    for n in 0..6 {
        subject.append("t", n % 2, &[long(900), rec("behind")])?;
    }
    Ok(())
}

fn many_batches(subject: &mut Subject) -> Result<(), Stop> {
    subject.create_topic("small", &spec(1, &[("max.message.bytes", "300")]))?;
    if subject.history.topic("small").is_some() {
        for _ in 0..3 {
            let recs: Vec<_> = (0..6).map(|n| long(100 + n)).collect();
            subject.append("small", 0, &recs)?;
        }
    }
    Ok(())
}

fn fills_the_journal(subject: &mut Subject) -> Result<(), Stop> {
    for n in 0..12 {
        subject.append("large", 0, &[long(14_000)])?;
        subject.append("t", n % 2, &[rec("between")])?;
    }
    Ok(())
}

fn transactions(subject: &mut Subject) -> Result<(), Stop> {
    for n in 0..4 {
        let to = |number, rec| ("t".to_owned(), number, rec);
        let records = vec![to(0, long(500)), to(1, rec("b")), to(0, rec(format!("{n}")))];
        let end = subject.history.bounds("t", 0).end;
        let offsets = vec![("g".to_owned(), "t".to_owned(), 0, end)];
        subject.transact(&Transaction { records, offsets, abort: n == 1 })?;
        subject.append("t", 1, &[rec("between")])?;
    }
    Ok(())
}

fn deletes_records(subject: &mut Subject) -> Result<(), Stop> {
    for before in [1, 2, 4] {
        subject.delete_records("t", 0, before)?;
        subject.append("t", 0, &[long(600)])?;
    }
    Ok(())
}

fn retention(subject: &mut Subject) -> Result<(), Stop> {
    for _ in 0..2 {
        subject.clock.advance(Duration::from_millis(700));
        subject.retain()?;
        subject.append("t", 0, &[long(600)])?;
    }
    Ok(())
}

fn commits(subject: &mut Subject) -> Result<(), Stop> {
    subject.commit("g", &[("t", 0, Some(1)), ("t", 1, Some(0))])?;
    subject.commit("h", &[("t", 0, Some(0))])?;
    subject.commit("g", &[("t", 0, None)])?;
    subject.append("t", 0, &[rec("more")])?;
    let end = subject.history.bounds("t", 0).end;
    subject.commit("g", &[("t", 0, Some(end))])?;
    Ok(())
}

fn closed_and_opened(subject: &mut Subject) -> Result<(), Stop> {
    for durability in [OS, SYNC] {
        subject.append("t", 0, &[rec("before")])?;
        subject.reopen(durability)?;
        subject.append("t", 1, &[long(700), long(700)])?;
    }
    Ok(())
}

fn recovery(subject: &mut Subject) -> Result<(), Stop> {
    subject.open_if_possible(subject.durability, true)?;
    subject.append("t", 0, &[rec("after")])?;
    subject.reopen(subject.durability)
}

fn recovery_with_losses(subject: &mut Subject) -> Result<(), Stop> {
    subject.open_if_possible(subject.durability, false)?;
    subject.append("t", 0, &[rec("after")])?;
    subject.reopen(subject.durability)
}
