//! Mistakes in wiring: those that types can see are errors of the compiler, the others those of
//! `StreamsBuilder::build`, with the names of what is wrong.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::process::Command;
use std::time::Duration;

use headwater_log_store::NewTopic;
use headwater_topology::{
    EmitStrategy, JoinWindows, Materialized, Repartitioned, StreamsBuilder, StreamsConfig,
    TimeWindows, TopologyTestDriver, UnlimitedWindows,
};
use runner::build_error;

/// The compiler's words change from version to version: those that are recorded are those of the
/// version that `rust-version` names.
const RECORDED_WITH: &str = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), ".");

/// Each file of `wiring/` has one mistake, and does not compile for that reason and no other.
#[test]
fn mistakes_that_types_see_do_not_compile() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    if !version.starts_with(RECORDED_WITH) {
        println!("SKIPPED: the compiler's errors were recorded with {RECORDED_WITH}x");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/wiring/*.rs");
}

fn error(build: impl Fn(&StreamsBuilder)) -> String {
    build_error(build).to_string()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_builder_without_a_source_and_a_source_without_a_topic_are_named() {
    assert_eq!(error(|_| {}), "the topology has no source: start with StreamsBuilder::stream");
    let none: [&str; 0] = [];
    let error = error(|builder| builder.stream::<String, String>(none).to("out").named("sink"));
    assert_eq!(error, "source KSTREAM-SOURCE-0000000000: it reads no topic");
}

#[test]
fn names_are_given_once_and_follow_the_rules() {
    let twice = error(|builder| {
        let stream = builder.stream::<String, String>("in");
        stream.filter(|_, _| true).named("same").filter(|_, _| true).named("same").to("out");
    });
    assert_eq!(twice, "two nodes are named same: names have to be unique within a topology");
    let stores = error(|builder| {
        let grouped = builder.stream::<String, String>("in").group_by_key();
        grouped.count("same");
        grouped.count("same");
    });
    assert_eq!(stores, "two operators name their store same: each store belongs to one operator");
    let odd = error(|builder| {
        builder.stream::<String, String>("in").group_by_key().count("not a name");
    });
    assert!(odd.starts_with("\"not a name\" cannot name a store: "), "{odd}");
    let topic = error(|builder| {
        builder.stream::<String, String>("in").to("out");
        builder.table::<String, String>("in").to_stream().to("out");
    });
    assert_eq!(
        topic,
        "topic in is read by KSTREAM-SOURCE-0000000000 and by KSTREAM-SOURCE-0000000003: read it \
         once and use the stream twice"
    );
}

#[test]
fn what_makes_a_topic_needs_a_name_and_a_partition() {
    let join = error(|builder| {
        let users = builder.table::<String, String>("users");
        let clicks = builder.stream::<String, String>("clicks").select_key(|_, v| v.clone());
        clicks.join_table(&users, |click, user| format!("{click}{user}")).to("out");
    });
    assert_eq!(
        join,
        "the join below KSTREAM-KEY-SELECT-0000000004: the key was changed, so it needs a \
         repartition topic, and that a name: give one to the join, by `Joined::named`, or to the stream, by `named`"
    );
    let partitions = error(|builder| {
        let none = Repartitioned::named("words").with_number_of_partitions(0);
        builder.stream::<String, String>("in").repartition(none).to("out");
    });
    assert_eq!(partitions, "repartition topic words-repartition: it has one partition at least");
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let windows = |windows: TimeWindows| {
        error(|builder| {
            let stream = builder.stream::<String, String>("in").group_by_key();
            stream.windowed_by(windows).count("counts");
        })
    };
    assert_eq!(
        windows(TimeWindows::of_size_with_no_grace(Duration::ZERO)),
        "windows of store counts: windows are at least one millisecond long"
    );
    assert_eq!(
        windows(TimeWindows::of_size_with_no_grace(millis(10)).advance_by(millis(11))),
        "windows of store counts: windows of 10 ms advance by 1 to 10 ms, not by 11 ms"
    );
    let join = error(|builder| {
        let (a, b) = (builder.stream::<String, i64>("a"), builder.stream::<String, i64>("b"));
        let windows = JoinWindows::of_time_difference_with_no_grace(millis(5)).with_after_ms(-6);
        a.join(&b, |a, b| a + b, windows, "sums").to("out");
    });
    assert_eq!(join, "windows of store sums: 5 ms before and -6 ms after are negative together");
    let unlimited = error(|builder| {
        let stream = builder.stream::<String, String>("in").group_by_key();
        let all = stream.windowed_by(UnlimitedWindows::of());
        all.emit_strategy(EmitStrategy::on_window_close()).count("counts");
    });
    assert_eq!(unlimited, "windows of store counts: unlimited windows never close");
    let short = error(|builder| {
        let stream = builder.stream::<String, String>("in").group_by_key();
        let kept = Materialized::named("counts").with_retention(millis(9));
        stream.windowed_by(TimeWindows::of_size_with_no_grace(millis(10))).count(kept);
    });
    assert_eq!(
        short,
        "windows of store counts: a retention of 9 ms is shorter than size and grace"
    );
}

#[test]
fn streams_of_two_builders_do_not_meet() {
    let other = StreamsBuilder::new();
    let numbers = other.stream::<String, i64>("numbers");
    let users = other.table::<String, String>("users");
    let merged =
        error(|builder| builder.stream::<String, i64>("in").merge(&numbers).to("out").named("s"));
    assert_eq!(merged, "merge was given a stream of another StreamsBuilder");
    let joined = error(|builder| {
        builder.stream::<String, i64>("in").join_table(&users, |n, _| n).to("out");
    });
    assert_eq!(joined, "join_table was given a stream of another StreamsBuilder");
    let windows = JoinWindows::of_time_difference_with_no_grace(millis(5));
    let joined = error(|builder| {
        builder.stream::<String, i64>("in").join(&numbers, |a, b| a + b, windows, "j").to("out");
    });
    assert_eq!(joined, "join was given a stream of another StreamsBuilder");
}

#[test]
fn topics_that_are_read_together_are_named_with_their_partitions() {
    let builder = StreamsBuilder::new();
    let users = builder.table::<String, String>("users");
    let clicks = builder.stream::<String, String>("clicks");
    clicks.join_table(&users, |click, user| format!("{click}{user}")).to("out");
    let topics = [NewTopic::new("users").partitions(3), NewTopic::new("clicks").partitions(2)];
    let config = StreamsConfig::new("test");
    let error = TopologyTestDriver::with_topics(&builder.build().unwrap(), config, &topics);
    assert_eq!(
        error.unwrap_err().to_string(),
        "topics are not co-partitioned: clicks has 2 partitions, users has 3 partitions"
    );
}
