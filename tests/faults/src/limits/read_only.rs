//! A file system that is mounted read-only.

use std::path::Path;

use fastrand::Rng;
use headwater_log_store::{Error, Log as _, LogStore, Offset};

use crate::failure::{Promise as _, Result, chain, violation};
use crate::limits::full_disk::{check, create, fill, partition, settings};
use crate::store::Acknowledge;
use crate::tally::Tally;

/// Fills a store, has the file system made read-only, and opens the store in both ways.
pub(crate) fn run(
    dir: &Path,
    remount: impl Fn(bool) -> Result,
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result {
    let settings = settings(Acknowledge::Sync);
    let dir = dir.join("store");
    let store = create(&settings, &dir)?;
    let (_, end) = fill(&store, rng)?;
    store.delete_records(&partition(), Offset::new(end / 2)).promised("delete_records")?;
    let start = end / 2;
    store.close().promised("a close")?;
    drop(store);
    remount(true)?;
    match settings.open(&dir) {
        Err(error @ Error::Io { .. }) => println!("{}", chain(&error)),
        other => return violation(format!("a writer on a read-only file system: {other:?}")),
    }
    let reader = LogStore::open_read_only(&dir).promised("a reader on a read-only file system")?;
    check(&reader, start, end)?;
    drop(reader);
    remount(false)?;
    let store = settings.open(&dir).promised("a writer, when it can be written again")?;
    check(&store, start, end)?;
    tally.count("read-only file systems");
    store.close().promised("a close")
}
