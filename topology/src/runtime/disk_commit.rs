//! What a commit does to the stores on disk: they follow the log, one step behind it.

use crate::error::Result;
use crate::runtime::on_disk::changelog_of;
use crate::runtime::task_set::TaskSet;

impl TaskSet {
    /// What was computed without a row that could not be read must not be committed.
    pub(crate) fn check_disk(&self) -> Result<()> {
        let Some(on_disk) = &self.on_disk else { return Ok(()) };
        for store in self.tasks.iter().flat_map(|task| &task.stores) {
            let failure = store.store.borrow_mut().backed().and_then(|rows| rows.failure());
            if let Some(reason) = failure {
                return Err(on_disk.failed(&store.name, &reason.into()));
            }
        }
        Ok(())
    }

    /// Brings the rows on disk to what the log has just committed. If it fails, they stay behind,
    /// and the next start catches up.
    pub(crate) fn write_to_disk(&self) -> Result<()> {
        let Some(on_disk) = &self.on_disk else { return Ok(()) };
        for task in &self.tasks {
            for store in &task.stores {
                let mut managed = store.store.borrow_mut();
                if managed.dirty_len() == 0 {
                    continue;
                }
                let Some(changelog) =
                    store.changelog.as_ref().filter(|_| managed.backed().is_some())
                else {
                    continue;
                };
                let changelog = changelog_of(changelog, task.id)?;
                let covered = on_disk.end_of_changelog(self.log.as_ref(), &changelog)?;
                managed
                    .write_to_disk(covered)
                    .map_err(|reason| on_disk.failed(&store.name, &reason))?;
            }
        }
        Ok(())
    }
}
