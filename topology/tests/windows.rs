//! Aggregations over tumbling, hopping and unlimited windows: what Kafka Streams 4.3.1 gives for the
//! same records, its record cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_log_store::Timestamp;
use headwater_topology::{
    BuildError, EmitStrategy, KGroupedStream, KTable, Materialized, StreamsBuilder, StreamsConfig,
    TimeWindows, TopologyConfig, UnlimitedWindows, Windowed,
};
use runner::{build_error, check, check_compat, check_with};

type Grouped = KGroupedStream<Option<String>, Option<String>>;

fn grouped(builder: &StreamsBuilder) -> Grouped {
    builder.stream::<Option<String>, Option<String>>("S").group_by_key()
}

fn tumbling(size_ms: u64, grace_ms: u64) -> TimeWindows {
    TimeWindows::of_size_and_grace(Duration::from_millis(size_ms), Duration::from_millis(grace_ms))
}

fn hopping(size_ms: u64, advance_ms: u64, grace_ms: u64) -> TimeWindows {
    tumbling(size_ms, grace_ms).advance_by(Duration::from_millis(advance_ms))
}

/// Sends a windowed table to topic `out` with keys as text.
fn send<V: ToString + Clone + Send + 'static>(table: &KTable<Windowed<Option<String>>, V>) {
    let text = |windowed: Windowed<Option<String>>, value: Option<V>| {
        let key = Windowed { key: windowed.key.unwrap_or_default(), window: windowed.window };
        (key.to_string(), value.map(|value| value.to_string()))
    };
    table.to_stream().map(text).to("out");
}

fn concat(_: &Option<String>, value: Option<String>, so_far: String) -> String {
    so_far + &value.unwrap_or_else(|| "null".to_owned())
}

fn plus(_: &Option<String>, value: Option<String>, so_far: String) -> String {
    format!("{so_far}+{}", value.unwrap_or_default())
}

#[test]
fn a_tumbling_count_counts_nulls_and_drops_null_keys_and_late_records() {
    let build = |builder: &StreamsBuilder| {
        send(&grouped(builder).windowed_by(tumbling(10, 0)).count("counts"));
    };
    let script = "
        S k a 5 => k@0/10 1 5
        S k a 9 => k@0/10 2 9
        S k a 7 => k@0/10 3 9
        S k a 10 => k@10/20 1 10
        S k a 9
        S k a 0
        S q a 9
        S k ~ 11 => k@10/20 2 11
        S ~ x 12";
    check(build, script);
    check_compat(build, script);
}

#[test]
fn grace_is_measured_from_the_largest_time_of_any_key() {
    let build = |builder: &StreamsBuilder| {
        send(&grouped(builder).windowed_by(tumbling(10, 5)).count("counts"));
    };
    check(
        build,
        "
        S k a 9 => k@0/10 1 9
        S q a 14 => q@10/20 1 14
        S k a 8 => k@0/10 2 9
        S q a 15 => q@10/20 2 15
        S k a 8",
    );
}

#[test]
fn a_windowed_reduce_passes_nulls_to_the_reducer() {
    let build = |builder: &StreamsBuilder| {
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
        let reduced = grouped(builder)
            .windowed_by(tumbling(10, 0))
            .reduce(move |old, new| Some(or_null(old) + &or_null(new)), "joined");
        send(&reduced.map_values(|value| value.unwrap_or_default()));
    };
    check(build, "S k a 1 => k@0/10 a 1\n S k ~ 2 => k@0/10 anull 2");
}

#[test]
fn a_record_belongs_to_each_hopping_window_around_it_in_the_order_of_their_starts() {
    let build = |builder: &StreamsBuilder| {
        send(&grouped(builder).windowed_by(hopping(10, 4, 0)).aggregate(
            String::new,
            concat,
            "texts",
        ));
    };
    check(
        build,
        "
        S k a 1 => k@0/10 a 1
        S k b 9 => k@0/10 ab 9 | k@4/14 b 9 | k@8/18 b 9
        S k c 6 => k@0/10 abc 9 | k@4/14 bc 9
        S k d 14 => k@8/18 bd 14 | k@12/22 d 14
        S k e 13 => k@8/18 bde 14 | k@12/22 de 14",
    );
}

#[test]
fn hopping_windows_keep_keys_apart() {
    let build = |builder: &StreamsBuilder| {
        let windowed = grouped(builder).windowed_by(hopping(10, 5, 100));
        send(&windowed.aggregate(|| "0".to_owned(), plus, "topic1-Canonized"));
    };
    check(
        build,
        "
        S A 1 0 => A@0/10 0+1 0
        S B 2 1 => B@0/10 0+2 1
        S C 3 2 => C@0/10 0+3 2
        S D 4 3 => D@0/10 0+4 3
        S A 1 4 => A@0/10 0+1+1 4
        S A 1 5 => A@0/10 0+1+1+1 5 | A@5/15 0+1 5
        S B 2 6 => B@0/10 0+2+2 6 | B@5/15 0+2 6
        S D 4 7 => D@0/10 0+4+4 7 | D@5/15 0+4 7
        S B 2 8 => B@0/10 0+2+2+2 8 | B@5/15 0+2+2 8
        S C 3 9 => C@0/10 0+3+3 9 | C@5/15 0+3 9
        S A 1 10 => A@5/15 0+1+1 10 | A@10/20 0+1 10
        S B 2 11 => B@5/15 0+2+2+2 11 | B@10/20 0+2 11
        S D 4 12 => D@5/15 0+4+4 12 | D@10/20 0+4 12
        S B 2 13 => B@5/15 0+2+2+2+2 13 | B@10/20 0+2+2 13
        S C 3 14 => C@5/15 0+3+3 14 | C@10/20 0+3 14
        S B 1 3 => B@0/10 0+2+2+2+1 8
        S B 2 2 => B@0/10 0+2+2+2+1+2 8
        S B 3 9 => B@0/10 0+2+2+2+1+2+3 9 | B@5/15 0+2+2+2+2+3 13",
    );
}

/// The input of the next two tests: late for some of its windows, or for all of them.
const LATE: [&str; 10] = [
    "S k 100 100",
    "S k 0 0",
    "S k 1 1",
    "S k 2 2",
    "S k 3 3",
    "S k 4 4",
    "S k 5 5",
    "S k 6 6",
    "S k 105 105",
    "S k 106 106",
];

fn script_of(input: &[&str], expected: &[(usize, &str)]) -> String {
    let line = |(index, line): (usize, &&str)| {
        let found = expected.iter().find(|(at, _)| *at == index);
        format!("{line} => {}\n", found.map_or("", |(_, records)| records))
    };
    input.iter().enumerate().map(line).collect()
}

#[test]
fn a_record_may_be_late_for_one_of_its_windows_and_in_time_for_another() {
    let build = |builder: &StreamsBuilder| {
        let windowed = grouped(builder).windowed_by(hopping(10, 5, 90));
        let kept = Materialized::named("texts").with_retention(Duration::from_millis(100));
        send(&windowed.aggregate(String::new, plus, kept));
    };
    let expected = [
        (0, "k@95/105 +100 100 | k@100/110 +100 100"),
        (6, "k@5/15 +5 5"),
        (7, "k@5/15 +5+6 6"),
        (8, "k@100/110 +100+105 105 | k@105/115 +105 105"),
        (9, "k@100/110 +100+105+106 106 | k@105/115 +105+106 106"),
    ];
    check(build, &script_of(&LATE, &expected));
}

#[test]
fn a_closed_window_is_emitted_once_when_that_is_asked_for() {
    let build = |builder: &StreamsBuilder| {
        let windowed = grouped(builder)
            .windowed_by(hopping(10, 5, 90))
            .emit_strategy(EmitStrategy::on_window_close());
        let kept = Materialized::named("texts").with_retention(Duration::from_millis(100));
        send(&windowed.aggregate(String::new, plus, kept));
    };
    check(build, &script_of(&LATE, &[(8, "k@5/15 +5+6 6")]));
    check_compat(build, &script_of(&LATE, &[(8, "k@5/15 +5+6 6")]));
}

fn on_close(windows: TimeWindows) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let windowed =
            grouped(builder).windowed_by(windows).emit_strategy(EmitStrategy::on_window_close());
        send(&windowed.aggregate(String::new, concat, "texts"));
    }
}

#[test]
fn closed_windows_come_by_their_start_and_then_by_key() {
    let script = "
        S k a 1
        S k b 9
        S q c 3
        S k d 14
        S k e 15 => k@0/10 ab 9 | q@0/10 c 3";
    check(on_close(tumbling(10, 5)), script);
    check_compat(on_close(tumbling(10, 5)), script);
}

#[test]
fn a_jump_of_stream_time_loses_windows_in_kafka_streams_but_not_here() {
    let before = "
        S k a 7
        S k b 12 => k@0/10 a 7
        S k c 16 => k@5/15 ab 12
        S k d 30 =>";
    check_compat(on_close(hopping(10, 5, 0)), before);
    let all = format!("{before} k@10/20 bc 16 | k@15/25 c 16");
    check(on_close(hopping(10, 5, 0)), &all);
    // With a longer retention nothing is lost either way.
    let build = |builder: &StreamsBuilder| {
        let windowed = grouped(builder)
            .windowed_by(hopping(10, 5, 0))
            .emit_strategy(EmitStrategy::on_window_close());
        let kept = Materialized::named("texts").with_retention(Duration::from_secs(1));
        send(&windowed.aggregate(String::new, concat, kept));
    };
    check_compat(build, &all);
}

#[test]
fn what_was_emitted_and_what_is_late_survives_a_restart() {
    check(
        on_close(tumbling(10, 5)),
        "
        S k a 1
        S k b 15 => k@0/10 a 1
        restart
        S k late 9
        S k c 16
        S q d 31 => k@10/20 bc 16",
    );
    // Without emission as well: the time is that of the rows then.
    let build = |builder: &StreamsBuilder| {
        send(&grouped(builder).windowed_by(tumbling(10, 0)).count("counts"));
    };
    check(build, "S k a 25 => k@20/30 1 25\n restart\n S k a 19\n S k a 21 => k@20/30 2 25");
}

#[test]
fn closed_windows_are_looked_for_once_in_an_interval_of_the_wall_clock() {
    let config = StreamsConfig::new("test").emit_interval(Duration::from_secs(1));
    check_with(
        TopologyConfig::new(),
        &config,
        on_close(tumbling(10, 0)),
        "
        S k a 1    # looks, and finds nothing
        S k b 11
        S k c 21
        wait 999
        S k d 22
        wait 1
        S k e 23 => k@0/10 a 1 | k@10/20 b 11",
    );
}

#[test]
fn an_unlimited_window_takes_everything_from_its_start_on() {
    let build = |builder: &StreamsBuilder| {
        let since = UnlimitedWindows::of().start_on(Timestamp::from_millis(10));
        send(&grouped(builder).windowed_by(since).count("counts"));
    };
    check(
        build,
        "
        S k a 5
        S k a 10 => k@10/9223372036854775807 1 10
        S k a 99999 => k@10/9223372036854775807 2 99999
        S k a 11 => k@10/9223372036854775807 3 99999",
    );
}

#[test]
fn windows_that_cannot_be_are_named_with_the_reason() {
    let reason = |build: &dyn Fn(Grouped)| match build_error(|builder| build(grouped(builder))) {
        BuildError::InvalidOption { what, reason } => {
            assert_eq!(what, "windows of store s");
            reason
        }
        other => panic!("another error: {other}"),
    };
    let of = |windows: TimeWindows| {
        reason(&move |grouped| drop(grouped.windowed_by(windows).count("s")))
    };
    assert_eq!(of(tumbling(0, 0)), "windows are at least one millisecond long");
    assert_eq!(of(hopping(10, 0, 0)), "windows of 10 ms advance by 1 to 10 ms, not by 0 ms");
    assert_eq!(of(hopping(10, 11, 0)), "windows of 10 ms advance by 1 to 10 ms, not by 11 ms");
    let short = reason(&|grouped| {
        let kept = Materialized::named("s").with_retention(Duration::from_millis(14));
        drop(grouped.windowed_by(tumbling(10, 5)).count(kept));
    });
    assert_eq!(short, "a retention of 14 ms is shorter than size and grace");
    let unlimited = reason(&|grouped| {
        let windowed = grouped.windowed_by(UnlimitedWindows::of());
        drop(windowed.emit_strategy(EmitStrategy::on_window_close()).count("s"));
    });
    assert_eq!(unlimited, "unlimited windows never close");
}

#[test]
fn the_initial_aggregate_is_the_old_value_of_a_keys_first_update() {
    // Where counts are grouped by themselves, the first one is taken out of the group of 0.
    let build = |builder: &StreamsBuilder| {
        let counts = builder.stream::<String, String>("S").group_by_key().count("counts");
        let by_count = counts.group_by(|key, count| (count.to_string(), key.clone()));
        by_count
            .count("keys-by-count")
            .to_stream()
            .map_values(|n| n.map(|n| n.to_string()))
            .to("out");
    };
    check(build, "S k a 1 => 0 ~ 1 | 1 1 1\n S k a 2 => 1 0 2 | 2 1 2");
}
