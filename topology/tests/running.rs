//! Running applications: start, stop and restart, restored stores, queries, and exactly-once
//! output across many deaths.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Log, LogStore, NewTopic, PartitionId, Producer, ProducerConfig, ProducerRecord, Timestamp,
};
use headwater_topology::{
    DropReason, Error, Materialized, ProcessingGuarantee, Streams, StreamsBuilder, StreamsConfig,
    StreamsState, TestRecord, TimeWindows, Topology, TopologyTestDriver, Window, Windowed,
};

fn counting() -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").group_by_key().count("counts").to_stream().to("out");
    builder.build().unwrap()
}

fn log_with(topics: &[(&str, u32)]) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for (topic, partitions) in topics {
        log.create_topic(&NewTopic::new(*topic).partitions(*partitions)).unwrap();
    }
    log
}

fn send(producer: &mut dyn Producer, key: &str, time: i64) {
    let receipt = producer
        .send(&ProducerRecord {
            key: Some(key.as_bytes()),
            value: Some(b"v"),
            timestamp: Some(Timestamp::from_millis(time)),
            ..ProducerRecord::to("in")
        })
        .unwrap();
    receipt.wait().unwrap();
}

#[test]
fn an_application_follows_its_input_and_answers_queries() {
    let log = log_with(&[("in", 3), ("out", 1)]);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let streams = Streams::new(&counting(), StreamsConfig::new("app"), Arc::clone(&log));
    assert_eq!(streams.state(), StreamsState::Created);
    streams.start().unwrap();
    assert_eq!(streams.state(), StreamsState::Running);
    for round in 1..=3 {
        for key in ["c", "a", "b"] {
            send(producer.as_mut(), key, round);
        }
        streams.wait_until_caught_up().unwrap();
        let counts = streams.store::<String, i64>("counts");
        assert_eq!(counts.get(&"a".to_owned()).unwrap(), Some(round));
        assert_eq!(counts.get(&"z".to_owned()).unwrap(), None);
        let rows = ["a", "b", "c"].map(|key| (key.to_owned(), round));
        assert_eq!(counts.all().unwrap(), rows);
        assert_eq!(counts.range("b".to_owned()..).unwrap(), rows[1..]);
        assert_eq!(counts.range("a".to_owned().."c".to_owned()).unwrap(), rows[..2]);
    }
    let progress = streams.progress();
    assert_eq!((progress.records_processed, progress.lag, progress.caught_up), (9, 0, true));
    streams.close().unwrap();
    assert_eq!(streams.state(), StreamsState::NotRunning);
    assert!(matches!(streams.wait_until_caught_up(), Err(Error::NotRunning { .. })));
}

#[test]
fn queries_of_unknown_stores_and_wrong_types_say_what_there_is() {
    let log = log_with(&[("in", 1), ("out", 1)]);
    let streams = Streams::new(&counting(), StreamsConfig::new("app"), log);
    streams.start().unwrap();
    let error = streams.store::<String, i64>("other").all().unwrap_err().to_string();
    assert_eq!(error, "there is no store other: the topology has counts");
    let error = streams.store::<String, String>("counts").all().unwrap_err();
    assert!(matches!(error, Error::StoreType { .. }), "{error}");
}

#[test]
fn a_store_of_many_rows_is_read_in_pages_without_gaps() {
    let log = log_with(&[("in", 2), ("out", 1)]);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let keys: Vec<String> = (0..1_000).map(|n| format!("k{n:04}")).collect();
    for key in &keys {
        send(producer.as_mut(), key, 1);
    }
    let streams = Streams::new(&counting(), StreamsConfig::new("app"), log);
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    let rows = streams.store::<String, i64>("counts").all().unwrap();
    let expected: Vec<(String, i64)> = keys.into_iter().map(|key| (key, 1)).collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_restart_restores_the_stores_and_goes_on_at_the_committed_offsets() {
    for guarantee in [ProcessingGuarantee::ExactlyOnceV2, ProcessingGuarantee::AtLeastOnce] {
        let log = log_with(&[("in", 2), ("out", 1)]);
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        for round in 1..=3 {
            let config = StreamsConfig::new("app").processing_guarantee(guarantee);
            let streams = Streams::new(&counting(), config, Arc::clone(&log));
            streams.start().unwrap();
            for key in ["a", "b", "a"] {
                send(producer.as_mut(), key, round);
            }
            streams.wait_until_caught_up().unwrap();
            let counts = streams.store::<String, i64>("counts");
            assert_eq!(
                counts.all().unwrap(),
                [("a".to_owned(), 2 * round), ("b".to_owned(), round)]
            );
            streams.close().unwrap();
            assert_eq!(streams.progress().records_processed, 3, "{guarantee:?}: nothing twice");
        }
    }
}

#[test]
fn a_missing_topic_is_an_error_that_names_it_and_its_node() {
    let check = |topics: &[(&str, u32)], config: StreamsConfig, expected: &str| {
        let streams = Streams::new(&counting(), config, log_with(topics));
        assert_eq!(streams.start().unwrap_err().to_string(), expected);
        assert_eq!(streams.state(), StreamsState::Error);
    };
    check(
        &[("out", 1)],
        StreamsConfig::new("app"),
        "topic in of KSTREAM-SOURCE-0000000000 does not exist: create it before the application \
         starts",
    );
    check(
        &[("in", 1)],
        StreamsConfig::new("app"),
        "topic out of KSTREAM-SINK-0000000003 does not exist: create it before the application \
         starts",
    );
    check(
        &[("in", 1), ("out", 1)],
        StreamsConfig::new("app").dead_letter_topic("dead"),
        "topic dead of errors.dead.letter.queue.topic.name does not exist: create it before the \
         application starts",
    );
}

#[test]
fn a_store_over_topics_that_are_not_co_partitioned_is_refused() {
    let builder = StreamsBuilder::new();
    let merged = builder.stream::<String, String>("in").merge(&builder.stream("other"));
    merged.group_by_key().count("counts");
    let log = log_with(&[("in", 2), ("other", 3)]);
    let streams = Streams::new(&builder.build().unwrap(), StreamsConfig::new("app"), log);
    assert_eq!(
        streams.start().unwrap_err().to_string(),
        "topics are not co-partitioned: in has 2 partitions, other has 3 partitions"
    );
}

#[test]
fn one_source_of_several_topics_feeds_one_stream() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>(["one", "two"]).group_by_key().count("counts");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    for topic in ["one", "two", "two"] {
        driver.input_topic::<String, String>(topic).pipe_input_at("k", "v", 1).unwrap();
    }
    assert_eq!(driver.store_value::<String, i64>("counts", &"k".to_owned()).unwrap(), Some(3));
}

#[test]
fn a_store_without_a_changelog_is_empty_after_a_restart() {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    grouped.count("kept");
    grouped.count(Materialized::named("lost").without_logging());
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<String, String>("in").pipe_input_at("k", "v", 7).unwrap();
    driver.restart().unwrap();
    let rows = |store: &str| driver.store_rows::<String, i64>(store).unwrap();
    assert_eq!(rows("kept"), [("k".to_owned(), 1, 7)]);
    assert_eq!(rows("lost"), []);
    assert_eq!(driver.metrics().unwrap().records_restored, 1);
}

#[test]
fn windows_and_their_stream_time_survive_a_restart() {
    let windows =
        TimeWindows::of_size_and_grace(Duration::from_millis(10), Duration::from_millis(10));
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    grouped.windowed_by(windows).count("windows");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for time in [5, 15, 25] {
        input.pipe_input_at("k", "v", time).unwrap();
    }
    driver.restart().unwrap();
    // 25 - 10 lies past the end of the first window, but not of the second.
    input.pipe_input_at("k", "v", 9).unwrap();
    input.pipe_input_at("k", "v", 19).unwrap();
    let key = |start_ms: i64| Windowed {
        key: "k".to_owned(),
        window: Window { start_ms, end_ms: start_ms + 10 },
    };
    let rows = driver.window_store_rows::<String, i64>("windows", windows).unwrap();
    assert_eq!(rows, [(key(10), 2, 19), (key(20), 1, 25)]);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::Late), 1);
}

#[test]
fn a_window_store_answers_queries_of_a_running_application() {
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    let counts = grouped
        .windowed_by(windows)
        .count(Materialized::named("windows").with_retention(Duration::from_secs(60)));
    counts.to_stream().to("out");
    let log = log_with(&[("in", 2), ("out", 1)]);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (key, time) in [("b", 1), ("a", 2), ("a", 12)] {
        send(producer.as_mut(), key, time);
    }
    let streams = Streams::new(&builder.build().unwrap(), StreamsConfig::new("app"), log);
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    let store = streams.window_store::<String, i64>("windows", windows);
    let row = |key: &str, start_ms: i64| {
        let window = Window { start_ms, end_ms: start_ms + 10 };
        (Windowed { key: key.to_owned(), window }, 1)
    };
    assert_eq!(store.fetch(&"a".to_owned(), 0, 99).unwrap(), [row("a", 0), row("a", 10)]);
    assert_eq!(store.fetch(&"a".to_owned(), 5, 99).unwrap(), [row("a", 10)]);
    let mut all = store.fetch_all(0, 99).unwrap();
    all.sort();
    assert_eq!(all, [row("a", 0), row("a", 10), row("b", 0)]);
}

#[test]
fn a_topic_with_several_partitions_has_a_task_for_each() {
    let topics = [NewTopic::new("in").partitions(3)];
    let driver =
        TopologyTestDriver::with_topics(&counting(), StreamsConfig::new("test"), &topics).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for partition in 0..3 {
        let record = TestRecord::new(format!("k{partition}"), "v", 1);
        input.pipe_record_to(partition, &record).unwrap();
    }
    let changelog = driver.log().describe_topic("test-counts-changelog").unwrap();
    assert_eq!(changelog.partitions, 3);
    assert_eq!(driver.store_rows::<String, i64>("counts").unwrap().len(), 3);
}

#[test]
fn exactly_once_output_is_a_fold_of_the_input_however_often_the_application_is_killed() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let mut state: u64 = seed;
    let mut random = move |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let topics = [NewTopic::new("in").partitions(2), NewTopic::new("out").partitions(1)];
    let driver =
        TopologyTestDriver::with_topics(&counting(), StreamsConfig::new("test"), &topics).unwrap();
    let input = driver.input_topic::<String, String>("in");
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let mut outputs = Vec::new();
    for time in 0..500 {
        let key = format!("k{}", random(9));
        let partition = u32::from(key.as_str() > "k4");
        let count = expected.entry(key.clone()).or_insert(0);
        *count += 1;
        outputs.push((key.clone(), *count));
        let record = TestRecord::new(key, "v", time);
        if random(5) == 0 {
            // Dead while the record arrives: the next start finds it in the log.
            driver.close();
            input.pipe_record_to(partition, &record).unwrap_err();
            driver.restart().unwrap();
        } else {
            input.pipe_record_to(partition, &record).unwrap();
        }
    }
    let out = driver.output_topic::<String, i64>("out").unwrap().read_key_values().unwrap();
    assert_eq!(out, outputs);
    let rows: BTreeMap<String, i64> = driver
        .store_rows::<String, i64>("counts")
        .unwrap()
        .into_iter()
        .map(|(key, count, _)| (key, count))
        .collect();
    assert_eq!(rows, expected);
    let offset = |partition| {
        let offsets = driver.log().group_offsets("test").unwrap();
        let of = offsets.iter().find(|(tp, _)| {
            tp.topic.as_str() == "in" && tp.partition == PartitionId::new(partition)
        });
        of.map_or(0, |(_, committed)| committed.offset.value())
    };
    assert_eq!(offset(0) + offset(1), 500);
}
