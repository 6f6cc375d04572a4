//! A process of ours that runs a topology when it is told to, with the same commands as
//! `OnBroker` of `benches/kafka-streams`.

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_connectors::KafkaLog;
use headwater_log_store::{Durability, Log, LogStore, Offset, TopicPartition};
use headwater_topology::{StateRestoreListener, Streams, StreamsConfig};
use parking_lot::Mutex;

use crate::kafka::inputs::create;
use crate::kafka::outputs::reader;
use crate::kafka::probes;
use crate::kafka::topologies::{CASES, topology};

/// The first argument of such a process.
pub const CHILD: &str = "--kafka-child";

const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_secs(1);

/// What such a process does: `broker ADDRESS TOPOLOGY` or `embedded FOLDER TOPOLOGY`.
///
/// `run APPLICATION_ID INPUT_PREFIX OUTPUT` starts the topology: it says `starting`, and `running`
/// with the milliseconds that its restores took and how many records they read. On the embedded log
/// it also says when the output has its first record, and `done` when all is processed; and
/// `probe APPLICATION_ID INPUT_PREFIX OUTPUT START_MS COUNT` answers with what the probes took.
pub fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().expect("a kind of log, where it is, and a topology");
    let (kind, place, id) = (next(), next(), next());
    let log: Arc<dyn Log> = match kind.as_str() {
        "broker" => Arc::new(KafkaLog::builder(place).connect().unwrap()),
        _ => Arc::new(LogStore::builder(place).durability(Durability::Os).open().unwrap()),
    };
    let mut running = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["run", application, prefix, output] if log.is_embedded() => {
                running = Some(run_embedded(&log, &id, application, prefix, output));
            }
            ["run", application, prefix, output] => {
                running = Some(run(&log, &id, application, prefix, output));
            }
            ["probe", application, prefix, output, start_ms, count] => {
                let run = || running = Some(run(&log, &id, application, prefix, output));
                let times = (start_ms.parse().unwrap(), count.parse().unwrap());
                let case = CASES.iter().find(|case| case.id == id).unwrap();
                let took = probes::measure(log.as_ref(), case, (prefix, output), times, run);
                let took: Vec<String> = took.iter().map(f64::to_string).collect();
                println!("probed {}", took.join(" "));
            }
            ["close"] => {
                running.take().map_or(Ok(()), |streams| streams.close()).unwrap();
                println!("closed");
            }
            _ => panic!("no command {line:?}"),
        }
    }
    ExitCode::SUCCESS
}

fn run(log: &Arc<dyn Log>, id: &str, application: &str, prefix: &str, output: &str) -> Streams {
    let config = StreamsConfig::new(application)
        .commit_interval(COMMIT_INTERVAL)
        .statestore_cache_max_bytes(0);
    let streams = Streams::new(&topology(id, prefix, output), config, Arc::clone(log));
    let restores = Arc::new(Mutex::new(Restored::default()));
    streams.set_global_state_restore_listener(Listener(Arc::clone(&restores)));
    println!("starting");
    streams.start().unwrap();
    let restored = restores.lock();
    println!("running {} {}", restored.milliseconds(), restored.records);
    streams
}

/// Runs it until all of its input is processed.
fn run_embedded(
    log: &Arc<dyn Log>,
    id: &str,
    application: &str,
    prefix: &str,
    output: &str,
) -> Streams {
    // A second run, of which only the restore counts, finds its output.
    let is_first = log.describe_topic(output).is_err();
    if !is_first {
        return run(log, id, application, prefix, output);
    }
    create(log.as_ref(), output);
    let mut consumer = reader(log.as_ref(), output);
    let waits = std::thread::spawn(move || {
        while consumer.poll(POLL).unwrap().is_empty() {}
        println!("first");
    });
    let streams = run(log, id, application, prefix, output);
    streams.wait_until_caught_up().unwrap();
    waits.join().unwrap();
    println!("done");
    streams
}

/// From the begin of the first restore to the end of the last one.
#[derive(Default)]
struct Restored {
    begin: Option<Instant>,
    end: Option<Instant>,
    records: u64,
}

impl Restored {
    fn milliseconds(&self) -> f64 {
        let took = self.begin.zip(self.end).map(|(begin, end)| end - begin);
        took.unwrap_or_default().as_secs_f64() * 1e3
    }
}

struct Listener(Arc<Mutex<Restored>>);

impl StateRestoreListener for Listener {
    fn on_restore_start(&self, _: &TopicPartition, _: &str, _: Offset, _: Offset) {
        self.0.lock().begin.get_or_insert_with(Instant::now);
    }

    fn on_restore_end(&self, _: &TopicPartition, _: &str, records: u64) {
        let mut restored = self.0.lock();
        restored.end = Some(Instant::now());
        restored.records += records;
    }
}
