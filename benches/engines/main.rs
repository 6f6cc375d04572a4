//! Engines for stores on disk beside each other: `scripts/bench stores [--quick]`, and with `--kills N` what
//! they keep when their process is killed.
#![allow(missing_docs, clippy::cast_precision_loss, reason = "a benchmark, not an API")]

mod changelog;
mod crash;
mod engine;
mod load;
mod redb_engine;
#[cfg(feature = "rocksdb")]
mod rocksdb_engine;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use headwater_topology::BoxError;
use tempfile::TempDir;

use crate::engine::Engine;
use crate::load::{Keys, Side, Size, Taken};

const USAGE: &str = "usage: scripts/bench stores [--quick] [--only WORDS] [--kills N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crash-writer", engine, dir] => Engine::named(engine)
            .ok_or_else(|| "no such engine".into())
            .and_then(|engine| crash::write_until_killed(engine, Path::new(dir))),
        ["--kills", kills] => kill(kills.parse().unwrap_or(100)),
        [] => measure(true, ""),
        ["--quick"] => measure(false, ""),
        ["--only", words] => measure(true, words),
        ["--quick", "--only", words] => measure(false, words),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn kill(kills: u64) -> Result<(), BoxError> {
    let seed = fastrand::u64(0..1 << 40);
    println!("seed {seed}");
    for engine in Engine::ALL {
        let dir = TempDir::new()?;
        let kept = crash::run(*engine, kills, seed, dir.path())?;
        println!("{}: {kept:?}", engine.name());
    }
    Ok(())
}

fn measure(full: bool, only: &str) -> Result<(), BoxError> {
    let (size, rounds) = match full {
        true => (Size { keys: 1_000_000, operations: 1_000_000, per_commit: 10_000 }, 3),
        false => (Size { keys: 20_000, operations: 20_000, per_commit: 1_000 }, 1),
    };
    println!("{size:?}, the median of {rounds} rounds; thousands of operations");
    println!("| keys | side | per CPU-second | per second | × bare | disk bytes per byte put |");
    println!("|---|---|---|---|---|---|");
    let mut sides: Vec<Side> =
        Engine::ALL.iter().flat_map(|engine| [Side::Ours(*engine), Side::Bare(*engine)]).collect();
    sides.extend([Side::Changelog, Side::HashMap]);
    sides.retain(|side| format!("{side:?}").to_lowercase().contains(&only.to_lowercase()));
    for keys in [Keys::Zipfian, Keys::Uniform] {
        let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); sides.len()];
        for _ in 0..rounds {
            for (side, taken) in sides.iter().zip(&mut taken) {
                taken.push(load::run(*side, keys, size, TempDir::new()?.path())?);
            }
        }
        for (side, of_side) in sides.iter().zip(&taken) {
            let bare = sides.iter().zip(&taken).find(|(other, _)| match (side, other) {
                (Side::Ours(engine), Side::Bare(bare)) => engine == bare,
                _ => false,
            });
            let ratio = bare.map_or(String::new(), |(_, bare)| {
                let mut ratios: Vec<f64> = of_side
                    .iter()
                    .zip(bare)
                    .map(|(ours, bare)| bare.cpu.as_secs_f64() / ours.cpu.as_secs_f64())
                    .collect();
                format!("{:.2}", median(&mut ratios))
            });
            let per = |time: fn(&Taken) -> Duration| {
                let each = of_side.iter().map(|taken| {
                    size.operations as f64 / 1_000.0 / time(taken).as_secs_f64().max(1e-9)
                });
                median(&mut each.collect::<Vec<_>>())
            };
            let put = (size.operations * 116) as f64;
            let mut disk: Vec<f64> = of_side.iter().map(|t| t.disk_bytes as f64 / put).collect();
            println!(
                "| {keys:?} | {side:?} | {:.0} | {:.0} | {ratio} | {:.1} |",
                per(|taken| taken.cpu),
                per(|taken| taken.wall),
                median(&mut disk),
            );
        }
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
