//! What sinks send: records are serialized, given their partition, and handed to the log. What
//! cannot be written goes to the production handler.

use headwater_log_store::{Header, PartitionId, ProducerRecord, partition_for_key};

use crate::context::{Context, ResolvedTopic, Step, WRITER_HEADER, partition_for_task, valid};
use crate::error::BoxError;
use crate::error_handler::{FailedOutput, FailureKind};
use crate::metrics::DropReason;
use crate::partitioner::PartitionerRef;
use crate::record::Record;
use crate::serdes::Serde;

/// Where a sink writes.
#[derive(Clone, Debug)]
pub(crate) struct SinkTarget {
    pub(crate) topic: ResolvedTopic,
    /// Whether records carry the task that wrote them.
    pub(crate) writer: bool,
}

/// A record's key and value as they are written.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
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
        let mut key_bytes = std::mem::take(&mut self.key_buffer);
        let mut value_bytes = std::mem::take(&mut self.value_buffer);
        key_bytes.clear();
        value_bytes.clear();
        let serialized = serialize(serdes.0, &record.key, &mut key_bytes)
            .map_err(|reason| format!("key: {reason}"))
            .and_then(|key| {
                let value = serialize(serdes.1, &record.value, &mut value_bytes);
                Ok((key, value.map_err(|reason| format!("value: {reason}"))?))
            });
        let result = match serialized {
            Err(reason) => {
                let output = FailedOutput::to(name);
                self.fail_to_produce(FailureKind::Serialization, reason, output)
            }
            Ok((key_is_some, value_is_some)) => {
                let len = serdes.0.partition_bytes_len(&key_bytes);
                let by_key = key_bytes.get(..len).filter(|_| key_is_some);
                let bytes = Bytes {
                    key: key_is_some.then_some(&key_bytes[..]),
                    value: value_is_some.then_some(&value_bytes[..]),
                };
                match (chosen, by_key) {
                    (Some(chosen), _) => self.send_to_each(target, bytes, record, chosen),
                    (None, Some(by_key)) => {
                        let partition = partition_for_key(by_key, *partitions);
                        self.send_to(target, bytes, record, partition)
                    }
                    (None, None) => {
                        let partition =
                            partition_for_task(self.current.task.partition, *partitions);
                        self.send_to(target, bytes, record, partition)
                    }
                }
            }
        };
        self.key_buffer = key_bytes;
        self.value_buffer = value_bytes;
        result
    }

    fn send_to_each<K, V>(
        &mut self,
        target: &SinkTarget,
        bytes: Bytes<'_>,
        record: &Record<K, V>,
        mut partitions: Vec<u32>,
    ) -> Step {
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            self.send_to(target, bytes, record, PartitionId::new(partition))?;
        }
        Ok(())
    }

    /// Sends a record with its time and its headers, and the task that wrote it where that counts.
    fn send_to<K, V>(
        &mut self,
        target: &SinkTarget,
        bytes: Bytes<'_>,
        record: &Record<K, V>,
        partition: PartitionId,
    ) -> Step {
        let writer = self.current.task.partition.to_be_bytes();
        let header = Header { key: WRITER_HEADER, value: Some(&writer) };
        let one = [header];
        let many: Vec<Header<'_>>;
        let headers: &[Header<'_>] = match (record.headers.is_empty(), target.writer) {
            (true, true) => &one,
            (true, false) => &[],
            (false, writer) => {
                many = record.headers.iter().chain(writer.then_some(header)).collect();
                &many
            }
        };
        let sent = self.try_send(&ProducerRecord {
            topic: &target.topic.name,
            partition: Some(partition),
            key: bytes.key,
            value: bytes.value,
            timestamp: valid(record.timestamp),
            headers,
        })?;
        sent.or_else(|reason| {
            let output = FailedOutput {
                topic: &target.topic.name,
                partition: Some(partition.value()),
                key: bytes.key,
                value: bytes.value,
            };
            self.fail_to_produce(FailureKind::Production, reason, output)
        })
    }
}

/// Appends the bytes of a value; `false` is a null.
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
