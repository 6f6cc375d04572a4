//! Data in, data out: the program of docs/guide/in-and-out.md.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater::connectors::{FileSource, SourceRunner};
use headwater::log_store::OffsetAndMetadata;
use headwater::prelude::*;
use headwater::topology::BuildError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An order, as the web shop calls us about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: String,
    customer: String,
    cents: i64,
    /// When it was given, in milliseconds.
    at: i64,
}

// Wherever no other serde is given, orders are JSON.
impl DefaultSerde for Order {
    fn default_serde() -> SerdeRef<Self> {
        JsonSerde::shared()
    }
}

fn minutes() -> TimeWindows {
    TimeWindows::of_size_and_grace(Duration::from_secs(60), Duration::from_secs(5))
}

fn topology(masked: bool) -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();

    // Changes of a table of the shop's database become a table again.
    let changed = TimestampExtractor::from_fn(|_, change: &Value| {
        change.get("ts_ms")?.as_i64().map(Timestamp::from_millis)
    });
    let customers = builder
        .stream_with::<Option<String>, Value>(
            "customer-changes",
            Consumed::new().with_timestamp_extractor(changed),
        )
        .map(|_, change| {
            let row = change.get("after").filter(|row| !row.is_null()).cloned();
            (text(&change, "/key"), row)
        })
        .to_table::<Value>("customers");

    // Calls of the web shop come again when it was not sure that they had arrived.
    let ordered =
        TimestampExtractor::from_fn(|_, order: &Order| Some(Timestamp::from_millis(order.at)));
    let orders = builder
        .stream_with::<Option<String>, Order>(
            "orders",
            Consumed::new().with_timestamp_extractor(ordered),
        )
        .select_key(|_, order| order.id.clone())
        .deduplicate(Duration::from_secs(600), "seen-orders");

    // Each order with its customer.
    let enriched = orders
        .filter(|_, order| order.cents > 0)
        .select_key(|_, order| order.customer.clone())
        .named("by-customer")
        .left_join_table(&customers, move |order, customer| {
            let mail = customer.as_ref().map(|customer| text(customer, "/mail"));
            let mail = mail.map(|mail| if masked { mask(&mail) } else { mail });
            json!({ "order": order.id, "cents": order.cents, "mail": mail })
        });
    enriched.to("enriched-orders");

    // The revenue of each customer, minute by minute.
    enriched
        .group_by_key()
        .windowed_by(minutes())
        .aggregate(|| 0, |_, order, sum: i64| sum + cents(&order), "revenue")
        .to_stream()
        .map(|windowed, sum| {
            (windowed.key, json!({ "from": windowed.window.start_ms, "cents": sum }))
        })
        .to("revenue");
    builder.build()
}

fn text(value: &Value, field: &str) -> String {
    value.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn cents(order: &Value) -> i64 {
    order.get("cents").and_then(Value::as_i64).unwrap_or_default()
}

fn mask(mail: &str) -> String {
    mail.split_once('@').map_or_else(|| "…".to_owned(), |(_, host)| format!("…@{host}"))
}

fn config() -> StreamsConfig {
    StreamsConfig::new("shop")
        .deserialization_exception_handler(ErrorResponse::DeadLetter)
        .dead_letter_topic("no-orders")
}

/// What has come to a topic since the last time: the loop of whoever carries results elsewhere.
fn take(log: &dyn Log, topic: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let partition = TopicPartition::new(TopicName::new(topic)?, PartitionId::new(0));
    let mut consumer = log.consumer(&ConsumerConfig {
        group: Some("results".to_owned()),
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    })?;
    consumer.assign(std::slice::from_ref(&partition))?;
    while consumer.position(&partition)? < log.watermarks(&partition)?.end {
        for batch in consumer.poll(Duration::from_millis(100))? {
            for record in batch.iter() {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default());
                let value = String::from_utf8_lossy(record.value.unwrap_or_default());
                writeln!(out, "    {topic}: {key} {value}")?;
            }
            // What was shown is not shown again.
            let next = OffsetAndMetadata::from(consumer.position(&partition)?);
            consumer.commit(&[(partition.clone(), next)])?;
        }
    }
    Ok(())
}

/// The shop: its log, and the file that its database writes changes to.
struct Shop<'a> {
    log: Arc<dyn Log>,
    folder: &'a Path,
}

impl Shop<'_> {
    /// The database has changed: the line is appended to the file, and the file read on.
    fn change(&self, line: &str) -> Result<(), Box<dyn Error>> {
        let changes = self.folder.join("changes.jsonl");
        writeln!(OpenOptions::new().create(true).append(true).open(&changes)?, "{line}")?;
        let runner = SourceRunner::new(Arc::clone(&self.log), "database", "customer-changes");
        runner.run(&mut FileSource::new(changes), |_| ControlFlow::Continue(()))?;
        Ok(())
    }

    /// The web shop has called: what it said is in the log before it gets its answer.
    fn call(&self, body: &str) -> Result<(), Box<dyn Error>> {
        let mut producer = self.log.producer(&ProducerConfig::default())?;
        let value = Some(body.as_bytes());
        producer.send(&ProducerRecord { value, ..ProducerRecord::to("orders") })?.wait()?;
        Ok(())
    }
}

pub(crate) fn run(folder: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let log: Arc<dyn Log> = Arc::new(LogStore::create(folder.join("log"))?);
    for topic in ["customer-changes", "orders", "enriched-orders", "revenue", "no-orders"] {
        log.create_topic_if_not_exists(&NewTopic::new(topic).config("retention.ms", "-1"))?;
    }
    let shop = Shop { log: Arc::clone(&log), folder };

    let streams = Streams::new(&topology(false)?, config(), Arc::clone(&log));
    streams.start()?;
    shop.change(r#"{"key":"ada","after":{"mail":"ada@home.example"},"ts_ms":0}"#)?;
    shop.change(r#"{"key":"bob","after":{"mail":"bob@work.example"},"ts_ms":1}"#)?;
    streams.wait_until_caught_up()?;
    shop.call(r#"{"id":"o1","customer":"ada","cents":300,"at":1000}"#)?;
    shop.call(r#"{"id":"o1","customer":"ada","cents":300,"at":1000}"#)?;
    shop.call("{}")?;
    shop.call(r#"{"id":"o2","customer":"bob","cents":250,"at":2000}"#)?;
    streams.wait_until_caught_up()?;
    shop.change(r#"{"key":"ada","after":{"mail":"ada@work.example"},"ts_ms":60000}"#)?;
    shop.change(r#"{"key":"bob","after":null,"ts_ms":60000}"#)?;
    streams.wait_until_caught_up()?;
    shop.call(r#"{"id":"o3","customer":"ada","cents":350,"at":61000}"#)?;
    shop.call(r#"{"id":"o4","customer":"bob","cents":100,"at":62000}"#)?;
    streams.wait_until_caught_up()?;
    streams.close()?;
    writeln!(out, "results:")?;
    take(log.as_ref(), "enriched-orders", out)?;
    take(log.as_ref(), "revenue", out)?;
    take(log.as_ref(), "no-orders", out)?;

    // From now on nobody is to see the names in the addresses, nor in what was sent before.
    let masked = topology(true)?;
    let reset =
        Reset::new(&masked, &config()).empty_topic("enriched-orders").empty_topic("revenue");
    reset.plan(&log)?.execute(&log)?;
    let streams = Streams::new(&masked, config(), Arc::clone(&log));
    streams.start()?;
    streams.wait_until_caught_up()?;
    streams.close()?;
    writeln!(out, "computed anew:")?;
    take(log.as_ref(), "enriched-orders", out)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &mut stdout())
}
