//! Members join, fall silent, leave and commit in a random order, and every record is processed
//! once.
//!
//! Each member copies records from the topic `in` to the topic `out` in transactions that carry
//! its offsets, commits before it parts with a partition, and gives up what it was doing when it
//! has lost its membership. Whatever the order: no partition is with two members, and in the end
//! `out` holds each record exactly once. `HEADWATER_SEED=n` runs one seed again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use headwater_log_store::{
    AutoOffsetReset, Clock, Consumer, ConsumerConfig, Error, GroupMetadata, GroupState, Log,
    LogStore, ManualClock, NewTopic, Offset, PartitionId, Producer, ProducerConfig, ProducerRecord,
    RebalanceListener, RecordBatch, Result, SystemClock, Timestamp, TopicName, TopicPartition,
};

const CASES: usize = 300;
const STEPS: usize = 150;
const MEMBERS_MAX: usize = 5;

/// What has happened in a run, so that a run in which nothing happens fails.
#[derive(Debug, Default)]
struct Seen {
    commits: usize,
    revoked: usize,
    lost: usize,
    refused: usize,
    abandoned: usize,
    stale: usize,
}

/// What a member has copied and not committed yet.
#[derive(Debug)]
struct Work {
    producer: Box<dyn Producer>,
    is_open: bool,
    offsets: BTreeMap<TopicPartition, Offset>,
    seen: Arc<Mutex<Seen>>,
}

/// A member of the group.
struct Member {
    consumer: Box<dyn Consumer>,
    work: Arc<Mutex<Work>>,
    /// What the member was once.
    before: Option<GroupMetadata>,
}

struct Listener(Arc<Mutex<Work>>);

impl Work {
    fn copy(&mut self, batches: &[RecordBatch]) -> Result<()> {
        for batch in batches {
            for record in batch.iter() {
                if !self.is_open {
                    self.producer.begin_transaction()?;
                    self.is_open = true;
                }
                let copy = ProducerRecord { value: record.value, ..ProducerRecord::to("out") };
                self.producer.send(&copy)?;
                self.offsets.insert(batch.topic_partition().clone(), record.offset.next());
            }
        }
        Ok(())
    }

    fn commit(&mut self, metadata: &GroupMetadata) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let offsets: Vec<_> =
            self.offsets.iter().map(|(tp, offset)| (tp.clone(), (*offset).into())).collect();
        self.producer.send_offsets_to_transaction(&offsets, metadata)?;
        self.producer.commit_transaction()?;
        self.offsets.clear();
        self.is_open = false;
        self.seen.lock().unwrap().commits += 1;
        Ok(())
    }

    fn abort(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.producer.abort_transaction().unwrap();
        }
        self.offsets.clear();
    }
}

impl RebalanceListener for Listener {
    fn on_partitions_revoked(
        &mut self,
        consumer: &mut dyn Consumer,
        _partitions: &[TopicPartition],
    ) -> Result<()> {
        let mut work = self.0.lock().unwrap();
        work.seen.lock().unwrap().revoked += 1;
        work.commit(&consumer.group_metadata()?)
    }

    fn on_partitions_lost(
        &mut self,
        consumer: &mut dyn Consumer,
        _partitions: &[TopicPartition],
    ) -> Result<()> {
        let mut work = self.0.lock().unwrap();
        work.seen.lock().unwrap().lost += 1;
        if work.is_open {
            let refused = work.commit(&consumer.group_metadata()?).unwrap_err();
            assert!(matches!(refused, Error::UnknownMember { .. }), "{refused}");
        }
        work.abort();
        Ok(())
    }
}

impl Member {
    fn new(log: &dyn Log, id: usize, seen: &Arc<Mutex<Seen>>) -> Self {
        let config = ConsumerConfig {
            group: Some("g".to_owned()),
            client_id: Some(format!("m{id}")),
            auto_offset_reset: AutoOffsetReset::Earliest,
            max_poll_records: 3,
            max_poll_interval: Duration::from_secs(10),
            ..ConsumerConfig::default()
        };
        let mut consumer = log.consumer(&config).unwrap();
        let config =
            ProducerConfig { transactional_id: Some(format!("m{id}")), ..Default::default() };
        let (producer, seen) = (log.producer(&config).unwrap(), Arc::clone(seen));
        let work = Work { producer, is_open: false, offsets: BTreeMap::new(), seen };
        let work = Arc::new(Mutex::new(work));
        consumer.subscribe(&["in"], Box::new(Listener(Arc::clone(&work)))).unwrap();
        Self { consumer, work, before: None }
    }

    fn poll(&mut self, timeout: Duration) {
        let batches = self.consumer.poll(timeout).unwrap();
        self.work.lock().unwrap().copy(&batches).unwrap();
    }

    /// Commits, or is refused and gives up what it did; its next poll will tell it why.
    fn commit(&self) {
        let mut work = self.work.lock().unwrap();
        let metadata = self.consumer.group_metadata().unwrap();
        match work.commit(&metadata) {
            Ok(()) => {}
            Err(Error::UnknownMember { .. }) => {
                work.abort();
                work.seen.lock().unwrap().refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Begins anew what it has not committed, as after an error of its own.
    fn abandon(&mut self, log: &dyn Log) {
        let mut work = self.work.lock().unwrap();
        work.abort();
        work.seen.lock().unwrap().abandoned += 1;
        drop(work);
        let committed = log.group_offsets("g").unwrap();
        for partition in self.consumer.assignment() {
            let offset = committed.get(&partition).map_or(Offset::ZERO, |offset| offset.offset);
            self.consumer.seek(&partition, offset).unwrap();
        }
    }

    /// Commits as what it was at some time before; to be refused if that is over.
    fn commit_as_before(&mut self) {
        let now = self.consumer.group_metadata().unwrap();
        let Some(before) = self.before.replace(now.clone()) else { return };
        let mut work = self.work.lock().unwrap();
        if before == now || before.member_id.is_empty() || !work.is_open {
            return;
        }
        let refused = work.commit(&before).unwrap_err();
        let over = matches!(refused, Error::UnknownMember { .. } | Error::IllegalGeneration { .. });
        assert!(over, "{refused}");
        work.seen.lock().unwrap().stale += 1;
    }
}

fn produce(log: &dyn Log, partitions: u32, next: &mut u32, rng: &mut Rng) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for _ in 0..rng.u32(1..10) {
        let value = next.to_string();
        let partition = PartitionId::new(rng.u32(0..partitions));
        let record = ProducerRecord {
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..ProducerRecord::to("in")
        };
        producer.send(&record).unwrap();
        *next += 1;
    }
    producer.flush().unwrap();
}

/// No partition is with two members, and who is a member has what the group says that it has.
fn check_owners(log: &dyn Log, members: &[Option<Member>], context: &str) {
    let Ok(group) = log.describe_group("g") else { return };
    let mut owned = BTreeSet::new();
    for described in &group.members {
        for partition in &described.assignment {
            assert!(owned.insert(partition.clone()), "{context}: {group:?}");
        }
        let is_it = |member: &&Member| {
            member.consumer.group_metadata().unwrap().member_id == described.member_id
        };
        let member = members.iter().flatten().find(is_it).expect("members are consumers");
        let mut assignment = member.consumer.assignment();
        assignment.sort();
        assert_eq!(assignment, described.assignment, "{context}");
    }
}

/// All values in `out`, in order of size.
fn copies(log: &dyn Log) -> Vec<u32> {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    let out = TopicPartition::new(TopicName::new("out").unwrap(), PartitionId::new(0));
    consumer.assign(std::slice::from_ref(&out)).unwrap();
    consumer.seek(&out, Offset::ZERO).unwrap();
    let mut copies = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            copies.sort_unstable();
            return copies;
        }
        for record in batches.iter().flat_map(RecordBatch::iter) {
            copies.push(std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap());
        }
    }
}

fn log(clock: Arc<dyn Clock>, partitions: u32) -> Arc<dyn Log> {
    let log = LogStore::in_memory_builder().clock(clock).open().unwrap();
    log.create_topic(&NewTopic::new("in").partitions(partitions)).unwrap();
    log.create_topic(&NewTopic::new("out")).unwrap();
    Arc::new(log)
}

fn run(seed: u64, seen: &Arc<Mutex<Seen>>) {
    let mut rng = Rng::with_seed(seed);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let partitions = rng.u32(1..8);
    let log = log(Arc::clone(&clock) as _, partitions);
    let mut members: Vec<Option<Member>> = (0..MEMBERS_MAX).map(|_| None).collect();
    let (mut next, mut next_id) = (0, 0);
    for step in 0..STEPS {
        let context = format!("HEADWATER_SEED={seed}, step {step}");
        let slot = rng.usize(0..MEMBERS_MAX);
        match (rng.u32(0..100), &mut members[slot]) {
            (0..10, _) => produce(&*log, partitions, &mut next, &mut rng),
            (10..18, _) => clock.advance(Duration::from_millis(rng.u64(1..8_000))),
            (_, member @ None) => {
                *member = Some(Member::new(&*log, next_id, seen));
                next_id += 1;
            }
            // It dies, or leaves in peace.
            (18..21, member) => *member = None,
            (21..23, member) => {
                let mut leaver = member.take().unwrap();
                leaver.consumer.unsubscribe().unwrap();
            }
            (23..30, Some(member)) => member.abandon(&*log),
            (30..35, Some(member)) => member.commit_as_before(),
            (35..60, Some(member)) => member.commit(),
            (_, Some(member)) => member.poll(Duration::ZERO),
        }
        check_owners(&*log, &members, &context);
    }

    // Those who are left come to rest, and process the rest.
    if members.iter().all(Option::is_none) {
        members[0] = Some(Member::new(&*log, next_id, seen));
    }
    let expected: Vec<u32> = (0..next).collect();
    for _ in 0..100 + next {
        for member in members.iter_mut().flatten() {
            member.poll(Duration::ZERO);
            member.commit();
        }
        check_owners(&*log, &members, &format!("HEADWATER_SEED={seed}"));
        let is_stable = log.describe_group("g").unwrap().state == GroupState::Stable;
        if is_stable && copies(&*log).len() >= expected.len() {
            break;
        }
    }
    assert_eq!(copies(&*log), expected, "HEADWATER_SEED={seed}");
    let group = log.describe_group("g").unwrap();
    assert_eq!(group.state, GroupState::Stable, "HEADWATER_SEED={seed}");
    let lags: Vec<_> = group.partitions.iter().map(|p| p.lag().unwrap_or(0)).collect();
    assert!(lags.iter().all(|&lag| lag == 0), "HEADWATER_SEED={seed}: {group:?}");
    let loads: Vec<_> = group.members.iter().map(|m| m.assignment.len()).collect();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 1, "HEADWATER_SEED={seed}: {group:?}");
}

#[test]
fn whatever_members_do_each_record_is_processed_once() {
    let seen = Arc::default();
    if let Ok(seed) = std::env::var("HEADWATER_SEED") {
        return run(seed.parse().unwrap(), &seen);
    }
    let first = Rng::new().u64(..u64::MAX / 2);
    println!("seeds {first} to {}", first + CASES as u64 - 1);
    for case in 0..CASES as u64 {
        run(first + case, &seen);
    }
    let seen = seen.lock().unwrap();
    println!("{seen:?}");
    let Seen { commits, revoked, lost, refused, abandoned, stale } = &*seen;
    for count in [commits, revoked, lost, refused, abandoned, stale] {
        assert!(*count > 50, "too little happened from seed {first} on: {seen:?}");
    }
}

#[test]
fn members_on_threads_of_their_own_process_each_record_once() {
    const RECORDS: u32 = 4_000;
    let seed = Rng::new().u64(..);
    println!("seed {seed}");
    let (log, seen) = (log(Arc::new(SystemClock::new()), 6), Arc::<Mutex<Seen>>::default());
    let (done, mut next) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (log, seen, done) = (&*log, &seen, &done);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ thread);
                let mut lives = 0;
                while !done.load(Ordering::Relaxed) {
                    // A life ends by dropping everything, a transaction in its middle included.
                    let id = usize::try_from(thread).unwrap() + 10 * lives;
                    let mut member = Member::new(log, id, seen);
                    lives += 1;
                    for _ in 0..rng.u32(1..60) {
                        member.poll(Duration::from_millis(1));
                        if rng.u32(0..3) == 0 {
                            member.commit();
                        }
                    }
                    if rng.bool() {
                        member.consumer.unsubscribe().unwrap();
                    }
                }
            });
        }
        let mut rng = Rng::with_seed(seed);
        while next < RECORDS {
            produce(&*log, 6, &mut next, &mut rng);
        }
        let out = TopicPartition::new(TopicName::new("out").unwrap(), PartitionId::new(0));
        let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
        consumer.assign(std::slice::from_ref(&out)).unwrap();
        while log.watermarks(&out).unwrap().end.value() < next.into() {
            // The end of the topic is where this waits.
            consumer.poll(Duration::from_secs(1)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(copies(&*log), (0..next).collect::<Vec<_>>(), "seed {seed}");
    let seen = seen.lock().unwrap();
    assert!(seen.commits > 50 && seen.revoked > 0, "seed {seed}: {seen:?}");
}
