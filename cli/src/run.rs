//! Runs the command that was typed, and turns its result into an exit code.

use std::error::Error as _;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, GroupCommand, LogCommand, TopicCommand};
use crate::cmd::{bridge, consume, group, log_dump, log_repair, log_verify, produce, topic};
use crate::error::{Error, Result};
use crate::output::{Output, note};

/// Runs the command line of this process.
///
/// Data goes to standard output, everything else to standard error. The exit code is 0 when the
/// command is done (or the reader of its output has gone), 1 when it failed, 2 for wrong usage,
/// 3 when `log verify` or `log repair` has found damage, 4 when another process has the store locked, and 130 after Ctrl-C in `consume --follow`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be said if even standard error is closed; the exit code still tells.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                note(&format!("headwater: {}", chain(&error)));
                if let Some(hint) = error.hint() {
                    note(hint);
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let dir = cli.global.dir.as_path();
    let mut output = Output::stdout(cli.global.output);
    match &cli.command {
        Command::Topic(TopicCommand::Create(args)) => topic::create(dir, args)?,
        Command::Topic(TopicCommand::List(args)) => topic::list(dir, args, &mut output)?,
        Command::Topic(TopicCommand::Describe(args)) => topic::describe(dir, args, &mut output)?,
        Command::Topic(TopicCommand::Alter(args)) => topic::alter(dir, args)?,
        Command::Topic(TopicCommand::Delete(args)) => topic::delete(dir, args)?,
        Command::Group(GroupCommand::List) => group::list(dir, &mut output)?,
        Command::Group(GroupCommand::Describe(args)) => group::describe(dir, args, &mut output)?,
        Command::Group(GroupCommand::Reset(args)) => group::reset(dir, args, &mut output)?,
        Command::Group(GroupCommand::Delete(args)) => group::delete(dir, args)?,
        Command::Produce(args) => produce::run(dir, args)?,
        Command::Bridge(command) => bridge::run(dir, command)?,
        Command::Log(LogCommand::Verify(args)) => log_verify::run(dir, args, &mut output)?,
        Command::Log(LogCommand::Repair(args)) => log_repair::run(dir, args, &mut output)?,
        Command::Log(LogCommand::Dump(args)) => log_dump::run(dir, args, &mut output)?,
        Command::Consume(args) => consume::run(dir, args, &mut output)?,
    }
    output.flush()
}

/// The error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
