//! Joins of tables by key: what Kafka Streams 4.3.1 gives for the same records, its record cache off.
//! The long scripts were recorded from it.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_log_store::NewTopic;
use headwater_topology::{
    KTable, StreamsBuilder, StreamsConfig, TimeWindows, TopologyTestDriver, Windowed,
};
use runner::check;

type Text = Option<String>;
type Table = KTable<String, String>;

fn tables(builder: &StreamsBuilder) -> (Table, Table) {
    (builder.table("A"), builder.table("B"))
}

fn null(text: Text) -> String {
    text.unwrap_or_else(|| "null".to_owned())
}

#[derive(Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Outer,
}

use Kind::{Inner, Left, Outer};

fn join(kind: Kind, between: &'static str, left: &Table, right: &Table) -> Table {
    match kind {
        Inner => left.join(right, move |l, r| l + between + &r),
        Left => left.left_join(right, move |l, r| l + between + &null(r)),
        Outer => left.outer_join(right, move |l, r| null(l) + between + &null(r)),
    }
}

/// One join to topic `out`.
fn one(kind: Kind, between: &'static str, builder: &StreamsBuilder) {
    let (left, right) = tables(builder);
    join(kind, between, &left, &right).to_stream().to("out");
}

/// A join, and the join of its result with the right table once more.
fn two(first: Kind, second: Kind, builder: &StreamsBuilder) {
    let (left, right) = tables(builder);
    join(second, "-", &join(first, "-", &left, &right), &right).to_stream().to("out");
}

#[test]
fn an_inner_join_has_results_where_both_sides_have_rows() {
    check(
        |builder| one(Inner, "-", builder),
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
        A 0 D 5 => 0 D-d 6
        A 0 ~ 1 => 0 ~ 6
        B 0 ~ 2
        B 0 e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9 => 0 ~ 13
        B 0 ~ 8
        A 0 F 3
        B 0 f 2 => 0 F-f 3
        ",
    );
}

#[test]
fn an_outer_join_has_results_where_one_side_has_a_row() {
    check(
        |builder| one(Outer, "-", builder),
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
        A 0 D 5 => 0 D-d 6
        A 0 ~ 1 => 0 null-d 6
        B 0 ~ 2 => 0 ~ 2
        B 0 e 13 => 0 null-e 13
        A 0 E 14 => 0 E-e 14
        A 0 ~ 9 => 0 null-e 13
        B 0 ~ 8 => 0 ~ 8
        A 0 F 3 => 0 F-null 3
        B 0 f 2 => 0 F-f 3
        ",
    );
}

#[test]
fn an_inner_join_of_an_inner_join() {
    check(
        |builder| two(Inner, Inner, builder),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2
        B 0 a 3 => 0 A-a-a 3 | 0 A-a-a 3
        A 0 B 4 => 0 B-a-a 4
        B 0 b 5 => 0 B-b-b 5 | 0 B-b-b 5
        A 0 ~ 6 => 0 ~ 6
        B 0 ~ 7
        A 0 C 8
        B 0 c 9 => 0 C-c-c 9 | 0 C-c-c 9
        B 0 ~ 10
        A 0 ~ 11
        B 0 ~ 12
        B 0 d 13
        A 0 D 14 => 0 D-d-d 14
        A ~ E 15
        B ~ e 16
        ",
    );
}

#[test]
fn an_outer_join_of_an_inner_join() {
    check(
        |builder| two(Inner, Outer, builder),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2
        B 0 a 3 => 0 A-a-a 3 | 0 A-a-a 3
        A 0 B 4 => 0 B-a-a 4
        B 0 b 5 => 0 B-b-b 5 | 0 B-b-b 5
        A 0 ~ 6 => 0 null-b 6
        B 0 ~ 7 => 0 ~ 7
        A 0 C 8
        B 0 c 9 => 0 C-c-c 9 | 0 C-c-c 9
        B 0 ~ 10 => 0 ~ 10 | 0 ~ 10
        A 0 ~ 11
        B 0 ~ 12
        B 0 d 13 => 0 null-d 13
        A 0 D 14 => 0 D-d-d 14
        A ~ E 15
        B ~ e 16
        ",
    );
}

#[test]
fn a_left_join_of_a_left_join() {
    check(
        |builder| two(Left, Left, builder),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2 => 0 A-null-null 2
        B 0 a 3 => 0 A-a-a 3 | 0 A-a-a 3
        A 0 B 4 => 0 B-a-a 4
        B 0 b 5 => 0 B-b-b 5 | 0 B-b-b 5
        A 0 ~ 6 => 0 ~ 6
        B 0 ~ 7
        A 0 C 8 => 0 C-null-null 8
        B 0 c 9 => 0 C-c-c 9 | 0 C-c-c 9
        B 0 ~ 10 => 0 C-null-null 10 | 0 C-null-null 10
        A 0 ~ 11 => 0 ~ 11
        B 0 ~ 12
        B 0 d 13
        A 0 D 14 => 0 D-d-d 14
        A ~ E 15
        B ~ e 16
        ",
    );
}

#[test]
fn an_inner_join_of_an_outer_join() {
    check(
        |builder| two(Outer, Inner, builder),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2
        B 0 a 3 => 0 A-a-a 3 | 0 A-a-a 3
        A 0 B 4 => 0 B-a-a 4
        B 0 b 5 => 0 B-b-b 5 | 0 B-b-b 5
        A 0 ~ 6 => 0 null-b-b 6
        B 0 ~ 7
        A 0 C 8
        B 0 c 9 => 0 C-c-c 9 | 0 C-c-c 9
        B 0 ~ 10 => 0 ~ 10
        A 0 ~ 11
        B 0 ~ 12
        B 0 d 13 => 0 null-d-d 13 | 0 null-d-d 13
        A 0 D 14 => 0 D-d-d 14
        A ~ E 15
        B ~ e 16
        ",
    );
}

#[test]
fn an_outer_join_of_an_outer_join() {
    check(
        |builder| two(Outer, Outer, builder),
        "
        A 0 ~ 0
        B 0 ~ 1
        A 0 A 2 => 0 A-null-null 2
        B 0 a 3 => 0 A-a-a 3 | 0 A-a-a 3
        A 0 B 4 => 0 B-a-a 4
        B 0 b 5 => 0 B-b-b 5 | 0 B-b-b 5
        A 0 ~ 6 => 0 null-b-b 6
        B 0 ~ 7 => 0 ~ 7 | 0 ~ 7
        A 0 C 8 => 0 C-null-null 8
        B 0 c 9 => 0 C-c-c 9 | 0 C-c-c 9
        B 0 ~ 10 => 0 C-null-null 10 | 0 C-null-null 10
        A 0 ~ 11 => 0 ~ 11
        B 0 ~ 12
        B 0 d 13 => 0 null-d-d 13 | 0 null-d-d 13
        A 0 D 14 => 0 D-d-d 14
        A ~ E 15
        B ~ e 16
        ",
    );
}

#[test]
fn an_inner_join_has_the_later_time_of_both_rows() {
    check(
        |builder| one(Inner, "+", builder),
        "
        A 0 X0 5
        A 1 X1 6
        A ~ SomeVal 42
        B 0 Y0 0 => 0 X0+Y0 5
        B 1 Y1 10 => 1 X1+Y1 10
        B ~ AnotherVal 73
        A 0 XX0 7 => 0 XX0+Y0 7
        A 1 XX1 7 => 1 XX1+Y1 10
        A 2 XX2 7
        A 3 XX3 7
        B 0 YY0 0 => 0 XX0+YY0 7
        B 1 YY1 5 => 1 XX1+YY1 7
        B 2 YY2 10 => 2 XX2+YY2 10
        B 3 YY3 15 => 3 XX3+YY3 15
        A 0 XXX0 6 => 0 XXX0+YY0 6
        A 1 XXX1 6 => 1 XXX1+YY1 6
        A 2 XXX2 6 => 2 XXX2+YY2 10
        A 3 XXX3 6 => 3 XXX3+YY3 15
        B 0 ~ 5 => 0 ~ 6
        B 1 ~ 7 => 1 ~ 7
        A 0 XXXX0 13
        A 1 XXXX1 13
        A 2 XXXX2 13 => 2 XXXX2+YY2 13
        A 3 XXXX3 13 => 3 XXXX3+YY3 15
        A 0 ~ 0
        A 1 ~ 42
        A 2 ~ 5 => 2 ~ 10
        A 3 ~ 20 => 3 ~ 20
        ",
    );
}

#[test]
fn an_outer_join_has_the_later_time_of_the_rows_that_there_are() {
    check(
        |builder| one(Outer, "+", builder),
        "
        A 0 X0 5 => 0 X0+null 5
        A 1 X1 6 => 1 X1+null 6
        A ~ SomeVal 42
        B 0 Y0 0 => 0 X0+Y0 5
        B 1 Y1 10 => 1 X1+Y1 10
        B ~ AnotherVal 73
        A 0 XX0 7 => 0 XX0+Y0 7
        A 1 XX1 7 => 1 XX1+Y1 10
        A 2 XX2 7 => 2 XX2+null 7
        A 3 XX3 7 => 3 XX3+null 7
        B 0 YY0 0 => 0 XX0+YY0 7
        B 1 YY1 5 => 1 XX1+YY1 7
        B 2 YY2 10 => 2 XX2+YY2 10
        B 3 YY3 15 => 3 XX3+YY3 15
        A 0 XXX0 6 => 0 XXX0+YY0 6
        A 1 XXX1 6 => 1 XXX1+YY1 6
        A 2 XXX2 6 => 2 XXX2+YY2 10
        A 3 XXX3 6 => 3 XXX3+YY3 15
        B 0 ~ 5 => 0 XXX0+null 6
        B 1 ~ 7 => 1 XXX1+null 7
        A 0 XXXX0 13 => 0 XXXX0+null 13
        A 1 XXXX1 13 => 1 XXXX1+null 13
        A 2 XXXX2 13 => 2 XXXX2+YY2 13
        A 3 XXXX3 13 => 3 XXXX3+YY3 15
        A 0 ~ 0 => 0 ~ 0
        A 1 ~ 42 => 1 ~ 42
        A 2 ~ 5 => 2 null+YY2 10
        A 3 ~ 20 => 3 null+YY3 20
        ",
    );
}

#[test]
fn a_left_join_follows_its_left_side() {
    check(
        |builder| one(Left, "+", builder),
        "
        B k b0 1
        A k a1 10 => k a1+b0 10
        B k b1 5 => k a1+b1 10
        B k ~ 20 => k a1+null 20
        A k ~ 16 => k ~ 16
        A k ~ 17
        B k b2 30
        B k ~ 31
        A k a2 12 => k a2+null 12
        ",
    );
}

#[test]
fn an_inner_join_repeats_tombstones_because_nothing_remembers_a_result() {
    let script = "
        A k a1 10
        B k b1 5 => k a1+b1 10
        B k b2 20 => k a1+b2 20
        A k a2 15 => k a2+b2 20
        A k ~ 16 => k ~ 20
        A k ~ 17 => k ~ 20
        B k ~ 18
        ";
    check(|builder| one(Inner, "+", builder), script);
    let materialized = |builder: &StreamsBuilder| {
        let (left, right) = tables(builder);
        join(Inner, "+", &left, &right).materialized("joined").to_stream().to("out");
    };
    check(materialized, script);
}

#[test]
fn a_table_joined_with_itself_has_two_results_and_loses_its_tombstone() {
    check(
        |builder| {
            let table = builder.table("A");
            join(Inner, "+", &table, &table).to_stream().to("out");
        },
        "
        A a 1 1 => a 1+1 1 | a 1+1 1
        A a 2 2 => a 2+2 2 | a 2+2 2
        A a ~ 3
        ",
    );
}

#[test]
fn windowed_tables_are_joined_by_key_and_window() {
    let counts = |builder: &StreamsBuilder, topic: &str, store: &str| {
        let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
        builder.stream::<String, String>(topic).group_by_key().windowed_by(windows).count(store)
    };
    check(
        |builder| {
            let (a, b) = (counts(builder, "A", "a"), counts(builder, "B", "b"));
            let joined = a.join(&b, |a, b| format!("{a}:{b}")).to_stream();
            joined.map(|key: Windowed<String>, value| (key.to_string(), value)).to("out");
        },
        "
        A k 1 1
        B k 1 3 => k@0/10 1:1 3
        A k 1 2 => k@0/10 2:1 3
        B k 1 12
        A k 1 11 => k@10/20 1:1 12
        ",
    );
}

#[test]
fn a_join_sends_old_values_to_a_filter_below_which_spares_tombstones() {
    check(
        |builder| {
            let (left, right) = tables(builder);
            let joined = join(Inner, "+", &left, &right);
            joined.filter(|_, value| value.starts_with('y')).to_stream().to("out");
        },
        "
        A k n 1
        B k b 2
        A k y 3 => k y+b 3
        B k c 4 => k y+c 4
        A k n 5 => k ~ 5
        A k ~ 6
        ",
    );
}

#[test]
fn rows_of_a_join_survive_a_restart_with_and_without_a_store() {
    for materialized in [false, true] {
        check(
            |builder| {
                let (left, right) = tables(builder);
                let mut joined = join(Left, "+", &left, &right);
                if materialized {
                    joined = joined.materialized("joined");
                }
                let stream = builder.stream::<String, String>("S");
                stream.join_table(&joined, |value, row| value + "=" + &row).to("out");
            },
            "
            A k a 1
            B k b 2
            S k s 3 => k s=a+b 3
            restart
            S k s 4 => k s=a+b 4
            A k ~ 5
            S k s 6
            ",
        );
    }
}

#[test]
fn a_materialized_join_keeps_its_rows_with_their_times() {
    let builder = StreamsBuilder::new();
    let (left, right) = tables(&builder);
    let _joined = join(Outer, "+", &left, &right).materialized("joined");
    let topics = ["A", "B"].map(|topic| NewTopic::new(topic).partitions(3));
    let config = StreamsConfig::new("test");
    let driver =
        TopologyTestDriver::with_topics(&builder.build().unwrap(), config, &topics).unwrap();
    let (a, b) = (driver.input_topic::<String, Text>("A"), driver.input_topic::<String, Text>("B"));
    for n in 0..10 {
        a.pipe_input_at(format!("k{n}"), Some("a".to_owned()), n).unwrap();
        b.pipe_input_at(format!("k{n}"), Some("b".to_owned()), 5).unwrap();
    }
    a.pipe_input_at("k3", None, 9).unwrap();
    b.pipe_input_at("k4", None, 9).unwrap();
    a.pipe_input_at("k4", None, 9).unwrap();
    let rows: Vec<(String, String, i64)> = driver.store_rows("joined").unwrap();
    let expected: Vec<(String, String, i64)> = (0..10)
        .filter(|n| *n != 4)
        .map(|n| match n {
            3 => ("k3".to_owned(), "null+b".to_owned(), 9),
            n => (format!("k{n}"), "a+b".to_owned(), n.max(5)),
        })
        .collect();
    assert_eq!(rows, expected);
}
