//! Tables through the test driver: sources, filters, maps, their stores and their old values.
//!
//! The expected records are those of Kafka Streams for the same input, record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use headwater_log_store::Timestamp;
use headwater_topology::{
    Consumed, DropReason, KTable, StreamsBuilder, StreamsConfig, TimestampExtractor,
    TopologyTestDriver,
};

type Row<'a> = (&'a str, Option<&'a str>, i64);

/// A driver for a topology from table topic `in` to topic `out`.
fn driver(build: impl Fn(&StreamsBuilder) -> KTable<String, String>) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    build(&builder).to_stream().to("out");
    TopologyTestDriver::new(&builder.build().unwrap()).unwrap()
}

fn pipe(driver: &TopologyTestDriver, topic: &str, input: &[Row<'_>]) {
    let topic = driver.input_topic::<String, Option<String>>(topic);
    for (key, value, time) in input {
        topic.pipe_input_at(*key, value.map(str::to_owned), *time).unwrap();
    }
}

fn out(driver: &TopologyTestDriver) -> Vec<(String, Option<String>, i64)> {
    driver.output_topic("out").unwrap().read_timed().unwrap()
}

fn expect(found: &[(String, Option<String>, i64)], expected: &[Row<'_>]) {
    let found: Vec<Row<'_>> =
        found.iter().map(|(key, value, time)| (key.as_str(), value.as_deref(), *time)).collect();
    assert_eq!(found, expected);
}

fn check(
    build: impl Fn(&StreamsBuilder) -> KTable<String, String>,
    input: &[Row<'_>],
    expected: &[Row<'_>],
) {
    let driver = driver(build);
    pipe(&driver, "in", input);
    expect(&out(&driver), expected);
}

/// The committed rows of a store.
fn rows(driver: &TopologyTestDriver, store: &str) -> Vec<(String, String, i64)> {
    driver.store_rows(store).unwrap()
}

fn row(key: &str, value: &str, time: i64) -> (String, String, i64) {
    (key.to_owned(), value.to_owned(), time)
}

const FLAGS: [Row<'static>; 4] =
    [("a", Some("n1"), 1), ("a", Some("y1"), 2), ("a", Some("n2"), 3), ("a", Some("n3"), 4)];

fn passes(value: &str) -> bool {
    value.starts_with('y')
}

#[test]
fn a_table_sends_every_record_in_the_order_of_offsets_repeats_and_tombstones_included() {
    let input = [("k", Some("a"), 10), ("k", Some("a"), 10), ("k", Some("b"), 5), ("k", None, 7)];
    for store in [false, true] {
        check(
            |builder| match store {
                false => builder.table("in"),
                true => builder.table_with("in", "rows"),
            },
            &input,
            &input,
        );
    }
}

#[test]
fn a_filter_without_rows_above_sends_a_tombstone_for_every_row_that_is_left_out() {
    check(
        |builder| builder.table("in").filter(|_, v: &String| passes(v)),
        &FLAGS,
        &[("a", None, 1), ("a", Some("y1"), 2), ("a", None, 3), ("a", None, 4)],
    );
}

#[test]
fn a_filter_below_kept_rows_spares_tombstones_for_what_was_left_out_before() {
    check(
        |builder| builder.table_with("in", "rows").filter(|_, v: &String| passes(v)),
        &FLAGS,
        &[("a", Some("y1"), 2), ("a", None, 3)],
    );
    check(
        |builder| builder.table_with("in", "rows").filter_not(|_, v: &String| !passes(v)),
        &FLAGS,
        &[("a", Some("y1"), 2), ("a", None, 3)],
    );
}

#[test]
fn a_materialized_filter_keeps_the_rows_that_pass_with_their_times() {
    let driver = driver(|builder| {
        builder.table("in").filter(|_, v: &String| passes(v)).materialized("passed")
    });
    pipe(&driver, "in", &FLAGS[..2]);
    assert_eq!(rows(&driver, "passed"), [row("a", "y1", 2)]);
    pipe(&driver, "in", &FLAGS[2..3]);
    assert_eq!(rows(&driver, "passed"), []);
}

#[test]
fn a_filter_of_a_filter_that_is_materialized_spares_tombstones_too() {
    check(
        |builder| {
            let passed = builder.table("in").filter(|_, v| v != "n2").materialized("passed");
            passed.filter(|_, v: &String| passes(v))
        },
        &FLAGS,
        &[("a", Some("y1"), 2), ("a", None, 3)],
    );
}

#[test]
fn maps_see_no_tombstones_and_one_that_returns_none_sends_them() {
    let input = [("a", Some("x"), 1), ("a", Some("n"), 2), ("a", None, 3)];
    check(
        |builder| builder.table::<String, String>("in").map_values(|v| v + "!"),
        &input,
        &[("a", Some("x!"), 1), ("a", Some("n!"), 2), ("a", None, 3)],
    );
    check(
        |builder| {
            builder
                .table::<String, String>("in")
                .map_values_with_key(|key, v| format!("{key}{v}"))
                .filter_map_values(|_, v| (v != "an").then_some(v))
        },
        &input,
        &[("a", Some("ax"), 1), ("a", None, 2), ("a", None, 3)],
    );
}

#[test]
fn transform_values_sees_tombstones_and_may_make_rows_of_them() {
    check(
        |builder| {
            builder
                .table::<String, String>("in")
                .transform_values(|_, value| Some(value.unwrap_or_else(|| "gone".to_owned())))
        },
        &[("a", Some("x"), 1), ("a", None, 2)],
        &[("a", Some("x"), 1), ("a", Some("gone"), 2)],
    );
}

#[test]
fn a_materialized_map_keeps_its_rows_and_a_filter_below_finds_old_values_there() {
    let driver = driver(|builder| {
        let mapped = builder.table::<String, String>("in").map_values(|v| v + "!");
        mapped.materialized("mapped").filter(|_, v| v == "y1!")
    });
    pipe(&driver, "in", &FLAGS);
    assert_eq!(rows(&driver, "mapped"), [row("a", "n3!", 4)]);
    expect(&out(&driver), &[("a", Some("y1!"), 2), ("a", None, 3)]);
}

#[test]
fn a_table_drops_null_keys_and_counts_them() {
    let driver = driver(|builder| builder.table("in"));
    driver.input_topic::<String, String>("in").pipe_bytes(None, Some(b"v"), 1).unwrap();
    expect(&out(&driver), &[]);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::NullKey), 1);
}

#[test]
fn an_extractor_of_a_table_is_not_asked_about_tombstones() {
    let driver = driver(|builder| {
        let by_length = TimestampExtractor::from_fn(|_: &String, value: &String| {
            i64::try_from(value.len()).ok().map(Timestamp::from_millis)
        });
        builder.table_with("in", Consumed::new().with_timestamp_extractor(by_length))
    });
    pipe(&driver, "in", &[("k", Some("four"), 99), ("k", None, 98)]);
    expect(&out(&driver), &[("k", Some("four"), 4), ("k", None, 98)]);
}

#[test]
fn a_stream_becomes_a_table_through_a_repartition_topic_if_its_key_was_changed() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, Option<String>>("in");
    let table = stream
        .select_key(|_, value| value.clone().map_or('-', |v| v.chars().next().unwrap()).to_string())
        .to_table::<String>("latest");
    table.to_stream().to("out");
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(&topology).unwrap();
    pipe(&driver, "in", &[("a", Some("x1"), 5), ("b", Some("x2"), 3), ("c", None, 4)]);
    expect(&out(&driver), &[("x", Some("x1"), 5), ("x", Some("x2"), 3), ("-", None, 4)]);
    assert_eq!(rows(&driver, "latest"), [row("x", "x2", 3)]);
    driver.log().describe_topic("test-latest-repartition").unwrap();
}

#[test]
fn to_stream_by_gives_new_keys_that_a_grouping_repartitions() {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("in");
    let counts = table.to_stream_by(|_, value| value.clone().unwrap_or_default()).group_by_key();
    counts.count("counts").to_stream().to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    pipe(&driver, "in", &[("a", Some("x"), 1), ("b", Some("x"), 2), ("a", None, 3)]);
    let found = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    assert_eq!(found, [("x".to_owned(), 1, 1), ("x".to_owned(), 2, 2)]);
}

#[test]
fn rows_survive_a_restart_and_an_abort_takes_them_back() {
    let builder = StreamsBuilder::new();
    let table = builder.table_with::<String, String>("in", "rows");
    let mapped = table.map_values(|v| v + "!").materialized("mapped");
    mapped
        .to_stream()
        .try_map_values(|value| match value.as_deref() {
            Some("bad!") => Err("bad"),
            _ => Ok(value),
        })
        .to("out");
    let config = StreamsConfig::new("test").set("processing.exception.handler", "fail").unwrap();
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    pipe(&driver, "in", &[("a", Some("1"), 1), ("b", Some("2"), 2), ("a", None, 3)]);
    let input = driver.input_topic::<String, Option<String>>("in");
    input.pipe_input_at("b", Some("bad".to_owned()), 4).unwrap_err();
    assert_eq!(rows(&driver, "rows"), [row("b", "2", 2)]);
    assert_eq!(rows(&driver, "mapped"), [row("b", "2!", 2)]);
    // The bad record stops the next start as well, but only after the stores were restored.
    driver.restart().unwrap_err();
    assert_eq!(rows(&driver, "rows"), [row("b", "2", 2)]);
    assert_eq!(rows(&driver, "mapped"), [row("b", "2!", 2)]);
}

#[test]
fn a_table_takes_one_store() {
    let builder = StreamsBuilder::new();
    let _ = builder.table_with::<String, String>("in", "rows").materialized("again");
    let error = builder.build().unwrap_err().to_string();
    assert_eq!(error, "materialized as again: the table has a store already: rows");
}
