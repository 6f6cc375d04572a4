//! The benchmarks: `scripts/bench GROUP [--quick] [--json]` prints a line for each row of a group.
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
mod log;

use std::process::ExitCode;

const USAGE: &str = "usage: scripts/bench GROUP [--quick] [--json], where GROUP is one of: log, topology, runtime, kafka";

/// How large the inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Small: to see that a row runs.
    Quick,
    /// Large enough for figures.
    Full,
}

fn main() -> ExitCode {
    let mut group = None;
    let (mut scale, mut json) = (Scale::Full, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => scale = Scale::Quick,
            "--json" => json = true,
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
    let print = |row: row::Row<'_>| {
        let result = row.measure();
        println!("{}", if json { result.json() } else { result.text() });
    };
    match group.as_str() {
        "log" => log::rows(scale, print),
        "topology" | "runtime" | "kafka" => {
            eprintln!("group {group} has no rows yet");
            return ExitCode::FAILURE;
        }
        _ => {
            eprintln!("no group {group:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
