//! What a bridge promises, whichever logs it joins.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use headwater_connectors::{Bridge, BridgeProgress, Error, Result};
use headwater_log_store::{
    ConsumerConfig, Header, Log, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord,
    Timestamp, TopicName, TopicPartition,
};

use crate::dying_log::{Dies, DyingLog};

/// Two logs, and a prefix that nobody else uses on either.
pub struct Sides {
    pub from: Arc<dyn Log>,
    pub to: Arc<dyn Log>,
    pub prefix: String,
}

/// A record as a reader finds it, but for its offset.
pub type Found = (Option<Vec<u8>>, Option<Vec<u8>>, Timestamp, Vec<(String, Option<Vec<u8>>)>);

impl Sides {
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn bridge(&self, to: &Arc<dyn Log>) -> Bridge {
        Bridge::new(self.name("bridge"), Arc::clone(&self.from), Arc::clone(to))
            .include(self.name("orders*"))
            .exclude("*-private")
            .batch_records_max(2)
    }

    fn topic(&self, name: &str, partitions: u32) -> String {
        let topic = self.name(name);
        let new = NewTopic::new(&topic).partitions(partitions).config("retention.ms", "-1");
        self.from.create_topic(&new).unwrap();
        topic
    }

    /// Sends records of all kinds.
    fn send(&self, topic: &str, partition: u32, numbers: std::ops::Range<i64>) {
        let mut producer = self.from.producer(&ProducerConfig::default()).unwrap();
        for number in numbers {
            let (key, value) = (format!("key-{number}"), format!("value-{number}"));
            let headers = [
                Header { key: "number", value: Some(key.as_bytes()) },
                Header { key: "number", value: None },
            ];
            let record = ProducerRecord {
                partition: Some(PartitionId::new(partition)),
                key: (number % 3 != 0).then_some(key.as_bytes()),
                value: (number % 4 != 0).then_some(value.as_bytes()),
                timestamp: Some(Timestamp::from_millis(1_000 + number)),
                headers: if number % 2 == 0 { &headers } else { &[] },
                ..ProducerRecord::to(topic)
            };
            producer.send(&record).unwrap().wait().unwrap();
        }
    }

    fn check_equal(&self, topic: &str, partition: u32) {
        let (sent, mirrored) =
            (read(&self.from, topic, partition), read(&self.to, topic, partition));
        assert_eq!(sent, mirrored, "{topic}-{partition}");
    }
}

/// All records of a partition.
pub fn read(log: &Arc<dyn Log>, topic: &str, partition: u32) -> Vec<Found> {
    let partition =
        TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition));
    let end = log.watermarks(&partition).unwrap().end;
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(std::slice::from_ref(&partition)).unwrap();
    consumer.seek(&partition, Offset::ZERO).unwrap();
    let mut found = Vec::new();
    let mut polls = 0;
    while consumer.position(&partition).unwrap() < end {
        polls += 1;
        assert!(polls < 1_000, "{partition} was not read up to {end}");
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            found.extend(batch.iter().map(|record| {
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let headers = record.headers.iter();
                let headers = headers.map(|header| (header.key.to_owned(), owned(header.value)));
                (owned(record.key), owned(record.value), record.timestamp, headers.collect())
            }));
        }
    }
    found
}

/// Runs a bridge until nothing lies ahead.
pub fn run(bridge: &Bridge) -> Result<BridgeProgress> {
    bridge.run(|progress| match progress.lag {
        0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

pub fn partitions_keys_nulls_headers_and_timestamps_are_kept(sides: &Sides) {
    let (orders, more) = (sides.topic("orders", 3), sides.topic("orders-more", 1));
    let (hidden, other) = (sides.topic("orders-private", 1), sides.topic("other", 1));
    sides.send(&orders, 0, 0..9);
    sides.send(&orders, 2, 20..31);
    for topic in [&more, &hidden, &other] {
        sides.send(topic, 0, 0..2);
    }
    let bridge = sides.bridge(&sides.to);
    let progress = run(&bridge).unwrap();
    assert_eq!((progress.records, progress.lag), (22, 0));
    let described = sides.to.describe_topic(&orders).unwrap();
    assert_eq!((described.partitions, &described.configs["retention.ms"][..]), (3, "-1"));
    for (topic, partition) in [(&orders, 0), (&orders, 1), (&orders, 2), (&more, 0)] {
        sides.check_equal(topic, partition);
    }
    for topic in [&hidden, &other] {
        assert!(sides.to.describe_topic(topic).is_err(), "{topic} was not meant");
    }
    // A second run goes on where the first has ended, also in what is new.
    sides.from.create_partitions(&orders, 4).unwrap();
    sides.send(&orders, 3, 0..1);
    sides.send(&orders, 0, 9..12);
    assert_eq!(run(&bridge).unwrap().records, 4);
    for partition in [0, 3] {
        sides.check_equal(&orders, partition);
    }
    assert_eq!(run(&bridge).unwrap().records, 0);
}

pub fn progress_and_lag_are_told_after_each_commit(sides: &Sides) {
    let orders = sides.topic("orders", 1);
    sides.send(&orders, 0, 0..7);
    let mut told = Vec::new();
    let bridge = sides.bridge(&sides.to);
    let progress = bridge
        .run(|progress| {
            told.push((progress.records, progress.partitions[0].offset.value()));
            match progress.records {
                4.. => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap();
    assert_eq!((progress.records, progress.lag), (4, 3));
    told.retain(|(records, _)| *records > 0);
    told.dedup();
    assert_eq!(told, [(2, 2), (4, 4)]);
    assert_eq!(run(&bridge).unwrap().records, 3);
    sides.check_equal(&orders, 0);
}

pub fn a_second_run_of_the_same_name_fences_the_first(sides: &Sides) {
    let orders = sides.topic("orders", 1);
    sides.send(&orders, 0, 0..3);
    let (bridge, second) = (sides.bridge(&sides.to), sides.bridge(&sides.to));
    let mut overtaken = false;
    let fenced = bridge.run(|progress| {
        if !overtaken {
            overtaken = true;
            run(&second).unwrap();
            sides.send(&orders, 0, 3..6);
        }
        match progress.records {
            6.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    let Err(Error::Log { source, .. }) = fenced else { panic!("{fenced:?}") };
    assert!(matches!(*source, headwater_log_store::Error::Fenced { .. }), "{source}");
    run(&second).unwrap();
    sides.check_equal(&orders, 0);
}

pub fn a_topic_that_was_made_anew_is_an_error(sides: &Sides) {
    let orders = sides.topic("orders", 1);
    sides.send(&orders, 0, 0..5);
    let bridge = sides.bridge(&sides.to);
    run(&bridge).unwrap();
    sides.from.delete_topic(&orders).unwrap();
    sides.topic("orders", 1);
    sides.send(&orders, 0, 0..2);
    let refused = run(&bridge);
    assert!(matches!(refused, Err(Error::InvalidPosition { .. })), "{refused:?}");
}

/// Kills the bridge at every call by which it writes, before or after it took place, as far as
/// `calls` says.
pub fn killed_at_any_call_it_loses_nothing_and_doubles_nothing(
    given: impl Fn() -> Sides,
    calls: impl Iterator<Item = usize>,
) {
    let mut deaths = 0;
    for call in calls {
        for dies in [Dies::Before, Dies::After] {
            let sides = given();
            let orders = sides.topic("orders", 2);
            sides.send(&orders, 0, 0..5);
            sides.send(&orders, 1, 10..14);
            let dying: Arc<dyn Log> = Arc::new(DyingLog::new(Arc::clone(&sides.to), call, dies));
            deaths += usize::from(run(&sides.bridge(&dying)).is_err());
            drop(dying);
            run(&sides.bridge(&sides.to)).unwrap();
            for partition in 0..2 {
                sides.check_equal(&orders, partition);
            }
        }
    }
    assert!(deaths > 10, "it has died {deaths} times");
}

/// Makes a test of each promise.
#[macro_export]
macro_rules! mirrors {
    ($given:path) => {
        $crate::mirrors! { $given:
            partitions_keys_nulls_headers_and_timestamps_are_kept,
            progress_and_lag_are_told_after_each_commit,
            a_second_run_of_the_same_name_fences_the_first,
            a_topic_that_was_made_anew_is_an_error,
        }
    };
    ($given:path: $($test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::mirror::$test(&$given(stringify!($test)));
            }
        )*
    };
}
