//! The processors of the cases, by name; the Java program has the same.

use std::time::Duration;

use headwater_log_store::Timestamp;
use headwater_topology::PunctuationType::{StreamTime, WallClockTime};
use headwater_topology::{
    BoxError, FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord, KStream, KeyValueStore,
    Processor, ProcessorContext, Record, StateStore, Stores, StreamsBuilder,
};

use crate::case::Op;
use crate::error::OracleError;
use crate::functions::{self, Text};

/// What its punctuators write is compared as records of this topic.
pub(crate) const PUNCTUATIONS: &str = "punctuations";

type Store = KeyValueStore<String, String>;

/// A processor: what it does is in its function, `name:argument`.
struct Own {
    name: String,
    argument: String,
    store: Option<Store>,
}

impl Own {
    fn new(function: &str, store: Option<Store>) -> Self {
        let (name, argument) = function.split_once(':').unwrap_or((function, ""));
        Self { name: name.to_owned(), argument: argument.to_owned(), store }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.argument.parse().unwrap_or(1))
    }

    /// How many records of a key there have been.
    fn count(&self, key: &Text) -> String {
        let Some(store) = &self.store else { return String::new() };
        let key = key.clone().unwrap_or_else(|| "null".to_owned());
        let count = store.get(&key).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0) + 1;
        store.put(&key, count.to_string());
        count.to_string()
    }

    fn keep(&self, record: &Record<Text, Text>) {
        if let (Some(store), Some(key)) = (&self.store, &record.key) {
            match &record.value {
                Some(value) => store.put(key, value.clone()),
                None => drop(store.delete(key)),
            }
        }
    }
}

type Context<'a> = ProcessorContext<'a, Own>;

/// Forwards the time that a punctuator was called with.
fn at(_: &mut Own, time: Timestamp, context: &mut Context<'_>) -> Result<(), BoxError> {
    let text = time.as_millis().to_string();
    context.forward(Record::new(Some("at".to_owned()), Some(text), time));
    Ok(())
}

/// Forwards what is kept, and forgets it.
fn sweep(own: &mut Own, time: Timestamp, context: &mut Context<'_>) -> Result<(), BoxError> {
    let Some(store) = &own.store else { return Ok(()) };
    for (key, value) in store.all()? {
        store.delete(&key);
        context.forward(Record::new(Some(key), Some(value), time));
    }
    Ok(())
}

impl Processor for Own {
    type KIn = Text;
    type VIn = Text;
    type KOut = Text;
    type VOut = Text;

    fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
        match self.name.as_str() {
            "stream-time" => drop(context.schedule(self.interval(), StreamTime, at)),
            "wall-clock" => drop(context.schedule(self.interval(), WallClockTime, at)),
            "sweep" => drop(context.schedule(self.interval(), WallClockTime, sweep)),
            _ => {}
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<Text, Text>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        match self.name.as_str() {
            "stream-time" | "wall-clock" => {}
            "sweep" => self.keep(&record),
            "later" => {
                let later = record.timestamp.as_millis() + self.argument.parse::<i64>()?;
                context.forward(record.with_timestamp(Timestamp::from_millis(later)));
            }
            "header" => {
                let (name, value) = self.argument.split_once('=').unwrap_or_default();
                let headers = record.headers.with(name, Some(value.as_bytes()));
                context.forward(record.with_headers(headers));
            }
            "tally" => {
                let count = self.count(&record.key);
                context.forward(record.with_value(Some(count)));
            }
            "twice" => {
                context.forward(record.clone());
                context.forward(record);
            }
            _ => context.forward(record),
        }
        Ok(())
    }
}

/// A processor that keeps keys.
struct OwnValues(Own);

impl FixedKeyProcessor for OwnValues {
    type K = Text;
    type VIn = Text;
    type VOut = Text;

    fn process(
        &mut self,
        record: FixedKeyRecord<Text, Text>,
        context: &mut FixedKeyProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        let value = match self.0.name.as_str() {
            "tally" => Some(self.0.count(record.key())),
            _ => functions::map(&format!("text:{}", self.0.argument), record.key(), record.value()),
        };
        context.forward(record.with_value(value));
        Ok(())
    }
}

/// A processor, with a store if the operator names one.
pub(crate) fn process(
    builder: &StreamsBuilder,
    stream: &KStream<Text, Text>,
    op: &Op,
) -> Result<KStream<Text, Text>, OracleError> {
    let function = op.function()?;
    let store: Option<StateStore<Store>> = op.store.as_ref().map(|name| {
        builder.add_state_store(Stores::key_value_store::<String, String>(name.as_str()))
    });
    let made = match (op.op.as_str(), store) {
        ("process", None) => stream.process(move || Own::new(&function, None)),
        ("process", Some(store)) => {
            stream.process_with_stores(&store, move |store| Own::new(&function, Some(store)))
        }
        (_, None) => stream.process_values(move || OwnValues(Own::new(&function, None))),
        (_, Some(store)) => {
            let own = move |store| OwnValues(Own::new(&function, Some(store)));
            stream.process_values_with_stores(&store, own)
        }
    };
    Ok(match &op.name {
        Some(name) => made.named(name),
        None => made,
    })
}
