//! `headwater bridge` between a store and the cluster that `scripts/kafka up` has started, killed
//! with SIGKILL at random moments: nothing is lost, nothing is doubled, either way.
//!
//! `HEADWATER_KILLS` says how often each way (default = 5), `HEADWATER_SEED` repeats the moments of a run.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_connectors::KafkaLog;
use headwater_log_store::{
    ConsumerConfig, Log, LogStore, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord,
    TopicName, TopicPartition,
};
use tempfile::TempDir;

const PARTITIONS: u32 = 3;
const RECORDS: u32 = 30_000;

fn bootstrap() -> String {
    std::env::var("HEADWATER_KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "HEADWATER_KAFKA_BOOTSTRAP is not set: these tests need a broker; \
             `scripts/kafka up` starts one, and `export $(scripts/kafka env)` says where it is"
        )
    })
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A name with this beginning that nobody has used on the cluster.
#[allow(clippy::disallowed_methods, reason = "names of one run, not times")]
fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_micros())
}

fn bridge(dir: &Path, way: &str, topic: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg("-D").arg(dir).args(["bridge", way, topic, "--name", topic]).args(options);
    command.env("HEADWATER_KAFKA_BOOTSTRAP", bootstrap());
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Numbers in all partitions, sent to a log.
fn send(log: &dyn Log, topic: &str) {
    log.create_topic(&NewTopic::new(topic).partitions(PARTITIONS)).unwrap();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for number in 0..RECORDS {
        let value = format!("{number} {}", "x".repeat(100));
        let record = ProducerRecord {
            partition: Some(PartitionId::new(number % PARTITIONS)),
            value: Some(value.as_bytes()),
            ..ProducerRecord::to(topic)
        };
        drop(producer.send(&record).unwrap());
    }
    producer.flush().unwrap();
}

/// Every number has to be there once, in order, in its partition.
fn check(log: &dyn Log, topic: &str, seed: u64) {
    for partition in 0..PARTITIONS {
        let name = TopicName::new(topic).unwrap();
        let place = TopicPartition::new(name, PartitionId::new(partition));
        let end = log.watermarks(&place).unwrap().end;
        let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
        reader.assign(std::slice::from_ref(&place)).unwrap();
        reader.seek(&place, Offset::ZERO).unwrap();
        let mut next = partition;
        let mut polls = 0;
        while reader.position(&place).unwrap() < end {
            polls += 1;
            assert!(polls < 2_000, "{place} was not read up to {end}");
            for batch in reader.poll(Duration::from_millis(100)).unwrap() {
                for record in batch.iter() {
                    let value = std::str::from_utf8(record.value.unwrap()).unwrap();
                    let number: u32 = value.split(' ').next().unwrap().parse().unwrap();
                    assert_eq!(number, next, "{place}, seed {seed}");
                    next += PARTITIONS;
                }
            }
        }
        assert_eq!(next, RECORDS + partition, "{place}, seed {seed}");
    }
}

/// Kills one run after the other, and lets a last one finish.
fn kill_and_finish(dir: &Path, way: &str, topic: &str) -> u64 {
    let seed = setting("HEADWATER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    println!("HEADWATER_SEED={seed}");
    let mut alive = 0;
    for _ in 0..setting("HEADWATER_KILLS").unwrap_or(5) {
        let mut child = bridge(dir, way, topic, &[]).spawn().unwrap();
        let after = Duration::from_millis(random.u64(100..1_500));
        let (_never, nothing) = channel::<()>();
        assert!(nothing.recv_timeout(after).is_err());
        alive += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(alive > 0, "no run was killed at work, seed {seed}");
    let output = bridge(dir, way, topic, &["--once"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}, seed {seed}");
    assert!(said.contains(&format!("{topic}-0: at offset")), "{said}");
    seed
}

fn cluster() -> KafkaLog {
    let bootstrap = bootstrap();
    KafkaLog::builder(&bootstrap).connect().unwrap_or_else(|error| {
        panic!("{error}; these tests need a broker at {bootstrap}: `scripts/kafka up` starts one")
    })
}

#[test]
fn killed_on_its_way_in_it_loses_nothing_and_doubles_nothing() {
    let (folder, topic) = (TempDir::new().unwrap(), unique("bridge-in"));
    send(&cluster(), &topic);
    let dir = folder.path().join("store");
    let seed = kill_and_finish(&dir, "from-kafka", &topic);
    check(&LogStore::open(&dir).unwrap(), &topic, seed);
}

#[test]
fn killed_on_its_way_out_it_loses_nothing_and_doubles_nothing() {
    let (folder, topic) = (TempDir::new().unwrap(), unique("bridge-out"));
    let dir = folder.path().join("store");
    let store = LogStore::create(&dir).unwrap();
    send(&store, &topic);
    store.close().unwrap();
    let seed = kill_and_finish(&dir, "to-kafka", &topic);
    check(&cluster(), &topic, seed);
}

/// A topic's name with a mistake in it was mirrored without a word.
#[test]
fn names_that_no_topic_has_are_said() {
    let dir = TempDir::new().unwrap();
    let topic = unique("nobody-has-this");
    let ended = bridge(dir.path(), "from-kafka", &topic, &["--once"]).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    assert!(said.contains(&format!("no topic matches {topic}\n")), "{said}");
}
