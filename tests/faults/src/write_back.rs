//! T8: the disk refuses writes for a moment, a sync says so once, and never again ("fsyncgate").

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;

use headwater_log_store::Error;

use crate::child::{Ended, Writer, this_program};
use crate::disk::{FileSystem, check_root};
use crate::failure::{Context as _, Result, chain, violation};
use crate::faulty_disk::{FaultyDisk, Target};
use crate::message::Message;
use crate::model::{Loss, Model};
use crate::plan::Plan;
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;
use crate::verify::verify;
use crate::writer::WriterArgs;

/// How often the disk fails under one store before the next begins.
const FAILURES_PER_STORE: u64 = 4;
/// More stores than this for each failure, and the test tests nothing.
const STORES_PER_FAILURE_MAX: u64 = 3;
/// How many files may have an error that nobody was told of.
const OLD_ERRORS_MAX: usize = 30;
/// How long a writer goes on at most whose writes are to fail.
const PATIENCE: Duration = Duration::from_secs(1);
/// The figure of rounds in which the disk has refused something.
const FAILURES: &str = "failures";

/// What is tested.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WriteBackArgs {
    /// The file system.
    #[arg(long, value_enum)]
    file_system: FileSystem,
    /// How often the disk fails.
    #[arg(long, default_value_t = 3)]
    failures: u64,
}

/// Lets the disk fail that many times.
pub(crate) fn run(args: WriteBackArgs, seed: u64) -> Result<Tally> {
    check_root()?;
    let mut tally = Tally::default();
    let mut store = 0;
    let mut disk = FaultyDisk::create(args.file_system)?;
    while tally.get(FAILURES) < args.failures {
        let seed = seed.wrapping_add(store);
        let mut rng = Rng::with_seed(seed);
        let acknowledge = match store % 4 {
            0 | 1 => Acknowledge::Sync,
            2 => Acknowledge::Interval,
            _ => Acknowledge::Os,
        };
        let settings = StoreSettings::random(acknowledge, &mut rng);
        let model = Model::new(Plan::new(seed, settings.journal_bytes), 3);
        let dir = disk.disk.path().join(format!("store-{store}"));
        let boots = store * 100;
        let mut victim = Victim { disk: &mut disk, settings, dir, seed, model, rng, boots };
        let mut round = Round::Fine;
        for _ in 0..FAILURES_PER_STORE {
            round = victim.round(&mut tally).inspect_err(|_| {
                eprintln!("the store's seed is {seed}, {:?}", victim.settings);
            })?;
            if round == Round::FileSystemBroken || tally.get(FAILURES) >= args.failures {
                break;
            }
        }
        std::fs::remove_dir_all(victim.dir).to("remove a store")?;
        store += 1;
        if store > STORES_PER_FAILURE_MAX * (args.failures + 10) {
            return violation(format!("the disk hardly ever fails: {tally}"));
        }
        // A file system that has seen an error of its own is not used again.
        if round == Round::FileSystemBroken {
            drop(disk);
            disk = FaultyDisk::create(args.file_system)?;
        }
    }
    if tally.get("poisoned") == 0 {
        return violation(format!("too gentle: no failure has poisoned anything in {tally}"));
    }
    Ok(tally)
}

/// What is left after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Fine,
    /// The file system itself has met the failure, and takes no more writes.
    FileSystemBroken,
}

struct Victim<'a> {
    disk: &'a mut FaultyDisk,
    settings: StoreSettings,
    dir: PathBuf,
    seed: u64,
    model: Model,
    rng: Rng,
    boots: u64,
}

impl Victim<'_> {
    fn round(&mut self, tally: &mut Tally) -> Result<Round> {
        let target = match self.rng.u8(0..8) {
            0 => Target::Any,
            // Without durability nobody waits for the journal, and so nobody misses it.
            1..4 if self.settings.acknowledge != Acknowledge::Os => Target::JournalEntries,
            _ => Target::Values,
        };
        let (ended, failed) = self.work_and_fail(target)?;
        ended.check_no_panic()?;
        self.check(&ended, failed, tally)?;
        self.model.absorb(&ended.messages, tally)?;
        // Without a failure nothing is lost, whatever the durability.
        let loss = match (self.settings.acknowledge, failed) {
            (Acknowledge::Sync, _) | (_, 0) => Loss::None,
            (Acknowledge::Interval | Acknowledge::Os, _) => Loss::SinceOpen,
        };
        let broken = target == Target::Any && failed > 0;
        if broken || self.rng.bool() {
            self.start_again()?;
        } else {
            // The page cache still shows what never reached the disk.
            tally.count("reopened with the page cache");
        }
        self.wait_out_old_errors(tally)?;
        verify(&self.settings, &self.dir, loss, &mut self.model, tally)?;
        if !broken && self.rng.bool() {
            // The next writer works as if nothing had been, in the places where writes have failed,
            // and then the power fails.
            let loss = self.work_and_cut_power(tally)?;
            return verify(&self.settings, &self.dir, loss, &mut self.model, tally)
                .map(|()| Round::Fine);
        }
        // What was there is there to stay: nothing of it was in the page cache only.
        self.start_again()?;
        verify(&self.settings, &self.dir, Loss::None, &mut self.model, tally)?;
        Ok(if broken { Round::FileSystemBroken } else { Round::Fine })
    }

    /// Lets some of a writer's writes fail, and says how many have.
    fn work_and_fail(&mut self, target: Target) -> Result<(Ended, u64)> {
        let mut writer = self.start_writer()?;
        let mut left = self.rng.u32(0..60);
        let is_acknowledgement =
            |message: &Message| matches!(message, Message::Acknowledged { .. });
        writer.listen(Duration::from_secs(60), |message| {
            left = left.saturating_sub(u32::from(is_acknowledgement(message)));
            left == 0
        })?;
        let count = [1, 1, 2, 5, u64::MAX][self.rng.usize(0..5)];
        self.disk.injector.arm(target, count);
        let is_failure = |message: &Message| matches!(message, Message::Failed { .. });
        writer.listen(PATIENCE, is_failure)?;
        let failed_at_all = writer.messages.iter().any(is_failure);
        // While the disk works again: who does not notice now would go on.
        let failed = self.disk.injector.disarm();
        let ended = match failed_at_all {
            true => writer.wait()?,
            false => writer.kill()?,
        };
        Ok((ended, failed))
    }

    /// Lets a writer work on a disk that does what it should, and cuts the power.
    fn work_and_cut_power(&mut self, tally: &mut Tally) -> Result<Loss> {
        let mut writer = self.start_writer()?;
        let mut left = self.rng.u32(10..60);
        let is_acknowledgement =
            |message: &Message| matches!(message, Message::Acknowledged { .. });
        writer.listen(Duration::from_secs(60), |message| {
            left = left.saturating_sub(u32::from(is_acknowledgement(message)));
            left == 0
        })?;
        self.disk.disk.cut_power()?;
        let ended = writer.kill()?;
        ended.check_no_panic()?;
        self.start_again()?;
        self.model.absorb(&ended.messages, tally)?;
        tally.count("power cuts after a failure");
        Ok(match self.settings.acknowledge {
            Acknowledge::Sync => Loss::None,
            Acknowledge::Interval | Acknowledge::Os => Loss::SinceOpen,
        })
    }

    fn start_writer(&self) -> Result<Writer> {
        let (dir, store) = (self.dir.clone(), self.settings.clone());
        let from = self.model.from();
        let args = WriterArgs { dir, seed: self.seed, from, units: u32::MAX, store };
        Writer::start(this_program(&args.arguments())?)
    }

    /// The writer has stopped at once, and for good.
    fn check(&self, ended: &Ended, failed: u64, tally: &mut Tally) -> Result {
        if failed > 0 {
            tally.count(FAILURES);
            tally.add("refused writes", failed);
        }
        let failures = ended.messages.iter().filter_map(|message| match message {
            Message::Failed { poisoned, text, .. } => Some((*poisoned, text)),
            _ => None,
        });
        for (poisoned, text) in failures {
            if failed == 0 {
                return violation(format!("the disk works, and a writer says: {text}"));
            }
            tally.count(if poisoned { "poisoned" } else { "errors that poison nothing" });
        }
        Ok(())
    }

    /// Opens the store until no sync of it fails any more: what the system could not write in the
    /// background it says to the first who asks, which may be the recovery.
    fn wait_out_old_errors(&self, tally: &mut Tally) -> Result {
        let settings = StoreSettings { no_housekeeping: true, ..self.settings.clone() };
        for _ in 0..OLD_ERRORS_MAX {
            match settings.open(&self.dir) {
                Err(error @ Error::Io { operation: "sync", .. })
                | Err(error @ Error::Poisoned { .. }) => {
                    println!("{}", chain(&error));
                    tally.count("openings that a sync has failed");
                }
                // Dropped without a look: it is closed, and opened again.
                _ => return Ok(()),
            }
        }
        violation("a store does not open for old errors")
    }

    /// Takes the page cache away, as a start of the machine does.
    fn start_again(&mut self) -> Result {
        self.disk.disk.unmount()?;
        self.disk.disk.mount()?;
        self.boots += 1;
        self.settings.boot_id = Some(format!("boot-{}", self.boots));
        Ok(())
    }
}
