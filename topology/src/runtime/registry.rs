//! Which applications run in this process, so that no two of one id share a log.
//!
//! Another process cannot write to an embedded log at the same time; on a cluster the
//! transactional id fences.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_log_store::Log;
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// The log, by its place in memory while it is held, and the application's id.
type Key = (usize, String);

static RUNNING: Mutex<Option<HashSet<Key>>> = Mutex::new(None);

/// Keeps others from running the application, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    key: Key,
    /// Held so that the place in memory is not given to another log.
    _log: Arc<dyn Log>,
}

impl Registration {
    /// Fails if the application runs on this log.
    pub(crate) fn new(log: &Arc<dyn Log>, application_id: &str) -> Result<Self> {
        let key = (place_of(log), application_id.to_owned());
        let mut running = RUNNING.lock();
        if !running.get_or_insert_with(HashSet::new).insert(key.clone()) {
            return Err(Error::Running { application_id: application_id.to_owned() });
        }
        Ok(Self { key, _log: Arc::clone(log) })
    }
}

/// The applications that run on this log.
pub(crate) fn running_on(log: &Arc<dyn Log>) -> Vec<String> {
    let place = place_of(log);
    let running = RUNNING.lock();
    let keys = running.iter().flatten().filter(|(running, _)| *running == place);
    keys.map(|(_, application_id)| application_id.clone()).collect()
}

fn place_of(log: &Arc<dyn Log>) -> usize {
    Arc::as_ptr(log).cast::<()>().addr()
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(running) = RUNNING.lock().as_mut() {
            running.remove(&self.key);
        }
    }
}
