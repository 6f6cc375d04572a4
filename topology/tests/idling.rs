//! `max.task.idle.ms`: how long a task that has records waits for a partition that has none.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log_store::{
    ConsumerConfig, Log, LogStore, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord,
    Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{Streams, StreamsBuilder, StreamsConfig, Topology, TopologyTestDriver};

fn merging() -> Topology {
    let builder = StreamsBuilder::new();
    let (one, other) = (builder.stream::<String, String>("A"), builder.stream("B"));
    one.merge(&other).to("out");
    builder.build().unwrap()
}

/// The keys that have come out after each step; a step is a topic and a time, or a wait in
/// milliseconds.
fn outputs(config: StreamsConfig, steps: &[(&str, i64)]) -> Vec<String> {
    let driver = TopologyTestDriver::with_config(&merging(), config).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap();
    let mut found = Vec::new();
    for (topic, millis) in steps {
        match *topic {
            "wait" => {
                driver.advance_wall_clock(Duration::from_millis(millis.unsigned_abs())).unwrap()
            }
            topic => {
                let key = format!("{topic}{millis}");
                let input = driver.input_topic::<String, String>(topic);
                input.pipe_input_at(key, "v", *millis).unwrap();
            }
        }
        let keys: Vec<String> =
            out.read_key_values().unwrap().into_iter().map(|(k, _)| k).collect();
        found.push(keys.join(" "));
    }
    found
}

#[test]
fn records_wait_for_the_other_partition_until_the_time_has_passed() {
    let config = StreamsConfig::new("app").max_task_idle(Duration::from_millis(100));
    let steps = [("A", 10), ("A", 30), ("B", 20), ("wait", 99), ("wait", 1), ("A", 40), ("B", 5)];
    // What was waited for in vain is not waited for again, until it has had a record.
    let expected = ["", "", "A10 B20", "", "A30", "A40", ""];
    assert_eq!(outputs(config, &steps), expected);
}

#[test]
fn by_default_nothing_waits_for_an_empty_partition() {
    let steps = [("A", 10), ("B", 5)];
    assert_eq!(outputs(StreamsConfig::new("app"), &steps), ["A10", "B5"]);
    let never = StreamsConfig::new("app").set("max.task.idle.ms", "-1").unwrap();
    assert_eq!(outputs(never, &steps), ["A10", "B5"]);
    assert!(StreamsConfig::new("app").set("max.task.idle.ms", "-2").is_err());
}

#[test]
fn a_running_application_goes_on_by_itself_when_the_time_has_passed() {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["A", "B", "out"] {
        log.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let idle = Duration::from_millis(150);
    let config = StreamsConfig::new("app").max_task_idle(idle).set("poll.ms", "60000").unwrap();
    let streams = Streams::new(&merging(), config, Arc::clone(&log));
    streams.start().unwrap();
    let started = Instant::now();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let timestamp = Some(Timestamp::from_millis(10));
    let record =
        ProducerRecord { key: Some(b"k"), value: Some(b"v"), timestamp, ..ProducerRecord::to("A") };
    producer.send(&record).unwrap().wait().unwrap();
    streams.wait_until_caught_up().unwrap();
    assert!(started.elapsed() >= idle, "it has waited {:?} only", started.elapsed());
    let out = TopicPartition::new(TopicName::new("out").unwrap(), PartitionId::new(0));
    let consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    assert_eq!(consumer.end_offsets(&[out]).unwrap(), [Offset::new(1)]);
    streams.close().unwrap();
}
