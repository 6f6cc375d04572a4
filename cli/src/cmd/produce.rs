//! `headwater produce`: each line of standard input becomes a record.

use std::io;
use std::path::Path;

use headwater_connectors::file::{LINE_BYTES_MAX, LineReader};
use headwater_log_store::{
    Error as LogError, Header, Log, LogStore, PartitionId, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};

use crate::args::ProduceArgs;
use crate::error::{Error, Result};
use crate::output::note;

/// Appends the lines of standard input, and says how many.
pub(crate) fn run(dir: &Path, args: &ProduceArgs) -> Result<()> {
    let store = LogStore::open(dir)?;
    check_partition(&store, args)?;
    let mut producer = store.producer(&ProducerConfig::default())?;
    let mut produced = 0;
    let result = produce_lines(args, producer.as_mut(), &mut produced);
    // What was sent before a bad line is acknowledged before that line is reported.
    producer.flush()?;
    result?;
    note(&format!("produced {produced} records to topic {}", args.topic));
    Ok(())
}

/// A wrong topic or partition is found before anything is read.
fn check_partition(log: &dyn Log, args: &ProduceArgs) -> Result<()> {
    let topic = log.describe_topic(&args.topic)?;
    match args.partition {
        Some(partition) if partition >= topic.partitions => Err(LogError::UnknownPartition {
            topic_partition: TopicPartition::new(topic.name, PartitionId::new(partition)),
            partitions: topic.partitions,
        }
        .into()),
        _ => Ok(()),
    }
}

fn produce_lines(
    args: &ProduceArgs,
    producer: &mut dyn Producer,
    produced: &mut u64,
) -> Result<()> {
    let header = |(key, value): &'_ (String, String)| (key.clone(), value.clone().into_bytes());
    let headers: Vec<_> = args.headers.iter().map(header).collect();
    let headers: Vec<_> =
        headers.iter().map(|(key, value)| Header { key, value: Some(value) }).collect();
    let mut lines = LineReader::new(io::stdin().lock(), LINE_BYTES_MAX);
    loop {
        let line_number = *produced + 1;
        let next = lines.next_line();
        let Some(line) = next.map_err(|source| Error::Input { line: line_number, source })? else {
            return Ok(());
        };
        let (key, value) = match &args.key_separator {
            None => (args.key.as_deref().map(str::as_bytes), line),
            Some(separator) => {
                let (key, value) = split_once(line, separator.as_bytes()).ok_or_else(|| {
                    let separator = separator.clone();
                    Error::NoKey { line: line_number, separator, produced: *produced }
                })?;
                (Some(key), value)
            }
        };
        let is_tombstone = args.tombstone && value.is_empty();
        let sent = producer.send(&ProducerRecord {
            topic: &args.topic,
            partition: args.partition.map(PartitionId::new),
            key,
            value: (!is_tombstone).then_some(value),
            timestamp: None,
            headers: &headers,
        });
        // Nobody waits for the receipt: the flush at the end answers for all.
        sent.map_err(|source| Error::Record {
            line: line_number,
            produced: *produced,
            source: Box::new(source),
        })?;
        *produced += 1;
    }
}

/// The parts before and after the first `separator`.
fn split_once<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    let (key, rest) = line.split_at(at);
    Some((key, rest.get(separator.len()..)?))
}
