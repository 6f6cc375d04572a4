//! Which applications run in this process, so that no two of one id share a log.
//!
//! Another process cannot write to an embedded log at the same time; on a cluster the
//! transactional id fences.

use std::collections::HashSet;

use headwater_log_store::{Log, LogId};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// The log, and the application's id.
type Key = (LogId, String);

static RUNNING: Mutex<Option<HashSet<Key>>> = Mutex::new(None);

/// Keeps others from running the application, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    key: Key,
}

impl Registration {
    /// Fails if the application runs on this log.
    pub(crate) fn new(log: &dyn Log, application_id: &str) -> Result<Self> {
        let key = (log.id(), application_id.to_owned());
        let mut running = RUNNING.lock();
        if !running.get_or_insert_with(HashSet::new).insert(key.clone()) {
            return Err(Error::Running { application_id: application_id.to_owned() });
        }
        Ok(Self { key })
    }
}

/// The applications that run on this log.
pub(crate) fn running_on(log: &dyn Log) -> Vec<String> {
    let id = log.id();
    let running = RUNNING.lock();
    let keys = running.iter().flatten().filter(|(running, _)| *running == id);
    keys.map(|(_, application_id)| application_id.clone()).collect()
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(running) = RUNNING.lock().as_mut() {
            running.remove(&self.key);
        }
    }
}
