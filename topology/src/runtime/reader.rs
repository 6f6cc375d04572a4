//! The consumer of whoever reads topics whole: changelogs, global tables, notes.

use std::time::Duration;

use headwater_log_store::{AutoOffsetReset, Consumer, ConsumerConfig, Log, Result};

/// How long a broker lets a fetch wait that comes to a known end.
const WAIT_AT_THE_END: Duration = Duration::from_millis(5);

/// A consumer of no group, for partitions that are assigned to it and read from where it seeks.
///
/// Where the first records are deleted while it is on its way to them, as retention may do, it goes on
/// with those that are left: to go to the end, as a consumer does unless told otherwise, would leave
/// them all out.
pub(crate) fn reader(log: &dyn Log) -> Result<Box<dyn Consumer>> {
    log.consumer(&reader_config())
}

/// As [`reader`], for whoever stops at an end that is known: the fetch that finds nothing behind it
/// does not wait for more.
pub(crate) fn reader_to_the_end(log: &dyn Log) -> Result<Box<dyn Consumer>> {
    log.consumer(&ConsumerConfig { fetch_wait_max: Some(WAIT_AT_THE_END), ..reader_config() })
}

/// The config of such a consumer.
pub(crate) fn reader_config() -> ConsumerConfig {
    ConsumerConfig { auto_offset_reset: AutoOffsetReset::Earliest, ..ConsumerConfig::default() }
}
