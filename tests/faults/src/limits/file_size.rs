//! `RLIMIT_FSIZE`: a file that may not grow is a full disk for the partition that it is of, or (for a
//! process that does not ignore SIGXFSZ) the end of the process.

use std::path::Path;
use std::process::Command;

use crate::child::{Writer, this_program};
use crate::failure::{Result, violation};
use crate::message::Message;
use crate::model::{Loss, Model};
use crate::plan::Plan;
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;
use crate::verify::verify;
use crate::writer::WriterArgs;

/// In blocks of 512 bytes, as the shell counts.
const FILE_BLOCKS: u64 = 256 << 1;
/// How many units each thread writes: more than fits.
const UNITS: u32 = 300;
/// What kills a process that writes past the limit.
const SIGXFSZ: i32 = 25;

/// Writes past the limit in every durability, with the signal ignored and without.
pub(crate) fn run(dir: &Path, seed: u64, tally: &mut Tally) -> Result {
    for (nth, acknowledge) in Acknowledge::ALL.into_iter().enumerate() {
        for ignored in [true, false] {
            let dir = dir.join(format!("{nth}-{ignored}"));
            limited_writer(&dir, seed, acknowledge, ignored, tally)?;
        }
    }
    Ok(())
}

fn limited_writer(
    dir: &Path,
    seed: u64,
    acknowledge: Acknowledge,
    ignored: bool,
    tally: &mut Tally,
) -> Result {
    let settings = StoreSettings {
        acknowledge,
        journal_bytes: 64 << 10,
        segment_bytes: 8 << 20,
        positioned: false,
        no_housekeeping: false,
        boot_id: None,
    };
    let mut model = Model::new(Plan::new(seed, settings.journal_bytes), 2);
    let (from, store, dir) = (model.from(), settings.clone(), dir.to_owned());
    let args = WriterArgs { dir: dir.clone(), seed, from, units: UNITS, store };
    let program = this_program(&args.arguments())?;
    // A shell sets the limit, and hands on which signals are ignored.
    let trap = if ignored { "trap '' XFSZ; " } else { "" };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{trap}ulimit -f {FILE_BLOCKS}; exec \"$0\" \"$@\""));
    shell.arg(program.get_program()).args(program.get_args());
    let ended = Writer::start(shell)?.wait()?;
    ended.check_no_panic()?;
    let full = ended.messages.iter().filter(|message| **message == Message::Full).count();
    let poisoned = |m: &&Message| matches!(m, Message::Failed { poisoned: true, .. });
    if let Some(message) = ended.messages.iter().find(poisoned) {
        return violation(format!("a file that may not grow has poisoned the store: {message}"));
    }
    match ended.signal() {
        None if full > 0 && ended.messages.contains(&Message::Closed) => {
            tally.count("file size limits survived");
        }
        Some(SIGXFSZ) if !ignored => tally.count("file size limits died of"),
        signal => {
            return violation(format!(
                "under a limit of file sizes: {signal:?}, {full} times full"
            ));
        }
    }
    model.absorb(&ended.messages, tally)?;
    verify(&settings, &dir, Loss::None, &mut model, tally)
}
