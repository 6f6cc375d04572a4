//! Names and descriptions: the texts are those of Kafka Streams for the same topologies and names.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use headwater_topology::{
    BuildError, Grouped, KStream, StreamsBuilder, TimeWindows, Topology, TopologyTestDriver,
};
use std::time::Duration;

fn build(add: impl Fn(&StreamsBuilder)) -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    add(&builder);
    builder.build()
}

fn describe(add: impl Fn(&StreamsBuilder)) -> String {
    build(add).unwrap().describe()
}

fn source(builder: &StreamsBuilder) -> KStream<String, String> {
    builder.stream("in")
}

#[test]
fn a_changed_key_makes_a_second_sub_topology_behind_a_repartition_topic() {
    let text = describe(|builder| {
        let mapped = source(builder).map(|key, value| (value, key));
        mapped.group_by_key().count("counts").to_stream().to("out");
    });
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [in])
      --> KSTREAM-MAP-0000000001
    Processor: KSTREAM-MAP-0000000001 (stores: [])
      --> counts-repartition-filter
      <-- KSTREAM-SOURCE-0000000000
    Processor: counts-repartition-filter (stores: [])
      --> counts-repartition-sink
      <-- KSTREAM-MAP-0000000001
    Sink: counts-repartition-sink (topic: counts-repartition)
      <-- counts-repartition-filter

  Sub-topology: 1
    Source: counts-repartition-source (topics: [counts-repartition])
      --> KSTREAM-AGGREGATE-0000000002
    Processor: KSTREAM-AGGREGATE-0000000002 (stores: [counts])
      --> KTABLE-TOSTREAM-0000000006
      <-- counts-repartition-source
    Processor: KTABLE-TOSTREAM-0000000006 (stores: [])
      --> KSTREAM-SINK-0000000007
      <-- KSTREAM-AGGREGATE-0000000002
    Sink: KSTREAM-SINK-0000000007 (topic: out)
      <-- KTABLE-TOSTREAM-0000000006

";
    assert_eq!(text, expected);
}

#[test]
fn a_named_grouping_names_its_parts_and_shares_one_repartition_topic() {
    let text = describe(|builder| {
        let grouped = source(builder).group_by_with(|_, value| value.clone(), "g");
        grouped.count("counts");
        grouped.reduce(|old, _| old, "first");
    });
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [in])
      --> g
    Processor: g (stores: [])
      --> g-repartition-filter
      <-- KSTREAM-SOURCE-0000000000
    Processor: g-repartition-filter (stores: [])
      --> g-repartition-sink
      <-- g
    Sink: g-repartition-sink (topic: g-repartition)
      <-- g-repartition-filter

  Sub-topology: 1
    Source: g-repartition-source (topics: [g-repartition])
      --> KSTREAM-AGGREGATE-0000000002, KSTREAM-REDUCE-0000000006
    Processor: KSTREAM-AGGREGATE-0000000002 (stores: [counts])
      --> none
      <-- g-repartition-source
    Processor: KSTREAM-REDUCE-0000000006 (stores: [first])
      --> none
      <-- g-repartition-source

";
    assert_eq!(text, expected);
}

#[test]
fn an_unchanged_key_needs_no_repartition_topic_and_two_stores_stay_in_one_sub_topology() {
    let text = describe(|builder| {
        let grouped = source(builder).filter(|_, _| true).group_by_key();
        grouped.count("all");
        grouped
            .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_secs(1)))
            .count("by-second");
    });
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [in])
      --> KSTREAM-FILTER-0000000001
    Processor: KSTREAM-FILTER-0000000001 (stores: [])
      --> KSTREAM-AGGREGATE-0000000002, KSTREAM-AGGREGATE-0000000003
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-AGGREGATE-0000000002 (stores: [all])
      --> none
      <-- KSTREAM-FILTER-0000000001
    Processor: KSTREAM-AGGREGATE-0000000003 (stores: [by-second])
      --> none
      <-- KSTREAM-FILTER-0000000001

";
    assert_eq!(text, expected);
}

#[test]
fn naming_one_node_leaves_the_numbers_of_the_others_alone() {
    let plain = |named: bool| {
        describe(|builder| {
            let mapped = source(builder).map_values(|value| value);
            let mapped = if named { mapped.named("parse") } else { mapped };
            mapped.select_key(|_, value| value.clone()).merge(&source_b(builder)).to("out");
        })
    };
    let named = plain(true);
    assert!(named.contains("Processor: parse (stores: [])"), "{named}");
    assert_eq!(named.replace("parse", "KSTREAM-MAPVALUES-0000000001"), plain(false));
}

fn source_b(builder: &StreamsBuilder) -> KStream<String, String> {
    builder.stream("b")
}

#[test]
fn every_stateless_operator_has_kafkas_prefix_and_the_next_number() {
    let text = describe(|builder| {
        let stream = source(builder);
        stream
            .filter(|_, _| true)
            .map(|key, value| (key, value))
            .map_values(|value| value)
            .flat_map(|key, value| [(key, value)])
            .flat_map_values(|value| [value])
            .select_key(|key, _| key.clone())
            .peek(|_, _| ())
            .merge(&stream)
            .for_each(|_, _| ());
    });
    for name in [
        "KSTREAM-SOURCE-0000000000",
        "KSTREAM-FILTER-0000000001",
        "KSTREAM-MAP-0000000002",
        "KSTREAM-MAPVALUES-0000000003",
        "KSTREAM-FLATMAP-0000000004",
        "KSTREAM-FLATMAPVALUES-0000000005",
        "KSTREAM-KEY-SELECT-0000000006",
        "KSTREAM-PEEK-0000000007",
        "KSTREAM-MERGE-0000000008",
        "KSTREAM-FOREACH-0000000009",
    ] {
        assert!(text.contains(&format!(": {name} (")), "{name} in {text}");
    }
}

#[test]
fn internal_topics_carry_the_application_id_and_kafka_streams_configs() {
    let topology = build(|builder| {
        let grouped = source(builder).group_by_with(|_, value| value.clone(), Grouped::named("g"));
        grouped.count("counts");
        grouped
            .windowed_by(TimeWindows::of_size_and_grace(
                Duration::from_secs(10),
                Duration::from_secs(5),
            ))
            .count("windows");
    })
    .unwrap();
    let driver = TopologyTestDriver::new(&topology).unwrap();
    let config = |topic: &str, key: &str| {
        let topic = driver.log().describe_topic(topic).unwrap();
        topic.configs.get(key).cloned()
    };
    assert_eq!(config("test-counts-changelog", "cleanup.policy").unwrap(), "compact");
    assert_eq!(config("test-windows-changelog", "cleanup.policy").unwrap(), "compact,delete");
    // Size, grace and Kafka Streams' additional day.
    assert_eq!(config("test-windows-changelog", "retention.ms").unwrap(), "86415000");
    assert_eq!(config("test-g-repartition", "retention.ms").unwrap(), "-1");
    assert_eq!(config("test-g-repartition", "segment.bytes").unwrap(), "52428800");
}

#[test]
fn mistakes_are_errors_with_names() {
    let check = |add: fn(&StreamsBuilder), expected: &str| {
        assert_eq!(build(add).unwrap_err().to_string(), expected);
    };
    check(|_| (), "the topology has no source: start with StreamsBuilder::stream");
    check(
        |builder| {
            source(builder).to("a");
            source(builder).to("b");
        },
        "topic in is read by KSTREAM-SOURCE-0000000000 and by KSTREAM-SOURCE-0000000002: read it \
         once and use the stream twice",
    );
    check(
        |builder| {
            let grouped = source(builder).group_by_key();
            grouped.count("s");
            grouped.count("s");
        },
        "two operators name their store s: each store belongs to one operator",
    );
    check(
        |builder| {
            let stream = source(builder);
            stream.filter(|_, _| true).named("x").to("a").named("x");
        },
        "two nodes are named x: names have to be unique within a topology",
    );
    check(
        |builder| drop(source(builder).merge(&source_b(&StreamsBuilder::new()))),
        "merge was given a stream of another StreamsBuilder",
    );
    check(
        |builder| {
            let windows = TimeWindows::of_size_with_no_grace(Duration::ZERO);
            source(builder).group_by_key().windowed_by(windows).count("w");
        },
        "windows of store w: windows are at least one millisecond long",
    );
    let bad = build(|builder| drop(source(builder).to("no/topic"))).unwrap_err();
    assert!(bad.to_string().starts_with("\"no/topic\" cannot name a topic"), "{bad}");
}
