//! A case: an input, a topology, and the loop that does the same by hand; measured as a row.

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;

use headwater_topology::{StreamsConfig, Topology};

use crate::Scale;
use crate::contender::folder;
use crate::row::{Better, Goals, Row, Side};
use crate::topology::cpu::cpu_seconds;
use crate::topology::floor::{self, Floor};
use crate::topology::input::{Input, frames_of};
use crate::topology::kafka_streams::KafkaStreams;
use crate::topology::ours;

/// Makes an input, and returns how many records (or words) it is counted as.
pub type Generate = fn(Scale, &Input<'_>) -> u32;

/// The loop that does by hand what the topology does.
pub type ByHand = fn(&mut Floor);

/// See the module.
pub struct Case {
    pub name: String,
    /// Against the floor, and against Kafka Streams.
    pub goals: (Option<f64>, f64),
    pub topics: &'static [&'static str],
    pub generate: Generate,
    pub topology: Box<dyn Fn() -> Topology>,
    pub floor: ByHand,
    /// The same topology in `benches/kafka-streams`.
    pub kafka_streams: Option<&'static str>,
}

/// Measures a case: its values are records for each second of processor time.
pub fn measure(case: &Case, scale: Scale, report: &mut dyn FnMut(Row<'_>)) {
    let folder = folder();
    let path = folder.path();
    let store = ours::open(&path.join("store"));
    let input = Input::new(&store, path, case.topics);
    let units = f64::from((case.generate)(scale, &input));
    input.end();
    let files: Vec<PathBuf> = case.topics.iter().map(|topic| frames_of(path, topic)).collect();

    let topology = (case.topology)();
    let runs = Cell::new(0);
    // Both sides have to write the same, or they do not do the same work.
    let written = OnceCell::new();
    let ours = || {
        let run = runs.replace(runs.get() + 1);
        let state = path.join("state");
        let config = StreamsConfig::new(format!("bench-{run}")).state_dir(&state);
        let look = |store: &_| {
            written.get_or_init(|| ours::digest(store));
        };
        let seconds = ours::run(&store, &topology, config, look);
        if state.exists() {
            std::fs::remove_dir_all(state).unwrap();
        }
        units / seconds
    };
    let is_compared = Cell::new(false);
    let by_hand = || {
        let out = crate::contender::folder();
        let mut floor = Floor::new(&files, out.path());
        let seconds = cpu_seconds(|| {
            (case.floor)(&mut floor);
            floor.end();
        });
        if !is_compared.replace(true) {
            assert_eq!(written.get(), Some(&floor::digest(out.path())), "{}", case.name);
        }
        units / seconds
    };
    let inputs: Vec<_> = case.topics.iter().copied().zip(files.iter().cloned()).collect();
    let mut started = None;
    let peer = KafkaStreams::built().zip(case.kafka_streams).map(|(built, name)| {
        let (written, inputs) = (&written, &inputs);
        Side::new("Kafka Streams", move || {
            let peer = started.get_or_insert_with(|| KafkaStreams::start(&built, name, inputs));
            let run = peer.run();
            assert_eq!(written.get().map(|digest| digest.records), Some(run.written), "{name}");
            units / run.seconds
        })
    });
    report(Row {
        name: case.name.clone(),
        unit: "rec/CPU-s",
        better: Better::Higher,
        ours: Side::new("headwater", ours),
        floors: vec![Side::new("loop", by_hand)],
        peers: peer.into_iter().collect(),
        goals: Goals { floor: case.goals.0, peer: Some(case.goals.1), absolute: None },
    });
    store.close().unwrap();
}
