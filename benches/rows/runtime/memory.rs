//! The row of the memory that a million counts take: each side in a process of its own, whose
//! anonymous memory is looked at before and after.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use headwater_log_store::{Durability, Log, NewTopic};
use headwater_topology::{Streams, StreamsConfig};

use crate::contender::folder;
use crate::row::{Better, Goals, Row, Side};
use crate::runtime::plan::{self, Plan};
use crate::topology::input::key;
use crate::topology::ours::OUTPUT;

/// The first argument of a process that is one of the sides.
pub const CHILD: &str = "--memory-of";

const OURS: &str = "headwater";
const BARE: &str = "HashMap<String, i64>";

/// A store that was restored, against a table that was filled.
pub fn row(plan: &mut Plan<'_>) {
    let name = "memory of 1 M counts";
    if !plan.wants(name) {
        return;
    }
    let folder = folder();
    let keys = plan.scale.size(50_000, 1_000_000);
    prepare(folder.path(), keys);
    let side = |name: &'static str| {
        let path = folder.path();
        Side::new(name, move || {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args([CHILD, name]).arg(path).arg(keys.to_string());
            let answer = child.output().unwrap();
            assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
            String::from_utf8(answer.stdout).unwrap().trim().parse::<f64>().unwrap() / 1024.0
        })
    };
    (plan.report)(Row {
        name: name.to_owned(),
        unit: "MiB",
        better: Better::Lower,
        ours: side(OURS),
        floors: vec![side(BARE)],
        peers: Vec::new(),
        goals: Goals { floor: Some(2.0), ..Goals::default() },
    });
}

/// An application that has counted each key once.
fn prepare(folder: &Path, keys: u32) {
    let store = plan::open(folder, Durability::Os);
    for topic in ["in", OUTPUT] {
        store.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let value = 1_i64.to_be_bytes();
    let input = crate::ours::partition_of("in", 0);
    for first in (0..keys).step_by(1_000) {
        let keys: Vec<String> = (first..keys.min(first + 1_000)).map(key).collect();
        let record = |key| headwater_log_store::Record::value(&value).with_key(key);
        let batch: Vec<_> = keys.iter().map(|key| record(key.as_bytes())).collect();
        store.append_batch(&input, &batch).unwrap();
    }
    let log: Arc<dyn Log> = Arc::new(store.clone());
    crate::topology::ours::run_once(&plan::counts(), StreamsConfig::new("memory"), &log);
    store.close().unwrap();
}

/// What such a process does: it prints how many KiB one of the sides takes.
pub fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().unwrap_or_default();
    let (side, folder, keys) = (next(), next(), next().parse().unwrap());
    let kib = if side == OURS { ours(Path::new(&folder)) } else { bare(keys) };
    println!("{kib}");
    ExitCode::SUCCESS
}

fn ours(folder: &Path) -> u64 {
    let log: Arc<dyn Log> = Arc::new(plan::open(folder, Durability::Os));
    let before = anonymous_kib();
    let streams = Streams::new(&plan::counts(), StreamsConfig::new("memory"), log);
    streams.start().unwrap();
    let kib = anonymous_kib() - before;
    streams.close().unwrap();
    kib
}

fn bare(keys: u32) -> u64 {
    let before = anonymous_kib();
    let mut rows = HashMap::new();
    for number in 0..keys {
        rows.insert(key(number), 1_i64);
    }
    let kib = anonymous_kib() - before;
    assert_eq!(rows.get(&key(keys - 1)), Some(&1));
    kib
}

/// The memory of this process that no file stands behind.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
