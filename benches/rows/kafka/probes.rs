//! Single records sent to an application that has nothing else to do, and how long it takes until
//! what comes of them can be read.

use std::time::{Duration, Instant};

use headwater_log_store::{Consumer, Log, Producer, ProducerConfig, ProducerRecord, Timestamp};

use crate::kafka::inputs::create;
use crate::kafka::outputs::reader;
use crate::kafka::topologies::Case;

/// How long everybody rests between two probes at most: longer than a commit interval, so that
/// probes come at any moment of it.
const REST_MS_MAX: u64 = 150;
const FIRST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends probes to an application, once it is started, one after the other. Returns how long each
/// took, in milliseconds.
pub fn measure(
    log: &dyn Log,
    case: &Case,
    (prefix, output): (&str, &str),
    (start_ms, count): (i64, u32),
    start: impl FnOnce(),
) -> Vec<f64> {
    for topic in case.topics {
        create(log, &format!("{prefix}{topic}"));
    }
    create(log, output);
    let producer = log.producer(&ProducerConfig::default()).unwrap();
    let mut probes =
        Probes { producer, consumer: reader(log, output), case, prefix, start_ms, next: 0 };
    if case.id == "stream-table" {
        probes.send("table", "probe", b"row");
    }
    start();
    // The first ones come before the application has its tasks.
    while !probes.is_answered(FIRST) {
        probes.one();
    }
    while probes.is_answered(FIRST) {}
    let mut random = fastrand::Rng::with_seed(15);
    let mut one = || {
        std::thread::park_timeout(Duration::from_millis(random.u64(..REST_MS_MAX)));
        let sent = probes.one();
        assert!(probes.is_answered(PATIENCE), "{}: a probe was not answered", case.name);
        sent.elapsed().as_secs_f64() * 1e3
    };
    (0..count).map(|_| one()).collect()
}

struct Probes<'a> {
    producer: Box<dyn Producer>,
    consumer: Box<dyn Consumer>,
    case: &'a Case,
    prefix: &'a str,
    start_ms: i64,
    next: u32,
}

impl Probes<'_> {
    /// Sends what one record of the output comes of, and returns when the last of it was sent.
    fn one(&mut self) -> Instant {
        self.next += 1;
        let number = 1_i64.to_be_bytes();
        let key = format!("probe-{}", self.next);
        match self.case.id {
            "words" => self.send("in", &key, key.as_bytes()),
            "stream-table" => self.send("in", "probe", &number),
            "stream-stream" => {
                self.send("left", &key, &number);
                self.send("right", &key, &number)
            }
            _ => self.send("in", &key, &number),
        }
    }

    fn send(&mut self, topic: &str, key: &str, value: &[u8]) -> Instant {
        let topic = format!("{}{topic}", self.prefix);
        let sent = Instant::now();
        let record = ProducerRecord {
            key: Some(key.as_bytes()),
            value: Some(value),
            timestamp: Some(Timestamp::from_millis(self.start_ms + i64::from(self.next))),
            ..ProducerRecord::to(&topic)
        };
        drop(self.producer.send(&record).unwrap());
        self.producer.flush().unwrap();
        sent
    }

    fn is_answered(&mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            if !self.consumer.poll(left).unwrap().is_empty() {
                return true;
            }
            if begun.elapsed() >= patience {
                return false;
            }
        }
    }
}
