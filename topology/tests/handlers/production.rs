//! Records that cannot be written: too large, without bytes, for topics that are not there. And
//! rows of stores that their changelogs do not take, which shows only at the commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use headwater_log_store::{Log, LogStore, NewTopic};
use headwater_topology::{
    BoxError, DefaultSerde, DropReason, Error, ErrorResponse, FailedRecord, FailureKind,
    Materialized, ProcessingGuarantee, Processor, ProcessorContext, Produced, PunctuationType,
    Record, Repartitioned, Serde, Streams, StreamsBuilder, StreamsConfig, Topology,
};

use crate::app::{Line, Sent, assert_dead, read, run, send};

const RECORDS: i64 = 300;

/// A log whose topic `small` takes records of 1,000 bytes.
fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out", "dead"] {
        log.create_topic(&NewTopic::new(topic).partitions(2)).unwrap();
    }
    let small = NewTopic::new("small").partitions(2).config("max.message.bytes", "1000");
    log.create_topic(&small).unwrap();
    log
}

fn text(line: &Line) -> String {
    String::from_utf8(line.value.clone().unwrap()).unwrap()
}

fn key(line: &Line) -> String {
    String::from_utf8(line.key.clone().unwrap()).unwrap()
}

/// Every tenth is large.
fn is_large(at: i64) -> bool {
    at % 10 == 7
}

fn sent(at: i64) -> Sent {
    let length = if is_large(at) { 1_500 } else { 20 };
    let value = format!("{at}/{}", "x".repeat(length)).into_bytes();
    Sent { key: Some(format!("k{}", at % 7).into_bytes()), value: Some(value), time_ms: at }
}

/// Each record to `out` and to `small`, and a count in between.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.to("small");
    stream.group_by_key().count("counts");
    stream.to("out");
    builder.build().unwrap()
}

/// What the log holds of a topic, as a list of partition, value and time.
fn contents(lines: &[Line]) -> Vec<(u32, String, i64)> {
    lines.iter().map(|line| (line.partition, text(line), line.time_ms)).collect()
}

fn is_small(line: &Line) -> bool {
    !is_large(line.time_ms)
}

fn counts(streams: &Streams) -> BTreeMap<String, i64> {
    streams.store::<String, i64>("counts").all().unwrap().into_iter().collect()
}

#[test]
fn a_record_too_large_for_its_topic_is_left_out_and_the_rest_of_its_work_stays() {
    let guarantees = [ProcessingGuarantee::ExactlyOnceV2, ProcessingGuarantee::AtLeastOnce];
    let answers = [ErrorResponse::Skip, ErrorResponse::DeadLetter];
    for (guarantee, answer) in guarantees.into_iter().flat_map(|g| answers.map(|a| (g, a))) {
        let story = format!("{guarantee:?}, {answer:?}");
        let log = log();
        send(log.as_ref(), (0..RECORDS).map(sent));
        let input = read(log.as_ref(), "in");
        let config = StreamsConfig::new("app")
            .dead_letter_topic("dead")
            .processing_guarantee(guarantee)
            .num_stream_threads(2)
            .production_exception_handler(move |failed: &FailedRecord<'_>| {
                assert_eq!(failed.kind, FailureKind::Production);
                let output = failed.output.unwrap();
                assert_eq!((output.topic, output.key), ("small", failed.key));
                assert_eq!(
                    output.partition,
                    Some(failed.position.unwrap().topic_partition.partition.value())
                );
                // What is written is what was read.
                assert_eq!(output.value, failed.value);
                assert!(
                    failed.reason.contains("more than max.message.bytes=1000"),
                    "{}",
                    failed.reason
                );
                answer
            });
        let streams = run(&log, &topology(), config).unwrap();
        assert_eq!(contents(&read(log.as_ref(), "out")), contents(&input), "{story}");
        let small: Vec<Line> = input.iter().filter(|line| is_small(line)).cloned().collect();
        assert_eq!(contents(&read(log.as_ref(), "small")), contents(&small), "{story}");
        let mut expected = BTreeMap::<String, i64>::new();
        input.iter().for_each(|line| *expected.entry(key(line)).or_default() += 1);
        assert_eq!(counts(&streams), expected, "{story}");
        let large = input.iter().filter(|line| !is_small(line));
        let dead =
            if answer == ErrorResponse::Skip { Vec::new() } else { large.cloned().collect() };
        assert_dead(log.as_ref(), dead, &story);
        for line in read(log.as_ref(), "dead") {
            assert_eq!(line.headers["__streams.errors.exception"], "production", "{story}");
        }
        assert_eq!(streams.metrics().dropped(DropReason::Failed), 30, "{story}");
        assert_eq!(streams.metrics().aborts, 0, "{story}");
        streams.close().unwrap();
    }
}

#[test]
fn a_record_too_large_for_its_topic_stops_the_application_by_default_and_after_retries() {
    for answer in [None, Some(ErrorResponse::Fail), Some(ErrorResponse::Retry)] {
        let story = format!("{answer:?}");
        let log = log();
        send(log.as_ref(), (0..RECORDS).map(sent));
        let config = StreamsConfig::new("app");
        let config = match answer {
            Some(answer) => config.production_exception_handler(answer),
            None => config,
        };
        let error = run(&log, &topology(), config).unwrap_err();
        let Error::Processing { position, node, reason } = &error else { panic!("{error}") };
        assert_eq!(
            (position.topic_partition.topic.as_str(), node.as_str()),
            ("in", "KSTREAM-SINK-0000000001")
        );
        assert!(reason.contains("max.message.bytes=1000"), "{story}: {reason}");
        // Somebody lets the topic take more.
        let op = headwater_log_store::AlterConfigOp::set("max.message.bytes", "2000");
        log.incremental_alter_configs("small", &[op]).unwrap();
        let streams = run(&log, &topology(), StreamsConfig::new("app")).unwrap();
        let input = contents(&read(log.as_ref(), "in"));
        assert_eq!(contents(&read(log.as_ref(), "small")), input, "{story}");
        assert_eq!(contents(&read(log.as_ref(), "out")), input, "{story}");
        streams.close().unwrap();
    }
}

/// Text that has no bytes if it is large.
#[derive(Clone, Copy)]
struct Picky;

impl Serde<String> for Picky {
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> Result<(), BoxError> {
        if value.len() > 1_000 {
            return Err(format!("{} bytes are too many", value.len()).into());
        }
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<String, BoxError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

#[test]
fn what_cannot_be_serialized_goes_to_the_production_handler_and_not_to_that_of_processing() {
    let log = log();
    send(log.as_ref(), (0..RECORDS).map(sent));
    let input = read(log.as_ref(), "in");
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.to_with("out", Produced::with(String::default_serde(), Arc::new(Picky)));
    // Through a repartition topic, which is written as a sink is.
    let repartitioned = Repartitioned::with("again", String::default_serde(), Arc::new(Picky));
    stream.repartition(repartitioned).to("small");
    let topology = builder.build().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let config = StreamsConfig::new("app")
        .processing_exception_handler(|_: &FailedRecord<'_>| panic!("it is not asked"))
        .production_exception_handler(move |failed: &FailedRecord<'_>| {
            let output = failed.output.unwrap();
            assert_eq!((failed.kind, output.partition), (FailureKind::Serialization, None));
            heard.lock().unwrap().push((output.topic.to_owned(), failed.reason.to_owned()));
            ErrorResponse::Skip
        });
    let streams = run(&log, &topology, config).unwrap();
    let small: Vec<Line> = input.iter().filter(|line| is_small(line)).cloned().collect();
    assert_eq!(contents(&read(log.as_ref(), "out")), contents(&small));
    assert_eq!(contents(&read(log.as_ref(), "small")), contents(&small));
    let mut asked = std::mem::take(&mut *asked.lock().unwrap());
    asked.sort();
    let mut expected = Vec::new();
    for line in input.iter().filter(|line| !is_small(line)) {
        let reason = format!("value: {} bytes are too many", text(line).len());
        expected.push(("app-again-repartition".to_owned(), reason.clone()));
        expected.push(("out".to_owned(), reason));
    }
    expected.sort();
    assert_eq!(asked, expected);
    streams.close().unwrap();
}

#[test]
fn a_topic_that_is_not_there_yet_is_found_when_the_record_is_tried_again() {
    let log = log();
    send(log.as_ref(), (0..30).map(sent));
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to_by(|key: &String, _: &String| format!("of-{key}"));
    let topology = builder.build().unwrap();
    let maker = Arc::clone(&log);
    let config =
        StreamsConfig::new("app").production_exception_handler(move |failed: &FailedRecord<'_>| {
            assert_eq!(failed.kind, FailureKind::Production);
            let topic = failed.output.unwrap().topic;
            if topic == "of-k3" {
                return ErrorResponse::Skip;
            }
            maker.create_topic(&NewTopic::new(topic)).unwrap();
            ErrorResponse::Retry
        });
    let streams = run(&log, &topology, config).unwrap();
    let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in read(log.as_ref(), "in") {
        expected.entry(format!("of-{}", key(&line))).or_default().push(line.time_ms);
    }
    expected.remove("of-k3");
    expected.values_mut().for_each(|times| times.sort_unstable());
    let found: BTreeMap<String, Vec<i64>> = log
        .topics()
        .unwrap()
        .iter()
        .filter(|topic| topic.name.as_str().starts_with("of-"))
        .map(|topic| {
            let lines = read(log.as_ref(), topic.name.as_str());
            let mut times: Vec<i64> = lines.iter().map(|line| line.time_ms).collect();
            times.sort_unstable();
            (topic.name.as_str().to_owned(), times)
        })
        .collect();
    assert_eq!(found, expected);
    streams.close().unwrap();
}

#[test]
fn a_record_without_a_key_is_not_for_a_compacted_topic_and_the_handler_decides() {
    let log = log();
    log.create_topic(&NewTopic::new("table").config("cleanup.policy", "compact")).unwrap();
    send(log.as_ref(), (0..20).map(|at| Sent { key: None, ..sent(at) }));
    send(log.as_ref(), (20..40).map(sent));
    let builder = StreamsBuilder::new();
    builder.stream::<Option<String>, String>("in").to("table");
    let topology = builder.build().unwrap();
    let error = run(&log, &topology, StreamsConfig::new("app")).unwrap_err();
    assert!(matches!(error, Error::Processing { .. }), "{error}");
    let config = StreamsConfig::new("app").set("production.exception.handler", "skip").unwrap();
    let streams = run(&log, &topology, config).unwrap();
    let mut found: Vec<i64> = read(log.as_ref(), "table").iter().map(|line| line.time_ms).collect();
    found.sort_unstable();
    assert_eq!(found, (20..40).collect::<Vec<_>>());
    streams.close().unwrap();
}

/// Writes a large record each time that it is called.
struct Writer;

impl Processor for Writer {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;

    fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
        let every = std::time::Duration::from_millis(10);
        context.schedule(every, PunctuationType::StreamTime, |_, time, context| {
            for length in [2_000, 10] {
                let time_ms = time.as_millis();
                let value = format!("{time_ms}/{}", "x".repeat(length));
                context.forward(Record::new("p".to_owned(), value, time));
            }
            Ok(())
        });
        Ok(())
    }

    fn process(
        &mut self,
        _record: Record<String, String>,
        _context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn what_a_punctuator_cannot_write_is_skipped_alone_or_stops_the_application() {
    let log = log();
    send(log.as_ref(), (0..95).map(sent));
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.process(|| Writer).to("small");
    let topology = builder.build().unwrap();
    let error = run(&log, &topology, StreamsConfig::new("app")).unwrap_err();
    assert!(error.to_string().contains("a punctuation of"), "{error}");
    assert_eq!(contents(&read(log.as_ref(), "small")), []);
    let config = StreamsConfig::new("app").production_exception_handler(ErrorResponse::Skip);
    let streams = run(&log, &topology, config).unwrap();
    let found = read(log.as_ref(), "small");
    assert!(!found.is_empty());
    assert!(found.iter().all(|line| text(line).ends_with("/xxxxxxxxxx")), "{found:?}");
    let dropped = streams.metrics().dropped(DropReason::Failed);
    assert_eq!(dropped, u64::try_from(found.len()).unwrap(), "one of each two");
    streams.close().unwrap();
}

/// Joins all values of a key. Its changelog takes rows of 1,000 bytes.
fn joining() -> Topology {
    let builder = StreamsBuilder::new();
    let rows = Materialized::<String, String>::named("rows")
        .with_logging_config("max.message.bytes", "1000");
    builder
        .stream::<String, String>("in")
        .group_by_key()
        .reduce(|row: String, value| row + &value, rows)
        .to_stream()
        .to("out");
    builder.build().unwrap()
}

fn word(at: i64) -> Sent {
    let value = match at % 50 {
        20 => "y".repeat(2_000),
        _ => format!("{}.", at % 50),
    };
    let key = format!("k{}", at / 50 % 5);
    Sent { key: Some(key.into_bytes()), value: Some(value.into_bytes()), time_ms: at }
}

#[test]
fn a_row_that_its_changelog_refuses_is_found_among_all_work_and_its_record_is_taken_out() {
    let is_bad = |line: &Line| line.time_ms % 50 == 20;
    for answer in [ErrorResponse::Skip, ErrorResponse::DeadLetter] {
        let story = format!("{answer:?}");
        let log = log();
        send(log.as_ref(), (0..500).map(word));
        let input = read(log.as_ref(), "in");
        let config = || {
            StreamsConfig::new("app").dead_letter_topic("dead").production_exception_handler(answer)
        };
        let streams = run(&log, &joining(), config()).unwrap();
        let mut rows = BTreeMap::<String, String>::new();
        let mut out = Vec::new();
        for line in input.iter().filter(|line| !is_bad(line)) {
            let row = rows.entry(key(line)).or_default();
            row.push_str(&text(line));
            out.push((line.partition, row.clone(), line.time_ms));
        }
        assert!(contents(&read(log.as_ref(), "out")) == out, "{story}: other output");
        let stored = |streams: &Streams| -> BTreeMap<String, String> {
            streams.store::<String, String>("rows").all().unwrap().into_iter().collect()
        };
        assert_eq!(stored(&streams), rows, "{story}");
        let bad: Vec<Line> = input.iter().filter(|line| is_bad(line)).cloned().collect();
        assert_dead(
            log.as_ref(),
            if answer == ErrorResponse::Skip { Vec::new() } else { bad },
            &story,
        );
        streams.close().unwrap();
        let streams = run(&log, &joining(), config()).unwrap();
        assert_eq!(stored(&streams), rows, "{story}, from the changelog");
        streams.close().unwrap();
    }
}

#[test]
fn a_row_that_its_changelog_refuses_stops_the_application_by_default_and_is_named() {
    for answer in [ErrorResponse::Fail, ErrorResponse::Retry] {
        let log = log();
        send(log.as_ref(), (0..500).map(word));
        let config = StreamsConfig::new("app").production_exception_handler(answer);
        let error = run(&log, &joining(), config).unwrap_err();
        let Error::Processing { position, node, reason } = &error else { panic!("{error}") };
        assert!(reason.contains("app-rows-changelog"), "{reason}");
        let input = read(log.as_ref(), "in");
        let found = input.iter().find(|line| {
            line.partition == position.topic_partition.partition.value()
                && line.offset == position.offset.value()
        });
        assert_eq!((node.as_str(), found.unwrap().time_ms % 50), ("rows", 20));
    }
}

#[test]
fn a_record_whose_work_alone_is_more_than_a_transaction_holds_is_taken_out() {
    let log = log();
    let value = |at: i64| if at == 5 { "many" } else { "one" }.as_bytes().to_vec();
    send(
        log.as_ref(),
        (0..10).map(|at| Sent { key: Some(b"k".to_vec()), value: Some(value(at)), time_ms: at }),
    );
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.group_by_key().count("counts");
    stream
        .flat_map_values(|text: String| {
            // Ten of 600 KiB; a transaction of the memory log holds 4 MiB.
            let copies = if text == "many" { 10 } else { 1 };
            (0..copies).map(|_| "x".repeat(600 << 10)).collect::<Vec<_>>()
        })
        .to("out");
    let topology = builder.build().unwrap();
    let error = run(&log, &topology, StreamsConfig::new("app")).unwrap_err();
    let Error::Processing { position, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(position.offset.value(), 5, "{error}");
    assert!(reason.contains("journal.bytes"), "{reason}");
    let config = StreamsConfig::new("app").production_exception_handler(ErrorResponse::Skip);
    let streams = run(&log, &topology, config).unwrap();
    let times: Vec<i64> = read(log.as_ref(), "out").iter().map(|line| line.time_ms).collect();
    assert_eq!(times, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(counts(&streams), BTreeMap::from([("k".to_owned(), 9)]));
    streams.close().unwrap();
}
