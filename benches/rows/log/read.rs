//! Rows that read what is in memory already: a scan, and single records by offset.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use crate::contender::{Class, Contender, Kind, folder, rate};
use crate::floors::WRITE;
use crate::log::suite::{PEERS_READ, Plan, Suite, batch, size_name, value};
use crate::ours::OURS;

const BATCH_RECORDS: usize = 1000;

/// The floor of reads: the file of frames, by `read` and `pread`.
const READ: Kind = Kind { name: "read", ..WRITE };

/// Contenders by name, which are filled before the first round.
type Filled = RefCell<HashMap<&'static str, Box<dyn Contender>>>;

/// A scan and a point read, each with small and with larger records.
pub fn rows(suite: &mut Suite<'_>) {
    scan(suite, 100, (0.8, 1.5));
    scan(suite, 1 << 10, (0.9, 1.8));
    point_read(suite, 100, (0.5, 2.0));
    point_read(suite, 1 << 10, (0.5, 2.0));
}

fn scan(suite: &mut Suite<'_>, value_bytes: usize, goals: (f64, f64)) {
    let records = suite.size(100_000, 200_000_000 / (value_bytes + 10)) / BATCH_RECORDS;
    let records = records * BATCH_RECORDS;
    let filled = Filled::default();
    let folder = folder();
    let name = format!("scan, {}, checksums verified", size_name(value_bytes));
    suite.row(Plan::rate(name, goals.0, goals.1), &[READ], PEERS_READ, |kind| {
        let mut filled = filled.borrow_mut();
        let contender = filled.entry(kind.name).or_insert_with(|| {
            fill(kind, folder.path().join(kind.name), value_bytes, records, BATCH_RECORDS)
        });
        let started = Instant::now();
        assert_eq!(contender.scan(), records, "{}", kind.name);
        records as f64 / started.elapsed().as_secs_f64()
    });
}

fn point_read(suite: &mut Suite<'_>, value_bytes: usize, goals: (f64, f64)) {
    let records = suite.size(20_000, 100_000_000 / (value_bytes + 100));
    let filled = Filled::default();
    let folder = folder();
    let scale = suite.scale;
    let name = format!("point read by offset, {}", size_name(value_bytes));
    suite.row(Plan::rate(name, goals.0, goals.1), &[READ], PEERS_READ, |kind| {
        let mut filled = filled.borrow_mut();
        let contender = filled.entry(kind.name).or_insert_with(|| {
            // Where it makes a difference for reading, the records came one by one.
            let batch_records = if kind.name == OURS.name { 1 } else { BATCH_RECORDS };
            fill(kind, folder.path().join(kind.name), value_bytes, records, batch_records)
        });
        let mut random = fastrand::Rng::with_seed(7);
        rate(scale, usize::MAX, || {
            let offset = random.u64(..records as u64);
            assert_eq!(black_box(contender.read(offset)), value_bytes);
            1
        })
    });
}

fn fill(
    kind: &Kind,
    folder: PathBuf,
    value_bytes: usize,
    records: usize,
    batch_records: usize,
) -> Box<dyn Contender> {
    std::fs::create_dir(&folder).unwrap();
    let class = if cannot_be_d1(kind) { Class::D2 } else { Class::D1 };
    let mut contender = kind.open_one(&folder, class);
    let value = value(value_bytes);
    let mut left = records;
    while left > 0 {
        let batch = batch(&value, batch_records.min(left));
        contender.append_batch(&batch);
        left -= batch.len();
    }
    contender
}

/// How a store was filled is of no matter to its reads.
fn cannot_be_d1(kind: &Kind) -> bool {
    PEERS_READ.iter().any(|peer| peer.name == kind.name)
        && !crate::log::suite::PEERS_D1.iter().any(|peer| peer.name == kind.name)
}
