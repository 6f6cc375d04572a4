//! Random sequences of 200 operations, each checked against the model, with crashes in the middle
//! of operations and in the middle of recoveries.
//!
//! `HEADWATER_SEED=n` runs one sequence again; `HEADWATER_CASES=n` sets how many are run.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{CallFault, CrashKind, Durability};

use crate::history::{Rec, TopicSpec};
use crate::operations::Transaction;
use crate::subject::{Stop, Subject};

/// How many sequences are run if nobody says: what a build without optimization does in seconds.
const CASES: u64 = if cfg!(debug_assertions) { 120 } else { 500 };
const OPERATIONS: usize = 200;
const TOPICS: [&str; 3] = ["t0", "t1", "t2"];
const GROUPS: [&str; 2] = ["g0", "g1"];

/// What the sequences of a test have in common, to show that they tried something.
#[derive(Debug, Default)]
struct Tally {
    sequences: u64,
    operations: u64,
    acknowledged: u64,
    kills: u64,
    power_cuts: u64,
    second_crashes: u64,
    torn_tails: usize,
    batches_replayed: usize,
    segments_dropped: u64,
    records_compacted: u64,
}

#[test]
fn random_sequences_of_operations_leave_the_log_as_the_model_says() {
    let mut tally = Tally::default();
    if let Ok(seed) = std::env::var("HEADWATER_SEED") {
        Sequence::new(seed.parse().expect("a number"), &mut tally).run();
        return;
    }
    let cases = std::env::var("HEADWATER_CASES").map_or(CASES, |n| n.parse().expect("a number"));
    let first = fastrand::u64(0..1 << 40);
    println!("seeds {first} to {}", first + cases);
    for seed in first..first + cases {
        Sequence::new(seed, &mut tally).run();
    }
    println!("{tally:?}");
    assert!(tally.acknowledged > 0 && tally.torn_tails > 0, "{tally:?}");
    assert!(tally.batches_replayed > 0 && tally.segments_dropped > 0, "{tally:?}");
    assert!(tally.records_compacted > 0, "{tally:?}");
    assert!(tally.kills > 0 && tally.power_cuts > 0 && tally.second_crashes > 0, "{tally:?}");
}

struct Sequence<'a> {
    rng: Rng,
    subject: Subject,
    tally: &'a mut Tally,
    values: u64,
    /// Whether a crash is coming.
    doomed: bool,
}

fn durability(rng: &mut Rng) -> Durability {
    let all = [Durability::Sync, Durability::Interval(Duration::from_secs(1)), Durability::Os];
    all[rng.usize(0..3)]
}

impl<'a> Sequence<'a> {
    fn new(seed: u64, tally: &'a mut Tally) -> Self {
        let mut rng = Rng::with_seed(seed);
        let durability = durability(&mut rng);
        let subject = Subject::new(durability, format_args!("HEADWATER_SEED={seed}"));
        Self { rng, subject, tally, values: 0, doomed: false }
    }

    fn run(mut self) {
        self.tally.sequences += 1;
        self.subject.open_and_settle(self.subject.durability, true);
        for _ in 0..OPERATIONS {
            self.tally.operations += 1;
            if self.step().is_err() {
                self.crash();
            } else {
                self.check();
            }
        }
        self.subject.storage.set_fault(None);
        if self.subject.reopen(self.subject.durability).is_ok() {
            self.subject.check_all();
        }
        self.tally.acknowledged += self.subject.history.count();
    }

    /// One operation; it fails if the machine stops in it.
    fn step(&mut self) -> Result<(), Stop> {
        let topics: Vec<String> = self.subject.history.current().topics.keys().cloned().collect();
        let Some(topic) = (!topics.is_empty()).then(|| self.rng.choice(topics).unwrap()) else {
            return self.create();
        };
        let partitions = self.subject.history.spec(&topic).unwrap().partitions;
        let number = self.rng.u32(0..partitions);
        match self.rng.u32(0..100) {
            0..30 => {
                let recs = self.recs(&topic);
                self.subject.append(&topic, number, &recs)?;
            }
            30..36 => {
                let recs = self.recs(&topic);
                self.subject.send(&topic, number, &recs)?;
            }
            36..50 => self.transact()?,
            50..60 => self.fetch(&topic, number),
            60..66 => self.find_time(&topic, number),
            66..70 => {
                let end = self.subject.history.bounds(&topic, number).end;
                let before = self.rng.u64(0..=end);
                self.subject.delete_records(&topic, number, before)?;
            }
            70..76 => self.commit(&topic, number)?,
            76..80 => self.create()?,
            80..82 => {
                self.subject.delete_topic(&topic)?;
            }
            82..84 => self.retain()?,
            84..87 => {
                let compacted = self.subject.compact()?;
                self.tally.records_compacted += compacted;
            }
            87..90 => {
                let durability = durability(&mut self.rng);
                self.subject.reopen(durability)?;
            }
            90..92 if !self.doomed => self.subject.misuse(&topic, number),
            92..94 if !self.doomed => self.subject.check_beside(),
            94..96 => self.advance(),
            _ => self.doom(),
        }
        Ok(())
    }

    fn check(&mut self) {
        if self.doomed {
            // Reading would stop the machine too.
            self.subject.check_state();
            return;
        }
        if self.rng.u8(0..10) == 0 {
            self.subject.check_all();
        } else {
            self.subject.check_state();
        }
    }

    /// From some call on nothing works any more.
    fn doom(&mut self) {
        if self.doomed {
            return;
        }
        let at = self.subject.storage.calls() + self.rng.u64(1..40);
        self.subject.tell(format_args!("the machine stops at call {at}"));
        let kind = io::ErrorKind::Other;
        self.subject.storage.set_fault(Some(CallFault { at, from_then_on: true, kind }));
        self.subject.may_fail = true;
        self.doomed = true;
    }

    fn crash(&mut self) {
        let before = self.subject.durability;
        let mut lossless = true;
        let mut crash = |sequence: &mut Self| {
            let kind = if sequence.rng.bool() { CrashKind::Kill } else { CrashKind::PowerCut };
            match kind {
                CrashKind::Kill => sequence.tally.kills += 1,
                CrashKind::PowerCut => sequence.tally.power_cuts += 1,
            }
            lossless &= kind == CrashKind::Kill || before == Durability::Sync;
            let rng = &mut sequence.rng;
            sequence.subject.crash(kind, |n| rng.usize(0..n));
        };
        crash(self);
        // Now and then the machine stops again while the store is recovering.
        while self.rng.u8(0..3) == 0 {
            let at = self.rng.u64(1..120);
            let fault = CallFault { at, from_then_on: true, kind: io::ErrorKind::Other };
            self.subject.storage.set_fault(Some(fault));
            let opened = self.subject.open(before);
            self.subject.tell(format_args!("stopped at call {at}: {}", opened.is_err()));
            crash(self);
            self.tally.second_crashes += 1;
        }
        let after = durability(&mut self.rng);
        self.subject.open_and_settle(after, lossless);
        let recovery = self.subject.store().recovery();
        self.tally.torn_tails += recovery.torn.len();
        self.tally.batches_replayed += recovery.batches_applied;
        self.subject.may_fail = false;
        self.doomed = false;
        self.subject.check_all();
    }

    fn spec(&mut self) -> TopicSpec {
        let mut configs = BTreeMap::new();
        let mut set = |key: &str, value: u32| configs.insert(key.to_owned(), value.to_string());
        set("segment.bytes", self.rng.u32(1_024..6_000));
        set("index.interval.bytes", self.rng.u32(100..500));
        if self.rng.u8(0..3) == 0 {
            set("max.message.bytes", self.rng.u32(600..2_000));
        }
        if self.rng.bool() {
            set("retention.ms", self.rng.u32(1..100_000));
        }
        if self.rng.bool() {
            set("retention.bytes", self.rng.u32(0..10_000));
        }
        if self.rng.u8(0..3) == 0 {
            configs.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
        }
        match self.rng.u8(0..6) {
            0 => configs.insert("cleanup.policy".to_owned(), "compact".to_owned()),
            1 => configs.insert("cleanup.policy".to_owned(), "compact,delete".to_owned()),
            _ => None,
        };
        if configs.contains_key("cleanup.policy") {
            let ratio = ["0", "0.5"][self.rng.usize(0..2)];
            configs.insert("min.cleanable.dirty.ratio".to_owned(), ratio.to_owned());
            let keep = self.rng.u32(0..100_000).to_string();
            configs.insert("delete.retention.ms".to_owned(), keep);
        }
        TopicSpec { partitions: self.rng.u32(1..4), configs }
    }

    fn create(&mut self) -> Result<(), Stop> {
        let name = self.rng.choice(TOPICS).unwrap();
        if self.subject.history.topic(name).is_none() {
            let spec = self.spec();
            self.subject.create_topic(name, &spec)?;
        }
        Ok(())
    }

    fn rec(&mut self, topic: &str) -> Rec {
        self.values += 1;
        let rng = &mut self.rng;
        let bytes_max = self.subject.history.spec(topic).unwrap().number("max.message.bytes");
        let compacted = self.subject.history.spec(topic).unwrap().is_compacted();
        let longest = bytes_max.map_or(3_000, |bytes| bytes as usize - 200);
        let longest = if rng.u8(0..8) == 0 { longest } else { 60 };
        let value = format!("{}/{}", self.values, "x".repeat(rng.usize(0..longest)));
        let now = self.subject.now();
        Rec {
            key: (compacted || rng.bool()).then(|| format!("key {}", rng.u8(0..6))),
            value: (rng.u8(0..8) > 0).then_some(value),
            timestamp: rng.bool().then(|| now + rng.i64(-100_000..100_000)),
            header: (rng.u8(0..4) == 0).then(|| "header".to_owned()),
        }
    }

    fn recs(&mut self, topic: &str) -> Vec<Rec> {
        let count = if self.rng.bool() { 1 } else { self.rng.usize(2..8) };
        (0..count).map(|_| self.rec(topic)).collect()
    }

    fn transact(&mut self) -> Result<(), Stop> {
        let topics: Vec<_> = self.subject.history.current().topics.clone().into_iter().collect();
        let mut transaction =
            Transaction { abort: self.rng.u8(0..6) == 0, ..Transaction::default() };
        for _ in 0..self.rng.usize(0..6) {
            let (topic, (_, bounds)) = self.rng.choice(&topics).unwrap();
            let number = self.rng.u32(0..bounds.len() as u32);
            let rec = self.rec(topic);
            // A quarter of the journal at most.
            let len: usize = transaction
                .records
                .iter()
                .map(|(.., r)| r.value.as_ref().map_or(0, String::len))
                .sum();
            if len < 8_000 {
                transaction.records.push((topic.clone(), number, rec));
            }
        }
        for _ in 0..self.rng.usize(0..3) {
            let (topic, (_, bounds)) = self.rng.choice(&topics).unwrap();
            let number = self.rng.u32(0..bounds.len() as u32);
            let offset = self.rng.u64(0..=bounds[number as usize].end);
            let group = self.rng.choice(GROUPS).unwrap().to_owned();
            transaction.offsets.push((group, topic.clone(), number, offset));
        }
        self.subject.transact(&transaction).map(drop)
    }

    fn fetch(&mut self, topic: &str, number: u32) {
        if self.doomed {
            return;
        }
        let bounds = self.subject.history.bounds(topic, number);
        for _ in 0..3 {
            let from = self.rng.u64(bounds.start..=bounds.end);
            let bytes_max = self.rng.usize(1..3_000);
            let store = self.subject.store();
            self.subject.check_fetch(store, topic, number, from, bytes_max);
        }
    }

    fn find_time(&mut self, topic: &str, number: u32) {
        if self.doomed {
            return;
        }
        let records = self.subject.history.records(topic, number);
        let times: Vec<i64> = records.iter().map(|placed| placed.timestamp).collect();
        for _ in 0..3 {
            let near = self.rng.choice(&times).copied().unwrap_or_default();
            self.subject.check_time(topic, number, near + self.rng.i64(-2..3));
        }
    }

    fn commit(&mut self, topic: &str, number: u32) -> Result<(), Stop> {
        let end = self.subject.history.bounds(topic, number).end;
        let offset = (self.rng.u8(0..5) > 0).then(|| self.rng.u64(0..=end));
        let group = self.rng.choice(GROUPS).unwrap();
        self.subject.commit(group, &[(topic, number, offset)]).map(drop)
    }

    fn retain(&mut self) -> Result<(), Stop> {
        if self.rng.bool() {
            self.advance();
        }
        let starts = |subject: &Subject| -> u64 {
            let bounds = subject.history.current().topics.values().flat_map(|(_, bounds)| bounds);
            bounds.map(|b| b.start).sum()
        };
        let before = starts(&self.subject);
        self.subject.retain()?;
        self.tally.segments_dropped += u64::from(starts(&self.subject) > before);
        Ok(())
    }

    fn advance(&mut self) {
        let by = Duration::from_millis(self.rng.u64(1..50_000));
        self.subject.tell(format_args!("{by:?} pass"));
        self.subject.clock.advance(by);
    }
}
