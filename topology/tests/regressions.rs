//! Bugs that were found and fixed, one test each: it fails as soon as its bug is back.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, Offset, OffsetAndMetadata,
    PartitionId, ProducerConfig, ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    Consumed, Error, ErrorResponse, Reset, Streams, StreamsBuilder, StreamsConfig, TimeWindows,
    Topology, TopologyTestDriver,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a large record: a transaction holds some tens of them.
const LARGE: usize = 100_000;

fn log_with(topics: &[(&str, u32)]) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for (topic, partitions) in topics {
        log.create_topic(&NewTopic::new(*topic).partitions(*partitions)).unwrap();
    }
    log
}

/// Sends records of key `k` to partition 0.
fn send<'a>(log: &Arc<dyn Log>, topic: &str, values: impl IntoIterator<Item = &'a str>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for value in values {
        let record = ProducerRecord {
            partition: Some(PartitionId::new(0)),
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            timestamp: Some(Timestamp::from_millis(1)),
            ..ProducerRecord::to(topic)
        };
        let _receipt = producer.send(&record).unwrap();
    }
    producer.flush().unwrap();
}

/// How much a transaction may hold.
fn transaction_bytes_max(log: &Arc<dyn Log>) -> usize {
    let config = ProducerConfig { transactional_id: Some("look".to_owned()) };
    let mut producer = log.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    let max = producer.transaction_bytes().max;
    producer.abort_transaction().unwrap();
    max
}

/// How many records partition 0 of a topic has got.
fn end_of(log: &Arc<dyn Log>, topic: &str) -> usize {
    let partition = TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(0));
    usize::try_from(log.watermarks(&partition).unwrap().end.value()).unwrap()
}

/// Starts an application and waits until it has caught up.
fn run(topology: &Topology, config: StreamsConfig, log: &Arc<dyn Log>) -> Streams {
    let streams = Streams::new(topology, config, Arc::clone(log));
    streams.start().unwrap();
    let caught_up = streams.wait_until_caught_up_for(PATIENCE).unwrap();
    assert!(caught_up, "{:?}", streams.progress());
    streams
}

fn reset(topology: &Topology, config: &StreamsConfig, log: &Arc<dyn Log>) {
    Reset::new(topology, config).plan(log).unwrap().execute(log).unwrap();
}

#[test]
fn a_stage_of_a_replay_whose_last_commit_is_too_large_is_redone() {
    // The replay went on to the next stage although the commit that ended this one had been taken
    // back, and so lost the records since the commit before.
    let log = log_with(&[("in", 1)]);
    let values: Vec<String> = (0..8).map(|number| format!("v{number}")).collect();
    send(&log, "in", values.iter().map(String::as_str));
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by(|_, value| value.clone());
    // The eight rows together are larger than a transaction.
    grouped.aggregate(String::new, |_, value, _| value.repeat(300_000), "large");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("app").commit_interval(PATIENCE);
    reset(&topology, &config, &log);
    let streams = run(&topology, config, &log);
    let rows = streams.store::<String, String>("large").all().unwrap();
    let keys: Vec<String> = rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, values);
    assert!(streams.metrics().aborts > 0, "no commit was too large");
    streams.close().unwrap();
}

#[test]
fn few_large_records_that_overflow_a_transaction_together_are_split() {
    // The record that did not fit was not counted as one of those to be split, so of two the
    // application gave up, and of three it took all back again and again.
    for (records, tenths) in [(2, 6), (3, 4)] {
        let log = log_with(&[("in", 1), ("out", 1)]);
        send(&log, "in", vec!["v"; records]);
        let pieces = transaction_bytes_max(&log) * tenths / 10 / LARGE;
        let builder = StreamsBuilder::new();
        builder
            .stream::<String, String>("in")
            .flat_map_values(move |_| vec!["x".repeat(LARGE); pieces])
            .to("out");
        let streams = run(&builder.build().unwrap(), StreamsConfig::new("app"), &log);
        assert_eq!(end_of(&log, "out"), records * pieces);
        assert!(streams.metrics().aborts > 0, "the transaction was large enough");
        streams.close().unwrap();
    }
}

#[test]
fn dead_letters_do_not_outgrow_a_transaction() {
    // Records that could not be read were passed over all at once, without a look at how full
    // their dead letters had made the transaction; then none had been processed to be split.
    let log = log_with(&[("in", 1), ("dead", 1)]);
    let large = "x".repeat(LARGE);
    let records = transaction_bytes_max(&log) * 3 / LARGE;
    send(&log, "in", vec![large.as_str(); records]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, i64>("in").for_each(|_, _| ());
    let config = StreamsConfig::new("app")
        .dead_letter_topic("dead")
        .deserialization_exception_handler(ErrorResponse::DeadLetter);
    let streams = run(&builder.build().unwrap(), config, &log);
    assert_eq!(end_of(&log, "dead"), records);
    streams.close().unwrap();
}

#[test]
fn a_replay_goes_on_where_much_input_came_after_its_end() {
    // The queue of a stage that was over kept the records after its end, counted as full, and was
    // to be paused when the consumer had gone on to the next stage.
    let log = log_with(&[("in", 2), ("out", 1)]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("app").set("buffered.records.per.partition", "10").unwrap();
    send(&log, "in", ["v"; 5]);
    reset(&topology, &config, &log);
    send(&log, "in", ["v"; 500]);
    let streams = run(&topology, config, &log);
    assert_eq!(end_of(&log, "out"), 505);
    streams.close().unwrap();
}

#[test]
fn a_reset_leaves_the_topics_of_an_application_with_a_longer_name_alone() {
    // `views-v2-c-changelog` was taken for a topic of `views`, whose reset deleted the state of
    // `views-v2`.
    let log = log_with(&[("in", 1)]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").group_by_key().count("c");
    let topology = builder.build().unwrap();
    let plan = || {
        let plan = Reset::new(&topology, &StreamsConfig::new("views")).plan(&log).unwrap();
        plan.deleted
    };
    let other = run(&topology, StreamsConfig::new("views-v2"), &log);
    assert_eq!(plan(), Vec::<String>::new(), "it runs, and has committed nothing");
    send(&log, "in", ["v"]);
    assert!(other.wait_until_caught_up_for(PATIENCE).unwrap());
    other.close().unwrap();
    assert_eq!(plan(), Vec::<String>::new(), "it has committed, and does not run");
    run(&topology, StreamsConfig::new("views"), &log).close().unwrap();
    assert_eq!(plan(), ["views-c-changelog"]);
}

/// Reads `mid` first and writes it last; what it passes on is at least `least` bytes long.
fn looping(least: usize, latest: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let reset = if latest { AutoOffsetReset::Latest } else { AutoOffsetReset::Earliest };
    let mid = Consumed::<String, String>::default().with_offset_reset_policy(reset);
    builder.stream_with("mid", mid).to("out");
    let input = builder.stream::<String, String>("in");
    input.filter(move |_, value| value.len() >= least).to("mid");
    builder.build().unwrap()
}

#[test]
fn a_reset_may_empty_a_topic_that_the_application_reads_again() {
    // The replay waited in the emptied topic for the end that it had had before; and the list of
    // what was to be deleted stood at the offsets of that topic, to be deleted with it.
    for latest in [false, true] {
        let log = log_with(&[("in", 1), ("mid", 1), ("out", 1)]);
        send(&log, "in", ["a", "bb", "ccc"]);
        let config = || StreamsConfig::new("app");
        run(&looping(0, false), config(), &log).close().unwrap();
        assert_eq!(end_of(&log, "out"), 3);
        let topology = looping(2, latest);
        let reset = Reset::new(&topology, &config()).empty_topic("mid").empty_topic("out");
        reset.plan(&log).unwrap().execute(&log).unwrap();
        run(&topology, config(), &log).close().unwrap();
        assert_eq!((end_of(&log, "mid"), end_of(&log, "out")), (2, 2), "latest: {latest}");
    }
}

#[test]
fn a_reset_that_empties_all_of_the_input_is_refused() {
    // It did nothing, and said that it had.
    let log = log_with(&[("in", 1), ("mid", 1), ("out", 1)]);
    let reset = Reset::new(&looping(0, false), &StreamsConfig::new("app"));
    let plan = reset.empty_topic("in").empty_topic("mid").plan(&log);
    assert!(matches!(plan, Err(Error::NothingToReplay { .. })), "{plan:?}");
}

#[test]
fn a_reset_that_died_while_it_emptied_a_topic_can_be_planned_again() {
    // The plan missed the topic that the reset before it had deleted and not yet made anew.
    let log = log_with(&[("in", 1), ("out", 1)]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let topology = builder.build().unwrap();
    let reset = || Reset::new(&topology, &StreamsConfig::new("app")).empty_topic("out");
    let group = Some("app".to_owned());
    let mut consumer =
        log.consumer(&ConsumerConfig { group, ..ConsumerConfig::default() }).unwrap();
    let metadata = "hw1 end=0 wipe=out/3/written/retention.ms/5000".to_owned();
    let note = OffsetAndMetadata { offset: Offset::ZERO, metadata };
    let input = TopicPartition::new(TopicName::new("in").unwrap(), PartitionId::new(0));
    consumer.commit(&[(input, note)]).unwrap();
    log.delete_topic("out").unwrap();
    reset().plan(&log).unwrap().execute(&log).unwrap();
    let anew = log.describe_topic("out").unwrap();
    assert_eq!(anew.partitions, 3);
    assert_eq!(anew.configs.get("retention.ms").map(String::as_str), Some("5000"));
}

/// Sums the values of each key and window; a sum of a hundred or more is void.
fn sums() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let input = builder.stream::<String, Option<i64>>("in").group_by_key().windowed_by(windows);
    input
        .reduce(|sum, value| Some(sum? + value?).filter(|sum| *sum < 100), "sums")
        .to_stream()
        .map(|key, sum| (key.key, sum))
        .to("out");
    builder.build().unwrap()
}

#[test]
fn a_null_aggregate_is_no_row_and_a_tombstone_downstream() {
    // The null stood in the store, and in its changelog as zero bytes, which no number could be
    // restored from; downstream it was zero bytes as well.
    let driver = TopologyTestDriver::new(&sums()).unwrap();
    let input = driver.input_topic::<String, Option<i64>>("in");
    for (time, value) in [None, Some(4), Some(4), Some(92), None].into_iter().enumerate() {
        input.pipe_input_at("k", value, i64::try_from(time).unwrap()).unwrap();
        driver.restart().unwrap();
    }
    input.pipe_input_at("k", Some(7), 5).unwrap();
    let output = driver.output_topic::<String, Option<i64>>("out").unwrap();
    let sums: Vec<Option<i64>> =
        output.read_key_values().unwrap().into_iter().map(|(_, sum)| sum).collect();
    assert_eq!(sums, [None, Some(4), Some(8), None, None, Some(7)]);
}

#[test]
fn subtopologies_are_numbered_by_the_names_of_their_sources() {
    // They were numbered by creation, so task ids differed from Kafka's where the source of a
    // repartition topic sorts before `KSTREAM-SOURCE`.
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by(|_, value| value.clone());
    grouped.count("Counts");
    let description = builder.build().unwrap().describe();
    let sources: Vec<&str> = description
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Source: ")?.split(' ').next())
        .collect();
    assert_eq!(sources, ["Counts-repartition-source", "KSTREAM-SOURCE-0000000000"]);
}
