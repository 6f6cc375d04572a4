//! Joins of streams with tables through the test driver.
//!
//! The expected records are those of Kafka Streams for the same input, record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use headwater_log_store::NewTopic;
use headwater_topology::{
    DropReason, Error, Headers, StreamsBuilder, StreamsConfig, TestRecord, Topology,
    TopologyTestDriver,
};

type Text = Option<String>;

fn text(value: &str) -> Text {
    (value != "~").then(|| value.to_owned())
}

fn plus(value: Text, row: Text) -> String {
    format!("{}+{}", value.unwrap_or_default(), row.unwrap_or_else(|| "null".to_owned()))
}

/// Stream topic `S`, table topic `T`, results in `out`.
fn topology(left: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<Text, Text>("S");
    let table = builder.table::<Text, String>("T");
    let joined = match left {
        false => stream.join_table(&table, |value, row| plus(value, Some(row))),
        true => stream.left_join_table(&table, plus),
    };
    joined.to("out");
    builder.build().unwrap()
}

/// Input and output as `topic key value time`; `~` is null.
fn check(topology: &Topology, input: &[(&str, &str, &str, i64)], expected: &[(&str, &str, i64)]) {
    let driver = TopologyTestDriver::new(topology).unwrap();
    for (topic, key, value, time) in input {
        let topic = driver.input_topic::<Text, Text>(topic);
        topic.pipe_input_at(text(key), text(value), *time).unwrap();
    }
    let out = driver.output_topic::<Text, String>("out").unwrap().read_timed().unwrap();
    let out: Vec<(String, String, i64)> = out
        .into_iter()
        .map(|(key, value, time)| (key.unwrap_or_else(|| "~".to_owned()), value, time))
        .collect();
    let out: Vec<(&str, &str, i64)> =
        out.iter().map(|(key, value, time)| (key.as_str(), value.as_str(), *time)).collect();
    assert_eq!(out, expected);
}

const INPUT: [(&str, &str, &str, i64); 5] = [
    ("S", "k", "A", 10),
    ("T", "k", "t1", 20),
    ("S", "k", "B", 5),
    ("T", "k", "~", 30),
    ("S", "k", "C", 31),
];

#[test]
fn only_the_stream_triggers_and_the_row_of_now_counts_whatever_its_time() {
    check(&topology(false), &INPUT, &[("k", "B+t1", 5)]);
}

#[test]
fn a_left_join_has_a_result_for_every_record() {
    let expected = [("k", "A+null", 10), ("k", "B+t1", 5), ("k", "C+null", 31)];
    check(&topology(true), &INPUT, &expected);
}

#[test]
fn a_row_that_came_out_of_order_replaces_a_newer_one() {
    let input = [("T", "k", "t1", 10), ("T", "k", "t0", 4), ("S", "k", "a", 11)];
    check(&topology(false), &input, &[("k", "a+t0", 11)]);
}

#[test]
fn null_values_are_dropped_and_null_keys_only_by_an_inner_join() {
    let input = [("S", "~", "A", 1), ("S", "k", "~", 2)];
    check(&topology(false), &input, &[]);
    check(&topology(true), &input, &[("~", "A+null", 1)]);
    let driver = TopologyTestDriver::new(&topology(false)).unwrap();
    driver.input_topic::<Text, Text>("S").pipe_input_at(None, text("A"), 1).unwrap();
    driver.input_topic::<Text, Text>("S").pipe_input_at(text("k"), None, 1).unwrap();
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::NullKey), 1);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::NullValue), 1);
}

#[test]
fn a_joiner_sees_the_key_and_the_result_has_the_headers_of_the_record() {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, i64>("T");
    builder
        .stream::<String, i64>("S")
        .join_table_with(&table, |key, value, row| format!("{key}{}", value + row), "sum")
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<String, i64>("T").pipe_input_at("k", 2_i64, 1).unwrap();
    let headers = Headers::from_pairs([("h", Some(&b"1"[..]))]);
    let record = TestRecord::new("k", 3_i64, 7).with_headers(headers.clone());
    driver.input_topic::<String, i64>("S").pipe_record(&record).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_records().unwrap();
    assert_eq!(out, [TestRecord::new("k", "k5", 7).with_headers(headers)]);
}

#[test]
fn a_table_of_a_table_is_joined_through_the_rows_of_the_topic() {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("T");
    let passed = table.filter(|_, v| v != "no").map_values(|v| v + "!");
    builder.stream::<String, String>("S").join_table(&passed, |v, row| v + &row).to("out");
    let topology = builder.build().unwrap();
    let input = [("T", "k", "yes", 1), ("S", "k", "a", 2), ("T", "k", "no", 3), ("S", "k", "b", 4)];
    check(&topology, &input, &[("k", "ayes!", 2)]);
    assert!(topology.describe().contains("stores: [T-STATE-STORE]"), "{}", topology.describe());
}

#[test]
fn an_aggregation_is_joined_through_its_own_store() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("S");
    let counts = stream.group_by_key().count("counts");
    stream.join_table(&counts, |value, count| format!("{value}{count}")).to("out");
    check(
        &builder.build().unwrap(),
        &[("S", "k", "a", 1), ("S", "k", "b", 2), ("S", "j", "c", 3)],
        &[("k", "a1", 1), ("k", "b2", 2), ("j", "c1", 3)],
    );
}

#[test]
fn a_changed_key_goes_through_a_repartition_topic_with_as_many_partitions_as_the_table() {
    let build = |left: bool| {
        let builder = StreamsBuilder::new();
        let table = builder.table::<Text, String>("T");
        let stream = builder.stream::<Text, Text>("S").map(|key, value| (value, key));
        match left {
            false => stream.join_table_with(&table, |_, v, r| plus(v, Some(r)), "by-value"),
            true => stream.left_join_table_with(&table, |_, v, r| plus(v, r), "by-value"),
        }
        .to("out");
        builder.build().unwrap()
    };
    let input = [("T", "k", "t1", 1), ("S", "A", "k", 5), ("S", "A", "~", 6)];
    check(&build(false), &input, &[("k", "A+t1", 5)]);
    // The left join has a use for null keys, so they pass the repartition topic.
    check(&build(true), &input, &[("k", "A+t1", 5), ("~", "A+null", 6)]);
    let topics = [NewTopic::new("T").partitions(3), NewTopic::new("S").partitions(2)];
    let driver =
        TopologyTestDriver::with_topics(&build(false), StreamsConfig::new("test"), &topics)
            .unwrap();
    let repartition = driver.log().describe_topic("test-by-value-repartition").unwrap();
    assert_eq!(repartition.partitions, 3);
    for n in 0..20 {
        let key = format!("k{n}");
        driver.input_topic::<String, String>("T").pipe_input_at(&*key, "row", n).unwrap();
        driver.input_topic::<String, String>("S").pipe_input_at(format!("v{n}"), &*key, n).unwrap();
    }
    let mut out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    out.sort_by_key(|(_, _, time)| *time);
    let expected: Vec<_> = (0..20).map(|n| (format!("k{n}"), format!("v{n}+row"), n)).collect();
    assert_eq!(out, expected);
}

#[test]
fn topics_that_are_not_co_partitioned_are_named_with_their_counts() {
    let topics = [NewTopic::new("T").partitions(3), NewTopic::new("S").partitions(2)];
    let config = StreamsConfig::new("test");
    let error = TopologyTestDriver::with_topics(&topology(false), config, &topics).unwrap_err();
    assert!(matches!(error, Error::NotCoPartitioned { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "topics are not co-partitioned: S has 2 partitions, T has 3 partitions"
    );
}

#[test]
fn a_repartition_topic_wants_a_name_that_does_not_change_with_the_topology() {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("T");
    let stream = builder.stream::<String, String>("S").map(|key, value| (value, key));
    let _ = stream.join_table(&table, |value, row| value + &row);
    let error = builder.build().unwrap_err().to_string();
    assert!(
        error.starts_with("the join below KSTREAM-MAP-0000000004: the key was changed"),
        "{error}"
    );
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("T");
    let stream = builder.stream::<String, String>("S").map(|k, v| (v, k)).named("swapped");
    let _ = stream.join_table(&table, |value, row| value + &row);
    let _ = stream.left_join_table(&table, |value, row| value + &row.unwrap_or_default());
    let text = builder.build().unwrap().describe();
    assert_eq!(text.matches("(topics: [swapped-repartition])").count(), 1, "{text}");
}
