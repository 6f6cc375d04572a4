//! What a bridge mirrors: the topics on both sides, and where each partition goes on.

use std::collections::BTreeMap;

use headwater_log_store::{
    Error as LogError, Log, NewTopic, Offset, PartitionId, TopicDescription, TopicPartition,
};
use serde_json::Value;

use crate::bridge::pattern::Pattern;
use crate::connector::{SourceOffset, SourcePartition};
use crate::error::{Error, Result};

/// Configs that mean the same on every log, and come along when a topic is made.
const KEPT_CONFIGS: [&str; 4] =
    ["cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type"];

/// The topics that are meant, by name. Internal ones are never.
pub(crate) fn choose(
    topics: Vec<TopicDescription>,
    include: &[Pattern],
    exclude: &[Pattern],
) -> Vec<TopicDescription> {
    let is_meant = |topic: &TopicDescription| {
        let any = |patterns: &[Pattern]| patterns.iter().any(|p| p.matches(topic.name.as_str()));
        !topic.name.is_internal() && any(include) && !any(exclude)
    };
    topics.into_iter().filter(is_meant).collect()
}

/// Makes the topic on the other side, or gives it the partitions that it lacks.
pub(crate) fn create_beside(log: &dyn Log, topic: &TopicDescription) -> Result<(), LogError> {
    let mut beside = NewTopic::new(topic.name.as_str()).partitions(topic.partitions);
    for (key, value) in &topic.configs {
        if KEPT_CONFIGS.contains(&key.as_str()) {
            beside = beside.config(key, value);
        }
    }
    if log.create_topic_if_not_exists(&beside)? {
        return Ok(());
    }
    let found = log.describe_topic(topic.name.as_str())?;
    match found.partitions < topic.partitions {
        true => log.create_partitions(topic.name.as_str(), topic.partitions),
        false => Ok(()),
    }
}

/// The partitions of topics.
pub(crate) fn partitions(topics: &[TopicDescription]) -> Vec<TopicPartition> {
    let of = |topic: &TopicDescription| {
        let name = topic.name.clone();
        let numbers = (0..topic.partitions).map(PartitionId::new);
        numbers.map(move |number| TopicPartition::new(name.clone(), number)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of).collect()
}

/// What the stored position of a partition goes by.
pub(crate) fn source_partition(partition: &TopicPartition) -> SourcePartition {
    BTreeMap::from([
        ("partition".to_owned(), Value::from(partition.partition.value())),
        ("topic".to_owned(), Value::from(partition.topic.as_str())),
    ])
}

/// A position as it is stored.
pub(crate) fn source_offset(offset: Offset) -> SourceOffset {
    BTreeMap::from([("offset".to_owned(), Value::from(offset.value()))])
}

/// Where a partition goes on.
///
/// # Errors
/// `InvalidPosition` for one that the partition has not reached: it is not the partition that the
/// position was noted for.
pub(crate) fn start(
    from: &dyn Log,
    partition: &TopicPartition,
    stored: Option<&SourceOffset>,
) -> Result<Result<Offset, LogError>> {
    let watermarks = match from.watermarks(partition) {
        Ok(watermarks) => watermarks,
        Err(error) => return Ok(Err(error)),
    };
    let Some(stored) = stored else { return Ok(Ok(watermarks.start)) };
    let invalid = |reason: String| Error::InvalidPosition { of: partition.to_string(), reason };
    let offset = stored.get("offset").and_then(Value::as_u64).map(Offset::new);
    let Some(offset) = offset else { return Err(invalid("it has no offset".to_owned())) };
    if offset > watermarks.end {
        let end = watermarks.end;
        return Err(invalid(format!(
            "offset {offset} lies after the end, {end}: the topic was made anew since"
        )));
    }
    if offset < watermarks.start {
        tracing::warn!(%partition, %offset, start = %watermarks.start, "records were deleted before they were mirrored");
    }
    Ok(Ok(offset.max(watermarks.start)))
}
