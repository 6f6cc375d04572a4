//! Finishes a reset: whoever comes next, the reset itself or the start of the application after a
//! crash in between, deletes the topics that the reset has listed.
//!
//! The list is committed together with the new offsets, so a reset has either happened as far as
//! an application can see, or not.

use headwater_log_store::{
    ConsumerConfig, Error as LogError, GroupOffsets, Log, NewTopic, Offset, OffsetAndMetadata,
    PartitionId, TopicDescription, TopicName, TopicPartition,
};

use crate::error::{Error, Result};
use crate::runtime::commit_metadata::CommitMetadata;

/// Deletes what a reset has listed, if one is to be finished. Returns the group's offsets.
pub(crate) fn finish_reset(log: &dyn Log, application_id: &str) -> Result<GroupOffsets> {
    let offsets = group_offsets(log, application_id)?;
    let (mut topics, mut notes) = (Vec::new(), Vec::new());
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
        let emptied = wipe(log, topic)?.into_iter();
        let start = OffsetAndMetadata { offset: Offset::ZERO, metadata: String::new() };
        notes.extend(emptied.map(|partition| (partition, start.clone())));
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

/// What the group of an application has committed.
pub(crate) fn group_offsets(log: &dyn Log, application_id: &str) -> Result<GroupOffsets> {
    log.group_offsets(application_id)
        .map_err(Error::log(format!("a look at the offsets of {application_id}")))
}

/// Deletes a topic, and makes it anew if the note says how: see [`recreated`]. Returns the
/// partitions that the application is to read from the start.
fn wipe(log: &dyn Log, note: &str) -> Result<Vec<TopicPartition>> {
    let mut parts = note.split('/').map(unescape);
    let topic = parts.next().unwrap_or_default();
    match log.delete_topic(&topic) {
        Ok(()) | Err(LogError::UnknownTopic { .. }) => {}
        Err(source) => return Err(Error::log(format!("the deletion of topic {topic}"))(source)),
    }
    let Some(partitions) = parts.next().and_then(|count| count.parse().ok()) else {
        return Ok(Vec::new());
    };
    let read = parts.next().is_some_and(|role| role == READ);
    let mut anew = NewTopic::new(&*topic).partitions(partitions);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        anew = anew.config(key, value);
    }
    log.create_topic(&anew).map_err(Error::log(format!("the creation of topic {topic}")))?;
    let name = TopicName::new(&topic).map_err(Error::log(format!("a look at topic {topic}")))?;
    let read = if read { 0..partitions } else { 0..0 };
    Ok(read.map(|number| TopicPartition::new(name.clone(), PartitionId::new(number))).collect())
}

/// In a note: the application reads the topic as well.
const READ: &str = "read";
const WRITTEN: &str = "written";

/// The note of a topic that is to be empty, not gone: its name, partitions, role and configs with
/// a slash between, so that a crash after the deletion loses nothing.
pub(crate) fn recreated(topic: &TopicDescription, is_read: bool) -> String {
    let role = if is_read { READ } else { WRITTEN };
    let mut note = format!("{}/{}/{role}", topic.name, topic.partitions);
    for (key, value) in &topic.configs {
        note.push_str(&format!("/{}/{}", escape(key), escape(value)));
    }
    note
}

/// The characters that separate parts of a note, and their stand-ins.
const ESCAPES: [(&str, &str); 4] = [("%", "%25"), (",", "%2C"), (" ", "%20"), ("/", "%2F")];

fn escape(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped))
}

fn unescape(text: &str) -> String {
    let escapes = ESCAPES.iter().rev();
    escapes.fold(text.to_owned(), |text, (plain, escaped)| text.replace(escaped, plain))
}

/// Whether a topic is the application's own by its name. Where the name of another application
/// begins with this one's, as `views-v2` with `views`, the longer name decides.
pub(crate) fn is_internal<'a>(
    application_id: &str,
    mut others: impl Iterator<Item = &'a str>,
    topic: &str,
) -> bool {
    let is_longer = |other: &str| other.len() > application_id.len();
    is_named_for(application_id, topic)
        && !others.any(|other| is_longer(other) && is_named_for(other, topic))
}

fn is_named_for(application_id: &str, topic: &str) -> bool {
    topic
        .strip_prefix(application_id)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.ends_with("-changelog") || rest.ends_with("-repartition"))
}

#[cfg(test)]
mod tests {
    use super::{is_internal, recreated, wipe};
    use headwater_log_store::{Log, LogStore, NewTopic};

    #[test]
    fn an_emptied_topic_keeps_its_partitions_and_configs_even_if_it_was_gone_already() {
        let log = LogStore::in_memory().unwrap();
        let topic = NewTopic::new("out")
            .partitions(3)
            .config("cleanup.policy", "compact,delete")
            .config("retention.ms", "5000");
        log.create_topic(&topic).unwrap();
        let before = log.describe_topic("out").unwrap();
        let note = recreated(&before, false);
        assert!(!note.contains([' ', ',']), "it has to fit a list: {note}");
        wipe(&log, &note).unwrap();
        assert_eq!(log.describe_topic("out").unwrap(), before);
        log.delete_topic("out").unwrap();
        wipe(&log, &note).unwrap();
        assert_eq!(log.describe_topic("out").unwrap(), before);
        wipe(&log, "out").unwrap();
        assert!(log.describe_topic("out").is_err());
    }
    #[test]
    fn a_topic_belongs_to_the_longest_name_that_it_begins_with() {
        let check =
            |others: &[&str], topic: &str| is_internal("views", others.iter().copied(), topic);
        assert!(check(&[], "views-c-changelog"));
        assert!(check(&["view", "views", "other"], "views-c-repartition"));
        assert!(check(&["views-v2"], "views-v3-c-changelog"));
        assert!(!check(&["views-v2"], "views-v2-c-changelog"));
        assert!(!check(&[], "views-out"));
        assert!(!check(&[], "views2-c-changelog"));
    }
}
