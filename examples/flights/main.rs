//! Flights with their planes and airlines: lines of three files in, joined records and the delays of
//! each manufacturer out, on a folder or on a Kafka cluster.
//!
//! `cargo run --release --example flights -- --help` says what it can do. The topology, which is
//! what this is about, is in `topology.rs`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows something")]
mod records;
mod topology;

use std::cmp::Reverse;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use headwater::connectors::{FileSource, SourceRunner};
use headwater::prelude::*;

use crate::records::Delays;
use crate::topology::{AIRLINES, DELAYS, ENRICHED, FLIGHTS, PLANES};

/// The files that come with the example.
const OWN_FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights");
const ROWS_MAX: usize = 10;

/// Enrich flights with their planes and airlines, and sum up the delays by manufacturer.
///
/// It may be stopped at any moment: the next run goes on where it stopped, and ends with the same
/// table.
#[derive(Debug, Parser)]
#[command(name = "flights")]
struct Args {
    /// The folder of the store. Default = headwater-flights in the system's temporary folder.
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Run on a Kafka cluster instead of a folder: the brokers, several with commas between. The
    /// example has to be built with the feature `kafka`; nothing else changes.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "dir")]
    kafka: Option<String>,
    /// The folder of flights.csv.gz, planes.csv.gz and airlines.csv.gz. Default =
    /// examples/data/flights, 5,000 flights from New York.
    #[arg(long, value_name = "PATH", default_value = OWN_FILES)]
    data: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (mut text, mut cause) = (error.to_string(), error.source());
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            eprintln!("flights: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let log = log(args)?;
    for topic in [FLIGHTS, PLANES, AIRLINES, ENRICHED, DELAYS] {
        let topic = NewTopic::new(topic).partitions(4).config("retention.ms", "-1");
        log.create_topic_if_not_exists(&topic)?;
    }
    let config = StreamsConfig::new("flights");
    let streams = Streams::new(&topology::topology()?, config, Arc::clone(&log));
    streams.start()?;
    // A join finds what was there before: first the tables, then the flights.
    append(&log, &args.data.join("airlines.csv.gz"), AIRLINES)?;
    append(&log, &args.data.join("planes.csv.gz"), PLANES)?;
    streams.wait_until_caught_up()?;
    append(&log, &args.data.join("flights.csv.gz"), FLIGHTS)?;
    streams.wait_until_caught_up()?;
    print_delays(&streams)?;
    Ok(streams.close()?)
}

fn log(args: &Args) -> Result<Arc<dyn Log>, Box<dyn Error>> {
    if let Some(brokers) = &args.kafka {
        eprintln!("cluster: {brokers}");
        return cluster(brokers);
    }
    let dir = args.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("headwater-flights"));
    eprintln!("store: {}", dir.display());
    Ok(Arc::new(LogStore::create(&dir)?))
}

/// The cluster as the log.
#[cfg(feature = "kafka")]
fn cluster(brokers: &str) -> Result<Arc<dyn Log>, Box<dyn Error>> {
    Ok(Arc::new(headwater::connectors::KafkaLog::builder(brokers).connect()?))
}

#[cfg(not(feature = "kafka"))]
fn cluster(_brokers: &str) -> Result<Arc<dyn Log>, Box<dyn Error>> {
    Err("--kafka needs the feature: cargo run --features kafka --example flights -- --kafka".into())
}

/// Appends the lines of a file that are not in the topic yet.
fn append(log: &Arc<dyn Log>, file: &Path, topic: &str) -> Result<(), Box<dyn Error>> {
    let mut source = FileSource::new(file).name(topic);
    let runner = SourceRunner::new(Arc::clone(log), "flights", topic);
    let moved = runner.run(&mut source, |_| ControlFlow::Continue(()))?;
    eprintln!("appended {} lines to {topic}", moved.records);
    Ok(())
}

fn print_delays(streams: &Streams) -> Result<(), Box<dyn Error>> {
    let mut rows = streams.store::<String, Delays>(topology::DELAYS_STORE).all()?;
    rows.sort_by_key(|(manufacturer, delays)| (Reverse(delays.flights), manufacturer.clone()));
    println!("{:>8}  {:>12}  MANUFACTURER", "FLIGHTS", "MEAN DELAY");
    for (manufacturer, delays) in rows.iter().take(ROWS_MAX) {
        println!("{:>8}  {:>12}  {manufacturer}", delays.flights, delays.mean());
    }
    Ok(())
}
