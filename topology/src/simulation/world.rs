//! A machine with an application on it: its disk, its clock, its workers, and all that befalls them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{
    CallFault, Clock, CrashKind, Durability, Log, LogStore, ManualClock, NewTopic, Producer,
    ProducerConfig, ProducerRecord, SimulatedStorage, Storage, Timestamp,
};

use crate::backing::StateDirectory;
use crate::config::StreamsConfig;
use crate::error::Result;
use crate::graph::plan::Topology;
use crate::runtime::application::Application;
use crate::runtime::assignment::WorkerId;
use crate::runtime::crew::{Command, Crew, Line};
use crate::runtime::status::{Shared, StreamsState};
use crate::runtime::turns::Turns;
use crate::simulation::smoke;
use crate::simulation::state_directory::SimulatedDirectory;
use crate::types::StoreType;

/// What has befallen the runs of a test, to show that they tried something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) records: u64,
    pub(crate) turns: u64,
    pub(crate) crashes: u64,
    pub(crate) power_cuts: u64,
    pub(crate) failed_calls: u64,
    pub(crate) deaths_of_threads: u64,
    pub(crate) moves: u64,
    pub(crate) aborts: u64,
    pub(crate) dead_letters: u64,
    pub(crate) cuts_of_stores: u64,
    pub(crate) restored: u64,
}

/// The application as a process runs it.
struct Process {
    log: Arc<dyn Log>,
    producer: Box<dyn Producer>,
    crew: Arc<Crew>,
    workers: BTreeMap<WorkerId, (Turns, Receiver<Command>)>,
}

/// See the module.
pub(crate) struct World {
    rng: Rng,
    storage: SimulatedStorage,
    clock: Arc<ManualClock>,
    topology: Topology,
    config: StreamsConfig,
    process: Option<Process>,
    /// Where the stores are, if they are on disk.
    directory: Option<SimulatedDirectory>,
    durability: Durability,
    partitions: u32,
    event_ms: i64,
    pub(crate) tally: Tally,
}

impl World {
    /// A machine without an application.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        let config = StreamsConfig::new("sim")
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .commit_interval(Duration::from_millis(rng.u64(0..200)))
            .emit_interval(Duration::ZERO)
            .set("poll.ms", "0")
            .and_then(|config| config.set("max.poll.records", &rng.u32(1..60).to_string()))
            .and_then(|config| {
                config.set("buffered.records.per.partition", &rng.u32(1..60).to_string())
            })
            .expect("these are settings");
        // Half of the applications have their stores on disk, and half of those a log that may
        // lose its end as well.
        let is_on_disk = seed % 2 == 1;
        let store_type = if is_on_disk { StoreType::Persistent } else { StoreType::InMemory };
        Self {
            storage: SimulatedStorage::new(),
            clock,
            topology: smoke::topology(store_type),
            config: smoke::config(config).persistent_store_memory_bytes(200),
            process: None,
            directory: is_on_disk.then(SimulatedDirectory::default),
            durability: if seed % 4 == 3 { Durability::Os } else { Durability::Sync },
            partitions: rng.u32(1..4),
            event_ms: 0,
            tally: Tally { seeds: 1, ..Tally::default() },
            rng,
        }
    }

    /// Starts the application on what the disk holds. It may fail, as long as a call is to fail.
    fn start(&mut self) -> Result<()> {
        let failed = |error| crate::error::Error::log("the start of the log")(error);
        let store = LogStore::builder("store")
            .storage(Arc::new(self.storage.clone()) as Arc<dyn Storage>)
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .durability(self.durability)
            .journal_bytes(64 << 10)
            .housekeeping(false)
            .create(true)
            .open()
            .map_err(failed)?;
        let log: Arc<dyn Log> = Arc::new(store);
        for topic in smoke::topics() {
            if log.describe_topic(topic).is_err() {
                let new = NewTopic::new(topic).partitions(self.partitions);
                log.create_topic(&new.config("segment.bytes", "8192")).map_err(failed)?;
            }
        }
        let producer = log.producer(&ProducerConfig::default()).map_err(failed)?;
        let mut config = self.config.clone();
        config.state_directory =
            self.directory.clone().map(|directory| Arc::new(directory) as Arc<dyn StateDirectory>);
        let application = Application::open(&self.topology.graph, config, &log)?;
        let shared = Arc::new(Shared::new());
        shared.set_state(StreamsState::Rebalancing);
        let crew = Arc::new(Crew::new(application, shared, None)?);
        self.process = Some(Process { log, producer, crew, workers: BTreeMap::new() });
        for _ in 0..self.rng.u32(1..4) {
            self.add_worker()?;
        }
        Ok(())
    }

    fn add_worker(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let id = process.crew.next_id();
        process.crew.members.join([id]);
        let (commands, inbox) = channel();
        process.crew.add_line(id, Line { commands, waker: None });
        let turns = Turns::begin(&process.crew, id)?;
        process.workers.insert(id, (turns, inbox));
        Ok(())
    }

    /// One random event. An error has stopped the process.
    fn step(&mut self) -> Result<()> {
        match self.rng.u32(0..100) {
            0..60 => self.turn(),
            60..85 => self.produce(),
            85..90 => {
                let by = if self.rng.u8(0..8) == 0 { 100_000 } else { 120 };
                self.clock.advance(Duration::from_millis(self.rng.u64(0..by)));
                Ok(())
            }
            90..93 => {
                if self.workers() < 5 {
                    self.tally.moves += 1;
                    self.add_worker()
                } else {
                    Ok(())
                }
            }
            93..95 => self.dismiss(),
            95..97 => self.lose_thread(),
            97 => {
                // Some call soon fails, once or for good.
                let at = self.storage.calls() + self.rng.u64(1..40);
                let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull];
                let kind = kinds[self.rng.usize(0..2)];
                let from_then_on = self.rng.bool();
                self.storage.set_fault(Some(CallFault { at, from_then_on, kind }));
                Ok(())
            }
            _ => {
                self.crash();
                Ok(())
            }
        }
    }

    fn workers(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.workers.len())
    }

    /// The turn of a random worker.
    fn turn(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let chosen = self.rng.usize(0..process.workers.len().max(1));
        let Some(id) = process.workers.keys().nth(chosen).copied() else { return Ok(()) };
        self.turn_of(id)
    }

    fn turn_of(&mut self, id: WorkerId) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some((turns, inbox)) = process.workers.get_mut(&id) else { return Ok(()) };
        self.tally.turns += 1;
        if turns.turn(inbox)? {
            return Ok(());
        }
        if let Some((turns, _)) = process.workers.remove(&id) {
            turns.end()?;
        }
        process.crew.ended(id);
        Ok(())
    }

    /// Asks the youngest worker to end.
    fn dismiss(&mut self) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        if let Some(id) = process.crew.members.dismiss() {
            self.tally.moves += 1;
            let lines = process.crew.lines();
            lines.iter().filter(|(worker, _)| *worker == id).for_each(|(_, line)| {
                line.tell(Command::Close);
            });
        }
        Ok(())
    }

    /// A thread ends in the middle of its work, and another one takes its place, or none does.
    fn lose_thread(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let chosen = self.rng.usize(0..process.workers.len().max(1));
        let Some(id) = process.workers.keys().nth(chosen).copied() else { return Ok(()) };
        self.tally.deaths_of_threads += 1;
        let Some((turns, inbox)) = process.workers.remove(&id) else { return Ok(()) };
        drop(turns);
        process.crew.shared.retire(id);
        if process.workers.is_empty() || self.rng.bool() {
            process.crew.members.drop_tasks(id);
            process.crew.rouse();
            let turns = Turns::begin(&process.crew, id)?;
            process.workers.insert(id, (turns, inbox));
        } else {
            process.crew.ended(id);
        }
        Ok(())
    }

    /// Some records, most of them in the order of their times. What is not acknowledged may be
    /// there or not: the log decides.
    fn produce(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        for _ in 0..self.rng.u32(1..20) {
            self.event_ms += self.rng.i64(0..8);
            let late_ms = if self.rng.u8(0..10) == 0 { self.rng.i64(0..90) } else { 0 };
            let key = [b'a' + self.rng.u8(0..6)];
            let value = match self.rng.u32(0..60) {
                0 => -self.rng.i64(1..1_000),
                _ => self.rng.i64(0..1_000),
            };
            let bytes = value.to_be_bytes();
            let side = (value >= 0).then(|| self.rng.usize(0..6)).filter(|side| *side < 2);
            let topic = side.map_or(smoke::IN, |side| smoke::SIDES[side]);
            let is_short = side.is_none() && self.rng.u8(0..60) == 0;
            let value = if is_short { &bytes[5..] } else { &bytes[..] };
            let sent = process.producer.send(&ProducerRecord {
                key: Some(&key),
                value: Some(value),
                timestamp: Some(Timestamp::from_millis((self.event_ms - late_ms).max(0))),
                ..ProducerRecord::to(topic)
            });
            sent.map_err(crate::error::Error::log("a send"))?;
            self.tally.records += 1;
        }
        process.producer.flush().map_err(crate::error::Error::log("a flush"))
    }

    /// The process is gone: killed, or the machine has lost its power.
    fn crash(&mut self) {
        let power = self.rng.bool();
        self.tally.crashes += 1;
        self.tally.power_cuts += u64::from(power);
        let kind = if power { CrashKind::PowerCut } else { CrashKind::Kill };
        let after = self.storage.crash(kind, |n| self.rng.usize(0..n));
        self.abandon();
        self.storage = after;
        if let Some(directory) = self.directory.as_mut().filter(|_| power) {
            *directory = directory.crash(|writes| self.rng.usize(0..=writes));
            self.tally.cuts_of_stores += 1;
        }
    }

    /// Drops what a process had that is gone: it can do nothing any more, not even close.
    fn abandon(&mut self) {
        if let Some(process) = self.process.take() {
            let aborts = process.crew.shared.metrics();
            self.tally.aborts += aborts.aborts;
            self.tally.restored += aborts.records_restored;
            self.tally.failed_calls += self.storage.befallen();
            let at = self.storage.calls() + 1;
            let kind = io::ErrorKind::Other;
            self.storage.set_fault(Some(CallFault { at, from_then_on: true, kind }));
        }
    }

    /// Runs a number of random events, each time the process stops it is started again.
    pub(crate) fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            let went_on = match self.process {
                None => self.start(),
                Some(_) => self.step(),
            };
            if went_on.is_err() {
                // What has failed is over when the disk is read again.
                let after = self.storage.crash(CrashKind::Kill, |n| self.rng.usize(0..n));
                self.abandon();
                self.storage = after;
            }
        }
    }

    /// Lets all be done without further trouble, and says what is wrong with the results; and
    /// once more after a restart on what the changelogs hold.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        for round in ["at the end", "after a restart"] {
            self.crash_gently();
            self.start().unwrap_or_else(|error| panic!("{round}: no start: {error}"));
            self.settle().unwrap_or_else(|error| panic!("{round}: {error}"));
            let log = Arc::clone(&self.process.as_ref().expect("it runs").log);
            let wrong = smoke::differences(log.as_ref());
            if !wrong.is_empty() {
                return wrong.into_iter().map(|wrong| format!("{round}, {wrong}")).collect();
            }
            self.tally.dead_letters = smoke::read(log.as_ref(), smoke::DEAD).len() as u64;
            // So that the restored stores have something to do.
            self.produce().unwrap_or_else(|error| panic!("{round}: {error}"));
        }
        Vec::new()
    }

    fn crash_gently(&mut self) {
        let after = self.storage.crash(CrashKind::Kill, |n| self.rng.usize(0..n));
        self.abandon();
        self.storage = after;
    }

    /// Turns until every worker has said twice that nothing lies ahead, and has done nothing
    /// between: as the handle of an application waits.
    fn settle(&mut self) -> Result<()> {
        let mut before = None;
        for _ in 0..1_000 {
            let now = self.idle_workers()?;
            let Some(process) = &self.process else { break };
            if process.crew.members.is_settled() && before.as_ref() == Some(&now) {
                return Ok(());
            }
            before = Some(now);
        }
        panic!("it does not come to an end: {:?}", self.process.as_ref().map(|p| &p.crew))
    }

    /// Turns until every worker has said that nothing lies ahead, with what it has done so far.
    fn idle_workers(&mut self) -> Result<Vec<u64>> {
        let lines = self.process.iter().flat_map(|process| process.crew.lines());
        let asked: Vec<Receiver<u64>> = lines
            .map(|(_, line)| {
                let (answer, when) = channel();
                line.tell(Command::WhenIdle(answer));
                when
            })
            .collect();
        let mut answers = BTreeMap::new();
        for _ in 0..100_000 {
            let ids: Vec<WorkerId> =
                self.process.iter().flat_map(|process| process.workers.keys().copied()).collect();
            for id in ids {
                self.turn_of(id)?;
            }
            for (number, when) in asked.iter().enumerate() {
                match when.try_recv() {
                    Ok(answer) => drop(answers.insert(number, Some(answer))),
                    // It has ended.
                    Err(TryRecvError::Disconnected) => drop(answers.entry(number).or_default()),
                    Err(TryRecvError::Empty) => {}
                }
            }
            if answers.len() == asked.len() {
                return Ok(answers.into_values().flatten().collect());
            }
        }
        panic!("a worker is never idle: {:?}", self.process.as_ref().map(|p| &p.crew))
    }

    /// A number that two runs of one seed have to share.
    pub(crate) fn trace(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(process) = &self.process {
            for topic in smoke::topics() {
                let lines = smoke::read(process.log.as_ref(), topic);
                format!("{lines:?}").hash(&mut hasher);
            }
        }
        (self.storage.calls(), self.tally.turns).hash(&mut hasher);
        hasher.finish()
    }
}
