//! Names and descriptions of tables: the texts are those of Kafka Streams for the same topologies
//! and names.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use headwater_topology::{Consumed, KTable, StreamsBuilder};

fn check(add: impl Fn(&StreamsBuilder), expected: &str) {
    let builder = StreamsBuilder::new();
    add(&builder);
    assert_eq!(builder.build().unwrap().describe(), expected);
}

fn table(builder: &StreamsBuilder, topic: &str) -> KTable<String, String> {
    builder.table(topic)
}

#[test]
fn a_table_without_a_store_uses_up_the_number_of_one() {
    check(
        |builder| drop(table(builder, "T").to_stream().to("out")),
        "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000001 (topics: [T])
      --> KTABLE-SOURCE-0000000002
    Processor: KTABLE-SOURCE-0000000002 (stores: [])
      --> KTABLE-TOSTREAM-0000000003
      <-- KSTREAM-SOURCE-0000000001
    Processor: KTABLE-TOSTREAM-0000000003 (stores: [])
      --> KSTREAM-SINK-0000000004
      <-- KTABLE-SOURCE-0000000002
    Sink: KSTREAM-SINK-0000000004 (topic: out)
      <-- KTABLE-TOSTREAM-0000000003

",
    );
}

#[test]
fn a_named_table_names_its_source_and_a_named_store_uses_up_no_number() {
    check(
        |builder| {
            let consumed = Consumed::<String, String>::new().with_name("users");
            let table = builder.table_with("T", (consumed, "rows"));
            let _ = table.filter(|_, _| true).materialized("passed");
        },
        "Topologies:
   Sub-topology: 0
    Source: users-source (topics: [T])
      --> users
    Processor: users (stores: [rows])
      --> KTABLE-FILTER-0000000002
      <-- users-source
    Processor: KTABLE-FILTER-0000000002 (stores: [passed])
      --> none
      <-- users

",
    );
}

#[test]
fn the_parts_of_a_join_are_numbered_from_its_merge_and_named_after_it() {
    let join = |builder: &StreamsBuilder, name: Option<&str>| {
        let left = builder.table_with::<String, String>("A", "a");
        let right = builder.table_with::<String, String>("B", "b");
        let joined = left.join(&right, |left, right| left + &right).materialized("c");
        if let Some(name) = name {
            let _ = joined.named(name);
        }
    };
    let text = |this: &str, other: &str, merge: &str| {
        format!(
            "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [A])
      --> KTABLE-SOURCE-0000000001
    Source: KSTREAM-SOURCE-0000000002 (topics: [B])
      --> KTABLE-SOURCE-0000000003
    Processor: KTABLE-SOURCE-0000000001 (stores: [a])
      --> {this}
      <-- KSTREAM-SOURCE-0000000000
    Processor: KTABLE-SOURCE-0000000003 (stores: [b])
      --> {other}
      <-- KSTREAM-SOURCE-0000000002
    Processor: {other} (stores: [a])
      --> {merge}
      <-- KTABLE-SOURCE-0000000003
    Processor: {this} (stores: [b])
      --> {merge}
      <-- KTABLE-SOURCE-0000000001
    Processor: {merge} (stores: [c])
      --> none
      <-- {this}, {other}

"
        )
    };
    let numbered = text(
        "KTABLE-JOINTHIS-0000000005",
        "KTABLE-JOINOTHER-0000000006",
        "KTABLE-MERGE-0000000004",
    );
    check(|builder| join(builder, None), &numbered);
    let named = text("j-join-this", "j-join-other", "j");
    check(|builder| join(builder, Some("j")), &named);
}

#[test]
fn a_grouped_table_has_a_sink_and_a_source_but_no_filter_for_null_keys() {
    check(
        |builder| {
            let table = builder.table_with::<String, String>("T", "rows");
            table.group_by(|key, value| (value.clone(), key.clone())).count("counts");
        },
        "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [T])
      --> KTABLE-SOURCE-0000000001
    Processor: KTABLE-SOURCE-0000000001 (stores: [rows])
      --> KTABLE-SELECT-0000000002
      <-- KSTREAM-SOURCE-0000000000
    Processor: KTABLE-SELECT-0000000002 (stores: [])
      --> KSTREAM-SINK-0000000003
      <-- KTABLE-SOURCE-0000000001
    Sink: KSTREAM-SINK-0000000003 (topic: counts-repartition)
      <-- KTABLE-SELECT-0000000002

  Sub-topology: 1
    Source: KSTREAM-SOURCE-0000000004 (topics: [counts-repartition])
      --> KTABLE-AGGREGATE-0000000005
    Processor: KTABLE-AGGREGATE-0000000005 (stores: [counts])
      --> none
      <-- KSTREAM-SOURCE-0000000004

",
    );
}

#[test]
fn a_join_of_a_stream_with_a_table_hangs_below_the_stream_and_uses_the_tables_store() {
    check(
        |builder| {
            let table = builder.table_with::<String, String>("T", "rows");
            let stream = builder.stream::<String, String>("S");
            let _ = stream.left_join_table(&table, |value, _| value);
        },
        "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [T])
      --> KTABLE-SOURCE-0000000001
    Source: KSTREAM-SOURCE-0000000002 (topics: [S])
      --> KSTREAM-LEFTJOIN-0000000003
    Processor: KSTREAM-LEFTJOIN-0000000003 (stores: [rows])
      --> none
      <-- KSTREAM-SOURCE-0000000002
    Processor: KTABLE-SOURCE-0000000001 (stores: [rows])
      --> none
      <-- KSTREAM-SOURCE-0000000000

",
    );
}

#[test]
fn a_stream_that_becomes_a_table_is_named_totable() {
    check(
        |builder| {
            let stream = builder.stream::<String, String>("S").select_key(|_, v| v.clone());
            let _ = stream.to_table::<String>("rows");
        },
        "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [S])
      --> KSTREAM-KEY-SELECT-0000000001
    Processor: KSTREAM-KEY-SELECT-0000000001 (stores: [])
      --> rows-repartition-filter
      <-- KSTREAM-SOURCE-0000000000
    Processor: rows-repartition-filter (stores: [])
      --> rows-repartition-sink
      <-- KSTREAM-KEY-SELECT-0000000001
    Sink: rows-repartition-sink (topic: rows-repartition)
      <-- rows-repartition-filter

  Sub-topology: 1
    Source: rows-repartition-source (topics: [rows-repartition])
      --> KSTREAM-TOTABLE-0000000002
    Processor: KSTREAM-TOTABLE-0000000002 (stores: [rows])
      --> none
      <-- rows-repartition-source

",
    );
}

#[test]
fn a_foreign_key_join_names_its_parts_after_itself_and_uses_up_fourteen_numbers() {
    check(
        |builder| {
            let left = builder.table_with::<String, String>("A", "a");
            let right = builder.table_with::<String, String>("B", "b");
            let key = |_: &String, value: &String| Some(value.clone());
            left.join_on(&right, key, |left, _| left, "fk").to_stream().to("out");
        },
        "Topologies:
   Sub-topology: 0
    Source: fk-subscription-response-source (topics: [fk-subscription-response-topic])
      --> fk-subscription-response-resolver
    Source: KSTREAM-SOURCE-0000000000 (topics: [A])
      --> KTABLE-SOURCE-0000000001
    Processor: fk-subscription-response-resolver (stores: [a])
      --> fk-result
      <-- fk-subscription-response-source
    Processor: KTABLE-SOURCE-0000000001 (stores: [a])
      --> fk-subscription-registration-processor
      <-- KSTREAM-SOURCE-0000000000
    Processor: fk-result (stores: [])
      --> KTABLE-TOSTREAM-0000000018
      <-- fk-subscription-response-resolver
    Processor: KTABLE-TOSTREAM-0000000018 (stores: [])
      --> KSTREAM-SINK-0000000019
      <-- fk-result
    Processor: fk-subscription-registration-processor (stores: [])
      --> fk-subscription-registration-sink
      <-- KTABLE-SOURCE-0000000001
    Sink: KSTREAM-SINK-0000000019 (topic: out)
      <-- KTABLE-TOSTREAM-0000000018
    Sink: fk-subscription-registration-sink (topic: fk-subscription-registration-topic)
      <-- fk-subscription-registration-processor

  Sub-topology: 1
    Source: KSTREAM-SOURCE-0000000002 (topics: [B])
      --> KTABLE-SOURCE-0000000003
    Source: fk-subscription-registration-source (topics: [fk-subscription-registration-topic])
      --> fk-subscription-receive
    Processor: KTABLE-SOURCE-0000000003 (stores: [b])
      --> fk-foreign-join-subscription
      <-- KSTREAM-SOURCE-0000000002
    Processor: fk-subscription-receive (stores: [fk-subscription-store])
      --> fk-subscription-join-foreign
      <-- fk-subscription-registration-source
    Processor: fk-foreign-join-subscription (stores: [fk-subscription-store])
      --> fk-subscription-response-sink
      <-- KTABLE-SOURCE-0000000003
    Processor: fk-subscription-join-foreign (stores: [b])
      --> fk-subscription-response-sink
      <-- fk-subscription-receive
    Sink: fk-subscription-response-sink (topic: fk-subscription-response-topic)
      <-- fk-subscription-join-foreign, fk-foreign-join-subscription

",
    );
}
