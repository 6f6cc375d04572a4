//! `split`, `repartition`, sinks that choose their topic, and `print`: what Kafka Streams 4.3.1 gives
//! for the same records; and `deduplicate`, which it does not have.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_log_store::NewTopic;
use headwater_topology::{
    Branched, BuildError, DropReason, Error, Headers, Printed, Produced, Repartitioned,
    StreamsBuilder, StreamsConfig, TestRecord, TopologyTestDriver,
};
use runner::{build_error, check, check_compat};

type Text = Option<String>;

#[test]
fn each_record_goes_to_the_first_branch_that_takes_it() {
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<Text, String>("S");
        let branches = stream
            .split_named("by-")
            .branch_with(|_, value| value.starts_with('a'), "a")
            .branch(|_, value| value.len() > 1)
            .no_default_branch();
        let names: Vec<&str> = branches.keys().map(String::as_str).collect();
        assert_eq!(names, ["by-2", "by-a"]);
        let a = branches["by-a"].map_values(|value| format!("a:{value}"));
        a.merge(&branches["by-2"].map_values(|value| format!("long:{value}"))).to("out");
    };
    let script = "
        S k ab 1 => k a:ab 1
        S ~ bb 2 => ~ long:bb 2
        S k b 3";
    check(build, script);
    check_compat(build, script);
}

#[test]
fn the_default_branch_takes_the_rest_and_branches_can_be_chained() {
    let build = |builder: &StreamsBuilder| {
        let upper = Branched::numbered()
            .with_function(|stream| stream.map_values(|value: String| value.to_uppercase()));
        let consumed = Branched::named("b").with_consumer(|stream| drop(stream.to("other")));
        let branches = builder
            .stream::<Text, String>("S")
            .split()
            .branch_with(|_, value| value.starts_with('a'), upper)
            .branch_with(|_, value| value.starts_with('b'), consumed)
            .default_branch();
        let names: Vec<&str> = branches.keys().map(String::as_str).collect();
        assert_eq!(names, ["KSTREAM-BRANCH-00000000010", "KSTREAM-BRANCH-00000000011"]);
        let rest = &branches["KSTREAM-BRANCH-00000000010"];
        branches["KSTREAM-BRANCH-00000000011"].merge(rest).to("out");
    };
    check(build, "S k ab 1 => k AB 1\n S k b 2\n S k c 3 => k c 3");
}

#[test]
fn a_split_names_its_branches_and_uses_up_a_number_for_each() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("S");
    let branches = stream.split().branch(|_, _| true).default_branch_with("rest");
    for branch in branches.values() {
        branch.for_each(|_, _| ());
    }
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [S])
      --> KSTREAM-BRANCH-0000000001
    Processor: KSTREAM-BRANCH-0000000001 (stores: [])
      --> KSTREAM-BRANCH-00000000011, KSTREAM-BRANCH-0000000001rest
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-BRANCH-00000000011 (stores: [])
      --> KSTREAM-FOREACH-0000000004
      <-- KSTREAM-BRANCH-0000000001
    Processor: KSTREAM-BRANCH-0000000001rest (stores: [])
      --> KSTREAM-FOREACH-0000000005
      <-- KSTREAM-BRANCH-0000000001
    Processor: KSTREAM-FOREACH-0000000004 (stores: [])
      --> none
      <-- KSTREAM-BRANCH-00000000011
    Processor: KSTREAM-FOREACH-0000000005 (stores: [])
      --> none
      <-- KSTREAM-BRANCH-0000000001rest

";
    assert_eq!(builder.build().unwrap().describe(), expected);
}

#[test]
fn a_repartition_topic_keeps_times_and_headers_and_spares_the_grouping_another_one() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Text, String>("S")
        .select_key(|_, value| (value != "drop").then(|| value.clone()))
        .repartition(Repartitioned::named("by-value").with_number_of_partitions(3))
        .group_by_key()
        .count("counts")
        .to_stream()
        .to("out");
    let topology = builder.build().unwrap();
    let text = topology.describe();
    let part = "    Source: by-value-repartition-source (topics: [by-value-repartition])
      --> KSTREAM-AGGREGATE-0000000005
";
    assert!(text.contains(part), "{text}");
    let driver = TopologyTestDriver::new(&topology).unwrap();
    assert_eq!(driver.log().describe_topic("test-by-value-repartition").unwrap().partitions, 3);
    let headers = Headers::from_pairs([("h", Some(&b"1"[..]))]);
    let input = driver.input_topic::<Text, String>("S");
    input.pipe_record(&TestRecord::new(None, "x", 7).with_headers(headers.clone())).unwrap();
    input.pipe_input_at(Some("k".to_owned()), "drop", 8).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_records().unwrap();
    assert_eq!(out, [TestRecord::new("x", 1, 7).with_headers(headers)]);
}

#[test]
fn an_enforced_number_of_partitions_has_to_agree_with_what_is_joined() {
    let joined = |partitions: u32| {
        let builder = StreamsBuilder::new();
        let table = builder.table::<String, String>("T");
        let spread = Repartitioned::named("spread").with_number_of_partitions(partitions);
        let stream = builder.stream::<String, String>("S").repartition(spread);
        stream.join_table(&table, |value, row| value + &row).to("out");
        let topics = [NewTopic::new("T").partitions(2)];
        let topology = builder.build().unwrap();
        TopologyTestDriver::with_topics(&topology, StreamsConfig::new("test"), &topics).map(drop)
    };
    joined(2).unwrap();
    assert!(matches!(joined(3), Err(Error::NotCoPartitioned { .. })));
    let none = build_error(|builder| {
        let none = Repartitioned::named("none").with_number_of_partitions(0);
        builder.stream::<String, String>("S").repartition(none).to("out");
    });
    let BuildError::InvalidOption { what, .. } = none else { panic!("another error: {none}") };
    assert_eq!(what, "repartition topic none-repartition");
}

#[test]
fn a_sink_may_choose_the_topic_of_each_record() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<Text, String>("S");
    stream.to_by(|_, value| if value == "lost" { "nowhere" } else { "out" }.to_owned());
    stream.to_by_with(|_, _| "all".to_owned(), Produced::new().with_name("to-all"));
    let topology = builder.build().unwrap();
    let text = topology.describe();
    assert!(text.contains("    Sink: to-all (extractor class: closure)\n      <-- "), "{text}");
    let config = StreamsConfig::new("test").set("production.exception.handler", "skip").unwrap();
    let topics = [NewTopic::new("out"), NewTopic::new("all")];
    let driver = TopologyTestDriver::with_topics(&topology, config, &topics).unwrap();
    let input = driver.input_topic::<Text, String>("S");
    for (time, value) in [(1, "a"), (2, "lost"), (3, "b")] {
        input.pipe_input_at(Some("k".to_owned()), value, time).unwrap();
    }
    let values = |topic: &str| -> Vec<String> {
        let out = driver.output_topic::<Text, String>(topic).unwrap().read_key_values().unwrap();
        out.into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(values("out"), ["a", "b"]);
    assert_eq!(values("all"), ["a", "lost", "b"]);
}

/// A writer that keeps what is written.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn records_are_printed_line_by_line_with_a_label() {
    let paper = Paper::default();
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<Text, i64>("S");
    stream.print(Printed::to_writer(paper.clone()));
    let short = Printed::<Text, i64>::to_writer(paper.clone()).with_label("l");
    stream.print(short.with_mapper(|_, value| value.to_string()));
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<Text, i64>("S").pipe_input_at(Some("k".to_owned()), 7, 1).unwrap();
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "[KSTREAM-PRINTER-0000000001]: Some(\"k\"), 7\n[l]: 7\n");
}

#[test]
fn repeated_records_of_a_key_are_dropped_for_a_time_from_the_one_that_was_let_through() {
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<Text, Text>("S");
        stream.deduplicate(Duration::from_millis(10), "seen").to("out");
    };
    check(
        build,
        "
        S k a 20 => k a 20
        S k b 30
        S q a 25 => q a 25
        S ~ a 25
        S k ~ 31 => k ~ 31
        S p a 22 => p a 22       # out of order, but in time
        S p b 33 => p b 33
        S p c 23                 # in time by the millisecond, and a duplicate
        S r a 23 => r a 23       # in time by the millisecond, and none
        S q b 24                 # before what it repeats
        S z late 22              # nobody knows
        restart
        S k c 41
        S k d 42 => k d 42",
    );
    let builder = StreamsBuilder::new();
    build(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Text, Text>("S");
    let k = || Some("k".to_owned());
    for (key, time) in [(k(), 20), (k(), 21), (None, 22), (k(), 9), (k(), 40)] {
        input.pipe_input_at(key, None, time).unwrap();
    }
    let metrics = driver.metrics().unwrap();
    let dropped = [DropReason::Duplicate, DropReason::NullKey, DropReason::Late];
    assert_eq!(dropped.map(|reason| metrics.dropped(reason)), [1, 1, 1]);
}
