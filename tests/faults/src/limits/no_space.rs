//! Opening, reading, freeing and closing on a file system with no byte left.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use fastrand::Rng;
use headwater_log_store::{Error, Log as _, Offset, Record};

use crate::child::{Writer, this_program};
use crate::failure::{Context as _, Promise as _, Result, violation};
use crate::limits::full_disk::{check, create, fill, partition, settings};
use crate::message::Message;
use crate::store::Acknowledge;
use crate::tally::Tally;

/// Opens stores with 0 bytes free: closed ones and ones whose writer was killed.
pub(crate) fn run(dir: &Path, rng: &mut Rng, tally: &mut Tally) -> Result {
    for acknowledge in Acknowledge::ALL {
        for killed in [false, true] {
            let store_dir = dir.join("store");
            let settings = settings(acknowledge);
            let store = create(&settings, &store_dir)?;
            let (start, end) = fill(&store, rng)?;
            store.close().promised("a close on a full disk")?;
            drop(store);
            if killed {
                stop_uncleanly(&settings, &store_dir)?;
            }
            let filler = dir.join("filler");
            let left = use_up(&filler)?;
            let text = format!("{acknowledge:?}, killed: {killed}, {left} bytes free");
            let store = settings.open(&store_dir).promised(format!("an open, {text}"))?;
            check(&store, start, end)?;
            match store.append(&partition(), &Record::value(&[7; 16_000])) {
                Err(Error::DiskFull { .. }) => {}
                other => return violation(format!("an append with {text}: {other:?}")),
            }
            let before = Offset::new(start + (end - start) / 2);
            store.delete_records(&partition(), before).promised(format!("freeing, {text}"))?;
            store.append(&partition(), &Record::value(b"again")).promised("an append after it")?;
            store.close().promised(format!("a close, {text}"))?;
            drop(store);
            std::fs::remove_file(&filler).to("remove what fills the disk")?;
            std::fs::remove_dir_all(&store_dir).to("remove a store")?;
            tally.count("opened with 0 bytes free");
        }
    }
    Ok(())
}

/// Opens the store in a process that is killed, so that the next one has to recover it.
fn stop_uncleanly(settings: &crate::store::StoreSettings, dir: &Path) -> Result {
    let mut arguments = vec!["holder".to_owned(), format!("--dir={}", dir.display())];
    arguments.extend(settings.arguments());
    let mut writer = Writer::start(this_program(&arguments)?)?;
    writer.listen(std::time::Duration::from_secs(60), |m| matches!(m, Message::Opened(_)))?;
    writer.kill().map(drop)
}

/// Fills the file system up to the last byte, and says how many are left.
fn use_up(path: &Path) -> Result<u64> {
    let mut file = File::create(path).to("fill the disk")?;
    for size in [4096, 1] {
        let bytes = vec![1; size];
        while file.write_all(&bytes).is_ok() {}
    }
    let free = rustix::fs::statvfs(path).to("measure a file system")?;
    Ok(free.f_bavail * free.f_bsize)
}
