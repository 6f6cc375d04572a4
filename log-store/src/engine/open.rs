//! Creating and opening a store as its one writer.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;

use crate::checkpoint::{Checkpoint, CheckpointFiles, Redo};
use crate::engine::files::{read_store_file, write_store_file};
use crate::engine::opening::{EngineConfig, Opening, journal_path};
use crate::engine::state::Engine;
use crate::error::{Error, Result};
use crate::journal::{Journal, JournalMark};
use crate::storage::{OpenMode, Storage, StorageLock};
use crate::topic::topics_dir;
use crate::types::Timestamp;

/// Opens the store in the folder; creates it if there is none and the config says so.
pub(crate) fn create_or_open(config: EngineConfig) -> Result<Engine> {
    let storage = &*config.storage;
    let dir = &config.dir;
    let exists = read_store_file(storage, dir)?;
    if exists.is_none() && !config.create {
        return Err(Error::NoStore { path: dir.clone() });
    }
    create_store_dir(storage, dir)?;
    let lock = lock(&config)?;
    // Only what is read under the lock counts.
    let store_id = match read_store_file(storage, dir)? {
        Some(store_id) => store_id,
        None => create(&config)?,
    };
    let checkpoints = CheckpointFiles::open(storage, dir, OpenMode::Write)?;
    let checkpoint = checkpoints.read()?;
    Opening { config: &config, store_id, checkpoint }.open(checkpoints, lock)
}

fn lock(config: &EngineConfig) -> Result<Box<dyn StorageLock>> {
    let path = config.dir.join("store.lock");
    let since = config.clock.now();
    let holder = format!("process {} since {since} ms after 1970", std::process::id());
    config.storage.lock(&path, &holder).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Locked { path: config.dir.clone(), holder: error.to_string() }
        }
        _ => Error::io("lock", &path, error),
    })
}

/// Makes the store's folder, and durable that it is there: each new folder is a name in another.
fn create_store_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let is_missing = |dir: &&Path| {
        let listed = storage.list(dir);
        listed.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let ancestors = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = ancestors.take_while(is_missing).collect();
    storage.create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    for created in missing {
        let parent = created.parent().unwrap_or(Path::new(""));
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        storage.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))?;
    }
    Ok(())
}

fn create(config: &EngineConfig) -> Result<u128> {
    let storage = &*config.storage;
    let dir = &config.dir;
    for sub in [dir.join("journal"), topics_dir(dir)] {
        storage.create_dir(&sub).map_err(|e| Error::io("create", &sub, e))?;
    }
    let store_id = random_id(config.clock.now());
    Journal::create(storage, &journal_path(dir), config.journal_bytes)?;
    let journal_dir = dir.join("journal");
    storage.sync_dir(&journal_dir).map_err(|e| Error::io("sync", &journal_dir, e))?;
    CheckpointFiles::create(storage, dir)?.write(&Checkpoint {
        generation: 1,
        clean: true,
        redo: Redo::Journal,
        epoch: 0,
        boot_id: storage.boot_id().unwrap_or_default(),
        journal: JournalMark { position: 0, sequence: 1, durable_sequence: 0 },
        journal_bytes: config.journal_bytes,
        next_topic_id: 1,
        partitions: Vec::new(),
    })?;
    // All of it is there before the file that says so.
    storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    write_store_file(storage, dir, store_id)?;
    Ok(store_id)
}

/// Tells stores apart; nothing depends on it being hard to guess. The standard library's hasher
/// is seeded by the system.
fn random_id(now: Timestamp) -> u128 {
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_i64(now.as_millis());
        u128::from(hasher.finish())
    };
    half() << 64 | half()
}
