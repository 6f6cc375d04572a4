//! `headwater consume`: shows the records of a topic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Error as LogError, Log, LogStore, Offset,
    PartitionId, SystemClock, Timestamp, TopicPartition,
};

use crate::args::ConsumeArgs;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::position::{Beginning, Position};

/// How long a poll waits for more; Ctrl-C ends it at once.
const FOLLOW_POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// The most records that are shown between two looks at Ctrl-C.
const POLL_RECORDS_MAX: usize = 10_000;

/// Where a partition is to be read.
#[derive(Debug)]
struct Range {
    /// The log end offset when the command began.
    end: Offset,
    /// Records are left out up to the first of this time or later.
    not_before: Option<Timestamp>,
}

/// Shows the records, to the end or without end.
pub(crate) fn run(dir: &Path, args: &ConsumeArgs, output: &mut Output) -> Result<()> {
    let store = match &args.group {
        Some(_) => LogStore::open(dir)?,
        None => LogStore::open_read_only(dir)?,
    };
    let partitions = partitions(&store, args)?;
    let config = ConsumerConfig {
        group: args.group.clone(),
        auto_offset_reset: AutoOffsetReset::Earliest,
        max_poll_records: POLL_RECORDS_MAX,
        ..ConsumerConfig::default()
    };
    let mut consumer = store.consumer(&config)?;
    consumer.assign(&partitions)?;
    let mut ranges = seek(&store, args, consumer.as_mut(), partitions)?;
    if output.is_table() {
        output.record_heading()?;
    }
    let interrupted = args.follow.then(|| catch_interrupt(consumer.as_ref())).transpose()?;

    let mut records_left = args.records.unwrap_or(u64::MAX);
    while records_left > 0 && (args.follow || !is_done(consumer.as_ref(), &ranges)?) {
        let timeout = if args.follow { FOLLOW_POLL_TIMEOUT } else { Duration::ZERO };
        let batches = consumer.poll(timeout)?;
        if interrupted.as_ref().is_some_and(|interrupted| interrupted.load(Ordering::Relaxed)) {
            return Err(Error::Interrupted);
        }
        if batches.is_empty() && !args.follow {
            break; // Only gaps are left before the end.
        }
        let mut shown = BTreeMap::new();
        for batch in &batches {
            let range = ranges.get_mut(batch.topic_partition());
            let range = range.expect("a poll returns assigned partitions only");
            for record in batch.iter() {
                if records_left == 0 || (!args.follow && record.offset >= range.end) {
                    break;
                }
                shown.insert(batch.topic_partition().clone(), record.offset.next().into());
                if range.not_before.is_some_and(|time| record.timestamp < time) {
                    continue;
                }
                range.not_before = None;
                output.record(batch.topic_partition(), &record)?;
                records_left -= 1;
            }
        }
        output.flush()?;
        if args.group.is_some() && !shown.is_empty() {
            consumer.commit(&shown.into_iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// The partitions that were asked for.
fn partitions(log: &dyn Log, args: &ConsumeArgs) -> Result<Vec<TopicPartition>> {
    let topic = log.describe_topic(&args.topic)?;
    let mut wanted: Vec<u32> = if args.partitions.is_empty() {
        (0..topic.partitions).collect()
    } else {
        args.partitions.clone()
    };
    wanted.sort_unstable();
    wanted.dedup();
    let partition = |partition: u32| {
        let topic_partition = TopicPartition::new(topic.name.clone(), PartitionId::new(partition));
        if partition < topic.partitions {
            Ok(topic_partition)
        } else {
            let partitions = topic.partitions;
            Err(LogError::UnknownPartition { topic_partition, partitions }.into())
        }
    };
    wanted.into_iter().map(partition).collect()
}

/// Goes to where the reading begins.
fn seek(
    log: &dyn Log,
    args: &ConsumeArgs,
    consumer: &mut dyn Consumer,
    partitions: Vec<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, Range>> {
    let from = match args.from {
        Some(from) => from,
        None if args.follow && !args.from_beginning => Position::End,
        None => Position::Start,
    };
    let clock = SystemClock::new();
    let committed = args.group.as_deref().map(|group| log.group_offsets(group)).transpose()?;
    let committed = committed.unwrap_or_default();
    let mut ranges = BTreeMap::new();
    for topic_partition in partitions {
        let watermarks = log.watermarks(&topic_partition)?;
        let kept = watermarks.start..=watermarks.end;
        let committed = committed.get(&topic_partition).map(|committed| committed.offset);
        let beginning = match committed.filter(|offset| kept.contains(offset)) {
            Some(offset) => Beginning { offset, not_before: None },
            None => from.resolve(&topic_partition, watermarks, &clock)?,
        };
        consumer.seek(&topic_partition, beginning.offset)?;
        let range = Range { end: watermarks.end, not_before: beginning.not_before };
        ranges.insert(topic_partition, range);
    }
    Ok(ranges)
}

/// Whether everything that was there at the beginning has been read.
fn is_done(consumer: &dyn Consumer, ranges: &BTreeMap<TopicPartition, Range>) -> Result<bool> {
    for (topic_partition, range) in ranges {
        if consumer.position(topic_partition)? < range.end {
            return Ok(false);
        }
    }
    Ok(true)
}

/// From now on Ctrl-C ends the poll instead of the process.
fn catch_interrupt(consumer: &dyn Consumer) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (seen, waker) = (Arc::clone(&interrupted), consumer.waker());
    ctrlc::set_handler(move || {
        seen.store(true, Ordering::Relaxed);
        waker.wake();
    })
    .map_err(|source| Error::Signal { source })?;
    Ok(interrupted)
}
