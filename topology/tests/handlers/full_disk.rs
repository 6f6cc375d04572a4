//! A disk that is full while an application runs on it. The file system is one in memory that
//! counts what its files take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fastrand::Rng;
use headwater_log_store::{
    Durability, Error as LogError, Log, LogStore, NewTopic, ProducerConfig, ProducerRecord,
    SimulatedStorage, Storage,
};
use headwater_topology::{
    Error, StoreType, StreamThreadExceptionResponse, Streams, StreamsConfig, StreamsState,
};
use tempfile::TempDir;

use crate::app::{
    Expected, SETUPS, Setup, assert_prefix, check_restart, config, create_topics, number, plus,
    read, run, send, topology,
};

const RECORDS: i64 = 3_000;

fn open(storage: &SimulatedStorage) -> Arc<dyn Log> {
    let store = LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .durability(Durability::Sync)
        .journal_bytes(256 << 10)
        .housekeeping(false)
        .create(true)
        .open();
    Arc::new(store.unwrap())
}

/// A disk with topics and without input.
fn disk() -> (SimulatedStorage, Arc<dyn Log>) {
    let storage = SimulatedStorage::new();
    let log = open(&storage);
    create_topics(log.as_ref());
    (storage, log)
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Log { source: LogError::DiskFull { .. }, .. })
}

/// Nobody else can write either, once what was reserved for the input is used up.
fn assert_full(log: &dyn Log) {
    let value = vec![b'x'; 20_000];
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for _ in 0..1_000 {
        let record = ProducerRecord { value: Some(&value), ..ProducerRecord::to("dead") };
        match producer.send(&record).and_then(|receipt| receipt.wait()) {
            Ok(_) => {}
            Err(LogError::DiskFull { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("20 MB went to a full disk");
}

#[test]
fn a_full_disk_stops_the_application_and_with_space_it_goes_on_where_it_was() {
    let seed =
        std::env::var("HEADWATER_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("HEADWATER_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    for (round, setup) in (0..3).flat_map(|round| SETUPS.map(|setup| (round, setup))) {
        let (storage, mut log) = disk();
        let dir = TempDir::new().unwrap();
        let topology = topology(setup, |stream| stream, plus);
        let config = || config(setup, dir.path());
        run(&log, &topology, config()).unwrap().close().unwrap();
        send(log.as_ref(), (0..RECORDS).map(number));
        let input = read(log.as_ref(), "in");
        let free = rng.u64(0..300_000);
        let story = format!("seed {seed}, round {round}, {setup:?}, {free} bytes free");
        storage.set_free_bytes(Some(free));
        let stopped = Streams::new(&topology, config(), Arc::clone(&log));
        let error = stopped.start().and_then(|()| stopped.wait_until_caught_up()).unwrap_err();
        assert!(is_full(&error), "{story}: {error}");
        assert!(is_full(&stopped.close().unwrap_err()), "{story}");
        assert_eq!(stopped.state(), StreamsState::Error, "{story}");
        drop(stopped);
        assert_full(log.as_ref());
        assert_prefix(log.as_ref(), &input, |_| true, &story);
        // Without space another start comes no further, and breaks nothing.
        let error = run(&log, &topology, config()).unwrap_err();
        assert!(is_full(&error), "{story}: {error}");
        if rng.bool() {
            drop(log);
            log = open(&storage);
        }
        storage.set_free_bytes(None);
        let streams = run(&log, &topology, config()).unwrap();
        let expected = Expected::fold(&input, |_| true, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}

#[test]
fn an_application_that_replaces_its_threads_waits_for_space_and_goes_on() {
    for setup in SETUPS {
        let story = format!("{setup:?}");
        let (storage, log) = disk();
        let dir = TempDir::new().unwrap();
        let topology = topology(setup, |stream| stream, plus);
        let config = || config(setup, dir.path()).set("retry.backoff.ms", "1").unwrap();
        let streams = Streams::new(&topology, config(), Arc::clone(&log));
        let (disk, times) = (storage.clone(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&times);
        streams.set_uncaught_exception_handler(move |error| {
            assert!(is_full(error), "{error}");
            // Somebody makes space after a while.
            if counted.fetch_add(1, Ordering::SeqCst) == 3 {
                disk.set_free_bytes(None);
            }
            StreamThreadExceptionResponse::ReplaceThread
        });
        streams.start().unwrap();
        streams.wait_until_caught_up().unwrap();
        streams.pause();
        send(log.as_ref(), (0..RECORDS).map(number));
        let input = read(log.as_ref(), "in");
        storage.set_free_bytes(Some(20_000));
        streams.resume();
        streams.wait_until_caught_up().unwrap();
        assert!(times.load(Ordering::SeqCst) >= 4, "{story}");
        let expected = Expected::fold(&input, |_| true, |_| true);
        expected.check(log.as_ref(), &streams, &story);
        check_restart(&log, streams, (&topology, config()), &expected, &story);
    }
}

#[test]
fn a_disk_without_space_for_the_internal_topics_refuses_the_start_and_leaves_nothing_half_done() {
    let setup = Setup { threads: 1, store_type: StoreType::InMemory };
    let (storage, log) = disk();
    send(log.as_ref(), (0..500).map(number));
    let topology = topology(setup, |stream| stream, plus);
    // Of three internal topics some may be there, as many as there is space for.
    for free in (0..40).map(|step| step * 4_096) {
        storage.set_free_bytes(Some(free));
        let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
        if let Err(error) = streams.start().and_then(|()| streams.wait_until_caught_up()) {
            assert!(is_full(&error), "{free} bytes free: {error}");
        }
    }
    storage.set_free_bytes(None);
    let streams = run(&log, &topology, StreamsConfig::new("app")).unwrap();
    let input = read(log.as_ref(), "in");
    let expected = Expected::fold(&input, |_| true, |_| true);
    expected.check(log.as_ref(), &streams, "after the disk was full");
    log.create_topic(&NewTopic::new("more")).unwrap();
}
