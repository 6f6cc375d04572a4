//! What sinks send: records are serialized, given their partition, and handed to the log. What
//! cannot be written goes to the production handler.

use std::mem::take;

use headwater_log_store::{Header, PartitionId, ProducerRecord, Timestamp, partition_for_key};

use crate::context::{Context, ResolvedTopic, Step, WRITER_HEADER, partition_for_task, valid};
use crate::error::BoxError;
use crate::error_handler::{FailedOutput, FailureKind};
use crate::metrics::DropReason;
use crate::partitioner::PartitionerRef;
use crate::record::{Headers, Record};
use crate::serdes::Serde;

/// Where a sink writes.
#[derive(Clone, Debug)]
pub(crate) struct SinkTarget {
    pub(crate) topic: ResolvedTopic,
    /// Whether records carry the task that wrote them.
    pub(crate) writer: bool,
}

/// Which of a record's key and value are there; the bytes are in the buffers of the context.
#[derive(Clone, Copy)]
struct Serialized {
    has_key: bool,
    has_value: bool,
}

impl Context {
    /// Serializes a record and sends it, to the partitions that the partitioner says or else to
    /// that of its key. One that cannot be serialized or that the log refuses goes to the
    /// production handler.
    pub(crate) fn send_typed<K: 'static, V: 'static>(
        &mut self,
        target: &SinkTarget,
        serdes: (&dyn Serde<K>, &dyn Serde<V>),
        record: &Record<K, V>,
        partitioner: Option<&PartitionerRef<K, V>>,
    ) -> Step {
        let ResolvedTopic { name, partitions } = &target.topic;
        let chosen = partitioner.and_then(|partitioner| {
            partitioner.partitions(name, &record.key, &record.value, *partitions)
        });
        if let Some(chosen) = &chosen {
            if chosen.is_empty() {
                self.drop_record(DropReason::NoPartition);
                return Ok(());
            }
            if let Some(wrong) = chosen.iter().find(|partition| *partition >= partitions) {
                let reason = format!("{name} has {partitions} partitions, so no partition {wrong}");
                let output = FailedOutput { partition: Some(*wrong), ..FailedOutput::to(name) };
                return self.fail_to_produce(FailureKind::Production, reason, output);
            }
        }
        let serialized = match self.serialize_record(serdes, record) {
            Ok(serialized) => serialized,
            Err(reason) => {
                let output = FailedOutput::to(name);
                return self.fail_to_produce(FailureKind::Serialization, reason, output);
            }
        };
        let about = (record.timestamp, &record.headers);
        if let Some(chosen) = chosen {
            return self.send_to_each(target, serialized, about, chosen);
        }
        let by_key = if serialized.has_key && *partitions > 1 {
            self.key_buffer.get(..serdes.0.partition_bytes_len(&self.key_buffer))
        } else {
            None
        };
        let partition = match by_key {
            Some(key) => partition_for_key(key, *partitions),
            None => partition_for_task(self.current.task.partition, *partitions),
        };
        self.send_to(target, serialized, about, partition)
    }

    /// Fills the buffers with the bytes of a record.
    #[inline]
    fn serialize_record<K: 'static, V: 'static>(
        &mut self,
        serdes: (&dyn Serde<K>, &dyn Serde<V>),
        record: &Record<K, V>,
    ) -> Result<Serialized, String> {
        self.key_buffer.clear();
        self.value_buffer.clear();
        let has_key = serialize(serdes.0, &record.key, &mut self.key_buffer)
            .map_err(|reason| format!("key: {reason}"))?;
        let has_value = serialize(serdes.1, &record.value, &mut self.value_buffer)
            .map_err(|reason| format!("value: {reason}"))?;
        Ok(Serialized { has_key, has_value })
    }

    fn send_to_each(
        &mut self,
        target: &SinkTarget,
        serialized: Serialized,
        about: (Timestamp, &Headers),
        mut partitions: Vec<u32>,
    ) -> Step {
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            self.send_to(target, serialized, about, PartitionId::new(partition))?;
        }
        Ok(())
    }

    /// Sends what is in the buffers with a record's time and headers, and the task that wrote it
    /// where that counts.
    #[inline]
    fn send_to(
        &mut self,
        target: &SinkTarget,
        Serialized { has_key, has_value }: Serialized,
        (timestamp, own_headers): (Timestamp, &Headers),
        partition: PartitionId,
    ) -> Step {
        let writer = self.current.task.partition.to_be_bytes();
        let header = Header { key: WRITER_HEADER, value: Some(&writer) };
        let one = [header];
        let many: Vec<Header<'_>>;
        // A record that says nothing is one of the first task: the header is half of a small record.
        // Beside other headers it is written all the same, since one of those may have its name.
        let is_first = self.current.task.partition == 0 && own_headers.is_empty();
        let is_marked = target.writer && self.marks_writers && !is_first;
        let headers: &[Header<'_>] = match (own_headers.is_empty(), is_marked) {
            (true, true) => &one,
            (true, false) => &[],
            (false, writer) => {
                many = own_headers.iter().chain(writer.then_some(header)).collect();
                &many
            }
        };
        // Lent to the record, and of no use to what is sent because it was refused.
        let (key, value) = (take(&mut self.key_buffer), take(&mut self.value_buffer));
        let sent = self.try_send(&ProducerRecord {
            topic: &target.topic.name,
            partition: Some(partition),
            key: has_key.then_some(&key),
            value: has_value.then_some(&value),
            timestamp: valid(timestamp),
            headers,
        });
        let sent = match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => {
                let output = FailedOutput {
                    topic: &target.topic.name,
                    partition: Some(partition.value()),
                    key: has_key.then_some(&key),
                    value: has_value.then_some(&value),
                };
                self.fail_to_produce(FailureKind::Production, reason, output)
            }
            Err(failure) => Err(failure),
        };
        (self.key_buffer, self.value_buffer) = (key, value);
        sent
    }
}

/// Appends the bytes of a value; `false` is a null.
#[inline]
fn serialize<T: 'static>(
    serde: &dyn Serde<T>,
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    if serde.is_null(value) {
        return Ok(false);
    }
    serde.serialize(value, buffer)?;
    Ok(true)
}
