//! The rows: each figure of each topology, ours on the broker and on the embedded log, beside those
//! of Kafka Streams on the broker in the same rounds.

use std::path::PathBuf;

use headwater_connectors::KafkaLog;
use headwater_log_store::{Clock, SystemClock};

use crate::Scale;
use crate::contender::folder;
use crate::kafka::sides::{Bench, Measured, Phase, Prepared, Side, is_built};
use crate::kafka::topologies::CASES;
use crate::row::{Better, Goals, Other, Result, Role, median, percentile_of};

const PEER: &str = "Kafka Streams";
/// How long before now the inputs begin.
const BEFORE_MS: i64 = 3_600_000;

/// What all sides have given, round by round.
struct Rounds {
    units: f64,
    embedded: Vec<Measured>,
    ours: Vec<Measured>,
    peer: Vec<Measured>,
}

/// A figure of a side in a round.
type Figure = fn(&Measured, f64) -> f64;

/// How a row is called behind its topology, and what is better.
struct Kind {
    name: &'static str,
    unit: &'static str,
    better: Better,
    figure: Figure,
    goal: Option<f64>,
}

/// Measures the topologies that have the words in their names.
pub fn rows(scale: Scale, only: &str, mut report: impl FnMut(Result)) {
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/bench kafka"))
    };
    let folder = folder();
    let bootstrap = variable("HEADWATER_KAFKA_BOOTSTRAP");
    let now_ms = SystemClock::new().now().as_millis();
    let bench = Bench {
        log: KafkaLog::builder(&bootstrap).connect().unwrap(),
        bootstrap,
        broker: variable("HEADWATER_KAFKA_PID").parse().unwrap(),
        java: PathBuf::from(variable("HEADWATER_KAFKA_STREAMS")),
        folder: folder.path().to_owned(),
        scale,
        start_ms: now_ms - BEFORE_MS - now_ms % BEFORE_MS,
    };
    assert!(is_built(&bench.java), "scripts/bench kafka builds the program in Java");
    let mut is_warm = scale == Scale::Quick;
    for case in CASES.into_iter().filter(|case| case.name.contains(only)) {
        let prepared = bench.prepare(case);
        if !is_warm {
            // What a broker compiles in its first seconds is no part of anybody's work.
            prepared.warm_up();
            is_warm = true;
        }
        let rounds = measure(&prepared);
        on_broker(case.has_stores).iter().for_each(|kind| {
            report(row(&format!("{}: {}", case.name, kind.name), kind, &rounds.ours, &rounds));
        });
        embedded(case.has_stores).iter().for_each(|kind| {
            let name = format!("{}, embedded: {}", case.name, kind.name);
            report(row(&name, kind, &rounds.embedded, &rounds));
        });
    }
}

fn measure(prepared: &Prepared<'_>) -> Rounds {
    let (mut embedded, mut ours, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..prepared.bench.scale.size(1, 4) as usize {
        let (measured, expected) = prepared.embedded(round);
        embedded.push(measured);
        // The broker compiles as it goes, so nobody may always be the first.
        let sides = [Side::Ours, Side::KafkaStreams];
        for turn in [round, round + 1] {
            let side = sides[turn % 2];
            let measured = prepared.on_broker(side, round, expected);
            match side {
                Side::Ours => ours.push(measured),
                Side::KafkaStreams => peer.push(measured),
            }
        }
        for (side, measured) in [("embedded", &embedded), ("ours", &ours), (PEER, &peer)] {
            eprintln!("{}, round {round}, {side}: {:?}", prepared.case.name, measured.last());
        }
    }
    Rounds { units: f64::from(prepared.units), embedded, ours, peer }
}

fn row(name: &str, kind: &Kind, ours: &[Measured], rounds: &Rounds) -> Result {
    let figures = |of: &[Measured]| -> Vec<f64> {
        of.iter().map(|measured| (kind.figure)(measured, rounds.units)).collect()
    };
    let (ours, peer) = (figures(ours), figures(&rounds.peer));
    let ratio = median(ours.iter().zip(&peer).map(|(ours, peer)| ours / peer));
    Result {
        row: name.to_owned(),
        unit: kind.unit,
        better: kind.better,
        ours: median(ours),
        others: vec![Other { name: PEER, role: Role::Peer, value: median(peer), ratio }],
        goals: Goals { peer: kind.goal, ..Goals::default() },
    }
}

fn cpu_per_million(phase: &Phase, units: f64) -> f64 {
    phase.cpu_seconds * 1e6 / units
}

fn with_broker_per_million(phase: &Phase, units: f64) -> f64 {
    (phase.cpu_seconds + phase.broker_seconds) * 1e6 / units
}

fn latency(measured: &Measured, percentile: usize) -> f64 {
    percentile_of(measured.latencies.iter().copied(), percentile)
}

const THIRD: f64 = 0.333;

fn kind(
    name: &'static str,
    unit: &'static str,
    better: Better,
    figure: Figure,
    goal: Option<f64>,
) -> Kind {
    Kind { name, unit, better, figure, goal }
}

/// The rows of ours on the broker.
fn on_broker(has_stores: bool) -> Vec<Kind> {
    use Better::{Higher, Lower};
    let mut kinds = vec![
        kind("records/s, warm", "rec/s", Higher, |of, units| units / of.warm.seconds, Some(2.0)),
        kind(
            "processor a million, warm",
            "CPU-s",
            Lower,
            |of, units| cpu_per_million(&of.warm, units),
            Some(THIRD),
        ),
        kind(
            "the same with the broker",
            "CPU-s",
            Lower,
            |of, units| with_broker_per_million(&of.warm, units),
            None,
        ),
        kind(
            "processor a million, cold",
            "CPU-s",
            Lower,
            |of, units| cpu_per_million(&of.cold, units),
            None,
        ),
        kind("peak memory", "MiB", Lower, |of, _| of.peak_mib, Some(0.2)),
        kind("start to first output", "ms", Lower, |of, _| of.first_ms, Some(0.5)),
        kind("end to end, p50", "ms", Lower, |of, _| latency(of, 50), None),
        kind("end to end, p99", "ms", Lower, |of, _| latency(of, 99), None),
    ];
    if has_stores {
        kinds.push(kind("restore", "ms", Lower, |of, _| of.restore_ms, Some(THIRD)));
        kinds.push(kind("restore reads", "rec", Lower, |of, _| of.restored as f64, None));
    }
    kinds
}

/// The rows of ours on the embedded log: Kafka Streams' processor time is with that of its broker.
fn embedded(has_stores: bool) -> Vec<Kind> {
    use Better::{Higher, Lower};
    let mut kinds = vec![
        kind(
            "with the broker, warm",
            "rec/CPU-s",
            Higher,
            |of, units| units / (of.warm.cpu_seconds + of.warm.broker_seconds),
            Some(15.0),
        ),
        kind("records/s, warm", "rec/s", Higher, |of, units| units / of.warm.seconds, None),
        kind("peak memory", "MiB", Lower, |of, _| of.peak_mib, None),
        kind("start to first output", "ms", Lower, |of, _| of.first_ms, None),
        kind("end to end, p50", "ms", Lower, |of, _| latency(of, 50), None),
        kind("end to end, p99", "ms", Lower, |of, _| latency(of, 99), None),
    ];
    if has_stores {
        kinds.push(kind("restore", "ms", Lower, |of, _| of.restore_ms, None));
        kinds.push(kind("restore reads", "rec", Lower, |of, _| of.restored as f64, None));
    }
    kinds
}
