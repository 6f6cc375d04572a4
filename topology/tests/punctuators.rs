//! Punctuators: when they are called, what becomes of what they do, and what a failure takes back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headwater_log_store::{
    Log, LogStore, ManualClock, NewTopic, ProducerConfig, ProducerRecord, Timestamp,
};
use headwater_topology::{
    BoxError, Cancellable, DropReason, Error, ErrorResponse, FailedRecord, KeyValueStore,
    Processor, ProcessorContext, PunctuationType, Record, Stores, Streams, StreamsBuilder,
    StreamsConfig, Topology, TopologyTestDriver,
};

type Init = fn(&mut ProcessorContext<'_, Ticker>);

/// Runs punctuators, and forwards nothing else.
struct Ticker {
    init: Init,
    calls: KeyValueStore<String, i64>,
    /// How often a punctuator has failed, over all tickers.
    failures: Arc<AtomicU32>,
    cancellable: Option<Cancellable>,
}

impl Processor for Ticker {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = i64;

    fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
        (self.init)(context);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        match record.value.as_str() {
            "commit" => context.commit(),
            "panic" if self.failures.fetch_add(1, Ordering::Relaxed) == 0 => panic!("once"),
            _ => {}
        }
        Ok(())
    }
}

impl Ticker {
    /// Counts the call, and forwards it with its time.
    fn tick(&self, name: &str, time: Timestamp, context: &mut ProcessorContext<'_, Self>) {
        assert_eq!(context.record_metadata(), None);
        let calls = self.calls.get(&name.to_owned()).unwrap_or_default() + 1;
        self.calls.put(&name.to_owned(), calls);
        context.forward(Record::new(name.to_owned(), calls, time));
    }
}

fn topology(init: Init, failures: &Arc<AtomicU32>) -> Topology {
    let builder = StreamsBuilder::new();
    let calls = builder.add_state_store(Stores::key_value_store::<String, i64>("calls"));
    let failures = Arc::clone(failures);
    builder
        .stream::<String, String>("in")
        .process_with_stores(&calls, move |calls| {
            let failures = Arc::clone(&failures);
            Ticker { init, calls, failures, cancellable: None }
        })
        .to("out");
    builder.build().unwrap()
}

fn driver_with(init: Init, config: StreamsConfig) -> TopologyTestDriver {
    TopologyTestDriver::with_config(&topology(init, &Arc::default()), config).unwrap()
}

fn driver(init: Init) -> TopologyTestDriver {
    driver_with(init, StreamsConfig::new("app"))
}

const TEN: Duration = Duration::from_millis(10);

fn every_ten(context: &mut ProcessorContext<'_, Ticker>, kind: PunctuationType) {
    context.schedule(TEN, kind, |ticker, time, context| {
        ticker.tick("ten", time, context);
        Ok(())
    });
}

fn by_stream_time(context: &mut ProcessorContext<'_, Ticker>) {
    every_ten(context, PunctuationType::StreamTime);
}

fn by_wall_clock(context: &mut ProcessorContext<'_, Ticker>) {
    every_ten(context, PunctuationType::WallClockTime);
}

/// The names, numbers and times of the calls so far.
fn calls(driver: &TopologyTestDriver) -> Vec<(String, i64, i64)> {
    driver.output_topic("out").unwrap().read_timed().unwrap()
}

fn named(name: &str, times: &[i64]) -> Vec<(String, i64, i64)> {
    (1..).zip(times).map(|(number, time)| (name.to_owned(), number, *time)).collect()
}

fn pipe(driver: &TopologyTestDriver, times: &[i64]) {
    let input = driver.input_topic::<String, String>("in");
    for time in times {
        input.pipe_input_at("k", "v", *time).unwrap();
    }
}

fn advance(driver: &TopologyTestDriver, steps: &[u64]) {
    for step in steps {
        driver.advance_wall_clock(Duration::from_millis(*step)).unwrap();
    }
}

/// Kafka Streams' `TopologyTestDriverTest` and the reference's own example.
#[test]
fn stream_time_calls_once_per_trigger_on_multiples_of_the_interval() {
    let cases: [(&[i64], &[i64]); 4] = [
        (&[42, 42, 51, 52, 61, 65, 71, 72, 95, 101, 102], &[42, 51, 61, 71, 95, 101]),
        (&[3, 12, 13, 47, 50], &[3, 12, 47, 50]),
        (&[25, 7, 29, 31, 12], &[25, 31]),
        // The time of the next call but one: both are this call.
        (&[3, 20, 21, 30], &[3, 20, 30]),
    ];
    for (times, expected) in cases {
        let driver = driver(by_stream_time);
        pipe(&driver, times);
        assert_eq!(calls(&driver), named("ten", expected), "{times:?}");
        let rows = driver.store_rows::<String, i64>("calls").unwrap();
        let last = (i64::try_from(expected.len()).unwrap(), *expected.last().unwrap());
        assert_eq!(rows, [("ten".to_owned(), last.0, last.1)], "puts have the time of the call");
    }
}

/// Kafka Streams' `TopologyTestDriverTest` and the reference's own example.
#[test]
fn the_wall_clock_calls_without_records_and_missed_intervals_are_one_call() {
    let cases: [(&[u64], &[i64]); 2] =
        [(&[5, 9, 1, 20, 5], &[14, 35, 40]), (&[10, 35, 4, 1], &[10, 45, 50])];
    for (steps, expected) in cases {
        let driver = driver(by_wall_clock);
        advance(&driver, steps);
        assert_eq!(calls(&driver), named("ten", expected), "{steps:?}");
    }
}

#[test]
fn an_anchored_punctuator_is_first_due_at_its_start_or_at_the_next_point_of_its_grid() {
    let driver = driver(|context| {
        let kind = PunctuationType::WallClockTime;
        for start in [25, -5] {
            context.schedule_from(
                Timestamp::from_millis(start),
                TEN,
                kind,
                move |ticker, time, context| {
                    ticker.tick(&format!("from {start}"), time, context);
                    Ok(())
                },
            );
        }
    });
    advance(&driver, &[4, 1, 10, 9, 1, 10]);
    let call = |start: i64, number, time| (format!("from {start}"), number, time);
    // The grid of the second one is 5, 15, 25: at 25 it has been due for as long as the first.
    let expected = [
        call(-5, 1, 5),
        call(-5, 2, 15),
        call(25, 1, 25),
        call(-5, 3, 25),
        call(25, 2, 35),
        call(-5, 4, 35),
    ];
    assert_eq!(calls(&driver), expected);
}

#[test]
fn several_that_are_due_run_in_the_order_of_their_due_times() {
    let driver = driver(|context| {
        for (name, interval) in [("long", 30), ("short", 20)] {
            let interval = Duration::from_millis(interval);
            context.schedule(
                interval,
                PunctuationType::WallClockTime,
                move |ticker, time, context| {
                    ticker.tick(name, time, context);
                    Ok(())
                },
            );
        }
    });
    advance(&driver, &[35]);
    let names: Vec<String> = calls(&driver).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["short", "long"]);
}

#[test]
fn a_cancelled_punctuator_is_called_no_more_also_from_within_its_call() {
    let driver = driver(|context| {
        every_ten(context, PunctuationType::WallClockTime);
        context.schedule(TEN, PunctuationType::WallClockTime, |ticker, time, context| {
            ticker.tick("once", time, context);
            let every = Duration::from_millis(3);
            match ticker.cancellable.take() {
                None => {
                    let kind = PunctuationType::WallClockTime;
                    let dynamic = context.schedule(every, kind, |ticker, time, context| {
                        ticker.tick("dynamic", time, context);
                        Ok(())
                    });
                    ticker.cancellable = Some(dynamic);
                }
                Some(dynamic) => dynamic.cancel(),
            }
            Ok(())
        });
    });
    advance(&driver, &[10, 3, 7, 3, 7]);
    let found: Vec<(String, i64)> =
        calls(&driver).into_iter().map(|(name, _, time)| (name, time)).collect();
    let call = |name: &str, time| (name.to_owned(), time);
    // At 20 the dynamic one is due since 16, so it runs before it is cancelled.
    let expected = [
        call("ten", 10),
        call("once", 10),
        call("dynamic", 13),
        call("dynamic", 20),
        call("ten", 20),
        call("once", 20),
        call("ten", 30),
        call("once", 30),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_abort_takes_back_what_punctuators_did_and_calls_them_again() {
    let failures = Arc::default();
    let config = StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Retry);
    let topology = topology(by_stream_time, &failures);
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    pipe(&driver, &[3]);
    // Two records in one transaction: the second one panics after the first one's punctuation.
    let log = driver.log();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (value, time) in [("v", 12), ("panic", 27)] {
        let record = ProducerRecord {
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            timestamp: Some(Timestamp::from_millis(time)),
            ..ProducerRecord::to("in")
        };
        let _ = producer.send(&record).unwrap();
    }
    producer.flush().unwrap();
    advance(&driver, &[1]);
    assert_eq!(failures.load(Ordering::Relaxed), 2, "the record came again");
    assert_eq!(calls(&driver), named("ten", &[3, 12, 27]));
    driver.restart().unwrap();
    pipe(&driver, &[5]);
    // As in Kafka Streams a restart begins a new grid; stream time is that of before.
    assert_eq!(calls(&driver), named("ten", &[3, 12, 27, 27]));
}

fn failing(context: &mut ProcessorContext<'_, Ticker>) {
    context.schedule(TEN, PunctuationType::WallClockTime, |ticker, time, context| {
        ticker.tick("fails", time, context);
        match time.as_millis() {
            10 => Err("it is ten".into()),
            20 => panic!("it is twenty"),
            _ => Ok(()),
        }
    });
    context.schedule(TEN, PunctuationType::StreamTime, |ticker, time, context| {
        ticker.tick("streams", time, context);
        if time.as_millis() == 7 { panic!("it is seven") } else { Ok(()) }
    });
}

#[test]
fn a_punctuator_that_fails_is_skipped_or_stops_the_application() {
    let skip = |failed: &FailedRecord<'_>| {
        let times = [(10, None), (20, None), (7, None)];
        let about = (failed.timestamp.as_millis(), failed.position);
        assert!(times.contains(&about), "{failed:?}");
        ErrorResponse::Skip
    };
    let config = || StreamsConfig::new("app");
    let driver = driver_with(failing, config().processing_exception_handler(skip));
    advance(&driver, &[10, 10, 10]);
    pipe(&driver, &[7, 12]);
    // What an error leaves behind stays, as with a record; a panic's call is taken back.
    let call = |name: &str, number, time| (name.to_owned(), number, time);
    let expected = [call("fails", 1, 10), call("fails", 2, 30), call("streams", 1, 12)];
    assert_eq!(calls(&driver), expected);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::Failed), 3);

    // There is no record that could be tried again or written elsewhere.
    for response in [ErrorResponse::Fail, ErrorResponse::Retry, ErrorResponse::DeadLetter] {
        let config = config().processing_exception_handler(response);
        for (steps, reason) in [(10, "it is ten"), (20, "panic: it is twenty")] {
            let driver = driver_with(failing, config.clone());
            let error = driver.advance_wall_clock(Duration::from_millis(steps)).unwrap_err();
            let Error::Processor { task, operation, reason: found, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!((task.to_string().as_str(), *operation), ("0_0", "a punctuation"));
            assert_eq!(found, reason);
        }
    }
}

#[test]
fn an_interval_of_nothing_stops_the_application() {
    let nothing: Init = |context| {
        context.schedule(Duration::ZERO, PunctuationType::StreamTime, |_, _, _| Ok(()));
    };
    let error = TopologyTestDriver::new(&topology(nothing, &Arc::default())).unwrap_err();
    let text =
        "a schedule of KSTREAM-PROCESSOR-0000000001 in task 0_0 failed: its interval is below 1 ms";
    assert_eq!(error.to_string(), text);
}

/// The interval is by a clock that only the test moves, so nothing depends on how fast this runs.
#[test]
fn a_worker_without_records_calls_punctuators_of_the_wall_clock_and_commits() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let store = LogStore::in_memory_builder().clock(Arc::clone(&clock) as Arc<_>).open().unwrap();
    let log: Arc<dyn Log> = Arc::new(store);
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let config = StreamsConfig::new("app").clock(Arc::clone(&clock) as Arc<_>);
    let streams = Streams::new(&topology(by_wall_clock, &Arc::default()), config, Arc::clone(&log));
    streams.start().unwrap();
    for round in 1..=3_i64 {
        clock.advance(TEN);
        let calls = streams.store::<String, i64>("calls");
        while calls.get(&"ten".to_owned()).unwrap() != Some(round) {
            std::thread::yield_now();
        }
    }
    streams.close().unwrap();
}
