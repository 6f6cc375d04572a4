//! Two processes of one application on a real broker, killed with SIGKILL at random moments while
//! somebody else produces: what they have written, as a reader of committed records finds it, has
//! to be exactly right. In between one is stopped for so long that the other gets its tasks, and
//! then goes on as if it had them still.
//!
//! The application passes each record on, and counts the records of each key behind a repartition
//! topic, in a store with a changelog. So for each key the first output has to be the input, and
//! the second 1, 2, 3, …: a record that is lost, doubled or counted twice shows.
//!
//! `HEADWATER_KILLS` says how often (default = 5), `HEADWATER_SEED` repeats the moments of a run, and
//! `HEADWATER_GUARANTEE=at_least_once` shows that the check finds what it is for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater::connectors::KafkaLog;
use headwater::log_store::ConsumerConfig;
use headwater::prelude::*;
use headwater::topology::ProcessingGuarantee;

const PARTITIONS: u32 = 4;
const KEYS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than a session and a transaction last.
const STOPPED: Duration = Duration::from_secs(5);
/// What a process is started as, in its environment: the name of the application.
const CHILD: &str = "HEADWATER_KAFKA_CHILD";

/// The numbers of each key, in order.
type ByKey = BTreeMap<String, Vec<u64>>;

fn main() {
    match std::env::var(CHILD) {
        Ok(name) => run_application(&name),
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
fn run_application(name: &str) {
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
    let streams = Streams::new(&builder.build().unwrap(), config, log());
    streams.start().unwrap();
    println!("running");
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

    let stop = Arc::new(AtomicBool::new(false));
    let producing = {
        let (log, stop, topic) = (Arc::clone(&log), Arc::clone(&stop), format!("{name}-in"));
        std::thread::spawn(move || produce(log.as_ref(), &topic, &stop))
    };
    let mut processes = [Process::start(&name), Process::start(&name)];
    for kill in 1..=kills {
        let process = &mut processes[random.usize(0..2)];
        let after = Duration::from_millis(random.u64(200..4_000));
        let said = process.kill_after(after);
        println!("kill {kill} after {after:?} of a process that {said}");
        *process = Process::start(&name);
        if kill % 3 == 1 {
            let process = &mut processes[random.usize(0..2)];
            process.wait_until_running();
            process.stop_for(STOPPED);
            println!("stopped a process for {STOPPED:?}");
        }
    }
    // The last ones have to go on with what the killed ones have left.
    stop.store(true, Ordering::Relaxed);
    let sent = producing.join().unwrap();
    let total: usize = sent.values().map(Vec::len).sum();
    println!("{total} records were sent");
    let deadline = Instant::now() + PATIENCE;
    let mut found = (ByKey::new(), ByKey::new());
    while count(&found.0) < total || count(&found.1) < total {
        assert!(
            Instant::now() < deadline,
            "seed {seed}: {} and {} of {total} records have arrived",
            count(&found.0),
            count(&found.1)
        );
        found = outputs(log.as_ref(), &name);
    }
    for process in processes {
        process.close();
    }
    let found = outputs(log.as_ref(), &name);
    if let Err(reason) = check(&sent, &found) {
        panic!("seed {seed}: {reason}");
    }
    println!("each of {total} records is in both outputs, once and in order");
}

/// Sends numbers with keys, some at a time, until it is told to stop. What is acknowledged counts.
fn produce(log: &dyn Log, topic: &str, stop: &AtomicBool) -> ByKey {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let mut sent = ByKey::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let (key, value) = (format!("key-{}", number % KEYS), number.to_string());
            let record = ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                ..ProducerRecord::to(topic)
            };
            drop(producer.send(&record).unwrap());
            sent.entry(key).or_default().push(number);
            number += 1;
        }
        producer.flush().unwrap();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    sent
}

/// What readers of committed records find in the two outputs.
fn outputs(log: &dyn Log, name: &str) -> (ByKey, ByKey) {
    let read = |topic: &str| {
        let mut found = ByKey::new();
        for partition in 0..PARTITIONS {
            let topic = TopicName::new(&format!("{name}-{topic}")).unwrap();
            let partition = TopicPartition::new(topic, PartitionId::new(partition));
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

/// A process of the application.
struct Process {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    /// Whether it has said so.
    is_running: bool,
}

impl Process {
    fn start(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (said, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nobody listens any more once it was killed.
                let _ = said.send(line);
            }
        });
        Self { child, lines, is_running: false }
    }

    /// Kills it after that time, and tells how far it had come.
    fn kill_after(&mut self, after: Duration) -> &'static str {
        let started = Instant::now();
        let mut said = if self.is_running { "was running" } else { "was starting" };
        loop {
            match self.lines.recv_timeout(after.saturating_sub(started.elapsed())) {
                Ok(_) => said = "was running",
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("a process has ended by itself"),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        said
    }

    /// Waits until it has its tasks.
    fn wait_until_running(&mut self) {
        while !self.is_running {
            let said = self.lines.recv_timeout(PATIENCE);
            assert!(said.is_ok(), "a process does not start: {said:?}");
            self.is_running = true;
        }
    }

    /// Stops it where it is, and lets it go on after that time.
    fn stop_for(&self, time: Duration) {
        self.signal("STOP");
        let (_never, nothing) = channel::<()>();
        assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(command).status().unwrap().success());
    }

    /// Lets it end by itself.
    fn close(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// A name with this beginning that nobody has used on the cluster.
#[allow(clippy::disallowed_methods, reason = "names of one run, not times")]
fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_micros())
}
