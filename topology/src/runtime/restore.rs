//! Restores the stores of a task from their changelogs.

use std::time::Duration;

use headwater_log_store::{ConsumerConfig, Log, PartitionId, TopicName, TopicPartition};

use crate::error::{Error, RecordPosition, Result};
use crate::runtime::task::Task;

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// Reads each changelog up to the end that it has now. Returns how many records that were.
pub(crate) fn restore(task: &Task, log: &dyn Log) -> Result<u64> {
    let mut restored = 0;
    for store in &task.stores {
        let Some(changelog) = &store.changelog else { continue };
        let name = TopicName::new(changelog)
            .map_err(Error::log(format!("a look at topic {changelog}")))?;
        let topic_partition = TopicPartition::new(name, PartitionId::new(task.id.partition));
        let failed = || format!("the restore of store {} from {topic_partition}", store.name);
        let watermarks = log.watermarks(&topic_partition).map_err(Error::log(failed()))?;
        if watermarks.start >= watermarks.end {
            continue;
        }
        let mut consumer =
            log.consumer(&ConsumerConfig::default()).map_err(Error::log(failed()))?;
        consumer
            .assign(std::slice::from_ref(&topic_partition))
            .and_then(|()| consumer.seek(&topic_partition, watermarks.start))
            .map_err(Error::log(failed()))?;
        let mut managed = store.store.borrow_mut();
        while consumer.position(&topic_partition).map_err(Error::log(failed()))? < watermarks.end {
            for batch in consumer.poll(POLL).map_err(Error::log(failed()))? {
                for view in batch.iter().filter(|view| view.offset < watermarks.end) {
                    restored += 1;
                    managed.restore(&view).map_err(|reason| Error::Restore {
                        store: store.name.clone(),
                        position: RecordPosition {
                            topic_partition: topic_partition.clone(),
                            offset: view.offset,
                        },
                        reason: reason.to_string(),
                    })?;
                }
            }
        }
    }
    Ok(restored)
}
