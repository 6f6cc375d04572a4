//! The topics that a producer has sent to, and the partition that a record goes to.

use std::collections::HashMap;
use std::time::Duration;

use headwater_log_store::{
    Error, PartitionId, ProducerRecord, Result, TopicName, TopicPartition, partition_for_key,
};

use crate::kafka::cluster::Cluster;

/// Records without a key go to one partition until this many bytes went there, as with Kafka's
/// `batch.size`.
const STICKY_BYTES: usize = 16 << 10;
/// How long a topic's number of partitions is taken to stay what it is.
const TOPIC_AGE_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KnownTopics {
    topics: Vec<KnownTopic>,
    by_name: HashMap<String, usize>,
    /// The topic of the last record: that of the next one is mostly the same.
    last: usize,
}

#[derive(Debug)]
struct KnownTopic {
    name: TopicName,
    partitions: u32,
    /// When the cluster was asked.
    since: Duration,
    /// The partition of the run without keys, and the bytes that went there.
    sticky: (u32, usize),
}

impl KnownTopics {
    /// Where a record goes, at that time.
    pub(super) fn choose(
        &mut self,
        cluster: &Cluster,
        record: &ProducerRecord<'_>,
        now: Duration,
    ) -> Result<TopicPartition> {
        let is_last = |known: &KnownTopic| known.name.as_str() == record.topic;
        if !self.topics.get(self.last).is_some_and(is_last) {
            self.last = self.find(cluster, record.topic, now)?;
        }
        let known = self.topics.get_mut(self.last).expect("just found");
        let fits = record.partition.is_none_or(|wanted| wanted.value() < known.partitions);
        if !fits || now.saturating_sub(known.since) >= TOPIC_AGE_MAX {
            // It may have more partitions now, or be gone.
            known.partitions = cluster.partitions(&known.name)?;
            known.since = now;
        }
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, known.partitions),
            (None, None) => known.next_sticky(record.value.map_or(0, <[u8]>::len)),
        };
        let topic_partition = TopicPartition::new(known.name.clone(), partition);
        match partition.value() < known.partitions {
            true => Ok(topic_partition),
            false => Err(Error::UnknownPartition { topic_partition, partitions: known.partitions }),
        }
    }

    fn find(&mut self, cluster: &Cluster, name: &str, now: Duration) -> Result<usize> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(*known);
        }
        let topic = TopicName::new(name)?;
        let partitions = cluster.partitions(&topic)?;
        self.topics.push(KnownTopic { name: topic, partitions, since: now, sticky: (0, 0) });
        self.by_name.insert(name.to_owned(), self.topics.len() - 1);
        Ok(self.topics.len() - 1)
    }
}

impl KnownTopic {
    fn next_sticky(&mut self, bytes: usize) -> PartitionId {
        let (partition, sent) = &mut self.sticky;
        if *sent >= STICKY_BYTES {
            *partition = partition.wrapping_add(1);
            *sent = 0;
        }
        *sent += bytes;
        PartitionId::new(*partition % self.partitions)
    }
}
