//! Versioned tables: what Kafka Streams 4.3.1 gives for the same records, its record cache off. The
//! long scripts were recorded from it.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    BufferConfig, DropReason, KTable, Materialized, StreamsBuilder, Suppressed, TopologyTestDriver,
};
use runner::{build_error, check};

type Text = Option<String>;
type Table = KTable<String, String>;

fn versioned(builder: &StreamsBuilder, topic: &str, history_ms: u64) -> Table {
    let kept = Materialized::named(format!("{topic}-rows"));
    builder.table_with(topic, kept.versioned(Duration::from_millis(history_ms)))
}

fn null(text: Text) -> String {
    text.unwrap_or_else(|| "null".to_owned())
}

/// Five minutes, as in the recorded cases.
const LONG_MS: u64 = 300_000;

/// A join of a stream with a versioned table.
fn stream_join(between: &'static str, history_ms: u64, left: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let table = versioned(builder, "T", history_ms);
        let stream = builder.stream::<String, String>("S");
        match left {
            false => stream.join_table(&table, move |value, row| value + between + &row),
            true => stream.left_join_table(&table, move |value, row| value + between + &null(row)),
        }
        .to("out");
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Outer,
}

/// A join of tables of which these are versioned.
fn table_join(kind: Kind, left_versioned: bool, right_versioned: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let table = |topic: &str, is_versioned: bool| match is_versioned {
            true => versioned(builder, topic, LONG_MS),
            false => builder.table(topic),
        };
        let (left, right) = (table("A", left_versioned), table("B", right_versioned));
        match kind {
            Kind::Inner => left.join(&right, |l, r| l + "-" + &r),
            Kind::Left => left.left_join(&right, |l, r| l + "-" + &null(r)),
            Kind::Outer => left.outer_join(&right, |l, r| null(l) + "-" + &null(r)),
        }
        .to_stream()
        .to("out");
    }
}

#[test]
fn a_stream_finds_the_row_of_its_time_within_the_history() {
    check(
        stream_join("+", 100, false),
        "
        T k t1 10
        T k t2 20
        S k a 15 => k a+t1 15
        S k b 25 => k b+t2 25
        S k c 5
        T k t0 4
        S k d 5 => k d+t0 5
        T k ~ 12
        S k e 13
        S k f 21 => k f+t2 21
        restart
        S k f 11 => k f+t1 11
        T k t9 200
        S k g 99
        S k h 100 => k h+t2 100
        S k i 15
        ",
    );
}

#[test]
fn an_inner_join_finds_rows_by_the_time_of_the_record() {
    check(
        stream_join("-", LONG_MS, false),
        "
        S 0 ~ 0
        T 0 ~ 1
        S 0 A 2
        T 0 a 3
        S 0 B 4 => 0 B-a 4
        T 0 b 5
        S 0 ~ 6
        T 0 ~ 7
        S 0 C 8
        T 0 c 9
        T 0 ~ 10
        S 0 ~ 11
        T 0 ~ 12
        T 0 d 6
        S 0 D 5 => 0 D-b 5
        S 0 ~ 1
        T 0 ~ 2
        T 0 e 13
        S 0 E 14 => 0 E-e 14
        S 0 ~ 9
        T 0 ~ 8
        S 0 F 3 => 0 F-a 3
        T 0 f 2
        ",
    );
}

#[test]
fn a_left_join_finds_rows_by_the_time_of_the_record() {
    check(
        stream_join("-", LONG_MS, true),
        "
        S 0 ~ 0
        T 0 ~ 1
        S 0 A 2 => 0 A-null 2
        T 0 a 3
        S 0 B 4 => 0 B-a 4
        T 0 b 5
        S 0 ~ 6
        T 0 ~ 7
        S 0 C 8 => 0 C-null 8
        T 0 c 9
        T 0 ~ 10
        S 0 ~ 11
        T 0 ~ 12
        T 0 d 6
        S 0 D 5 => 0 D-b 5
        S 0 ~ 1
        T 0 ~ 2
        T 0 e 13
        S 0 E 14 => 0 E-e 14
        S 0 ~ 9
        T 0 ~ 8
        S 0 F 3 => 0 F-a 3
        T 0 f 2
        ",
    );
}

#[test]
fn a_left_join_of_two_versioned_tables_leaves_out_records_out_of_order() {
    check(
        table_join(Kind::Left, true, true),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2 => 0 A-null 2
        B 0 a 3 => 0 A-a 3
        A 0 B 4 => 0 B-a 4
        B 0 b 5 => 0 B-b 5
        A 0 ~ 6 => 0 ~ 6
        B 0 ~ 7
        A 0 C 8 => 0 C-null 8
        B 0 c 9 => 0 C-c 9
        B 0 ~ 10 => 0 C-null 10
        A 0 ~ 11 => 0 ~ 11
        B 0 ~ 12
        B 0 d 6
        A 0 D 5
        A 0 ~ 1
        B 0 ~ 2
        B 0 e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9
        B 0 ~ 8
        A 0 F 3
        B 0 f 2
        ",
    );
}

#[test]
fn an_inner_join_with_a_versioned_left_side() {
    check(
        table_join(Kind::Inner, true, false),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2
        B 0 a 3 => 0 A-a 3
        A 0 B 4 => 0 B-a 4
        B 0 b 5 => 0 B-b 5
        A 0 ~ 6 => 0 ~ 6
        B 0 ~ 7
        A 0 C 8
        B 0 c 9 => 0 C-c 9
        B 0 ~ 10 => 0 ~ 10
        A 0 ~ 11
        B 0 ~ 12
        B 0 d 6
        A 0 D 5
        A 0 ~ 1
        B 0 ~ 2
        B 0 e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9
        B 0 ~ 8 => 0 ~ 14
        A 0 F 3
        B 0 f 2 => 0 E-f 14
        ",
    );
}

#[test]
fn an_outer_join_with_a_versioned_left_side() {
    check(
        table_join(Kind::Outer, true, false),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2 => 0 A-null 2
        B 0 a 3 => 0 A-a 3
        A 0 B 4 => 0 B-a 4
        B 0 b 5 => 0 B-b 5
        A 0 ~ 6 => 0 null-b 6
        B 0 ~ 7 => 0 ~ 7
        A 0 C 8 => 0 C-null 8
        B 0 c 9 => 0 C-c 9
        B 0 ~ 10 => 0 C-null 10
        A 0 ~ 11 => 0 ~ 11
        B 0 ~ 12
        B 0 d 6 => 0 null-d 6
        A 0 D 5
        A 0 ~ 1
        B 0 ~ 2 => 0 ~ 2
        B 0 e 13 => 0 null-e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9
        B 0 ~ 8 => 0 E-null 14
        A 0 F 3
        B 0 f 2 => 0 E-f 14
        ",
    );
}

#[test]
fn a_left_join_with_a_versioned_right_side() {
    check(
        table_join(Kind::Left, false, true),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2 => 0 A-null 2
        B 0 a 3 => 0 A-a 3
        A 0 B 4 => 0 B-a 4
        B 0 b 5 => 0 B-b 5
        A 0 ~ 6 => 0 ~ 6
        B 0 ~ 7
        A 0 C 8 => 0 C-null 8
        B 0 c 9 => 0 C-c 9
        B 0 ~ 10 => 0 C-null 10
        A 0 ~ 11 => 0 ~ 11
        B 0 ~ 12
        B 0 d 6
        A 0 D 5 => 0 D-null 5
        A 0 ~ 1 => 0 ~ 1
        B 0 ~ 2
        B 0 e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9 => 0 ~ 13
        B 0 ~ 8
        A 0 F 3 => 0 F-e 13
        B 0 f 2
        ",
    );
}

#[test]
fn a_foreign_key_join_of_versioned_tables_leaves_out_records_out_of_order() {
    check(
        |builder| {
            let (lefts, rights) =
                (versioned(builder, "A", LONG_MS), versioned(builder, "B", LONG_MS));
            let key = |_: &String, value: &String| Some(value.split_once('/')?.1.to_owned());
            let joined = lefts.join_on(&rights, key, |l, r| format!("({l},{r})"), "fk");
            joined.to_stream().to("out");
        },
        "
        B rhs1 rhsValue1 3
        A lhs1 lhsValue1/rhs1 2 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs2 lhsValue2/rhs1 4 => lhs2 (lhsValue2/rhs1,rhsValue1) 4
        A lhs2 ~ 5 => lhs2 ~ 5
        A lhs1 lhsValue1_ooo/rhs1 1
        A lhs2 lhsValue2_ooo/rhs1 1
        A lhs1 ~ 1
        A lhs1 lhsValue1_new/rhs1 7 => lhs1 (lhsValue1_new/rhs1,rhsValue1) 7
        A lhs2 lhsValue2_new/rhs1 7 => lhs2 (lhsValue2_new/rhs1,rhsValue1) 7
        B rhs1 rhsValue1_ooo 0
        B rhs1 ~ 0
        B rhs1 rhsValue1_new 5 => lhs1 (lhsValue1_new/rhs1,rhsValue1_new) 5 | lhs2 (lhsValue2_new/rhs1,rhsValue1_new) 5
        ",
    );
}

#[test]
fn a_grouping_is_made_of_the_newest_rows() {
    check(
        |builder| {
            let table = versioned(builder, "T", LONG_MS);
            let grouped = table.group_by(|key, value| (value.clone(), key.clone()));
            let counts = grouped.count("counts");
            counts.map_values(|count| count.to_string()).to_stream().to("out");
        },
        "
        T a x 10 => x 1 10
        T a y 5
        T a y 20 => x 0 20 | y 1 20
        T a ~ 15
        ",
    );
}

#[test]
fn streams_maps_and_filters_see_records_out_of_order_and_needless_tombstones() {
    check(
        |builder| {
            let table = versioned(builder, "T", LONG_MS).filter(|_, value| value != "no");
            table.map_values(|value| value + "!").to_stream().to("out");
        },
        "
        T k yes 10 => k yes! 10
        T k old 5 => k old! 5
        T k no 20 => k ~ 20
        T k no 21 => k ~ 21
        ",
    );
}

#[test]
fn a_stream_finds_old_rows_through_filters_and_maps() {
    check(
        |builder| {
            let table = versioned(builder, "T", LONG_MS).filter(|_, value| value != "no");
            let table = table.map_values(|value| value + "!");
            let stream = builder.stream::<String, String>("S");
            stream.join_table(&table, |value, row| value + "+" + &row).to("out");
        },
        "
        T k old 10
        T k no 20
        T k new 30
        S k a 15 => k a+old! 15
        S k b 25
        S k c 35 => k c+new! 35
        ",
    );
}

#[test]
fn a_record_older_than_the_history_is_dropped_and_counted_but_logged() {
    let builder = StreamsBuilder::new();
    versioned(&builder, "T", 100).to_stream().to("out");
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(&topology).unwrap();
    let input = driver.input_topic::<String, String>("T");
    for (value, time) in [("new", 200), ("late", 99), ("edge", 100)] {
        input.pipe_input_at("k", value, time).unwrap();
    }
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    let row = |value: &str, time| ("k".to_owned(), value.to_owned(), time);
    assert_eq!(out, [row("new", 200), row("edge", 100)]);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::Late), 1);
    let changelog = driver.output_topic::<String, String>("test-T-rows-changelog").unwrap();
    let logged = changelog.read_timed().unwrap();
    assert_eq!(logged, [row("new", 200), row("late", 99), row("edge", 100)]);
    let topic = driver.log().describe_topic("test-T-rows-changelog").unwrap();
    assert_eq!(topic.configs.get("cleanup.policy").unwrap(), "compact");
    // The history and a day.
    assert_eq!(topic.configs.get("min.compaction.lag.ms").unwrap(), "86400100");
}

#[test]
fn global_tables_keep_no_versions() {
    let error = build_error(|builder| {
        let kept = Materialized::<String, String>::named("g").versioned(Duration::ZERO);
        builder.global_table_with("G", kept);
    });
    assert_eq!(error.to_string(), "global table G: global tables keep no versions");
}

#[test]
fn updates_of_a_versioned_table_cannot_be_held_back() {
    let error = build_error(|builder| {
        let limit = Suppressed::until_time_limit(Duration::ZERO, BufferConfig::unbounded());
        versioned(builder, "T", 1).suppress(limit, "held").to_stream().to("out");
    });
    assert_eq!(
        error.to_string(),
        "suppression held: the updates of a versioned table cannot be held back"
    );
}
