//! The rows of a restore of a memory store from its changelog, and of a full replay.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use headwater_log_store::{Durability, Log, NewTopic};
use headwater_topology::{Streams, StreamsConfig};

use crate::contender::folder;
use crate::row::{Better, Goals, Row, Side};
use crate::runtime::plan::{self, Plan};
use crate::topology::case::{Case, measure};
use crate::topology::cpu::cpu_seconds;
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::frames::{FrameReader, FrameWriter};
use crate::topology::input::{self, key};
use crate::topology::kafka_streams::KafkaStreams;
use crate::topology::ours::{self, OUTPUT};

/// A store of a million counts, read from its changelog.
pub fn row(plan: &mut Plan<'_>) {
    let name = "restore of a memory store";
    if !plan.wants(name) {
        return;
    }
    let folder = folder();
    let store = plan::open(&folder.path().join("store"), Durability::Os);
    let (records, keys) = (plan.scale.size(20_000, 1_500_000), plan.scale.size(10_000, 1_000_000));
    plan::fill(&store, records, keys, 1);
    store.create_topic(&NewTopic::new(OUTPUT)).unwrap();
    let log: Arc<dyn Log> = Arc::new(store.clone());
    let topology = plan::counts();
    ours::run_once(&topology, StreamsConfig::new("restored"), &log);
    let changes = store.watermarks(&crate::ours::partition_of("restored-counts-changelog", 0));
    let changes = changes.unwrap().end.value();

    let path = folder.path().join("changelog");
    let mut writer = FrameWriter::create(&path);
    let mut random = fastrand::Rng::with_seed(21);
    for _ in 0..changes {
        let key = key(random.u32(..keys));
        writer.push(input::START_MS, Some(key.as_bytes()), Some(&1_i64.to_be_bytes()));
    }
    writer.flush();
    let restored = || {
        let streams = Streams::new(&topology, StreamsConfig::new("restored"), Arc::clone(&log));
        // The start returns when the stores are there.
        let seconds = cpu_seconds(|| streams.start().unwrap());
        streams.close().unwrap();
        changes as f64 / seconds
    };
    let inputs = [("changelog", path.clone())];
    let mut started = None;
    let counted = Cell::new(None);
    let peer = KafkaStreams::built().map(|built| {
        let (inputs, counted) = (&inputs, &counted);
        Side::new("Kafka Streams", move || {
            let peer =
                started.get_or_insert_with(|| KafkaStreams::start(&built, "restore", inputs));
            let run = peer.run();
            assert_eq!(counted.get(), Some(run.written), "keys");
            changes as f64 / run.seconds
        })
    });
    let by_hand = || {
        let mut rows = HashMap::new();
        let seconds = cpu_seconds(|| {
            let mut reader = FrameReader::open(&path);
            while let Some(frame) = reader.next() {
                let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
                let value = i64::from_be_bytes(frame.value.unwrap().try_into().unwrap());
                rows.insert(key, value);
            }
        });
        counted.set(u64::try_from(rows.len()).ok());
        changes as f64 / seconds
    };
    (plan.report)(Row {
        name: name.to_owned(),
        unit: "rec/CPU-s",
        better: Better::Higher,
        ours: Side::new("headwater", restored),
        floors: vec![Side::new("scan + HashMap", by_hand)],
        peers: peer.into_iter().collect(),
        goals: Goals { floor: Some(0.5), peer: Some(10.0), ..Goals::default() },
    });
}

/// Ten million records, counted by key anew.
pub fn replay(plan: &mut Plan<'_>) {
    let case = Case {
        name: "full replay of 10 M records, count by key".to_owned(),
        goals: (Some(0.5), 1.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(50_000, 10_000_000);
            input::numbers(into, "in", records, 100_000, 10);
            records
        },
        topology: Box::new(plan::counts),
        floor: counts_floor,
        kafka_streams: None,
    };
    if plan.wants(&case.name) {
        measure(&case, plan.scale, plan.report);
    }
}

fn counts_floor(floor: &mut Floor) {
    let mut counts = FloorTable::<String, i64>::default();
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let time_ms = frame.time_ms;
        let count = counts.change(
            &key,
            || 0,
            |count| {
                *count += 1;
                *count
            },
        );
        floor.out.push(time_ms, Some(key.as_bytes()), Some(&count.to_be_bytes()));
        if floor.is_commit_due() {
            commit(&mut counts, floor);
        }
    }
    commit(&mut counts, floor);
}

fn commit(counts: &mut FloorTable<String, i64>, floor: &mut Floor) {
    counts.commit(|key, row| {
        let row = row.map(|row| row.to_be_bytes());
        floor.changelog.push(0, Some(key.as_bytes()), row.as_ref().map(|row| &row[..]));
    });
}
