//! A consumer's partitions: where each is read, and what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Error, GroupOffsets, Offset, RebalanceListener,
    RecordBatch, Result, TopicName, TopicPartition, Watermarks,
};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::kafka::cluster::{Cluster, creation_failed};
use crate::kafka::context::{Bell, NativeConsumer, ReaderContext};
use crate::kafka::convert::{list, native_offset};
use crate::kafka::failure;
use crate::kafka::groups;
use crate::kafka::partition::{Assigned, Room};
use crate::kafka::settings::refused;

/// The group of consumers that have none: librdkafka needs a name, and nobody joins it.
const NO_GROUP: &str = "headwater-no-group";

/// A consumer on a cluster.
#[derive(Debug)]
pub(super) struct KafkaConsumer {
    pub(super) cluster: Arc<Cluster>,
    pub(super) config: ConsumerConfig,
    pub(super) client: Client,
    pub(super) bell: Bell,
    pub(super) assigned: Vec<Assigned>,
    /// Whose turn it is.
    turn: usize,
    pub(super) subscription: Option<Subscription>,
    pub(super) member_id: String,
    /// How many rebalances there were.
    pub(super) generation: i32,
}

/// librdkafka's consumer, which has no words for itself.
pub(super) struct Client(pub(super) Arc<NativeConsumer>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) offset: Offset,
    /// Where it ends, if that had to be asked for.
    pub(super) end: Option<Offset>,
}

pub(super) struct Subscription {
    pub(super) topics: BTreeSet<TopicName>,
    /// `None` while it is being called.
    pub(super) listener: Option<Box<dyn RebalanceListener>>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl KafkaConsumer {
    pub(super) fn new(cluster: Arc<Cluster>, config: &ConsumerConfig) -> Result<Self> {
        for (key, value) in [
            ("max.poll.records", config.max_poll_records),
            ("fetch.max.bytes", config.fetch_bytes_max),
        ] {
            if value == 0 {
                return Err(refused(key, "0", "a poll could never return anything"));
            }
        }
        if config.group.as_deref() == Some("") {
            let reason = "a group has a name; leave it out to have no group";
            return Err(refused("group.id", "", reason));
        }
        let group = config.group.as_deref().unwrap_or(NO_GROUP);
        let client_id = config.client_id.clone().unwrap_or_else(|| format!("consumer-{group}"));
        let interval_ms = config.max_poll_interval.as_millis();
        let mut settings = cluster.settings.reader(group);
        settings.set("client.id", &client_id);
        settings.set("max.poll.interval.ms", interval_ms.to_string());
        if let Some(wait) = config.fetch_wait_max {
            settings.set("fetch.wait.max.ms", wait.as_millis().to_string());
        }
        if let Some(session_ms) = settings
            .get("session.timeout.ms")
            .map_or(Ok(45_000), str::parse)
            .ok()
            .filter(|session_ms: &u128| *session_ms > interval_ms)
        {
            let reason = format!("it is at least session.timeout.ms, which is {session_ms}");
            return Err(refused("max.poll.interval.ms", &interval_ms.to_string(), reason));
        }
        let mut client: NativeConsumer = settings
            .create_with_context(ReaderContext::new())
            .map_err(|error| creation_failed("consumer", error))?;
        let bell = Bell::default();
        let rings = bell.clone();
        client.set_nonempty_callback(move || rings.news());
        let client = Arc::new(client);
        let member_id = cluster.members.join(&client_id, &client);
        Ok(Self {
            cluster,
            config: config.clone(),
            client: Client(client),
            bell,
            assigned: Vec::new(),
            turn: 0,
            subscription: None,
            member_id,
            generation: 0,
        })
    }

    pub(super) fn find(
        &self,
        partition: &TopicPartition,
        operation: &'static str,
    ) -> Result<&Assigned> {
        let found = self.assigned.iter().find(|assigned| assigned.topic_partition == *partition);
        found.ok_or_else(|| not_assigned(partition, operation))
    }

    pub(super) fn find_mut(
        &mut self,
        partition: &TopicPartition,
        operation: &'static str,
    ) -> Result<&mut Assigned> {
        let mut assigned = self.assigned.iter_mut();
        let found = assigned.find(|assigned| assigned.topic_partition == *partition);
        found.ok_or_else(|| not_assigned(partition, operation))
    }

    /// Where to begin in partitions.
    pub(super) fn starts(&self, partitions: &[TopicPartition]) -> Result<Vec<Result<Start>>> {
        let committed = match &self.config.group {
            Some(group) => groups::committed(&self.cluster, group, partitions)?,
            None => GroupOffsets::new(),
        };
        let others = partitions.iter().filter(|partition| !committed.contains_key(partition));
        let others: Vec<TopicPartition> = others.cloned().collect();
        let watermarks = self.cluster.all_stable_watermarks(&others)?;
        let watermarks: BTreeMap<&TopicPartition, Watermarks> =
            others.iter().zip(watermarks).collect();
        let start = |partition: &TopicPartition| {
            let noted = committed.get(partition);
            let Some(Watermarks { start, end }) = watermarks.get(partition).copied() else {
                let offset = noted.map_or(Offset::ZERO, |noted| noted.offset);
                return Ok(Start { offset, end: None });
            };
            match self.config.auto_offset_reset {
                AutoOffsetReset::Earliest => Ok(Start { offset: start, end: Some(end) }),
                AutoOffsetReset::Latest => Ok(Start { offset: end, end: Some(end) }),
                _ => Err(Error::InvalidState {
                    operation: "poll",
                    reason: format!(
                        "the group has no committed offset for {partition}, and \
                         auto.offset.reset is none"
                    ),
                }),
            }
        };
        Ok(partitions.iter().map(start).collect())
    }

    pub(super) fn native_list(&self, of: impl Fn(&Assigned) -> bool) -> Result<TopicPartitionList> {
        let chosen = self.assigned.iter().filter(|assigned| of(assigned));
        list(chosen.filter_map(|assigned| {
            Some((&assigned.topic_partition, native_offset(assigned.position?)))
        }))
    }

    /// Tells librdkafka of positions that have changed, and of partitions that have come.
    pub(super) fn restart(&mut self) -> Result<()> {
        if !self.assigned.iter().any(|assigned| assigned.restart) {
            return Ok(());
        }
        let restarted = self.native_list(|assigned| assigned.restart)?;
        let again = self.native_list(|assigned| assigned.restart && assigned.begun)?;
        for assigned in self.assigned.iter_mut().filter(|assigned| assigned.restart) {
            (assigned.restart, assigned.begun) = (false, true);
        }
        let client = &self.client.0;
        let gone = if again.count() == 0 { Ok(()) } else { client.incremental_unassign(&again) };
        gone.and_then(|()| client.incremental_assign(&restarted))
            .map_err(|error| failure::external("seek", &error))
    }

    /// Has the client learn of topics that it is to read for the first time. As long as it does not
    /// know a topic, librdkafka drops its partitions, and their queues, at every change.
    pub(super) fn learn(&self, partitions: &[TopicPartition]) -> Result<()> {
        let known: BTreeSet<&TopicName> =
            self.assigned.iter().map(|assigned| &assigned.topic_partition.topic).collect();
        let topics: BTreeSet<&TopicName> =
            partitions.iter().map(|partition| &partition.topic).collect();
        for topic in topics.difference(&known) {
            self.cluster.retry("assign", |timeout| {
                self.client.0.fetch_metadata(Some(topic.as_str()), timeout).map(drop)
            })?;
        }
        Ok(())
    }

    /// What was fetched; partitions take turns.
    pub(super) fn collect(&mut self) -> Result<Vec<RecordBatch>> {
        let mut room =
            Room { records: self.config.max_poll_records, bytes: self.config.fetch_bytes_max };
        let mut batches: Vec<RecordBatch> = Vec::new();
        let count = self.assigned.len();
        for step in 0..count {
            let turn = (self.turn + step) % count;
            let Some(assigned) = self.assigned.get_mut(turn).filter(|each| !each.paused) else {
                continue;
            };
            if assigned.position.is_none() {
                let partition = std::slice::from_ref(&assigned.topic_partition).to_vec();
                for start in self.starts(&partition)? {
                    start?;
                }
                continue;
            }
            match assigned.read(room) {
                Ok(None) => {}
                Ok(Some(batch)) => {
                    room.records = room.records.saturating_sub(batch.len());
                    room.bytes = room.bytes.saturating_sub(batch.bytes_len());
                    batches.push(batch);
                }
                Err(Error::OffsetOutOfRange { topic_partition, offset, .. }) => {
                    self.reset(&topic_partition, offset)?;
                }
                Err(error) if batches.is_empty() => return Err(error),
                Err(error) => {
                    // First what was read. An error that lasts comes back by itself.
                    tracing::debug!(%error, "a partition cannot be read");
                }
            }
            if room.records == 0 || room.bytes == 0 {
                self.turn = (turn + 1) % count;
                break;
            }
        }
        Ok(batches)
    }

    /// Goes where `auto.offset.reset` says from a position that the partition does not have.
    pub(super) fn reset(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        let Watermarks { start, end } = self.cluster.stable_watermarks(topic_partition)?;
        let position = match self.config.auto_offset_reset {
            AutoOffsetReset::Earliest => start,
            AutoOffsetReset::Latest => end,
            _ => {
                return Err(Error::InvalidState {
                    operation: "poll",
                    reason: format!(
                        "offset {offset} is out of range for {topic_partition}, which has \
                         {start} up to {end}, and auto.offset.reset is none"
                    ),
                });
            }
        };
        tracing::warn!(%topic_partition, %offset, %position, "the position is out of range");
        self.seek(topic_partition, position)
    }
}

fn not_assigned(partition: &TopicPartition, operation: &'static str) -> Error {
    Error::InvalidState { operation, reason: format!("{partition} is not assigned") }
}
