//! What a group promises, asked through the seam alone: a partition is with one member at a time,
//! changes hands only after its holder was told, and goes on at the last offset committed; and who
//! was overtaken by a rebalance cannot commit any more.
//!
//! Each contract runs on a log in memory and on one in a folder, with a clock that the test moves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Clock, Consumer, ConsumerConfig, Error, GroupMetadata, GroupState, Log,
    LogStore, ManualClock, NewTopic, Offset, OffsetAndMetadata, OffsetReset, OffsetResetPlan,
    PartitionId, PartitionReset, Producer, ProducerConfig, ProducerRecord, RebalanceListener,
    Record, RecordBatch, Result, SystemClock, Timestamp, TopicName, TopicPartition,
};

/// The `max.poll.interval.ms` of all members here.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// A log, and the clock that it goes by.
struct World {
    log: Arc<dyn Log>,
    clock: Arc<ManualClock>,
}

/// Runs a contract on every log there is.
fn contract(test: fn(&World)) {
    let clock = || Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let world = |log: LogStore, clock| World { log: Arc::new(log), clock };
    let memory = clock();
    let log = LogStore::in_memory_builder().clock(Arc::clone(&memory) as _).open().unwrap();
    test(&world(log, memory));
    let (dir, folder) = (tempfile::tempdir().unwrap(), clock());
    let log = LogStore::builder(dir.path())
        .create(true)
        .journal_bytes(1 << 20)
        .clock(Arc::clone(&folder) as _)
        .open()
        .unwrap();
    test(&world(log, folder));
}

/// What listeners were told, in order, with the member's name.
type Events = Arc<Mutex<Vec<String>>>;

/// Writes down what it is told, and commits where the consumer is before it parts with anything.
struct Listener {
    name: &'static str,
    events: Events,
    log: Arc<dyn Log>,
}

impl Listener {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        self.events.lock().unwrap().push(format!("{} {what} {}", self.name, join(partitions)));
    }
}

impl RebalanceListener for Listener {
    fn on_partitions_assigned(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        assert!(partitions.iter().all(|partition| consumer.assignment().contains(partition)));
        self.note("assigned", partitions);
        Ok(())
    }

    fn on_partitions_revoked(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.note("revoked", partitions);
        // They are still this member's: nobody else can have them before it is done.
        let group = self.log.describe_group("g").unwrap();
        let member = group.members.iter().find(|member| member.client_id == self.name).unwrap();
        assert!(partitions.iter().all(|partition| member.assignment.contains(partition)));
        let position = |tp: &TopicPartition| Ok((tp.clone(), consumer.position(tp)?.into()));
        let offsets = partitions.iter().map(position).collect::<Result<Vec<_>>>()?;
        consumer.commit(&offsets)
    }

    fn on_partitions_lost(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.note("lost", partitions);
        for partition in partitions {
            let offset = consumer.position(partition)?.into();
            let refused = consumer.commit(&[(partition.clone(), offset)]);
            assert!(matches!(refused, Err(Error::UnknownMember { .. })), "{refused:?}");
        }
        Ok(())
    }
}

impl World {
    fn topic(&self, name: &str, partitions: u32) {
        self.log.create_topic(&NewTopic::new(name).partitions(partitions)).unwrap();
    }

    fn fill(&self, topic: &str, partitions: u32, records: u32) {
        let mut producer = self.log.producer(&ProducerConfig::default()).unwrap();
        for (partition, record) in (0..partitions)
            .flat_map(|partition| (0..records).map(move |record| (partition, record)))
        {
            let value = format!("{topic}-{partition}@{record}");
            let record = ProducerRecord {
                partition: Some(PartitionId::new(partition)),
                value: Some(value.as_bytes()),
                ..ProducerRecord::to(topic)
            };
            producer.send(&record).unwrap();
        }
        producer.flush().unwrap();
    }

    fn consumer(&self, client_id: &str) -> Box<dyn Consumer> {
        let config = ConsumerConfig {
            group: Some("g".to_owned()),
            client_id: Some(client_id.to_owned()),
            auto_offset_reset: AutoOffsetReset::Earliest,
            max_poll_interval: MAX_POLL_INTERVAL,
            ..ConsumerConfig::default()
        };
        self.log.consumer(&config).unwrap()
    }

    fn member(&self, name: &'static str, topics: &[&str], events: &Events) -> Box<dyn Consumer> {
        let mut consumer = self.consumer(name);
        let listener = self.listener(name, events);
        consumer.subscribe(topics, Box::new(listener)).unwrap();
        consumer
    }

    fn listener(&self, name: &'static str, events: &Events) -> Listener {
        Listener { name, events: Arc::clone(events), log: Arc::clone(&self.log) }
    }

    fn transaction(&self) -> Box<dyn Producer> {
        let config =
            ProducerConfig { transactional_id: Some("id".to_owned()), ..Default::default() };
        let mut producer = self.log.producer(&config).unwrap();
        producer.begin_transaction().unwrap();
        producer
    }

    fn committed(&self, partition: &TopicPartition) -> Option<u64> {
        self.log.group_offsets("g").unwrap().get(partition).map(|offset| offset.offset.value())
    }

    /// Every partition that a member has, by the description of the group.
    fn owned(&self) -> Vec<String> {
        let group = self.log.describe_group("g").unwrap();
        let show = |tps: &[TopicPartition]| join(tps);
        group.members.iter().map(|m| format!("{} {}", m.client_id, show(&m.assignment))).collect()
    }
}

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

fn join(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn poll(consumer: &mut Box<dyn Consumer>) -> Vec<String> {
    values(&consumer.poll(Duration::ZERO).unwrap())
}

fn values(batches: &[RecordBatch]) -> Vec<String> {
    let records = batches.iter().flat_map(RecordBatch::iter);
    let mut values: Vec<_> =
        records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect();
    values.sort();
    values
}

fn take(events: &Events) -> Vec<String> {
    std::mem::take(&mut *events.lock().unwrap())
}

fn offset(offset: u64) -> OffsetAndMetadata {
    OffsetAndMetadata::from(Offset::new(offset))
}

#[test]
fn a_partition_changes_hands_only_after_its_holder_was_told_and_where_that_one_stopped() {
    contract(|world| {
        world.topic("t", 4);
        world.fill("t", 4, 1);
        let events = Events::default();
        let mut a = world.member("a", &["t"], &events);
        assert_eq!(a.group_metadata().unwrap(), GroupMetadata::outside("g"));
        assert_eq!(poll(&mut a), ["t-0@0", "t-1@0", "t-2@0", "t-3@0"]);
        assert_eq!(take(&events), ["a assigned t-0 t-1 t-2 t-3"]);

        // The newcomer gets nothing while the other one has not let go.
        let mut b = world.member("b", &["t"], &events);
        assert!(poll(&mut b).is_empty() && b.assignment().is_empty());
        assert_eq!(world.log.describe_group("g").unwrap().state, GroupState::Reconciling);
        assert_eq!(world.owned(), ["a t-0 t-1 t-2 t-3", "b "]);
        // And the other one can commit all it has, in its generation.
        a.commit(&[(partition("t", 0), offset(1))]).unwrap();
        assert!(poll(&mut a).is_empty());
        assert_eq!(take(&events), ["a revoked t-2 t-3"]);
        assert_eq!(world.owned(), ["a t-0 t-1", "b "]);
        assert_eq!(
            (world.committed(&partition("t", 2)), world.committed(&partition("t", 1))),
            (Some(1), None)
        );
        world.fill("t", 4, 1);
        assert_eq!(poll(&mut b), ["t-2@0", "t-3@0"]);
        assert_eq!(b.position(&partition("t", 3)).unwrap(), Offset::new(2));
        assert_eq!(take(&events), ["b assigned t-2 t-3"]);
        assert_eq!(world.owned(), ["a t-0 t-1", "b t-2 t-3"]);
        assert_eq!(world.log.describe_group("g").unwrap().state, GroupState::Stable);
        let (a_is, b_is) = (a.group_metadata().unwrap(), b.group_metadata().unwrap());
        assert_eq!(a_is.generation, b_is.generation);
        assert_ne!(a_is.member_id, b_is.member_id);

        // Whoever has a partition now, commits for it; nobody else.
        let refused = a.commit(&[(partition("t", 2), offset(2))]).unwrap_err().to_string();
        assert!(refused.contains("t-2") && refused.contains(&b_is.member_id), "{refused}");
        assert_eq!(world.committed(&partition("t", 2)), Some(1));

        // One leaves with a word, the other without.
        b.unsubscribe().unwrap();
        assert_eq!(take(&events), ["b revoked t-2 t-3"]);
        assert!(b.assignment().is_empty() && b.subscription().is_empty());
        assert_eq!(poll(&mut a), ["t-0@0", "t-1@0"]);
        assert_eq!(take(&events), ["a assigned t-2 t-3"]);
        assert_eq!(a.position(&partition("t", 2)).unwrap(), Offset::new(2));
        drop(a);
        assert!(take(&events).is_empty());
        let group = world.log.describe_group("g").unwrap();
        assert_eq!((group.state, group.members.len()), (GroupState::Empty, 0));
    });
}

#[test]
fn topics_that_come_and_go_are_taken_up_and_left_off() {
    contract(|world| {
        world.topic("t", 1);
        let events = Events::default();
        let mut a = world.member("a", &["u", "t"], &events);
        poll(&mut a);
        assert_eq!(join(&a.assignment()), "t-0");
        assert_eq!(join_names(&a.subscription()), "t u");
        world.topic("u", 2);
        world.fill("u", 2, 1);
        assert_eq!(poll(&mut a), ["u-0@0", "u-1@0"]);
        world.log.delete_topic("t").unwrap();
        // Nothing can be committed for a topic that is gone; the poll says so, once.
        let error = a.poll(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
        assert_eq!(join(&a.assignment()), "u-0 u-1");
        poll(&mut a);
        let told = ["a assigned t-0", "a assigned u-0 u-1", "a revoked t-0"];
        assert_eq!(take(&events), told);

        // Other topics instead: what stays goes on where it is, the rest goes.
        world.topic("v", 1);
        let listener = world.listener("a", &events);
        a.subscribe(&["v", "u"], Box::new(listener)).unwrap();
        poll(&mut a);
        a.subscribe(&["u"], Box::new(())).unwrap();
        poll(&mut a);
        assert_eq!(take(&events), ["a assigned v-0"]);
        assert_eq!(join(&a.assignment()), "u-0 u-1");
        assert_eq!(a.position(&partition("u", 1)).unwrap(), Offset::new(1));
        a.subscribe(&[], Box::new(())).unwrap();
        assert!(a.assignment().is_empty());
    });
}

fn join_names(topics: &[TopicName]) -> String {
    topics.iter().map(TopicName::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_member_that_does_not_poll_loses_its_membership_and_cannot_commit() {
    contract(|world| {
        world.topic("t", 2);
        world.fill("t", 2, 1);
        let events = Events::default();
        let (mut a, mut b) = (world.member("a", &["t"], &events), world.consumer("b"));
        b.subscribe(&["t"], Box::new(())).unwrap();
        assert_eq!(poll(&mut a), ["t-0@0", "t-1@0"]);
        let before = a.group_metadata().unwrap();
        world.clock.advance(MAX_POLL_INTERVAL);
        a.commit(&[(partition("t", 0), offset(1))]).unwrap();
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(poll(&mut b), ["t-1@0"]);
        assert_eq!(b.position(&partition("t", 0)).unwrap(), Offset::new(1));
        assert_eq!(world.owned(), ["b t-0 t-1"]);

        let refused = a.commit(&[(partition("t", 1), offset(1))]).unwrap_err();
        let Error::UnknownMember { group, member_id } = &refused else { panic!("{refused}") };
        assert_eq!((group.as_str(), member_id), ("g", &before.member_id));
        let mut producer = world.transaction();
        let offsets = [(partition("t", 1), offset(1))];
        let refused = producer.send_offsets_to_transaction(&offsets, &before).unwrap_err();
        assert!(matches!(refused, Error::UnknownMember { .. }), "{refused}");
        producer.abort_transaction().unwrap();
        assert_eq!(world.committed(&partition("t", 1)), None);

        // Its next poll tells it, and joins anew under another id.
        poll(&mut a);
        assert_eq!(take(&events), ["a assigned t-0 t-1", "a lost t-0 t-1"]);
        assert!(a.assignment().is_empty());
        assert_ne!(a.group_metadata().unwrap().member_id, before.member_id);
        poll(&mut b);
        poll(&mut a);
        assert_eq!(take(&events), ["a assigned t-1"]);

        // Nobody else needs to look for the time to be over.
        drop(b);
        world.clock.advance(MAX_POLL_INTERVAL + Duration::from_millis(1));
        let refused = a.commit(&[(partition("t", 1), offset(1))]).unwrap_err();
        assert!(matches!(refused, Error::UnknownMember { .. }), "{refused}");
        poll(&mut a);
        assert_eq!(take(&events), ["a lost t-1", "a assigned t-0 t-1"]);
        world.clock.advance(MAX_POLL_INTERVAL + Duration::from_millis(1));
        poll(&mut a);
        assert_eq!(take(&events), ["a lost t-0 t-1", "a assigned t-0 t-1"]);
        world.clock.advance(MAX_POLL_INTERVAL + Duration::from_millis(1));
        a.unsubscribe().unwrap();
        assert_eq!(take(&events), ["a lost t-0 t-1"]);
    });
}

#[test]
fn a_transaction_that_a_rebalance_has_overtaken_leaves_nothing() {
    contract(|world| {
        world.topic("t", 2);
        world.topic("out", 1);
        world.fill("t", 2, 1);
        let mut a = world.consumer("a");
        a.subscribe(&["t"], Box::new(())).unwrap();
        poll(&mut a);
        let before = a.group_metadata().unwrap();
        let mut producer = world.transaction();
        let record = ProducerRecord { value: Some(b"result"), ..ProducerRecord::to("out") };
        producer.send(&record).unwrap();
        let offsets = [(partition("t", 0), offset(1)), (partition("t", 1), offset(1))];
        producer.send_offsets_to_transaction(&offsets, &before).unwrap();

        let mut b = world.consumer("b");
        b.subscribe(&["t"], Box::new(())).unwrap();
        poll(&mut b);
        poll(&mut a);
        assert_eq!(poll(&mut b), ["t-1@0"]);
        let refused = producer.commit_transaction().unwrap_err();
        let Error::IllegalGeneration { generation, current, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!((*generation, *current), (before.generation, before.generation + 1));
        producer.abort_transaction().unwrap();
        assert_eq!(world.log.watermarks(&partition("out", 0)).unwrap().end, Offset::ZERO);
        assert_eq!(world.committed(&partition("t", 0)), None);

        producer.begin_transaction().unwrap();
        let refused = producer.send_offsets_to_transaction(&offsets, &before).unwrap_err();
        assert!(matches!(refused, Error::IllegalGeneration { .. }), "{refused}");
        // In its own generation, and for what it has, it can.
        let now = a.group_metadata().unwrap();
        let refused = producer.send_offsets_to_transaction(&offsets, &now).unwrap_err();
        assert!(refused.to_string().contains("t-1 belongs to member"), "{refused}");
        producer.send(&record).unwrap();
        producer.send_offsets_to_transaction(&offsets[..1], &now).unwrap();
        producer.commit_transaction().unwrap();
        assert_eq!(world.log.watermarks(&partition("out", 0)).unwrap().end, Offset::new(1));
        assert_eq!(world.committed(&partition("t", 0)), Some(1));
        assert_eq!(world.committed(&partition("t", 1)), None);
    });
}

#[test]
fn the_offsets_of_a_live_group_are_its_members_own() {
    contract(|world| {
        world.topic("t", 2);
        world.fill("t", 2, 3);
        let t = [partition("t", 0), partition("t", 1)];
        let reset = |to| {
            let now = Timestamp::from_millis(0);
            OffsetResetPlan::new(&*world.log, "g", &t, to, now).unwrap()
        };
        let mut a = world.consumer("a");
        a.subscribe(&["t"], Box::new(())).unwrap();
        poll(&mut a);
        a.commit(&[(t[0].clone(), offset(2))]).unwrap();

        let log = &*world.log;
        let mut other = world.consumer("other");
        other.assign(&t).unwrap();
        for refused in [
            log.alter_group_offsets("g", &[(t[0].clone(), Some(Offset::ZERO))]).unwrap_err(),
            log.delete_group("g").unwrap_err(),
            reset(OffsetReset::ToEarliest).execute(log).unwrap_err(),
            other.commit(&[(t[0].clone(), offset(1))]).unwrap_err(),
        ] {
            let Error::GroupNotEmpty { group, members } = &refused else { panic!("{refused}") };
            assert_eq!(group, "g");
            assert_eq!(*members, [a.group_metadata().unwrap().member_id]);
        }
        assert_eq!(world.committed(&t[0]), Some(2));
        a.unsubscribe().unwrap();

        let plan = reset(OffsetReset::ShiftBy(-1));
        assert_eq!(world.committed(&t[0]), Some(2), "a plan changes nothing");
        assert_eq!(plan.partitions[0].new, Some(Offset::new(1)));
        assert_eq!((plan.partitions[1].current, plan.partitions[1].new), (None, None));
        plan.execute(log).unwrap();
        assert_eq!((world.committed(&t[0]), world.committed(&t[1])), (Some(1), None));
        reset(OffsetReset::ToCurrent).execute(log).unwrap();
        assert_eq!((world.committed(&t[0]), world.committed(&t[1])), (Some(1), Some(3)));
        other.commit(&[(t[0].clone(), offset(2))]).unwrap();
        assert_eq!(world.committed(&t[0]), Some(2));

        a.subscribe(&["t"], Box::new(())).unwrap();
        assert_eq!(poll(&mut a), ["t-0@2"]);
        drop(a);
        log.delete_group("g").unwrap();
        assert!(log.group_offsets("g").unwrap().is_empty() && log.groups().unwrap().is_empty());
        for gone in [log.delete_group("g").unwrap_err(), log.describe_group("g").unwrap_err()] {
            assert!(matches!(&gone, Error::UnknownGroup { group } if group == "g"), "{gone}");
        }
    });
}

#[test]
fn a_group_is_described_with_members_offsets_and_lag() {
    contract(|world| {
        world.topic("t", 2);
        world.topic("u", 1);
        world.fill("t", 2, 5);
        let mut a = world.consumer("app");
        a.subscribe(&["t"], Box::new(())).unwrap();
        poll(&mut a);
        assert_eq!(world.log.groups().unwrap(), ["g"], "members make a group, too");
        a.commit(&[(partition("t", 1), offset(3))]).unwrap();
        let group = world.log.describe_group("g").unwrap();
        assert_eq!((group.group.as_str(), group.state.as_str()), ("g", "Stable"));
        assert_eq!(group.generation, Some(a.group_metadata().unwrap().generation));
        let member_id = a.group_metadata().unwrap().member_id;
        let [member] = &group.members[..] else { panic!("{group:?}") };
        assert_eq!((&member.member_id, member.client_id.as_str()), (&member_id, "app"));
        assert!(member_id.starts_with("app-"), "{member_id}");
        assert_eq!(join(&member.assignment), "t-0 t-1");
        let rows: Vec<_> = group
            .partitions
            .iter()
            .map(|p| (p.topic_partition.to_string(), p.committed.clone(), p.end, p.lag()))
            .collect();
        let end = Some(Offset::new(5));
        assert_eq!(
            rows,
            [
                ("t-0".to_owned(), None, end, None),
                ("t-1".to_owned(), Some(offset(3)), end, Some(2))
            ]
        );
        assert!(group.partitions.iter().all(|p| p.member_id.as_ref() == Some(&member_id)));
        drop(a);

        world.log.alter_group_offsets("g", &[(partition("u", 0), Some(Offset::ZERO))]).unwrap();
        let group = world.log.describe_group("g").unwrap();
        assert_eq!((group.state, group.generation), (GroupState::Empty, None));
        let show: Vec<_> = group.partitions.iter().map(|p| p.topic_partition.to_string()).collect();
        assert_eq!(show, ["t-1", "u-0"]);
        assert!(group.partitions.iter().all(|p| p.member_id.is_none()));
        assert_eq!(group.partitions[1].lag(), Some(0));
    });
}

#[test]
fn another_process_sees_offsets_but_says_that_it_does_not_know_the_members() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::builder(dir.path()).create(true).journal_bytes(1 << 20).open().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    store.append(&partition("t", 0), &Record::value(b"x")).unwrap();
    let config = ConsumerConfig { group: Some("g".to_owned()), ..ConsumerConfig::default() };
    let mut member = store.consumer(&config).unwrap();
    member.subscribe(&["t"], Box::new(())).unwrap();
    member.poll(Duration::ZERO).unwrap();
    member.commit(&[(partition("t", 0), offset(1))]).unwrap();

    let reader = LogStore::open_read_only(dir.path()).unwrap();
    let group = reader.describe_group("g").unwrap();
    assert_eq!((group.state, group.generation), (GroupState::Unknown, None));
    assert_eq!(group.partitions[0].committed, Some(offset(1)));
    assert_eq!(group.partitions[0].lag(), Some(0));
    let mut consumer = reader.consumer(&config).unwrap();
    let refused = consumer.subscribe(&["t"], Box::new(())).unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { operation: "subscribe" }), "{refused}");
    for refused in [
        reader.alter_group_offsets("g", &[(partition("t", 0), None)]).unwrap_err(),
        reader.delete_group("g").unwrap_err(),
    ] {
        assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
    }
}

/// Does all that a listener must not do, and fails.
struct Rude(Arc<Mutex<Vec<String>>>);

impl RebalanceListener for Rude {
    fn on_partitions_assigned(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        let mut refused = vec![
            consumer.poll(Duration::ZERO).map(drop).unwrap_err(),
            consumer.assign(partitions).unwrap_err(),
            consumer.subscribe(&["t"], Box::new(())).unwrap_err(),
            consumer.unsubscribe().unwrap_err(),
        ];
        // What it may do: choose another place to begin at, and leave one out.
        consumer.seek(&partition("t", 0), Offset::new(2))?;
        consumer.pause(&[partition("t", 1)])?;
        let result = Err(Error::External {
            operation: "restore",
            reason: "no".to_owned(),
            retriable: false,
        });
        self.0.lock().unwrap().extend(refused.drain(..).map(|error| error.to_string()));
        result
    }
}

#[test]
fn a_listener_may_seek_and_pause_but_not_poll_and_its_error_is_the_polls() {
    contract(|world| {
        world.topic("t", 2);
        world.fill("t", 2, 3);
        let refused = Arc::default();
        let mut a = world.consumer("a");
        a.subscribe(&["t"], Box::new(Rude(Arc::clone(&refused)))).unwrap();
        let error = a.poll(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::External { operation: "restore", .. }), "{error}");
        let refused = refused.lock().unwrap();
        assert_eq!(refused.len(), 4);
        for (refused, call) in refused.iter().zip(["poll", "assign", "subscribe", "unsubscribe"]) {
            assert!(refused.starts_with(&format!("{call} is not possible")), "{refused}");
        }
        assert_eq!(poll(&mut a), ["t-0@2"]);
        a.resume(&[partition("t", 1)]).unwrap();
        assert_eq!(poll(&mut a), ["t-1@0", "t-1@1", "t-1@2"]);
    });
}

#[test]
fn subscribing_and_assigning_exclude_each_other_and_need_what_they_need() {
    contract(|world| {
        world.topic("t", 1);
        let state = |result: Result<()>, words: &str| {
            let error = result.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        let mut a = world.consumer("a");
        a.assign(&[partition("t", 0)]).unwrap();
        state(a.subscribe(&["t"], Box::new(())), "partitions are assigned");
        a.unsubscribe().unwrap();
        assert!(a.assignment().is_empty());
        a.subscribe(&["t"], Box::new(())).unwrap();
        state(a.assign(&[partition("t", 0)]), "the consumer has subscribed");
        state(a.subscribe(&["a/b"], Box::new(())), "a/b");
        // Before its first poll it is no member, and must not pass for an outsider.
        state(a.commit(&[(partition("t", 0), offset(0))]), "is no member");
        let mut loner = world.log.consumer(&ConsumerConfig::default()).unwrap();
        state(loner.subscribe(&["t"], Box::new(())), "group.id");
        for (config, key) in [
            (ConsumerConfig { group: Some(String::new()), ..Default::default() }, "group.id"),
            (
                ConsumerConfig { max_poll_interval: Duration::ZERO, ..Default::default() },
                "max.poll.interval.ms",
            ),
        ] {
            state(world.log.consumer(&config).map(drop), key);
        }
    });
}

#[test]
fn a_partition_without_a_place_to_begin_at_is_an_error_of_the_poll_until_somebody_seeks() {
    contract(|world| {
        world.topic("t", 1);
        world.fill("t", 1, 2);
        let config = ConsumerConfig {
            group: Some("g".to_owned()),
            auto_offset_reset: AutoOffsetReset::None,
            ..ConsumerConfig::default()
        };
        let mut a = world.log.consumer(&config).unwrap();
        a.subscribe(&["t"], Box::new(())).unwrap();
        for _ in 0..2 {
            let error = a.poll(Duration::ZERO).unwrap_err().to_string();
            assert!(error.contains("t-0") && error.contains("auto.offset.reset"), "{error}");
        }
        assert_eq!(a.lag(&partition("t", 0)).unwrap(), None, "there is no position yet");
        assert_eq!(a.committed(&partition("t", 0)).unwrap(), None);
        a.seek(&partition("t", 0), Offset::new(1)).unwrap();
        assert_eq!(a.lag(&partition("t", 0)).unwrap(), Some(1));
        assert_eq!(poll(&mut a), ["t-0@1"]);
        assert_eq!(a.lag(&partition("t", 0)).unwrap(), Some(0));
    });
}

#[test]
fn beginnings_ends_and_times_are_answered_in_the_order_of_the_question() {
    contract(|world| {
        world.topic("t", 2);
        let mut producer = world.log.producer(&ProducerConfig::default()).unwrap();
        // Times that go back and forth: the first record in the order of offsets counts.
        for (number, time) in [(0, 50), (0, 10), (0, 60), (0, 55), (0, 70), (1, 5)] {
            let record = ProducerRecord {
                partition: Some(PartitionId::new(number)),
                timestamp: Some(Timestamp::from_millis(time)),
                ..ProducerRecord::to("t")
            };
            producer.send(&record).unwrap();
        }
        producer.flush().unwrap();
        let (first, second) = (partition("t", 0), partition("t", 1));
        world.log.delete_records(&first, Offset::new(1)).unwrap();
        let consumer = world.log.consumer(&ConsumerConfig::default()).unwrap();
        let both = [second.clone(), first.clone()];
        let offsets = |values: [u64; 2]| values.map(Offset::new);
        assert_eq!(consumer.beginning_offsets(&both).unwrap(), offsets([0, 1]));
        assert_eq!(consumer.end_offsets(&both).unwrap(), offsets([1, 5]));
        let ask = |tp: &TopicPartition, time| {
            let times = [(tp.clone(), Timestamp::from_millis(time))];
            let answer = consumer.offsets_for_times(&times).unwrap();
            assert_eq!(answer, world.log.offsets_for_times(&times).unwrap());
            answer[0].map(Offset::value)
        };
        for (time, expected) in
            [(0, Some(1)), (10, Some(1)), (11, Some(2)), (60, Some(2)), (61, Some(4)), (71, None)]
        {
            assert_eq!(ask(&first, time), expected, "{time}");
        }
        assert_eq!((ask(&second, 5), ask(&second, 6)), (Some(0), None));
        let unknown = [(partition("t", 2), Timestamp::from_millis(0))];
        assert!(matches!(
            world.log.offsets_for_times(&unknown),
            Err(Error::UnknownPartition { .. })
        ));

        let now = Timestamp::from_millis(100);
        let to = OffsetReset::ByDuration(Duration::from_millis(39));
        let plan = OffsetResetPlan::new(&*world.log, "g", &both, to, now).unwrap();
        let moved: Vec<_> =
            plan.partitions.iter().map(|PartitionReset { new, .. }| new.unwrap().value()).collect();
        assert_eq!(moved, [1, 4]);
        assert!(plan.partitions[0].note.unwrap().to_string().contains("61"));
        plan.execute(&*world.log).unwrap();
        assert_eq!((world.committed(&second), world.committed(&first)), (Some(1), Some(4)));
    });
}

/// The system's clock, and how often somebody looked at it.
#[derive(Debug, Default)]
struct WatchedClock {
    clock: SystemClock,
    looks: AtomicU64,
}

impl Clock for WatchedClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.clock.monotonic()
    }
}

impl WatchedClock {
    /// Returns when somebody has looked at the clock after `before`, and nobody does any more:
    /// whoever polls is waiting by then.
    fn until_quiet(&self, before: u64) {
        let mut looks = before;
        loop {
            (0..5_000).for_each(|_| std::thread::yield_now());
            let now = self.looks.load(Ordering::Relaxed);
            if now == looks && now > before {
                return;
            }
            looks = now;
        }
    }
}

/// Says that partitions have come.
struct Arrival(mpsc::Sender<String>);

impl RebalanceListener for Arrival {
    fn on_partitions_assigned(
        &mut self,
        _consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.0.send(join(partitions)).unwrap();
        Ok(())
    }
}

#[test]
fn a_blocked_poll_wakes_when_a_topic_appears_or_a_member_leaves_or_falls_silent() {
    const LONG: Duration = Duration::from_secs(3600);
    let clock = Arc::new(WatchedClock::default());
    let store = LogStore::in_memory_builder().clock(Arc::clone(&clock) as _).open().unwrap();
    let log: Arc<dyn Log> = Arc::new(store);
    let (arrival, arrived) = mpsc::channel();
    let member = |max_poll_interval| {
        let group = Some("g".to_owned());
        let config = ConsumerConfig { group, max_poll_interval, ..ConsumerConfig::default() };
        let mut consumer = log.consumer(&config).unwrap();
        consumer.subscribe(&["t"], Box::new(Arrival(arrival.clone()))).unwrap();
        consumer
    };
    let expect = |what: &str| {
        let told = arrived.recv_timeout(Duration::from_secs(60));
        assert_eq!(told.as_deref(), Ok(what), "the poll was not woken");
    };
    let blocked = || {
        let mut consumer = member(LONG);
        let waker = consumer.waker();
        let before = clock.looks.load(Ordering::Relaxed);
        let thread = std::thread::spawn(move || consumer.poll(LONG).unwrap().len());
        clock.until_quiet(before);
        move || {
            waker.wake();
            assert_eq!(thread.join().unwrap(), 0);
        }
    };

    let end = blocked();
    log.create_topic(&NewTopic::new("t")).unwrap();
    expect("t-0");
    end();

    for leaves in [true, false] {
        // One that is silent is put out by nobody but the poll that waits.
        let mut holder = member(if leaves { LONG } else { Duration::from_millis(20) });
        holder.poll(Duration::ZERO).unwrap();
        expect("t-0");
        let end = blocked();
        if leaves {
            drop(holder);
        }
        expect("t-0");
        end();
    }
}
