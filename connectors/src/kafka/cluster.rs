//! The cluster behind a log: the clients that ask it, and what they find out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Error, LogId, PartitionId, Result, SystemClock, TopicName, TopicPartition,
};
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::context::{NativeConsumer, ReaderContext, log, log_error};
use crate::kafka::failure;
use crate::kafka::member::Members;
use crate::kafka::settings::{Settings, refused};

/// How long a failed request is not repeated.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// How many groups' clients are kept for the next question about their offsets.
const GROUP_CLIENTS_MAX: usize = 16;

/// Passes on what the admin client has to say.
#[derive(Debug)]
pub(super) struct AdminContext;

impl ClientContext for AdminContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

/// See the module.
pub(super) struct Cluster {
    pub(super) id: LogId,
    pub(super) settings: Settings,
    clock: SystemClock,
    pub(super) admin: AdminClient<AdminContext>,
    /// Asks about topics and offsets. It reads what is not committed as well, so that the ends it
    /// finds are the high watermarks.
    pub(super) query: NativeConsumer,
    /// Asks where partitions end for readers of what was committed: the last stable offsets. A
    /// consumer's own client would answer only after the fetch that it waits for.
    pub(super) stable: NativeConsumer,
    /// One client for each group that was asked about: a client belongs to one group.
    groups: Mutex<BTreeMap<String, Arc<NativeConsumer>>>,
    pub(super) members: Members,
}

impl Cluster {
    /// Connects: a broker has to answer.
    pub(super) fn connect(settings: Settings) -> Result<Self> {
        let cluster = Self::of(settings)?;
        let asked = cluster.query.fetch_metadata(None, cluster.settings.request_timeout);
        asked.map_err(|error| Error::External {
            operation: "connect",
            reason: format!("no broker answers at {}: {error}", cluster.settings.bootstrap),
            retriable: true,
        })?;
        Ok(cluster)
    }

    /// The clients, which connect by themselves.
    fn of(settings: Settings) -> Result<Self> {
        let mut query = settings.reader("headwater-no-group");
        let stable = query
            .create_with_context(ReaderContext::new())
            .map_err(|error| creation_failed("connect", error))?;
        query.set("isolation.level", "read_uncommitted");
        let query: NativeConsumer = query
            .create_with_context(ReaderContext::new())
            .map_err(|error| creation_failed("connect", error))?;
        let admin = settings
            .client()
            .create_with_context(AdminContext)
            .map_err(|error| creation_failed("connect", error))?;
        Ok(Self {
            id: LogId::unique(),
            settings,
            clock: SystemClock::new(),
            admin,
            query,
            stable,
            groups: Mutex::new(BTreeMap::new()),
            members: Members::default(),
        })
    }

    /// What the clock says that deadlines are held against.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How admin requests are made.
    pub(super) fn options(&self) -> AdminOptions {
        let timeout = Some(self.settings.request_timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    /// Tries until it works, fails for good, or the time is over.
    pub(super) fn retry<T>(
        &self,
        operation: &'static str,
        mut request: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> Result<T> {
        let deadline = self.now().saturating_add(self.settings.request_timeout);
        loop {
            // Who asks has no poll, so its errors would pile up.
            while self.query.poll(Duration::ZERO).is_some() {}
            while self.stable.poll(Duration::ZERO).is_some() {}
            match request(deadline.saturating_sub(self.now())) {
                Ok(answer) => return Ok(answer),
                Err(error) if !failure::is_retriable(&error) => {
                    return Err(failure::external(operation, &error));
                }
                Err(_) if self.now() < deadline => pause(),
                Err(error) => return Err(self.without_answer(operation, &error)),
            }
        }
    }

    /// The error of a question that was asked for as long as it may take.
    fn without_answer(&self, operation: &'static str, error: &KafkaError) -> Error {
        let Settings { bootstrap, request_timeout, .. } = &self.settings;
        Error::External {
            operation,
            reason: format!("no answer of {bootstrap} within {request_timeout:?}: {error}"),
            retriable: true,
        }
    }

    /// The partitions of all topics.
    pub(super) fn topics(&self) -> Result<BTreeMap<String, u32>> {
        let metadata = self.retry("topics", |timeout| self.query.fetch_metadata(None, timeout))?;
        let known = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(known.map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
    }

    /// How many partitions a topic has; `None` if it is not there.
    pub(super) fn find_partitions(&self, topic: &str) -> Result<Option<u32>> {
        let metadata = self.retry("describe_topic", |timeout| {
            let metadata = self.query.fetch_metadata(Some(topic), timeout)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found.and_then(|found| found.error()) {
                None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
                    Ok(metadata)
                }
                Some(error) => Err(KafkaError::MetadataFetch(error.into())),
            }
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.filter(|found| found.error().is_none());
        Ok(found.map(|found| count(found.partitions().len())).filter(|partitions| *partitions > 0))
    }

    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.find_partitions(topic.as_str())?
            .ok_or_else(|| Error::UnknownTopic { topic: topic.clone() })
    }

    /// Waits until the brokers show what was just changed.
    pub(super) fn wait_until_known(
        &self,
        operation: &'static str,
        is_known: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        match self.wait_for(self.settings.request_timeout, is_known)? {
            true => Ok(()),
            false => Err(Error::External {
                operation,
                reason: "the cluster has said that it is done, and does not show it".to_owned(),
                retriable: true,
            }),
        }
    }

    /// Waits until something holds; `false` if the time was over before.
    pub(super) fn wait_for(
        &self,
        timeout: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let deadline = self.now().saturating_add(timeout);
        while !holds()? {
            if self.now() >= deadline {
                return Ok(false);
            }
            pause();
        }
        Ok(true)
    }

    /// Says which of the two it is that a broker does not know.
    pub(super) fn check_exists(&self, topic_partition: &TopicPartition) -> Result<()> {
        let partitions = self.partitions(&topic_partition.topic)?;
        match topic_partition.partition.value() < partitions {
            true => Ok(()),
            false => Err(Error::UnknownPartition {
                topic_partition: topic_partition.clone(),
                partitions,
            }),
        }
    }

    /// As [`check_exists`](Self::check_exists) for each, with one question for each topic.
    pub(super) fn check_all_exist(&self, partitions: &[TopicPartition]) -> Result<()> {
        let mut known = BTreeMap::new();
        for topic_partition in partitions {
            let topic = &topic_partition.topic;
            let count = match known.get(topic) {
                Some(count) => *count,
                None => self.partitions(topic)?,
            };
            known.insert(topic, count);
            if topic_partition.partition.value() >= count {
                let topic_partition = topic_partition.clone();
                return Err(Error::UnknownPartition { topic_partition, partitions: count });
            }
        }
        Ok(())
    }

    /// All partitions of a topic.
    pub(super) fn all_partitions(
        &self,
        topic: &str,
        partitions: u32,
    ) -> Result<Vec<TopicPartition>> {
        let name = TopicName::new(topic)?;
        let numbers = (0..partitions).map(PartitionId::new);
        Ok(numbers.map(|partition| TopicPartition::new(name.clone(), partition)).collect())
    }

    /// A client that may ask for and commit the offsets of a group, without being a member.
    pub(super) fn group_client(&self, group: &str) -> Result<Arc<NativeConsumer>> {
        let mut groups = self.groups.lock();
        if let Some(client) = groups.get(group) {
            return Ok(Arc::clone(client));
        }
        let client: NativeConsumer = self
            .settings
            .reader(group)
            .create_with_context(ReaderContext::new())
            .map_err(|error| creation_failed("consumer", error))?;
        let client = Arc::new(client);
        if groups.len() >= GROUP_CLIENTS_MAX {
            groups.pop_first();
        }
        groups.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    /// The client for questions that have to do with no group.
    pub(super) fn query(&self) -> &NativeConsumer {
        &self.query
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The error of a client that cannot be made: a config that librdkafka refuses, most of the time.
pub(super) fn creation_failed(operation: &'static str, error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, key, value) => refused(&key, &value, reason),
        other => failure::external(operation, &other),
    }
}

/// Whether a broker does not know the topic or the partition.
pub(super) fn is_unknown(error: &KafkaError) -> bool {
    let unknown = [Code::UnknownTopicOrPartition, Code::UnknownTopic, Code::UnknownPartition];
    failure::code(error).is_some_and(|code| unknown.contains(&code))
}

/// Waits before the next try.
pub(super) fn pause() {
    std::thread::park_timeout(RETRY_BACKOFF);
}

fn count(partitions: usize) -> u32 {
    u32::try_from(partitions).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headwater_log_store::Error;

    use super::Cluster;
    use crate::kafka::settings::KafkaLogBuilder;

    /// Who runs several applications had to guess which cluster does not answer.
    #[test]
    fn a_question_that_nobody_answers_names_the_brokers_and_ends_in_time() {
        let builder = KafkaLogBuilder::new("127.0.0.1:1".to_owned());
        let settings = builder.request_timeout(Duration::from_millis(200)).check().unwrap();
        let error = Cluster::of(settings).unwrap().topics().unwrap_err();
        let Error::External { operation, reason, retriable } = error else { panic!("{error}") };
        assert_eq!((operation, retriable), ("topics", true));
        assert!(reason.starts_with("no answer of 127.0.0.1:1 within 200ms: "), "{reason}");
    }
}
