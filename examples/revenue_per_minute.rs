//! Time and windows: the program of docs/guide/time-and-windows.md. The revenue of each product in
//! windows of one minute.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::Duration;

use headwater::prelude::*;
use headwater::topology::{BuildError, DropReason};

/// What was sold: when by the clock of the shop, what, and for how many cents. The lines stand in the
/// order in which they came, which is not that in which they happened.
const SALES: [(&str, &str, &str); 9] = [
    ("12:00:05", "tea", "300"),
    ("12:00:41", "nuts", "250"),
    ("12:00:58", "tea", "300"),
    ("12:01:10", "tea", "350"),
    ("12:00:50", "tea", "300"),  // a cash desk that was offline, 20 s late
    ("12:01:31", "nuts", "250"), // the first minute is over, and so is its grace
    ("12:00:59", "nuts", "250"), // too late
    ("12:02:10", "tea", "350"),
    ("12:03:30", "milk", "120"),
];

fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let cents = |_: &String, cents: String, sum: i64| sum + cents.parse().unwrap_or(0);
    let minutes = TimeWindows::of_size_and_grace(Duration::from_secs(60), Duration::from_secs(30));
    let sales = builder.stream::<String, String>("sales").group_by_key();

    // Each sale updates the revenue of its minute …
    let so_far = sales.windowed_by(minutes).aggregate(|| 0, cents, "revenue-so-far");
    so_far.to_stream().map(line).to("updates");

    // … and when a minute is over, its revenue is sent once.
    let closed = sales.windowed_by(minutes).emit_strategy(EmitStrategy::on_window_close());
    closed.aggregate(|| 0, cents, "revenue").to_stream().map(line).to("results");

    builder.build()
}

/// A key and a value to be read by people.
fn line(window: Windowed<String>, cents: Option<i64>) -> (String, String) {
    let start = clock(window.window.start_ms);
    let cents = cents.unwrap_or_default();
    (format!("{start} {}", window.key), format!("{}.{:02} €", cents / 100, cents % 100))
}

/// Milliseconds since midnight as a clock shows them, and back.
fn clock(millis: i64) -> String {
    let seconds = millis / 1_000;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn millis(clock: &str) -> Result<i64, Box<dyn Error>> {
    let parts: Vec<i64> = clock.split(':').map(str::parse).collect::<Result<_, _>>()?;
    Ok(parts.iter().fold(0, |seconds, part| seconds * 60 + part) * 1_000)
}

pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
    for topic in ["sales", "updates", "results"] {
        log.create_topic(&NewTopic::new(topic))?;
    }
    let mut producer = log.producer(&ProducerConfig::default())?;
    for (time, product, cents) in SALES {
        let _receipt = producer.send(&ProducerRecord {
            key: Some(product.as_bytes()),
            value: Some(cents.as_bytes()),
            timestamp: Some(Timestamp::from_millis(millis(time)?)),
            ..ProducerRecord::to("sales")
        })?;
    }
    producer.flush()?;

    // Closed windows are looked for at each record, not only once a second.
    let config = StreamsConfig::new("revenue").emit_interval(Duration::ZERO);
    let streams = Streams::new(&topology()?, config, Arc::clone(&log));
    streams.start()?;
    streams.wait_until_caught_up()?;
    let late = streams.metrics().dropped(DropReason::Late);
    streams.close()?;

    for topic in ["updates", "results"] {
        writeln!(out, "{topic}:")?;
        print_topic(log.as_ref(), topic, out)?;
    }
    writeln!(out, "late: {late}")?;
    Ok(())
}

fn print_topic(log: &dyn Log, topic: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let partition = TopicPartition::new(TopicName::new(topic)?, PartitionId::new(0));
    let end = log.watermarks(&partition)?.end;
    let mut consumer = log.consumer(&ConsumerConfig::default())?;
    consumer.assign(std::slice::from_ref(&partition))?;
    consumer.seek(&partition, Offset::new(0))?;
    while consumer.position(&partition)? < end {
        let batches = consumer.poll(Duration::from_secs(1))?;
        for record in batches.iter().flat_map(|batch| batch.iter()) {
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            let time = clock(record.timestamp.as_millis());
            writeln!(out, "    {:<14} {:>8}   @{time}", text(record.key), text(record.value))?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}
