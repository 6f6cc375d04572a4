//! Positions of sources: records of the compacted topic `__connect_offsets`, in the JSON of Kafka
//! Connect, so that they can be written in the transaction that writes the source's records.
//!
//! The committed offset of a group could not hold them: it has to lie within a partition of the
//! log, and a position outside is anything but that.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Clock, ConsumerConfig, Error as LogError, Log, NewTopic, PartitionId,
    ProducerRecord, SystemClock, TopicName, TopicPartition,
};

use crate::connector::{SourceOffset, SourcePartition};
use crate::error::{Error, Result};

/// The internal topic that holds the positions of sources: the key is
/// `["<connector>",{<source partition>}]`, the value `{<source offset>}`.
pub const CONNECT_OFFSETS_TOPIC: &str = "__connect_offsets";

/// How long a poll waits for positions.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the end of the positions may take to be reached: on a cluster, an older run's
/// transaction has to be over.
const PATIENCE: Duration = Duration::from_secs(60);

/// The key that a position is stored under.
pub(crate) fn key(connector: &str, partition: &SourcePartition) -> Vec<u8> {
    serde_json::to_vec(&(connector, partition)).expect("strings and JSON values have a JSON form")
}

/// The value that a position is stored as.
pub(crate) fn value(offset: &SourceOffset) -> Vec<u8> {
    serde_json::to_vec(offset).expect("strings and JSON values have a JSON form")
}

/// The record that stores a position.
pub(crate) fn record<'a>(key: &'a [u8], value: &'a [u8]) -> ProducerRecord<'a> {
    ProducerRecord {
        partition: Some(PartitionId::new(0)),
        key: Some(key),
        value: Some(value),
        ..ProducerRecord::to(CONNECT_OFFSETS_TOPIC)
    }
}

/// Creates the topic of the positions if it is not there.
pub(crate) fn create_topic(log: &dyn Log) -> Result<(), LogError> {
    // Small segments: reading the positions reads all that no compaction has taken.
    let topic = NewTopic::new(CONNECT_OFFSETS_TOPIC)
        .config("cleanup.policy", "compact")
        .config("segment.bytes", "4194304");
    log.create_topic_if_not_exists(&topic).map(drop)
}

/// The last position stored under `key`, if there is one.
///
/// Reads the whole topic, as Kafka Connect does at start: it is compacted, so that it holds
/// little more than one record for each source.
pub(crate) fn load(log: &dyn Log, connector: &str, key: &[u8]) -> Result<Option<SourceOffset>> {
    let mut stored = last_values(log, connector, |stored| stored == key)?;
    stored.remove(key).map(|value| parse(connector, &value)).transpose()
}

/// The last positions stored by a connector, each under its key.
pub(crate) fn load_all(log: &dyn Log, connector: &str) -> Result<BTreeMap<Vec<u8>, SourceOffset>> {
    // Every key of the connector begins with its name and the comma after it.
    let mut prefix = serde_json::to_vec(&(connector,)).expect("a string has a JSON form");
    prefix.pop();
    prefix.push(b',');
    let stored = last_values(log, connector, |key| key.starts_with(&prefix))?;
    stored.into_iter().map(|(key, value)| Ok((key, parse(connector, &value)?))).collect()
}

fn parse(connector: &str, value: &[u8]) -> Result<SourceOffset> {
    serde_json::from_slice(value).map_err(|error| Error::InvalidPosition {
        of: format!("connector {connector}"),
        reason: error.to_string(),
    })
}

fn last_values(
    log: &dyn Log,
    connector: &str,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    read_last_values(log, is_meant).map_err(|source| Error::Log {
        connector: connector.to_owned(),
        operation: format!("cannot read its position in {CONNECT_OFFSETS_TOPIC}"),
        source: Box::new(source),
    })
}

fn read_last_values(
    log: &dyn Log,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LogError> {
    let topic_partition =
        TopicPartition::new(TopicName::new(CONNECT_OFFSETS_TOPIC)?, PartitionId::new(0));
    let end = log.watermarks(&topic_partition)?.end;
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config)?;
    consumer.assign(std::slice::from_ref(&topic_partition))?;
    let mut last = BTreeMap::new();
    let clock = SystemClock::new();
    while consumer.position(&topic_partition)? < end {
        if clock.monotonic() > PATIENCE {
            return Err(LogError::External {
                operation: "poll",
                reason: format!("{topic_partition} was not read up to {end}"),
                retriable: true,
            });
        }
        let batches = consumer.poll(POLL_TIMEOUT)?;
        for record in batches.iter().flat_map(|batch| batch.iter()) {
            let Some(key) = record.key.filter(|key| is_meant(key)) else { continue };
            match record.value {
                Some(value) => last.insert(key.to_vec(), value.to_vec()),
                None => last.remove(key),
            };
        }
    }
    Ok(last)
}
