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
use crate::types::{LeaderEpoch, Timestamp};

/// Opens the store in the folder; creates it if there is none and the config says so.
pub(crate) fn create_or_open(config: EngineConfig) -> Result<Engine> {
    let storage = &*config.storage;
    let dir = &config.dir;
    let exists = read_store_file(storage, dir)?;
    if exists.is_none() && !config.create {
        return Err(Error::NoStore { path: dir.clone() });
    }
    storage.create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    let lock = lock_store(&*config.storage, dir)?;
    // Only what is read under the lock counts.
    let store_id = match read_store_file(storage, dir)? {
        Some(store_id) => store_id,
        None => {
            check_empty(&config)?;
            create(&config)?
        }
    };
    let checkpoints = CheckpointFiles::open(storage, dir, OpenMode::Write)?;
    let checkpoint = checkpoints.read()?;
    Opening { config: &config, store_id, checkpoint }.open(checkpoints, lock)
}

/// Takes the store's lock, and notes who has it.
pub(crate) fn lock_store(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn StorageLock>> {
    let path = dir.join("store.lock");
    let holder = format!("process {} has it open", std::process::id());
    storage.lock(&path, &holder).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Locked { path: dir.to_owned(), holder: error.to_string() }
        }
        _ => Error::io("lock", &path, error),
    })
}

/// Refuses to begin a store where the remains of another lie: a new id would make all of its
/// records unreadable. What an interrupted creation leaves behind holds no topic.
fn check_empty(config: &EngineConfig) -> Result<()> {
    let topics = topics_dir(&config.dir);
    let names = match config.storage.list(&topics) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(|e| Error::io("list", &topics, e))?,
    };
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::CorruptFile {
        path: config.dir.join("store"),
        reason: "it is missing, and the folder holds topics".to_owned(),
    })
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
        epoch: LeaderEpoch::FIRST,
        boot_id: storage.boot_id().unwrap_or_default(),
        journal: JournalMark { position: 0, sequence: 1, durable_sequence: 0 },
        journal_bytes: config.journal_bytes,
        next_topic_id: 1,
        partitions: Vec::new(),
    })?;
    // All of it is there before the file that says so.
    storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    sync_ancestors(storage, dir)?;
    write_store_file(storage, dir, store_id)?;
    Ok(store_id)
}

/// Makes the name of the store's folder durable, and of those above it: any of them may be new.
fn sync_ancestors(storage: &dyn Storage, dir: &Path) -> Result<()> {
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match storage.sync_dir(parent) {
            // A folder that this user cannot open is none that this process made.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
            synced => synced.map_err(|e| Error::io("sync", parent, e))?,
        }
    }
    Ok(())
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
