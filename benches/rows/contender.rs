//! What is measured, behind one trait: ours, the floors and the peers all run the same loops.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_log_store::Record;

use crate::Scale;

const PROBE_SYNCS: u64 = 20;
const PROBE_TIME_MAX: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(3);

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The end of the process: it is with the operating system.
    D1,
    /// A power cut: it is synced.
    D2,
}

/// Keeps records. Every failure is a panic: a benchmark that fails has no figures. Who is in no row
/// that reads need not be able to.
pub trait Contender: Send {
    /// Appends one record, and returns when it is acknowledged.
    fn append(&mut self, record: &Record<'_>);

    /// Appends records together, and returns when they are acknowledged.
    fn append_batch(&mut self, records: &[Record<'_>]);

    /// Reads all records in their order, checks their checksums where there are any, and counts
    /// them.
    fn scan(&mut self) -> usize {
        panic!("it is in no row that scans")
    }

    /// Reads the record with that number, and returns the length of its value.
    fn read(&mut self, offset: u64) -> usize {
        panic!("it is in no row that reads offset {offset}")
    }
}

/// How many partitions are opened, and by how many at once: the handle at index `n` writes to the
/// partition `n % partitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handles {
    pub count: usize,
    pub partitions: usize,
}

impl Handles {
    /// One handle to one partition.
    pub const ONE: Self = Self { count: 1, partitions: 1 };

    /// Whether a partition has several handles.
    pub fn are_shared(self) -> bool {
        self.count > self.partitions
    }
}

/// A kind of contender: how it is opened, new or again, in a folder of its own.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub open: fn(&Path, Class, Handles) -> Vec<Box<dyn Contender>>,
}

impl Kind {
    /// Opens it for one writer.
    pub fn open_one(&self, folder: &Path, class: Class) -> Box<dyn Contender> {
        (self.open)(folder, class, Handles::ONE).pop().expect("one handle was asked for")
    }
}

/// As many handles to each partition as are asked for, of contenders that take one caller at a time.
pub fn share<C: Contender + 'static>(
    open: impl FnMut(usize) -> C,
    handles: Handles,
) -> Vec<Box<dyn Contender>> {
    let logs = (0..handles.partitions).map(open);
    if !handles.are_shared() {
        return logs.map(|log| Box::new(log) as Box<dyn Contender>).collect();
    }
    let logs: Vec<_> = logs.map(|log| Arc::new(Mutex::new(log))).collect();
    let handle = |n: usize| Box::new(Arc::clone(&logs[n % logs.len()])) as Box<dyn Contender>;
    (0..handles.count).map(handle).collect()
}

impl<C: Contender> Contender for Arc<Mutex<C>> {
    fn append(&mut self, record: &Record<'_>) {
        self.lock().unwrap().append(record);
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        self.lock().unwrap().append_batch(records);
    }
}

/// A folder on the disk that the benchmark was built on; it removes itself.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Waits, but not for ever, until the disk syncs as fast as it can. Many disks, above all those of
/// virtual machines, take a burst of syncs and then only a few each second: a row that is measured
/// then would only show that.
pub fn let_disk_rest(folder: &Path) {
    let file = std::fs::File::create(folder.join("probe")).unwrap();
    let started = Instant::now();
    loop {
        let probe = Instant::now();
        for position in 0..PROBE_SYNCS {
            file.write_all_at(b"probe", position).unwrap();
            file.sync_data().unwrap();
        }
        let is_fast = probe.elapsed() < PROBE_TIME_MAX;
        if is_fast || started.elapsed() > REST_MAX {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// Does something again and again for a while, or until it has done `units_max`, and returns how many
/// units a second it did.
pub fn rate(scale: Scale, units_max: usize, mut each: impl FnMut() -> usize) -> f64 {
    let limit = Duration::from_millis(match scale {
        Scale::Quick => 20,
        Scale::Full => 300,
    });
    let (mut units, mut stride) = (0, 1);
    let started = Instant::now();
    loop {
        for _ in 0..stride {
            units += each();
        }
        let elapsed = started.elapsed();
        if elapsed >= limit || units >= units_max {
            return units as f64 / elapsed.as_secs_f64();
        }
        // So that looking at the clock is no part of what is measured.
        if elapsed < limit / 64 {
            stride *= 2;
        }
    }
}
