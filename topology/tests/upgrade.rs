//! Topologies that change under an application id which has left state behind: what is kept, new,
//! orphaned or incompatible, and that an incompatible one is refused before it reads a row.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Error as LogError, Log, LogStore, NewTopic, ProducerConfig, ProducerRecord,
};
use headwater_topology::{
    BoxError, BuildError, DefaultSerde, Error, Materialized, Part, Reset, Serde, Streams,
    StreamsBuilder, StreamsConfig, TimeWindows, Topology, UpgradeChange, UpgradePlan,
};

fn log(partitions: u32) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
    }
    log
}

fn send(log: &dyn Log, numbers: std::ops::Range<i64>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for number in numbers {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(format!("k{}", number % 10).as_bytes()),
                value: Some(&number.to_be_bytes()),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

fn config() -> StreamsConfig {
    StreamsConfig::new("app")
}

fn build(add: impl Fn(&StreamsBuilder)) -> Topology {
    let builder = StreamsBuilder::new();
    add(&builder);
    builder.build().unwrap()
}

fn counting(store: &str) -> Topology {
    build(|builder| {
        builder.stream::<String, i64>("in").group_by_key().count(store).to_stream().to("out");
    })
}

fn run(log: &Arc<dyn Log>, topology: &Topology) -> headwater_topology::Result<Streams> {
    let streams = Streams::new(topology, config(), Arc::clone(log));
    streams.start()?;
    streams.wait_until_caught_up()?;
    Ok(streams)
}

/// A log in which that topology has processed a hundred records.
fn left_by(topology: &Topology) -> Arc<dyn Log> {
    let log = log(2);
    send(log.as_ref(), 0..100);
    run(&log, topology).unwrap().close().unwrap();
    log
}

fn store(name: &str) -> Part {
    Part::Store(name.to_owned())
}

/// The parts of a plan with what becomes of them, and how many records they have.
fn changes(plan: &UpgradePlan) -> Vec<(Part, UpgradeChange, u64)> {
    let parts = plan.parts.iter();
    parts.map(|part| (part.part.clone(), part.change.clone(), part.records)).collect()
}

fn contents(log: &dyn Log) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for topic in log.topics().unwrap() {
        for number in 0..topic.partitions {
            let partition = headwater_log_store::TopicPartition::new(
                topic.name.clone(),
                headwater_log_store::PartitionId::new(number),
            );
            found.push((partition.to_string(), log.watermarks(&partition).unwrap().end.value()));
        }
    }
    found.sort();
    found
}

/// The topology is refused for what one of its parts is, and nothing in the log has changed.
fn assert_refused(log: &Arc<dyn Log>, topology: &Topology, expected: &str) {
    let before = (contents(log.as_ref()), log.group_offsets("app").unwrap());
    let plan = topology.plan(&config(), log).unwrap();
    assert!(!plan.is_compatible());
    let error = run(log, topology).unwrap_err();
    let Error::Incompatible { application_id, parts } = &error else { panic!("{error}") };
    assert_eq!((application_id.as_str(), parts.as_slice()), ("app", &[expected.to_owned()][..]));
    assert!(error.to_string().contains(expected), "{error}");
    assert!(plan.to_string().contains("incompatible"), "{plan}");
    assert_eq!((contents(log.as_ref()), log.group_offsets("app").unwrap()), before);
}

#[test]
fn an_application_without_a_past_has_only_new_parts_and_a_plan_changes_nothing() {
    let log = log(2);
    send(log.as_ref(), 0..10);
    let before = contents(log.as_ref());
    let plan = counting("counts").plan(&config(), &log).unwrap();
    assert_eq!(changes(&plan), [(store("counts"), UpgradeChange::New, 0)]);
    assert_eq!((plan.restored, plan.replayed, plan.is_compatible()), (0, 0, true));
    assert_eq!(contents(log.as_ref()), before);
}

#[test]
fn the_same_topology_keeps_all_and_restores_its_rows() {
    let log = left_by(&counting("counts"));
    let plan = counting("counts").plan(&config(), &log).unwrap();
    let records = plan.restored;
    assert_eq!(changes(&plan), [(store("counts"), UpgradeChange::Kept, records)]);
    assert_eq!(plan.replayed, 0);
    let streams = run(&log, &counting("counts")).unwrap();
    assert_eq!(streams.metrics().records_restored, records, "as the plan has said");
    assert!(records >= 10);
}

#[test]
fn a_stateless_node_more_or_less_is_nothing_to_do() {
    let log = left_by(&counting("counts"));
    let changed = build(|builder| {
        let stream = builder.stream::<String, i64>("in");
        stream.filter(|_, value| *value >= 0).map_values(|value| value + 1).to("out");
        stream.peek(|_, _| {}).group_by_key().count("counts");
    });
    let plan = changed.plan(&config(), &log).unwrap();
    assert_eq!(changes(&plan), [(store("counts"), UpgradeChange::Kept, plan.restored)]);
    let streams = run(&log, &changed).unwrap();
    send(log.as_ref(), 0..1);
    streams.wait_until_caught_up().unwrap();
    let counts = streams.store::<String, i64>("counts");
    assert_eq!(counts.get(&"k0".to_owned()).unwrap(), Some(11));
}

#[test]
fn a_store_with_another_name_is_orphaned_and_new_and_a_replay_would_fill_it() {
    let log = left_by(&counting("counts"));
    let plan = counting("visits").plan(&config(), &log).unwrap();
    let [old, new] = &changes(&plan)[..] else { panic!("{plan}") };
    assert_eq!((&old.0, &old.1), (&store("counts"), &UpgradeChange::Orphaned));
    assert_eq!(*new, (store("visits"), UpgradeChange::New, 0));
    assert!(old.2 >= 10);
    assert_eq!((plan.restored, plan.replayed), (0, 100));
    let streams = run(&log, &counting("visits")).unwrap();
    assert_eq!(streams.store::<String, i64>("visits").all().unwrap(), []);
    streams.close().unwrap();
    // What it was is still known, so that it can come back, or is refused.
    let plan = counting("counts").plan(&config(), &log).unwrap();
    assert_eq!(changes(&plan)[0].1, UpgradeChange::Kept, "{plan}");
    let other = build(|builder| {
        let grouped = builder.stream::<String, i64>("in").group_by_key();
        grouped.aggregate(String::new, |_, _, text: String| text, "counts");
    });
    let reason = "store counts: it holds a key-value store of string and i64, and the topology \
                  has a key-value store of string and string";
    assert_refused(&log, &other, reason);
}

#[test]
fn a_store_of_other_values_is_refused_and_a_reset_makes_way_for_it() {
    let summing = build(|builder| {
        let grouped = builder.stream::<String, i64>("in").group_by_key();
        let add = |_: &String, value: i64, sum: f64| sum + if value > 0 { 1.0 } else { 0.5 };
        grouped.aggregate(|| 0.0, add, "counts");
    });
    let log = left_by(&counting("counts"));
    let reason = "store counts: it holds a key-value store of string and i64, and the topology \
                  has a key-value store of string and f64";
    assert_refused(&log, &summing, reason);
    assert_eq!(summing.plan(&config(), &log).unwrap().replayed, 100);
    Reset::new(&summing, &config()).plan(&log).unwrap().execute(&log).unwrap();
    let plan = summing.plan(&config(), &log).unwrap();
    assert_eq!(changes(&plan), [(store("counts"), UpgradeChange::New, 0)]);
    let streams = run(&log, &summing).unwrap();
    let sums = streams.store::<String, f64>("counts");
    assert_eq!(sums.get(&"k0".to_owned()).unwrap(), Some(9.5));
    assert_eq!(sums.get(&"k7".to_owned()).unwrap(), Some(10.0));
    streams.close().unwrap();
    assert_refused(
        &log,
        &counting("counts"),
        "store counts: it holds a key-value store of string and f64, and the topology has a \
         key-value store of string and i64",
    );
}

#[test]
fn a_store_of_another_kind_or_of_windows_of_another_size_is_refused() {
    let windowed = |size_s: u64| {
        build(move |builder| {
            let windows = TimeWindows::of_size_with_no_grace(Duration::from_secs(size_s));
            let grouped = builder.stream::<String, i64>("in").group_by_key();
            grouped.windowed_by(windows).count("counts");
        })
    };
    let log = left_by(&windowed(60));
    assert!(windowed(60).plan(&config(), &log).unwrap().is_compatible());
    let had = "it holds a window store of string and i64, of windows of 60000 ms";
    let reason = format!(
        "store counts: {had}, and the topology has a window store of string and i64, of windows \
         of 30000 ms"
    );
    assert_refused(&log, &windowed(30), &reason);
    let reason =
        format!("store counts: {had}, and the topology has a key-value store of string and i64");
    assert_refused(&log, &counting("counts"), &reason);
    // How long rows are kept is no format.
    let longer = build(|builder| {
        let windows =
            TimeWindows::of_size_and_grace(Duration::from_secs(60), Duration::from_secs(9));
        let grouped = builder.stream::<String, i64>("in").group_by_key();
        grouped.windowed_by(windows).count("counts");
    });
    assert!(longer.plan(&config(), &log).unwrap().is_compatible());
}

#[test]
fn input_with_more_partitions_is_refused_where_there_is_state_and_taken_where_there_is_none() {
    let log = left_by(&counting("counts"));
    log.create_partitions("in", 4).unwrap();
    log.create_partitions("out", 4).unwrap();
    let reason = "store counts: app-counts-changelog has 2 partitions where the topology needs 4";
    assert_refused(&log, &counting("counts"), reason);
    let stateless = build(|builder| {
        builder.stream::<String, i64>("in").to("out");
    });
    let log = left_by(&stateless);
    log.create_partitions("in", 4).unwrap();
    assert_eq!(changes(&stateless.plan(&config(), &log).unwrap()), []);
    run(&log, &stateless).unwrap().close().unwrap();
    let internal = log.topics().unwrap().into_iter().filter(|t| t.name.as_str().starts_with("app"));
    assert_eq!(internal.count(), 0, "there is nothing to note");
}

/// A repartition topic of other values matters only while records of the old ones lie in it.
#[test]
fn a_repartition_topic_is_refused_only_with_records_that_were_not_read_yet() {
    let grouped = |half: bool| {
        build(move |builder| {
            let stream = builder.stream::<String, i64>("in");
            let groups = if half {
                stream.map_values(|value| value / 2).group_by(|_, value| value.to_string())
            } else {
                stream.group_by(|_, value| value.to_string())
            };
            groups.count("counts");
        })
    };
    let as_text = build(|builder| {
        let stream = builder.stream::<String, i64>("in").map_values(|value| value.to_string());
        stream.group_by(|_, value| value.clone()).count("counts");
    });
    let log = left_by(&grouped(false));
    let topic = Part::Repartition("counts-repartition".to_owned());
    assert!(grouped(true).plan(&config(), &log).unwrap().is_compatible());
    let plan = as_text.plan(&config(), &log).unwrap();
    let found = changes(&plan).into_iter().find(|(part, _, _)| *part == topic);
    assert_eq!(found, Some((topic, UpgradeChange::Kept, 0)), "all of it is processed");
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let record = ProducerRecord {
        key: Some(b"7"),
        value: Some(&7_i64.to_be_bytes()),
        ..ProducerRecord::to("app-counts-repartition")
    };
    producer.send(&record).unwrap().wait().unwrap();
    let reason = "repartition counts-repartition: it holds a string and i64, and the topology has \
                  a string and string";
    assert_refused(&log, &as_text, reason);
}

/// As the serde of `String`, under a name of its own.
struct Renamed(&'static str);

impl Serde<String> for Renamed {
    fn serialize(&self, value: &String, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        String::default_serde().serialize(value, buffer)
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<String, BoxError> {
        String::default_serde().deserialize(bytes)
    }

    fn format_name(&self) -> String {
        self.0.to_owned()
    }
}

#[test]
fn a_store_whose_format_has_only_another_name_is_kept_if_it_is_said_to() {
    let keeping = |name: &'static str| {
        build(move |builder| {
            let grouped = builder.stream::<String, i64>("in").group_by_key();
            let store = Materialized::with("rows", Arc::new(Renamed(name)));
            grouped.aggregate(String::new, |_, value, _| value.to_string(), store);
        })
    };
    let log = left_by(&keeping("names"));
    let reason = "store rows: it holds a key-value store of string and names, and the topology \
                  has a key-value store of string and texts";
    assert_refused(&log, &keeping("texts"), reason);
    let config = || config().keep_store("rows");
    assert!(keeping("texts").plan(&config(), &log).unwrap().is_compatible());
    let streams = Streams::new(&keeping("texts"), config(), Arc::clone(&log));
    streams.start().unwrap();
    let rows = streams.store::<String, String>("rows");
    assert_eq!(rows.get(&"k3".to_owned()).unwrap().as_deref(), Some("93"));
    streams.close().unwrap();
    // From now on that is its name.
    run(&log, &keeping("texts")).unwrap().close().unwrap();
}

#[test]
fn state_from_before_there_were_notes_is_kept_and_noted_from_then_on() {
    let log = left_by(&counting("counts"));
    log.delete_topic("app-__topology-changelog").unwrap();
    let unknown = log.describe_topic("app-__topology-changelog");
    assert!(matches!(unknown, Err(LogError::UnknownTopic { .. })));
    let streams = run(&log, &counting("counts")).unwrap();
    assert_eq!(streams.store::<String, i64>("counts").all().unwrap().len(), 10);
    streams.close().unwrap();
    let other = build(|builder| {
        let grouped = builder.stream::<String, i64>("in").group_by_key();
        grouped.aggregate(String::new, |_, _, text: String| text, "counts");
    });
    assert!(!other.plan(&config(), &log).unwrap().is_compatible());
}

#[test]
fn no_store_can_be_named_as_the_notes_are() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, i64>("in").group_by_key().count("__topology");
    let error = builder.build().unwrap_err();
    assert!(matches!(error, BuildError::InvalidName { what: "store", .. }), "{error}");
}
