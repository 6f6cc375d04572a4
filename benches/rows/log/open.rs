//! Rows that open a large store: after a close, and after its process was killed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::contender::{Class, Contender, Handles, Kind, folder, let_disk_rest};
use crate::log::suite::{PEERS_READ, Suite, batch, value};
use crate::ours::{OURS, open_store};
use crate::row::{Better, Goals, Row, Side};

const VALUE_BYTES: usize = 1 << 10;
const BATCH_RECORDS: usize = 1000;

/// Openings of 1 GiB.
pub fn rows(suite: &mut Suite<'_>) {
    let bytes = suite.size(32 << 20, 1 << 30);
    let size = suite.size(32, 1024);
    after_close(suite, bytes, size);
    after_kill(suite, bytes, size);
}

fn after_close(suite: &mut Suite<'_>, bytes: usize, mib: usize) {
    let name = format!("open {mib} MiB after a close");
    if !suite.wants(&name) {
        return;
    }
    let folder = folder();
    let filled = RefCell::new(HashMap::new());
    let open = |kind: &Kind| {
        let (kind, path) = (*kind, folder.path().join(kind.name));
        let (filled, folder) = (&filled, folder.path());
        Side::new(kind.name, move || {
            filled.borrow_mut().entry(kind.name).or_insert_with(|| {
                fs::create_dir(&path).unwrap();
                fill(&mut *kind.open_one(&path, class(&kind)), bytes);
            });
            open_ms(folder, || (kind.open)(&path, class(&kind), Handles::ONE))
        })
    };
    suite.custom_row(Row {
        name,
        unit: "ms",
        better: Better::Lower,
        ours: open(&OURS),
        floors: Vec::new(),
        peers: PEERS_READ.iter().map(open).collect(),
        goals: Goals { absolute: Some(5.0), ..Goals::default() },
    });
}

fn after_kill(suite: &mut Suite<'_>, bytes: usize, mib: usize) {
    for class in [Class::D1, Class::D2] {
        let name = format!("open {mib} MiB after a kill, {class:?}");
        if !suite.wants(&name) {
            continue;
        }
        let folder = folder();
        let open_folder = folder.path().join("open");
        fs::create_dir(&open_folder).unwrap();
        let mut writer = OURS.open_one(&open_folder, class);
        fill(&mut *writer, bytes);
        let killed = folder.path().join("killed");
        suite.custom_row(Row {
            name,
            unit: "ms",
            better: Better::Lower,
            ours: Side::new(OURS.name, || {
                // What a killed process leaves behind is what others see of its files.
                copy(&open_folder, &killed);
                let opened = open_ms(folder.path(), || open_store(&killed, class, 1));
                fs::remove_dir_all(&killed).unwrap();
                opened
            }),
            floors: Vec::new(),
            peers: Vec::new(),
            goals: Goals { absolute: Some(200.0), ..Goals::default() },
        });
    }
}

/// Databases that sync are filled with syncs: how is of no matter afterwards.
fn class(kind: &Kind) -> Class {
    if kind.name == "redb" { Class::D2 } else { Class::D1 }
}

fn fill(contender: &mut dyn Contender, bytes: usize) {
    let value = value(VALUE_BYTES);
    let records = batch(&value, BATCH_RECORDS);
    for _ in 0..bytes / (VALUE_BYTES * BATCH_RECORDS) {
        contender.append_batch(&records);
    }
}

/// Opening syncs a few small files.
fn open_ms<T>(folder: &Path, open: impl FnOnce() -> T) -> f64 {
    let_disk_rest(folder);
    let started = Instant::now();
    let opened = open();
    let elapsed = started.elapsed();
    drop(opened);
    elapsed.as_secs_f64() * 1e3
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
