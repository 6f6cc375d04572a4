//! The file source on the in-memory log: whatever a run ends with, the topic holds each line of the
//! file once. The heart is a log that dies at its n-th call, for every n there is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "helpers of tests"
)]

mod dying_log;

use std::error::Error as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dying_log::{Dies, DyingLog};
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_connectors::{
    CONNECT_OFFSETS_TOPIC, Error, FileSource, Progress, Result, Source, SourceRunner,
};
use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, TopicName,
    TopicPartition,
};
use serde_json::json;
use tempfile::TempDir;

const TOPIC: &str = "lines";

fn log() -> Arc<dyn Log> {
    let log = LogStore::in_memory().unwrap();
    log.create_topic(&NewTopic::new(TOPIC)).unwrap();
    Arc::new(log)
}

fn runner(log: &Arc<dyn Log>) -> SourceRunner {
    SourceRunner::new(Arc::clone(log), "files", TOPIC).batch_records_max(2)
}

fn run(log: &Arc<dyn Log>, path: &Path) -> Result<Progress> {
    runner(log).run(&mut FileSource::new(path), |_| ControlFlow::Continue(()))
}

/// Keys and values of a topic's only partition.
fn records(log: &Arc<dyn Log>, topic: &str) -> Vec<(Option<String>, String)> {
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config).unwrap();
    let topic = TopicName::new(topic).unwrap();
    consumer.assign(&[TopicPartition::new(topic, PartitionId::new(0))]).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut records = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            return records;
        }
        for record in batches.iter().flat_map(|batch| batch.iter()) {
            records.push((record.key.map(text), text(record.value.unwrap())));
        }
    }
}

fn lines(log: &Arc<dyn Log>) -> Vec<String> {
    records(log, TOPIC).into_iter().map(|(_, value)| value).collect()
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn append(path: &Path, content: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(content.as_bytes()).unwrap();
}

/// The error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn lines_of_plain_and_gzip_files_arrive_in_order() {
    let folder = TempDir::new().unwrap();
    let content = b"one\ntwo\r\n\nfour\nfive";
    // Two gzip members in a row are one file, as with `cat a.gz b.gz`.
    let members = [gzip(b"one\ntw"), gzip(b"o\r\n\nfour\nfive")].concat();
    for (name, content) in [("plain.log", &content[..]), ("no-suffix", &members)] {
        let log = log();
        let progress = run(&log, &file(&folder, name, content)).unwrap();
        assert_eq!(lines(&log), ["one", "two", "", "four", "five"], "{name}");
        assert_eq!((progress.records, progress.bytes), (5, 14), "{name}");
    }
}

#[test]
fn the_position_is_stored_as_kafka_connect_would() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"one\ntwo\nthree\n");
    let log = log();
    let mut source = FileSource::new(&path).name("web");
    runner(&log).run(&mut source, |_| ControlFlow::Continue(())).unwrap();
    let key = Some(r#"["files",{"filename":"web"}]"#.to_owned());
    assert_eq!(
        records(&log, CONNECT_OFFSETS_TOPIC),
        [
            (key.clone(), r#"{"line":2,"position":8}"#.to_owned()),
            (key, r#"{"line":3,"position":14}"#.to_owned())
        ]
    );
    let topic = log.describe_topic(CONNECT_OFFSETS_TOPIC).unwrap();
    assert_eq!(topic.configs.get("cleanup.policy").map(String::as_str), Some("compact"));
}

#[test]
fn a_run_that_dies_at_any_call_is_continued_without_loss_or_duplicate() {
    // The file has an odd number of lines, so that the last batch is a partial one.
    let folder = TempDir::new().unwrap();
    let content: String = (0..7).map(|line| format!("line {line}\n")).collect();
    let expected: Vec<_> = content.lines().collect();
    let plain = file(&folder, "plain.log", content.as_bytes());
    let packed = file(&folder, "packed.log.gz", &gzip(content.as_bytes()));
    for (path, dies) in [
        (&plain, Dies::Before),
        (&plain, Dies::After),
        (&packed, Dies::Before),
        (&packed, Dies::After),
    ] {
        let mut deaths = 0;
        for call in 0.. {
            let log = log();
            let dying: Arc<dyn Log> = Arc::new(DyingLog::new(Arc::clone(&log), call, dies));
            let died = run(&dying, path).is_err();
            let before = lines(&log);
            assert_eq!(before, expected[..before.len()], "{dies:?} call {call}");

            let progress = run(&log, path).unwrap();
            assert_eq!(lines(&log), expected, "{dies:?} call {call}");
            assert_eq!(progress.records, (7 - before.len()) as u64, "{dies:?} call {call}");
            if !died {
                break;
            }
            deaths += 1;
        }
        // The topic and the producer, then 4 transactions: 4 begins, 7 + 4 sends, 4 commits.
        assert_eq!(deaths, 2 + 4 + 11 + 4);
    }
}

#[test]
fn a_drained_file_is_not_read_again_and_a_grown_one_from_where_it_ended() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"one\ntwo\n");
    let log = log();
    run(&log, &path).unwrap();
    let again = run(&log, &path).unwrap();
    assert_eq!((again.records, again.offset.unwrap()["position"].clone()), (0, json!(8)));
    append(&path, "three\n");
    assert_eq!(run(&log, &path).unwrap().records, 1);
    assert_eq!(lines(&log), ["one", "two", "three"]);
}

#[test]
fn a_file_that_is_not_the_one_that_was_read_is_refused() {
    let folder = TempDir::new().unwrap();
    let check = |name: &str, before: &[u8], after: &[u8], expected: &str| {
        let path = file(&folder, name, before);
        let log = log();
        run(&log, &path).unwrap();
        fs::write(&path, after).unwrap();
        let error = run(&log, &path).unwrap_err();
        assert!(matches!(error, Error::FileChanged { .. }), "{error:?}");
        let message = chain(&error);
        assert!(message.contains(name) && message.contains(expected), "{message}");
        assert_eq!(lines(&log), ["one", "two"]);
    };
    check("shorter.log", b"one\ntwo\n", b"one\n", "it ends before that");
    check("shorter.gz", &gzip(b"one\ntwo\n"), &gzip(b"one\n"), "it ends before that");
    check("other.log", b"one\ntwo\n", b"a longer line than before\n", "no line ends there");
    check("grown.log", b"one\ntwo", b"one\ntwo and more\n", "no line ends there");
}

#[test]
fn an_error_names_the_file_and_the_line() {
    let folder = TempDir::new().unwrap();
    let log = log();
    let missing = run(&log, &folder.path().join("missing.log")).unwrap_err();
    assert!(chain(&missing).contains("missing.log"), "{}", chain(&missing));

    let long = file(&folder, "long.log", b"one\ntwo\nthree\nseventeen\n");
    let mut source = FileSource::new(&long).line_bytes_max(5);
    let error = runner(&log).run(&mut source, |_| ControlFlow::Continue(())).unwrap_err();
    let message = chain(&error);
    assert!(message.contains("long.log line 4: the line is longer than 5 bytes"), "{message}");
    // The third line was in the transaction of the fourth.
    assert_eq!(lines(&log), ["one", "two"]);

    // Noise does not compress, so that half of the file holds many of its lines.
    let noise: String = (0..10_000u64)
        .map(|line| format!("{:016x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let mut torn = gzip(noise.as_bytes());
    torn.truncate(torn.len() / 2);
    let error = run(&log, &file(&folder, "torn.gz", &torn)).unwrap_err();
    let Error::Read { path, line, .. } = &error else { panic!("{error:?}") };
    assert!(path.ends_with("torn.gz") && *line > 1_000, "{error:?}");
}

#[test]
fn a_record_that_the_log_refuses_is_named_by_its_line() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"one\n");
    let log = log();
    let runner = SourceRunner::new(log, "files", "no-such-topic");
    let error = runner.run(&mut FileSource::new(&path), |_| ControlFlow::Continue(())).unwrap_err();
    let message = chain(&error);
    for part in ["connector files", "web.log line 1", "topic no-such-topic does not exist"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn a_run_can_be_stopped_after_any_commit() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"1\n2\n3\n4\n5\n");
    let log = log();
    let mut seen = Vec::new();
    let progress = runner(&log)
        .run(&mut FileSource::new(&path), |progress| {
            seen.push(progress.records);
            if progress.records == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!((seen, progress.records), (vec![2, 4], 4));
    assert_eq!(lines(&log), ["1", "2", "3", "4"]);
    run(&log, &path).unwrap();
    assert_eq!(lines(&log), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_second_run_of_the_same_connector_fences_the_first() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"1\n2\n3\n4\n5\n");
    let log = log();
    let first = runner(&log).run(&mut FileSource::new(&path), |_| {
        run(&log, &path).unwrap();
        ControlFlow::Continue(())
    });
    let error = first.unwrap_err();
    assert!(matches!(error, Error::Log { .. }), "{error:?}");
    assert_eq!(lines(&log), ["1", "2", "3", "4", "5"]);
}

#[test]
fn connectors_and_files_keep_positions_of_their_own() {
    let folder = TempDir::new().unwrap();
    let (a, b) = (file(&folder, "a.log", b"a\n"), file(&folder, "b.log", b"b\n"));
    let log = log();
    for (connector, path) in [("x", &a), ("x", &b), ("y", &a), ("x", &a)] {
        let runner = SourceRunner::new(Arc::clone(&log), connector, TOPIC);
        runner.run(&mut FileSource::new(path), |_| ControlFlow::Continue(())).unwrap();
    }
    assert_eq!(lines(&log), ["a", "b", "a"]);
}

#[test]
fn small_limits_still_move_one_record_at_a_time() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "web.log", b"1\n2\n3\n");
    let log = log();
    let mut commits = 0;
    let runner = runner(&log).batch_records_max(0).batch_bytes_max(0);
    let counted = |_: &Progress| {
        commits += 1;
        ControlFlow::Continue(())
    };
    runner.run(&mut FileSource::new(&path), counted).unwrap();
    assert_eq!((commits, lines(&log)), (3, vec!["1".into(), "2".into(), "3".into()]));
}

#[test]
fn a_source_reads_nothing_before_it_was_started() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.log");
    File::create(&path).unwrap().write_all(b"1\n").unwrap();
    let mut source = FileSource::new(&path);
    assert!(source.next_record().unwrap().is_none());
    source.start(None).unwrap();
    assert_eq!(source.next_record().unwrap().unwrap().value, Some(&b"1"[..]));
    assert!(source.place().ends_with("web.log line 1"), "{}", source.place());
}
