//! Each operator through the test driver: the exact records, their times and their order.
//!
//! The expected records are those of Kafka Streams for the same input, record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::time::Duration;

use headwater_log_store::Timestamp;
use headwater_topology::{
    Consumed, DropReason, Headers, KStream, StreamsBuilder, TestRecord, TimeWindows,
    TimestampExtractor, TopologyTestDriver, Window, Windowed,
};

type Out = Vec<(String, String, i64)>;

/// Pipes (key, value, time) records through a topology from topic `in` to topic `out`.
fn run(build: impl Fn(KStream<String, String>), input: &[(&str, &str, i64)]) -> Out {
    let builder = StreamsBuilder::new();
    build(builder.stream("in"));
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let topic = driver.input_topic::<String, String>("in");
    for (key, value, timestamp_ms) in input {
        topic.pipe_input_at(*key, *value, *timestamp_ms).unwrap();
    }
    driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap()
}

fn expect(out: &Out, expected: &[(&str, &str, i64)]) {
    let out: Vec<(&str, &str, i64)> =
        out.iter().map(|(key, value, time)| (key.as_str(), value.as_str(), *time)).collect();
    assert_eq!(out, expected);
}

#[test]
fn filters_keep_and_drop_in_order() {
    let input = [("a", "1", 5), ("b", "22", 3), ("c", "3", 9)];
    expect(
        &run(|s| drop(s.filter(|_, v| v.len() == 1).to("out")), &input),
        &[("a", "1", 5), ("c", "3", 9)],
    );
    expect(
        &run(|s| drop(s.filter_not(|k, _| k == "a").to("out")), &input),
        &[("b", "22", 3), ("c", "3", 9)],
    );
}

#[test]
fn maps_change_key_and_value_and_keep_the_time() {
    let input = [("k", "v", 7)];
    expect(&run(|s| drop(s.map(|k, v| (v, k)).to("out")), &input), &[("v", "k", 7)]);
    expect(&run(|s| drop(s.map_values(|v| v + "!").to("out")), &input), &[("k", "v!", 7)]);
    expect(
        &run(|s| drop(s.map_values_with_key(|k, v| format!("{k}{v}")).to("out")), &input),
        &[("k", "kv", 7)],
    );
    expect(
        &run(|s| drop(s.select_key(|k, v| format!("{v}{k}")).to("out")), &input),
        &[("vk", "v", 7)],
    );
}

#[test]
fn flat_maps_send_all_results_in_order_with_the_time_of_their_record() {
    let input = [("k", "a b", 7), ("l", "", 8)];
    let words = |v: String| v.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    expect(
        &run(move |s| drop(s.flat_map_values(words).to("out")), &input),
        &[("k", "a", 7), ("k", "b", 7)],
    );
    expect(
        &run(|s| drop(s.flat_map(|k, v| [(v.clone(), k.clone()), (k, v)]).to("out")), &input),
        &[("a b", "k", 7), ("k", "a b", 7), ("", "l", 8), ("l", "", 8)],
    );
}

#[test]
fn a_merge_processes_depth_first_in_the_order_of_declaration() {
    let build = |s: KStream<String, String>| {
        let one = s.map_values(|v| v + "1");
        let two = s.map_values(|v| v + "2");
        one.merge(&two).to("out");
    };
    expect(
        &run(build, &[("k", "a", 1), ("k", "b", 2)]),
        &[("k", "a1", 1), ("k", "a2", 1), ("k", "b1", 2), ("k", "b2", 2)],
    );
}

#[test]
fn peek_sees_each_record_and_passes_it_on() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (peeked, consumed) = (Arc::clone(&seen), Arc::clone(&seen));
    let build = move |s: KStream<String, String>| {
        let (peeked, consumed) = (Arc::clone(&peeked), Arc::clone(&consumed));
        let passed = s.peek(move |_, v| peeked.lock().unwrap().push(format!("peek {v}")));
        passed.to("out");
        passed.for_each(move |_, v| consumed.lock().unwrap().push(format!("each {v}")));
    };
    expect(&run(build, &[("k", "x", 1)]), &[("k", "x", 1)]);
    assert_eq!(*seen.lock().unwrap(), ["peek x", "each x"]);
}

#[test]
fn headers_go_with_the_record_through_repartition_topics_and_aggregations() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .group_by(|_, value| value.clone())
        .count("counts")
        .to_stream()
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let headers = Headers::from_pairs([("h", Some(&b"1"[..])), ("h", None)]);
    let record = TestRecord::new("k", "v", 3).with_headers(headers.clone());
    driver.input_topic::<String, String>("in").pipe_record(&record).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_records().unwrap();
    assert_eq!(out, [TestRecord::new("v", 1, 3).with_headers(headers)]);
}

#[test]
fn a_count_carries_the_largest_time_of_its_key_and_drops_nulls() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Option<String>, Option<String>>("in")
        .group_by_key()
        .count("counts")
        .to_stream()
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Option<String>, Option<String>>("in");
    input.pipe_input_at(Some("k".to_owned()), Some("a".to_owned()), 10).unwrap();
    input.pipe_input_at(Some("k".to_owned()), Some("b".to_owned()), 5).unwrap();
    input.pipe_input_at(Some("k".to_owned()), None, 20).unwrap();
    input.pipe_input_at(None, Some("c".to_owned()), 30).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("k".to_owned(), 1, 10), ("k".to_owned(), 2, 10)]);
    let metrics = driver.metrics().unwrap();
    assert_eq!(metrics.dropped(DropReason::NullValue), 1);
    assert_eq!(metrics.dropped(DropReason::NullKey), 1);
}

#[test]
fn a_source_drops_nulls_that_its_type_does_not_have() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    input.pipe_bytes(None, Some(b"v"), 1).unwrap();
    input.pipe_bytes(Some(b"k"), None, 2).unwrap();
    input.pipe_bytes(Some(b"k"), Some(b"v"), 3).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("k".to_owned(), "v".to_owned(), 3)]);
    let metrics = driver.metrics().unwrap();
    assert_eq!(metrics.dropped(DropReason::NullKey), 1);
    assert_eq!(metrics.dropped(DropReason::NullValue), 1);
}

#[test]
fn reduce_takes_the_first_value_as_it_is() {
    let build = |s: KStream<String, String>| {
        let reduced = s.group_by_key().reduce(|old, new| old + &new, "joined");
        reduced.to_stream().to("out");
    };
    expect(
        &run(build, &[("k", "a", 1), ("l", "x", 2), ("k", "b", 1)]),
        &[("k", "a", 1), ("l", "x", 2), ("k", "ab", 1)],
    );
}

#[test]
fn an_aggregate_that_returns_none_deletes_the_row_and_starts_anew() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .group_by_key()
        .aggregate(
            || "i".to_owned(),
            |_, value, so_far| (value != "DEL").then(|| so_far + &value),
            "folded",
        )
        .to_stream()
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for (value, time) in [("a", 10), ("DEL", 5), ("DEL", 6), ("c", 3)] {
        input.pipe_input_at("k", value, time).unwrap();
    }
    let out = driver.output_topic::<String, Option<String>>("out").unwrap().read_timed().unwrap();
    let expected = [(Some("ia"), 10), (None, 10), (None, 6), (Some("ic"), 3)];
    let expected = expected.map(|(value, time)| ("k".to_owned(), value.map(str::to_owned), time));
    assert_eq!(out, expected);
}

#[test]
fn a_table_filter_turns_rows_that_no_longer_match_into_tombstones_once() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .group_by_key()
        .reduce(|_, new| new, "latest")
        .filter(|_, value| value.starts_with('y'))
        .map_values(|value| value + "!")
        .to_stream()
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for (value, time) in [("n1", 1), ("y1", 2), ("n2", 3), ("n3", 4)] {
        input.pipe_input_at("a", value, time).unwrap();
    }
    let out = driver.output_topic::<String, Option<String>>("out").unwrap().read_timed().unwrap();
    let a = || "a".to_owned();
    assert_eq!(out, [(a(), Some("y1!".to_owned()), 2), (a(), None, 3)]);
}

fn windowed(
    size_ms: u64,
    grace_ms: u64,
    times: &[i64],
) -> (Vec<(Windowed<String>, i64, i64)>, u64) {
    let windows = TimeWindows::of_size_and_grace(
        Duration::from_millis(size_ms),
        Duration::from_millis(grace_ms),
    );
    let builder = StreamsBuilder::new();
    let counts = builder.stream::<String, String>("in").group_by_key().windowed_by(windows);
    counts.count("counts").to_stream().to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for time in times {
        input.pipe_input_at("k", "v", *time).unwrap();
    }
    let keys = std::sync::Arc::new(headwater_topology::TimeWindowedSerde::new(
        std::sync::Arc::new(headwater_topology::StringSerde),
        Duration::from_millis(size_ms),
    ));
    let values = std::sync::Arc::new(headwater_topology::NumberSerde);
    let out = driver.output_topic_with::<Windowed<String>, i64>("out", keys, values).unwrap();
    (out.read_timed().unwrap(), driver.metrics().unwrap().dropped(DropReason::Late))
}

fn window(start_ms: i64, end_ms: i64) -> Windowed<String> {
    Windowed { key: "k".to_owned(), window: Window { start_ms, end_ms } }
}

#[test]
fn a_late_record_is_dropped_and_counted_when_its_window_has_closed() {
    let (out, late) = windowed(10, 0, &[5, 9, 7, 10, 9]);
    assert_eq!(
        out,
        [
            (window(0, 10), 1, 5),
            (window(0, 10), 2, 9),
            (window(0, 10), 3, 9),
            (window(10, 20), 1, 10),
        ]
    );
    assert_eq!(late, 1);
}

#[test]
fn grace_keeps_a_window_open() {
    let (out, late) = windowed(10, 5, &[9, 14, 8, 15, 8]);
    assert_eq!(
        out,
        [
            (window(0, 10), 1, 9),
            (window(10, 20), 1, 14),
            (window(0, 10), 2, 9),
            (window(10, 20), 2, 15),
        ]
    );
    assert_eq!(late, 1);
}

#[test]
fn windowed_counts_count_null_values() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, Option<String>>("in")
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_millis(10)))
        .count("counts")
        .to_stream()
        .map(|key, count| (key.key, count))
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<String, Option<String>>("in").pipe_input_at("k", None, 11).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("k".to_owned(), 1, 11)]);
}

#[test]
fn event_time_comes_from_the_extractor_and_records_without_one_are_dropped() {
    let by_value = TimestampExtractor::from_fn(|_: &String, value: &i64| {
        (*value != 13).then(|| Timestamp::from_millis(*value))
    });
    let builder = StreamsBuilder::new();
    builder.stream_with("in", Consumed::new().with_timestamp_extractor(by_value)).to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, i64>("in");
    for value in [40, 13, -1, 7] {
        input.pipe_input_at("k", value, 99).unwrap();
    }
    let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("k".to_owned(), 40, 40), ("k".to_owned(), 7, 7)]);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::InvalidTimestamp), 2);
}

#[test]
fn the_lowest_timestamp_among_the_heads_goes_first() {
    // The records lie in the log before the application starts, so both queues are filled.
    let builder = StreamsBuilder::new();
    let left = builder.stream::<String, String>("a");
    left.merge(&builder.stream("b")).to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.close();
    let (a, b) = (driver.input_topic("a"), driver.input_topic("b"));
    for (time, topic) in [(10, &a), (30, &a), (5, &a), (20, &b), (31, &b)] {
        let record = TestRecord::<String, String>::new("k", time.to_string(), time);
        assert!(topic.pipe_record(&record).is_err(), "the application is closed");
    }
    driver.restart().unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    let times: Vec<i64> = out.into_iter().map(|(_, _, time)| time).collect();
    assert_eq!(times, [10, 20, 30, 5, 31]);
}
