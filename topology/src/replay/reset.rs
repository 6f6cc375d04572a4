//! The application reset: input offsets back to the start, internal topics and state gone.

use std::fmt;
use std::sync::Arc;

use headwater_log_store::{Log, Offset, OffsetAndMetadata, PartitionId, TopicName, TopicPartition};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::{Graph, Topology};
use crate::runtime::commit_metadata::CommitMetadata;
use crate::runtime::registry::{Registration, running_on};
use crate::runtime::resolve::resolve;
use crate::runtime::wipe;
use crate::types::TopicRef;

/// Prepares an application to compute everything anew: a replay.
///
/// [`plan`](Self::plan) says what would be done (a dry run), [`execute`](ResetPlan::execute) does
/// it. The next start then replays: up to the ends that the input has now, deterministically: two
/// replays of the same input give the same records in each output partition. After that it goes
/// on with what has come since.
///
/// ```
/// use headwater_log_store::{Log, LogStore, NewTopic};
/// use headwater_topology::{Reset, StreamsBuilder, StreamsConfig};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// log.create_topic(&NewTopic::new("words"))?;
/// log.create_topic(&NewTopic::new("counts"))?;
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("words").group_by_key().count("c").to_stream().to("counts");
/// let reset = Reset::new(&builder.build()?, &StreamsConfig::new("word-count"));
/// let plan = reset.empty_topic("counts").plan(&log)?;
/// println!("{plan}");
/// plan.execute(&log)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reset {
    graph: Arc<Graph>,
    config: StreamsConfig,
    emptied: Vec<String>,
}

impl Reset {
    /// A reset of the application of that topology and configuration, to the earliest offsets.
    #[must_use]
    pub fn new(topology: &Topology, config: &StreamsConfig) -> Self {
        Self { graph: Arc::clone(&topology.graph), config: config.clone(), emptied: Vec::new() }
    }

    /// Deletes an output topic's records as well, so that the replay's begin at offset 0: the
    /// topic is deleted and created again with its partitions and configs. Default = output
    /// topics stay as they are, as with Kafka's tool.
    ///
    /// A topic that the application also reads is then read from its start, after the replay: what
    /// is in it is what the replay has written.
    #[must_use]
    pub fn empty_topic(mut self, topic: impl Into<String>) -> Self {
        self.emptied.push(topic.into());
        self
    }

    /// What the reset would do; nothing is changed, but a reset that a crash has cut short is
    /// finished first.
    ///
    /// # Errors
    /// `MissingTopic`, `NothingToReplay` if all input topics were to be emptied, or a failure of
    /// the log.
    pub fn plan(&self, log: &Arc<dyn Log>) -> Result<ResetPlan> {
        let application_id = self.config.application_id.clone();
        // It may be about to make a topic anew that is resolved next.
        let offsets = wipe::finish_reset(log.as_ref(), &application_id)?;
        let resolved = resolve(&self.graph, &self.config, log.as_ref())?;
        let mut inputs = Vec::new();
        for index in 0..self.graph.subtopologies.len() {
            for (_, topic) in self.graph.source_topics(index) {
                if !topic.internal {
                    self.plan_topic(log.as_ref(), topic, &resolved, &offsets, &mut inputs)?;
                }
            }
        }
        if inputs.iter().all(|input| self.emptied.iter().any(|topic| input.is_of(topic))) {
            return Err(Error::NothingToReplay { application_id });
        }
        let topics = log.topics().map_err(Error::log("a look at the topics"))?;
        // One that has neither committed yet nor runs has no state to lose.
        let mut others = log.groups().map_err(Error::log("a look at the groups"))?;
        others.extend(running_on(log.as_ref()));
        let is_internal = |name: &str| {
            wipe::is_internal(&application_id, others.iter().map(String::as_str), name)
        };
        let deleted = topics
            .iter()
            .map(|topic| topic.name.as_str())
            .filter(|name| resolved.internal.contains_key(*name) || is_internal(name))
            .map(str::to_owned)
            .collect();
        for topic in &self.emptied {
            log.describe_topic(topic).map_err(Error::log(format!("a look at topic {topic}")))?;
        }
        Ok(ResetPlan { application_id, inputs, deleted, emptied: self.emptied.clone() })
    }

    fn plan_topic(
        &self,
        log: &dyn Log,
        topic: &TopicRef,
        resolved: &crate::runtime::resolve::Resolved,
        offsets: &headwater_log_store::GroupOffsets,
        inputs: &mut Vec<InputReset>,
    ) -> Result<()> {
        let found = resolved.topic(topic);
        let name = TopicName::new(&found.name)
            .map_err(Error::log(format!("a look at topic {}", found.name)))?;
        for partition in 0..found.partitions {
            let topic_partition = TopicPartition::new(name.clone(), PartitionId::new(partition));
            let watermarks = log
                .watermarks(&topic_partition)
                .map_err(Error::log(format!("a look at {topic_partition}")))?;
            let is_emptied = self.emptied.iter().any(|topic| *topic == *found.name);
            inputs.push(InputReset {
                from: offsets.get(&topic_partition).map(|committed| committed.offset),
                to: if is_emptied { Offset::ZERO } else { watermarks.start },
                replay_end: if is_emptied { Offset::ZERO } else { watermarks.end },
                topic_partition,
            });
        }
        Ok(())
    }
}

/// What a reset does to one input partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputReset {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The committed offset until now, if there is one.
    pub from: Option<Offset>,
    /// The offset to go on from.
    pub to: Offset,
    /// Where the replay ends: the log end offset of now; 0 in a topic that is emptied.
    pub replay_end: Offset,
}

impl InputReset {
    fn is_of(&self, topic: &str) -> bool {
        self.topic_partition.topic.as_str() == topic
    }
}

/// What a reset does. `Display` prints it as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResetPlan {
    /// The application.
    pub application_id: String,
    /// Its input partitions.
    pub inputs: Vec<InputReset>,
    /// The changelog and repartition topics that are deleted.
    pub deleted: Vec<String>,
    /// The output topics that are emptied.
    pub emptied: Vec<String>,
}

impl ResetPlan {
    /// Does it. The new offsets and the list of topics to delete are one commit: after a crash
    /// the reset has not happened, or the next start finishes it.
    ///
    /// # Errors
    /// `Running` while the application runs in this process, or a failure of the log.
    pub fn execute(&self, log: &Arc<dyn Log>) -> Result<()> {
        let _alone = Registration::new(log.as_ref(), &self.application_id)?;
        let mut notes = self.deleted.clone();
        for topic in &self.emptied {
            let found = log
                .describe_topic(topic)
                .map_err(Error::log(format!("a look at topic {topic}")))?;
            let is_read = self.inputs.iter().any(|input| input.is_of(topic));
            notes.push(wipe::recreated(&found, is_read));
        }
        let mut offsets = Vec::new();
        // The offsets of a topic go when it is deleted, and with them what is noted there.
        let is_kept = |input: &&InputReset| !self.emptied.iter().any(|topic| input.is_of(topic));
        for input in self.inputs.iter().filter(is_kept) {
            let metadata = CommitMetadata {
                // Who replays on a cluster does so in all of its processes, as with Kafka's tool.
                replay_end: log.is_embedded().then_some(input.replay_end),
                wipe: std::mem::take(&mut notes),
                ..CommitMetadata::default()
            };
            let note = OffsetAndMetadata { offset: input.to, metadata: metadata.to_text() };
            offsets.push((input.topic_partition.clone(), note));
        }
        wipe::commit(log.as_ref(), &self.application_id, &offsets)?;
        wipe::finish_reset(log.as_ref(), &self.application_id).map(drop)
    }
}

impl fmt::Display for ResetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<40} {:>9} {:>14} {:>14}",
            "TOPIC", "PARTITION", "PRIOR-OFFSET", "NEW-OFFSET"
        )?;
        for input in &self.inputs {
            let from = input.from.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            let TopicPartition { topic, partition } = &input.topic_partition;
            writeln!(f, "{:<40} {partition:>9} {from:>14} {:>14}", topic.as_str(), input.to)?;
        }
        for topic in &self.deleted {
            writeln!(f, "delete {topic}")?;
        }
        for topic in &self.emptied {
            writeln!(f, "empty {topic}")?;
        }
        Ok(())
    }
}
