//! Bugs that were found and fixed, one test each: it fails as soon as its bug is back.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, Offset, OffsetAndMetadata,
    PartitionId, ProducerConfig, ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    BoxError, BufferConfig, Consumed, DefaultSerde, DropReason, EmitStrategy, Error, ErrorResponse,
    JoinWindows, RETRIES_MAX, Reset, Serde, SerdeRef, SessionWindows, SlidingWindows, Streams,
    StreamsBuilder, StreamsConfig, Suppressed, TimeWindows, Topology, TopologyTestDriver,
    UnlimitedWindows,
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
    let config = ProducerConfig { transactional_id: Some("look".to_owned()), ..Default::default() };
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
    assert_eq!(plan(), ["views-__topology-changelog", "views-c-changelog"]);
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
fn subtopologies_are_numbered_by_their_first_nodes() {
    // They were numbered by the names of their sources, as Kafka Streams once did: so task ids
    // differed from its own where the source of a repartition topic sorts before `KSTREAM-SOURCE`.
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by(|_, value| value.clone());
    grouped.count("Counts");
    let description = builder.build().unwrap().describe();
    let sources: Vec<&str> = description
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Source: ")?.split(' ').next())
        .collect();
    assert_eq!(sources, ["KSTREAM-SOURCE-0000000000", "Counts-repartition-source"]);
}

#[test]
fn a_null_value_below_a_nullable_key_is_counted_as_a_null_value() {
    // The record's key was looked at alone, so it was counted as a null key.
    let builder = StreamsBuilder::new();
    builder.stream::<Option<String>, String>("in").to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<Option<String>, Option<String>>("in");
    input.pipe_input_at(None::<String>, None::<String>, 1).unwrap();
    let metrics = driver.metrics().unwrap();
    let dropped = [DropReason::NullKey, DropReason::NullValue].map(|why| metrics.dropped(why));
    assert_eq!(dropped, [0, 1]);
}

#[test]
fn records_that_fail_in_turns_are_retried_no_longer_than_others() {
    // Retries were counted for the latest record that had failed, so two that failed in turns set
    // each other's count back to one, for ever.
    let failures = Arc::new(AtomicU32::new(0));
    let failed = Arc::clone(&failures);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").for_each(move |_, value| {
        let before = failed.load(Ordering::SeqCst);
        assert!(before <= 3 * RETRIES_MAX, "it goes on for ever");
        if (value == "even") == before.is_multiple_of(2) {
            failed.store(before + 1, Ordering::SeqCst);
            panic!("it is the turn of {value}");
        }
    });
    let log = log_with(&[("in", 1)]);
    send(&log, "in", ["even", "odd"]);
    let config = StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Retry);
    let streams = Streams::new(&builder.build().unwrap(), config, log);
    streams.start().unwrap();
    let error = streams.wait_until_caught_up().unwrap_err();
    assert!(error.to_string().contains("it is the turn of even"), "{error}");
    assert_eq!(failures.load(Ordering::SeqCst), 2 * RETRIES_MAX + 1);
}

#[test]
fn a_dead_letter_carries_no_header_of_a_repartition_topic() {
    // The header that says which task wrote a repartition record went out with its dead letter.
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by(|_, value| value.clone());
    grouped.reduce(|_, _| panic!("it cannot be reduced"), "reduced");
    let config = StreamsConfig::new("test")
        .dead_letter_topic("dead")
        .processing_exception_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for time in [1, 2] {
        input.pipe_input_at("k", "v", time).unwrap();
    }
    let dead = driver.output_topic::<String, String>("dead").unwrap().read_records().unwrap();
    let headers: Vec<Vec<String>> = dead
        .iter()
        .map(|record| record.headers.iter().map(|header| header.key.to_owned()).collect())
        .collect();
    let own = ["exception", "message", "stacktrace", "topic", "partition", "offset"];
    assert_eq!(headers, [own.map(|name| format!("__streams.errors.{name}"))]);
}

/// A key of one letter that has no hash if it is an x.
#[derive(Clone, PartialEq, Eq)]
struct Letter(u8);

impl Hash for Letter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert!(self.0 != b'x', "x has no hash");
        state.write_u8(self.0);
    }
}

struct LetterSerde;

impl Serde<Letter> for LetterSerde {
    fn serialize(&self, letter: &Letter, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        buffer.push(letter.0);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Letter, BoxError> {
        Ok(Letter(*bytes.first().ok_or("no letter")?))
    }
}

impl DefaultSerde for Letter {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(LetterSerde)
    }
}

#[test]
fn a_panic_in_a_query_leaves_the_application_running() {
    // A query runs on the worker's thread, which ended with it.
    let builder = StreamsBuilder::new();
    builder.stream::<Letter, String>("in").group_by_key().count("counts");
    let log = log_with(&[("in", 1)]);
    send(&log, "in", ["v"]);
    let streams = run(&builder.build().unwrap(), StreamsConfig::new("app"), &log);
    let counts = streams.store::<Letter, i64>("counts");
    let error = counts.get(&Letter(b'x')).unwrap_err();
    assert_eq!(error.to_string(), "a query has panicked: x has no hash");
    assert_eq!(counts.get(&Letter(b'k')).unwrap(), Some(1));
    streams.close().unwrap();
}

/// Set: the next clone of a 2 panics.
static CLONE_PANICS: AtomicBool = AtomicBool::new(false);

#[derive(Debug, PartialEq)]
struct Fragile(u8);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!(self.0 == 2 && CLONE_PANICS.swap(false, Ordering::SeqCst)), "it broke");
        Self(self.0)
    }
}

struct FragileSerde;

impl Serde<Fragile> for FragileSerde {
    fn serialize(&self, fragile: &Fragile, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        buffer.push(fragile.0);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Fragile, BoxError> {
        Ok(Fragile(*bytes.first().ok_or("no number")?))
    }
}

impl DefaultSerde for Fragile {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(FragileSerde)
    }
}

#[test]
fn a_key_whose_aggregate_could_not_be_cloned_goes_on_being_logged() {
    // The row said that its committed value was remembered before it was, so its later changes
    // were never written to the changelog.
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    grouped.aggregate(|| Fragile(0), |_, _, Fragile(count)| Fragile(count + 1), "counts");
    let config = StreamsConfig::new("test").processing_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for time in 0..5 {
        CLONE_PANICS.store(time == 2, Ordering::SeqCst);
        input.pipe_input_at("k", "v", time).unwrap();
    }
    driver.restart().unwrap();
    let count = driver.store_value::<String, Fragile>("counts", &"k".to_owned()).unwrap();
    assert_eq!(count, Some(Fragile(4)), "of five records one was skipped");
}

#[test]
fn an_application_id_that_can_name_no_topic_is_refused() {
    // One with a NUL made the start panic, as it names the thread; others failed half-way through.
    let log = log_with(&[("in", 1), ("out", 1)]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let topology = builder.build().unwrap();
    for id in ["", "a\0b", "a/b"] {
        let start = Streams::new(&topology, StreamsConfig::new(id), Arc::clone(&log)).start();
        let refused =
            matches!(&start, Err(Error::InvalidConfig { key, .. }) if key == "application.id");
        assert!(refused, "{start:?}");
    }
}

#[test]
fn a_replay_does_again_at_once_what_was_taken_back() {
    // The turn in which work was taken back counted as one without work, and the next poll waited
    // for input, of which a stage that reads a repartition topic has none.
    let log = log_with(&[("in", 1)]);
    send(&log, "in", ["a", "bad", "b", "bad", "c"]);
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by(|_, value| value.clone());
    let add = |key: &String, _, count: i64| {
        assert!(key != "bad", "cannot take {key}");
        count + 1
    };
    grouped.aggregate(|| 0, add, "counts");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Skip);
    let waits = (2 * PATIENCE).as_millis().to_string();
    let config = config.set("poll.ms", &waits).unwrap();
    reset(&topology, &config, &log);
    let streams = run(&topology, config, &log);
    let counts = streams.store::<String, i64>("counts").all().unwrap();
    assert_eq!(counts, ["a", "b", "c"].map(|key| (key.to_owned(), 1)));
    streams.close().unwrap();
}

#[test]
fn two_handles_on_one_log_are_one_log() {
    // An application was registered by the address of its handle, so a reset through another one
    // deleted the topics of an application that ran.
    let store = LogStore::in_memory().unwrap();
    let (one, other): (Arc<dyn Log>, Arc<dyn Log>) = (Arc::new(store.clone()), Arc::new(store));
    one.create_topic(&NewTopic::new("in")).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").group_by_key().count("counts");
    let topology = builder.build().unwrap();
    let config = || StreamsConfig::new("app");
    let streams = run(&topology, config(), &one);
    let plan = Reset::new(&topology, &config()).plan(&other).unwrap();
    let reset = plan.execute(&other);
    assert!(matches!(reset, Err(Error::Running { .. })), "{reset:?}");
    streams.close().unwrap();
    plan.execute(&other).unwrap();
}

#[test]
fn a_stored_join_takes_its_old_row_out_of_a_group() {
    // Where the join had a store, its sides were not asked for old values, so that a grouping
    // below never subtracted.
    for stored in [false, true] {
        let builder = StreamsBuilder::new();
        let [left, right] = ["left", "right"].map(|topic| builder.table::<String, i64>(topic));
        let mut joined = left.join(&right, |left, right| left + right);
        if stored {
            joined = joined.materialized("joined");
        }
        let grouped = joined.group_by(|_, value| ("all".to_owned(), *value));
        grouped.aggregate(|| 0_i64, |_, v, sum| sum + v, |_, v, sum| sum - v, "sum");
        let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
        let [left, right] =
            ["left", "right"].map(|topic| driver.input_topic::<String, Option<i64>>(topic));
        left.pipe_input_at("k", Some(1), 1).unwrap();
        right.pipe_input_at("k", Some(10), 2).unwrap();
        left.pipe_input_at("k", Some(2), 3).unwrap();
        right.pipe_input_at("k", Some(20), 4).unwrap();
        let sum = driver.store_value::<String, i64>("sum", &"all".to_owned()).unwrap();
        assert_eq!(sum, Some(22), "stored: {stored}");
    }
}

#[test]
fn input_that_is_deleted_before_it_was_read_does_not_lie_ahead_for_ever() {
    // The lag was counted from where the application stood, although the log began behind that: it
    // was never caught up again.
    let log = log_with(&[("in", 1)]);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").group_by_key().count("c");
    let topology = builder.build().unwrap();
    let streams = run(&topology, StreamsConfig::new("app"), &log);
    send(&log, "in", ["a", "b"]);
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    streams.pause();
    // Who has answered since is at rest.
    assert_eq!(streams.store::<String, i64>("c").get(&"k".to_owned()).unwrap(), Some(2));
    send(&log, "in", ["c", "d", "e"]);
    let input = TopicPartition::new(TopicName::new("in").unwrap(), PartitionId::new(0));
    log.delete_records(&input, Offset::new(5)).unwrap();
    streams.resume();
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap(), "nothing can come any more");
    assert_eq!((streams.progress().lag, streams.metrics().records_lag), (0, 0));
    send(&log, "in", ["f"]);
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    assert_eq!(streams.metrics().records_in, 3);
    streams.close().unwrap();
}

#[test]
fn a_task_does_not_wait_until_those_before_it_have_nothing_left() {
    // Each slice began with the first task: as long as that had records for a whole slice, which
    // large polls see to, no other task had a turn.
    let log = log_with(&[("long", 1), ("short", 1)]);
    send(&log, "long", (0..40_000).map(|_| "l"));
    send(&log, "short", ["s"]);
    let builder = StreamsBuilder::new();
    let (seen, seen_then) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(-1)));
    let (count, counted, then) = (Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen_then));
    builder.stream::<String, String>("long").for_each(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    builder.stream::<String, String>("short").for_each(move |_, _| {
        then.store(counted.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    let config = StreamsConfig::new("app")
        .set("max.poll.records", "10000")
        .and_then(|config| config.set("buffered.records.per.partition", "10000"))
        .unwrap();
    let streams = run(&builder.build().unwrap(), config, &log);
    assert!(streams.wait_until_caught_up_for(PATIENCE).unwrap());
    assert_eq!(seen.load(Ordering::SeqCst), 40_000);
    let seen_then = seen_then.load(Ordering::SeqCst);
    assert!((0..20_000).contains(&seen_then), "the short topic came after {seen_then}");
    streams.close().unwrap();
}

/// A record from a clock in other units may have any time. Sliding windows added to it without a
/// look at its size, which stopped a debug build, and in a release put windows at times before 1970.
#[test]
fn records_of_the_last_times_that_there_are_stop_no_window() {
    let builder = StreamsBuilder::new();
    let five = Duration::from_millis(5);
    let left = builder.stream::<String, String>("left");
    let right = builder.stream::<String, String>("right");
    let windows = JoinWindows::of_time_difference_and_grace(five, five);
    let join = |left: Option<String>, right: Option<String>| format!("{left:?}{right:?}");
    left.outer_join(&right, join, windows, "join").to("out");
    let grouped = left.group_by_key();
    let hopping = TimeWindows::of_size_and_grace(Duration::from_millis(10), five).advance_by(five);
    grouped.windowed_by(hopping).count("hopping");
    grouped.windowed_by(UnlimitedWindows::of()).count("unlimited");
    let sessions = SessionWindows::of_inactivity_gap_and_grace(five, five);
    let closed = EmitStrategy::on_window_close();
    grouped.windowed_by(sessions).emit_strategy(closed).count("sessions");
    let sliding = SlidingWindows::of_time_difference_and_grace(five, five);
    grouped.windowed_by(sliding).count("updates");
    grouped.windowed_by(sliding).emit_strategy(closed).count("finals");
    let until_close = Suppressed::until_window_closes(BufferConfig::unbounded());
    let held = grouped.windowed_by(hopping).count("held");
    held.suppress(until_close, "suppressed").to_stream().for_each(|_, _| ());
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let last = i64::MAX;
    for time in [3, last - 11, last - 6, last - 1, last - 3, last, last, 4] {
        for topic in ["left", "right"] {
            let input = driver.input_topic::<String, String>(topic);
            input.pipe_input_at("k".to_owned(), "v".to_owned(), time).unwrap();
        }
    }
    driver.restart().unwrap();
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::InvalidTimestamp), 0);
}
