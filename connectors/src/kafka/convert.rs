//! Between the seam's types and librdkafka's.

use headwater_log_store::{
    Header, Offset, OffsetAndMetadata, PartitionId, Record, RecordBatchBuilder, Result, Timestamp,
    TopicName, TopicPartition,
};
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use crate::kafka::failure;

/// A partition number as librdkafka has it.
pub(super) fn native_partition(partition: PartitionId) -> i32 {
    i32::try_from(partition.value()).unwrap_or(i32::MAX)
}

/// An offset as librdkafka has it.
pub(super) fn native_offset(offset: Offset) -> NativeOffset {
    NativeOffset::Offset(i64::try_from(offset.value()).unwrap_or(i64::MAX))
}

/// An offset that librdkafka has answered with; `None` for those that are words.
pub(super) fn offset(native: NativeOffset) -> Option<Offset> {
    match native {
        NativeOffset::Offset(offset) => u64::try_from(offset).ok().map(Offset::new),
        _ => None,
    }
}

/// A number that is an offset; anything below 0 is none.
pub(super) fn offset_of(raw: i64) -> Offset {
    Offset::new(u64::try_from(raw).unwrap_or_default())
}

/// A partition that librdkafka has named.
pub(super) fn topic_partition(topic: &str, partition: i32) -> Result<TopicPartition> {
    let partition = PartitionId::new(u32::try_from(partition).unwrap_or_default());
    Ok(TopicPartition::new(TopicName::new(topic)?, partition))
}

/// The partitions of a list, without their offsets.
pub(super) fn partitions(list: &TopicPartitionList) -> Result<Vec<TopicPartition>> {
    list.elements().iter().map(|each| topic_partition(each.topic(), each.partition())).collect()
}

/// A list of partitions with offsets.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, NativeOffset)>,
) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic_partition, offset) in partitions {
        let partition = native_partition(topic_partition.partition);
        list.add_partition_offset(topic_partition.topic.as_str(), partition, offset)
            .map_err(|error| failure::external("a list of offsets", &error))?;
    }
    Ok(list)
}

/// A list of offsets to commit, with their notes.
pub(super) fn commit_list(
    offsets: &[(TopicPartition, OffsetAndMetadata)],
) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (topic_partition, committed) in offsets {
        let partition = native_partition(topic_partition.partition);
        let mut added = list.add_partition(topic_partition.topic.as_str(), partition);
        added
            .set_offset(native_offset(committed.offset))
            .map_err(|error| failure::external("a list of offsets", &error))?;
        added.set_metadata(&committed.metadata);
    }
    Ok(list)
}

/// Copies a message into a batch.
pub(super) fn push(batch: &mut RecordBatchBuilder, message: &BorrowedMessage<'_>) -> usize {
    let headers: Vec<Header<'_>> = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { key: header.key, value: header.value }).collect()
    });
    let record =
        Record { key: message.key(), value: message.payload(), timestamp: None, headers: &headers };
    let timestamp = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(-1));
    batch.push(offset_of(message.offset()), timestamp, &record);
    message.key_len() + message.payload_len()
}

/// Headers as librdkafka sends them; `None` for none.
pub(super) fn native_headers(headers: &[Header<'_>]) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let native = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.iter().fold(native, |native, header| {
        native.insert(rdkafka::message::Header { key: header.key, value: header.value })
    }))
}
