//! A cluster behind TLS: the broker is known by its certificate, and the client logs in by SCRAM.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use headwater_connectors::{KafkaLog, KafkaLogBuilder};
use headwater_log_store::{
    ConsumerConfig, Log, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord, TopicName,
    TopicPartition,
};

#[path = "kafka_cluster/mod.rs"]
mod cluster;

/// The listener of `scripts/kafka up` that wants TLS and a login.
fn secured(password: &str) -> KafkaLogBuilder {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka");
    let output = Command::new(script).arg("secured").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/kafka secured: {errors}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (address, certificate) = said.trim().split_once(' ').unwrap();
    KafkaLog::builder(address)
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", certificate)
        .set("sasl.mechanisms", "SCRAM-SHA-512")
        .set("sasl.username", "headwater")
        .set("sasl.password", password)
}

#[test]
fn records_go_through_tls_after_a_login() {
    let log = secured("watermill").connect().unwrap();
    let topic = cluster::unique("secured");
    log.create_topic(&NewTopic::new(topic.as_str())).unwrap();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let sent = ProducerRecord { value: Some(b"secret"), ..ProducerRecord::to(&topic) };
    producer.send(&sent).unwrap().wait().unwrap();
    // The listener without TLS has what was sent through the other one, and both read it.
    for log in [log, cluster::log()] {
        let partition = TopicPartition::new(TopicName::new(&topic).unwrap(), PartitionId::new(0));
        let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
        reader.assign(std::slice::from_ref(&partition)).unwrap();
        reader.seek(&partition, Offset::ZERO).unwrap();
        let batches = reader.poll(Duration::from_secs(30)).unwrap();
        let values: Vec<_> = batches.iter().flat_map(|batch| batch.iter()).collect();
        assert_eq!(values.len(), 1);
        assert_eq!(values[0].value, Some(&b"secret"[..]));
    }
}

#[test]
fn wrong_password_is_refused() {
    let log = secured("windmill").request_timeout(Duration::from_secs(5)).connect();
    let refused = log.and_then(|log| log.topics().map(drop));
    assert!(refused.is_err(), "the broker has let somebody in who does not know the password");
}
