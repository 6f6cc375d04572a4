//! What a topology finds of what an earlier one has left behind under the same application id.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use headwater_log_store::{GroupOffsets, Log, PartitionId, TopicName, TopicPartition, Watermarks};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::{Graph, Topology};
use crate::runtime::formats::{Formats, Part, formats_of, noted, notes_topic};
use crate::runtime::registry::running_on;
use crate::runtime::resolve::{Resolved, resolve};
use crate::runtime::wipe::{group_offsets, is_internal};

/// What becomes of a store or a repartition topic of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeChange {
    /// It is as it was, and goes on.
    Kept,
    /// There is nothing of it yet: it begins empty.
    New,
    /// The topology has it no more. Its topic stays as it is, until somebody deletes it or the
    /// application is reset.
    Orphaned,
    /// What is there is not what the topology would read: the application does not start.
    Incompatible {
        /// What differs.
        reason: String,
    },
}

/// One store or repartition topic in an [`UpgradePlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedPart {
    /// What it is.
    pub part: Part,
    /// The topic that it is in.
    pub topic: String,
    /// What becomes of it.
    pub change: UpgradeChange,
    /// How many offsets its topic has; of a repartition topic, those that are not processed yet.
    pub records: u64,
}

/// How a topology compares with what its application id has left in a log: see
/// [`Topology::plan`]. `Display` prints it as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradePlan {
    /// The application.
    pub application_id: String,
    /// Its stores with a changelog and its repartition topics, those of now and those of before.
    pub parts: Vec<PlannedPart>,
    /// How many records of changelogs the next start reads to restore what is kept; of stores on
    /// disk, as many at most.
    pub restored: u64,
    /// How many records of the input are processed already which new and incompatible stores have
    /// not seen: what a [`Reset`](crate::Reset) would let the application replay for them. Without
    /// it, new stores know only of records from now on.
    pub replayed: u64,
}

impl UpgradePlan {
    /// Whether the application would start.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        self.incompatible().next().is_none()
    }

    /// The parts that keep it from starting, with their reasons.
    fn incompatible(&self) -> impl Iterator<Item = String> {
        self.parts.iter().filter_map(|planned| match &planned.change {
            UpgradeChange::Incompatible { reason } => Some(format!("{}: {reason}", planned.part)),
            _ => None,
        })
    }

    /// Refuses a topology that would read other rows than there are.
    pub(crate) fn check(&self) -> Result<()> {
        let parts: Vec<String> = self.incompatible().collect();
        if parts.is_empty() {
            return Ok(());
        }
        Err(Error::Incompatible { application_id: self.application_id.clone(), parts })
    }
}

impl fmt::Display for UpgradePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>12} CHANGE", "PART", "RECORDS")?;
        for PlannedPart { part, change, records, .. } in &self.parts {
            write!(f, "{:<44} {records:>12} ", part.to_string())?;
            match change {
                UpgradeChange::Kept => writeln!(f, "kept")?,
                UpgradeChange::New => writeln!(f, "new")?,
                UpgradeChange::Orphaned => writeln!(f, "orphaned")?,
                UpgradeChange::Incompatible { reason } => writeln!(f, "incompatible: {reason}")?,
            }
        }
        writeln!(f, "to restore from changelogs: {} records", self.restored)?;
        writeln!(f, "to replay for new stores: {} records", self.replayed)
    }
}

impl Topology {
    /// Compares this topology with what an earlier one has left behind under the same
    /// `application.id`: which stores and repartition topics are kept, new, orphaned or
    /// incompatible. Nothing is changed. The start of an application does the same, and refuses
    /// what is incompatible.
    ///
    /// A store is known by its name, so that one that is renamed is orphaned and new; it is
    /// incompatible if the kind of store, the [format](crate::Serde::format_name) of its keys or
    /// values, or the size of its windows is another one, or if its changelog has another number of
    /// partitions than the topology needs, because its input has. Nodes without a store matter to
    /// nothing of this.
    ///
    /// ```
    /// use headwater_log_store::{Log, LogStore, NewTopic};
    /// use headwater_topology::{
    ///     Materialized, Streams, StreamsBuilder, StreamsConfig, Topology, UpgradeChange,
    /// };
    /// use std::sync::Arc;
    ///
    /// fn counting(store: &str) -> Topology {
    ///     let builder = StreamsBuilder::new();
    ///     builder.stream::<String, String>("words").group_by_key().count(store);
    ///     builder.build().unwrap()
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
    /// log.create_topic(&NewTopic::new("words"))?;
    /// let config = StreamsConfig::new("word-count");
    /// let streams = Streams::new(&counting("counts"), config.clone(), Arc::clone(&log));
    /// streams.start()?;
    /// streams.close()?;
    ///
    /// let plan = counting("counts-by-word").plan(&config, &log)?;
    /// print!("{plan}");
    /// let changes: Vec<_> = plan.parts.iter().map(|part| &part.change).collect();
    /// assert_eq!(changes, [&UpgradeChange::Orphaned, &UpgradeChange::New]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `MissingTopic`, `NotCoPartitioned`, or a failure of the log.
    pub fn plan(&self, config: &StreamsConfig, log: &Arc<dyn Log>) -> Result<UpgradePlan> {
        config.check_application_id()?;
        let resolved = resolve(&self.graph, config, log.as_ref())?;
        let noted = noted(log.as_ref(), &config.application_id)?;
        let offsets = group_offsets(log.as_ref(), &config.application_id)?;
        let before = Before { noted: &noted, offsets: &offsets };
        plan(&self.graph, config, &resolved, before, log.as_ref())
    }
}

/// What an application id has left behind.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) noted: &'a Formats,
    pub(crate) offsets: &'a GroupOffsets,
}

/// See [`Topology::plan`].
pub(crate) fn plan(
    graph: &Graph,
    config: &StreamsConfig,
    resolved: &Resolved,
    before: Before<'_>,
    log: &dyn Log,
) -> Result<UpgradePlan> {
    let application_id = config.application_id.as_str();
    let formats = formats_of(graph);
    let topics = log.topics().map_err(Error::log("a look at the topics"))?;
    let topics = topics.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let planner = Planner { graph, config, resolved, log, before, topics };
    let mut parts: Vec<PlannedPart> = Vec::new();
    for (part, format) in &formats {
        parts.push(planner.planned(part, format)?);
    }
    parts.extend(planner.orphaned(&formats)?);
    parts.sort_by(|a, b| a.part.cmp(&b.part));
    let restored = parts
        .iter()
        .filter(|planned| matches!(planned.part, Part::Store(_)))
        .filter(|planned| planned.change == UpgradeChange::Kept)
        .map(|planned| planned.records)
        .sum();
    let replayed = planner.replayed(&parts)?;
    Ok(UpgradePlan { application_id: application_id.to_owned(), parts, restored, replayed })
}

/// What a plan is made from.
struct Planner<'a> {
    graph: &'a Graph,
    config: &'a StreamsConfig,
    resolved: &'a Resolved,
    log: &'a dyn Log,
    before: Before<'a>,
    /// The partitions of all topics.
    topics: BTreeMap<TopicName, u32>,
}

impl Planner<'_> {
    /// A part that the topology has.
    fn planned(&self, part: &Part, format: &str) -> Result<PlannedPart> {
        let topic = part.topic(&self.config.application_id);
        let planned = |change, records| PlannedPart {
            part: part.clone(),
            topic: topic.clone(),
            change,
            records,
        };
        let Some(partitions) = self.partitions(&topic) else {
            return Ok(planned(UpgradeChange::New, 0));
        };
        let records = self.records(part, &topic, partitions)?;
        let incompatible = |reason| planned(UpgradeChange::Incompatible { reason }, records);
        let needed = self.resolved.internal.get(&topic).map_or(partitions, |new| new.partitions);
        if partitions != needed {
            return Ok(incompatible(format!(
                "{topic} has {partitions} partitions where the topology needs {needed}"
            )));
        }
        let is_accepted = matches!(part, Part::Store(name) if self.config.kept.contains(name));
        // Without records there is nothing that could be read wrongly.
        match self.before.noted.get(part).filter(|_| records > 0 && !is_accepted) {
            Some(noted) if noted != format => {
                Ok(incompatible(format!("it holds a {noted}, and the topology has a {format}")))
            }
            _ => Ok(planned(UpgradeChange::Kept, records)),
        }
    }

    /// The parts that the topology does not have any more. Those that were made before there were
    /// notes are known by the names of their topics.
    fn orphaned(&self, formats: &Formats) -> Result<Vec<PlannedPart>> {
        let application_id = self.config.application_id.as_str();
        let mut others = self.log.groups().map_err(Error::log("a look at the groups"))?;
        others.extend(running_on(self.log));
        let notes = notes_topic(application_id);
        let mut orphaned = Vec::new();
        for (topic, partitions) in &self.topics {
            let name = topic.as_str();
            let is_own = is_internal(application_id, others.iter().map(String::as_str), name);
            let rest = name.strip_prefix(application_id).and_then(|rest| rest.strip_prefix('-'));
            let (Some(rest), true) = (rest, is_own && name != notes) else { continue };
            let part = match rest.strip_suffix("-changelog") {
                Some(store) => Part::Store(store.to_owned()),
                None => Part::Repartition(rest.to_owned()),
            };
            if !formats.contains_key(&part) {
                let records = self.records(&part, name, *partitions)?;
                let (topic, change) = (name.to_owned(), UpgradeChange::Orphaned);
                orphaned.push(PlannedPart { part, topic, change, records });
            }
        }
        Ok(orphaned)
    }

    /// How many partitions a topic has, if it is there.
    fn partitions(&self, topic: &str) -> Option<u32> {
        self.topics.get(&TopicName::new(topic).ok()?).copied()
    }

    fn watermarks(&self, partitions: &[TopicPartition]) -> Result<Vec<Watermarks>> {
        let topic = partitions.first().map(ToString::to_string).unwrap_or_default();
        self.log.all_watermarks(partitions).map_err(Error::log(format!("a look at {topic}")))
    }

    fn records(&self, part: &Part, topic: &str, partitions: u32) -> Result<u64> {
        let mut records = 0;
        let partitions = partitions_of(topic, partitions)?;
        for (partition, watermarks) in partitions.iter().zip(self.watermarks(&partitions)?) {
            let committed = self.before.offsets.get(partition).map(|committed| committed.offset);
            let from = match part {
                Part::Store(_) => watermarks.start,
                Part::Repartition(_) => committed.unwrap_or(watermarks.start).max(watermarks.start),
            };
            records += watermarks.end.value().saturating_sub(from.value());
        }
        Ok(records)
    }

    /// How many records were processed of the topics that the input of new and incompatible
    /// stores comes from, each counted once.
    fn replayed(&self, parts: &[PlannedPart]) -> Result<u64> {
        let empty: BTreeSet<&str> = parts
            .iter()
            .filter(|planned| {
                matches!(planned.change, UpgradeChange::New | UpgradeChange::Incompatible { .. })
            })
            .filter_map(|planned| match &planned.part {
                Part::Store(name) => Some(name.as_str()),
                Part::Repartition(_) => None,
            })
            .collect();
        let subtopologies = 0..self.graph.subtopologies.len();
        let has_empty = |index: &usize| {
            self.graph.stores_of(*index).iter().any(|store| empty.contains(store.name.as_str()))
        };
        let mut replayed = 0;
        for topic in self.inputs_above(subtopologies.filter(has_empty).collect()) {
            let Some(partitions) = self.partitions(topic) else { continue };
            let is_read = |partition: &TopicPartition| self.before.offsets.contains_key(partition);
            let mut read = partitions_of(topic, partitions)?;
            read.retain(is_read);
            for (partition, watermarks) in read.iter().zip(self.watermarks(&read)?) {
                let Some(committed) = self.before.offsets.get(partition) else { continue };
                replayed += committed.offset.value().saturating_sub(watermarks.start.value());
            }
        }
        Ok(replayed)
    }

    /// The topics of others that sub-topologies read, by themselves or through those above them.
    fn inputs_above(&self, mut ahead: Vec<usize>) -> BTreeSet<&str> {
        let (mut seen, mut inputs) = (BTreeSet::new(), BTreeSet::new());
        while let Some(index) = ahead.pop() {
            if !seen.insert(index) {
                continue;
            }
            for (_, topic) in self.graph.source_topics(index) {
                if topic.internal {
                    ahead.extend(Resolved::writer_of(self.graph, topic));
                } else {
                    inputs.insert(topic.name.as_str());
                }
            }
        }
        inputs
    }
}

fn partitions_of(topic: &str, partitions: u32) -> Result<Vec<TopicPartition>> {
    let name = TopicName::new(topic).map_err(Error::log(format!("a look at topic {topic}")))?;
    let numbers = 0..partitions;
    Ok(numbers.map(|number| TopicPartition::new(name.clone(), PartitionId::new(number))).collect())
}
