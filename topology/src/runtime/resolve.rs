//! From a graph to a log: how many tasks there are, and the topics with their names and
//! partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use headwater_log_store::{Error as LogError, Log, NewTopic};

use crate::config::StreamsConfig;
use crate::context::ResolvedTopic;
use crate::error::{Error, Result};
use crate::graph::node::StoreKind;
use crate::graph::plan::Graph;
use crate::types::TopicRef;

/// A graph on a log.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) topics: Arc<HashMap<TopicRef, ResolvedTopic>>,
    /// How many tasks each sub-topology has.
    pub(crate) tasks: Vec<u32>,
    /// The sub-topologies, upstream first.
    pub(crate) order: Vec<usize>,
    /// The topics that belong to the application, by name.
    pub(crate) internal: BTreeMap<String, NewTopic>,
    pub(crate) dead_letters: Option<ResolvedTopic>,
}

impl Resolved {
    pub(crate) fn topic(&self, topic: &TopicRef) -> &ResolvedTopic {
        self.topics.get(topic).expect("every topic of the graph is resolved")
    }

    /// Whether a sub-topology reads what itself or a later one writes.
    pub(crate) fn is_feedback(&self, graph: &Graph, reader: usize, topic: &TopicRef) -> bool {
        let position = |index| self.order.iter().position(|each| *each == index);
        Self::writer_of(graph, topic).is_some_and(|writer| position(writer) >= position(reader))
    }

    /// The sub-topology that writes a repartition topic.
    pub(crate) fn writer_of(graph: &Graph, topic: &TopicRef) -> Option<usize> {
        (0..graph.subtopologies.len())
            .find(|index| graph.sink_topics(*index).iter().any(|(_, sink)| *sink == topic))
    }
}

/// The name of an internal topic in the log.
pub(crate) fn internal_name(application_id: &str, name: &str) -> String {
    format!("{application_id}-{name}")
}

/// Looks up the topics that have to exist, and works out the others.
pub(crate) fn resolve(graph: &Graph, config: &StreamsConfig, log: &dyn Log) -> Result<Resolved> {
    let mut topics: HashMap<TopicRef, ResolvedTopic> = HashMap::new();
    let mut internal = BTreeMap::new();
    let mut tasks = vec![0_u32; graph.subtopologies.len()];
    let order = graph.upstream_first();
    for &index in &order {
        for (node, topic) in graph.source_topics(index) {
            if !topic.internal {
                let found = existing(log, &topic.name, &graph.node(node).name)?;
                topics.insert(topic.clone(), found);
            }
        }
        adopt_partitions(graph, index, &mut topics, &mut internal);
        let sources = graph.source_topics(index).into_iter();
        let count = sources.map(|(_, topic)| topics.get(topic).map_or(0, |topic| topic.partitions));
        let count = if graph.is_global(index) { 0 } else { count.max().unwrap_or(0) };
        if let Some(slot) = tasks.get_mut(index) {
            *slot = count;
        }
        for (node, topic) in graph.sink_topics(index) {
            let found = if topic.internal {
                let name = internal_name(&config.application_id, &topic.name);
                let enforced = graph.enforced_partitions.get(topic).copied();
                let earlier = || read_by_earlier(graph, topic, &tasks);
                let partitions = enforced.or_else(earlier).unwrap_or(count);
                internal.insert(name.clone(), repartition_topic(&name, partitions));
                ResolvedTopic { name: name.into(), partitions }
            } else {
                existing(log, &topic.name, &graph.node(node).name)?
            };
            topics.insert(topic.clone(), found);
        }
        for store in graph.stores_of(index).into_iter().filter(|store| store.logged) {
            let name = internal_name(&config.application_id, &store.changelog());
            let mut topic = changelog_topic(&name, count, store.kind, config);
            topic.configs.extend(store.configs.clone());
            internal.insert(name, topic);
        }
    }
    check_copartitioning(graph, &topics)?;
    let dead_letters = match &config.dead_letter_topic {
        Some(topic) => Some(existing(log, topic, "errors.dead.letter.queue.topic.name")?),
        None => None,
    };
    Ok(Resolved { topics: Arc::new(topics), tasks, order, internal, dead_letters })
}

/// The internal topics that are missing.
pub(crate) fn missing_topics(resolved: &Resolved, log: &dyn Log) -> Result<Vec<NewTopic>> {
    let mut missing = Vec::new();
    for (name, topic) in &resolved.internal {
        match log.describe_topic(name) {
            Ok(found) if found.partitions == topic.partitions => {}
            Ok(found) => {
                return Err(Error::InternalTopicPartitions {
                    topic: name.clone(),
                    found: found.partitions,
                    needed: topic.partitions,
                });
            }
            Err(LogError::UnknownTopic { .. }) => missing.push(topic.clone()),
            Err(source) => return Err(Error::log(format!("a look at topic {name}"))(source)),
        }
    }
    Ok(missing)
}

/// Creates topics, unless another process of the application was faster.
pub(crate) fn create_topics(topics: &[NewTopic], log: &dyn Log) -> Result<()> {
    for (topic, created) in topics.iter().zip(log.create_topics(topics)) {
        match created {
            Ok(()) | Err(LogError::TopicExists { .. }) => {}
            Err(source) => {
                return Err(Error::log(format!("the creation of topic {}", topic.name))(source));
            }
        }
    }
    Ok(())
}

fn existing(log: &dyn Log, topic: &str, node: &str) -> Result<ResolvedTopic> {
    match log.describe_topic(topic) {
        Ok(found) => {
            Ok(ResolvedTopic { name: found.name.as_str().into(), partitions: found.partitions })
        }
        Err(LogError::UnknownTopic { .. }) => {
            Err(Error::MissingTopic { topic: topic.to_owned(), node: node.to_owned() })
        }
        Err(source) => Err(Error::log(format!("a look at topic {topic}"))(source)),
    }
}

/// A topic that leads back is read by as many tasks as were there before it was.
fn read_by_earlier(graph: &Graph, topic: &TopicRef, tasks: &[u32]) -> Option<u32> {
    let reads = |index: &usize| graph.source_topics(*index).iter().any(|(_, read)| *read == topic);
    let reader = (0..graph.subtopologies.len()).find(reads)?;
    tasks.get(reader).copied().filter(|tasks| *tasks > 0)
}

/// Repartition topics take the number of partitions of the topics that they are read together
/// with; among themselves the largest.
fn adopt_partitions(
    graph: &Graph,
    index: usize,
    topics: &mut HashMap<TopicRef, ResolvedTopic>,
    internal: &mut BTreeMap<String, NewTopic>,
) {
    let read: Vec<&TopicRef> =
        graph.source_topics(index).into_iter().map(|(_, topic)| topic).collect();
    for group in merged(graph.copartitioned.iter().filter(|g| g.iter().any(|t| read.contains(&t))))
    {
        let partitions = |topic: &&TopicRef| topics.get(*topic).map_or(0, |found| found.partitions);
        let is_given =
            |topic: &TopicRef| !topic.internal || graph.enforced_partitions.contains_key(topic);
        let given = group.iter().copied().filter(|topic| is_given(topic));
        let least = given.map(|topic| partitions(&topic)).min();
        let largest = || group.iter().map(partitions).max().unwrap_or_default();
        let count = least.unwrap_or_else(largest);
        for topic in group.iter().filter(|topic| !is_given(topic)) {
            if let Some(found) = topics.get_mut(*topic) {
                found.partitions = count;
                if let Some(created) = internal.get_mut(&*found.name) {
                    created.partitions = count;
                }
            }
        }
    }
}

/// Groups that share a topic are one.
fn merged<'a>(groups: impl Iterator<Item = &'a BTreeSet<TopicRef>>) -> Vec<BTreeSet<&'a TopicRef>> {
    let mut merged: Vec<BTreeSet<&TopicRef>> = Vec::new();
    for group in groups {
        let mut whole: BTreeSet<&TopicRef> = group.iter().collect();
        merged.retain(|other| {
            let apart = other.is_disjoint(&whole);
            if !apart {
                whole.extend(other);
            }
            apart
        });
        merged.push(whole);
    }
    merged
}

fn check_copartitioning(graph: &Graph, topics: &HashMap<TopicRef, ResolvedTopic>) -> Result<()> {
    for group in &graph.copartitioned {
        let found: Vec<&ResolvedTopic> =
            group.iter().filter_map(|topic| topics.get(topic)).collect();
        if found.windows(2).any(|pair| matches!(pair, [a, b] if a.partitions != b.partitions)) {
            let topics: Vec<String> = found
                .iter()
                .map(|topic| format!("{} has {} partitions", topic.name, topic.partitions))
                .collect();
            return Err(Error::NotCoPartitioned { topics: topics.join(", ") });
        }
    }
    Ok(())
}

/// Kafka Streams' configs: kept for ever, in small segments, because committed records are
/// deleted explicitly.
fn repartition_topic(name: &str, partitions: u32) -> NewTopic {
    NewTopic::new(name)
        .partitions(partitions)
        .config("cleanup.policy", "delete")
        .config("retention.ms", "-1")
        .config("segment.bytes", "52428800")
}

/// What Kafka Streams adds to the history of a versioned store.
const DAY_MS: i64 = 86_400_000;

fn changelog_topic(
    name: &str,
    partitions: u32,
    kind: StoreKind,
    config: &StreamsConfig,
) -> NewTopic {
    // Only sealed segments are compacted: what a restore reads is the live keys and about this.
    let topic = NewTopic::new(name).partitions(partitions).config("segment.bytes", "16777216");
    match kind {
        StoreKind::KeyValue => topic.config("cleanup.policy", "compact"),
        // Older versions of a key stay readable as long as the store goes back.
        StoreKind::Versioned { history_ms } => topic
            .config("cleanup.policy", "compact")
            .config("min.compaction.lag.ms", history_ms.saturating_add(DAY_MS).to_string()),
        StoreKind::Window { retention_ms, .. } => {
            let kept_ms =
                retention_ms.saturating_add(config.window_changelog_additional_retention_ms);
            topic
                .config("cleanup.policy", "compact,delete")
                .config("retention.ms", kept_ms.to_string())
        }
    }
}
