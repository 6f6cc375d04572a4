//! Joins whose records wait for the rows of a versioned table: what Kafka Streams 4.3.1 gives for the
//! same records. The long scripts were recorded from it.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_topology::{
    DropReason, ErrorResponse, Headers, Joined, Materialized, StreamsBuilder, StreamsConfig,
    TestRecord, TopologyConfig, TopologyTestDriver,
};
use runner::{build_error, check, check_compat};

type Text = Option<String>;

fn null(text: Text) -> String {
    text.unwrap_or_else(|| "null".to_owned())
}

/// Five minutes, as in the recorded cases.
const LONG_MS: u64 = 300_000;

/// Stream `S` and the versioned table `T`, with keys that may be null.
fn join(between: &'static str, grace_ms: u64, left: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let kept = Materialized::named("rows").versioned(Duration::from_millis(LONG_MS));
        let table = builder.table_with::<Text, String>("T", kept);
        let stream = builder.stream::<Text, String>("S");
        let waiting = Joined::named("join").with_grace_period(Duration::from_millis(grace_ms));
        match left {
            false => {
                stream.join_table_with(&table, move |_, value, row| value + between + &row, waiting)
            }
            true => stream.left_join_table_with(
                &table,
                move |_, value, row| value + between + &null(row),
                waiting,
            ),
        }
        .to("out");
    }
}

#[test]
fn an_inner_join_as_it_was_recorded() {
    let script = "
        S 0 ~ 0
        T 0 ~ 1
        S 0 A 2
        T 0 a 3
        S 0 B 4
        T 0 b 5
        S 0 ~ 6
        T 0 ~ 7
        S 0 C 8 => 0 B-a 4
        T 0 c 9
        T 0 ~ 10
        S 0 ~ 11
        T 0 ~ 12
        T 0 d 6
        S 0 D 5 => 0 D-b 5
        S 0 ~ 1
        T 0 ~ 2
        T 0 e 13
        S 0 E 14
        S 0 ~ 9
        T 0 ~ 8
        S 0 F 3 => 0 F-a 3
        T 0 f 2
        ";
    check(join("-", 2, false), script);
    check_compat(join("-", 2, false), script);
}

#[test]
fn a_left_join_as_it_was_recorded() {
    let script = "
        S 0 ~ 0
        T 0 ~ 1
        S 0 A 2
        T 0 a 3
        S 0 B 4 => 0 A-null 2
        T 0 b 5
        S 0 ~ 6
        T 0 ~ 7
        S 0 C 8 => 0 B-a 4
        T 0 c 9
        T 0 ~ 10
        S 0 ~ 11
        T 0 ~ 12
        T 0 d 6
        S 0 D 5 => 0 D-b 5
        S 0 ~ 1
        T 0 ~ 2
        T 0 e 13
        S 0 E 14 => 0 C-null 8
        S 0 ~ 9
        T 0 ~ 8
        S 0 F 3 => 0 F-a 3
        T 0 f 2
        ";
    check(join("-", 2, true), script);
    check_compat(join("-", 2, true), script);
}

#[test]
fn records_wait_by_their_times_and_late_ones_do_not() {
    check(
        join("+", 10, false),
        "
        S k a 10
        T k t1 8
        S k b 15
        S k c 20 => k a+t1 10
        T k t2 14
        S k d 25 => k b+t2 15
        S k late 5
        S k late 14 => k late+t2 14
        S q x 26
        S k e 26
        S k y 36 => k c+t2 20 | k d+t2 25 | k e+t2 26
        ",
    );
}

#[test]
fn a_null_key_does_not_wait_but_fails_the_original() {
    check(join("+", 10, true), "S ~ a 1 => ~ a+null 1\n S k b 2\n S k c 12 => k b+null 2");
    check(join("+", 10, false), "S ~ a 1\n S k b 2\n T k t 2\n S k c 12 => k b+t 2");
    let builder = StreamsBuilder::with_config(TopologyConfig::new().kafka_compat(true));
    join("+", 10, true)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let stream = driver.input_topic::<Text, String>("S");
    let error = stream.pipe_input_at(None, "a", 1).unwrap_err().to_string();
    assert_eq!(error, "S-0@0 failed at join: a null key cannot wait for a row");
}

#[test]
fn what_is_null_is_counted_as_dropped() {
    let builder = StreamsBuilder::new();
    join("+", 10, false)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<Text, Text>("S").pipe_input_at(None, Some("a".to_owned()), 1).unwrap();
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::NullKey), 1);
}

#[test]
fn records_that_wait_survive_a_restart_with_their_times_and_headers() {
    check(
        join("+", 10, false),
        "
        S k a 10
        S q b 10
        S k c 15
        T k t1 8
        T q t2 9
        restart
        S k late 4
        S k d 20 => k a+t1 10 | q b+t2 10
        restart
        S k e 25 => k c+t1 15
        ",
    );
    let builder = StreamsBuilder::new();
    join("+", 10, true)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let headers = Headers::from_pairs([("h", Some(&b"1"[..])), ("n", None)]);
    let stream = driver.input_topic::<String, String>("S");
    stream.pipe_record(&TestRecord::new("k", "a", 1).with_headers(headers.clone())).unwrap();
    driver.restart().unwrap();
    stream.pipe_input_at("k", "b", 11).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_records().unwrap();
    assert_eq!(out, [TestRecord::new("k", "a+null", 1).with_headers(headers)]);
}

#[test]
fn a_record_that_fails_leaves_those_that_wait_where_they_were() {
    let fails = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&fails);
    let builder = StreamsBuilder::new();
    let kept = Materialized::named("rows").versioned(Duration::from_millis(LONG_MS));
    let table = builder.table_with::<String, String>("T", kept);
    let waiting = Joined::named("join").with_grace_period(Duration::from_millis(10));
    let joiner = move |_: &String, value: String, row: String| {
        assert!(!once.swap(false, Ordering::SeqCst), "fails once");
        value + &row
    };
    builder.stream::<String, String>("S").join_table_with(&table, joiner, waiting).to("out");
    let config = StreamsConfig::new("test").processing_exception_handler(ErrorResponse::Skip);
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    driver.input_topic::<String, String>("T").pipe_input_at("k", "t", 1).unwrap();
    let stream = driver.input_topic::<String, String>("S");
    for (value, time) in [("a", 10), ("fails", 20), ("late", 9), ("b", 19), ("c", 29)] {
        stream.pipe_input_at("k", value, time).unwrap();
    }
    assert!(!fails.load(Ordering::SeqCst));
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    let expected = [("k", "late", 9), ("k", "a", 10), ("k", "b", 19)];
    let expected = expected.map(|(key, value, time)| (key.to_owned(), format!("{value}t"), time));
    // Time 20 was taken back, so that 9 is not late: it waits, and goes before what is newer.
    assert_eq!(out, expected);
}

#[test]
fn a_grace_period_needs_a_name_versions_and_a_history() {
    let error = |history_ms: Option<u64>, name: Option<&str>| {
        let build = |builder: &StreamsBuilder| {
            let table = match history_ms {
                Some(history_ms) => {
                    let kept = Materialized::named("rows");
                    let kept = kept.versioned(Duration::from_millis(history_ms));
                    builder.table_with::<String, String>("T", kept)
                }
                None => builder.table("T"),
            };
            let joined = name.map_or_else(Joined::new, Joined::named);
            let waiting = joined.with_grace_period(Duration::from_millis(10));
            let stream = builder.stream::<String, String>("S");
            stream.join_table_with(&table, |_, value, row| value + &row, waiting).to("out");
        };
        build_error(build).to_string()
    };
    let what = "the grace period of a join: ";
    assert_eq!(
        error(Some(10), None),
        format!("{what}the store in which records wait takes its name from the join: name it")
    );
    assert_eq!(
        error(None, Some("join")),
        format!("{what}only the rows of a versioned table can be waited for")
    );
    assert_eq!(
        error(Some(9), Some("join")),
        format!("{what}it is longer than the history of the table")
    );
}

#[test]
fn the_rows_of_a_global_table_cannot_be_waited_for() {
    let error = build_error(|builder| {
        let table = builder.global_table::<String, String>("T");
        let waiting = Joined::named("join").with_grace_period(Duration::from_millis(10));
        let stream = builder.stream::<String, String>("S");
        let key = |key: &String, _: &String| Some(key.clone());
        let joined = stream.join_global_table_with(&table, key, |_, v, row| v + &row, waiting);
        joined.to("out");
    });
    assert_eq!(
        error.to_string(),
        "the grace period of a join: the rows of a global table cannot be waited for"
    );
}

#[test]
fn the_buffer_is_a_store_of_the_join_as_in_kafka_streams() {
    let builder = StreamsBuilder::new();
    join("+", 10, false)(&builder);
    let description = builder.build().unwrap().describe().to_string();
    let line = "Processor: join (stores: [join-Buffer, rows])";
    assert!(description.contains(line), "{description}");
}
