//! The test driver itself: times of input topics, ways to read, stores of all kinds, and the topics
//! that an application writes.
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{Log, LogStore, NewTopic, ProducerConfig, ProducerRecord, Timestamp};
use headwater_topology::{
    Materialized, SessionWindow, SessionWindows, Streams, StreamsBuilder, StreamsConfig,
    TestRecord, TopologyTestDriver, Windowed,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn copies() -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    builder.stream::<Option<String>, Option<String>>("in").to("out");
    TopologyTestDriver::new(&builder.build().unwrap()).unwrap()
}

#[test]
fn records_without_a_time_have_that_of_the_topic_or_of_the_wall_clock() {
    let driver = copies();
    let input = driver.input_topic::<Option<String>, Option<String>>("in");
    let some = |text: &str| Some(text.to_owned());
    driver.advance_wall_clock(ms(7)).unwrap();
    input.pipe_input(some("a"), some("1")).unwrap();
    input.advance_time(ms(3));
    input.pipe_input(some("a"), some("2")).unwrap();
    driver.advance_wall_clock(ms(50)).unwrap();
    input.pipe_value(some("3")).unwrap();
    let input = input.with_start(Timestamp::from_millis(100), ms(10));
    input.pipe_tombstone(some("a")).unwrap();
    input.pipe_input(some("a"), some("4")).unwrap();
    // A time of its own moves nothing.
    input.pipe_records(&[TestRecord::new(some("a"), some("5"), 9)]).unwrap();
    input.pipe_key_values([(some("b"), some("6")), (some("b"), some("7"))]).unwrap();
    let out = driver.output_topic::<Option<String>, Option<String>>("out").unwrap();
    let expected = [
        (some("a"), some("1"), 7),
        (some("a"), some("2"), 10),
        (None, some("3"), 10),
        (some("a"), None, 100),
        (some("a"), some("4"), 110),
        (some("a"), some("5"), 9),
        (some("b"), some("6"), 120),
        (some("b"), some("7"), 130),
    ];
    assert_eq!(out.read_timed().unwrap(), expected);
}

#[test]
fn an_output_topic_is_read_record_by_record_or_all_at_once() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    let out = driver.output_topic::<String, String>("out").unwrap();
    assert!(out.is_empty().unwrap());
    input.pipe_key_values([("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5")]).unwrap();
    assert_eq!(out.queue_size().unwrap(), 5);
    assert_eq!(out.read_record().unwrap(), Some(TestRecord::new("a", "1", 0)));
    assert_eq!(out.read_key_value().unwrap(), Some(("b".to_owned(), "2".to_owned())));
    assert_eq!(out.read_value().unwrap(), Some("3".to_owned()));
    let map = HashMap::from([("c", "4"), ("a", "5")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(out.read_key_values_to_map().unwrap(), map);
    assert_eq!(out.read_value().unwrap(), None);
    input.pipe_input("a", "6").unwrap();
    assert!(!out.is_empty().unwrap());
    assert_eq!(out.read_values().unwrap(), ["6"]);
}

#[test]
fn the_topics_that_were_written_are_named_and_those_that_were_only_read_are_not() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.group_by(|_, value| value.clone()).count("counts").to_stream().to("out");
    stream.filter(|_, value| value == "never").to("empty");
    stream.to_by(|_, value| format!("values-{value}"));
    let topology = builder.build().unwrap();
    let topics = [NewTopic::new("in").partitions(2), NewTopic::new("values-a")];
    let driver =
        TopologyTestDriver::with_topics(&topology, StreamsConfig::new("app"), &topics).unwrap();
    assert_eq!(driver.produced_topic_names().unwrap(), BTreeSet::new());
    driver.input_topic::<String, String>("in").pipe_input("k", "a").unwrap();
    let names = ["app-counts-changelog", "app-counts-repartition", "out", "values-a"];
    assert_eq!(driver.produced_topic_names().unwrap(), names.map(str::to_owned).into());
}

#[test]
fn a_versioned_store_is_read_as_of_a_time() {
    let builder = StreamsBuilder::new();
    let history = ms(100);
    let kept = Materialized::<String, String>::named("prices").versioned(history);
    builder.table_with("prices", kept).to_stream().to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let prices = driver.input_topic::<String, String>("prices");
    prices.pipe_input_at("tea", "3", 10).unwrap();
    prices.pipe_input_at("tea", "4", 30).unwrap();
    let tea = "tea".to_owned();
    let version = |as_of: i64| {
        let as_of = Timestamp::from_millis(as_of);
        let found = driver.versioned_store_value_as_of::<String, String>("prices", &tea, as_of);
        found.unwrap().map(|found| (found.value, found.valid_to.map(Timestamp::as_millis)))
    };
    assert_eq!(version(9), None);
    assert_eq!(version(29), Some(("3".to_owned(), Some(30))));
    assert_eq!(version(30), Some(("4".to_owned(), None)));
    let newest = driver.versioned_store_value::<String, String>("prices", &tea).unwrap().unwrap();
    assert_eq!((newest.value.as_str(), newest.timestamp.as_millis()), ("4", 30));
}

/// Interactive queries of sessions, over two tasks.
#[test]
fn the_sessions_of_a_running_application_are_read() {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    log.create_topic(&NewTopic::new("clicks").partitions(2)).unwrap();
    let builder = StreamsBuilder::new();
    let windows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(1_000));
    let clicks = builder.stream::<String, String>("clicks").group_by_key();
    clicks.windowed_by(windows).count("sessions");
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (key, time) in [("a", 1), ("a", 9), ("b", 5), ("c", 30), ("a", 50), ("b", 70)] {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(b"click"),
                timestamp: Some(Timestamp::from_millis(time)),
                ..ProducerRecord::to("clicks")
            })
            .unwrap();
    }
    producer.flush().unwrap();
    let topology = builder.build().unwrap();
    let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    let sessions = streams.session_store::<String, i64>("sessions");
    let row = |key: &str, start_ms, end_ms, count| {
        (Windowed { key: key.to_owned(), window: SessionWindow { start_ms, end_ms } }, count)
    };
    let a = "a".to_owned();
    assert_eq!(sessions.fetch(&a).unwrap(), [row("a", 1, 9, 2), row("a", 50, 50, 1)]);
    assert_eq!(sessions.find_sessions(&a, 9, 49).unwrap(), [row("a", 1, 9, 2)]);
    assert_eq!(sessions.find_sessions(&a, 10, 49).unwrap(), []);
    let all = sessions.fetch_all(9, 50).unwrap();
    assert_eq!(all, [row("a", 1, 9, 2), row("c", 30, 30, 1), row("a", 50, 50, 1)]);
    let other = streams.session_store::<String, i64>("nothing").fetch(&a).unwrap_err();
    assert_eq!(other.to_string(), "there is no store nothing: the topology has sessions");
    streams.close().unwrap();
}
