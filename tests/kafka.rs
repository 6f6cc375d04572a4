//! Applications on a Kafka cluster: the same topologies as on the embedded log, their tasks shared
//! by processes.
//!
//! The cluster is the one that `scripts/kafka up` has started. What a process is to the others, its
//! own log with its own clients, two applications in one process are to each other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater::connectors::KafkaLog;
use headwater::log_store::ConsumerConfig;
use headwater::prelude::*;
use headwater::topology::StateRestoreListener;

const PATIENCE: Duration = Duration::from_secs(90);

/// One process's log on the cluster: groups and transactions notice soon who has died.
fn log() -> Arc<dyn Log> {
    let bootstrap = std::env::var("HEADWATER_KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "HEADWATER_KAFKA_BOOTSTRAP is not set: these tests need a broker; \
             `scripts/kafka up` starts one, and `export $(scripts/kafka env)` says where it is"
        )
    });
    let builder = KafkaLog::builder(&bootstrap)
        .set("heartbeat.interval.ms", "200")
        .set("session.timeout.ms", "6000");
    Arc::new(builder.connect().unwrap_or_else(|error| {
        panic!("{error}; these tests need a broker at {bootstrap}: `scripts/kafka up` starts one")
    }))
}

/// A name with this beginning that nobody has used on the cluster.
#[allow(clippy::disallowed_methods, reason = "names of one run, not times")]
fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_micros())
}

fn config(application_id: &str) -> StreamsConfig {
    StreamsConfig::new(application_id)
}

/// Counts words: a repartition topic, and a store with its changelog.
fn word_count(input: &str, output: &str) -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Option<String>, String>(input)
        .map(|_, line: String| (line.clone(), line))
        .group_by_key_with("by-word")
        .count("counts")
        .to_stream()
        .map_values(|count| count.map(|count| count.to_string()))
        .to(output);
    builder.build().unwrap()
}

struct Case {
    log: Arc<dyn Log>,
    name: String,
    input: String,
    output: String,
    sent: BTreeMap<String, i64>,
}

impl Case {
    fn new(name: &str) -> Self {
        let (log, name) = (log(), unique(name));
        let (input, output) = (format!("{name}-in"), format!("{name}-out"));
        for topic in [&input, &output] {
            log.create_topic(&NewTopic::new(topic).partitions(4)).unwrap();
        }
        Self { log, name, input, output, sent: BTreeMap::new() }
    }

    fn send(&mut self, words: impl Iterator<Item = String>) {
        let mut producer = self.log.producer(&ProducerConfig::default()).unwrap();
        for word in words {
            let record =
                ProducerRecord { value: Some(word.as_bytes()), ..ProducerRecord::to(&self.input) };
            drop(producer.send(&record).unwrap());
            *self.sent.entry(word).or_default() += 1;
        }
        producer.flush().unwrap();
    }

    fn streams(&self, log: Arc<dyn Log>) -> Streams {
        Streams::new(&word_count(&self.input, &self.output), config(&self.name), log)
    }

    /// Every count of every word has to be in the output, once and in order.
    fn check_output(&self) {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for partition in 0..4 {
            let name = TopicName::new(&self.output).unwrap();
            let partition = TopicPartition::new(name, PartitionId::new(partition));
            let end = self.log.watermarks(&partition).unwrap().end;
            let mut reader = self.log.consumer(&ConsumerConfig::default()).unwrap();
            reader.assign(std::slice::from_ref(&partition)).unwrap();
            reader.seek(&partition, Offset::ZERO).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while reader.position(&partition).unwrap() < end {
                assert!(Instant::now() < deadline, "{partition} was not read up to {end}");
                for batch in reader.poll(Duration::from_millis(100)).unwrap() {
                    for record in batch.iter() {
                        let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                        let count = std::str::from_utf8(record.value.unwrap()).unwrap();
                        let before = counts.entry(word.clone()).or_default();
                        // A commit may hold several changes of a key back.
                        let count: i64 = count.parse().unwrap();
                        assert!(count > *before, "{word} goes from {before} to {count}");
                        *before = count;
                    }
                }
            }
        }
        assert_eq!(counts, self.sent);
    }
}

/// So many words, of which so many are different.
fn words(count: usize, different: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("word-{}", number % different))
}

#[test]
fn a_stateful_application_runs_closes_and_goes_on_with_restored_stores() {
    let mut case = Case::new("goes-on");
    case.send(words(1_000, 17));
    let streams = case.streams(log());
    streams.start().unwrap();
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    case.check_output();
    let changelog = format!("{}-counts-changelog", case.name);
    let described = case.log.describe_topic(&changelog).unwrap();
    assert_eq!(described.partitions, 4);
    assert_eq!(described.configs["cleanup.policy"], "compact");
    let repartition = case.log.describe_topic(&format!("{}-by-word-repartition", case.name));
    assert_eq!(repartition.unwrap().configs["retention.ms"], "-1");
    streams.close().unwrap();

    case.send(words(500, 17));
    let streams = case.streams(log());
    streams.start().unwrap();
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    let store = streams.store::<String, i64>("counts");
    for (word, count) in &case.sent {
        assert_eq!(store.get(word).unwrap(), Some(*count), "{word}");
    }
    assert!(streams.metrics().records_restored > 0);
    case.check_output();
    streams.close().unwrap();
}

#[test]
fn two_processes_share_the_tasks_and_one_goes_on_alone() {
    let mut case = Case::new("share");
    let (first, second) = (case.streams(log()), case.streams(log()));
    let tasks = |streams: &Streams| {
        streams.metadata_for_local_threads().iter().map(|thread| thread.tasks.len()).sum::<usize>()
    };
    first.start().unwrap();
    case.send(words(700, 17));
    wait_until("the first has all tasks", || tasks(&first) == 8);
    second.start().unwrap();
    case.send(words(700, 17));
    wait_until("each has half of the tasks", || tasks(&first) == 4 && tasks(&second) == 4);
    case.send(words(700, 17));
    assert!(first.wait_until_caught_up_for(PATIENCE).unwrap());
    second.close().unwrap();
    wait_until("the first has all tasks again", || tasks(&first) == 8);
    case.send(words(700, 17));
    assert!(first.wait_until_caught_up_for(PATIENCE).unwrap());
    first.close().unwrap();
    case.check_output();
}

/// How many records were read to restore a store, by its changelog.
#[derive(Clone, Default)]
struct Restored(Arc<Mutex<BTreeMap<TopicPartition, u64>>>);

impl StateRestoreListener for Restored {
    fn on_restore_end(&self, changelog: &TopicPartition, _store: &str, restored: u64) {
        self.0.lock().unwrap().insert(changelog.clone(), restored);
    }
}

/// The first process has what the second one counts, and next to nothing of it to read when that ends.
#[test]
fn a_standby_copy_leaves_next_to_nothing_to_restore_when_its_task_comes() {
    let (log, name) = (log(), unique("standby"));
    let (input, output) = (format!("{name}-in"), format!("{name}-out"));
    for topic in [&input, &output] {
        log.create_topic(&NewTopic::new(topic).partitions(4)).unwrap();
    }
    let builder = StreamsBuilder::new();
    let counts = builder.stream::<String, String>(input.as_str()).group_by_key().count("counts");
    counts.to_stream().to(output.as_str());
    let topology = builder.build().unwrap();
    let streams = || Streams::new(&topology, config(&name).num_standby_replicas(1), crate::log());
    let tasks = |streams: &Streams| {
        streams.metadata_for_local_threads().iter().map(|thread| thread.tasks.len()).sum::<usize>()
    };
    let (first, second) = (streams(), streams());
    let restored = Restored::default();
    first.set_global_state_restore_listener(restored.clone());
    first.start().unwrap();
    second.start().unwrap();
    wait_until("each has half of the tasks", || tasks(&first) == 2 && tasks(&second) == 2);

    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for word in words(6_000, 2_000) {
        let record = ProducerRecord {
            key: Some(word.as_bytes()),
            value: Some(b""),
            ..ProducerRecord::to(&input)
        };
        drop(producer.send(&record).unwrap());
    }
    producer.flush().unwrap();
    for streams in [&first, &second] {
        assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    }
    let logged = second.metrics().records_out - second.metrics().records_in;
    assert!(logged >= 500, "{logged} records are too few to show anything");
    wait_until("the first has copied what the second has logged", || {
        first.metrics().standby_records >= logged
    });
    restored.0.lock().unwrap().clear();
    second.close().unwrap();
    wait_until("the first has all tasks", || tasks(&first) == 4);
    let restored = restored.0.lock().unwrap().clone();
    assert_eq!(restored.len(), 2, "{restored:?}");
    let read: u64 = restored.values().sum();
    assert!(read * 20 < logged, "{read} of {logged} records were read again: {restored:?}");
    let counts = first.store::<String, i64>("counts");
    for word in words(2_000, 2_000) {
        assert_eq!(counts.get(&word).unwrap(), Some(3), "{word}");
    }
    first.close().unwrap();
}

/// Waits for something that takes an exchange or two with the brokers.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
