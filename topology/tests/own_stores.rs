//! The window, session and versioned stores of processors: what is read, hidden, taken back and
//! restored. Through the test driver.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_log_store::Timestamp;
use headwater_topology::{
    BoxError, ErrorResponse, Processor, ProcessorContext, Record, SessionStore, SessionWindow,
    SessionWindows, StateStore, Stores, StreamsBuilder, StreamsConfig, TimeWindows,
    TimestampedWindowStore, TopologyTestDriver, VersionedKeyValueStore, VersionedRecord,
    WindowStore, Windowed,
};

/// Does one line, given its numbers, and answers.
type Step<S> = fn(&S, &str, &[i64]) -> Result<String, BoxError>;

/// Does what each value says to its stores, and sends the answer on.
struct Script<S> {
    stores: S,
    step: Step<S>,
    /// Whether the next line that says so panics after its work.
    armed: Arc<AtomicBool>,
}

impl<S: 'static> Processor for Script<S> {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        let (line, panics) = match record.value.strip_suffix(" panic") {
            Some(line) => (line, self.armed.swap(false, Ordering::Relaxed)),
            None => (record.value.as_str(), false),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<i64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
        let answer = (self.step)(&self.stores, words[0], &numbers)?;
        assert!(!panics, "the line says so");
        context.forward(record.with_value(answer));
        Ok(())
    }
}

/// Sends lines and checks the answers; the driver is restarted before the lines `restart`.
fn check(driver: &TopologyTestDriver, lines: &[(&str, &str)]) {
    let out = driver.output_topic::<String, String>("out").unwrap();
    for (line, expected) in lines {
        if *line == "restart" {
            driver.restart().unwrap();
            continue;
        }
        driver.input_topic::<String, String>("in").pipe_input_at("k", *line, 1_000).unwrap();
        let answers: Vec<String> =
            out.read_key_values().unwrap().into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answers, [*expected], "{line}");
    }
}

fn retrying() -> StreamsConfig {
    StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Retry)
}

fn ms(time: i64) -> Timestamp {
    Timestamp::from_millis(time)
}

fn k() -> String {
    "k".to_owned()
}

fn listed<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> String {
    items.into_iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_window_store_keeps_windows_for_its_retention() {
    let builder = StreamsBuilder::new();
    let retention = Duration::from_millis(100);
    let store = Stores::window_store::<String, i64>("windows", retention);
    let store = builder.add_state_store(store);
    let armed = Arc::new(AtomicBool::new(true));
    builder
        .stream::<String, String>("in")
        .process_with_stores(&store, move |stores: WindowStore<String, i64>| Script {
            stores,
            armed: Arc::clone(&armed),
            step: |store, line, numbers| {
                let shown =
                    |(start, value): (Timestamp, i64)| format!("{}={value}", start.as_millis());
                Ok(match (line, numbers) {
                    ("put", [start, value]) => {
                        store.put(&k(), *value, ms(*start));
                        listed(store.fetch_range(&k(), ms(0), ms(1_000)), shown)
                    }
                    ("delete", [start]) => {
                        store.delete(&k(), ms(*start));
                        format!("{:?}", store.fetch(&k(), ms(*start)))
                    }
                    ("fetch", [start]) => format!("{:?}", store.fetch(&k(), ms(*start))),
                    ("all", []) => listed(store.all()?, |(start, key, value)| {
                        format!("{key}@{}={value}", start.as_millis())
                    }),
                    _ => panic!("{line} {numbers:?}"),
                })
            },
        })
        .to("out");
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), retrying()).unwrap();
    check(
        &driver,
        &[
            ("put 10 1", "10=1"),
            ("put 30 2", "10=1 30=2"),
            ("put 30 3 panic", "10=1 30=3"),
            ("fetch 30", "Some(3)"),
            ("put 90 4", "10=1 30=3 90=4"),
            ("delete 30", "None"),
            ("restart", ""),
            ("all", "k@10=1 k@90=4"),
            ("put 110 5", "90=4 110=5"),
            ("fetch 10", "None"),
        ],
    );
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let rows = driver.window_store_rows::<String, i64>("windows", windows).unwrap();
    let rows: Vec<_> =
        rows.iter().map(|(key, value, time)| (key.window.start_ms, *value, *time)).collect();
    assert_eq!(rows, [(90, 4, 1_000), (110, 5, 1_000)]);
}

#[test]
fn the_windows_of_an_aggregation_can_be_read_with_their_times() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let grouped = builder.stream::<String, String>("words").group_by_key();
    grouped.windowed_by(windows).count("counts");
    let counts = StateStore::<TimestampedWindowStore<String, i64>>::named("counts");
    builder
        .stream::<String, String>("in")
        .process_with_stores(counts, |stores| Script {
            stores,
            armed: Arc::default(),
            step: |store, _, numbers| {
                let (from, to) = (ms(numbers[0]), ms(numbers[1]));
                Ok(listed(store.fetch_range(&k(), from, to), |(start, row)| {
                    format!("{}={}@{}", start.as_millis(), row.value, row.timestamp.as_millis())
                }))
            },
        })
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let words = driver.input_topic::<String, String>("words");
    for time in [10, 14, 12, 20, 29] {
        words.pipe_input_at("k", "w", time).unwrap();
    }
    // The retention is the size of a window: the first one is hidden since 20 was put.
    check(&driver, &[("fetch 0 100", "20=2@29"), ("fetch 0 19", "")]);
}

#[test]
fn a_session_store_finds_the_sessions_that_touch_a_time() {
    let builder = StreamsBuilder::new();
    let retention = Duration::from_millis(100);
    let store = Stores::session_store::<String, i64>("sessions", retention);
    let store = builder.add_state_store(store);
    let armed = Arc::new(AtomicBool::new(true));
    let session = |start_ms: i64, end_ms: i64| Windowed {
        key: k(),
        window: SessionWindow { start_ms, end_ms },
    };
    let step: Step<SessionStore<String, i64>> = |store, line, numbers| {
        let session = |start_ms: i64, end_ms: i64| Windowed {
            key: k(),
            window: SessionWindow { start_ms, end_ms },
        };
        let shown = |(session, value): (Windowed<String, SessionWindow>, i64)| {
            format!("{}-{}={value}", session.window.start_ms, session.window.end_ms)
        };
        Ok(match (line, numbers) {
            ("put", [start, end, value]) => {
                store.put(&session(*start, *end), *value);
                listed(store.fetch(&k()), shown)
            }
            ("remove", [start, end]) => {
                store.remove(&session(*start, *end));
                format!("{:?}", store.fetch_session(&session(*start, *end)))
            }
            ("find", [earliest_end, latest_start]) => {
                listed(store.find_sessions(&k(), ms(*earliest_end), ms(*latest_start)), shown)
            }
            _ => panic!("{line} {numbers:?}"),
        })
    };
    builder
        .stream::<String, String>("in")
        .process_with_stores(&store, move |stores| Script {
            stores,
            armed: Arc::clone(&armed),
            step,
        })
        .to("out");
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), retrying()).unwrap();
    check(
        &driver,
        &[
            ("put 10 20 1", "10-20=1"),
            ("put 15 40 2", "10-20=1 15-40=2"),
            ("remove 15 40 panic", "None"),
            ("put 30 50 3", "10-20=1 30-50=3"),
            ("find 20 29", "10-20=1"),
            ("find 21 30", "30-50=3"),
            ("restart", ""),
            ("put 130 130 4", "30-50=3 130-130=4"),
        ],
    );
    let rows = driver.session_store_rows::<String, i64>("sessions").unwrap();
    assert_eq!(rows, [(session(30, 50), 3), (session(130, 130), 4)]);
}

#[test]
fn the_sessions_of_an_aggregation_can_be_read() {
    let builder = StreamsBuilder::new();
    let windows = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(10));
    let grouped = builder.stream::<String, String>("words").group_by_key();
    grouped.windowed_by(windows).count("sessions");
    let sessions = StateStore::<SessionStore<String, i64>>::named("sessions");
    builder
        .stream::<String, String>("in")
        .process_with_stores(sessions, |stores| Script {
            stores,
            armed: Arc::default(),
            step: |store, _, _| {
                Ok(listed(store.fetch(&k()), |(session, count)| {
                    format!("{}-{}={count}", session.window.start_ms, session.window.end_ms)
                }))
            },
        })
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let words = driver.input_topic::<String, String>("words");
    for time in [10, 18, 25] {
        words.pipe_input_at("k", "w", time).unwrap();
    }
    check(&driver, &[("fetch", "10-25=3")]);
}

#[test]
fn a_versioned_store_answers_as_of_a_time_within_its_history() {
    let builder = StreamsBuilder::new();
    let history = Duration::from_millis(100);
    let store = Stores::versioned_key_value_store::<String, i64>("versions", history);
    let store = builder.add_state_store(store);
    let armed = Arc::new(AtomicBool::new(true));
    builder
        .stream::<String, String>("in")
        .process_with_stores(&store, move |stores: VersionedKeyValueStore<String, i64>| Script {
            stores,
            armed: Arc::clone(&armed),
            step: |store, line, numbers| {
                let shown = |record: Option<VersionedRecord<i64>>| match record {
                    None => "none".to_owned(),
                    Some(VersionedRecord { value, timestamp, valid_to }) => {
                        let end = valid_to.map(|end| end.as_millis().to_string());
                        format!("{value} {}..{}", timestamp.as_millis(), end.unwrap_or_default())
                    }
                };
                Ok(match (line, numbers) {
                    ("put", [time, value]) => format!("{:?}", store.put(&k(), *value, ms(*time))),
                    ("delete", [time]) => shown(store.delete(&k(), ms(*time))),
                    ("get", []) => shown(store.get(&k())),
                    ("as-of", [time]) => shown(store.get_as_of(&k(), ms(*time))),
                    _ => panic!("{line} {numbers:?}"),
                })
            },
        })
        .to("out");
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), retrying()).unwrap();
    check(
        &driver,
        &[
            ("put 10 1", "Latest"),
            ("put 30 3", "Latest"),
            ("put 20 2 panic", "ValidTo(Timestamp(30))"),
            ("as-of 9", "none"),
            ("as-of 19", "1 10..20"),
            ("delete 25", "2 20..30"),
            ("as-of 26", "none"),
            ("restart", ""),
            ("get", "3 30.."),
            ("as-of 24", "2 20..25"),
            ("put 200 4", "Latest"),
            ("put 99 5", "TooOld"),
            ("as-of 99", "none"),
            ("as-of 150", "3 30..200"),
        ],
    );
}
