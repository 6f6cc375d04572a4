//! T6: the power of a real file system is cut while a process writes to it, and what was acknowledged
//! is there afterwards as far as the durability promises.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;

use crate::child::{Writer, this_program};
use crate::disk::{Disk, FileSystem, check_root};
use crate::failure::{Context as _, Result, violation};
use crate::message::{Message, nanos};
use crate::model::{Loss, Model};
use crate::plan::Plan;
use crate::store::{Acknowledge, INTERVAL, StoreSettings};
use crate::tally::Tally;
use crate::verify::verify;
use crate::writer::WriterArgs;

/// How often the power is cut under one store before the next begins.
const CUTS_PER_STORE: u64 = 8;
/// How long one sync may take on a machine that is busy with other things.
const SYNC_MAX: Duration = Duration::from_secs(1);

/// What is tested.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PowerCutArgs {
    /// The file system.
    #[arg(long, value_enum)]
    file_system: FileSystem,
    /// When appends are acknowledged.
    #[arg(long, value_enum, default_value = "sync")]
    acknowledge: Acknowledge,
    /// How often the power is cut.
    #[arg(long, default_value_t = 3)]
    cuts: u64,
}

/// Cuts the power that many times.
pub(crate) fn run(args: PowerCutArgs, seed: u64) -> Result<Tally> {
    check_root()?;
    let mut disk = Disk::create(args.file_system)?;
    let mut tally = Tally::default();
    let mut boots = 0;
    let mut store = 0;
    while tally.get("power cuts") < args.cuts {
        let seed = seed.wrapping_add(store);
        let mut rng = Rng::with_seed(seed);
        let settings = StoreSettings::random(args.acknowledge, &mut rng);
        let model = Model::new(Plan::new(seed, settings.journal_bytes), 3);
        let dir = disk.path().join(format!("store-{store}"));
        let mut victim = Victim { disk: &mut disk, boots, settings, dir, seed, model, rng };
        for _ in 0..CUTS_PER_STORE.min(args.cuts - tally.get("power cuts")) {
            victim.round(&mut tally).inspect_err(|_| {
                eprintln!("the store's seed is {seed}, {:?}", victim.settings);
            })?;
        }
        boots = victim.boots;
        let dir = victim.dir;
        std::fs::remove_dir_all(dir).to("remove a store")?;
        store += 1;
    }
    if tally.get("acknowledged records") == 0 {
        return violation(format!("too gentle: nothing was acknowledged in {tally}"));
    }
    Ok(tally)
}

/// A store whose disk loses power.
struct Victim<'a> {
    disk: &'a mut Disk,
    boots: u64,
    settings: StoreSettings,
    dir: PathBuf,
    seed: u64,
    model: Model,
    rng: Rng,
}

impl Victim<'_> {
    fn round(&mut self, tally: &mut Tally) -> Result {
        let cut = self.work_and_cut(tally)?;
        while self.rng.u8(0..6) == 0 {
            self.cut_recovery(tally)?;
        }
        let loss = match self.settings.acknowledge {
            Acknowledge::Sync => Loss::None,
            Acknowledge::Interval => {
                let bound = u64::try_from((INTERVAL + SYNC_MAX).as_nanos()).unwrap_or(u64::MAX);
                Loss::Since { nanos: cut.saturating_sub(bound) }
            }
            Acknowledge::Os => Loss::SinceOpen,
        };
        verify(&self.settings, &self.dir, loss, &mut self.model, tally)?;
        if let Some(oldest) = self.model.oldest_lost.take() {
            tally.max("oldest record lost, µs before the cut", cut.saturating_sub(oldest) / 1_000);
        }
        Ok(())
    }

    /// Cuts the power under a writer, and says when.
    fn work_and_cut(&mut self, tally: &mut Tally) -> Result<u64> {
        let mut writer = self.start(self.model.from(), u32::MAX)?;
        let mut left = self.rng.u32(0..if self.model.plan.heavy { 30 } else { 100 });
        let is_acknowledgement =
            |message: &Message| matches!(message, Message::Acknowledged { .. });
        writer.listen(Duration::from_secs(60), |message| {
            left = left.saturating_sub(u32::from(is_acknowledgement(message)));
            left == 0
        })?;
        let longest = match self.settings.acknowledge {
            // Long enough for some syncs behind the appends.
            Acknowledge::Interval => INTERVAL * 4,
            Acknowledge::Sync | Acknowledge::Os => INTERVAL / 5,
        };
        writer.listen(longest.mul_f64(self.rng.f64()), |_| false)?;
        let cut = nanos();
        self.cut(writer, |messages| {
            for message in messages {
                if let Message::Failed { nanos, .. } = message
                    && *nanos < cut
                {
                    return violation(format!("before the cut a writer says: {message}"));
                }
            }
            Ok(())
        })
        .and_then(|messages| self.model.absorb(&messages, tally))?;
        tally.count("power cuts");
        Ok(cut)
    }

    /// Cuts the power under somebody who only opens the store.
    fn cut_recovery(&mut self, tally: &mut Tally) -> Result {
        let mut writer = self.start(self.model.from(), 0)?;
        writer.listen(Duration::from_micros(self.rng.u64(1_000..30_000)), |_| false)?;
        let messages = self.cut(writer, |_| Ok(()))?;
        let opened = messages.iter().any(|message| matches!(message, Message::Opened(_)));
        tally.count(if opened { "cuts after recovery" } else { "cuts in recovery" });
        tally.count("power cuts");
        Ok(())
    }

    fn start(&mut self, from: Vec<u32>, units: u32) -> Result<Writer> {
        self.settings.boot_id = Some(format!("boot-{}", self.boots));
        let (dir, store) = (self.dir.clone(), self.settings.clone());
        let args = WriterArgs { dir, seed: self.seed, from, units, store };
        Writer::start(this_program(&args.arguments())?)
    }

    /// Cuts the power, ends the writer, and starts the machine again.
    fn cut(
        &mut self,
        writer: Writer,
        check: impl FnOnce(&[Message]) -> Result,
    ) -> Result<Vec<Message>> {
        self.disk.cut_power()?;
        let ended = writer.kill()?;
        // SIGBUS is what a mapping of a disk that is gone answers with.
        ended.check_no_panic()?;
        check(&ended.messages)?;
        self.disk.unmount()?;
        self.disk.mount()?;
        self.boots += 1;
        self.settings.boot_id = Some(format!("boot-{}", self.boots));
        Ok(ended.messages)
    }
}
