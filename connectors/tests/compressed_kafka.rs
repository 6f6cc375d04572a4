//! Records that Kafka's own producer has compressed are read, whatever the codec.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_log_store::{
    ConsumerConfig, Log, NewTopic, Offset, PartitionId, TopicName, TopicPartition,
};

#[path = "kafka_cluster/mod.rs"]
mod cluster;

const PATIENCE: Duration = Duration::from_secs(60);

/// Has `ConsoleProducer` send lines.
fn produce(topic: &str, codec: &str, lines: &[String]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka");
    let mut tool = Command::new(script)
        .args(["tool", "org.apache.kafka.tools.ConsoleProducer"])
        .args(["--bootstrap-server", &cluster::bootstrap(), "--topic", topic])
        .args(["--compression-codec", codec])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = tool.stdin.take().unwrap();
    input.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(input);
    assert!(tool.wait().unwrap().success(), "{codec}");
}

fn check(codec: &str) {
    let log = cluster::log();
    let topic = cluster::unique(codec);
    // The broker keeps batches in the codec that the topic names.
    log.create_topic(&NewTopic::new(topic.as_str()).config("compression.type", codec)).unwrap();
    let lines: Vec<String> =
        (0..500).map(|n| format!("line {n} {}", "again ".repeat(20))).collect();
    produce(&topic, codec, &lines);

    let partition = TopicPartition::new(TopicName::new(&topic).unwrap(), PartitionId::new(0));
    let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
    reader.assign(std::slice::from_ref(&partition)).unwrap();
    reader.seek(&partition, Offset::ZERO).unwrap();
    let (mut found, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while found.len() < lines.len() {
        assert!(Instant::now() < deadline, "{codec}: {} lines have come", found.len());
        for batch in reader.poll(Duration::from_millis(100)).unwrap() {
            let values = batch.iter().map(|record| record.value.unwrap().to_vec());
            found.extend(values.map(|value| String::from_utf8(value).unwrap()));
        }
    }
    assert_eq!(found, lines, "{codec}");
}

#[test]
fn gzip_is_read() {
    check("gzip");
}

#[test]
fn snappy_is_read() {
    check("snappy");
}

#[test]
fn lz4_is_read() {
    check("lz4");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_is_read() {
    check("zstd");
}
