//! Kills processes that write, and looks at what the engine has kept: the rows of some commit, whole, and
//! its note.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use headwater_log_store::{LeaderEpoch, Offset};
use headwater_topology::engines::{Backing, Changes, Covered};
use headwater_topology::{BoxError, TaskId};

use crate::engine::Engine;

const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

/// What the kills of an engine have come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    pub kills: u64,
    pub commits: u64,
    pub rows_compared: u64,
    /// How many commits a kill has taken at most: they would be replayed.
    pub commits_lost_max: u64,
}

/// What a commit changes: the same in every process.
fn changes(commit: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut rng = Rng::with_seed(commit);
    let changes = (0..rng.u64(1..400)).map(|_| {
        let key = format!("k{}", rng.u32(0..3_000)).into_bytes();
        let row = (rng.u8(0..5) > 0).then(|| format!("{commit} ").repeat(20).into_bytes());
        (key, row)
    });
    // Each key once, as a store does it.
    changes.collect()
}

fn rows(engine: Engine, dir: &Path) -> Result<Box<dyn Backing>, BoxError> {
    engine.open(dir)?.store(TASK, "rows")
}

/// Runs as the process that is killed: says each commit that it has written.
pub fn write_until_killed(engine: Engine, dir: &Path) -> Result<(), BoxError> {
    let rows = rows(engine, dir)?;
    let first = rows.covered()?.map_or(0, |covered| covered.offset.value());
    for commit in first + 1.. {
        let covered = Covered { offset: Offset::new(commit), epoch: LeaderEpoch::new(0), state: 0 };
        let mut changes: Changes = changes(commit).into_iter().collect();
        rows.write(&mut changes, covered)?;
        println!("{commit}");
    }
    Ok(())
}

/// Kills writers that many times.
pub fn run(engine: Engine, kills: u64, seed: u64, dir: &Path) -> Result<Kept, BoxError> {
    let mut rng = Rng::with_seed(seed);
    let mut kept = Kept::default();
    let (mut model, mut modelled) = (BTreeMap::new(), 0);
    while kept.kills < kills {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crash-writer", engine.name()])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("it is a pipe")?).lines();
        let limit = Instant::now() + Duration::from_micros(rng.u64(1_000..200_000));
        let mut acknowledged = 0_u64;
        let mut killed = false;
        for line in lines {
            // What it has said before it was killed counts too.
            acknowledged = line?.parse().unwrap_or(acknowledged);
            if !killed && Instant::now() >= limit {
                child.kill()?;
                killed = true;
            }
        }
        child.wait()?;
        kept.kills += 1;
        let rows = rows(engine, dir)?;
        let covered = rows.covered()?.map_or(0, |covered| covered.offset.value());
        kept.commits_lost_max = kept.commits_lost_max.max(acknowledged.saturating_sub(covered));
        if covered < modelled {
            return Err(format!("commit {modelled} was there before, now it is {covered}").into());
        }
        kept.commits += covered - modelled;
        for commit in modelled + 1..=covered {
            for (key, row) in changes(commit) {
                match row {
                    Some(row) => drop(model.insert(key, row)),
                    None => drop(model.remove(&key)),
                }
            }
        }
        modelled = covered;
        let mut found = BTreeMap::new();
        rows.visit((Bound::Unbounded, Bound::Unbounded), false, &mut |key, row| {
            found.insert(key.to_vec(), row.to_vec());
            Ok(true)
        })?;
        kept.rows_compared += found.len() as u64;
        if found != model {
            return Err(format!("the rows are not those of commit {covered} (seed {seed})").into());
        }
    }
    Ok(kept)
}
