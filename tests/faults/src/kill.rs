//! T5: a writing process is killed at random moments, again and again, and nothing that was
//! acknowledged is lost.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;

use crate::child::{Writer, this_program};
use crate::failure::{Result, violation};
use crate::message::{CUT_SOMETHING, Message};
use crate::model::{Loss, Model};
use crate::place::{folder_in, memory, temporary};
use crate::plan::Plan;
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;
use crate::verify::{COMPACTED, verify};
use crate::writer::WriterArgs;

/// How often the writers of one store are killed before the next begins.
const KILLS_PER_STORE: u64 = 8;
/// One in so many stores lies on a disk.
const STORES_PER_DISK_STORE: u64 = 8;
/// One in so many kills has to tear something, or the test is too gentle. How many do depends on
/// the machine and what else it does, so a short run is asked for one only.
const KILLS_PER_TEAR_MAX: u64 = 33;
const KILLS_OF_LONG_RUN: u64 = 5_000;
const KILLS_OF_SHORT_RUN: u64 = 300;

/// A store whose writers are killed.
struct Victim {
    settings: StoreSettings,
    dir: PathBuf,
    seed: u64,
    model: Model,
    rng: Rng,
}

/// Kills writers that many times.
pub(crate) fn run(kills: u64, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut store = 0;
    while tally.get("kills") < kills {
        let seed = seed.wrapping_add(store);
        let settings = store_settings(store, seed);
        let folder = folder_in(&base(store), "kill")?;
        let threads = 1 + usize::try_from(store % 3).unwrap_or_default();
        let plan = Plan::new(seed, settings.journal_bytes);
        let dir = folder.path().join("store");
        let model = Model::new(plan, threads);
        let mut victim = Victim { settings, dir, seed, model, rng: Rng::with_seed(seed) };
        for _ in 0..KILLS_PER_STORE.min(kills - tally.get("kills")) {
            let killed = victim.round(&mut tally);
            if let Err(failure) = killed {
                let kept = folder.keep();
                eprintln!("store {} with seed {seed}, {:?}", kept.display(), victim.settings);
                return Err(failure);
            }
        }
        store += 1;
    }
    for figure in ["acknowledged records", "transactions compared", COMPACTED, "kills in recovery"]
    {
        if tally.get(figure) == 0 {
            return violation(format!("too gentle: {figure} 0 in {tally}"));
        }
    }
    let tears_min = match kills {
        0..KILLS_OF_SHORT_RUN => 0,
        KILLS_OF_SHORT_RUN..KILLS_OF_LONG_RUN => 1,
        _ => kills / KILLS_PER_TEAR_MAX,
    };
    if tally.get(CUT_SOMETHING) < tears_min {
        return violation(format!("too gentle: hardly anything was torn in {tally}"));
    }
    Ok(tally)
}

/// All settings take turns.
fn store_settings(store: u64, seed: u64) -> StoreSettings {
    let acknowledge = match store % 4 {
        0 => Acknowledge::Sync,
        1 => Acknowledge::Interval,
        // Without a journal in between a kill tears most.
        _ => Acknowledge::Os,
    };
    StoreSettings::random(acknowledge, &mut Rng::with_seed(!seed))
}

/// Most stores lie in memory, where a sync costs nothing; to be killed they need no disk.
fn base(store: u64) -> PathBuf {
    memory().filter(|_| !store.is_multiple_of(STORES_PER_DISK_STORE)).unwrap_or_else(temporary)
}

impl Victim {
    /// Kills a writer, sometimes kills the recovery too, and looks at what there is.
    fn round(&mut self, tally: &mut Tally) -> Result {
        let from = self.model.from();
        let ended = self.kill(from, u32::MAX, tally)?;
        self.model.absorb(&ended, tally)?;
        while self.rng.u8(0..6) == 0 {
            // This one opens the store and writes nothing.
            let from = self.model.from();
            self.kill_recovery(from, tally)?;
        }
        verify(&self.settings, &self.dir, Loss::None, &mut self.model, tally)
    }

    fn start(&self, from: Vec<u32>, units: u32) -> Result<Writer> {
        let (dir, store) = (self.dir.clone(), self.settings.clone());
        let args = WriterArgs { dir, seed: self.seed, from, units, store };
        Writer::start(this_program(&args.arguments())?)
    }

    fn kill(&mut self, from: Vec<u32>, units: u32, tally: &mut Tally) -> Result<Vec<Message>> {
        let mut writer = self.start(from, units)?;
        // Where values are long, few of them make much to compare.
        let mut left = self.rng.u32(0..if self.model.plan.heavy { 20 } else { 80 });
        let is_acknowledgement =
            |message: &Message| matches!(message, Message::Acknowledged { .. });
        writer.listen(Duration::from_secs(60), |message| {
            left = left.saturating_sub(u32::from(is_acknowledgement(message)));
            left == 0
        })?;
        writer.listen(Duration::from_micros(self.rng.u64(0..3_000)), |_| false)?;
        let ended = writer.kill()?;
        ended.check_no_crash()?;
        tally.count("kills");
        if let Some(failed) = ended.messages.iter().find(|m| matches!(m, Message::Failed { .. })) {
            return violation(format!("a writer that nobody disturbed says: {failed}"));
        }
        Ok(ended.messages)
    }

    fn kill_recovery(&mut self, from: Vec<u32>, tally: &mut Tally) -> Result {
        let mut writer = self.start(from, 0)?;
        writer.listen(Duration::from_micros(self.rng.u64(500..6_000)), |_| false)?;
        let ended = writer.kill()?;
        ended.check_no_crash()?;
        let opened = ended.messages.iter().find_map(|message| match message {
            Message::Opened(recovered) => Some(recovered),
            _ => None,
        });
        match opened {
            None => tally.count("kills in recovery"),
            Some(recovered) => {
                tally.count("kills after recovery");
                recovered.count(tally);
            }
        }
        tally.count("kills");
        Ok(())
    }
}
