//! The benchmarks: `scripts/bench GROUP [--quick] [--json]` measures the rows of a group.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark, not an API"
)]

mod row;
mod table;
mod machine;
mod contender;
mod floors;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod log;
mod topology;
mod runtime;
#[cfg(feature = "kafka")]
mod kafka;

use std::process::ExitCode;

const USAGE: &str = "usage: scripts/bench GROUP [--quick] [--json] [--only WORDS], where GROUP is one of: log, topology, runtime, kafka";

/// How large the inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Small: to see that a row runs.
    Quick,
    /// Large enough for figures.
    Full,
}

impl Scale {
    /// Of two sizes the one of this run.
    pub fn size(self, quick: u32, full: u32) -> u32 {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

fn main() -> ExitCode {
    let (mut group, mut only) = (None, String::new());
    let (mut scale, mut json) = (Scale::Full, false);
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some(runtime::MEMORY_CHILD) {
        return runtime::memory_child(arguments.skip(1));
    }
    #[cfg(feature = "kafka")]
    if std::env::args().nth(1).as_deref() == Some(kafka::CHILD) {
        return kafka::child(arguments.skip(1));
    }
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => scale = Scale::Quick,
            "--json" => json = true,
            "--only" => only = arguments.next().unwrap_or_default(),
            // Cargo adds it to every benchmark.
            "--bench" => {}
            name if group.is_none() && !name.starts_with('-') => group = Some(name.to_owned()),
            other => {
                eprintln!("unexpected {other:?}\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Some(group) = group else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("{}", machine::line());
    let mut results = Vec::new();
    let mut take = |result: row::Result| {
        match json {
            true => println!("{}", result.json()),
            false => eprintln!("{}", result.text()),
        }
        results.push(result);
    };
    let mut report = |row: row::Row<'_>| take(row.measure());
    match group.as_str() {
        "log" => log::rows(scale, &only, &mut report),
        "topology" => topology::rows(scale, &only, &mut report),
        "runtime" => runtime::rows(scale, &only, &mut report),
        #[cfg(feature = "kafka")]
        "kafka" => kafka::rows(scale, &only, take),
        #[cfg(not(feature = "kafka"))]
        "kafka" => {
            eprintln!("the rows of group kafka are behind the feature kafka: scripts/bench kafka");
            return ExitCode::FAILURE;
        }
        _ => {
            eprintln!("no group {group:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    if !json {
        println!("{}", table::table(&results));
        println!("{}", machine::line());
    }
    ExitCode::SUCCESS
}
