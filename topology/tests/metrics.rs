//! What a running application says of itself: the snapshot, by thread too, and the same through
//! the facade `metrics`.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_log_store::{
    Clock, Log, LogStore, ManualClock, NewTopic, ProducerConfig, ProducerRecord, Timestamp,
};
use headwater_topology::{
    DropReason, ErrorResponse, MetricsSnapshot, Streams, StreamsBuilder, StreamsConfig, Topology,
};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

fn log(partitions: u32) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
    }
    log
}

/// Sends numbers, each with its time.
fn send(log: &dyn Log, numbers: impl IntoIterator<Item = i64>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for number in numbers {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(format!("k{}", number % 20).as_bytes()),
                value: Some(&number.to_be_bytes()),
                timestamp: Some(Timestamp::from_millis(number)),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

/// Counts what is no multiple of ten, for which a closure has an error.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in")
        .try_map_values(|number: i64| if number % 10 == 0 { Err("round") } else { Ok(number) })
        .group_by(|_, number| (number % 7).to_string())
        .count("counts")
        .to_stream()
        .to("out");
    builder.build().unwrap()
}

fn start(log: &Arc<dyn Log>, config: StreamsConfig) -> Streams {
    let config = config.processing_exception_handler(ErrorResponse::Skip);
    let streams = Streams::new(&topology(), config, Arc::clone(log));
    streams.start().unwrap();
    streams
}

#[test]
fn a_snapshot_says_what_was_done_and_how_long_it_took() {
    let log = log(2);
    let streams = start(&log, StreamsConfig::new("app").num_stream_threads(2));
    send(log.as_ref(), 0..3_000);
    streams.wait_until_caught_up().unwrap();
    let metrics = streams.metrics();
    assert_eq!(metrics.records_in, 3_000 + 2_700, "from the input and the repartition topic");
    assert_eq!(metrics.dropped(DropReason::Failed), 300);
    assert_eq!(metrics.commit_latency.count(), metrics.commits);
    for latency in [&metrics.process_latency, &metrics.commit_latency] {
        assert!(latency.count() > 0 && latency.total() > Duration::ZERO);
        assert!(latency.mean().unwrap() <= latency.max());
        assert!(latency.quantile(0.5) <= latency.quantile(1.0));
    }
    // A slice is measured once, and not each record.
    assert!(metrics.process_latency.count() < metrics.records_in / 2);
    assert_eq!((metrics.records_lag, metrics.time_lag), (0, Duration::ZERO));
    let by_thread = streams.metrics_for_local_threads();
    let names: Vec<&str> = by_thread.keys().map(String::as_str).collect();
    assert_eq!(names, ["app-StreamThread-1", "app-StreamThread-2"]);
    assert!(by_thread.values().all(|thread| thread.records_in > 0), "both have tasks");
    let sum = |of: fn(&MetricsSnapshot) -> u64| by_thread.values().map(of).sum::<u64>();
    assert_eq!(sum(|thread| thread.records_in), metrics.records_in);
    assert_eq!(sum(|thread| thread.records_out), metrics.records_out);
    streams.close().unwrap();
    assert_eq!(streams.metrics().records_in, metrics.records_in, "what was done stays counted");
    assert_eq!(streams.metrics_for_local_threads(), BTreeMap::new());
}

#[test]
fn the_lag_is_told_in_records_and_in_event_time() {
    let log = log(1);
    let (entered, at_work) = channel();
    let (go, gate) = channel::<()>();
    let gate = Mutex::new((entered, gate));
    let builder = StreamsBuilder::new();
    let wait = move |_: &String, number: &i64| {
        let (entered, gate) = &*gate.lock().unwrap();
        entered.send(*number).unwrap();
        gate.recv().unwrap();
    };
    builder.stream::<String, i64>("in").peek(wait).to("out");
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(10_000)));
    // One record is polled, processed and committed at a time.
    let config = StreamsConfig::new("app")
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .commit_interval(Duration::ZERO)
        .set("max.poll.records", "1")
        .and_then(|config| config.set("buffered.records.per.partition", "1"))
        .unwrap();
    let streams = Streams::new(&builder.build().unwrap(), config, Arc::clone(&log));
    send(log.as_ref(), [4_000, 9_000, 8_500]);
    streams.start().unwrap();
    assert_eq!(at_work.recv().unwrap(), 4_000);
    go.send(()).unwrap();
    // The first one is committed when the second one is at work.
    assert_eq!(at_work.recv().unwrap(), 9_000);
    let metrics = streams.metrics();
    assert_eq!((metrics.records_lag, metrics.time_lag), (2, Duration::from_secs(6)));
    clock.advance(Duration::from_millis(500));
    go.send(()).unwrap();
    assert_eq!(at_work.recv().unwrap(), 8_500);
    let metrics = streams.metrics();
    assert_eq!((metrics.records_lag, metrics.time_lag), (1, Duration::from_millis(1_500)));
    go.send(()).unwrap();
    streams.wait_until_caught_up().unwrap();
    let metrics = streams.metrics();
    assert_eq!((metrics.records_lag, metrics.time_lag), (0, Duration::ZERO));
    streams.close().unwrap();
}

/// Keeps all numbers that it is told.
#[derive(Clone, Default)]
struct Ear {
    counters: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    gauges: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    histograms: Arc<Mutex<BTreeMap<String, Arc<Samples>>>>,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn name(key: &Key) -> String {
    let labels: BTreeMap<&str, &str> = key.labels().map(|l| (l.key(), l.value())).collect();
    format!("{} {labels:?}", key.name())
}

fn entry<T: Default>(of: &Mutex<BTreeMap<String, Arc<T>>>, key: &Key) -> Arc<T> {
    Arc::clone(of.lock().unwrap().entry(name(key)).or_default())
}

impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(entry(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(entry(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(entry(&self.histograms, key))
    }
}

impl Ear {
    /// All counters of an application that are not zero, without its name.
    fn counters(&self, application_id: &str) -> BTreeMap<String, u64> {
        let of = format!("\"application_id\": \"{application_id}\"");
        let counters = self.counters.lock().unwrap();
        let own = counters.iter().filter(|(name, _)| name.contains(&of));
        let told = own.map(|(name, count)| {
            let (metric, labels) = name.split_once(' ').unwrap();
            let reason = labels.split("\"reason\": \"").nth(1);
            let reason = reason.and_then(|rest| rest.split('"').next()).unwrap_or_default();
            (format!("{metric} {reason}"), count.load(Ordering::Relaxed))
        });
        told.filter(|(_, count)| *count > 0).collect()
    }
}

#[test]
fn the_facade_is_told_the_same_numbers() {
    let ear = Ear::default();
    metrics::set_global_recorder(ear.clone()).unwrap();
    let log = log(1);
    send(log.as_ref(), 0..1_000);
    let streams = start(&log, StreamsConfig::new("told"));
    streams.wait_until_caught_up().unwrap();
    streams.close().unwrap();
    let now = streams.metrics();
    let expected = [
        ("headwater_commit_total ", now.commits),
        ("headwater_dropped_records_total failed", 100),
        ("headwater_process_total ", now.records_in),
        ("headwater_send_total ", now.records_out),
    ];
    let expected: BTreeMap<String, u64> =
        expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(ear.counters("told"), expected);
    let labels = "{\"application_id\": \"told\", \"thread_id\": \"told-StreamThread-1\"}";
    for (metric, latency) in [("process", &now.process_latency), ("commit", &now.commit_latency)] {
        let histograms = ear.histograms.lock().unwrap();
        let samples = &histograms[&format!("headwater_{metric}_latency_seconds {labels}")];
        let samples = samples.0.lock().unwrap();
        assert_eq!(u64::try_from(samples.len()).unwrap(), latency.count(), "{metric}");
        let longest = samples.iter().copied().fold(0.0, f64::max);
        assert!(longest >= latency.max().as_secs_f64(), "{metric}");
    }
    // What a second start does is counted on.
    let again = start(&log, StreamsConfig::new("told"));
    let restored = again.metrics().records_restored;
    again.close().unwrap();
    assert_eq!(ear.counters("told")["headwater_restore_records_total "], restored);
    assert_eq!(ear.counters("told")["headwater_process_total "], now.records_in);
    let gauges = ear.gauges.lock().unwrap();
    for gauge in ["headwater_records_lag", "headwater_time_lag_seconds"] {
        let value = &gauges[&format!("{gauge} {labels}")];
        assert_eq!(f64::from_bits(value.load(Ordering::Relaxed)), 0.0);
    }
}
