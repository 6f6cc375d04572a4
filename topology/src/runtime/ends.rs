//! Where partitions end.

use headwater_log_store::{Log, Offset, TopicPartition, Watermarks};

use crate::error::{Error, Result};

/// The offset that the next record of a partition will get.
pub(crate) fn end_of(log: &dyn Log, topic_partition: &TopicPartition) -> Result<Offset> {
    watermarks(log, topic_partition).map(|watermarks| watermarks.end)
}

/// Where the records of a partition begin and end.
pub(crate) fn watermarks(log: &dyn Log, topic_partition: &TopicPartition) -> Result<Watermarks> {
    log.watermarks(topic_partition).map_err(Error::log(format!("a look at {topic_partition}")))
}
