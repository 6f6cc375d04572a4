//! Joins of two streams: what Kafka Streams 4.3.1 gives for the same records, its record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_log_store::NewTopic;
use headwater_topology::{
    BuildError, DropReason, Error, Headers, JoinWindows, KStream, StreamJoined, StreamsBuilder,
    StreamsConfig, TestRecord, TopologyConfig, TopologyTestDriver,
};
use runner::{build_error, check, check_compat, check_with};

type Text = Option<String>;

fn windows(difference_ms: u64, grace_ms: u64) -> JoinWindows {
    JoinWindows::of_time_difference_and_grace(
        Duration::from_millis(difference_ms),
        Duration::from_millis(grace_ms),
    )
}

fn streams(builder: &StreamsBuilder) -> (KStream<Text, Text>, KStream<Text, Text>) {
    (builder.stream("L"), builder.stream("R"))
}

fn plus(left: &Option<Text>, right: &Option<Text>) -> String {
    let or_null = |side: &Option<Text>| side.clone().flatten().unwrap_or_else(|| "null".to_owned());
    format!("{}+{}", or_null(left), or_null(right))
}

fn inner(windows: JoinWindows) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let (left, right) = streams(builder);
        left.join(&right, |left, right| plus(&Some(left), &Some(right)), windows, "j").to("out");
    }
}

fn left(windows: JoinWindows) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let (left, right) = streams(builder);
        left.left_join(&right, |left, right| plus(&Some(left), &right), windows, "j").to("out");
    }
}

fn outer(windows: JoinWindows) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let (left, right) = streams(builder);
        left.outer_join(&right, |left, right| plus(&left, &right), windows, "j").to("out");
    }
}

#[test]
fn an_inner_join_never_drops_late_records_but_forgets_their_partners() {
    let script = "
        L k A 100
        R k a 105 => k A+a 105
        R k b 90 => k A+b 100
        R k c 111
        R k d 89
        L k B 95 => k B+d 95 | k B+b 95 | k B+a 105
        L ~ N 100
        R k ~ 100
        L k C 60
        R k e 62
        L k D 200
        R k f 101
        R k g 176
        R k h 175
        L k E 186 => k E+g 186";
    check(inner(windows(10, 5)), script);
    check_compat(inner(windows(10, 5)), script);
}

#[test]
fn a_late_record_joins_while_the_other_stores_own_clock_lets_it() {
    check(
        inner(windows(10, 0)),
        "
        R k r 100
        L k l 120
        L k late 95 => k late+r 100
        R k r3 121 => k l+r3 121
        L k l4 101",
    );
}

#[test]
fn all_records_of_one_key_and_time_are_joined_in_the_order_in_which_they_came() {
    let script = "
        L 0 A0 0
        L 1 A1 0
        R 0 a0 0 => 0 A0+a0 0
        R 1 a1 0 => 1 A1+a1 0
        L 0 B0 0 => 0 B0+a0 0
        L 1 B1 0 => 1 B1+a1 0
        L 2 B2 0
        L 3 B3 0
        R 0 b0 0 => 0 A0+b0 0 | 0 B0+b0 0
        R 1 b1 0 => 1 A1+b1 0 | 1 B1+b1 0
        R 2 b2 0 => 2 B2+b2 0
        R 3 b3 0 => 3 B3+b3 0
        L 0 C0 0 => 0 C0+a0 0 | 0 C0+b0 0
        L 1 C1 0 => 1 C1+a1 0 | 1 C1+b1 0
        L 2 C2 0 => 2 C2+b2 0
        L 3 C3 0 => 3 C3+b3 0
        R 0 c0 0 => 0 A0+c0 0 | 0 B0+c0 0 | 0 C0+c0 0
        R 1 c1 0 => 1 A1+c1 0 | 1 B1+c1 0 | 1 C1+c1 0";
    check(inner(windows(100, 0)), script);
    check(outer(windows(100, 0)), script);
}

#[test]
fn windows_may_reach_after_a_record_only() {
    check(
        inner(windows(0, 0).after(Duration::from_millis(100))),
        "
        L 0 A0 1000
        L 1 A1 1001
        L 2 A2 1002
        L 3 A3 1003
        R 0 a0 999
        R 1 a1 999
        R 2 a2 999
        R 3 a3 999
        R 0 b0 1000 => 0 A0+b0 1000
        R 1 b1 1000
        R 2 b2 1000
        R 3 b3 1000
        R 0 c0 1001 => 0 A0+c0 1001
        R 1 c1 1001 => 1 A1+c1 1001
        R 2 c2 1001
        R 3 c3 1001
        R 0 d0 1002 => 0 A0+d0 1002
        R 1 d1 1002 => 1 A1+d1 1002
        R 2 d2 1002 => 2 A2+d2 1002
        R 3 d3 1002
        R 0 e0 1003 => 0 A0+e0 1003
        R 1 e1 1003 => 1 A1+e1 1003
        R 2 e2 1003 => 2 A2+e2 1003
        R 3 e3 1003 => 3 A3+e3 1003
        R 0 f0 1100 => 0 A0+f0 1100
        R 1 f1 1100 => 1 A1+f1 1100
        R 2 f2 1100 => 2 A2+f2 1100
        R 3 f3 1100 => 3 A3+f3 1100
        R 0 g0 1101
        R 1 g1 1101 => 1 A1+g1 1101
        R 2 g2 1101 => 2 A2+g2 1101
        R 3 g3 1101 => 3 A3+g3 1101
        R 0 h0 1102
        R 1 h1 1102
        R 2 h2 1102 => 2 A2+h2 1102
        R 3 h3 1102 => 3 A3+h3 1102
        R 0 i0 1103
        R 1 i1 1103
        R 2 i2 1103
        R 3 i3 1103 => 3 A3+i3 1103
        R 0 j0 1104
        R 1 j1 1104
        R 2 j2 1104
        R 3 j3 1104",
    );
}

#[test]
fn windows_may_reach_before_a_record_only() {
    check(
        inner(windows(0, 0).before(Duration::from_millis(100))),
        "
        L 0 A0 1000
        L 1 A1 1001
        L 2 A2 1002
        L 3 A3 1003
        R 0 a0 899
        R 1 a1 899
        R 2 a2 899
        R 3 a3 899
        R 0 b0 900 => 0 A0+b0 1000
        R 1 b1 900
        R 2 b2 900
        R 3 b3 900
        R 0 c0 901 => 0 A0+c0 1000
        R 1 c1 901 => 1 A1+c1 1001
        R 2 c2 901
        R 3 c3 901
        R 0 d0 902 => 0 A0+d0 1000
        R 1 d1 902 => 1 A1+d1 1001
        R 2 d2 902 => 2 A2+d2 1002
        R 3 d3 902
        R 0 e0 903 => 0 A0+e0 1000
        R 1 e1 903 => 1 A1+e1 1001
        R 2 e2 903 => 2 A2+e2 1002
        R 3 e3 903 => 3 A3+e3 1003
        R 0 f0 1000 => 0 A0+f0 1000
        R 1 f1 1000 => 1 A1+f1 1001
        R 2 f2 1000 => 2 A2+f2 1002
        R 3 f3 1000 => 3 A3+f3 1003
        R 0 g0 1001
        R 1 g1 1001 => 1 A1+g1 1001
        R 2 g2 1001 => 2 A2+g2 1002
        R 3 g3 1001 => 3 A3+g3 1003
        R 0 h0 1002
        R 1 h1 1002
        R 2 h2 1002 => 2 A2+h2 1002
        R 3 h3 1002 => 3 A3+h3 1003
        R 0 i0 1003
        R 1 i1 1003
        R 2 i2 1003
        R 3 i3 1003 => 3 A3+i3 1003
        R 0 j0 1004
        R 1 j1 1004
        R 2 j2 1004
        R 3 j3 1004",
    );
}

#[test]
fn a_side_may_reach_less_than_no_time_at_all() {
    check(
        inner(windows(10, 0).with_after_ms(-2)),
        "
        L k A 10
        R k a 8 => k A+a 10
        R k b 9
        R k c 0 => k A+c 10",
    );
}

#[test]
fn unmatched_records_of_a_left_join_come_when_stream_time_has_passed_their_window_and_grace() {
    check(
        left(windows(10, 5)),
        "
        L k A 0
        L q B 15
        R k x 16 => k A+null 0
        L k C 16 => k C+x 16",
    );
}

#[test]
fn several_unmatched_records_of_one_key_all_come() {
    check(
        left(windows(100, 10)),
        "
        L 0 A0 0
        L 0 A0-0 0
        R 1 a0 111 => 0 A0+null 0 | 0 A0-0+null 0
        R 2 dummy 500
        L 2 A2 1000
        L 2 A2-0 1000
        R 2 a2 1001 => 2 A2+a2 1001 | 2 A2-0+a2 1001
        R 3 a3 315",
    );
}

#[test]
fn the_right_side_triggers_unmatched_records_of_the_left() {
    check(
        left(windows(100, 0)),
        "
        L 0 A0 1
        L 1 A1 2
        L 0 A0-0 3
        R 1 a1 3 => 1 A1+a1 3
        R 2 dummy 401 => 0 A0+null 1 | 0 A0-0+null 3
        L 2 dummy 402 => 2 dummy+dummy 402",
    );
}

#[test]
fn unmatched_records_of_the_right_never_come_in_a_left_join() {
    check(
        left(windows(100, 0)),
        "
        R 0 A0 1
        R 1 A1 2
        R 0 A0-0 3
        L 1 a1 3 => 1 a1+A1 3
        L 2 dummy 401
        R 2 dummy 402 => 2 dummy+dummy 402",
    );
}

#[test]
fn unmatched_records_come_before_the_match_of_the_record_that_triggers_them() {
    check(
        left(windows(100, 0)),
        "
        L 0 A0 0
        L 1 A1 100
        R 1 a1 110 => 0 A0+null 0 | 1 A1+a1 110",
    );
}

#[test]
fn grace_holds_unmatched_records_back_and_matches_nothing_beyond_the_window() {
    check(
        left(windows(100, 10)),
        "
        L 0 A0 0
        L 1 A1 0
        R 0 a0 101
        R 1 a1 101
        R 2 a2 101
        R 3 a3 101
        R 0 dummy 1201 => 0 A0+null 0 | 1 A1+null 0",
    );
}

#[test]
fn windows_without_after_give_up_with_the_next_millisecond() {
    check(
        left(windows(100, 0).after(Duration::ZERO)),
        "
        L 0 A0 1000
        L 1 A1 1001 => 0 A0+null 1000
        L 2 A2 1002 => 1 A1+null 1001
        L 3 A3 1003 => 2 A2+null 1002
        R 0 a0 999 => 0 A0+a0 1000
        R 1 a1 999 => 1 A1+a1 1001
        R 2 a2 999 => 2 A2+a2 1002
        R 3 a3 999 => 3 A3+a3 1003
        R 0 b0 1000 => 0 A0+b0 1000
        R 1 b1 1000 => 1 A1+b1 1001
        R 2 b2 1000 => 2 A2+b2 1002
        R 3 b3 1000 => 3 A3+b3 1003
        R 0 c0 1001
        R 1 c1 1001 => 1 A1+c1 1001
        R 2 c2 1001 => 2 A2+c2 1002
        R 3 c3 1001 => 3 A3+c3 1003
        R 0 d0 1002
        R 1 d1 1002
        R 2 d2 1002 => 2 A2+d2 1002
        R 3 d3 1002 => 3 A3+d3 1003
        R 0 e0 1003
        R 1 e1 1003
        R 2 e2 1003
        R 3 e3 1003 => 3 A3+e3 1003
        R 0 f0 1100
        R 1 f1 1100
        R 2 f2 1100
        R 3 f3 1100",
    );
}

#[test]
fn an_outer_join_sends_unmatched_records_by_time_the_right_side_first() {
    let script = "
        L b A 5
        R a x 5
        L a B 4 => a B+x 5
        R c y 5
        R ~ nk 6 => ~ null+nk 6
        L m M 20 => c null+y 5 | b A+null 5
        R m N 31 => m M+null 20";
    check(outer(windows(10, 0)), script);
    check_compat(outer(windows(10, 0)), script);
}

#[test]
fn a_record_that_comes_after_its_window_has_closed_is_sent_at_once_without_a_match() {
    check(
        left(windows(10, 0)),
        "
        R q x 40
        L k LATE 20 => k LATE+null 20
        L ~ N 41 => ~ N+null 41
        R ~ n 42
        L k ~ 43",
    );
}

#[test]
fn unmatched_records_are_looked_for_once_in_an_interval_of_the_wall_clock() {
    let config = StreamsConfig::new("test").emit_interval(Duration::from_secs(1));
    check_with(
        TopologyConfig::new(),
        &config,
        left(windows(10, 0)),
        "
        L k A 0
        L k B 11
        L k C 22
        L k D 33
        wait 1000
        L k E 44 => k A+null 0 | k B+null 11 | k C+null 22 | k D+null 33",
    );
}

#[test]
fn the_eager_windows_of_old_send_at_once_and_again() {
    check(
        left(JoinWindows::of(Duration::from_millis(10))),
        "
        L k A 0 => k A+null 0
        R k a 5 => k A+a 5
        L k B 100 => k B+null 100",
    );
}

#[test]
fn a_stream_can_be_joined_with_itself() {
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<Text, Text>("L");
        let joiner = |left, right| plus(&Some(left), &Some(right));
        stream.join(&stream, joiner, windows(10, 0), "self").to("out");
    };
    check(
        build,
        "
        L k A 0 => k A+A 0
        L k B 5 => k B+A 5 | k A+B 5 | k B+B 5",
    );
}

#[test]
fn stream_time_and_records_that_wait_for_a_match_survive_a_restart() {
    check(
        outer(windows(10, 5)),
        "
        L k A 0
        L k A2 0
        R q b 3
        restart
        R k x 4 => k A+x 4 | k A2+x 4
        L z t 30 => q null+b 3
        restart
        L k late 9 => k late+x 9
        L y late 9 => y late+null 9
        R z u 31 => z t+u 31",
    );
}

#[test]
fn results_have_the_headers_of_the_record_that_came_last() {
    let builder = StreamsBuilder::new();
    outer(windows(10, 0))(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let some = |text: &str| Some(text.to_owned());
    let record = |key: &str, time, header: &str| {
        let headers = Headers::from_pairs([("h", Some(header.as_bytes()))]);
        TestRecord::<Text, Text>::new(some(key), some("v"), time).with_headers(headers)
    };
    let (left, right) =
        (driver.input_topic::<Text, Text>("L"), driver.input_topic::<Text, Text>("R"));
    left.pipe_record(&record("k", 0, "1")).unwrap();
    right.pipe_record(&record("k", 1, "2")).unwrap();
    left.pipe_record(&record("alone", 2, "3")).unwrap();
    right.pipe_record(&record("q", 50, "4")).unwrap();
    let out = driver.output_topic::<Text, Text>("out").unwrap().read_records().unwrap();
    let found: Vec<_> = out
        .iter()
        .map(|record| {
            let header = record.headers.iter().next().and_then(|header| header.value);
            (record.key.clone().unwrap(), String::from_utf8(header.unwrap().to_vec()).unwrap())
        })
        .collect();
    let expected = [("k", "2"), ("alone", "4")];
    assert_eq!(found, expected.map(|(key, header)| (key.to_owned(), header.to_owned())));
}

#[test]
fn nulls_without_a_result_are_dropped_and_counted() {
    let builder = StreamsBuilder::new();
    inner(windows(10, 0))(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let left = driver.input_topic::<Text, Text>("L");
    let k = || Some("k".to_owned());
    for (key, value) in [(None, k()), (k(), None), (None, None)] {
        left.pipe_input_at(key, value, 1).unwrap();
    }
    let metrics = driver.metrics().unwrap();
    assert_eq!(metrics.dropped(DropReason::NullKey), 2);
    assert_eq!(metrics.dropped(DropReason::NullValue), 1);
}

#[test]
fn names_and_numbers_are_kafkas() {
    let text = |joined: fn() -> StreamJoined<Text, Text, Text>| {
        let builder = StreamsBuilder::new();
        let (left, right) = streams(&builder);
        let joiner = |left: Option<Text>, right: Option<Text>| plus(&left, &right);
        left.outer_join(&right, joiner, windows(10, 0), joined()).to("out");
        builder.build().unwrap().describe()
    };
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [L])
      --> KSTREAM-WINDOWED-0000000002
    Source: KSTREAM-SOURCE-0000000001 (topics: [R])
      --> KSTREAM-WINDOWED-0000000003
    Processor: KSTREAM-WINDOWED-0000000002 (stores: [st-outer-this-join-store])
      --> KSTREAM-OUTERTHIS-0000000004
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-WINDOWED-0000000003 (stores: [st-outer-other-join-store])
      --> KSTREAM-OUTEROTHER-0000000005
      <-- KSTREAM-SOURCE-0000000001
    Processor: KSTREAM-OUTEROTHER-0000000005 (stores: [st-outer-shared-join-store, st-outer-this-join-store])
      --> KSTREAM-MERGE-0000000006
      <-- KSTREAM-WINDOWED-0000000003
    Processor: KSTREAM-OUTERTHIS-0000000004 (stores: [st-outer-shared-join-store, st-outer-other-join-store])
      --> KSTREAM-MERGE-0000000006
      <-- KSTREAM-WINDOWED-0000000002
    Processor: KSTREAM-MERGE-0000000006 (stores: [])
      --> KSTREAM-SINK-0000000007
      <-- KSTREAM-OUTERTHIS-0000000004, KSTREAM-OUTEROTHER-0000000005
    Sink: KSTREAM-SINK-0000000007 (topic: out)
      <-- KSTREAM-MERGE-0000000006

";
    assert_eq!(text(|| StreamJoined::named("st")), expected);
    let named = text(|| StreamJoined::named("st").with_name("jn"));
    for name in [
        "jn-this-windowed",
        "jn-other-windowed",
        "jn-outer-this-join",
        "jn-outer-other-join",
        "jn-merge",
    ] {
        assert!(named.contains(&format!("Processor: {name} (")), "{named}");
    }
    assert!(named.contains("Sink: KSTREAM-SINK-0000000007"), "{named}");
}

#[test]
fn a_changed_key_goes_through_a_repartition_topic_named_after_the_join() {
    let build = |builder: &StreamsBuilder| {
        let (left, right) = streams(builder);
        let by_value = left.select_key(|_, value| value.clone().filter(|value| value != "n"));
        let joiner = |left: Text, right: Option<Text>| plus(&Some(left), &right);
        by_value.left_join(&right, joiner, windows(10, 0), "j").to("out");
    };
    // A null key has a result in a left join, so it passes the topic as well.
    check(build, "R a x 1\n L q a 2 => a a+x 2\n L q n 3 => ~ n+null 3");
    let builder = StreamsBuilder::new();
    build(&builder);
    let text = builder.build().unwrap().describe();
    assert!(
        text.contains("Source: j-left-repartition-source (topics: [j-left-repartition])"),
        "{text}"
    );
}

#[test]
fn topics_that_are_joined_have_the_same_number_of_partitions() {
    let builder = StreamsBuilder::new();
    inner(windows(10, 0))(&builder);
    let topics = [NewTopic::new("L").partitions(2), NewTopic::new("R").partitions(3)];
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::with_topics(&topology, StreamsConfig::new("test"), &topics);
    match driver.unwrap_err() {
        Error::NotCoPartitioned { topics } => {
            assert_eq!(topics, "L has 2 partitions, R has 3 partitions");
        }
        other => panic!("another error: {other}"),
    }
}

#[test]
fn windows_that_cannot_be_are_named_with_the_reason() {
    let error = build_error(|builder| inner(windows(1, 0).with_after_ms(-2))(builder));
    let BuildError::InvalidOption { what, reason } = error else {
        panic!("another error: {error}")
    };
    assert_eq!(what, "windows of store j");
    assert_eq!(reason, "1 ms before and -2 ms after are negative together");
}

/// As Kafka Streams' stores of joins; those of other operators log no headers.
#[test]
fn the_changelogs_of_a_join_keep_the_headers_of_its_records() {
    let builder = StreamsBuilder::new();
    inner(windows(10, 5))(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Text, Text>("L");
    let headers = Headers::none().with("of", Some(b"a")).with("of", None);
    let record = TestRecord::new("k".to_owned(), "a".to_owned(), 5);
    input.pipe_record(&record.with_headers(headers.clone())).unwrap();
    input.pipe_input_at("k".to_owned(), "b".to_owned(), 6).unwrap();
    let names = driver.produced_topic_names().unwrap();
    let changelog = names.iter().find(|name| name.ends_with("-changelog")).unwrap();
    let lines = driver.output_topic::<Vec<u8>, String>(changelog).unwrap().read_records().unwrap();
    let lines: Vec<_> = lines
        .into_iter()
        .map(|line| (line.value, line.timestamp.as_millis(), line.headers))
        .collect();
    let expected = [("a".to_owned(), 5, headers), ("b".to_owned(), 6, Headers::none())];
    assert_eq!(lines, expected);
}
