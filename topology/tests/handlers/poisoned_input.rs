//! Input whose bytes are no records of the application: one in a hundred is of the wrong length,
//! has a key that is no text, or is null where the type has no null.

use std::sync::Arc;

use headwater_log_store::Log;
use headwater_topology::{
    DropReason, Error, ErrorResponse, FailedRecord, FailureKind, StreamsConfig,
};
use tempfile::TempDir;

use crate::app::{
    Expected, Line, SETUPS, Sent, assert_dead, assert_prefix, check_restart, config, memory_log,
    number, plus, read, run, send, topology,
};

const RECORDS: i64 = 2_000;

/// What is wrong with a record of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    Undecodable,
    Null,
}

fn poison(line: &Line) -> Option<Poison> {
    if line.key.is_none() || line.value.is_none() {
        return Some(Poison::Null);
    }
    let is_text = line.key.as_deref().is_some_and(|key| std::str::from_utf8(key).is_ok());
    (!is_text || line.number().is_none()).then_some(Poison::Undecodable)
}

fn is_good(line: &Line) -> bool {
    poison(line).is_none()
}

fn sent(at: i64) -> Sent {
    let good = number(at);
    match (at % 100, at / 100 % 4) {
        (99, 0) => Sent { value: Some(b"short".to_vec()), ..good },
        (99, 1) => Sent { key: Some(vec![0xff, 0xfe]), ..good },
        (99, 2) => Sent { key: None, ..good },
        (99, 3) => Sent { value: None, ..good },
        _ => good,
    }
}

fn world() -> (Arc<dyn Log>, TempDir, Vec<Line>) {
    let log = memory_log();
    send(log.as_ref(), (0..RECORDS).map(sent));
    let input = read(log.as_ref(), "in");
    (log, TempDir::new().unwrap(), input)
}

fn of_kind(input: &[Line], kind: Poison) -> Vec<Line> {
    input.iter().filter(|line| poison(line) == Some(kind)).cloned().collect()
}

/// Runs the application with these answers, and expects these records as dead letters.
fn check(
    handlers: impl Fn(StreamsConfig) -> StreamsConfig,
    dead: impl Fn(&[Line]) -> Vec<Line>,
    story: &str,
) {
    for setup in SETUPS {
        let story = format!("{story}, {setup:?}");
        let (log, dir, input) = world();
        let topology = topology(setup, |stream| stream, plus);
        let config = || handlers(config(setup, dir.path()));
        let streams = run(&log, &topology, config()).unwrap();
        let expected = Expected::fold(&input, is_good, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        assert_dead(log.as_ref(), dead(&input), &story);
        let metrics = streams.metrics();
        // Nothing here makes an application take work back, so each is counted once.
        assert_eq!(metrics.aborts, 0, "{story}");
        assert_eq!(metrics.dropped_total(), RECORDS.unsigned_abs() / 100, "{story}");
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}

#[test]
fn poisoned_records_are_skipped_where_the_handlers_say_so() {
    let handlers =
        |config: StreamsConfig| config.deserialization_exception_handler(ErrorResponse::Skip);
    check(handlers, |_| Vec::new(), "skip");
}

#[test]
fn poisoned_records_become_dead_letters_where_the_handlers_say_so() {
    let handlers =
        |config: StreamsConfig| config.deserialization_exception_handler(ErrorResponse::DeadLetter);
    check(handlers, |input| of_kind(input, Poison::Undecodable), "nulls are skipped by default");
    let handlers = |config: StreamsConfig| {
        config
            .deserialization_exception_handler(ErrorResponse::DeadLetter)
            .null_handler(ErrorResponse::DeadLetter)
    };
    let all = |input: &[Line]| input.iter().filter(|line| !is_good(line)).cloned().collect();
    check(handlers, all, "all are dead letters");
}

#[test]
fn a_handler_decides_about_each_poisoned_record_by_itself() {
    // Every second dead letter, by offset; the others are skipped.
    let is_kept = |offset: u64| offset.is_multiple_of(2);
    let handler = move |failed: &FailedRecord<'_>| {
        assert_eq!(failed.kind, FailureKind::Deserialization);
        match failed.position {
            Some(position) if is_kept(position.offset.value()) => ErrorResponse::DeadLetter,
            _ => ErrorResponse::Skip,
        }
    };
    let handlers = move |config: StreamsConfig| config.deserialization_exception_handler(handler);
    let dead = |input: &[Line]| {
        let mut dead = of_kind(input, Poison::Undecodable);
        dead.retain(|line| is_kept(line.offset));
        dead
    };
    check(handlers, dead, "every second");
}

/// A retry makes no bytes better: it ends, and so does the application.
#[test]
fn poisoned_records_stop_the_application_where_the_handlers_say_so_and_at_the_end_of_retries() {
    for answer in [None, Some(ErrorResponse::Fail), Some(ErrorResponse::Retry)] {
        for setup in SETUPS {
            let story = format!("{answer:?}, {setup:?}");
            let (log, dir, input) = world();
            let topology = topology(setup, |stream| stream, plus);
            let config = |answer: Option<ErrorResponse>| {
                let config = config(setup, dir.path());
                match answer {
                    Some(answer) => config.deserialization_exception_handler(answer),
                    None => config,
                }
            };
            let error = run(&log, &topology, config(answer)).unwrap_err();
            let Error::Processing { position, .. } = &error else { panic!("{story}: {error}") };
            let at = |line: &&Line| {
                line.partition == position.topic_partition.partition.value()
                    && line.offset == position.offset.value()
            };
            let found = input.iter().find(at).map(poison);
            assert_eq!(found, Some(Some(Poison::Undecodable)), "{story}: {error}");
            assert_prefix(log.as_ref(), &input, is_good, &story);
            let streams = run(&log, &topology, config(Some(ErrorResponse::Skip))).unwrap();
            let expected = Expected::fold(&input, is_good, |_| true);
            expected.check(log.as_ref(), &streams, &story);
            assert_eq!(
                streams.metrics().dropped(DropReason::NullKey)
                    + streams.metrics().dropped(DropReason::NullValue)
                    + streams.metrics().dropped(DropReason::Failed),
                streams.metrics().dropped_total(),
                "{story}"
            );
            streams.close().unwrap();
        }
    }
}
