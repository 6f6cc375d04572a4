//! Global tables: what Kafka Streams 4.3.1 gives for the same records, and what only concerns us:
//! bootstrap, several partitions, bad records, queries and replays.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp,
};
use headwater_topology::{
    ErrorResponse, Reset, Streams, StreamsBuilder, StreamsConfig, Topology, TopologyTestDriver,
};
use runner::check;

type Text = Option<String>;

/// The key that a value is joined by: its first character, none behind an underscore.
fn mapped(value: &str) -> Text {
    value.chars().next().filter(|c| *c != '_').map(String::from)
}

fn topology(left: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let table = builder.global_table::<String, String>("G");
        let stream = builder.stream::<Text, Text>("S");
        let key_of = |_: &Text, value: &Text| mapped(value.as_deref().unwrap_or_default());
        let joined = match left {
            false => stream.join_global_table_with(
                &table,
                key_of,
                |_, value, row| format!("{}+{row}", value.unwrap_or_default()),
                "join",
            ),
            true => stream.left_join_global_table_with(
                &table,
                key_of,
                |_, value, row| {
                    format!("{}+{}", value.unwrap_or_default(), row.unwrap_or("null".to_owned()))
                },
                "join",
            ),
        };
        joined.to("out");
    }
}

fn build(add: impl Fn(&StreamsBuilder)) -> Topology {
    let builder = StreamsBuilder::new();
    add(&builder);
    builder.build().unwrap()
}

#[test]
fn an_inner_join_goes_by_the_mapped_key_and_drops_records_without_one() {
    check(
        topology(false),
        "
        G a g1 10
        S k abc 1 => k abc+g1 1
        S ~ abc 2 => ~ abc+g1 2
        S k _x 3
        S k ~ 4
        S k zz 5
        G a ~ 6
        S k abc 7
        ",
    );
}

#[test]
fn a_left_join_joins_records_without_a_mapped_key_or_a_row_with_nothing() {
    check(
        topology(true),
        "
        G a g1 10
        S k abc 1 => k abc+g1 1
        S k _x 3 => k _x+null 3
        S k ~ 4
        S k zz 5 => k zz+null 5
        ",
    );
}

#[test]
fn a_global_table_is_described_as_a_sub_topology_without_tasks() {
    let expected = "Topologies:
   Sub-topology: 0 for global store (will not generate tasks)
    Source: KSTREAM-SOURCE-0000000001 (topics: [G])
      --> KTABLE-SOURCE-0000000002
    Processor: KTABLE-SOURCE-0000000002 (stores: [G-STATE-STORE])
      --> none
      <-- KSTREAM-SOURCE-0000000001
  Sub-topology: 1
    Source: KSTREAM-SOURCE-0000000003 (topics: [S])
      --> join
    Processor: join (stores: [])
      --> KSTREAM-SINK-0000000005
      <-- KSTREAM-SOURCE-0000000003
    Sink: KSTREAM-SINK-0000000005 (topic: out)
      <-- join

";
    assert_eq!(build(topology(false)).describe(), expected);
}

#[test]
fn every_task_sees_all_partitions_without_co_partitioning() {
    let topics = [NewTopic::new("G").partitions(3), NewTopic::new("S").partitions(2)];
    let config = StreamsConfig::new("test");
    let driver = TopologyTestDriver::with_topics(&build(topology(false)), config, &topics).unwrap();
    for key in ["a", "b", "c", "d", "e", "f"] {
        driver
            .input_topic::<String, String>("G")
            .pipe_input_at(key, format!("row {key}"), 1)
            .unwrap();
    }
    let stream = driver.input_topic::<Text, Text>("S");
    let mut expected = Vec::new();
    for (n, key) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let value = format!("{key}{n}");
        stream.pipe_input_at(value.clone(), value.clone(), 2).unwrap();
        expected.push((value.clone(), format!("{value}+row {key}"), 2));
    }
    let out = driver.output_topic::<String, String>("out").unwrap();
    assert_eq!(out.read_timed().unwrap(), expected);
    let row = driver.store_value::<String, String>("G-STATE-STORE", &"e".to_owned()).unwrap();
    assert_eq!(row.as_deref(), Some("row e"));
    // Nothing of it has a changelog; the rows are there again after a restart.
    driver.log().describe_topic("test-G-STATE-STORE-changelog").unwrap_err();
    driver.restart().unwrap();
    stream.pipe_input_at(Some("k".to_owned()), Some("f".to_owned()), 3).unwrap();
    assert_eq!(out.read_timed().unwrap(), [("k".to_owned(), "f+row f".to_owned(), 3)]);
}

#[test]
fn a_bad_record_of_a_global_table_is_skipped_or_stops_the_application() {
    let build = || {
        build(|builder| {
            let table = builder.global_table::<String, i64>("G");
            let stream = builder.stream::<String, String>("S");
            let joined = stream.join_global_table(&table, |_, v| v.clone(), |_, row: i64| row);
            joined.to("out");
        })
    };
    for response in [ErrorResponse::Skip, ErrorResponse::DeadLetter] {
        let config = StreamsConfig::new("test")
            .dead_letter_topic("dead")
            .deserialization_exception_handler(response);
        let driver = TopologyTestDriver::with_config(&build(), config).unwrap();
        driver.input_topic::<String, i64>("G").pipe_bytes(Some(b"a"), Some(b"bad"), 1).unwrap();
        driver.input_topic::<String, i64>("G").pipe_input_at("a", 5, 2).unwrap();
        driver.input_topic::<String, String>("S").pipe_input_at("k", "a", 3).unwrap();
        let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
        assert_eq!(out, [("k".to_owned(), 5, 3)]);
        assert_eq!(driver.metrics().unwrap().dropped_total(), 1);
    }
    let driver = TopologyTestDriver::new(&build()).unwrap();
    let bad = driver.input_topic::<String, i64>("G").pipe_bytes(Some(b"a"), Some(b"bad"), 1);
    assert!(bad.unwrap_err().to_string().starts_with("G-0@0 failed at KSTREAM-SOURCE"));
}

fn send(log: &Arc<dyn Log>, topic: &str, records: &[(&str, &str, i64)]) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (key, value, time) in records {
        let _receipt = producer
            .send(&ProducerRecord {
                partition: Some(PartitionId::new(0)),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: Some(Timestamp::from_millis(*time)),
                ..ProducerRecord::to(topic)
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

/// The values of topic `out`.
fn values(log: &Arc<dyn Log>) -> Vec<String> {
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config).unwrap();
    let topic = headwater_log_store::TopicName::new("out").unwrap();
    let partition = headwater_log_store::TopicPartition::new(topic, PartitionId::new(0));
    consumer.assign(&[partition]).unwrap();
    let batches = consumer.poll(Duration::ZERO).unwrap();
    let views = batches.iter().flat_map(|batch| batch.iter());
    views.map(|view| String::from_utf8(view.value.unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn the_topic_is_read_completely_before_the_first_record_and_a_replay_sees_it_as_of_the_reset() {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["G", "S", "out"] {
        log.create_topic(&NewTopic::new(topic)).unwrap();
    }
    // The rows are later than the records, and still there before them.
    send(&log, "S", &[("k", "a1", 1), ("k", "b1", 2)]);
    send(&log, "G", &[("a", "old", 90), ("b", "row", 91), ("a", "new", 92)]);
    let topology = build(topology(false));
    let config = || StreamsConfig::new("app").set("auto.offset.reset", "earliest").unwrap();
    let run = || {
        let streams = Streams::new(&topology, config(), Arc::clone(&log));
        streams.start().unwrap();
        assert!(streams.wait_until_caught_up_for(Duration::from_secs(30)).unwrap());
        streams
    };
    let streams = run();
    assert_eq!(values(&log), ["a1+new", "b1+row"]);
    let rows = streams.store::<String, String>("G-STATE-STORE");
    assert_eq!(rows.get(&"a".to_owned()).unwrap().as_deref(), Some("new"));
    streams.close().unwrap();
    Reset::new(&topology, &config()).empty_topic("out").plan(&log).unwrap().execute(&log).unwrap();
    // This comes after the reset, so the replay does not see it, but what follows does.
    send(&log, "G", &[("a", "later", 93)]);
    let streams = run();
    assert_eq!(values(&log), ["a1+new", "b1+row"]);
    send(&log, "S", &[("k", "a2", 3)]);
    assert!(streams.wait_until_caught_up_for(Duration::from_secs(30)).unwrap());
    assert_eq!(values(&log), ["a1+new", "b1+row", "a2+later"]);
    streams.close().unwrap();
    run().close().unwrap();
}
