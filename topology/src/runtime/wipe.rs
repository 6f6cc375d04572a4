//! Finishes a reset: whoever comes next, the reset itself or the start of the application after a
//! crash in between, deletes the topics that the reset has listed.
//!
//! The list is committed together with the new offsets, so a reset has either happened as far as
//! an application can see, or not.

use headwater_log_store::{
    ConsumerConfig, Error as LogError, GroupOffsets, Log, NewTopic, OffsetAndMetadata,
    TopicPartition,
};

use crate::error::{Error, Result};
use crate::runtime::commit_metadata::CommitMetadata;

/// Deletes what a reset has listed, if one is to be finished. Returns the group's offsets.
pub(crate) fn finish_reset(log: &dyn Log, application_id: &str) -> Result<GroupOffsets> {
    let offsets = group_offsets(log, application_id)?;
    let mut topics = Vec::new();
    let mut notes = Vec::new();
    for (topic_partition, committed) in &offsets {
        let mut metadata = CommitMetadata::parse(&committed.metadata);
        if !metadata.wipe.is_empty() {
            topics.append(&mut metadata.wipe);
            let note = OffsetAndMetadata { offset: committed.offset, metadata: metadata.to_text() };
            notes.push((topic_partition.clone(), note));
        }
    }
    if notes.is_empty() {
        return Ok(offsets);
    }
    for topic in &topics {
        wipe(log, application_id, topic)?;
    }
    commit(log, application_id, &notes)?;
    group_offsets(log, application_id)
}

/// Commits offsets for an application that does not run.
pub(crate) fn commit(
    log: &dyn Log,
    application_id: &str,
    offsets: &[(TopicPartition, OffsetAndMetadata)],
) -> Result<()> {
    let failed = || format!("a commit of offsets of {application_id}");
    let config =
        ConsumerConfig { group: Some(application_id.to_owned()), ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config).map_err(Error::log(failed()))?;
    consumer.commit(offsets).map_err(Error::log(failed()))
}

fn group_offsets(log: &dyn Log, application_id: &str) -> Result<GroupOffsets> {
    log.group_offsets(application_id)
        .map_err(Error::log(format!("a look at the offsets of {application_id}")))
}

/// Internal topics are made again when the application starts; any other one is made again here,
/// empty.
fn wipe(log: &dyn Log, application_id: &str, topic: &str) -> Result<()> {
    let found = match log.describe_topic(topic) {
        Ok(found) => found,
        Err(LogError::UnknownTopic { .. }) => return Ok(()),
        Err(source) => return Err(Error::log(format!("a look at topic {topic}"))(source)),
    };
    if is_internal(application_id, topic) {
        return log
            .delete_topic(topic)
            .map_err(Error::log(format!("the deletion of topic {topic}")));
    }
    log.delete_topic(topic).map_err(Error::log(format!("the deletion of topic {topic}")))?;
    let mut topic = NewTopic::new(topic).partitions(found.partitions);
    topic.configs = found.configs;
    log.create_topic(&topic).map_err(Error::log(format!("the creation of topic {}", topic.name)))
}

/// Whether a topic is named like one of the application's own.
pub(crate) fn is_internal(application_id: &str, topic: &str) -> bool {
    topic
        .strip_prefix(application_id)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.ends_with("-changelog") || rest.ends_with("-repartition"))
}
