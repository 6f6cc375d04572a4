//! Aggregations over sessions: what Kafka Streams 4.3.1 gives for the same records, its record cache
//! off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    EmitStrategy, Headers, KGroupedStream, KTable, Materialized, SessionWindow, SessionWindows,
    StreamsBuilder, TestRecord, TopologyTestDriver, Windowed,
};
use runner::{check, check_compat};

type Grouped = KGroupedStream<Option<String>, Option<String>>;

fn grouped(builder: &StreamsBuilder) -> Grouped {
    builder.stream::<Option<String>, Option<String>>("S").group_by_key()
}

fn sessions(gap_ms: u64, grace_ms: u64) -> SessionWindows {
    SessionWindows::of_inactivity_gap_and_grace(
        Duration::from_millis(gap_ms),
        Duration::from_millis(grace_ms),
    )
}

/// Sends a table of sessions to topic `out` with keys as text.
fn send(table: &KTable<Windowed<Option<String>, SessionWindow>, String>) {
    let text = |windowed: Windowed<Option<String>, SessionWindow>, value: Option<String>| {
        let key = Windowed { key: windowed.key.unwrap_or_default(), window: windowed.window };
        (key.to_string(), value)
    };
    table.to_stream().map(text).to("out");
}

fn concat(_: &Option<String>, value: Option<String>, so_far: String) -> String {
    so_far + value.as_deref().unwrap_or("~")
}

fn joining(
    windows: SessionWindows,
    emit: EmitStrategy,
    retention_ms: Option<u64>,
) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let mut kept = Materialized::named("texts");
        if let Some(retention_ms) = retention_ms {
            kept = kept.with_retention(Duration::from_millis(retention_ms));
        }
        let windowed = grouped(builder).windowed_by(windows).emit_strategy(emit);
        send(&windowed.aggregate(String::new, concat, |_, one, other| one + &other, kept));
    }
}

const UPDATE: EmitStrategy = EmitStrategy::on_window_update();
const CLOSE: EmitStrategy = EmitStrategy::on_window_close();

#[test]
fn a_record_prolongs_and_joins_sessions_and_nulls_count() {
    let script = "
        S k a 0 => k@0/0 a 0
        S k b 25 => k@25/25 b 25
        S k c 10
        S k d 15 => k@25/25 ~ 25 | k@15/25 bd 25
        S k e 35 => k@15/25 ~ 25 | k@15/35 bde 35
        S k f 50 => k@50/50 f 50
        S k g 39
        S k h 40 => k@15/35 ~ 35 | k@50/50 ~ 50 | k@15/50 bdefh 50
        S q x 29
        S q y 30
        S k ~ 51 => k@15/50 ~ 50 | k@15/51 bdefh~ 51";
    check(joining(sessions(10, 0), UPDATE, Some(1_000)), script);
    check_compat(joining(sessions(10, 0), UPDATE, Some(1_000)), script);
}

#[test]
fn the_default_retention_hides_a_session_that_a_late_record_would_still_reach() {
    let script = "
        S k a 0 => k@0/0 a 0
        S k b 25 => k@25/25 b 25
        S k c 10
        S k d 15 => k@25/25 ~ 25 | k@15/25 bd 25
        S k e 35 => k@15/25 ~ 25 | k@15/35 bde 35
        S k f 50 => k@50/50 f 50
        S k g 39
        S k h 40 => k@50/50 ~ 50 | k@40/50 fh 50
        S q x 29
        S q y 30
        S k ~ 51 => k@40/50 ~ 50 | k@40/51 fh~ 51";
    check(joining(sessions(10, 0), UPDATE, None), script);
    check_compat(joining(sessions(10, 0), UPDATE, None), script);
}

#[test]
fn a_record_between_two_sessions_makes_one_of_them() {
    check(
        joining(sessions(10, 100), UPDATE, None),
        "
        S k a 0 => k@0/0 a 0
        S k b 20 => k@20/20 b 20
        S k c 10 => k@0/0 ~ 0 | k@20/20 ~ 20 | k@0/20 abc 20
        S k d 10 => k@0/20 ~ 20 | k@0/20 abcd 20",
    );
}

#[test]
fn a_reduce_joins_sessions_with_the_reducer() {
    let build = |builder: &StreamsBuilder| {
        let colon = |old: Option<String>, new: Option<String>| {
            Some(format!("{}:{}", old.unwrap_or_default(), new.unwrap_or_default()))
        };
        let reduced = grouped(builder).windowed_by(sessions(30, 0)).reduce(colon, "texts");
        send(&reduced.map_values(|value| value.unwrap_or_default()));
    };
    check(
        build,
        "
        S 1 A 10 => 1@10/10 A 10
        S 2 Z 15 => 2@15/15 Z 15
        S 1 B 30 => 1@10/10 ~ 10 | 1@10/30 A:B 30
        S 1 A 70 => 1@70/70 A 70
        S 1 B 100 => 1@70/70 ~ 70 | 1@70/100 A:B 100
        S 1 C 90 => 1@70/100 ~ 100 | 1@70/100 A:B:C 100",
    );
}

#[test]
fn a_gap_of_zero_keeps_records_of_one_time_apart_unless_the_store_keeps_them() {
    let build = |retention_ms: u64| {
        move |builder: &StreamsBuilder| {
            let kept = Materialized::named("s").with_retention(Duration::from_millis(retention_ms));
            let counted = grouped(builder).windowed_by(sessions(0, 0)).count(kept);
            send(&counted.map_values(|count| count.to_string()));
        }
    };
    check(
        build(0),
        "S 1 1 10 => 1@10/10 1 10\n S 1 1 11 => 1@11/11 1 11\n S 1 1 11 => 1@11/11 1 11",
    );
    check(
        build(1),
        "S 1 1 10 => 1@10/10 1 10\n S 1 1 11 => 1@11/11 1 11\n S 1 1 11 => 1@11/11 2 11",
    );
}

#[test]
fn a_closed_session_is_emitted_once_and_includes_its_end() {
    let script = "
        S k a 0
        S k b 10
        S q x 19
        S q y 20
        S k c 10
        S q z 21 => k@0/10 abc 10";
    check(joining(sessions(10, 0), CLOSE, Some(1_000)), script);
    check_compat(joining(sessions(10, 0), CLOSE, Some(1_000)), script);
}

#[test]
fn a_session_is_not_lost_before_it_was_emitted() {
    let script = "
        S k a 0
        S k b 10
        S q x 50 => k@0/10 ab 10";
    check_compat(joining(sessions(10, 0), CLOSE, None), script);
    check(joining(sessions(10, 0), CLOSE, None), script);
}

#[test]
fn sessions_and_what_is_late_survive_a_restart() {
    check(
        joining(sessions(10, 0), UPDATE, None),
        "
        S k a 30 => k@30/30 a 30
        S q x 35 => q@35/35 x 35
        restart
        S k late 19
        S k b 28 => k@30/30 ~ 30 | k@28/30 ab 30",
    );
    check(
        joining(sessions(10, 0), CLOSE, None),
        "
        S k a 0
        S q x 11 => k@0/0 a 0
        restart
        S q y 30 => q@11/11 x 11",
    );
}

#[test]
fn updates_have_no_headers_and_sessions_can_be_read_from_the_store() {
    let builder = StreamsBuilder::new();
    let counts = grouped(&builder).windowed_by(sessions(10, 0)).count("counts");
    counts.to_stream().to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Option<String>, Option<String>>("S");
    let key = || Some("k".to_owned());
    let headers = Headers::from_pairs([("h", Some(&b"1"[..]))]);
    for time in [5, 7] {
        let record = TestRecord::new(key(), key(), time).with_headers(headers.clone());
        input.pipe_record(&record).unwrap();
    }
    let windowed =
        |start_ms, end_ms| Windowed { key: key(), window: SessionWindow { start_ms, end_ms } };
    let out =
        driver.output_topic::<Windowed<Option<String>, SessionWindow>, Option<i64>>("out").unwrap();
    let expected = [
        TestRecord::new(windowed(5, 5), 1, 5),
        TestRecord::new(windowed(5, 5), None, 5),
        TestRecord::new(windowed(5, 7), 2, 7),
    ];
    assert_eq!(out.read_records().unwrap(), expected);
    assert_eq!(driver.session_store_rows("counts").unwrap(), [(windowed(5, 7), 2_i64)]);
}
