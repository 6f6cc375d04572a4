//! Rows of the time from an append to the output of an idle application, of which a reader waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log_store::{ConsumerConfig, Durability, Log, NewTopic, Record};
use headwater_topology::{Streams, StreamsConfig};

use crate::contender::{Class, folder};
use crate::floors::RECYCLED;
use crate::ours::partition_of;
use crate::row::{Better, Goals, Row, Side, percentile_of};
use crate::runtime::plan::{self, Plan};
use crate::topology::ours::OUTPUT;

/// How long everybody gets to fall asleep before the next record.
const REST: Duration = Duration::from_millis(2);
const POLL: Duration = Duration::from_secs(10);

/// When the clock starts for a record.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// The append begins: what its caller waits for counts as well.
    Call,
    /// The append is acknowledged, and what is left is the application's.
    Acknowledgement,
}

/// The median, and the hundredth that takes longest; one hop with state.
pub fn rows(plan: &mut Plan<'_>) {
    let samples = plan.scale.size(50, 500);
    let kinds = [
        (Durability::Os, Start::Call, "Os"),
        // With syncs it is what they cost: that of the append, before which nobody sees the record,
        // and that of the commit.
        (Durability::Sync, Start::Call, "Sync"),
        (Durability::Sync, Start::Acknowledgement, "Sync, once acknowledged"),
    ];
    for (durability, from, label) in kinds {
        for (percentile, micros_max) in [(50, 100.0), (99, 1_000.0)] {
            let name = format!("end to end at idle, {label}, p{percentile}");
            let (absolute, floors) = match durability {
                Durability::Sync => (None, vec![sync(samples, percentile)]),
                _ => (Some(micros_max), Vec::new()),
            };
            if plan.wants(&name) {
                (plan.report)(Row {
                    name,
                    unit: "µs",
                    better: Better::Lower,
                    ours: Side::new("headwater", || micros(durability, from, samples, percentile)),
                    floors,
                    peers: Vec::new(),
                    goals: Goals { absolute, ..Goals::default() },
                });
            }
        }
    }
}

/// One sync: a record in a file that does not grow, with as long a rest before it.
fn sync(samples: u32, percentile: usize) -> Side<'static> {
    Side::new("one sync", move || {
        let folder = folder();
        let mut file = RECYCLED.open_one(folder.path(), Class::D2);
        let value = 1_i64.to_be_bytes();
        let micros = (0..samples).map(|_| {
            std::thread::park_timeout(REST);
            let started = Instant::now();
            file.append(&Record::value(&value));
            started.elapsed().as_secs_f64() * 1e6
        });
        percentile_of(micros, percentile)
    })
}

fn micros(durability: Durability, from: Start, samples: u32, percentile: usize) -> f64 {
    let folder = folder();
    let store = plan::open(folder.path(), durability);
    for topic in ["in", OUTPUT] {
        store.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let log: Arc<dyn Log> = Arc::new(store.clone());
    let streams = Streams::new(&plan::counts(), StreamsConfig::new("idle"), log);
    streams.start().unwrap();
    let mut consumer = store.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[partition_of(OUTPUT, 0)]).unwrap();
    let (input, value) = (partition_of("in", 0), 1_i64.to_be_bytes());
    let mut micros = Vec::new();
    for number in 0..samples {
        std::thread::park_timeout(REST);
        let key = (number % 10).to_be_bytes();
        let key = [b'a' + key[3]];
        let called = Instant::now();
        store.append(&input, &Record::value(&value).with_key(&key)).unwrap();
        let started = if from == Start::Call { called } else { Instant::now() };
        let batches = consumer.poll(POLL).unwrap();
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        assert_eq!(batches[0].get(0).unwrap().offset.value(), u64::from(number));
    }
    streams.close().unwrap();
    percentile_of(micros, percentile)
}
