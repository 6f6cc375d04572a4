//! Two processes of one application on a real broker, killed with SIGKILL at random moments while
//! somebody else produces: what they have written, as a reader of committed records finds it, has
//! to be exactly right. In between one is stopped for so long that the other gets its tasks, and
//! then goes on as if it had them still.
//!
//! The application passes each record on, and counts the records of each key behind a repartition
//! topic, in a store with a changelog. So for each key the first output has to be the input, and
//! the second 1, 2, 3, …: a record that is lost, doubled or counted twice shows.
//!
//! All that is sent and read is written down as well, by each process as long as it lives, by the one
//! that produces, and by one who reads the outputs meanwhile; the checker of `tests/histories` looks
//! for what exactly-once forbids, in each of the three steps of the application. A history in which
//! it finds something is kept in a file.
//!
//! `HEADWATER_KILLS` says how often (default = 5), `HEADWATER_SEED` repeats the moments of a run, and
//! `HEADWATER_GUARANTEE=at_least_once` shows that the check finds what it is for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a test program and its modules"
)]

#[path = "kafka_kills/telling.rs"]
mod telling;
#[path = "kafka_kills/history.rs"]
mod history;
#[path = "kafka_kills/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater::connectors::KafkaLog;
use headwater::log_store::{ConsumerConfig, Header};
use headwater::prelude::*;
use headwater::topology::ProcessingGuarantee;
use headwater_histories::{Action, History, Line, Operation};

use history::{LAST_READER, READER, SENDER};
use process::{CHILD, Process, RUNNING};
use telling::{NUMBER, TellingLog, number};

const PARTITIONS: u32 = 4;
const KEYS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than a session and a transaction last.
const STOPPED: Duration = Duration::from_secs(5);

/// The numbers of each key, in order.
type ByKey = BTreeMap<String, Vec<u64>>;

fn main() {
    match std::env::var(CHILD) {
        Ok(started_as) => {
            let (name, number) = started_as.split_once(' ').unwrap();
            run_application(name, number.parse().unwrap());
        }
        Err(_) => {
            the_check_finds_what_it_is_for();
            kill_processes();
        }
    }
}

/// Who dies is missed after two seconds, and what he left open is ended after three.
fn log() -> Arc<dyn Log> {
    let bootstrap = std::env::var("HEADWATER_KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "HEADWATER_KAFKA_BOOTSTRAP is not set: these tests need a broker; \
             `scripts/kafka up` starts one, and `export $(scripts/kafka env)` says where it is"
        )
    });
    let log = KafkaLog::builder(&bootstrap)
        .set("heartbeat.interval.ms", "200")
        .set("session.timeout.ms", "2000")
        .set("transaction.timeout.ms", "3000")
        .connect();
    Arc::new(log.unwrap_or_else(|error| {
        panic!("{error}; these tests need a broker at {bootstrap}: `scripts/kafka up` starts one")
    }))
}

/// A process of the application: it runs until its standard input ends.
fn run_application(name: &str, number: u32) {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream::<String, String>(format!("{name}-in").as_str());
    numbers.to(format!("{name}-each").as_str());
    numbers
        .map(|key, number: String| (format!("counted-{key}"), number))
        .group_by_key_with("by-key")
        .count("counts")
        .to_stream()
        .map_values(|count| count.map(|count| count.to_string()))
        .to(format!("{name}-counts").as_str());
    let guarantee = match std::env::var("HEADWATER_GUARANTEE").as_deref() {
        Ok("at_least_once") => ProcessingGuarantee::AtLeastOnce,
        _ => ProcessingGuarantee::ExactlyOnceV2,
    };
    let config = StreamsConfig::new(name)
        .processing_guarantee(guarantee)
        .statestore_cache_max_bytes(0)
        .commit_interval(Duration::from_millis(100));
    let log = Arc::new(TellingLog::new(log(), number));
    let streams = Streams::new(&builder.build().unwrap(), config, log);
    streams.start().unwrap();
    println!("{RUNNING}");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    streams.close().unwrap();
}

fn kill_processes() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = setting("HEADWATER_KILLS").unwrap_or(5);
    let seed = setting("HEADWATER_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{kills} kills, HEADWATER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (log, name) = (log(), unique("kills"));
    for topic in ["in", "each", "counts"] {
        let topic = NewTopic::new(format!("{name}-{topic}")).partitions(PARTITIONS);
        log.create_topic(&topic).unwrap();
    }

    let begun = Instant::now();
    let (stop, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let producing = {
        let (log, stop, topic) = (Arc::clone(&log), Arc::clone(&stop), format!("{name}-in"));
        std::thread::spawn(move || produce(log.as_ref(), &topic, &stop, begun))
    };
    let reading = {
        let (log, end, name) = (Arc::clone(&log), Arc::clone(&end), name.clone());
        std::thread::spawn(move || read_along(log.as_ref(), &name, &end, begun))
    };
    let mut history = Vec::new();
    let mut started = 0;
    let mut start = || {
        started += 1;
        Process::start(&name, started, begun)
    };
    let mut processes = [start(), start()];
    for kill in 1..=kills {
        let nth = random.usize(0..2);
        let after = Duration::from_millis(random.u64(200..4_000));
        let dies = std::mem::replace(&mut processes[nth], start());
        let (said, done) = dies.kill_after(after);
        history.extend(done);
        println!("kill {kill} after {after:?} of a process that {said}");
        if kill % 3 == 1 {
            let process = &mut processes[random.usize(0..2)];
            process.wait_until_running();
            process.stop_for(STOPPED);
            println!("stopped a process for {STOPPED:?}");
        }
    }
    // The last ones have to go on with what the killed ones have left.
    stop.store(true, Ordering::Relaxed);
    let (sent, sends) = producing.join().unwrap();
    history.extend(sends);
    let total: usize = sent.values().map(Vec::len).sum();
    println!("{total} records were sent");
    let stopped = Instant::now();
    let mut found = (ByKey::new(), ByKey::new());
    while count(&found.0) < total || count(&found.1) < total {
        assert!(
            stopped.elapsed() < PATIENCE,
            "seed {seed}: {} and {} of {total} records have arrived",
            count(&found.0),
            count(&found.1)
        );
        found = outputs(log.as_ref(), &name);
    }
    let after_ms = u64::try_from(stopped.elapsed().as_millis()).ok();
    end.store(true, Ordering::Relaxed);
    history.extend(reading.join().unwrap());
    for process in processes {
        history.extend(process.close());
    }
    let mut history = with_the_end(log.as_ref(), &name, history, begun);
    history.lines.push(Line::Settled { after_ms });
    check_history(&history, &name, seed);
    if let Err(reason) = check(&sent, &outputs(log.as_ref(), &name)) {
        panic!("seed {seed}: {reason}");
    }
    println!("each of {total} records is in both outputs, once and in order");
}

/// The partitions of a topic of the application.
fn partitions(topic: &str) -> Vec<TopicPartition> {
    let topic = TopicName::new(topic).unwrap();
    let partition = |number| TopicPartition::new(topic.clone(), PartitionId::new(number));
    (0..PARTITIONS).map(partition).collect()
}

/// Adds all that there is in the end, and how far the application has come.
fn with_the_end(log: &dyn Log, name: &str, operations: Vec<Operation>, begun: Instant) -> History {
    let mut history = History::default();
    operations.into_iter().for_each(|operation| history.push(operation));
    let topics = ["in", "each", "counts"].map(|topic| format!("{name}-{topic}"));
    let all = topics.iter().flat_map(|topic| partitions(topic));
    let whole = all.map(|partition| history::read_whole(log, &partition, PATIENCE)).collect();
    let now = begun.elapsed();
    history.push(history::operation(LAST_READER, [now, now], whole));
    let committed = log.group_offsets(name).unwrap();
    for topic in ["in", "by-key-repartition"] {
        for partition in partitions(&format!("{name}-{topic}")) {
            let offset = committed.get(&partition).map_or(0, |noted| noted.offset.value());
            history.lines.push(Line::Committed { partition: partition.to_string(), offset });
        }
    }
    history
}

/// Looks for what exactly-once forbids in each step of the application, and that the checker finds
/// mistakes in this very history.
fn check_history(history: &History, name: &str, seed: u64) {
    let is_of = |topic: &str| {
        let beginning = format!("{name}-{topic}-");
        move |partition: &str| partition.starts_with(&beginning)
    };
    let steps = [("in", "each"), ("in", "by-key-repartition"), ("by-key-repartition", "counts")];
    for (input, output) in steps {
        let step = history::step(history, is_of(input), is_of(output));
        let what = format!("seed {seed}, from {input} to {output}");
        match history::check(&step, &what) {
            Ok(report) => println!("from {input} to {output}: {report}"),
            Err(reason) => {
                let file =
                    std::env::temp_dir().join(format!("headwater-kafka-history-{seed}.jsonl"));
                std::fs::write(&file, step.to_string()).unwrap();
                panic!("{reason}; the history is in {}", file.display());
            }
        }
        for (mistake, planted) in history::mistakes(&step) {
            assert!(history::check(&planted, &what).is_err(), "{what}: nobody finds {mistake}");
        }
    }
}

/// Sends numbers with keys, some at a time, until it is told to stop. What is acknowledged counts.
fn produce(
    log: &dyn Log,
    topic: &str,
    stop: &AtomicBool,
    begun: Instant,
) -> (ByKey, Vec<Operation>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let (mut sent, mut operations) = (ByKey::new(), Vec::new());
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        let (start, mut receipts) = (begun.elapsed(), Vec::new());
        for _ in 0..20 {
            let (key, value) = (format!("key-{}", number % KEYS), number.to_string());
            let carried = number.to_be_bytes();
            let record = ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[Header { key: NUMBER, value: Some(&carried) }],
                ..ProducerRecord::to(topic)
            };
            receipts.push((number, producer.send(&record).unwrap()));
            sent.entry(key).or_default().push(number);
            number += 1;
        }
        let acknowledged = receipts.into_iter().map(|(value, receipt)| {
            let at = receipt.wait().unwrap();
            let (partition, offset) = (at.topic_partition.to_string(), Some(at.offset.value()));
            Action::Send { partition, value, offset, of: None }
        });
        let actions = acknowledged.collect();
        operations.push(history::operation(SENDER, [start, begun.elapsed()], actions));
        std::thread::park_timeout(Duration::from_millis(50));
    }
    (sent, operations)
}

/// Reads the outputs while processes die, and looks where they end for one who sees only what was
/// committed.
fn read_along(log: &dyn Log, name: &str, end: &AtomicBool, begun: Instant) -> Vec<Operation> {
    let all: Vec<_> = ["each", "counts"]
        .iter()
        .flat_map(|topic| partitions(&format!("{name}-{topic}")))
        .collect();
    let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
    reader.assign(&all).unwrap();
    all.iter().for_each(|partition| reader.seek(partition, Offset::ZERO).unwrap());
    let mut operations = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let start = begun.elapsed();
        let mut actions = Vec::new();
        for batch in reader.poll(Duration::from_millis(100)).unwrap() {
            let records = batch.iter().map(|record| {
                (record.offset.value(), number(record.headers).expect("all have a number"))
            });
            actions.push(history::poll(batch.topic_partition(), records.collect()));
        }
        let ends = reader.end_offsets(&all).unwrap();
        for (partition, end) in all.iter().zip(ends) {
            let (partition, end) = (partition.to_string(), Some(end.value()));
            actions.push(Action::Poll { partition, records: Vec::new(), end, whole: false });
        }
        operations.push(history::operation(READER, [start, begun.elapsed()], actions));
    }
    operations
}

/// What readers of committed records find in the two outputs.
fn outputs(log: &dyn Log, name: &str) -> (ByKey, ByKey) {
    let read = |topic: &str| {
        let mut found = ByKey::new();
        for partition in partitions(&format!("{name}-{topic}")) {
            let end = log.watermarks(&partition).unwrap().end;
            let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
            reader.assign(std::slice::from_ref(&partition)).unwrap();
            reader.seek(&partition, Offset::ZERO).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while reader.position(&partition).unwrap() < end {
                assert!(Instant::now() < deadline, "{partition} was not read up to {end}");
                for batch in reader.poll(Duration::from_millis(100)).unwrap() {
                    for record in batch.iter() {
                        let text = |bytes: Option<&[u8]>| {
                            String::from_utf8(bytes.unwrap().to_vec()).unwrap()
                        };
                        let number = text(record.value).parse().unwrap();
                        found.entry(text(record.key)).or_default().push(number);
                    }
                }
            }
        }
        found
    };
    (read("each"), read("counts"))
}

fn count(found: &ByKey) -> usize {
    found.values().map(Vec::len).sum()
}

/// Whether both outputs are what the input makes them.
fn check(sent: &ByKey, (each, counts): &(ByKey, ByKey)) -> Result<(), String> {
    let first_difference = |name: &str, expected: &[u64], found: &[u64]| {
        let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found);
        let at = same.count();
        (expected != found).then(|| {
            let (expected, found) = (expected.get(at), found.get(at));
            format!("{name}: {found:?} instead of {expected:?} as number {at}")
        })
    };
    for (key, numbers) in sent {
        let found = each.get(key).map_or(&[][..], Vec::as_slice);
        let counted = counts.get(&format!("counted-{key}")).map_or(&[][..], Vec::as_slice);
        let all: Vec<u64> = (1..=numbers.len() as u64).collect();
        let wrong = first_difference(&format!("each {key}"), numbers, found)
            .or_else(|| first_difference(&format!("counts {key}"), &all, counted));
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
    match each.len() == sent.len() && counts.len() == sent.len() {
        true => Ok(()),
        false => Err("there are keys that nobody has sent".to_owned()),
    }
}

/// A lost, a doubled, an exchanged and an invented record, in either output.
fn the_check_finds_what_it_is_for() {
    let sent = ByKey::from([("a".to_owned(), vec![1, 4, 6])]);
    let counted = |counts: &[u64]| ByKey::from([("counted-a".to_owned(), counts.to_vec())]);
    let each = |numbers: &[u64]| ByKey::from([("a".to_owned(), numbers.to_vec())]);
    assert_eq!(check(&sent, &(each(&[1, 4, 6]), counted(&[1, 2, 3]))), Ok(()));
    for (numbers, counts) in [
        (&[1, 4][..], &[1, 2, 3][..]),
        (&[1, 4, 4, 6], &[1, 2, 3]),
        (&[4, 1, 6], &[1, 2, 3]),
        (&[1, 4, 6, 7], &[1, 2, 3]),
        (&[1, 4, 6], &[1, 2]),
        (&[1, 4, 6], &[1, 2, 2, 3]),
        (&[1, 4, 6], &[1, 2, 3, 4]),
    ] {
        let found = (each(numbers), counted(counts));
        assert!(check(&sent, &found).is_err(), "{numbers:?} {counts:?}");
    }
}

/// A name with this beginning that nobody has used on the cluster.
#[allow(clippy::disallowed_methods, reason = "names of one run, not times")]
fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_micros())
}
