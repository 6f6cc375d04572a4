//! The row of a repartition hop: what a topology costs more with one than without, against an append
//! and a scan by hand.

use std::cell::Cell;

use headwater_log_store::Durability;
use headwater_topology::{StreamsBuilder, StreamsConfig, Topology};

use crate::contender::folder;
use crate::row::{Better, Goals, Row, Side};
use crate::runtime::plan::{self, Plan};
use crate::topology::cpu::cpu_seconds;
use crate::topology::frames::{FrameReader, FrameWriter};
use crate::topology::input::{START_MS, key};
use crate::topology::ours::{self, OUTPUT};

/// The processor time of a record for the hop alone.
pub fn row(plan: &mut Plan<'_>) {
    let name = "a repartition hop, a record";
    if !plan.wants(name) {
        return;
    }
    let folder = folder();
    let store = plan::open(&folder.path().join("store"), Durability::Os);
    let records = plan.scale.size(20_000, 500_000);
    plan::fill(&store, records, 100_000, 1);
    let runs = Cell::new(0);
    let run = |hop: bool| {
        runs.set(runs.get() + 1);
        let config = StreamsConfig::new(format!("bench-{}", runs.get()));
        ours::run(&store, &pass(hop), config, |_| ())
    };
    let nanoseconds = |seconds: f64| seconds * 1e9 / f64::from(records);
    let path = folder.path().join("hop");
    (plan.report)(Row {
        name: name.to_owned(),
        unit: "ns",
        better: Better::Lower,
        ours: Side::new("headwater", || nanoseconds(run(true) - run(false))),
        floors: vec![Side::new("append + scan", || {
            nanoseconds(cpu_seconds(|| append_and_scan(&path, records)))
        })],
        peers: Vec::new(),
        goals: Goals { floor: Some(2.0), ..Goals::default() },
    });
}

fn pass(hop: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let records = builder.stream::<String, i64>("in");
    let records = if hop { records.repartition("hop") } else { records };
    drop(records.to(OUTPUT));
    builder.build().unwrap()
}

fn append_and_scan(path: &std::path::Path, records: u32) {
    let mut writer = FrameWriter::create(path);
    let key = key(1);
    for number in 0..records {
        let value = i64::from(number).to_be_bytes();
        writer.push(START_MS, Some(key.as_bytes()), Some(&value));
    }
    writer.flush();
    let mut reader = FrameReader::open(path);
    let mut sum = 0;
    while let Some(frame) = reader.next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let value = i64::from_be_bytes(frame.value.unwrap().try_into().unwrap());
        sum += value + i64::from(key.len() == 1);
    }
    assert_eq!(sum, i64::from(records) * i64::from(records - 1) / 2);
}
