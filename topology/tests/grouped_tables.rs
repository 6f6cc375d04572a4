//! Aggregations of grouped tables: what Kafka Streams 4.3.1 gives for the same records, its record
//! cache off.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, PartitionId, TopicName, TopicPartition,
};
use headwater_topology::{StreamsBuilder, TopologyTestDriver};
use runner::check;

fn first_char(value: &str) -> String {
    value.chars().take(1).collect()
}

#[test]
fn a_count_follows_rows_from_group_to_group_and_stays_at_zero() {
    check(
        |builder| {
            let table = builder.table::<String, String>("T");
            let grouped = table.group_by(|key, value| (value.clone(), key.clone()));
            let counts = grouped.count("counts");
            counts.map_values(|count| count.to_string()).to_stream().to("out");
        },
        "
        T a x 10 => x 1 10
        T b x 5 => x 2 10
        T a y 20 => x 1 20 | y 1 20
        T a y 3 => y 1 20
        restart
        T b ~ 7 => x 0 20
        T b ~ 8
        ",
    );
}

#[test]
fn an_old_value_is_subtracted_before_the_new_one_is_added() {
    check(
        |builder| {
            let table = builder.table::<String, String>("T");
            let grouped = table.group_by(|_, value| (first_char(value), value.clone()));
            grouped
                .aggregate(
                    String::new,
                    |_, value, all| format!("{all}+{value}"),
                    |_, value, all| format!("{all}-{value}"),
                    "all",
                )
                .to_stream()
                .to("out");
        },
        "
        T a x1 10 => x +x1 10
        T a x2 5 => x +x1-x1+x2 10
        T b x3 20 => x +x1-x1+x2+x3 20
        T a y1 1 => x +x1-x1+x2+x3-x2 20 | y +y1 1
        T a ~ 2 => y +y1-y1 2
        T c _ 3 => _ +_ 3
        ",
    );
}

#[test]
fn rows_without_a_group_take_no_part() {
    check(
        |builder| {
            let table = builder.table::<String, String>("T");
            let group =
                |key: &String, value: &String| (value != "n").then(|| (value.clone(), key.clone()));
            let counts = table.group_by_with(group, "by-value").count("counts");
            counts.map_values(|count| count.to_string()).to_stream().to("out");
        },
        "
        T a x 10 => x 1 10
        T a n 11 => x 0 11
        T a x 12 => x 1 12
        ",
    );
    check(
        |builder| {
            let table = builder.table::<String, String>("T");
            let group = |key: &String, value: &String| {
                (Some(value.clone()).filter(|v| v != "n"), key.clone())
            };
            let counts = table.group_by(group).count("counts");
            counts.map_values(|count| count.to_string()).to_stream().to("out");
        },
        "
        T a n 11
        T a x 12 => x 1 12
        ",
    );
}

#[test]
fn reduce_takes_the_first_value_as_it_is_and_aggregates_may_be_removed() {
    check(
        |builder| {
            let table = builder.table::<String, String>("T");
            let grouped = table.group_by_with(
                |_, value| Some((first_char(value), value.clone())),
                "by-first-char",
            );
            let joined = grouped.reduce(
                |all, value| format!("{all},{value}"),
                |all, value| all.replace(&format!(",{value}"), ""),
                "joined",
            );
            let last = grouped.aggregate(
                || 0_u8,
                |_, value: String, _: u8| u8::try_from(value.len()).unwrap(),
                |_, _, _| None,
                "last",
            );
            joined.to_stream().to("out");
            last.map_values(|len| len.to_string()).to_stream().to("out");
        },
        "
        T a x1 1 => x x1 1 | x 2 1
        T b x22 3 => x x1,x22 3 | x 3 3
        T b y 2 => x x1 3 | x ~ 3 | y y 2 | y 1 2
        T c x 4 => x x1,x 4 | x 1 4
        ",
    );
}

#[test]
fn changes_go_through_the_repartition_topic_in_kafkas_bytes() {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("T");
    let grouped = table.group_by_with(|_, v| Some((first_char(v), v.clone() + "!")), "g");
    grouped.count("counts");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, Option<String>>("T");
    for value in [Some("x"), Some("x"), None] {
        input.pipe_input_at("a", value.map(str::to_owned), 1).unwrap();
    }
    let partition =
        TopicPartition::new(TopicName::new("test-g-repartition").unwrap(), PartitionId::new(0));
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = driver.log().consumer(&config).unwrap();
    consumer.assign(&[partition]).unwrap();
    let batches = consumer.poll(std::time::Duration::ZERO).unwrap();
    let records: Vec<(Vec<u8>, Vec<u8>)> = batches
        .iter()
        .flat_map(|batch| batch.iter())
        .map(|view| (view.key.unwrap().to_vec(), view.value.unwrap().to_vec()))
        .collect();
    let x = || b"x".to_vec();
    assert_eq!(
        records,
        [(x(), b"x!\x01".to_vec()), (x(), b"\x04x!x!\x02".to_vec()), (x(), b"x!\x00".to_vec())]
    );
}
