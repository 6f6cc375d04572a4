//! Processors of the application's own: what they see, forward and keep, and what an abort and a
//! restart take back. Through the test driver.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use headwater_log_store::{NewTopic, Timestamp};
use headwater_topology::{
    BoxError, BuildError, Error, ErrorResponse, FixedKeyProcessor, FixedKeyProcessorContext,
    FixedKeyRecord, Headers, KeyValueStore, Processor, ProcessorContext, Record, StateStore,
    Stores, StreamsBuilder, StreamsConfig, TestRecord, TimestampedKeyValueStore, Topology,
    TopologyTestDriver,
};

type Forward =
    fn(Record<String, String>, &mut ProcessorContext<'_, Closure>) -> Result<(), BoxError>;

/// A processor that is one function.
struct Closure(Forward);

impl Processor for Closure {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        (self.0)(record, context)
    }
}

fn topology(process: Forward) -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").process(move || Closure(process)).to("out");
    builder.build().unwrap()
}

fn ms(time: i64) -> Timestamp {
    Timestamp::from_millis(time)
}

fn header(value: &str) -> Headers {
    Headers::none().with("key", Some(value.as_bytes()))
}

/// Kafka Streams' `ProcessorTopologyTest`: times and headers are what the processor sets.
#[test]
fn times_and_headers_are_those_that_are_forwarded() {
    let cases: [(Forward, Headers, i64, Headers); 3] = [
        (
            |record, context| {
                let later = ms(record.timestamp.as_millis() + 10);
                context.forward(record.with_timestamp(later));
                Ok(())
            },
            Headers::none(),
            10,
            Headers::none(),
        ),
        (
            |record, context| {
                let headers = record.headers.with("key", Some(b"value"));
                context.forward(record.with_headers(headers));
                Ok(())
            },
            Headers::none(),
            0,
            header("value"),
        ),
        (
            |record, context| {
                context.forward(record);
                Ok(())
            },
            header("value"),
            0,
            header("value"),
        ),
    ];
    for (process, headers, later, expected) in cases {
        let driver = TopologyTestDriver::new(&topology(process)).unwrap();
        let input = driver.input_topic::<String, String>("in");
        let record = |index: i64, later: i64| {
            TestRecord::new(format!("key{index}"), format!("value{index}"), index * 10 + later)
        };
        for index in 1..=3 {
            input.pipe_record(&record(index, 0).with_headers(headers.clone())).unwrap();
        }
        let out = driver.output_topic::<String, String>("out").unwrap().read_records().unwrap();
        let expected: Vec<_> =
            (1..=3).map(|index| record(index, later).with_headers(expected.clone())).collect();
        assert_eq!(out, expected);
    }
}

#[test]
fn a_processor_knows_where_and_when_it_is() {
    let driver = TopologyTestDriver::with_topics(
        &topology(|record, context| {
            let position = context.record_metadata().unwrap();
            let told = format!(
                "{} {} {position} {} {}",
                context.application_id(),
                context.task_id(),
                context.current_stream_time().unwrap(),
                context.current_system_time(),
            );
            context.forward(record.with_value(told));
            Ok(())
        }),
        StreamsConfig::new("app"),
        &[NewTopic::new("in").partitions(2)],
    )
    .unwrap();
    driver.advance_wall_clock(std::time::Duration::from_millis(77)).unwrap();
    let input = driver.input_topic::<String, String>("in");
    input.pipe_record_to(1, &TestRecord::new("k", "v", 50)).unwrap();
    input.pipe_record_to(1, &TestRecord::new("k", "v", 40)).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    let told = |offset: u32, time: i64| {
        ("k".to_owned(), format!("app 0_1 in-1@{offset} {} {}", ms(50), ms(77)), time)
    };
    assert_eq!(out, [told(0, 50), told(1, 40)]);
}

#[test]
fn a_record_goes_to_the_child_that_is_named_or_to_all_in_order() {
    let builder = StreamsBuilder::new();
    let processed = builder.stream::<String, String>("in").process(|| {
        Closure(|record, context| {
            match record.value.clone().as_str() {
                "all" => context.forward(record),
                child => context.forward_to(child, record),
            }
            Ok(())
        })
    });
    let tagged = |tag: &'static str| processed.map_values(move |value| format!("{tag}:{value}"));
    let left = tagged("l").named("left");
    left.merge(&tagged("r").named("right")).to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for value in ["right", "all", "left"] {
        input.pipe_input("k", value).unwrap();
    }
    let out = driver.output_topic::<String, String>("out").unwrap().read_key_values().unwrap();
    let values: Vec<String> = out.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["r:right", "l:all", "r:all", "l:left"]);
    let error = input.pipe_input("k", "nobody").unwrap_err();
    let Error::Processor { node, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (node.as_str(), reason.as_str()),
        ("KSTREAM-PROCESSOR-0000000001", "it has no child nobody")
    );
}

#[test]
fn an_error_is_for_the_handler_and_a_failure_below_voids_the_step() {
    let refuse: Forward = |record, context| {
        if record.value == "bad" {
            return Err("bad it is".into());
        }
        context.forward(record);
        Ok(())
    };
    let config = StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&topology(refuse), config).unwrap();
    let input = driver.input_topic::<String, String>("in");
    for value in ["a", "bad", "b"] {
        input.pipe_input("k", value).unwrap();
    }
    let out = driver.output_topic::<String, String>("out").unwrap().read_key_values().unwrap();
    let pair = |value: &str| ("k".to_owned(), value.to_owned());
    assert_eq!(out, [pair("a"), pair("b")]);

    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in")
        .process(|| {
            Closure(|record, context| {
                context.forward(record.clone().with_value("first".to_owned()));
                context.forward(record);
                context.forward(Record::new("k".to_owned(), "last".to_owned(), ms(9)));
                Ok(())
            })
        })
        .try_map_values(|value: String| if value == "bad" { Err("no") } else { Ok(value) })
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    let error = input.pipe_input("k", "bad").unwrap_err();
    assert!(
        matches!(&error, Error::Processing { node, .. } if node.contains("MAPVALUES")),
        "{error}"
    );
    let out = driver.output_topic::<String, String>("out").unwrap().read_key_values().unwrap();
    assert_eq!(out, []);
}

/// Keeps a sum by key, in a store and in a field; a value below zero panics once.
struct Sums {
    sums: KeyValueStore<String, i64>,
    in_field: i64,
    panics: Arc<AtomicU32>,
}

impl FixedKeyProcessor for Sums {
    type K = String;
    type VIn = i64;
    type VOut = String;

    fn init(&mut self, _: &mut FixedKeyProcessorContext<'_, Self>) -> Result<(), BoxError> {
        self.in_field = self.sums.all()?.map(|(_, sum)| sum).sum();
        Ok(())
    }

    fn process(
        &mut self,
        record: FixedKeyRecord<String, i64>,
        context: &mut FixedKeyProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        let sum = self.sums.get(record.key()).unwrap_or_default() + record.value();
        self.in_field += record.value();
        self.sums.put(record.key(), sum);
        let (value, record) = record.take_value();
        if value < 0 && self.panics.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("a value below zero");
        }
        context.forward(record.with_value(format!("{sum} of {}", self.in_field)));
        Ok(())
    }
}

#[test]
fn a_store_is_committed_taken_back_and_restored_and_fields_follow_it() {
    let builder = StreamsBuilder::new();
    let sums = builder.add_state_store(Stores::key_value_store::<String, i64>("sums"));
    let panics = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&panics);
    builder
        .stream::<String, i64>("in")
        .process_values_with_stores(&sums, move |sums| Sums {
            sums,
            in_field: 0,
            panics: Arc::clone(&counter),
        })
        .to("out");
    let config = StreamsConfig::new("app").processing_exception_handler(ErrorResponse::Retry);
    let driver = TopologyTestDriver::with_config(&builder.build().unwrap(), config).unwrap();
    let input = driver.input_topic::<String, i64>("in");
    input.pipe_input_at("a", 5, 1).unwrap();
    input.pipe_input_at("b", 7, 2).unwrap();
    input.pipe_input_at("a", -2, 3).unwrap();
    assert_eq!(panics.load(Ordering::Relaxed), 2, "the record came again");
    driver.restart().unwrap();
    input.pipe_input_at("b", 1, 4).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    let row = |key: &str, value: &str, time| (key.to_owned(), value.to_owned(), time);
    let expected = [
        row("a", "5 of 5", 1),
        row("b", "7 of 12", 2),
        row("a", "3 of 10", 3),
        row("b", "8 of 11", 4),
    ];
    assert_eq!(out, expected);
    let rows = driver.store_rows::<String, i64>("sums").unwrap();
    assert_eq!(rows, [("a".to_owned(), 3, 3), ("b".to_owned(), 8, 4)]);
    let log = driver.output_topic::<String, i64>("app-sums-changelog").unwrap();
    let log = log.read_timed().unwrap();
    let line = |key: &str, value, time| (key.to_owned(), value, time);
    assert_eq!(log, [line("a", 5, 1), line("b", 7, 2), line("a", 3, 3), line("b", 8, 4)]);
}

/// Lists what a store holds, and then changes it.
struct Lister {
    store: KeyValueStore<String, String>,
}

impl Processor for Lister {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        let key = |key: &str| key.to_owned();
        let listed = |rows: headwater_topology::KeyValueIterator<String, String>| {
            rows.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let lines = match record.value.as_str() {
            "all" => vec![listed(self.store.all()?), listed(self.store.reverse_all()?)],
            "range" => vec![
                listed(self.store.range(key("b")..=key("c"))?),
                listed(self.store.reverse_range(key("b")..key("c"))?),
                listed(self.store.range(key("c")..key("b"))?),
            ],
            "prefix" => vec![listed(self.store.prefix_scan(b"a")?)],
            "delete" => vec![format!("{:?}", self.store.delete(&record.key))],
            value => vec![format!("{:?}", self.store.put_if_absent(&record.key, value.to_owned()))],
        };
        for line in lines {
            context.forward(record.clone().with_value(line));
        }
        Ok(())
    }
}

#[test]
fn a_key_value_store_is_read_in_the_order_of_its_keys_with_changes_that_are_not_committed() {
    let builder = StreamsBuilder::new();
    let store = builder.add_state_store(Stores::key_value_store::<String, String>("store"));
    builder
        .stream::<String, String>("in")
        .process_with_stores(&store, |store| Lister { store })
        .to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("in");
    let steps = [
        ("b", "1", vec!["None"]),
        ("c", "2", vec!["None"]),
        ("", "all", vec!["b=1 c=2", "c=2 b=1"]),
        ("a", "3", vec!["None"]),
        ("a1", "4", vec!["None"]),
        ("c", "5", vec!["Some(\"2\")"]),
        ("", "prefix", vec!["a=3 a1=4"]),
        ("", "range", vec!["b=1 c=2", "b=1", ""]),
        ("b", "delete", vec!["Some(\"1\")"]),
        ("b", "delete", vec!["None"]),
        ("", "all", vec!["a=3 a1=4 c=2", "c=2 a1=4 a=3"]),
    ];
    let out = driver.output_topic::<String, String>("out").unwrap();
    for (key, value, expected) in steps {
        input.pipe_input(key, value).unwrap();
        let values: Vec<String> =
            out.read_key_values().unwrap().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, expected, "{key} {value}");
    }
}

/// Answers with what the store of an aggregation says about a key.
struct Peek {
    counts: TimestampedKeyValueStore<String, i64>,
}

impl Processor for Peek {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = i64;

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        if let Some(row) = self.counts.get(&record.key) {
            let (key, headers) = (record.key, record.headers);
            context.forward(Record { key, value: row.value, timestamp: row.timestamp, headers });
        }
        Ok(())
    }
}

#[test]
fn a_processor_reads_the_store_of_an_operator() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("words").group_by_key().count("counts");
    let counts = StateStore::named("counts");
    builder
        .stream::<String, String>("asked")
        .process_with_stores(&counts, |counts| Peek { counts })
        .to("out");
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(&topology).unwrap();
    let (words, asked) = (
        driver.input_topic::<String, String>("words"),
        driver.input_topic::<String, String>("asked"),
    );
    words.pipe_input_at("a", "x", 7).unwrap();
    words.pipe_input_at("a", "x", 5).unwrap();
    asked.pipe_input_at("a", "?", 1).unwrap();
    asked.pipe_input_at("b", "?", 1).unwrap();
    let out = driver.output_topic::<String, i64>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("a".to_owned(), 2, 7)]);
    assert_eq!(topology.describe().matches("Sub-topology").count(), 1, "one store, one task");
}

#[test]
fn a_store_that_is_not_there_or_of_another_kind_is_a_build_error() {
    let build = |store: StateStore<TimestampedKeyValueStore<String, i64>>| {
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("words").group_by_key().count("counts");
        let names = Stores::key_value_store::<String, String>("names");
        let _ = builder.add_state_store(names);
        let rates = builder.global_table::<String, i64>("rates");
        assert_eq!(rates.store_name(), "rates-STATE-STORE");
        builder
            .stream::<String, String>("in")
            .process_with_stores(store, |counts| Peek { counts })
            .to("out");
        builder.build().map(drop)
    };
    assert_eq!(build(StateStore::named("counts")), Ok(()));
    let unknown = BuildError::UnknownStore { store: "other".to_owned() };
    assert_eq!(build(StateStore::named("other")), Err(unknown));
    let error = build(StateStore::named("rates-STATE-STORE")).unwrap_err().to_string();
    assert!(error.contains("rates-STATE-STORE is that of a global table"), "{error}");
    let error = build(StateStore::named("names")).unwrap_err();
    assert!(matches!(&error, BuildError::StoreType { store, .. } if store == "names"), "{error}");
}

#[test]
fn nodes_are_numbered_as_in_kafka_streams_where_a_name_uses_no_number() {
    let forward: Forward = |record, context| {
        context.forward(record);
        Ok(())
    };
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    let named = stream.process(move || Closure(forward)).named("mine");
    named.process(move || Closure(forward)).filter(|_, _| true).to("out");
    let text = builder.build().unwrap().describe();
    let expected = "Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [in])
      --> mine
    Processor: mine (stores: [])
      --> KSTREAM-PROCESSOR-0000000001
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-PROCESSOR-0000000001 (stores: [])
      --> KSTREAM-FILTER-0000000002
      <-- mine
    Processor: KSTREAM-FILTER-0000000002 (stores: [])
      --> KSTREAM-SINK-0000000003
      <-- KSTREAM-PROCESSOR-0000000001
    Sink: KSTREAM-SINK-0000000003 (topic: out)
      <-- KSTREAM-FILTER-0000000002

";
    assert_eq!(text, expected);
}

#[test]
fn process_may_change_keys_and_process_values_may_not() {
    let forward: Forward = |record, context| {
        context.forward(record);
        Ok(())
    };
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.process(move || Closure(forward)).group_by_key().count("anew");
    let panics = Arc::new(AtomicU32::new(0));
    let sums = builder.add_state_store(Stores::key_value_store("sums"));
    builder
        .stream::<String, i64>("numbers")
        .process_values_with_stores((&sums,), move |(sums,)| Sums {
            sums,
            in_field: 0,
            panics: Arc::clone(&panics),
        })
        .group_by_key()
        .count("kept");
    let text = builder.build().unwrap().describe();
    assert!(text.contains("(topics: [anew-repartition])"), "{text}");
    assert!(!text.contains("kept-repartition"), "{text}");
}
