//! Where partitions begin and end, as the brokers say.

use headwater_log_store::{Offset, Result, Timestamp, TopicPartition, Watermarks};
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset as NativeOffset;

use crate::kafka::cluster::{Cluster, is_unknown, pause};
use crate::kafka::context::NativeConsumer;
use crate::kafka::convert::{list, native_partition, offset, offset_of};

impl Cluster {
    /// The log start offset and the high watermark.
    pub(super) fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.watermarks_by(&self.query, topic_partition)
    }

    /// As [`watermarks`](Self::watermarks), for a reader of what was committed: the end is the last
    /// stable offset.
    pub(super) fn stable_watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.watermarks_by(&self.stable, topic_partition)
    }

    /// As [`watermarks`](Self::watermarks) for each, with two questions in all.
    pub(super) fn all_watermarks(&self, partitions: &[TopicPartition]) -> Result<Vec<Watermarks>> {
        self.all_watermarks_by(&self.query, partitions)
    }

    /// As [`stable_watermarks`](Self::stable_watermarks) for each, with two questions in all.
    pub(super) fn all_stable_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Watermarks>> {
        self.all_watermarks_by(&self.stable, partitions)
    }

    fn all_watermarks_by(
        &self,
        client: &NativeConsumer,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Watermarks>> {
        if partitions.len() > 1 {
            // The brokers take these words for times.
            let starts = self.offsets_at(client, partitions, NativeOffset::Beginning)?;
            let ends = self.offsets_at(client, partitions, NativeOffset::End)?;
            if let (Some(starts), Some(ends)) = (starts, ends) {
                let both = starts.into_iter().zip(ends);
                return Ok(both.map(|(start, end)| Watermarks { start, end }).collect());
            }
        }
        // Some answers are missing: asked alone, each partition says what is the matter with it.
        partitions.iter().map(|partition| self.watermarks_by(client, partition)).collect()
    }

    /// An offset of each partition, if all of them are known.
    fn offsets_at(
        &self,
        client: &NativeConsumer,
        partitions: &[TopicPartition],
        at: NativeOffset,
    ) -> Result<Option<Vec<Offset>>> {
        let asked = list(partitions.iter().map(|partition| (partition, at)))?;
        let mut unknown = false;
        let asked = self.retry("watermarks", |timeout| {
            let answer = client.offsets_for_times(asked.clone(), timeout);
            unknown = answer.as_ref().is_err_and(is_unknown);
            answer
        });
        let answer = match asked {
            Ok(answer) => answer,
            Err(_) if unknown => return Ok(None),
            Err(error) => return Err(error),
        };
        let answers = answer.elements();
        let found = partitions.iter().map(|partition| {
            let number = native_partition(partition.partition);
            let mut answers = answers.iter();
            let answer = answers.find(|each| {
                each.topic() == partition.topic.as_str() && each.partition() == number
            })?;
            answer.error().is_ok().then(|| offset(answer.offset())).flatten()
        });
        Ok(found.collect())
    }

    fn watermarks_by(
        &self,
        client: &NativeConsumer,
        topic_partition: &TopicPartition,
    ) -> Result<Watermarks> {
        let topic = topic_partition.topic.as_str();
        let partition = native_partition(topic_partition.partition);
        let deadline = self.now().saturating_add(self.settings.request_timeout);
        loop {
            let mut unknown = false;
            let asked = self.retry("watermarks", |timeout| {
                let asked = client.fetch_watermarks(topic, partition, timeout);
                unknown = asked.as_ref().is_err_and(is_unknown);
                asked
            });
            match asked {
                Ok((start, end)) => {
                    return Ok(Watermarks { start: offset_of(start), end: offset_of(end) });
                }
                Err(error) if !unknown || self.now() >= deadline => return Err(error),
                Err(_) => {
                    self.check_exists(topic_partition)?;
                    // It is there, so the client has an old picture of the topic.
                    self.retry("watermarks", |timeout| {
                        client.fetch_metadata(Some(topic), timeout)
                    })?;
                    pause();
                }
            }
        }
    }

    /// For each partition the first offset with at least that timestamp.
    pub(super) fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        let mut found = Vec::with_capacity(times.len());
        for (topic_partition, time) in times {
            self.check_exists(topic_partition)?;
            let asked = list([(
                topic_partition,
                // A time before 1970 is before every record that has one.
                NativeOffset::Offset(time.as_millis().max(0)),
            )])?;
            let answer = self.retry("offsets_for_times", |timeout| {
                self.query.offsets_for_times(asked.clone(), timeout)
            })?;
            let first = answer.elements().first().map(|element| element.offset());
            found.push(first.and_then(offset));
        }
        Ok(found)
    }
}
