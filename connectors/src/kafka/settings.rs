//! Where the cluster is, and how its clients are set.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log_store::{Compression, Error, ProducerConfig, Result};
use rdkafka::config::ClientConfig;

/// Configs that the log sets itself, each with the reason.
const OWN: [(&str, &str); 13] = [
    ("bootstrap.servers", "it is the argument of `KafkaLog::builder`"),
    ("group.id", "a consumer's config says it"),
    ("client.id", "a consumer's config says it"),
    ("transactional.id", "a producer's config says it"),
    ("compression.type", "a producer's config says it"),
    ("enable.auto.commit", "offsets are committed when the application says so"),
    ("auto.offset.reset", "a consumer's config says it"),
    ("isolation.level", "readers see what was committed, and nothing else"),
    ("enable.idempotence", "every producer is idempotent"),
    ("delivery.report.only.error", "a producer's config says whether there are receipts"),
    ("enable.partition.eof", "the ends of partitions are needed"),
    ("partition.assignment.strategy", "groups share partitions by cooperative-sticky"),
    ("group.protocol", "partitions are revoked inside a poll, which the classic protocol does"),
];

/// Other names of configs that have a default here.
const ALIASES: [(&str, &str); 2] = [
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("linger.ms", "queue.buffering.max.ms"),
];

/// How long librdkafka collects the records of a transaction before it sends them.
const TRANSACTION_LINGER_MS: &str = "25";

/// How a [`KafkaLog`](crate::KafkaLog) reaches its cluster.
///
/// ```no_run
/// use headwater_connectors::KafkaLog;
///
/// # fn main() -> Result<(), headwater_log_store::Error> {
/// let log = KafkaLog::builder("broker-1:9092,broker-2:9092")
///     .set("security.protocol", "ssl")
///     .set("session.timeout.ms", "10000")
///     .replication_factor(3)
///     .connect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct KafkaLogBuilder {
    bootstrap: String,
    configs: BTreeMap<String, String>,
    replication_factor: Option<u16>,
    request_timeout: Duration,
    transaction_bytes_max: usize,
}

impl KafkaLogBuilder {
    pub(super) fn new(bootstrap: String) -> Self {
        Self {
            bootstrap,
            configs: BTreeMap::new(),
            replication_factor: None,
            request_timeout: Duration::from_secs(60),
            transaction_bytes_max: 64 << 20,
        }
    }

    /// Sets a config of librdkafka for all clients of the log, by its name there:
    /// `security.protocol`, `sasl.mechanisms`, `session.timeout.ms`, `transaction.timeout.ms`,
    /// `linger.ms`, … TLS and most logins need the features `ssl` and `sasl` of this package.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }

    /// How many replicas the topics that are created here have. Default = the brokers'
    /// `default.replication.factor`.
    #[must_use]
    pub fn replication_factor(mut self, replicas: u16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// How long a call that needs an answer of the cluster tries to get it. Default = 60 seconds.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How many bytes a transaction is said to hold at most: applications commit at half of it.
    /// Kafka itself has no such limit. Default = 64 MiB.
    #[must_use]
    pub fn transaction_bytes_max(mut self, bytes: usize) -> Self {
        self.transaction_bytes_max = bytes;
        self
    }

    /// What was collected, once nothing of it is the log's own affair.
    pub(super) fn check(self) -> Result<Settings> {
        for (key, value) in &self.configs {
            if let Some((_, reason)) = OWN.iter().find(|(own, _)| own == key) {
                return Err(refused(key, value, *reason));
            }
        }
        Ok(Settings {
            bootstrap: self.bootstrap,
            configs: self.configs,
            replication_factor: self.replication_factor,
            request_timeout: self.request_timeout,
            transaction_bytes_max: self.transaction_bytes_max,
        })
    }
}

/// What a [`KafkaLogBuilder`] has collected.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bootstrap: String,
    configs: BTreeMap<String, String>,
    pub(super) replication_factor: Option<u16>,
    pub(super) request_timeout: Duration,
    pub(super) transaction_bytes_max: usize,
}

impl Settings {
    /// What all clients have in common.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        for (key, value) in &self.configs {
            client.set(key, value);
        }
        // Half of it is also how long librdkafka rests between two new connections, the first one of a
        // client included: with its own 100 ms each client takes 50 ms before it asks anything.
        self.default(&mut client, "reconnect.backoff.ms", "20");
        // The first records of a topic that was just created are refused once or twice. Each further
        // retry waits twice as long.
        self.default(&mut client, "retry.backoff.ms", "20");
        client
    }

    /// A client that reads what was committed, for a group or (as nobody) without one.
    pub(super) fn reader(&self, group: &str) -> ClientConfig {
        let mut client = self.client();
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("allow.auto.create.topics", "false");
        // An end is confirmed by another fetch, and one that waits is in its way.
        self.default(&mut client, "fetch.wait.max.ms", "50");
        // What is fetched ahead of the polls: each message takes hundreds of bytes beside its own, so
        // librdkafka's own defaults make hundreds of MiB of small records, and what has left the
        // processor's caches by the time it is read costs more.
        self.default(&mut client, "fetch.message.max.bytes", "262144");
        self.default(&mut client, "queued.min.messages", "4000");
        self.default(&mut client, "queued.max.messages.kbytes", "16384");
        // A partition of which as much is fetched is looked at again after this: librdkafka's own
        // second leaves a fast reader without records for most of it.
        self.default(&mut client, "fetch.queue.backoff.ms", "5");
        // Topics that come and partitions that are added are seen within this.
        self.default(&mut client, "topic.metadata.refresh.interval.ms", "5000");
        client
    }

    /// A client that writes.
    pub(super) fn writer(&self, config: &ProducerConfig) -> ClientConfig {
        let mut client = self.client();
        client.set("enable.idempotence", "true");
        client.set(
            "compression.type",
            match config.compression {
                Compression::Lz4 => "lz4",
                _ => "none",
            },
        );
        // Who has no receipts wants to know of failures only: nothing is called for each record.
        client.set("delivery.report.only.error", config.without_receipts.to_string());
        if let Some(id) = &config.transactional_id {
            client.set("transactional.id", id);
            // Nobody sees a record before the commit, which sends all there is: larger batches,
            // and so less requests, cost no time.
            self.default(&mut client, "linger.ms", TRANSACTION_LINGER_MS);
        }
        // As Kafka Streams has it: a worker that dies holds its readers back no longer.
        self.default(&mut client, "transaction.timeout.ms", "10000");
        client
    }

    fn default(&self, client: &mut ClientConfig, key: &str, value: &str) {
        let alias = ALIASES.iter().find(|(name, _)| *name == key).map(|(_, alias)| *alias);
        let is_set = |name: &str| self.configs.contains_key(name);
        if !is_set(key) && !alias.is_some_and(is_set) {
            client.set(key, value);
        }
    }
}

/// The error for a config that is refused.
pub(super) fn refused(key: &str, value: &str, reason: impl Into<String>) -> Error {
    Error::InvalidConfig { key: key.to_owned(), value: value.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use headwater_log_store::ProducerConfig;

    use super::KafkaLogBuilder;

    fn builder() -> KafkaLogBuilder {
        KafkaLogBuilder::new("127.0.0.1:1".to_owned())
    }

    #[test]
    fn a_default_gives_way_to_what_was_set_by_either_name() {
        let in_transactions =
            ProducerConfig { transactional_id: Some("p".to_owned()), ..ProducerConfig::default() };
        let ours = builder().check().unwrap();
        assert_eq!(ours.writer(&in_transactions).get("linger.ms"), Some("25"));
        assert_eq!(ours.writer(&ProducerConfig::default()).get("linger.ms"), None);
        assert_eq!(ours.reader("g").get("fetch.message.max.bytes"), Some("262144"));
        assert_eq!(ours.client().get("reconnect.backoff.ms"), Some("20"));
        assert_eq!(ours.client().get("retry.backoff.ms"), Some("20"));
        let set = builder().set("linger.ms", "7").set("max.partition.fetch.bytes", "1000");
        let set = set.set("reconnect.backoff.ms", "100");
        let theirs = set.check().unwrap();
        assert_eq!(theirs.writer(&in_transactions).get("linger.ms"), Some("7"));
        assert_eq!(theirs.client().get("reconnect.backoff.ms"), Some("100"));
        assert_eq!(theirs.reader("g").get("fetch.message.max.bytes"), None);
        assert_eq!(theirs.reader("g").get("max.partition.fetch.bytes"), Some("1000"));
    }

    #[test]
    fn what_is_the_logs_own_is_refused_with_its_reason() {
        let refused = builder().set("group.id", "mine").check().unwrap_err().to_string();
        assert!(refused.contains("group.id") && refused.contains("consumer's config"), "{refused}");
    }
}
