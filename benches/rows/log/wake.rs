//! Rows of the time from an append to the moment when a consumer that was blocked has the record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use headwater_log_store::{Consumer, ConsumerConfig, Log, LogStore, Record};

use crate::contender::{Class, Kind, folder};
use crate::floors::WRITE;
use crate::log::suite::{PEERS_D1, Suite, value};
use crate::ours::{OURS, open_store, partition};
use crate::row::{Better, Goals, Row, Side, percentile_of};

/// How long a consumer gets to block before the next append.
const BLOCK: Duration = Duration::from_micros(100);
const POLL: Duration = Duration::from_secs(10);

/// The median, and the hundredth that takes longest.
pub fn rows(suite: &mut Suite<'_>) {
    let samples = suite.size(100, 2_000);
    for (percentile, goals) in
        [(50, Goals { floor: Some(1.3), peer: Some(1.0), absolute: None }), (99, Goals::default())]
    {
        let other = |kind: &Kind| {
            let kind = *kind;
            Side::new(kind.name, move || percentile_of(wake_other(&kind, samples), percentile))
        };
        suite.custom_row(Row {
            name: format!("wake-up of a blocked consumer, 100 B, D1, p{percentile}"),
            unit: "µs",
            better: Better::Lower,
            ours: Side::new(OURS.name, || percentile_of(wake_ours(samples), percentile)),
            floors: vec![other(&Kind { name: "write + condvar", ..WRITE })],
            peers: PEERS_D1.iter().map(other).collect(),
            goals,
        });
    }
}

/// Says which record a consumer waits for, so that the producer knows when to append it.
#[derive(Debug, Default)]
struct Turns {
    wanted: AtomicU64,
}

impl Turns {
    /// Waits until the consumer wants record `number`, and then until it has had time to block.
    fn wait_for(&self, number: u64) {
        while self.wanted.load(Ordering::Acquire) <= number {
            std::hint::spin_loop();
        }
        let wanted_at = Instant::now();
        while wanted_at.elapsed() < BLOCK {
            std::hint::spin_loop();
        }
    }
}

/// Runs a producer and a consumer, and returns the times from each append to its receipt.
fn exchange(
    samples: usize,
    mut append: impl FnMut() + Send,
    mut receive: impl FnMut(u64) + Send,
) -> Vec<f64> {
    let turns = &Turns::default();
    std::thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            let numbers = 0..samples as u64;
            let receipts = numbers.map(|number| {
                turns.wanted.store(number + 1, Ordering::Release);
                receive(number);
                Instant::now()
            });
            receipts.collect::<Vec<_>>()
        });
        let producer = scope.spawn(move || {
            let numbers = 0..samples as u64;
            let appends = numbers.map(|number| {
                turns.wait_for(number);
                let started = Instant::now();
                append();
                started
            });
            appends.collect::<Vec<_>>()
        });
        let (appends, receipts) = (producer.join().unwrap(), consumer.join().unwrap());
        let times = appends.iter().zip(&receipts);
        times.map(|(append, receipt)| (*receipt - *append).as_secs_f64() * 1e6).collect()
    })
}

fn wake_ours(samples: usize) -> Vec<f64> {
    let folder = folder();
    let store: LogStore = open_store(folder.path(), Class::D1, 1);
    let mut consumer: Box<dyn Consumer> = store.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[partition(0)]).unwrap();
    let (topic_partition, value) = (partition(0), value(100));
    exchange(
        samples,
        || _ = store.append(&topic_partition, &Record::value(&value)).unwrap(),
        move |number| {
            let batches = consumer.poll(POLL).unwrap();
            assert_eq!(batches[0].get(0).unwrap().offset.value(), number);
        },
    )
}

/// Others do not wake anybody: a condition variable beside them does.
fn wake_other(kind: &Kind, samples: usize) -> Vec<f64> {
    let folder = folder();
    let contender = Arc::new(Mutex::new(kind.open_one(folder.path(), Class::D1)));
    let (appended, came) = (&Mutex::new(0), &Condvar::new());
    let value = value(100);
    let reader = Arc::clone(&contender);
    exchange(
        samples,
        || {
            contender.lock().unwrap().append(&Record::value(&value));
            *appended.lock().unwrap() += 1;
            came.notify_one();
        },
        move |number| {
            let mut count = appended.lock().unwrap();
            while *count <= number {
                count = came.wait(count).unwrap();
            }
            drop(count);
            assert_eq!(reader.lock().unwrap().read(number), 100);
        },
    )
}
