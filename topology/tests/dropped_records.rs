//! The side output of windowed aggregations: which records it has, with what, and that nothing else
//! changes by it. Through the test driver.
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "helpers of a test")]

use std::time::Duration;

use headwater_topology::{
    DropReason, DroppedRecord, EmitStrategy, Headers, KStream, SessionWindows, SlidingWindows,
    StreamsBuilder, TestRecord, TimeWindows, Topology, TopologyTestDriver,
};

type Dropped = KStream<Option<String>, DroppedRecord<Option<String>>>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Writes what was dropped, and all that is known about it, to `dropped`.
fn write(dropped: Dropped) {
    let text = |dropped: DroppedRecord<Option<String>>| {
        let window = dropped.window.map(|window| format!("{}/{}", window.start_ms, window.end_ms));
        let time = dropped.stream_time.map(|time| time.as_millis().to_string());
        let about = [dropped.value, Some(format!("{:?}", dropped.reason)), window, time];
        about.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    dropped.map_values(text).to("dropped");
}

/// The topology of one kind of windows, with and without its side output.
fn topology(kind: &str, with_side_output: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<Option<String>, Option<String>>("in").group_by_key();
    macro_rules! count {
        ($windows:expr) => {{
            let windowed = grouped.windowed_by($windows);
            let windowed = match with_side_output {
                true => windowed.with_dropped_records(write),
                false => windowed,
            };
            windowed
                .count("counts")
                .to_stream()
                .map(|key, count| (format!("{key:?}"), count))
                .to("out");
        }};
    }
    match kind {
        "tumbling" => count!(TimeWindows::of_size_with_no_grace(ms(10))),
        "hopping" => count!(TimeWindows::of_size_with_no_grace(ms(10)).advance_by(ms(4))),
        "sliding" => count!(SlidingWindows::of_time_difference_and_grace(ms(10), ms(5))),
        _ => count!(SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5))),
    }
    builder.build().unwrap()
}

/// `check(kind, [(time, value)], [(what was dropped, time)])`: all records have the key `k`.
fn check(kind: &str, input: &[(i64, Option<&str>)], expected: &[(&str, i64)]) {
    let run = |with_side_output| {
        let driver = TopologyTestDriver::new(&topology(kind, with_side_output)).unwrap();
        let topic = driver.input_topic::<Option<String>, Option<String>>("in");
        for (time, value) in input {
            let headers = Headers::none().with("of", Some(time.to_string().as_bytes()));
            let record = TestRecord::new("k".to_owned(), value.map(str::to_owned), *time);
            topic.pipe_record(&record.with_headers(headers)).unwrap();
        }
        driver
    };
    let (with, without) = (run(true), run(false));
    let dropped = with.output_topic::<Option<String>, String>("dropped").unwrap();
    let dropped = dropped.read_records().unwrap();
    let expected: Vec<_> = expected
        .iter()
        .map(|(about, time)| {
            let headers = Headers::none().with("of", Some(time.to_string().as_bytes()));
            TestRecord::new("k".to_owned(), *about, *time).with_headers(headers)
        })
        .collect();
    assert_eq!(dropped, expected, "{kind}");
    let out = |driver: &TopologyTestDriver| {
        driver.output_topic::<String, Option<i64>>("out").unwrap().read_records().unwrap()
    };
    assert_eq!(out(&with), out(&without), "{kind}");
    for reason in DropReason::ALL {
        let count = |driver: &TopologyTestDriver| driver.metrics().unwrap().dropped(reason);
        assert_eq!(count(&with), count(&without), "{kind} {reason:?}");
    }
}

#[test]
fn late_records_come_with_the_window_that_was_closed() {
    let input = [(12, Some("a")), (9, Some("b")), (11, Some("c")), (31, Some("d")), (12, None)];
    check("tumbling", &input, &[("b Late 0/10 12", 9), ("Late 10/20 31", 12)]);
}

#[test]
fn a_record_that_is_late_for_some_of_its_windows_comes_once_for_each_of_those() {
    let input = [(14, Some("a")), (9, Some("b"))];
    check("hopping", &input, &[("b Late 0/10 14", 9), ("b Late 4/14 14", 9)]);
}

#[test]
fn sliding_windows_drop_null_values_too() {
    let input = [(40, Some("a")), (24, Some("b")), (25, None), (26, Some("c"))];
    // The window that ends with the last record is closed, that which it shares with 40 is not.
    check(
        "sliding",
        &input,
        &[("b Late 14/24 40", 24), ("NullValue", 25), ("c Late 16/26 40", 26)],
    );
}

#[test]
fn a_late_record_comes_with_the_session_that_it_would_have_made() {
    let input = [(40, Some("a")), (24, Some("b")), (25, None), (60, Some("c")), (31, Some("d"))];
    // At 60 the session at 40 is hidden, so that 31 has none to prolong.
    check("sessions", &input, &[("b Late 24/24 40", 24), ("d Late 31/31 60", 31)]);
}

#[test]
fn records_without_a_key_come_with_that_reason() {
    for kind in ["tumbling", "sliding", "sessions"] {
        let driver = TopologyTestDriver::new(&topology(kind, true)).unwrap();
        let input = driver.input_topic::<Option<String>, Option<String>>("in");
        input.pipe_record(&TestRecord::new(None, "v".to_owned(), 3)).unwrap();
        let dropped = driver.output_topic::<Option<String>, String>("dropped").unwrap();
        assert_eq!(dropped.read_timed().unwrap(), [(None, "v NullKey".to_owned(), 3)], "{kind}");
    }
}

#[test]
fn the_side_output_is_a_node_below_its_aggregation_and_renames_nothing_above() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(ms(10)))
        .emit_strategy(EmitStrategy::on_window_close())
        .with_dropped_records(|dropped| {
            dropped.map_values(|dropped| dropped.value).to("late");
        })
        .count("counts");
    let text = builder.build().unwrap().describe();
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [in])
      --> KSTREAM-AGGREGATE-0000000001
    Processor: KSTREAM-AGGREGATE-0000000001 (stores: [counts])
      --> KSTREAM-DROPPED-0000000002
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-DROPPED-0000000002 (stores: [])
      --> KSTREAM-MAPVALUES-0000000003
      <-- KSTREAM-AGGREGATE-0000000001
    Processor: KSTREAM-MAPVALUES-0000000003 (stores: [])
      --> KSTREAM-SINK-0000000004
      <-- KSTREAM-DROPPED-0000000002
    Sink: KSTREAM-SINK-0000000004 (topic: late)
      <-- KSTREAM-MAPVALUES-0000000003

";
    assert_eq!(text, expected);
}
