//! Cogrouped streams: what Kafka Streams 4.3.1 gives for the same records, its record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    BuildError, CogroupedKStream, KGroupedStream, SessionWindows, SlidingWindows, StreamsBuilder,
    TimeWindows,
};
use runner::{build_error, check, check_compat};

type Text = Option<String>;

fn grouped(builder: &StreamsBuilder, topic: &str) -> KGroupedStream<Text, Text> {
    builder.stream::<Text, Text>(topic).group_by_key()
}

/// An aggregator that appends values with something before each.
fn append(before: &'static str) -> impl Fn(&Text, Text, String) -> String + Send + Sync {
    move |_, value, so_far| format!("{so_far}{before}{}", value.as_deref().unwrap_or("~"))
}

/// Topics `A` and `C`, values with their topic before them.
fn a_and_c(builder: &StreamsBuilder) -> CogroupedKStream<Text, String> {
    grouped(builder, "A").cogroup(append("A")).cogroup(&grouped(builder, "C"), append("C"))
}

#[test]
fn null_keys_and_values_are_dropped() {
    let build = |builder: &StreamsBuilder| {
        let cogrouped = grouped(builder, "one").cogroup(append(""));
        cogrouped.aggregate(String::new, "s").to_stream().to("out");
    };
    check(
        build,
        "
        one k1 A 0 => k1 A 0
        one k2 B 0 => k2 B 0
        one k2 ~ 0
        one k2 B 0 => k2 BB 0
        one k1 A 0 => k1 AA 0
        one ~ A 1",
    );
}

#[test]
fn all_streams_fold_into_one_aggregate() {
    let build = |builder: &StreamsBuilder| {
        let cogrouped = grouped(builder, "one")
            .cogroup(append(""))
            .cogroup(&grouped(builder, "two"), append(""))
            .cogroup(&grouped(builder, "three"), append(""));
        cogrouped.aggregate(String::new, "s").to_stream().to("out");
    };
    check(
        build,
        "
        one k1 A 0 => k1 A 0
        one k2 A 1 => k2 A 1
        one k1 A 10 => k1 AA 10
        one k2 A 100 => k2 AA 100
        two k2 B 100 => k2 AAB 100
        two k2 B 200 => k2 AABB 200
        two k1 B 1 => k1 AAB 10
        two k2 B 500 => k2 AABBB 500
        three k1 B 500 => k1 AABB 500
        three k2 B 500 => k2 AABBBB 500
        three k3 B 500 => k3 B 500
        three k2 B 100 => k2 AABBBBB 500",
    );
}

#[test]
fn each_stream_has_an_aggregator_of_its_own() {
    let build = |builder: &StreamsBuilder| {
        let cogrouped = grouped(builder, "one")
            .cogroup(append("-"))
            .cogroup(&grouped(builder, "two"), append("+"));
        cogrouped.aggregate(|| "0".to_owned(), "s").to_stream().to("out");
    };
    check(
        build,
        "
        one k1 1 0 => k1 0-1 0
        one k2 1 1 => k2 0-1 1
        one k1 1 10 => k1 0-1-1 10
        one k2 1 100 => k2 0-1-1 100
        two k1 2 500 => k1 0-1-1+2 500
        two k2 2 500 => k2 0-1-1+2 500
        two k1 2 500 => k1 0-1-1+2+2 500
        two k2 2 100 => k2 0-1-1+2+2 500",
    );
    let build = |builder: &StreamsBuilder| {
        a_and_c(builder).aggregate(String::new, "s").to_stream().to("out").named("o");
    };
    let script = "A k 1 5 => k A1 5\n C k 2 3 => k A1C2 5\n C k ~ 9";
    check(build, script);
    check_compat(build, script);
}

#[test]
fn windows_are_shared_but_each_stream_has_its_own_stream_time() {
    let build = |builder: &StreamsBuilder| {
        let tens = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
        let table = a_and_c(builder).windowed_by(tens).aggregate(String::new, "s").to_stream();
        table.map(|key, text| (format!("{}@{}", key.key.unwrap(), key.window), text)).to("out");
    };
    check(
        build,
        "
        A k 1 5 => k@0/10 A1 5
        C k 2 12 => k@10/20 C2 12
        A k 3 9 => k@0/10 A3 9   # in time for its stream, but the shared store has forgotten
        C k late 9
        restart
        C k late 9
        A k 4 8 => k@0/10 A4 8
        A k ~ 13 => k@10/20 C2A~ 13",
    );
}

#[test]
fn sessions_of_several_streams_join() {
    let build = |builder: &StreamsBuilder| {
        let gap = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(10));
        let windowed = a_and_c(builder).windowed_by(gap);
        let table = windowed.aggregate(String::new, |_, one, other| one + &other, "s").to_stream();
        table.map(|key, text| (format!("{}@{}", key.key.unwrap(), key.window), text)).to("out");
    };
    check(
        build,
        "
        A k 1 5 => k@5/5 A1 5
        C k 2 12 => k@5/5 ~ 5 | k@5/12 A1C2 12",
    );
}

#[test]
fn sliding_windows_of_several_streams_are_shared() {
    let build = |builder: &StreamsBuilder| {
        let near = SlidingWindows::of_time_difference_with_no_grace(Duration::from_millis(10));
        let table = a_and_c(builder).windowed_by(near).aggregate(String::new, "s").to_stream();
        table.map(|key, text| (format!("{}@{}", key.key.unwrap(), key.window), text)).to("out");
    };
    check(
        build,
        "
        A k 1 20 => k@10/20 A1 20
        C k 2 25 => k@21/31 C2 25 | k@15/25 A1C2 25",
    );
}

#[test]
fn names_and_numbers_are_kafkas() {
    let text = |name: Option<&str>| {
        let builder = StreamsBuilder::new();
        let mut cogrouped = a_and_c(&builder);
        if let Some(name) = name {
            cogrouped = cogrouped.named(name);
        }
        cogrouped.aggregate(String::new, "s").to_stream().to("out");
        builder.build().unwrap().describe()
    };
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [A])
      --> COGROUPKSTREAM-AGGREGATE-0000000002
    Source: KSTREAM-SOURCE-0000000001 (topics: [C])
      --> COGROUPKSTREAM-AGGREGATE-0000000003
    Processor: COGROUPKSTREAM-AGGREGATE-0000000002 (stores: [s])
      --> COGROUPKSTREAM-MERGE-0000000004
      <-- KSTREAM-SOURCE-0000000000
    Processor: COGROUPKSTREAM-AGGREGATE-0000000003 (stores: [s])
      --> COGROUPKSTREAM-MERGE-0000000004
      <-- KSTREAM-SOURCE-0000000001
    Processor: COGROUPKSTREAM-MERGE-0000000004 (stores: [])
      --> KTABLE-TOSTREAM-0000000005
      <-- COGROUPKSTREAM-AGGREGATE-0000000002, COGROUPKSTREAM-AGGREGATE-0000000003
    Processor: KTABLE-TOSTREAM-0000000005 (stores: [])
      --> KSTREAM-SINK-0000000006
      <-- COGROUPKSTREAM-MERGE-0000000004
    Sink: KSTREAM-SINK-0000000006 (topic: out)
      <-- KTABLE-TOSTREAM-0000000005

";
    assert_eq!(text(None), expected);
    let named = text(Some("n"));
    for name in ["n-cogroup-agg-0", "n-cogroup-agg-1", "n-cogroup-merge"] {
        assert!(named.contains(&format!("Processor: {name} (")), "{named}");
    }
}

#[test]
fn a_changed_key_goes_through_a_repartition_topic() {
    let build = |builder: &StreamsBuilder| {
        let by_value =
            builder.stream::<Text, Text>("A").group_by_with(|_, v| v.clone(), "by-value");
        let cogrouped = by_value.cogroup(append("A")).cogroup(&grouped(builder, "C"), append("C"));
        cogrouped.aggregate(String::new, "s").to_stream().to("out");
    };
    check(build, "A x k 1 => k Ak 1\n C k c 2 => k AkCc 2");
}

#[test]
fn streams_of_two_builders_are_refused() {
    let other = StreamsBuilder::new();
    let error = build_error(|builder| {
        let cogrouped = grouped(builder, "A").cogroup(append(""));
        let _ = cogrouped.cogroup(&grouped(&other, "C"), append("")).aggregate(String::new, "s");
    });
    assert_eq!(error, BuildError::ForeignStream { operation: "cogroup" });
}
