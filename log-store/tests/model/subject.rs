//! A log on a simulated disk beside its model: opened, closed, crashed.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use headwater_log_store::{
    CallFault, Clock, CrashKind, Durability, Error, LogStore, ManualClock, PartitionId,
    SimulatedStorage, Storage, Timestamp, TopicName, TopicPartition,
};

use crate::history::{History, Snapshot};

/// When the manual clock begins.
pub const BEGIN_MS: i64 = 1_700_000_000_000;
pub const JOURNAL_BYTES: u64 = 64 << 10;

pub fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

/// Why a workload cannot go on: the store is gone, or takes no more writes.
#[derive(Debug)]
pub struct Stop;

/// How a call failed.
#[derive(Debug)]
pub enum Failure {
    Error(Error),
    Panicked,
}

/// A log with its model.
pub struct Subject {
    pub storage: SimulatedStorage,
    pub clock: Arc<ManualClock>,
    pub store: Option<LogStore>,
    pub durability: Durability,
    pub history: History,
    /// Whether a workload goes on after a call that failed, as long as the store takes writes.
    pub goes_on: bool,
    /// Whether calls may fail at all.
    pub may_fail: bool,
    /// Whether reads may end early.
    pub may_read_short: bool,
    /// What was done, in order.
    pub story: Vec<String>,
    /// How calls failed.
    pub failures: Vec<Failure>,
    pub title: String,
}

impl Subject {
    pub fn new(durability: Durability, title: impl Display) -> Self {
        Self {
            storage: SimulatedStorage::new(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS))),
            store: None,
            durability,
            history: History::new(),
            goes_on: false,
            may_fail: false,
            may_read_short: false,
            story: Vec::new(),
            failures: Vec::new(),
            title: title.to_string(),
        }
    }

    pub fn store(&self) -> &LogStore {
        self.store.as_ref().expect("the store is open")
    }

    pub fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    /// Ends the test with what was done.
    #[track_caller]
    pub fn fail(&self, what: impl Display) -> ! {
        let story = self.story.join("\n  ");
        panic!("{what}\n{}, {:?}\n  {story}", self.title, self.durability);
    }

    #[track_caller]
    pub fn assert(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what());
        }
    }

    pub fn tell(&mut self, line: impl Display) {
        self.story.push(line.to_string());
    }

    /// Calls the store, and catches a panic.
    pub fn call<T>(
        &self,
        operation: impl FnOnce(&LogStore) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        match catch_unwind(AssertUnwindSafe(|| operation(self.store()))) {
            Ok(result) => result.map_err(Failure::Error),
            Err(_) => Err(Failure::Panicked),
        }
    }

    /// Notes what became of a call that goes through `states`; true if it was acknowledged.
    pub fn finish<T>(
        &mut self,
        states: Vec<Snapshot>,
        result: Result<T, Failure>,
    ) -> Result<bool, Stop> {
        let failure = match result {
            Ok(_) => {
                self.history.acknowledge(states);
                return Ok(true);
            }
            Err(failure) => failure,
        };
        self.tell(format_args!("-> {failure:?}"));
        self.assert(self.may_fail, || "a call failed that had no reason to".to_owned());
        self.check_failure(&failure);
        self.history.doubt(states);
        // After a panic too, what is on its way may come to light at the next open only.
        let poisoned =
            matches!(failure, Failure::Error(Error::Poisoned { .. }) | Failure::Panicked);
        self.failures.push(failure);
        if poisoned || !self.goes_on {
            return Err(Stop);
        }
        // What is to be seen now is what counts: nothing is on its way any more.
        let observed = self.observe();
        if let Err(reason) = self.history.settle(&observed, true) {
            self.fail(reason);
        }
        Ok(false)
    }

    /// An error must be one of those that a caller can do something about.
    fn check_failure(&self, failure: &Failure) {
        let Failure::Error(error) = failure else { return };
        let known = match error {
            Error::Io { path, source, .. } => {
                (path.starts_with("store") || path.as_os_str() == ".")
                    && !source.to_string().is_empty()
            }
            Error::DiskFull { .. } | Error::Poisoned { .. } => true,
            // A file that ends too early is a damaged one.
            Error::Corrupt { .. } | Error::CorruptFile { .. } => self.may_read_short,
            _ => false,
        };
        self.assert(known, || format!("no error for a disk that fails: {error}"));
    }

    /// Opens the store that was there, or a new one.
    pub fn open(&mut self, durability: Durability) -> Result<(), Failure> {
        self.store = None;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            LogStore::builder("store")
                .storage(Arc::new(self.storage.clone()) as Arc<dyn Storage>)
                .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
                .durability(durability)
                .journal_bytes(JOURNAL_BYTES)
                .housekeeping(false)
                .create(true)
                .open()
        }));
        self.tell(format_args!("open {durability:?} at call {}", self.storage.calls()));
        let store = opened.map_err(|_| Failure::Panicked)?.map_err(Failure::Error)?;
        self.store = Some(store);
        self.durability = durability;
        Ok(())
    }

    /// Opens the store, which may fail, and finds out in which state it is.
    pub fn open_if_possible(&mut self, durability: Durability, lossless: bool) -> Result<(), Stop> {
        if let Err(failure) = self.open(durability) {
            self.tell(format_args!("-> {failure:?}"));
            self.assert(self.may_fail, || "the store does not open".to_owned());
            self.check_failure(&failure);
            self.failures.push(failure);
            return Err(Stop);
        }
        self.settle(lossless);
        Ok(())
    }

    /// Opens the store, which must succeed, and finds out in which state it is.
    #[track_caller]
    pub fn open_and_settle(&mut self, durability: Durability, lossless: bool) {
        if let Err(failure) = self.open(durability) {
            self.fail(format_args!("the store does not open: {failure:?}"));
        }
        self.settle(lossless);
    }

    /// Finds out in which state an opened store is.
    #[track_caller]
    pub fn settle(&mut self, lossless: bool) {
        let observed = self.observe();
        if let Err(reason) = self.history.settle(&observed, lossless) {
            self.fail(reason);
        }
        if !self.store().recovery().clean {
            self.note_recovery();
        }
        // An open ends with a checkpoint.
        self.history.begin_here();
    }

    /// What comes back after a crash counts as appended at the recovery.
    fn note_recovery(&mut self) {
        let now = self.now();
        let topics = self.history.current().topics.clone();
        for (name, (_, bounds)) in topics {
            for number in 0..bounds.len() as u32 {
                let segments = self.segments(&name, number);
                let active = segments.last().map_or(0, |(base, _)| *base);
                let records = self.history.records_mut(&name, number);
                for placed in records.iter_mut().skip(active as usize) {
                    placed.appended_at_latest = placed.appended_at_latest.max(now);
                }
            }
        }
    }

    /// The machine or the process stops. What was open can do nothing any more.
    pub fn crash(&mut self, kind: CrashKind, choose: impl FnMut(usize) -> usize) {
        self.tell(format_args!("crash {kind:?} at call {}", self.storage.calls()));
        let after = self.storage.crash(kind, choose);
        self.abandon();
        self.storage = after;
    }

    /// Drops what a process had open that is gone.
    pub fn abandon(&mut self) {
        let at = self.storage.calls() + 1;
        let kind = std::io::ErrorKind::Other;
        self.storage.set_fault(Some(CallFault { at, from_then_on: true, kind }));
        self.store = None;
    }
}
