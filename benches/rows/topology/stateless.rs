//! Topologies without state: from topic to topic, and the DSL by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_log_store::{Log, LogStore, NewTopic, Record};
use headwater_topology::{StreamsBuilder, StreamsConfig, Topology};

use crate::Scale;
use crate::ours::partition_of;
use crate::row::{Better, Goals, Row, Side};
use crate::topology::case::Case;
use crate::topology::cpu::cpu_seconds;
use crate::topology::floor::Floor;
use crate::topology::input;
use crate::topology::ours;

/// Five operators between two topics.
pub fn chain() -> Case {
    Case {
        name: "stateless chain of 5 operators".to_owned(),
        goals: (Some(0.5), 10.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(20_000, 1_000_000);
            input::numbers(into, "in", records, 1_000_000, 10);
            records
        },
        topology: Box::new(chain_topology),
        floor: chain_floor,
        kafka_streams: Some("chain"),
    }
}

fn chain_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream::<String, i64>("in");
    let chain = numbers
        .filter(|_, value| value % 10 != 0)
        .map_values(|value| value * 3)
        .map(|key, value| (key, value + 1))
        .filter_not(|_, value| value % 7 == 0)
        .map_values(|value| value.wrapping_neg());
    drop(chain.to(ours::OUTPUT));
    builder.build().unwrap()
}

fn chain_floor(floor: &mut Floor) {
    let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let value = i64::from_be_bytes(frame.value.unwrap().try_into().unwrap());
        if value % 10 == 0 {
            continue;
        }
        let value = value * 3 + 1;
        if value % 7 == 0 {
            continue;
        }
        key_bytes.clear();
        key_bytes.extend_from_slice(key.as_bytes());
        value_bytes.clear();
        value_bytes.extend_from_slice(&value.wrapping_neg().to_be_bytes());
        floor.out.push(frame.time_ms, Some(&key_bytes), Some(&value_bytes));
    }
}

/// How many typed records each record of the log becomes.
const FAN_OUT: u32 = 10_000;
const OPERATORS: u64 = 5;

/// Five operators on typed records: what a record costs that neither comes from a log nor goes
/// there. The value is the processor time for each record and operator.
pub fn dsl_alone(scale: Scale, report: &mut dyn FnMut(Row<'_>)) {
    let records = u64::from(scale.size(20, 1_000));
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("in")).unwrap();
    let number = 1_i64.to_be_bytes();
    let inputs = vec![Record::value(&number).with_key(&number); usize::try_from(records).unwrap()];
    store.append_batch(&partition_of("in", 0), &inputs).unwrap();
    let log: Arc<dyn Log> = Arc::new(store);
    let mut runs = 0;
    let nanoseconds = || {
        let seen = Arc::new(AtomicU64::new(0));
        let topology = typed_topology(&seen);
        runs += 1;
        let config = StreamsConfig::new(format!("bench-{runs}"));
        let seconds = cpu_seconds(|| ours::run_once(&topology, config, &log));
        // Of ten values nine pass the first filter, and all of those the second.
        assert_eq!(seen.load(Ordering::Relaxed), records * u64::from(FAN_OUT) / 10 * 9);
        seconds * 1e9 / (records * u64::from(FAN_OUT) * OPERATORS) as f64
    };
    report(Row {
        name: "the DSL alone, 5 operators, a record and operator".to_owned(),
        unit: "ns",
        better: Better::Lower,
        ours: Side::new("headwater", nanoseconds),
        floors: Vec::new(),
        peers: Vec::new(),
        goals: Goals { absolute: Some(10.0), ..Goals::default() },
    });
}

fn typed_topology(seen: &Arc<AtomicU64>) -> Topology {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream::<i64, i64>("in");
    let typed = numbers.flat_map_values(|first| (0..FAN_OUT).map(move |n| first + i64::from(n)));
    let chain = typed
        .map_values(|value| value * 3)
        .filter(|_, value| value % 10 != 0)
        .map(|key, value| (key + 1, value))
        .filter_not(|key, _| *key == 0)
        .map_values(i64::wrapping_neg);
    let seen = Arc::clone(seen);
    let count = move |_: &i64, _: &i64| {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    drop(chain.for_each(count));
    builder.build().unwrap()
}
