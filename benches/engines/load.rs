//! The load: rows of 16 B keys and 100 B values, each operation a get and a put of a key, and a commit
//! after every so many.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use headwater_log_store::{LeaderEpoch, Offset};
use headwater_topology::engines::{Backing, Changes, Covered, StoreOn};
use headwater_topology::{BoxError, TaskId};
use rustix::time::{ClockId, clock_gettime};

use crate::changelog::Changelog;
use crate::engine::Engine;

const VALUE_BYTES: usize = 100;
/// What the cache of the store takes, as by default.
const MEMORY_BYTES: usize = 32 << 20;
const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub keys: u64,
    pub operations: u64,
    pub per_commit: u64,
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Zipfian,
    Uniform,
}

/// What does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The key-value store of the topology, on an engine.
    Ours(Engine),
    /// The engine by itself: a get each, and a batch for a commit.
    Bare(Engine),
    /// An index in memory, and the values in the changelog.
    Changelog,
    /// Nothing on disk.
    HashMap,
}

/// What a run has taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub cpu: Duration,
    pub wall: Duration,
    pub disk_bytes: u64,
}

/// What the load asks for.
pub trait Rows {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError>;
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError>;
    fn commit(&mut self, covered: Covered) -> Result<(), BoxError>;
}

struct Bare {
    rows: Box<dyn Backing>,
    changes: Changes,
}

impl Rows for Bare {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        self.rows.get(key)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError> {
        self.changes.push(&key, Some(&[&value]));
        Ok(())
    }

    fn commit(&mut self, covered: Covered) -> Result<(), BoxError> {
        let written = self.rows.write(&mut self.changes, covered);
        self.changes.clear();
        written
    }
}

impl Rows for StoreOn {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(Self::get(self, &key.to_vec()))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError> {
        Self::put(self, &key, value);
        Ok(())
    }

    fn commit(&mut self, covered: Covered) -> Result<(), BoxError> {
        Self::commit(self, covered)
    }
}

impl Rows for HashMap<Vec<u8>, Vec<u8>> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(Self::get(self, key).cloned())
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError> {
        self.insert(key, value);
        Ok(())
    }

    fn commit(&mut self, _: Covered) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Fills a store, and then measures the load. The store is gone afterwards.
pub fn run(side: Side, keys: Keys, size: Size, dir: &Path) -> Result<Taken, BoxError> {
    let mut rows: Box<dyn Rows> = match side {
        Side::Ours(engine) => {
            Box::new(StoreOn::new(engine.open(dir)?.store(TASK, "rows")?, MEMORY_BYTES))
        }
        Side::Bare(engine) => Box::new(Bare {
            rows: engine.open(dir)?.store(TASK, "rows")?,
            changes: Changes::default(),
        }),
        Side::Changelog => Box::new(Changelog::create(dir)?),
        Side::HashMap => Box::new(HashMap::new()),
    };
    let mut rng = Rng::with_seed(1);
    let mut offset = 0;
    let mut covered = || {
        offset += 1;
        Covered { offset: Offset::new(offset), epoch: LeaderEpoch::new(0), state: 0 }
    };
    let value = |rng: &mut Rng| {
        let mut value = vec![0; VALUE_BYTES];
        rng.fill(&mut value);
        value
    };
    for number in 0..size.keys {
        rows.put(key(number), value(&mut rng))?;
        if (number + 1) % size.per_commit == 0 {
            rows.commit(covered())?;
        }
    }
    rows.commit(covered())?;
    let zipf = Zipf::new(size.keys);
    let begin = (Instant::now(), cpu(), disk_bytes());
    for number in 0..size.operations {
        let chosen = match keys {
            Keys::Uniform => rng.u64(0..size.keys),
            // Scattered, so that keys that are asked for often are no neighbours.
            Keys::Zipfian => zipf.next(&mut rng).wrapping_mul(0x9E37_79B9_7F4A_7C15) % size.keys,
        };
        let key = key(chosen);
        if rows.get(&key)?.is_none() {
            return Err("a row is missing".into());
        }
        rows.put(key, value(&mut rng))?;
        if (number + 1) % size.per_commit == 0 {
            rows.commit(covered())?;
        }
    }
    rows.commit(covered())?;
    // What its threads still have to do is part of the work.
    drop(rows);
    Ok(Taken {
        cpu: cpu().saturating_sub(begin.1),
        wall: begin.0.elapsed(),
        disk_bytes: disk_bytes().saturating_sub(begin.2),
    })
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:016x}").into_bytes()
}

/// The CPU time of all threads of the process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What the process has caused to be written to disks.
fn disk_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Ranks with the frequencies of Zipf's law with an exponent of 0.99, as in YCSB: after Gray and
/// others, "Quickly generating billion-record synthetic databases".
struct Zipf {
    keys: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(keys: u64) -> Self {
        let zeta = |keys: u64| (1..=keys).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let (all, two) = (zeta(keys), zeta(2));
        let n = keys as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - two / all);
        Self { keys: n, zeta: all, alpha: 1.0 / (1.0 - THETA), eta }
    }

    fn next(&self, rng: &mut Rng) -> u64 {
        let uniform = rng.f64();
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        (self.keys * (self.eta * uniform - self.eta + 1.0).powf(self.alpha)) as u64
    }
}
