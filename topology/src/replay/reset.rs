//! The application reset: input offsets back to the start, internal topics and state gone.

use std::fmt;
use std::sync::Arc;

use headwater_log_store::{
    Log, Offset, OffsetAndMetadata, OffsetReset, OffsetResetPlan, PartitionId, PartitionReset,
    TopicName, TopicPartition,
};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::{Graph, Topology};
use crate::runtime::commit_metadata::CommitMetadata;
use crate::runtime::registry::{Registration, running_on};
use crate::runtime::resolve::{Resolved, resolve};
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
    to: OffsetReset,
}

impl Reset {
    /// A reset of the application of that topology and configuration, to the earliest offsets.
    #[must_use]
    pub fn new(topology: &Topology, config: &StreamsConfig) -> Self {
        let (graph, to) = (Arc::clone(&topology.graph), OffsetReset::ToEarliest);
        Self { graph, config: config.clone(), emptied: Vec::new(), to }
    }

    /// Where the replay begins in each input partition: at the records of a time, say, or at those
    /// of a duration ago by the clock of the configuration. State is made anew from there on, and
    /// knows nothing of what lies before. A partition that it says nothing about, because there is
    /// no committed offset to shift, is read from its start; global tables always are. Default =
    /// to the earliest offsets.
    ///
    /// ```
    /// use headwater_log_store::OffsetReset;
    /// use headwater_topology::{Reset, StreamsBuilder, StreamsConfig};
    /// use std::time::Duration;
    ///
    /// # let builder = StreamsBuilder::new();
    /// # builder.stream::<String, String>("words").group_by_key().count("c");
    /// # let topology = builder.build()?;
    /// let a_day = Duration::from_secs(24 * 60 * 60);
    /// let reset = Reset::new(&topology, &StreamsConfig::new("word-count"))
    ///     .to(OffsetReset::ByDuration(a_day));
    /// # Ok::<(), headwater_topology::BuildError>(())
    /// ```
    #[must_use]
    pub fn to(mut self, to: OffsetReset) -> Self {
        self.to = to;
        self
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
        wipe::finish_reset(log.as_ref(), &application_id)?;
        let resolved = resolve(&self.graph, &self.config, log.as_ref())?;
        let mut inputs = Vec::new();
        for index in 0..self.graph.subtopologies.len() {
            for (_, topic) in self.graph.source_topics(index) {
                if !topic.internal {
                    let is_global = self.graph.is_global(index);
                    let to = if is_global { OffsetReset::ToEarliest } else { self.to };
                    inputs.extend(self.plan_topic(log.as_ref(), topic, &resolved, to)?);
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
        resolved: &Resolved,
        to: OffsetReset,
    ) -> Result<Vec<InputReset>> {
        let found = resolved.topic(topic);
        let failed = || format!("a look at topic {}", found.name);
        let name = TopicName::new(&found.name).map_err(Error::log(failed()))?;
        let partitions: Vec<TopicPartition> = (0..found.partitions)
            .map(|number| TopicPartition::new(name.clone(), PartitionId::new(number)))
            .collect();
        let is_emptied = self.emptied.iter().any(|topic| *topic == *found.name);
        let now = self.config.clock.now();
        let plan = OffsetResetPlan::new(log, &self.config.application_id, &partitions, to, now)
            .map_err(Error::log(failed()))?;
        let mut inputs = Vec::new();
        for PartitionReset { topic_partition, current, new, .. } in plan.partitions {
            let watermarks = log
                .watermarks(&topic_partition)
                .map_err(Error::log(format!("a look at {topic_partition}")))?;
            let to = new.unwrap_or(watermarks.start);
            inputs.push(InputReset {
                from: current,
                to: if is_emptied { Offset::ZERO } else { to },
                replay_end: if is_emptied { Offset::ZERO } else { watermarks.end },
                topic_partition,
            });
        }
        Ok(inputs)
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
