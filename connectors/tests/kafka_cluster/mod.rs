//! The cluster that tests run on, and names that no earlier run has used there.

use std::time::{SystemTime, UNIX_EPOCH};

use headwater_connectors::KafkaLog;

/// Where the cluster is.
pub fn bootstrap() -> String {
    std::env::var("HEADWATER_KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "HEADWATER_KAFKA_BOOTSTRAP is not set: these tests need a broker; \
             `scripts/kafka up` starts one, and `export $(scripts/kafka env)` says where it is"
        )
    })
}

/// A log on the cluster.
pub fn log() -> KafkaLog {
    let bootstrap = bootstrap();
    // Members hear of rebalances with their heartbeats.
    let builder = KafkaLog::builder(&bootstrap)
        .set("heartbeat.interval.ms", "200")
        .set("session.timeout.ms", "6000");
    builder.connect().unwrap_or_else(|error| {
        panic!("{error}; these tests need a broker at {bootstrap}: `scripts/kafka up` starts one")
    })
}

/// A name with this beginning that nobody has used on the cluster.
#[allow(clippy::disallowed_methods, reason = "names of one run, not times")]
pub fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_micros())
}
