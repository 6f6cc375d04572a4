//! The rows of a dump: names and values, in the words of Kafka's `DumpLogSegments`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::BatchHeader;
use crate::checkpoint::{Checkpoint, Redo};
use crate::group::OffsetCommit;
use crate::inspect::journal::WholeEntry;
use crate::journal::batches;
use crate::published::PublishedEnd;
use crate::record::RecordView;
use crate::topic::TopicFile;
use crate::types::{Offset, TopicName};

/// One thing of a file, with its fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpRow {
    /// What it is: `batch`, `record`, `entry`, …
    pub kind: &'static str,
    /// The names and values of its fields.
    pub fields: Vec<(&'static str, DumpValue)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpValue {
    /// A number.
    Number(i64),
    /// A number that may not fit `i64`.
    Unsigned(u64),
    /// Yes or no.
    Flag(bool),
    /// Text; it may hold control characters, as names of groups do.
    Text(String),
    /// Bytes of a user, or null.
    Bytes(Option<Vec<u8>>),
    /// Names and values of a user's or an operator's.
    Pairs(Vec<(String, Option<Vec<u8>>)>),
}

impl From<i64> for DumpValue {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for DumpValue {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<u32> for DumpValue {
    fn from(value: u32) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<Offset> for DumpValue {
    fn from(value: Offset) -> Self {
        Self::Unsigned(value.value())
    }
}

impl From<bool> for DumpValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<&str> for DumpValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Option<&[u8]>> for DumpValue {
    fn from(value: Option<&[u8]>) -> Self {
        Self::Bytes(value.map(<[u8]>::to_vec))
    }
}

fn row<const N: usize>(kind: &'static str, fields: [(&'static str, DumpValue); N]) -> DumpRow {
    DumpRow { kind, fields: fields.into() }
}

pub(super) fn damage_row(
    position: u64,
    bytes: u64,
    offsets: Option<Range<Offset>>,
    reason: &str,
) -> DumpRow {
    let mut row = row("damage", [("position", position.into()), ("size", bytes.into())]);
    if let Some(offsets) = offsets {
        row.fields.push(("firstLostOffset", offsets.start.into()));
        row.fields.push(("nextOffset", offsets.end.into()));
    }
    row.fields.push(("isvalid", false.into()));
    row.fields.push(("reason", reason.into()));
    row
}

pub(super) fn store_row(store_id: Option<u128>) -> DumpRow {
    let id = store_id.map_or("damaged".to_owned(), |id| format!("{id:032x}"));
    row("store", [("storeId", DumpValue::Text(id))])
}

pub(super) fn batch_row(position: u64, header: &BatchHeader) -> DumpRow {
    let time = if header.has_append_time() { "LogAppendTime" } else { "CreateTime" };
    let mut row = row(
        "batch",
        [
            ("baseOffset", header.base_offset.into()),
            ("lastOffset", (header.base_offset + u64::from(header.last_offset_delta)).into()),
            ("count", header.record_count.into()),
            ("position", position.into()),
            (time, header.max_timestamp.as_millis().into()),
            ("size", (header.bytes_len as u64).into()),
            ("magic", 2u32.into()),
            ("compresscodec", header.codec_name().into()),
            ("crc", header.crc.into()),
            ("placeChecksum", header.place.into()),
            ("isvalid", true.into()),
        ],
    );
    if let Some(horizon) = header.delete_horizon() {
        row.fields.push(("deleteHorizonMs", horizon.as_millis().into()));
    }
    row
}

pub(super) fn record_row(record: &RecordView<'_>) -> DumpRow {
    let headers = record.headers.iter();
    let headers = headers.map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect();
    row(
        "record",
        [
            ("offset", record.offset.into()),
            ("timestamp", record.timestamp.as_millis().into()),
            ("key", record.key.into()),
            ("payload", record.value.into()),
            ("headers", DumpValue::Pairs(headers)),
        ],
    )
}

pub(super) fn offsets_row(record: &RecordView<'_>, commit: &OffsetCommit) -> DumpRow {
    let committed = commit.offset.as_ref();
    let mut row = row(
        "offsetCommit",
        [
            ("offset", record.offset.into()),
            ("timestamp", record.timestamp.as_millis().into()),
            ("group", commit.group.as_str().into()),
            ("topic", commit.topic_partition.topic.as_str().into()),
            ("partition", commit.topic_partition.partition.value().into()),
            ("isTombstone", committed.is_none().into()),
        ],
    );
    if let Some(committed) = committed {
        row.fields.push(("committedOffset", committed.offset.into()));
        row.fields.push(("metadata", committed.metadata.as_str().into()));
    }
    row
}

pub(super) fn index_row(offset: Offset, position: u32, timestamp_before: i64) -> DumpRow {
    row(
        "index",
        [
            ("offset", offset.into()),
            ("position", position.into()),
            ("timestampBefore", timestamp_before.into()),
        ],
    )
}

pub(super) fn entry_rows(
    entry: &WholeEntry,
    topics: &BTreeMap<TopicName, TopicFile>,
) -> Vec<DumpRow> {
    let mut rows = vec![row(
        "entry",
        [
            ("position", entry.position.into()),
            ("sequence", entry.header.sequence.into()),
            ("durableSequence", entry.header.durable_sequence.into()),
            ("payloadSize", (entry.header.payload_len as u64).into()),
            ("isvalid", true.into()),
        ],
    )];
    for batch in batches(&entry.payload).unwrap_or_default() {
        let topic = topics.iter().find(|(_, file)| file.id == batch.topic_id);
        let mut fields: Vec<(&'static str, DumpValue)> = vec![
            ("topicId", batch.topic_id.into()),
            ("topic", topic.map_or("", |(name, _)| name.as_str()).into()),
            ("partition", batch.partition.value().into()),
            ("size", (batch.bytes.len() as u64).into()),
        ];
        if let Ok(header) = BatchHeader::parse(batch.bytes) {
            let last = header.base_offset + u64::from(header.last_offset_delta);
            fields.push(("baseOffset", header.base_offset.into()));
            fields.push(("lastOffset", last.into()));
            fields.push(("count", header.record_count.into()));
        }
        rows.push(DumpRow { kind: "journaledBatch", fields });
    }
    rows
}

pub(super) fn checkpoint_rows(checkpoint: &Checkpoint) -> Vec<DumpRow> {
    let redo = match checkpoint.redo {
        Redo::Journal => "journal",
        Redo::SyncedJournal => "synced journal",
        Redo::Segments => "segments",
    };
    let mut rows = vec![row(
        "checkpoint",
        [
            ("generation", checkpoint.generation.into()),
            ("clean", checkpoint.clean.into()),
            ("redo", redo.into()),
            ("leaderEpoch", checkpoint.epoch.value().into()),
            ("bootId", checkpoint.boot_id.as_str().into()),
            ("journalPosition", checkpoint.journal.position.into()),
            ("journalSequence", checkpoint.journal.sequence.into()),
            ("durableSequence", checkpoint.journal.durable_sequence.into()),
            ("journalBytes", checkpoint.journal_bytes.into()),
            ("nextTopicId", checkpoint.next_topic_id.into()),
        ],
    )];
    for partition in &checkpoint.partitions {
        rows.push(row(
            "partition",
            [
                ("topicId", partition.topic_id.into()),
                ("partition", partition.partition.value().into()),
                ("logStartOffset", partition.start.into()),
            ],
        ));
        for known in partition.epochs.starts() {
            let fields =
                [("leaderEpoch", known.epoch.value().into()), ("startOffset", known.start.into())];
            rows.push(row("epoch", fields));
        }
        for segment in &partition.segments {
            let end = segment.id.base + u64::from(segment.end.relative_offset);
            let mut row = row(
                "segment",
                [
                    ("baseOffset", segment.id.base.into()),
                    ("revision", segment.id.revision.into()),
                    ("endOffset", end.into()),
                    ("endPosition", segment.end.position.into()),
                    ("appendTime", segment.append_time.as_millis().into()),
                ],
            );
            if let Some(first) = segment.first_append_time {
                row.fields.push(("firstAppendTime", first.as_millis().into()));
            }
            if let Some(clean_since) = segment.clean_since {
                row.fields.push(("cleanSince", clean_since.as_millis().into()));
            }
            rows.push(row);
        }
    }
    rows
}

pub(super) fn published_row(end: &PublishedEnd) -> DumpRow {
    let offset = end.segment_base + u64::from(end.segment_end.relative_offset);
    row(
        "published",
        [
            ("topicId", end.topic_id.into()),
            ("partition", end.partition.value().into()),
            ("logStartOffset", end.start.into()),
            ("segmentBaseOffset", end.segment_base.into()),
            ("endOffset", offset.into()),
            ("endPosition", end.segment_end.position.into()),
        ],
    )
}

pub(super) fn topic_row(name: &TopicName, file: &TopicFile) -> DumpRow {
    let configs = file.configs.iter();
    let configs = configs.map(|(k, v)| (k.clone(), Some(v.clone().into_bytes()))).collect();
    row(
        "topic",
        [
            ("topic", name.as_str().into()),
            ("topicId", file.id.into()),
            ("partitions", file.partitions.into()),
            ("configs", DumpValue::Pairs(configs)),
        ],
    )
}
