//! The three sides of a row, each in a process of its own: Kafka Streams on the broker, ours on the
//! broker, and ours on the embedded log. What is measured of each is the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use headwater_connectors::KafkaLog;
use headwater_log_store::{Durability, Log, LogStore};

use crate::Scale;
use crate::kafka::child::CHILD;
use crate::kafka::inputs::{create, fill};
use crate::kafka::outputs::{Output, Seen};
use crate::kafka::probes;
use crate::kafka::program::{Program, cpu_seconds};
use crate::kafka::topologies::Case;
use crate::topology::digest::Digest;

/// What runs on the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    KafkaStreams,
}

/// A run over all of the input.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// From the start of the application to its last output.
    pub seconds: f64,
    /// The processor time of its process, and of the broker, meanwhile.
    pub cpu_seconds: f64,
    pub broker_seconds: f64,
}

/// What was measured of a side in a round.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From the start of the process to the first output.
    pub first_ms: f64,
    /// The most memory up to the end of the first run.
    pub peak_mib: f64,
    /// The first run of the process.
    pub cold: Phase,
    /// The second one, as another application.
    pub warm: Phase,
    /// The restore of the second application's stores, and how many records that read.
    pub restore_ms: f64,
    pub restored: u64,
    /// From a record to what comes of it, in milliseconds.
    pub latencies: Vec<f64>,
}

/// A case with its inputs on both logs.
pub struct Prepared<'a> {
    pub bench: &'a Bench,
    pub case: Case,
    /// What its input counts as.
    pub units: u32,
    prefix: String,
    folder: PathBuf,
}

/// Where everything is.
pub struct Bench {
    pub log: KafkaLog,
    pub bootstrap: String,
    pub broker: u32,
    /// The folder of the Java program.
    pub java: PathBuf,
    pub folder: PathBuf,
    pub scale: Scale,
    pub start_ms: i64,
}

impl Bench {
    /// Makes the inputs of a case.
    pub fn prepare(&self, case: Case) -> Prepared<'_> {
        let folder = self.folder.join(case.id);
        let store = LogStore::builder(&folder).durability(Durability::Os).create(true);
        let store = store.open().unwrap();
        let prefix = format!("{}-", case.id);
        let units = fill(&store, &case, self.scale, &prefix, self.start_ms);
        store.close().unwrap();
        assert_eq!(units, fill(&self.log, &case, self.scale, &prefix, self.start_ms));
        Prepared { bench: self, case, units, prefix, folder }
    }

    fn probes(&self) -> u32 {
        self.scale.size(10, 60)
    }
}

impl Prepared<'_> {
    /// Runs each side once for nothing but the broker.
    pub fn warm_up(&self) {
        let (_, expected) = self.embedded(usize::MAX);
        for side in [Side::KafkaStreams, Side::Ours] {
            self.on_broker(side, usize::MAX, expected);
        }
    }

    /// Ours on the embedded log. Returns what it has written as well.
    pub fn embedded(&self, round: usize) -> (Measured, Digest) {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new(exe);
        command.args([CHILD, "embedded"]).arg(&self.folder).arg(self.case.id);
        let mut program = Program::spawn(&mut command);
        let application = |phase: &str| format!("embedded-{round}-{phase}");
        let mut phase = |phase: &str| {
            let cpu = if phase == "cold" { 0.0 } else { program.cpu_seconds() };
            let application = application(phase);
            program.tell(&format!("run {application} {} {application}-out", self.prefix));
            program.hear_until("starting");
            let (started, mut first) = (Instant::now(), None);
            loop {
                match program.hear().0.as_str() {
                    "first" => first = Some(program.spawned.elapsed().as_secs_f64() * 1e3),
                    "done" => break,
                    _ => {}
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            let cpu_seconds = program.cpu_seconds() - cpu;
            let peak_mib = program.peak_mib();
            program.tell("close");
            program.hear_until("closed");
            (Phase { seconds, cpu_seconds, broker_seconds: 0.0 }, first.unwrap(), peak_mib)
        };
        let (cold, first_ms, peak_mib) = phase("cold");
        let (warm, ..) = phase("warm");
        let (restore_ms, restored) = self.restore(&mut program, &application("warm"));
        let probe = application("probe");
        let (start_ms, probes) = (self.bench.start_ms, self.bench.probes());
        program.tell(&format!("probe {probe} {probe}- {probe}-out {start_ms} {probes}"));
        let latencies = program.hear_until("probed");
        let latencies = latencies.split(' ').map(|took| took.parse().unwrap()).collect();
        program.tell("close");
        program.hear_until("closed");
        drop(program);
        let measured = Measured { first_ms, peak_mib, cold, warm, restore_ms, restored, latencies };
        (measured, self.read_and_remove(&format!("embedded-{round}-")))
    }

    /// What the embedded log's applications have written, who then are removed.
    fn read_and_remove(&self, applications: &str) -> Digest {
        let store = LogStore::builder(&self.folder).durability(Durability::Os).open().unwrap();
        let digest = |phase: &str| {
            let output = format!("{applications}{phase}-out");
            Output::new(&store, &output).read(&store, &output)
        };
        let (cold, warm) = (digest("cold"), digest("warm"));
        assert_eq!(cold, warm, "{} writes something else the second time", self.case.name);
        remove(&store, applications);
        store.close().unwrap();
        warm
    }

    fn restore(&self, program: &mut Program, application: &str) -> (f64, u64) {
        program.tell(&format!("run {application} {} {application}-out", self.prefix));
        let restored = program.hear_until("running");
        program.tell("close");
        program.hear_until("closed");
        let (milliseconds, records) = restored.split_once(' ').unwrap();
        (milliseconds.parse().unwrap(), records.parse().unwrap())
    }

    /// A side on the broker, which has to write what is expected.
    pub fn on_broker(&self, side: Side, round: usize, expected: Digest) -> Measured {
        let Bench { log, start_ms, .. } = self.bench;
        let applications = format!("{side:?}-{}-{round}-", self.case.id);
        let mut program = Program::spawn(&mut self.command(side, &applications));
        let application = |phase: &str| format!("{applications}{phase}");
        let cold = application("cold");
        let (seen, phase) = self.phase(&mut program, &cold, expected, 0.0);
        let first_ms = (seen.first - program.spawned).as_secs_f64() * 1e3;
        let peak_mib = program.peak_mib();
        let cold = phase.close(&mut program);
        let warm = application("warm");
        let cpu = program.cpu_seconds();
        let (_, phase) = self.phase(&mut program, &warm, expected, cpu);
        let phase = phase.close(&mut program);
        let (restore_ms, restored) = self.restore(&mut program, &warm);
        let (warm, probe) = (phase, application("probe"));
        let (prefix, output) = (format!("{probe}-"), format!("{probe}-out"));
        let times = (*start_ms, self.bench.probes());
        let latencies = probes::measure(log, &self.case, (&prefix, &output), times, || {
            program.tell(&format!("run {probe} {prefix} {output}"));
            program.hear_until("running");
        });
        program.tell("close");
        program.hear_until("closed");
        drop(program);
        remove(log, &applications);
        Measured { first_ms, peak_mib, cold, warm, restore_ms, restored, latencies }
    }

    fn phase(
        &self,
        program: &mut Program,
        application: &str,
        expected: Digest,
        cpu_before: f64,
    ) -> (Seen, Phase) {
        let Bench { log, broker, .. } = self.bench;
        let output = format!("{application}-out");
        create(log, &output);
        let mut watched = Output::new(log, &output);
        let broker_before = cpu_seconds(*broker);
        program.tell(&format!("run {application} {} {output}", self.prefix));
        program.hear_until("starting");
        let started = Instant::now();
        let seen = watched.watch(expected, application);
        let phase = Phase {
            seconds: (seen.last - started).as_secs_f64(),
            cpu_seconds: program.cpu_seconds() - cpu_before,
            broker_seconds: cpu_seconds(*broker) - broker_before,
        };
        program.hear_until("running");
        (seen, phase)
    }

    fn command(&self, side: Side, applications: &str) -> Command {
        let Bench { bootstrap, java, folder, .. } = self.bench;
        match side {
            Side::Ours => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([CHILD, "broker", bootstrap, self.case.id]);
                command
            }
            Side::KafkaStreams => {
                let jars = std::fs::read_to_string(java.join("classpath")).unwrap();
                let classes = java.join("classes");
                let mut command = Command::new("java");
                command.args(["-Xmx512m", "-cp"]);
                command.arg(format!("{}:{}", classes.display(), jars.trim()));
                command.args(["headwater.bench.OnBroker", bootstrap, self.case.id]);
                command.arg(folder.join(applications));
                command
            }
        }
    }
}

impl Phase {
    fn close(self, program: &mut Program) -> Self {
        program.tell("close");
        program.hear_until("closed");
        self
    }
}

/// Removes what applications with such ids have on a log.
fn remove(log: &dyn Log, applications: &str) {
    for topic in log.topics().unwrap() {
        if topic.name.as_str().starts_with(applications) {
            log.delete_topic(topic.name.as_str()).unwrap();
        }
    }
    for group in log.groups().unwrap() {
        if group.starts_with(applications) {
            log.delete_group(&group).unwrap();
        }
    }
}

/// Whether what the Java program needs was built there.
pub fn is_built(java: &Path) -> bool {
    java.join("classpath").is_file()
}
