//! The arguments of the program, and how its tests end.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::disk::clean_up;
use crate::failed_calls;
use crate::failure::{Failure, Result};
use crate::histories::{self, HistoriesArgs};
use crate::history_worker::{self, HistoryWorkerArgs};
use crate::kill;
use crate::kill_cli;
use crate::kill_topology::{self, RunnerArgs};
use crate::limits::{self, LimitArgs, LimitedArgs};
use crate::open_time::{self, FillerArgs, OpenTimeArgs};
use crate::openers::{self, HolderArgs};
use crate::power_cut::{self, PowerCutArgs};
use crate::restart_persistent::{self, RestartArgs, RowFillerArgs};
use crate::stop_topology;
use crate::tally::Tally;
use crate::write_back::{self, WriteBackArgs};
use crate::writer::{self, WriterArgs};

/// Fault tests of Headwater's log on real processes and real file systems.
///
/// Each command runs one test and prints a line of figures. Exit codes: 0 passed or skipped, 1 failed.
#[derive(Debug, Parser)]
#[command(name = "headwater-faults", version)]
struct Cli {
    /// What decides everything that is left to chance. Default = a new one.
    #[arg(long, global = true, env = "HEADWATER_SEED")]
    test_seed: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes until it is killed; started by the other commands.
    #[command(hide = true)]
    Writer(WriterArgs),
    /// Kills writing processes with SIGKILL.
    Kill {
        /// How often.
        #[arg(long, default_value_t = 500)]
        kills: u64,
    },
    /// Kills `headwater produce` with SIGKILL.
    KillCli {
        /// How often.
        #[arg(long, default_value_t = 20)]
        kills: u64,
    },
    /// Runs a topology until it is killed; started by the other commands.
    #[command(hide = true)]
    Runner(RunnerArgs),
    /// Kills running topologies with SIGKILL.
    KillTopology {
        /// How often.
        #[arg(long, default_value_t = 100)]
        kills: u64,
    },
    /// Stops running topologies with SIGSTOP, and lets them go on.
    StopTopology {
        /// How often.
        #[arg(long, default_value_t = 50)]
        stops: u64,
    },
    /// Measures how long a restart takes after a kill where a large store is on disk.
    RestartPersistent(RestartArgs),
    /// Fills a store on disk until it is killed; started by the other commands.
    #[command(hide = true)]
    RowFiller(RowFillerArgs),
    /// Produces, copies and consumes until it is killed; started by the other commands.
    #[command(hide = true)]
    HistoryWorker(HistoryWorkerArgs),
    /// Writes down what killed producers, copiers and consumers did and saw, and checks it.
    Histories(HistoriesArgs),
    /// Cuts the power of a file system on a loop device.
    PowerCut(PowerCutArgs),
    /// Lets a disk refuse writes that a file system does behind the writer.
    WriteBack(WriteBackArgs),
    /// Lets system calls of a writer fail.
    FailedCalls {
        /// How many, each in a run of its own.
        #[arg(long, default_value_t = 20)]
        points: u64,
    },
    /// Measures how long it takes to open a large store.
    OpenTime(OpenTimeArgs),
    /// Writes and waits; started by the other commands.
    #[command(hide = true)]
    Filler(FillerArgs),
    /// Runs a process that has too little of something.
    Limits(LimitArgs),
    /// Has too little of something; started by the other commands.
    #[command(hide = true)]
    Limited(LimitedArgs),
    /// Opens a store in two processes.
    Openers,
    /// Opens a store and holds it; started by the other commands.
    #[command(hide = true)]
    Holder(HolderArgs),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Writer(_) => "writer",
            Self::Kill { .. } => "kill",
            Self::KillCli { .. } => "kill-cli",
            Self::Runner(_) => "runner",
            Self::KillTopology { .. } => "kill-topology",
            Self::StopTopology { .. } => "stop-topology",
            Self::RestartPersistent(_) => "restart-persistent",
            Self::RowFiller(_) => "row-filler",
            Self::HistoryWorker(_) => "history-worker",
            Self::Histories(_) => "histories",
            Self::PowerCut(_) => "power-cut",
            Self::WriteBack(_) => "write-back",
            Self::FailedCalls { .. } => "failed-calls",
            Self::OpenTime(_) => "open-time",
            Self::Filler(_) => "filler",
            Self::Limits(_) => "limits",
            Self::Limited(_) => "limited",
            Self::Openers => "openers",
            Self::Holder(_) => "holder",
        }
    }

    /// What the commands do that only start for another; `None` for a test.
    fn run_for_another(&self) -> Option<Result> {
        match self {
            Self::Writer(args) => writer::run(args),
            Self::Filler(args) => open_time::fill_until_killed(args),
            Self::Holder(args) => openers::hold(args),
            Self::HistoryWorker(args) => history_worker::run(args),
            Self::Limited(args) => return Some(limits::run_limited(args)),
            Self::Runner(args) => return Some(kill_topology::run_until_killed(args)),
            Self::RowFiller(args) => return Some(restart_persistent::fill_until_killed(args)),
            _ => return None,
        }
        Some(Ok(()))
    }

    fn run(self, seed: u64) -> Result<Tally> {
        match self {
            Self::Writer(_)
            | Self::Filler(_)
            | Self::Limited(_)
            | Self::Holder(_)
            | Self::HistoryWorker(_)
            | Self::Runner(_)
            | Self::RowFiller(_) => Ok(Tally::default()),
            Self::Kill { kills } => kill::run(kills, seed),
            Self::KillCli { kills } => kill_cli::run(kills, seed),
            Self::KillTopology { kills } => kill_topology::run(kills, seed),
            Self::StopTopology { stops } => stop_topology::run(stops, seed),
            Self::RestartPersistent(args) => restart_persistent::run(&args, seed),
            Self::Histories(args) => histories::run(&args, seed),
            Self::PowerCut(args) => power_cut::run(args, seed),
            Self::WriteBack(args) => write_back::run(args, seed),
            Self::FailedCalls { points } => failed_calls::run(points, seed),
            Self::OpenTime(args) => open_time::run(&args),
            Self::Limits(args) => limits::run(&args, seed),
            Self::Openers => openers::run(),
        }
    }
}

/// Runs the program with its arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (seed, name) =
        (cli.test_seed.unwrap_or_else(|| fastrand::u64(0..1 << 40)), cli.command.name());
    if let Some(done) = cli.command.run_for_another() {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    clean_up();
    println!("{name}: seed {seed}");
    match cli.command.run(seed) {
        Ok(tally) => {
            println!("{name}: {tally}");
            ExitCode::SUCCESS
        }
        Err(skipped @ Failure::Skipped(_)) => {
            println!("{name}: {skipped}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{name}: {failure} (HEADWATER_SEED={seed})");
            ExitCode::FAILURE
        }
    }
}
