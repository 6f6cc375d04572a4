//! State: the program of docs/guide/state.md.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::sync::Arc;

use headwater::prelude::*;
use headwater::topology::BuildError;

fn topology(caching: bool) -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let words = builder.stream::<Option<String>, String>("words");
    let mut counts = Materialized::named("counts");
    if caching {
        counts = counts.with_caching_enabled();
    }
    words.group_by_with(|_, word| word.clone(), "by-word").count(counts).to_stream().to("updates");
    builder.build()
}

/// Appends words to the log in `folder`, runs the application until it has counted them, and says
/// what is in its store.
fn count(
    folder: &Path,
    caching: bool,
    words: &str,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let log: Arc<dyn Log> = Arc::new(match folder.exists() {
        true => LogStore::open(folder)?,
        false => LogStore::create(folder)?,
    });
    for topic in ["words", "updates"] {
        if log.describe_topic(topic).is_err() {
            log.create_topic(&NewTopic::new(topic))?;
        }
    }
    let updates = TopicPartition::new(TopicName::new("updates")?, PartitionId::new(0));
    let before = log.watermarks(&updates)?.end;
    let mut producer = log.producer(&ProducerConfig::default())?;
    for word in words.split(' ') {
        let value = Some(word.as_bytes());
        let _receipt = producer.send(&ProducerRecord { value, ..ProducerRecord::to("words") })?;
    }
    producer.flush()?;

    let streams = Streams::new(&topology(caching)?, StreamsConfig::new("words"), Arc::clone(&log));
    streams.start()?;
    streams.wait_until_caught_up()?;
    let restored = streams.metrics().records_restored;
    let counts = streams.store::<String, i64>("counts").all()?;
    streams.close()?;

    let sent = log.watermarks(&updates)?.end - before;
    writeln!(out, "{words}: {restored} restored, {sent} updates sent")?;
    for (word, n) in counts {
        writeln!(out, "    {word:<6} {n}")?;
    }
    Ok(())
}

pub(crate) fn run(folder: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    count(folder, false, "to be or not to be", out)?;
    count(folder, false, "to be", out)?;
    count(folder, true, "be be be", out)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    run(&folder.path().join("log"), &mut stdout())
}
