//! Where partitions end.

use headwater_log_store::{Log, Offset, TopicPartition};

use crate::error::{Error, Result};

/// The offset that the next record of a partition will get.
pub(crate) fn end_of(log: &dyn Log, topic_partition: &TopicPartition) -> Result<Offset> {
    log.watermarks(topic_partition)
        .map(|watermarks| watermarks.end)
        .map_err(Error::log(format!("a look at {topic_partition}")))
}
