//! `KafkaLog`: a cluster as the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use headwater_log_store::{
    AlterConfigOp, ConfigEntry, Consumer, ConsumerConfig, EpochEndOffset, Error, GroupDescription,
    GroupOffsets, LeaderEpoch, Log, LogId, NewTopic, Offset, Producer, ProducerConfig, Result,
    Timestamp, TopicDescription, TopicName, TopicPartition, Watermarks,
};
use rdkafka::admin::{
    AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic as NativeTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};

use crate::kafka::cluster::Cluster;
use crate::kafka::convert::{list, native_offset};
use crate::kafka::failure;
use crate::kafka::groups;
use crate::kafka::producer::KafkaProducer;
use crate::kafka::reading::KafkaConsumer;
use crate::kafka::settings::{KafkaLogBuilder, refused};

/// How long a change of configs takes at most to be shown; one that is refused is never shown.
const CONFIGS_SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// A Kafka cluster as a [`Log`]: what runs on the embedded log runs on it, on many machines.
///
/// Consumers read what was committed, and share the partitions of a group by cooperative-sticky
/// assignment. Producers are idempotent; those with a `transactional.id` write in Kafka's
/// transactions, fenced by their successors. What librdkafka has no call for answers `Unsupported`:
/// [`offset_for_leader_epoch`](Log::offset_for_leader_epoch), and taking single committed offsets
/// away in [`alter_group_offsets`](Log::alter_group_offsets).
///
/// Ids of members in [`GroupMetadata`](headwater_log_store::GroupMetadata) are this process's own;
/// [`describe_group`](Log::describe_group) has those of the brokers. A cluster does not check that a
/// committed offset lies within its partition.
///
/// ```no_run
/// use headwater_connectors::KafkaLog;
/// use headwater_log_store::{Log, NewTopic};
///
/// # fn main() -> Result<(), headwater_log_store::Error> {
/// let log = KafkaLog::builder("localhost:9092").connect()?;
/// log.create_topic(&NewTopic::new("clicks").partitions(4))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
}

impl KafkaLogBuilder {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// `InvalidConfig` for a config that librdkafka does not know or that the log sets itself,
    /// `External` if no broker answers within the request timeout.
    pub fn connect(self) -> Result<KafkaLog> {
        Ok(KafkaLog { cluster: Arc::new(Cluster::connect(self.check()?)?) })
    }
}

impl KafkaLog {
    /// A log on the cluster that these brokers lead to: `host:port`, several with commas between.
    #[must_use]
    pub fn builder(bootstrap: impl Into<String>) -> KafkaLogBuilder {
        KafkaLogBuilder::new(bootstrap.into())
    }

    /// Asks for topics to be created, and waits until those that are there now are known.
    fn request_topics(&self, topics: &[&NewTopic]) -> Result<Vec<Result<()>>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let cluster = &self.cluster;
        let replicas = cluster.settings.replication_factor.map_or(-1, i32::from);
        let native: Vec<_> = topics.iter().map(|topic| native_topic(topic, replicas)).collect();
        let answers = cluster.retry("create_topic", |_| {
            block_on(cluster.admin.create_topics(&native, &cluster.options()))
        })?;
        let codes: BTreeMap<String, Option<Code>> = answers
            .into_iter()
            .map(|answer| match answer {
                Ok(topic) => (topic, None),
                Err((topic, code)) => (topic, Some(code)),
            })
            .collect();
        let answer = |topic: &&NewTopic| {
            let code = codes.get(&topic.name).copied().unwrap_or(Some(Code::BadMessage));
            self.judge_creation(topic, code)
        };
        Ok(topics.iter().map(answer).collect())
    }

    fn judge_creation(&self, topic: &NewTopic, code: Option<Code>) -> Result<()> {
        let cluster = &self.cluster;
        match code {
            None => cluster.wait_until_known("create_topic", || {
                Ok(cluster.find_partitions(&topic.name)? == Some(topic.partitions))
            }),
            Some(Code::TopicAlreadyExists) => {
                // Somebody else may be creating it right now, and whoever hears that it exists
                // goes on to use it.
                cluster.wait_until_known("create_topic", || {
                    Ok(cluster.find_partitions(&topic.name)?.is_some())
                })?;
                Err(Error::TopicExists { topic: TopicName::new(&topic.name)? })
            }
            Some(Code::InvalidConfig) => Err(config_error(&topic.configs)),
            Some(code) => Err(failure::of_code("create_topic", code)),
        }
    }

    fn configs_of(&self, topics: &[&str]) -> Result<Vec<ConfigResource>> {
        let cluster = &self.cluster;
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let answers = cluster.retry("describe_configs", |_| {
            block_on(cluster.admin.describe_configs(&asked, &cluster.options()))
        })?;
        let found = answers.into_iter().zip(topics).map(|(answer, topic)| match answer {
            Ok(resource) => Ok(resource),
            Err(code) => Err(topic_error("describe_configs", topic, code)?),
        });
        found.collect()
    }

    /// The configs of a topic that somebody has set.
    fn set_configs(&self, topic: &str) -> Result<BTreeMap<String, String>> {
        let resources = self.configs_of(&[topic])?;
        Ok(resources.into_iter().flat_map(set_in).collect())
    }
}

impl Log for KafkaLog {
    fn id(&self) -> LogId {
        self.cluster.id
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        let mut answers = self.create_topics(std::slice::from_ref(topic)).into_iter();
        answers.next().expect("one topic has one answer")
    }

    fn create_topics(&self, topics: &[NewTopic]) -> Vec<Result<()>> {
        let checked: Vec<Result<()>> = topics.iter().map(check_new).collect();
        let good = topics.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let good: Vec<&NewTopic> = good.map(|(topic, _)| topic).collect();
        let mut answers = match self.request_topics(&good) {
            Ok(answers) => answers.into_iter(),
            Err(error) => vec![Err(error); good.len()].into_iter(),
        };
        let mut answer = |()| answers.next().unwrap_or(Ok(()));
        checked.into_iter().map(|checked| checked.and_then(&mut answer)).collect()
    }
    fn create_partitions(&self, topic: &str, total: u32) -> Result<()> {
        let cluster = &self.cluster;
        let before = cluster.partitions(&TopicName::new(topic)?)?;
        if total <= before {
            let reason = format!("the topic has {before}, and partitions are only added");
            return Err(refused("partitions", &total.to_string(), reason));
        }
        let wanted = NewPartitions::new(topic, usize::try_from(total).unwrap_or(usize::MAX));
        let created = cluster.retry("create_partitions", |_| {
            first(block_on(cluster.admin.create_partitions([&wanted], &cluster.options())))
        })?;
        if let Err((_, code)) = created {
            return Err(topic_error("create_partitions", topic, code)?);
        }
        cluster.wait_until_known("create_partitions", || {
            Ok(cluster.find_partitions(topic)? == Some(total))
        })
    }

    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()> {
        let cluster = &self.cluster;
        cluster.partitions(&TopicName::new(topic)?)?;
        // librdkafka's bindings replace all configs at once, so what stays is said again.
        let mut configs = self.set_configs(topic)?;
        for op in ops {
            match op {
                AlterConfigOp::Set { key, value } => configs.insert(key.clone(), value.clone()),
                AlterConfigOp::Delete { key } => configs.remove(key),
                other => {
                    let reason = format!("it has no operation {other:?}");
                    let operation = "incremental_alter_configs";
                    return Err(Error::Unsupported { operation, reason });
                }
            };
        }
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in &configs {
            altered = altered.set(key, value);
        }
        let answered = cluster.retry("incremental_alter_configs", |_| {
            first(block_on(cluster.admin.alter_configs([&altered], &cluster.options())))
        })?;
        answered.map_err(|(_, code)| failure::of_code("incremental_alter_configs", code))?;
        // The bindings do not pass on what the cluster says to it, so what it shows is looked at.
        let shown =
            cluster.wait_for(CONFIGS_SHOWN_WITHIN, || Ok(self.set_configs(topic)? == configs))?;
        if shown { Ok(()) } else { Err(config_error(&configs)) }
    }

    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>> {
        self.cluster.partitions(&TopicName::new(topic)?)?;
        let entries = self.configs_of(&[topic])?.into_iter().flat_map(|found| found.entries);
        let mut configs: Vec<ConfigEntry> = entries
            .map(|entry| ConfigEntry {
                is_default: !is_set(&entry),
                value: entry.value.unwrap_or_default(),
                name: entry.name,
            })
            .collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    fn delete_topic(&self, topic: &str) -> Result<()> {
        let cluster = &self.cluster;
        cluster.partitions(&TopicName::new(topic)?)?;
        let deleted = cluster.retry("delete_topic", |_| {
            first(block_on(cluster.admin.delete_topics(&[topic], &cluster.options())))
        })?;
        if let Err((_, code)) = deleted {
            return Err(topic_error("delete_topic", topic, code)?);
        }
        cluster.wait_until_known("delete_topic", || Ok(cluster.find_partitions(topic)?.is_none()))
    }

    fn topics(&self) -> Result<Vec<TopicDescription>> {
        let topics = self.cluster.topics()?;
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut configs: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for resource in self.configs_of(&names)? {
            if let OwnedResourceSpecifier::Topic(topic) = &resource.specifier {
                configs.insert(topic.clone(), set_in(resource).collect());
            }
        }
        let described = topics.iter().map(|(topic, partitions)| {
            Ok(TopicDescription {
                name: TopicName::new(topic)?,
                partitions: *partitions,
                configs: configs.remove(topic).unwrap_or_default(),
            })
        });
        described.collect()
    }

    fn describe_topic(&self, topic: &str) -> Result<TopicDescription> {
        let name = TopicName::new(topic)?;
        let partitions = self.cluster.partitions(&name)?;
        Ok(TopicDescription { name, partitions, configs: self.set_configs(topic)? })
    }

    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.cluster.watermarks(topic_partition)
    }

    fn all_watermarks(&self, partitions: &[TopicPartition]) -> Result<Vec<Watermarks>> {
        self.cluster.all_watermarks(partitions)
    }

    fn offset_for_leader_epoch(
        &self,
        topic_partition: &TopicPartition,
        _epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEndOffset> {
        self.cluster.check_exists(topic_partition)?;
        Err(Error::Unsupported {
            operation: "offset_for_leader_epoch",
            reason: "librdkafka has no call for it: a position kept outside is good as long as it \
                     lies within the partition"
                .to_owned(),
        })
    }

    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()> {
        let cluster = &self.cluster;
        let Watermarks { start, end } = cluster.watermarks(topic_partition)?;
        if before > end {
            let topic_partition = topic_partition.clone();
            return Err(Error::OffsetOutOfRange { topic_partition, offset: before, start, end });
        }
        if before <= start {
            return Ok(());
        }
        let offsets = list([(topic_partition, native_offset(before))])?;
        let deleted = cluster.retry("delete_records", |_| {
            block_on(cluster.admin.delete_records(&offsets, &cluster.options()))
        })?;
        let outcome = deleted.elements().first().map_or(Ok(()), |element| element.error());
        outcome.map_err(|error| failure::external("delete_records", &error))
    }

    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.cluster.offsets_for_times(times)
    }

    fn groups(&self) -> Result<Vec<String>> {
        groups::names(&self.cluster)
    }

    fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        groups::describe(&self.cluster, group)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        groups::delete(&self.cluster, group)
    }

    fn group_offsets(&self, group: &str) -> Result<GroupOffsets> {
        groups::offsets(&self.cluster, group)
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()> {
        groups::alter_offsets(&self.cluster, group, offsets)
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(KafkaConsumer::new(Arc::clone(&self.cluster), config)?))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        Ok(Box::new(KafkaProducer::new(Arc::clone(&self.cluster), config)?))
    }

    fn is_embedded(&self) -> bool {
        false
    }
}

fn check_new(topic: &NewTopic) -> Result<()> {
    TopicName::new(&topic.name)?;
    match topic.partitions {
        0 => Err(refused("partitions", "0", "a topic has at least one partition")),
        _ => Ok(()),
    }
}

fn native_topic(topic: &NewTopic, replicas: i32) -> NativeTopic<'_> {
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let native = NativeTopic::new(&topic.name, partitions, TopicReplication::Fixed(replicas));
    topic.configs.iter().fold(native, |native, (key, value)| native.set(key, value))
}

/// The answer for the one thing that was asked for.
fn first<T>(answers: KafkaResult<Vec<T>>) -> KafkaResult<T> {
    answers?.into_iter().next().ok_or(rdkafka::error::KafkaError::Canceled)
}

/// The error of a request about a topic.
fn topic_error(operation: &'static str, topic: &str, code: Code) -> Result<Error> {
    Ok(match code {
        Code::UnknownTopicOrPartition => Error::UnknownTopic { topic: TopicName::new(topic)? },
        code => failure::of_code(operation, code),
    })
}

/// The cluster says that a config is wrong, not which one.
fn config_error(configs: &BTreeMap<String, String>) -> Error {
    let said = configs.iter().map(|(key, value)| format!("{key}={value}"));
    let (key, value) = match configs.first_key_value() {
        Some((key, value)) if configs.len() == 1 => (key.clone(), value.clone()),
        _ => ("configs".to_owned(), said.collect::<Vec<_>>().join(" ")),
    };
    refused(&key, &value, "the cluster does not accept it")
}

/// Whether somebody gave the topic this config.
fn is_set(entry: &rdkafka::admin::ConfigEntry) -> bool {
    entry.source == ConfigSource::DynamicTopic
}

fn set_in(resource: ConfigResource) -> impl Iterator<Item = (String, String)> {
    let set = resource.entries.into_iter().filter(is_set);
    set.map(|entry| (entry.name, entry.value.unwrap_or_default()))
}
