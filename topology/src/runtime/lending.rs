//! Who of an application's threads has the rows of a store on disk.
//!
//! A task moves to another thread when the one that had it has closed it. A standby copy is not
//! asked: the group gives its task to another thread of the process, and the one that keeps the copy
//! may hear of it later. What it still writes then would be older than what is there.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::backing::{Backing, Changes, Covered, Reader, Visitor};
use crate::error::BoxError;
use crate::types::TaskId;

/// What rows are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A task that runs: whoever else has them loses them.
    Task,
    /// A standby copy: not where a task has them.
    Copy,
}

/// The rows of a store of a task.
type Place = (TaskId, String);

#[derive(Debug, Default)]
struct Holder {
    /// How often the rows were lent.
    number: u64,
    /// What they are lent for now.
    lent_for: Option<Use>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders(Arc<Mutex<HashMap<Place, Arc<Mutex<Holder>>>>>);

impl Holders {
    /// Lends the rows of a store. Who had them until now can write them no more.
    pub(crate) fn lend(
        &self,
        (task, store): (TaskId, &str),
        wanted: Use,
        rows: Box<dyn Backing>,
    ) -> Result<Box<dyn Backing>, BoxError> {
        let place = (task, store.to_owned());
        let holder = Arc::clone(self.0.lock().entry(place).or_default());
        let mut held = holder.lock();
        if wanted == Use::Copy && held.lent_for == Some(Use::Task) {
            return Err("another thread runs its task".into());
        }
        held.number += 1;
        held.lent_for = Some(wanted);
        let number = held.number;
        drop(held);
        Ok(Box::new(Lent { rows, holder, number }))
    }
}

/// Rows that are changed only as long as nobody else has got them.
struct Lent {
    rows: Box<dyn Backing>,
    holder: Arc<Mutex<Holder>>,
    number: u64,
}

impl Lent {
    /// Makes a change; nobody gets the rows meanwhile.
    fn change(
        &self,
        change: impl FnOnce(&dyn Backing) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let held = self.holder.lock();
        if held.number != self.number {
            return Err("another thread has its rows now".into());
        }
        change(self.rows.as_ref())
    }
}

impl Backing for Lent {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        self.rows.covered()
    }

    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError> {
        self.rows.read(key, reader)
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        self.rows.visit(range, from_end, visitor)
    }

    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError> {
        self.change(|rows| rows.write(changes, covered))
    }

    fn clear(&self) -> Result<(), BoxError> {
        self.change(|rows| rows.clear())
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }

    fn key_bytes_max(&self) -> usize {
        self.rows.key_bytes_max()
    }

    fn claim(&self) -> bool {
        let mut held = self.holder.lock();
        let is_held = held.number == self.number;
        if is_held {
            held.lent_for = Some(Use::Task);
        }
        is_held
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut held = self.holder.lock();
        if held.number == self.number {
            held.lent_for = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_log_store::{LeaderEpoch, Offset};

    use super::{Backing, Covered, Holders, Use};
    use crate::backing::StateDirectory;
    use crate::simulation::state_directory::SimulatedDirectory;
    use crate::types::TaskId;

    const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

    fn write(rows: &dyn Backing, offset: u64) -> Result<(), String> {
        let covered = Covered { offset: Offset::new(offset), epoch: LeaderEpoch::new(0), state: 0 };
        let mut changes = [(b"k", Some(offset.to_be_bytes()))].into_iter().collect();
        rows.write(&mut changes, covered).map_err(|reason| reason.to_string())
    }

    /// The group has given the task of a copy to another thread of the process, and the one that
    /// keeps the copy does not know yet: its older rows came over newer ones.
    #[test]
    fn a_copy_writes_nothing_more_once_its_task_runs_here() {
        let (holders, directory) = (Holders::default(), SimulatedDirectory::default());
        let lend = |wanted| holders.lend((TASK, "s"), wanted, directory.store(TASK, "s").unwrap());
        let copy = lend(Use::Copy).unwrap();
        write(&*copy, 1).unwrap();
        let task = lend(Use::Task).unwrap();
        write(&*task, 3).unwrap();
        assert_eq!(write(&*copy, 2).unwrap_err(), "another thread has its rows now");
        assert!(copy.clear().is_err());
        assert_eq!(task.get(b"k").unwrap(), Some(3_u64.to_be_bytes().to_vec()));
        let refused = lend(Use::Copy).err().unwrap();
        assert_eq!(refused.to_string(), "another thread runs its task");
        drop(copy);
        assert!(lend(Use::Copy).is_err(), "the task has them still");
        drop(task);
        let copy = lend(Use::Copy).unwrap();
        write(&*copy, 4).unwrap();
        assert!(copy.claim(), "nobody else has got them");
        assert!(lend(Use::Copy).is_err(), "the copy is the task now");
        let task = lend(Use::Task).unwrap();
        assert!(!copy.claim() && task.claim());
        holders.lend((TASK, "other"), Use::Task, directory.store(TASK, "s").unwrap()).unwrap();
    }

    #[test]
    fn a_thread_that_has_lost_its_task_writes_nothing_more() {
        let (holders, directory) = (Holders::default(), SimulatedDirectory::default());
        let lend = |wanted| holders.lend((TASK, "s"), wanted, directory.store(TASK, "s").unwrap());
        let before = lend(Use::Task).unwrap();
        let after = lend(Use::Task).unwrap();
        assert!(write(&*before, 1).is_err());
        write(&*after, 2).unwrap();
    }
}
