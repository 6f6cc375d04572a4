//! What is done after a stop without a close: the store becomes what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{BatchHeader, Place};
use crate::engine::reserve::Reserve;
use crate::error::{Error, Result};
use crate::journal::{Journal, JournaledBatch, Replay};
use crate::segment::{Publication, Scan, Segment, SegmentEnd, scan};
use crate::types::{Offset, PartitionId, Timestamp, TopicPartition};

/// What opening a store found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store had been closed. Then there was nothing to do.
    pub clean: bool,
    /// Journal entries that were read.
    pub journal_entries: usize,
    /// Batches that were put into their segments from the journal.
    pub batches_applied: usize,
    /// The length of the journal entry behind the last whole one, which was written in part and
    /// counts as never written; 0 if there is none.
    pub torn_entry_bytes: u64,
    /// What was cut off the ends of segments: what was never acknowledged, and after a power cut
    /// what the durability does not keep.
    pub torn: Vec<TornTail>,
}

/// What was cut off the end of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The offset that the next record gets now.
    pub offset: Offset,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// The active segment of a partition while the journal is replayed.
#[derive(Debug)]
pub(super) struct Recovering {
    pub(super) topic_partition: TopicPartition,
    pub(super) place: Place,
    pub(super) segment: Arc<Segment>,
    pub(super) segment_bytes: u32,
    /// When this recovery is: what comes back is taken to have been appended now, so that
    /// retention by time rather keeps too much.
    pub(super) now: Timestamp,
}

impl Recovering {
    /// Takes the segment back to the recovery point: what follows comes from the journal.
    pub(super) fn cut(&self) -> Result<()> {
        self.segment.settle(self.segment.end())
    }

    /// What lies behind the recovery point.
    pub(super) fn written(&self) -> Result<Scan> {
        scan(&self.segment, self.segment.end(), &self.place)
    }

    /// The offset after the whole batches behind the recovery point.
    pub(super) fn whole_end(&self, written: &Scan) -> Offset {
        self.segment.base() + u64::from(written.end.relative_offset)
    }

    /// Keeps what whole batches lie behind the recovery point, and cuts off a torn one.
    pub(super) fn keep_whole_batches(&self, written: &Scan) -> Result<()> {
        self.segment.settle(written.end)?;
        if written.end != self.segment.end() {
            self.segment.extend(written.end);
            self.segment.note_append(self.now);
        }
        Ok(())
    }

    /// Notes what of the bytes behind the recovery point is not there any more.
    pub(super) fn report(&self, written: &Scan, report: &mut RecoveryReport) {
        let end = u64::from(written.end.position) + written.torn_bytes;
        let kept = u64::from(self.segment.end().position);
        if end > kept {
            report.torn.push(TornTail {
                topic_partition: self.topic_partition.clone(),
                offset: self.segment.end_offset(),
                bytes: end - kept,
            });
        }
    }

    /// What a journaled batch is to this segment.
    fn judge(&self, header: &BatchHeader) -> Judgement {
        let end = self.segment.end_offset();
        if header.next_offset() <= end {
            Judgement::Contained
        } else if header.base_offset == end {
            Judgement::Next
        } else {
            Judgement::Gap
        }
    }

    fn append(&self, header: &BatchHeader, bytes: &[u8], reserve: &Reserve) -> Result<()> {
        let begin = self.segment.end();
        let end = u32::try_from(header.next_offset() - self.segment.base()).ok();
        let position = u32::try_from(bytes.len()).ok().and_then(|l| begin.position.checked_add(l));
        let (Some(relative_offset), Some(position)) = (end, position) else {
            return Err(self.corrupt("a journaled batch does not fit its segment"));
        };
        let end = SegmentEnd { relative_offset, position };
        reserve.lend(|| self.segment.reserve(position, self.segment_bytes))?;
        self.segment.write(begin.position, bytes)?;
        let max_timestamp = header.max_timestamp;
        let append_time = self.now;
        self.segment.publish(&Publication { begin, end, max_timestamp, append_time });
        Ok(())
    }

    fn corrupt(&self, reason: &str) -> Error {
        Error::Corrupt {
            topic_partition: self.topic_partition.clone(),
            offset: self.segment.end_offset(),
            path: self.segment.path().to_owned(),
            position: u64::from(self.segment.end().position),
            reason: reason.to_owned(),
        }
    }
}

enum Judgement {
    Contained,
    Next,
    Gap,
}

/// Puts the batches of the journal into the segments that do not have them yet, entry by entry.
/// An entry that would leave a gap in a partition ends the replay: it was never acknowledged.
///
/// # Errors
/// `LostDurableData` if it was, or might have been.
pub(super) fn apply(
    journal: &Journal,
    replay: &Replay,
    partitions: &BTreeMap<(u64, PartitionId), Recovering>,
    reserve: &Reserve,
    report: &mut RecoveryReport,
) -> Result<()> {
    report.journal_entries = replay.len();
    report.torn_entry_bytes = replay.torn_bytes();
    for (sequence, entry) in (replay.first_sequence()..).zip(replay.entries()) {
        let Some(missing) = missing_batches(&entry, partitions)? else {
            // What lies before the gap was durable, and is not there.
            journal.check_expendable(sequence)?;
            break;
        };
        for (recovering, header, bytes) in missing {
            // Several batches of one partition in one entry follow one another.
            if let Judgement::Gap = recovering.judge(&header) {
                return Err(recovering.corrupt("a journal entry leaves a gap"));
            }
            recovering.append(&header, bytes, reserve)?;
            report.batches_applied += 1;
        }
    }
    for recovering in partitions.values() {
        recovering.segment.sync_published()?;
    }
    Ok(())
}

/// How far each partition will go when the journal has been applied, in the order of the keys.
pub(super) fn ends_after(
    replay: &Replay,
    partitions: &BTreeMap<(u64, PartitionId), Recovering>,
) -> Vec<Offset> {
    let ends = partitions.iter().map(|(key, partition)| (*key, partition.segment.end_offset()));
    let mut ends: BTreeMap<_, _> = ends.collect();
    'entries: for entry in replay.entries() {
        let mut after = ends.clone();
        for batch in entry {
            let Some(end) = after.get_mut(&(batch.topic_id, batch.partition)) else { continue };
            let Ok(header) = BatchHeader::parse(batch.bytes) else { break 'entries };
            if header.base_offset > *end {
                break 'entries;
            }
            *end = header.next_offset().max(*end);
        }
        ends = after;
    }
    ends.into_values().collect()
}

type Missing<'a> = (&'a Recovering, BatchHeader, &'a [u8]);

/// The batches of an entry that their segments do not have; `None` if the first one of a
/// partition would leave a gap.
fn missing_batches<'a>(
    entry: &[JournaledBatch<'a>],
    partitions: &'a BTreeMap<(u64, PartitionId), Recovering>,
) -> Result<Option<Vec<Missing<'a>>>> {
    let mut missing: Vec<Missing<'a>> = Vec::new();
    for batch in entry {
        // A topic that is not there was deleted after the entry was written.
        let Some(recovering) = partitions.get(&(batch.topic_id, batch.partition)) else { continue };
        let header = BatchHeader::parse(batch.bytes)
            .and_then(|header| header.verify(batch.bytes, &recovering.place).map(|_| header))
            .map_err(|fault| recovering.corrupt(&format!("its journaled batch: {fault}")))?;
        let follows = missing.iter().any(|(other, previous, _)| {
            std::ptr::eq(*other, recovering) && previous.next_offset() == header.base_offset
        });
        match recovering.judge(&header) {
            Judgement::Contained => {}
            Judgement::Gap if !follows => return Ok(None),
            Judgement::Next | Judgement::Gap => missing.push((recovering, header, batch.bytes)),
        }
    }
    Ok(Some(missing))
}

#[cfg(test)]
mod tests {
    use super::{Recovering, RecoveryReport, apply};
    use crate::batch::{BatchBuilder, Place};
    use crate::engine::reserve::Reserve;
    use crate::error::{Error, Result};
    use crate::journal::{EntryWriter, Journal, JournalMark, JournaledBatch};
    use crate::record::Record;
    use crate::segment::{Segment, SegmentSpec};
    use crate::storage::{MemoryStorage, OpenMode};
    use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    const PLACE: Place = Place { store_id: 1, topic_id: 2, partition: PartitionId::new(0) };
    const START: JournalMark = JournalMark { position: 0, sequence: 1, durable_sequence: 0 };

    /// Replays a journal whose entries have one record each, at these offsets, into an empty
    /// segment. Returns where that ends then.
    fn replay(offsets: &[u64], synced: bool) -> Result<u64> {
        let (storage, dir) = (MemoryStorage::new(), Path::new(""));
        let path = Path::new("journal");
        Journal::create(&storage, path, 64 << 10)?;
        let mut journal = Journal::open(&storage, path, PLACE.store_id, START)?;
        for offset in offsets {
            let mut batch = BatchBuilder::default();
            batch.push(&Record::value(b"x"), Timestamp::from_millis(0));
            batch.seal(None);
            batch.place(&PLACE, Offset::new(*offset));
            let mut entry = EntryWriter::new();
            let (topic_id, partition) = (PLACE.topic_id, PLACE.partition);
            entry.add(&JournaledBatch { topic_id, partition, bytes: batch.bytes() });
            journal.write(&mut entry)?;
            if synced {
                journal.sync()?;
            }
        }
        let mut journal = Journal::open(&storage, path, PLACE.store_id, START)?;
        let found = journal.replay()?;
        let empty = SegmentSpec::empty(Offset::ZERO);
        let segment = Arc::new(Segment::open(&storage, dir, &empty, OpenMode::Create, 4096)?);
        let topic = TopicName::new("t").expect("it is one");
        let recovering = Recovering {
            topic_partition: TopicPartition::new(topic, PLACE.partition),
            place: PLACE,
            segment: Arc::clone(&segment),
            segment_bytes: 1 << 20,
            now: Timestamp::from_millis(0),
        };
        let partitions = BTreeMap::from([((PLACE.topic_id, PLACE.partition), recovering)]);
        let reserve = Reserve::open(&storage, dir)?;
        apply(&journal, &found, &partitions, &reserve, &mut RecoveryReport::default())?;
        Ok(segment.end_offset().value())
    }

    #[test]
    fn a_gap_before_an_entry_that_was_durable_is_lost_data_and_no_end_of_the_replay() {
        assert_eq!(replay(&[0, 1, 2], true).unwrap(), 3);
        assert_eq!(replay(&[0, 2, 3], false).unwrap(), 1, "nobody was told of it");
        // The third entry says that the second was durable.
        let error = replay(&[0, 2, 3], true).unwrap_err();
        assert!(matches!(error, Error::LostDurableData { sequence: 2, .. }), "{error}");
        assert_eq!(replay(&[0, 1, 3], true).unwrap(), 2, "nothing says that the last one was");
    }
}
