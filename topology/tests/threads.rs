//! Applications of several threads: the same results as one gives, tasks that move while records
//! come, threads that fail and are replaced, pauses, and the states in between.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, TopicName, TopicPartition,
};
use headwater_topology::{
    Error, Reset, StreamThreadExceptionResponse, Streams, StreamsBuilder, StreamsConfig,
    StreamsState, Topology,
};

const PARTITIONS: u32 = 6;

fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(PARTITIONS)).unwrap();
    }
    log
}

/// Counts by the last digit of the value: through a repartition topic, so that tasks of one
/// thread feed those of another.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in")
        .select_key(|_, value| format!("d{}", value % 10))
        .group_by_key()
        .count("counts")
        .to_stream()
        .to("out");
    builder.build().unwrap()
}

fn send(log: &dyn Log, numbers: std::ops::Range<i64>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for number in numbers {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(format!("k{number}").as_bytes()),
                value: Some(&number.to_be_bytes()),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

/// Every count that was written, by key, in the order of its partition.
fn written(log: &dyn Log) -> BTreeMap<String, Vec<i64>> {
    let mut consumer = log
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        })
        .unwrap();
    let name = TopicName::new("out").unwrap();
    let partitions: Vec<_> = (0..PARTITIONS)
        .map(|number| TopicPartition::new(name.clone(), PartitionId::new(number)))
        .collect();
    consumer.assign(&partitions).unwrap();
    let mut written: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            return written;
        }
        for view in batches.iter().flat_map(|batch| batch.iter()) {
            let key = String::from_utf8(view.key.unwrap().to_vec()).unwrap();
            let value = i64::from_be_bytes(view.value.unwrap().try_into().unwrap());
            written.entry(key).or_default().push(value);
        }
    }
}

/// Each of the ten keys counted from 1 to `each`, every count once and in order.
fn assert_counted(log: &dyn Log, each: i64) {
    let expected: BTreeMap<String, Vec<i64>> =
        (0..10).map(|digit| (format!("d{digit}"), (1..=each).collect())).collect();
    assert_eq!(written(log), expected);
}

fn tasks_of_threads(streams: &Streams) -> Vec<usize> {
    streams.metadata_for_local_threads().iter().map(|thread| thread.tasks.len()).collect()
}

#[test]
fn several_threads_share_the_tasks_and_count_every_record_once() {
    for threads in [1, 2, 3, 20] {
        let log = log();
        send(log.as_ref(), 0..1_000);
        let config = StreamsConfig::new("app").num_stream_threads(threads);
        let streams = Streams::new(&topology(), config, Arc::clone(&log));
        streams.start().unwrap();
        streams.wait_until_caught_up().unwrap();
        assert_counted(log.as_ref(), 100);
        let shares = tasks_of_threads(&streams);
        assert_eq!(
            (shares.len(), shares.iter().sum::<usize>()),
            (threads, 12),
            "{threads} threads"
        );
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        let counts = streams.store::<String, i64>("counts");
        let rows: Vec<_> = (0..10).map(|digit| (format!("d{digit}"), 100)).collect();
        assert_eq!(counts.all().unwrap(), rows);
        assert_eq!(counts.get(&"d7".to_owned()).unwrap(), Some(100));
        assert_eq!(counts.range("d3".to_owned().."d5".to_owned()).unwrap(), rows[3..5]);
        let progress = streams.progress();
        assert_eq!((progress.records_processed, progress.lag), (2_000, 0));
        streams.close().unwrap();
        assert_eq!(streams.metrics().records_in, 2_000, "what ended threads have counted is kept");
    }
}

#[test]
fn threads_are_added_and_removed_while_records_come() {
    let log = log();
    let streams = Streams::new(&topology(), StreamsConfig::new("app"), Arc::clone(&log));
    assert_eq!(streams.add_stream_thread().unwrap(), None, "it does not run");
    streams.start().unwrap();
    for round in 0..8 {
        send(log.as_ref(), round * 1_000..(round + 1) * 1_000);
        let name = match round % 4 {
            0 | 1 => streams.add_stream_thread().unwrap(),
            _ => streams.remove_stream_thread(),
        };
        assert!(name.is_some(), "round {round}");
        if round % 2 == 1 {
            streams.wait_until_caught_up().unwrap();
            assert_counted(log.as_ref(), (round + 1) * 100);
        }
    }
    streams.wait_until_caught_up().unwrap();
    assert_eq!(tasks_of_threads(&streams), [12]);
    assert_eq!(streams.remove_stream_thread(), None, "the last one stays");
    streams.close().unwrap();
    assert_eq!(streams.state(), StreamsState::NotRunning);
}

/// Fails at each number that is a multiple of 97, the first time that it is seen.
fn failing(failures: &Arc<AtomicU32>) -> Topology {
    let (failures, seen) = (Arc::clone(failures), Arc::new(Mutex::new(Vec::new())));
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in")
        .peek(move |_, value| {
            let mut seen = seen.lock().unwrap();
            if value % 97 == 0 && !seen.contains(value) {
                seen.push(*value);
                failures.fetch_add(1, Ordering::Relaxed);
                drop(seen);
                panic!("planted at {value}");
            }
        })
        .select_key(|_, value| format!("d{}", value % 10))
        .group_by_key()
        .count("counts")
        .to_stream()
        .to("out");
    builder.build().unwrap()
}

#[test]
fn a_thread_that_fails_is_replaced_and_no_record_is_lost_or_counted_twice() {
    for threads in [1, 3] {
        let log = log();
        send(log.as_ref(), 0..1_000);
        let failures = Arc::new(AtomicU32::new(0));
        let config = StreamsConfig::new("app")
            .num_stream_threads(threads)
            .set("retry.backoff.ms", "0")
            .unwrap()
            .restart_budget(50, Duration::from_secs(600));
        let streams = Streams::new(&failing(&failures), config, Arc::clone(&log));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&asked);
        streams.set_uncaught_exception_handler(move |error| {
            ear.lock().unwrap().push(error.to_string());
            StreamThreadExceptionResponse::ReplaceThread
        });
        streams.start().unwrap();
        streams.wait_until_caught_up().unwrap();
        assert_counted(log.as_ref(), 100);
        assert_eq!(failures.load(Ordering::Relaxed), 11, "of {threads} threads");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 11);
        assert!(asked.iter().all(|error| error.contains("planted at")), "{asked:?}");
        streams.close().unwrap();
    }
}

fn always_failing() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in")
        .peek(|_, value| assert!(*value != 500, "planted at 500"))
        .to("out");
    builder.build().unwrap()
}

#[test]
fn a_thread_is_replaced_no_more_often_than_the_budget_allows() {
    let log = log();
    let config = StreamsConfig::new("app")
        .num_stream_threads(2)
        .set("retry.backoff.ms", "1")
        .unwrap()
        .restart_budget(3, Duration::from_secs(600));
    let streams = Streams::new(&always_failing(), config, Arc::clone(&log));
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    streams.set_uncaught_exception_handler(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        StreamThreadExceptionResponse::ReplaceThread
    });
    streams.start().unwrap();
    send(log.as_ref(), 0..1_000);
    let error = streams.wait_until_caught_up().unwrap_err();
    assert!(error.to_string().contains("planted at 500"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    assert_eq!(streams.state(), StreamsState::Error);
    assert!(streams.close().is_err());
    assert!(matches!(streams.add_stream_thread(), Ok(None)));
}

#[test]
fn without_a_handler_the_error_of_one_thread_ends_all_and_the_states_are_told_in_order() {
    let log = log();
    let config = StreamsConfig::new("app").num_stream_threads(3);
    let streams = Streams::new(&always_failing(), config, Arc::clone(&log));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    streams.set_state_listener(move |new, old| ear.lock().unwrap().push((old, new)));
    streams.start().unwrap();
    send(log.as_ref(), 0..1_000);
    assert!(streams.wait_until_caught_up().is_err());
    assert!(matches!(streams.error(), Some(Error::Processing { .. })));
    // The id is free again, although the handle is still there.
    let again = Streams::new(&topology(), StreamsConfig::new("app"), log);
    again.start().unwrap();
    // The listener is told after those who wait.
    assert!(streams.close().is_err());
    use StreamsState::{Created, Error as Failed, PendingError, Rebalancing, Running};
    let expected = [
        (Created, Rebalancing),
        (Rebalancing, Running),
        (Running, PendingError),
        (PendingError, Failed),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_paused_application_answers_but_processes_nothing_until_it_is_resumed() {
    let log = log();
    let config = StreamsConfig::new("app").num_stream_threads(2);
    let streams = Streams::new(&topology(), config, Arc::clone(&log));
    streams.start().unwrap();
    send(log.as_ref(), 0..100);
    streams.wait_until_caught_up().unwrap();
    streams.pause();
    assert!(streams.is_paused());
    // Each thread has come to its rest when it answers.
    let counts = streams.store::<String, i64>("counts");
    assert_eq!(counts.get(&"d0".to_owned()).unwrap(), Some(10));
    send(log.as_ref(), 100..200);
    assert!(!streams.wait_until_caught_up_for(Duration::from_millis(50)).unwrap());
    assert_counted(log.as_ref(), 10);
    streams.resume();
    streams.wait_until_caught_up().unwrap();
    assert_counted(log.as_ref(), 20);
    streams.pause();
    streams.close().unwrap();
    assert_eq!(streams.state(), StreamsState::NotRunning);
}

#[test]
fn a_close_with_a_deadline_returns_while_a_closure_still_runs_and_later_says_that_all_is_done() {
    let log = log();
    let (entered, when_entered) = channel();
    let (leave, when_to_leave) = channel::<()>();
    let when_to_leave = Mutex::new(when_to_leave);
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in")
        .peek(move |_, _| {
            entered.send(()).unwrap();
            when_to_leave.lock().unwrap().recv().unwrap();
        })
        .to("out");
    let topology = builder.build().unwrap();
    let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
    streams.start().unwrap();
    send(log.as_ref(), 0..1);
    when_entered.recv().unwrap();
    assert!(!streams.close_for(Duration::from_millis(10)).unwrap());
    assert_eq!(streams.state(), StreamsState::PendingShutdown);
    leave.send(()).unwrap();
    assert!(streams.close_for(Duration::from_secs(60)).unwrap());
    assert_eq!(streams.state(), StreamsState::NotRunning);
    assert_eq!(written(log.as_ref()).len(), 1, "what was processed is committed");
}

#[test]
fn a_replay_gives_each_output_partition_the_same_records_with_any_number_of_threads() {
    let mut outputs = Vec::new();
    for threads in [1, 3] {
        let log = log();
        send(log.as_ref(), 0..500);
        let config = StreamsConfig::new("app").num_stream_threads(threads);
        let first = Streams::new(&topology(), config.clone(), Arc::clone(&log));
        first.start().unwrap();
        first.wait_until_caught_up().unwrap();
        first.close().unwrap();
        let reset = Reset::new(&topology(), &config).empty_topic("out");
        reset.plan(&log).unwrap().execute(&log).unwrap();
        let replay = Streams::new(&topology(), config, Arc::clone(&log));
        replay.start().unwrap();
        replay.wait_until_caught_up().unwrap();
        assert_counted(log.as_ref(), 50);
        let shares = tasks_of_threads(&replay);
        assert_eq!(shares, vec![12 / threads; threads], "spread again when it is over");
        send(log.as_ref(), 500..1_000);
        replay.wait_until_caught_up().unwrap();
        assert_counted(log.as_ref(), 100);
        replay.close().unwrap();
        outputs.push(written(log.as_ref()));
    }
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn a_global_table_is_whole_in_each_thread_and_read_once_by_a_query() {
    let log = log();
    log.create_topic(&NewTopic::new("names").partitions(2)).unwrap();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for digit in 0..10 {
        let (key, value) = (format!("d{digit}"), format!("name {digit}"));
        let _ = producer
            .send(&ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                ..ProducerRecord::to("names")
            })
            .unwrap();
    }
    producer.flush().unwrap();
    let builder = StreamsBuilder::new();
    let names = builder.global_table::<String, String>("names");
    let missing = Arc::new(AtomicBool::new(false));
    let seen_missing = Arc::clone(&missing);
    builder
        .stream::<String, i64>("in")
        .left_join_global_table(
            &names,
            |_, value| format!("d{}", value % 10),
            move |_, name: Option<String>| {
                seen_missing.fetch_or(name.is_none(), Ordering::Relaxed);
                1_i64
            },
        )
        .to("out");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("app").num_stream_threads(3);
    let streams = Streams::new(&topology, config, Arc::clone(&log));
    send(log.as_ref(), 0..100);
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    assert!(!missing.load(Ordering::Relaxed));
    let rows: Vec<_> =
        (0..10).map(|digit| (format!("d{digit}"), format!("name {digit}"))).collect();
    assert_eq!(streams.store::<String, String>(names.store_name()).all().unwrap(), rows);
    streams.close().unwrap();
}

/// It went on saying that it ran until the thread had ended, and whoever asked it something asked
/// again and again in the meantime, as fast as the processor could.
#[test]
fn an_application_whose_thread_is_to_end_is_rebalancing_until_it_has() {
    let log = log();
    let gate = Arc::new(Mutex::new(()));
    let (entered, has_entered) = channel();
    let builder = StreamsBuilder::new();
    let way = Arc::clone(&gate);
    let hold = move |_: &String, _: &i64| {
        if std::thread::current().name() == Some("app-StreamThread-2") {
            let _ = entered.send(());
            drop(way.lock());
        }
    };
    builder.stream::<String, i64>("in").peek(hold).to("out");
    let topology = builder.build().unwrap();
    let config = StreamsConfig::new("app").num_stream_threads(2);
    let streams = Streams::new(&topology, config, Arc::clone(&log));
    streams.start().unwrap();
    let held = gate.lock().unwrap();
    send(log.as_ref(), 0..100);
    has_entered.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(streams.remove_stream_thread().as_deref(), Some("app-StreamThread-2"));
    assert_eq!(streams.state(), StreamsState::Rebalancing);
    drop(held);
    streams.wait_until_caught_up().unwrap();
    assert_eq!(streams.state(), StreamsState::Running);
    assert_eq!(streams.metadata_for_local_threads().len(), 1);
    streams.close().unwrap();
}
