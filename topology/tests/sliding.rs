//! Aggregations over sliding windows: what Kafka Streams 4.3.1 gives for the same records, its record
//! cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    DropReason, EmitStrategy, KGroupedStream, KTable, Materialized, SlidingWindows, StreamsBuilder,
    TopologyTestDriver, Windowed,
};
use runner::{check, check_compat};

type Grouped = KGroupedStream<Option<String>, Option<String>>;

fn grouped(builder: &StreamsBuilder) -> Grouped {
    builder.stream::<Option<String>, Option<String>>("S").group_by_key()
}

fn sliding(difference_ms: u64, grace_ms: u64) -> SlidingWindows {
    SlidingWindows::of_time_difference_and_grace(
        Duration::from_millis(difference_ms),
        Duration::from_millis(grace_ms),
    )
}

/// Sends a windowed table to topic `out` with keys as text.
fn send(table: &KTable<Windowed<Option<String>>, String>) {
    let text = |windowed: Windowed<Option<String>>, value: Option<String>| {
        let key = Windowed { key: windowed.key.unwrap_or_default(), window: windowed.window };
        (key.to_string(), value)
    };
    table.to_stream().map(text).to("out");
}

/// Joins the values of a window, beginning with `initial`, with `plus` between them.
fn joining(
    windows: SlidingWindows,
    initial: &'static str,
    plus: &'static str,
) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let windowed = grouped(builder).windowed_by(windows);
        let joined = windowed.aggregate(
            move || initial.to_owned(),
            move |_, value, so_far| format!("{so_far}{plus}{}", value.unwrap_or_default()),
            "texts",
        );
        send(&joined);
    }
}

fn on_close(
    windows: SlidingWindows,
    initial: &'static str,
    plus: &'static str,
    retention_ms: Option<u64>,
) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let windowed =
            grouped(builder).windowed_by(windows).emit_strategy(EmitStrategy::on_window_close());
        let mut kept = Materialized::named("texts");
        if let Some(retention_ms) = retention_ms {
            kept = kept.with_retention(Duration::from_millis(retention_ms));
        }
        let joined = windowed.aggregate(
            move || initial.to_owned(),
            move |_, value, so_far| format!("{so_far}{plus}{}", value.unwrap_or_default()),
            kept,
        );
        send(&joined);
    }
}

#[test]
fn windows_end_with_a_record_or_start_right_after_one() {
    let script = "
        S k a 20 => k@10/20 a 20
        S k b 25 => k@21/31 b 25 | k@15/25 ab 25
        S k c 22 => k@21/31 bc 25 | k@15/25 abc 25 | k@12/22 ac 22 | k@23/33 b 25
        S k d 30 => k@23/33 bd 30 | k@21/31 bcd 30 | k@26/36 d 30 | k@20/30 abcd 30
        S k e 20 => k@20/30 abcde 30 | k@15/25 abce 25 | k@12/22 ace 22 | k@10/20 ae 20
        S k ~ 31";
    check(joining(sliding(10, 50), "", ""), script);
    check_compat(joining(sliding(10, 50), "", ""), script);
}

#[test]
fn late_windows_are_left_out_one_by_one() {
    check(
        joining(sliding(10, 0), "", ""),
        "
        S k a 20 => k@10/20 a 20
        S k b 31 => k@21/31 b 31
        S k c 21 => k@21/31 bc 31 | k@22/32 b 31
        S k d 20
        S k e 22 => k@22/32 be 31 | k@21/31 bce 31 | k@23/33 b 31",
    );
}

#[test]
fn records_of_one_time_share_their_windows() {
    check(
        joining(sliding(10, 5), "0", "+"),
        "
        S A 1 10 => A@0/10 0+1 10
        S A 2 10 => A@0/10 0+1+2 10
        S A 3 14 => A@11/21 0+3 14 | A@4/14 0+1+2+3 14
        S A 4 15 => A@11/21 0+3+4 15 | A@15/25 0+4 15 | A@5/15 0+1+2+3+4 15
        S A 5 20 => A@15/25 0+4+5 20 | A@11/21 0+3+4+5 20 | A@16/26 0+5 20 | A@10/20 0+1+2+3+4+5 20
        S A 6 22 => A@16/26 0+5+6 22 | A@15/25 0+4+5+6 22 | A@21/31 0+6 22 | A@12/22 0+3+4+5+6 22
        S A 7 30 => A@21/31 0+6+7 30 | A@23/33 0+7 30 | A@20/30 0+5+6+7 30",
    );
}

#[test]
fn early_records_share_the_window_from_zero() {
    check(
        joining(sliding(50, 0), "0", "+"),
        "
        S A 1 0 => A@0/50 0+1 0
        S A 2 5 => A@1/51 0+2 5 | A@0/50 0+1+2 5
        S A 3 6 => A@1/51 0+2+3 6 | A@6/56 0+3 6 | A@0/50 0+1+2+3 6
        S A 4 3 => A@1/51 0+2+3+4 6 | A@4/54 0+2+3 6 | A@0/50 0+1+2+3+4 6
        S A 5 13 => A@1/51 0+2+3+4+5 13 | A@4/54 0+2+3+5 13 | A@6/56 0+3+5 13 | A@7/57 0+5 13 | A@0/50 0+1+2+3+4+5 13
        S A 6 10 => A@1/51 0+2+3+4+5+6 13 | A@4/54 0+2+3+5+6 13 | A@6/56 0+3+5+6 13 | A@7/57 0+5+6 13 | A@11/61 0+5 13 | A@0/50 0+1+2+3+4+5+6 13
        S A 7 70 => A@20/70 0+7 70",
    );
}

#[test]
fn out_of_order_records_split_windows() {
    check(
        joining(sliding(50, 0), "0", "+"),
        "
        S A 1 100 => A@50/100 0+1 100
        S A 2 105 => A@101/151 0+2 105 | A@55/105 0+1+2 105
        S A 3 106 => A@101/151 0+2+3 106 | A@106/156 0+3 106 | A@56/106 0+1+2+3 106
        S A 4 103 => A@101/151 0+2+3+4 106 | A@56/106 0+1+2+3+4 106 | A@104/154 0+2+3 106
        S A 5 113 => A@106/156 0+3+5 113 | A@104/154 0+2+3+5 113 | A@101/151 0+2+3+4+5 113 | A@107/157 0+5 113 | A@63/113 0+1+2+3+4+5 113
        S A 6 110 => A@107/157 0+5+6 113 | A@106/156 0+3+5+6 113 | A@104/154 0+2+3+5+6 113 | A@101/151 0+2+3+4+5+6 113 | A@63/113 0+1+2+3+4+5+6 113 | A@111/161 0+5 113",
    );
}

#[test]
fn a_reduce_takes_the_first_value_of_a_window_as_it_is() {
    let build = |builder: &StreamsBuilder| {
        let plus = |old: Option<String>, new: Option<String>| {
            Some(format!("{}+{}", old.unwrap_or_default(), new.unwrap_or_default()))
        };
        let reduced = grouped(builder).windowed_by(sliding(10, 5)).reduce(plus, "texts");
        send(&reduced.map_values(|value| value.unwrap_or_default()));
    };
    check(
        build,
        "
        S A 1 10 => A@0/10 1 10
        S A 2 14 => A@11/21 2 14 | A@4/14 1+2 14
        S A 3 15 => A@11/21 2+3 15 | A@15/25 3 15 | A@5/15 1+2+3 15
        S A 4 22 => A@15/25 3+4 22 | A@16/26 4 22 | A@12/22 2+3+4 22
        S A 5 26 => A@16/26 4+5 26 | A@23/33 5 26
        S A 6 30 => A@23/33 5+6 30 | A@27/37 6 30 | A@20/30 4+5+6 30",
    );
}

#[test]
fn counts_of_several_keys_agree_with_kafka_streams() {
    let build = |builder: &StreamsBuilder| {
        let counted = grouped(builder).windowed_by(sliding(500, 2_000)).count("counts");
        send(&counted.map_values(|count| count.to_string()));
    };
    check(
        build,
        "
        S 1 A 500 => 1@0/500 1 500
        S 1 A 999 => 1@501/1001 1 999 | 1@499/999 2 999
        S 1 A 600 => 1@501/1001 2 999 | 1@499/999 3 999 | 1@100/600 2 600 | 1@601/1101 1 999
        S 2 B 500 => 2@0/500 1 500
        S 2 B 600 => 2@501/1001 1 600 | 2@100/600 2 600
        S 2 B 700 => 2@501/1001 2 700 | 2@601/1101 1 700 | 2@200/700 3 700
        S 3 C 501 => 3@1/501 1 501
        S 1 A 1000 => 1@601/1101 2 1000 | 1@501/1001 3 1000 | 1@1000/1500 1 1000 | 1@500/1000 4 1000
        S 1 A 1000 => 1@1000/1500 2 1000 | 1@601/1101 3 1000 | 1@501/1001 4 1000 | 1@500/1000 5 1000
        S 2 B 1000 => 2@601/1101 2 1000 | 2@501/1001 3 1000 | 2@701/1201 1 1000 | 2@500/1000 4 1000
        S 2 B 1000 => 2@701/1201 2 1000 | 2@601/1101 3 1000 | 2@501/1001 4 1000 | 2@500/1000 5 1000
        S 3 C 600 => 3@502/1002 1 600 | 3@100/600 2 600",
    );
}

#[test]
fn closed_windows_are_emitted_once() {
    let script = "
        S A 1 100
        S A 2 105 => A@50/100 0+1 100
        S A 3 106 => A@55/105 0+1+2 105
        S A 4 103
        S A 5 113 => A@56/106 0+1+2+3+4 106
        S A 6 110";
    check(on_close(sliding(50, 0), "0", "+", None), script);
    check_compat(on_close(sliding(50, 0), "0", "+", None), script);
}

#[test]
fn a_jump_of_stream_time_loses_windows_in_kafka_streams_but_not_here() {
    let lost = "
        S k a 20
        S k b 25 => k@10/20 a 20
        S k c 31 => k@15/25 ab 25
        S k d 60";
    let kept = "
        S k a 20
        S k b 25 => k@10/20 a 20
        S k c 31 => k@15/25 ab 25
        S k d 60 => k@21/31 bc 31 | k@26/36 c 31";
    check_compat(on_close(sliding(10, 0), "", "", None), lost);
    check_compat(on_close(sliding(10, 0), "", "", Some(1_000)), kept);
    check(on_close(sliding(10, 0), "", "", None), kept);
}

#[test]
fn windows_and_what_is_late_survive_a_restart() {
    check(
        joining(sliding(10, 0), "", ""),
        "
        S k a 20 => k@10/20 a 20
        S k b 25 => k@21/31 b 25 | k@15/25 ab 25
        restart
        S k late 14
        S k c 27 => k@21/31 bc 27 | k@26/36 c 27 | k@17/27 abc 27",
    );
    check(
        on_close(sliding(10, 0), "", "", None),
        "
        S k a 20
        S k b 25 => k@10/20 a 20
        restart
        S k c 31 => k@15/25 ab 25
        restart
        S k d 60 => k@21/31 bc 31 | k@26/36 c 31",
    );
}

#[test]
fn nulls_are_dropped_and_windows_can_be_read_from_the_store() {
    let builder = StreamsBuilder::new();
    grouped(&builder).windowed_by(sliding(10, 0)).count("counts");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Option<String>, Option<String>>("S");
    let k = || Some("k".to_owned());
    for (key, value, time) in [(k(), k(), 20), (k(), None, 21), (None, k(), 22), (k(), k(), 25)] {
        input.pipe_input_at(key, value, time).unwrap();
    }
    let metrics = driver.metrics().unwrap();
    assert_eq!(metrics.dropped(DropReason::NullKey), 1);
    assert_eq!(metrics.dropped(DropReason::NullValue), 1);
    let size = headwater_topology::TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let rows = driver.window_store_rows::<Option<String>, i64>("counts", size).unwrap();
    let rows: Vec<_> =
        rows.into_iter().map(|(key, count, time)| (key.window.to_string(), count, time)).collect();
    let expected = [("10/20", 1, 20), ("15/25", 2, 25), ("21/31", 1, 25)];
    assert_eq!(rows, expected.map(|(window, count, time)| (window.to_owned(), count, time)));
}
