//! What happens to records that fail, and to the work around them: nothing of a step that was
//! taken back is ever visible, and the record that failed is dealt with once.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use headwater_topology::{
    DropReason, ErrorResponse, FailedRecord, KStream, RETRIES_MAX, StreamsBuilder, StreamsConfig,
    TestRecord, TimeWindows, Topology, TopologyTestDriver,
};

fn config() -> StreamsConfig {
    StreamsConfig::new("test").dead_letter_topic("dead")
}

/// Counts by key what `step` lets through, from topic `in` to topic `out`.
fn counting(step: impl Fn(KStream<String, String>) -> KStream<String, String>) -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    // The count stands before the failing step as well, so that an abort has a store to restore.
    stream.group_by_key().count("seen");
    step(stream).group_by_key().count("counts").to_stream().to("out");
    builder.build().unwrap()
}

fn panicking() -> Topology {
    counting(|stream| stream.peek(|_, value| assert!(value != "bad", "cannot take {value}")))
}

fn pipe(driver: &TopologyTestDriver, values: &[&str]) -> headwater_topology::Result<()> {
    let input = driver.input_topic::<String, String>("in");
    for (time, value) in values.iter().enumerate() {
        let record = TestRecord::new("k", *value, i64::try_from(time).unwrap());
        input.pipe_record(&record)?;
    }
    Ok(())
}

fn counts(driver: &TopologyTestDriver) -> Vec<(String, i64, i64)> {
    driver.output_topic("out").unwrap().read_timed().unwrap()
}

fn k(rows: &[(i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|(count, time)| ("k".to_owned(), *count, *time)).collect()
}

#[test]
fn a_record_that_panics_is_skipped_once_and_its_effects_are_taken_back() {
    let config = config().processing_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&panicking(), config).unwrap();
    pipe(&driver, &["a", "bad", "c"]).unwrap();
    assert_eq!(counts(&driver), k(&[(1, 0), (2, 2)]));
    // The redo skips the whole record: the store before the panic does not count it either.
    assert_eq!(driver.store_value::<String, i64>("seen", &"k".to_owned()).unwrap(), Some(2));
    let metrics = driver.metrics().unwrap();
    assert_eq!((metrics.aborts, metrics.dropped(DropReason::Failed)), (1, 1));
}

#[test]
fn a_dead_letter_carries_the_raw_record_and_what_went_wrong() {
    let config = config().processing_exception_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&panicking(), config).unwrap();
    pipe(&driver, &["a", "bad", "c"]).unwrap();
    assert_eq!(counts(&driver), k(&[(1, 0), (2, 2)]));
    let dead = driver.output_topic::<String, String>("dead").unwrap().read_records().unwrap();
    let [letter] = &dead[..] else { panic!("one dead letter: {dead:?}") };
    assert_eq!((letter.key.as_str(), letter.value.as_str()), ("k", "bad"));
    assert_eq!(letter.timestamp.as_millis(), 1);
    let headers: Vec<(String, String)> = letter
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
            (header.key.to_owned(), value)
        })
        .collect();
    let expected = [
        ("__streams.errors.exception", "panic"),
        ("__streams.errors.message", "cannot take bad"),
        ("__streams.errors.stacktrace", "panic at KSTREAM-PEEK-0000000002 of in-0@1"),
        ("__streams.errors.topic", "in"),
        ("__streams.errors.partition", "0"),
        ("__streams.errors.offset", "1"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
    assert_eq!(driver.metrics().unwrap().dead_letters, 1);
}

#[test]
fn a_failure_stops_the_application_and_a_fixed_one_goes_on_where_it_was() {
    let fixed = Arc::new(AtomicBool::new(false));
    let is_fixed = Arc::clone(&fixed);
    let topology = counting(move |stream| {
        let is_fixed = Arc::clone(&is_fixed);
        stream.peek(move |_, value| assert!(value != "bad" || is_fixed.load(Ordering::SeqCst)))
    });
    let driver = TopologyTestDriver::with_config(&topology, config()).unwrap();
    let error = pipe(&driver, &["a", "bad"]).unwrap_err().to_string();
    assert!(error.starts_with("in-0@1 failed at KSTREAM-PEEK-0000000002: panic: "), "{error}");
    assert_eq!(counts(&driver), k(&[(1, 0)]));
    assert_eq!(driver.store_value::<String, i64>("seen", &"k".to_owned()).unwrap(), Some(1));
    fixed.store(true, Ordering::SeqCst);
    driver.restart().unwrap();
    assert_eq!(counts(&driver), k(&[(1, 0), (2, 1)]));
    assert_eq!(driver.store_value::<String, i64>("seen", &"k".to_owned()).unwrap(), Some(2));
}

#[test]
fn a_retry_runs_the_record_again_until_it_passes() {
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    let topology = counting(move |stream| {
        let counter = Arc::clone(&counter);
        stream.peek(move |_, _| assert!(counter.fetch_add(1, Ordering::SeqCst) >= 3))
    });
    let config = config().processing_exception_handler(ErrorResponse::Retry);
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    pipe(&driver, &["a"]).unwrap();
    assert_eq!(counts(&driver), k(&[(1, 0)]));
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

#[test]
fn retries_of_a_record_that_never_passes_end() {
    let seen = Arc::new(AtomicU32::new(0));
    let highest = Arc::clone(&seen);
    let handler = move |failed: &FailedRecord<'_>| {
        highest.fetch_max(failed.retries, Ordering::SeqCst);
        ErrorResponse::Retry
    };
    let config = config().processing_exception_handler(handler);
    let driver = TopologyTestDriver::with_config(&panicking(), config).unwrap();
    pipe(&driver, &["bad"]).unwrap_err();
    assert_eq!(seen.load(Ordering::SeqCst), RETRIES_MAX);
    assert_eq!(driver.metrics().unwrap().aborts, u64::from(RETRIES_MAX) + 1);
}

fn parsing() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .try_map_values(|text| text.parse::<i64>())
        .named("parse")
        .to("out");
    builder.build().unwrap()
}

#[test]
fn an_error_of_a_fallible_closure_is_dealt_with_in_place() {
    let config = config().processing_exception_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&parsing(), config).unwrap();
    pipe(&driver, &["1", "x", "3"]).unwrap();
    assert_eq!(counts(&driver), k(&[(1, 0), (3, 2)]));
    let dead = driver.output_topic::<String, String>("dead").unwrap().read_key_values().unwrap();
    assert_eq!(dead, [("k".to_owned(), "x".to_owned())]);
    assert_eq!(driver.metrics().unwrap().aborts, 0);
}

#[test]
fn the_default_is_to_fail() {
    let driver = TopologyTestDriver::with_config(&parsing(), config()).unwrap();
    let error = pipe(&driver, &["1", "x"]).unwrap_err();
    assert_eq!(error.to_string(), "in-0@1 failed at parse: invalid digit found in string");
    assert_eq!(counts(&driver), k(&[(1, 0)]));
}

#[test]
fn a_dead_letter_without_a_topic_is_a_failure_that_says_so() {
    let config = StreamsConfig::new("test").processing_exception_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&parsing(), config).unwrap();
    let error = pipe(&driver, &["x"]).unwrap_err().to_string();
    assert!(error.contains("errors.dead.letter.queue.topic.name is not set"), "{error}");
}

#[test]
fn bytes_that_are_no_value_go_to_the_deserialization_handler() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, i64>("in").to("out");
    let topology = builder.build().unwrap();
    let config = config().deserialization_exception_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    let input = driver.input_topic::<String, i64>("in");
    input.pipe_bytes(Some(b"k"), Some(b"short"), 1).unwrap();
    input.pipe_input_at("k", 7, 2).unwrap();
    assert_eq!(counts(&driver), k(&[(7, 2)]));
    let dead = driver.output_topic::<String, String>("dead").unwrap().read_records().unwrap();
    let [letter] = &dead[..] else { panic!("one dead letter: {dead:?}") };
    let message = letter.headers.iter().find(|h| h.key == "__streams.errors.message").unwrap();
    assert_eq!(message.value, Some(&b"value: i64 takes 8 bytes, not 5"[..]));
}

#[test]
fn a_null_can_be_made_a_dead_letter() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let config = config().null_handler(ErrorResponse::DeadLetter);
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    driver.input_topic::<String, String>("in").pipe_bytes(None, Some(b"v"), 1).unwrap();
    let dead =
        driver.output_topic::<Option<String>, String>("dead").unwrap().read_key_values().unwrap();
    assert_eq!(dead, [(None, "v".to_owned())]);
}

#[test]
fn a_transaction_that_outgrows_the_log_is_split_until_it_fits() {
    const EVEN: usize = 200 << 10;
    // 64 records of 200 KiB come in one poll; a transaction of the memory log holds 4 MiB.
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, u64>("in")
        .map_values(|n| vec![b'x'; if n % 2 == 0 { EVEN } else { EVEN + 1 }])
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.close();
    let input = driver.input_topic::<String, u64>("in");
    for n in 0..64_u64 {
        input.pipe_input_at("k", n, 0).unwrap_err();
    }
    driver.restart().unwrap();
    let out = driver.output_topic::<String, Vec<u8>>("out").unwrap().read_key_values().unwrap();
    let lens: Vec<usize> = out.iter().map(|(_, value)| value.len()).collect();
    let expected: Vec<usize> = (0..64).map(|n| EVEN + n % 2).collect();
    assert_eq!(lens, expected);
    assert!(driver.metrics().unwrap().commits > 3);
}

#[test]
fn an_aggregate_that_was_taken_out_by_a_panicking_closure_is_put_back() {
    let builder = StreamsBuilder::new();
    let reduced = builder.stream::<String, String>("in").group_by_key().reduce(
        |old, new| {
            assert!(new != "bad");
            old + &new
        },
        "joined",
    );
    reduced.to_stream().to("out");
    let config = config().processing_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    pipe(&driver, &["a", "bad", "c"]).unwrap();
    let rows = driver.store_rows::<String, String>("joined").unwrap();
    assert_eq!(rows, [("k".to_owned(), "ac".to_owned(), 2)]);
}

#[test]
fn a_record_too_far_ahead_of_the_wall_clock_goes_to_the_handler_and_moves_no_stream_time() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    // Through a repartition topic, where the clock is not asked again.
    let counts = stream.group_by(|_, value| value.clone()).windowed_by(windows).count("counts");
    counts.to_stream().map(|key, count| (key.to_string(), count)).to("out");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("test")
        .max_timestamp_ahead(Duration::from_millis(100))
        .deserialization_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for time in [5, 100, 101, 4_000] {
        input.pipe_input_at("k", "v", time).unwrap();
    }
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::InvalidTimestamp), 2);
    driver.advance_wall_clock(Duration::from_millis(1)).unwrap();
    input.pipe_input_at("k", "v", 101).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    let expected = [("v@0/10", 1, 5), ("v@100/110", 1, 100), ("v@100/110", 2, 101)];
    assert_eq!(out, expected.map(|(key, count, time)| (key.to_owned(), count, time)));
    // By default any time is taken, and nothing is skipped by default.
    let driver = TopologyTestDriver::new(&topology).unwrap();
    let input = driver.input_topic::<String, String>("in");
    input.pipe_input_at("k", "v", 4_000).unwrap();
    let config = StreamsConfig::new("test").max_timestamp_ahead(Duration::from_millis(100));
    let driver = TopologyTestDriver::with_config(&topology, config).unwrap();
    let input = driver.input_topic::<String, String>("in");
    let error = input.pipe_input_at("k", "v", 4_000).unwrap_err().to_string();
    assert!(error.contains("4000 ms ahead of the wall clock"), "{error}");
}
