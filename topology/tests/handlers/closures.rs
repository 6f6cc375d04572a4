//! Closures that panic, and closures that return errors, on every 1,000th record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use headwater_log_store::Log;
use headwater_topology::{
    DropReason, Error, ErrorResponse, KStream, StreamsConfig, StreamsState, Topology,
};
use tempfile::TempDir;

use crate::app::{
    Expected, Line, SETUPS, Setup, assert_dead, assert_prefix, check_restart, config, memory_log,
    number, plus, read, run, send, topology,
};

const RECORDS: i64 = 4_000;

fn is_bad(number: i64) -> bool {
    number % 1_000 == 999
}

fn is_good(line: &Line) -> bool {
    !is_bad(line.number().unwrap())
}

/// How a closure fails on the bad ones.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Panic,
    Error,
}

const FAILINGS: [Failing; 2] = [Failing::Panic, Failing::Error];

impl Failing {
    /// A step that fails on what `is_bad` says.
    fn step(
        self,
        stream: KStream<String, i64>,
        is_bad: impl Fn(i64) -> bool + Clone + Send + Sync + 'static,
    ) -> KStream<String, i64> {
        match self {
            Self::Panic => stream.map_values(move |number: i64| {
                assert!(!is_bad(number), "cannot take {number}");
                number
            }),
            Self::Error => stream.try_map_values(move |number: i64| {
                if is_bad(number) { Err(format!("cannot take {number}")) } else { Ok(number) }
            }),
        }
    }

    fn topology(self, setup: Setup) -> Topology {
        topology(setup, |stream| self.step(stream, is_bad), plus)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "processing",
        }
    }
}

/// A log with input, and the folder of an application.
fn world() -> (Arc<dyn Log>, TempDir, Vec<Line>) {
    let log = memory_log();
    send(log.as_ref(), (0..RECORDS).map(number));
    let input = read(log.as_ref(), "in");
    (log, TempDir::new().unwrap(), input)
}

/// Runs an application whose closure fails, with a handler that goes on without the record.
fn check(failing: Failing, answer: ErrorResponse) {
    for setup in SETUPS {
        let story = format!("{failing:?}, {answer:?}, {setup:?}");
        let (log, dir, input) = world();
        let config = || config(setup, dir.path()).processing_exception_handler(answer);
        let topology = failing.topology(setup);
        let streams = run(&log, &topology, config()).unwrap();
        let expected = Expected::fold(&input, is_good, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        let bad: Vec<Line> = input.iter().filter(|line| !is_good(line)).cloned().collect();
        let dropped = streams.metrics().dropped(DropReason::Failed);
        assert!(dropped >= bad.len() as u64, "{story}: {dropped} are counted");
        let dead = if answer == ErrorResponse::Skip { Vec::new() } else { bad };
        assert_dead(log.as_ref(), dead, &story);
        for line in read(log.as_ref(), "dead") {
            assert_eq!(line.headers["__streams.errors.exception"], failing.word(), "{story}");
            assert_eq!(line.headers["__streams.errors.topic"], "in", "{story}");
            let message = format!("cannot take {}", line.number().unwrap());
            assert_eq!(line.headers["__streams.errors.message"], message, "{story}");
        }
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}

#[test]
fn every_thousandth_record_that_makes_a_closure_panic_is_skipped() {
    check(Failing::Panic, ErrorResponse::Skip);
}

#[test]
fn every_thousandth_record_that_makes_a_closure_panic_becomes_a_dead_letter() {
    check(Failing::Panic, ErrorResponse::DeadLetter);
}

#[test]
fn every_thousandth_record_that_a_closure_returns_an_error_for_is_skipped() {
    check(Failing::Error, ErrorResponse::Skip);
}

#[test]
fn every_thousandth_record_that_a_closure_returns_an_error_for_becomes_a_dead_letter() {
    check(Failing::Error, ErrorResponse::DeadLetter);
}

#[test]
fn a_closure_that_fails_stops_the_application_and_a_mended_one_goes_on_there() {
    for (failing, setup) in FAILINGS.into_iter().flat_map(|f| SETUPS.map(|setup| (f, setup))) {
        let story = format!("{failing:?}, {setup:?}");
        let (log, dir, input) = world();
        let streams = headwater_topology::Streams::new(
            &failing.topology(setup),
            config(setup, dir.path()),
            Arc::clone(&log),
        );
        // It may have met the first bad record before its start has returned.
        let error = streams.start().and_then(|()| streams.wait_until_caught_up()).unwrap_err();
        let Error::Processing { position, reason, .. } = &error else { panic!("{story}: {error}") };
        let at = |line: &&Line| {
            line.partition == position.topic_partition.partition.value()
                && line.offset == position.offset.value()
        };
        let bad = input.iter().find(at).unwrap().number().unwrap();
        assert!(is_bad(bad) && reason.contains(&format!("cannot take {bad}")), "{story}: {error}");
        assert_eq!(streams.close().unwrap_err().to_string(), error.to_string(), "{story}");
        assert_eq!(streams.state(), StreamsState::Error, "{story}");
        drop(streams);
        // Nothing of the record, and nothing behind it, is to be seen.
        assert_prefix(log.as_ref(), &input, is_good, &story);
        let found = read(log.as_ref(), "each");
        let behind = |line: &Line| {
            line.partition == position.topic_partition.partition.value()
                && line.number().unwrap() >= bad
        };
        assert!(!found.iter().any(behind), "{story}: it went on behind {position}");
        let mended = topology(setup, |stream| stream, plus);
        let streams = run(&log, &mended, config(setup, dir.path())).unwrap();
        let expected = Expected::fold(&input, |_| true, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        check_restart(&log, streams, (&mended, config(setup, dir.path())), &expected, &story);
    }
}

#[test]
fn a_closure_that_fails_a_few_times_on_a_record_is_called_again_and_nothing_is_lost() {
    for (failing, setup) in FAILINGS.into_iter().flat_map(|f| SETUPS.map(|setup| (f, setup))) {
        let story = format!("{failing:?}, {setup:?}");
        let (log, dir, input) = world();
        let tries = Arc::new(Mutex::new(BTreeMap::<i64, u32>::new()));
        let topology = topology(
            setup,
            |stream| {
                let tries = Arc::clone(&tries);
                failing.step(stream, move |number| {
                    is_bad(number) && {
                        let mut tries = tries.lock().unwrap();
                        let tries = tries.entry(number).or_default();
                        *tries += 1;
                        *tries <= 3
                    }
                })
            },
            plus,
        );
        let config =
            || config(setup, dir.path()).processing_exception_handler(ErrorResponse::Retry);
        let streams = run(&log, &topology, config()).unwrap();
        let expected = Expected::fold(&input, |_| true, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        assert_eq!(streams.metrics().dropped_total(), 0, "{story}");
        assert!(tries.lock().unwrap().values().all(|tries| *tries >= 4), "{story}");
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}

#[test]
fn a_record_that_is_never_taken_is_tried_so_often_and_stops_the_application() {
    for (failing, setup) in FAILINGS.into_iter().flat_map(|f| SETUPS.map(|setup| (f, setup))) {
        let story = format!("{failing:?}, {setup:?}");
        let (log, dir, input) = world();
        let with = |answer| config(setup, dir.path()).processing_exception_handler(answer);
        let error = run(&log, &failing.topology(setup), with(ErrorResponse::Retry)).unwrap_err();
        assert!(matches!(error, Error::Processing { .. }), "{story}: {error}");
        assert_prefix(log.as_ref(), &input, is_good, &story);
        // Whoever starts it anew may decide otherwise.
        let streams = run(&log, &failing.topology(setup), with(ErrorResponse::Skip)).unwrap();
        Expected::fold(&input, is_good, |_| true).check(log.as_ref(), &streams, &story);
        streams.close().unwrap();
    }
}

#[test]
fn a_panic_behind_a_repartition_topic_costs_only_what_is_behind_it() {
    for setup in SETUPS {
        let story = format!("{setup:?}");
        let (log, dir, input) = world();
        let add = |sum: i64, number: i64| {
            assert!(!is_bad(number), "cannot add {number}");
            sum + number
        };
        let topology = topology(setup, |stream| stream, add);
        let config = || -> StreamsConfig {
            config(setup, dir.path()).processing_exception_handler(ErrorResponse::DeadLetter)
        };
        let streams = run(&log, &topology, config()).unwrap();
        let expected = Expected::fold(&input, |_| true, is_good);
        expected.check(log.as_ref(), &streams, &story);
        let mut dead: Vec<i64> = Vec::new();
        for line in read(log.as_ref(), "dead") {
            assert_eq!(line.headers["__streams.errors.topic"], "app-sums-repartition", "{story}");
            assert!(!line.headers.contains_key("__headwater.task"), "{story}");
            assert_eq!(line.time_ms, line.number().unwrap(), "{story}");
            dead.push(line.number().unwrap());
        }
        dead.sort_unstable();
        let bad: Vec<i64> = (0..RECORDS).filter(|number| is_bad(*number)).collect();
        assert_eq!(dead, bad, "{story}");
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}
