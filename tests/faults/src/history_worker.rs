//! The process whose producers, consumers and copiers make a history: it tells of each operation
//! before and after, through standard output.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use headwater_histories::{Action, Isolation, Operation, Outcome};
use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Error, Log, LogStore, NewTopic, Offset,
    OffsetAndMetadata, PartitionId, Producer, ProducerConfig, ProducerRecord, RebalanceListener,
    Result, TopicName, TopicPartition,
};
use parking_lot::Mutex;

use crate::failure::chain;
use crate::message::nanos;
use crate::store::StoreSettings;

/// What copiers read.
pub(crate) const INPUT: &str = "input";
/// Where they write.
pub(crate) const OUTPUT: &str = "output";
/// The partitions of both.
pub(crate) const PARTITIONS: u32 = 3;
/// The group of the copiers.
pub(crate) const GROUP: &str = "copiers";
/// A poll does not wait for longer.
const POLL: Duration = Duration::from_millis(5);
/// One in so many transactions is aborted.
const ABORTS: u8 = 6;
/// One in so many polls of a copier is the last of its consumer.
const LEAVES: u8 = 60;
/// Values are numbers with so many bytes behind them at most; long ones are torn by a kill.
const PADDING_MAX: usize = 6_000;

/// The arguments of a worker.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HistoryWorkerArgs {
    /// The folder of the store.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// What is left to chance.
    #[arg(long)]
    pub(crate) seed: u64,
    /// How many workers of this store came before.
    #[arg(long)]
    pub(crate) life: u32,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

impl HistoryWorkerArgs {
    /// The command line that says the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "history-worker".to_owned(),
            format!("--dir={}", self.dir.display()),
            format!("--seed={}", self.seed),
            format!("--life={}", self.life),
        ];
        arguments.extend(self.store.arguments());
        arguments
    }
}

/// The partition's name in histories.
pub(crate) fn name(tp: &TopicPartition) -> String {
    format!("{}-{}", tp.topic, tp.partition)
}

/// All partitions of a topic.
pub(crate) fn partitions(topic: &str) -> Vec<TopicPartition> {
    let topic = TopicName::new(topic).expect("a valid name");
    let partition = |number| TopicPartition::new(topic.clone(), PartitionId::new(number));
    (0..PARTITIONS).map(partition).collect()
}

/// The value that a record carries.
pub(crate) fn value(bytes: Option<&[u8]>) -> u64 {
    let first = bytes.and_then(|bytes| bytes.first_chunk());
    u64::from_be_bytes(*first.expect("all values begin with a number"))
}

/// Works until it is killed. Returns only if the log has failed, which nobody has made it do.
pub(crate) fn run(args: &HistoryWorkerArgs) {
    let Err(error) = work(args);
    say(&format!("failed {}", chain(&error)));
}

fn say(line: &str) {
    // The process that listens may be gone; then this one is about to be killed.
    let _ = writeln!(io::stdout(), "{line}");
}

fn work(args: &HistoryWorkerArgs) -> Result<std::convert::Infallible> {
    let log = args.store.open(&args.dir)?;
    for topic in [INPUT, OUTPUT] {
        if log.describe_topic(topic).is_err() {
            let segment_bytes = args.store.segment_bytes.to_string();
            let new = NewTopic::new(topic).partitions(PARTITIONS);
            log.create_topic(&new.config("segment.bytes", segment_bytes))?;
        }
    }
    let scene = Scene {
        log,
        processes: AtomicU32::new(args.life << 16),
        values: AtomicU64::new(u64::from(args.life) << 32),
        numbers: AtomicU64::new(0),
    };
    let failed = Mutex::new(None);
    std::thread::scope(|threads| {
        let roles = [plain, transactional, copier, copier, reader];
        for (nth, role) in (0u64..).zip(roles) {
            let (scene, failed) = (&scene, &failed);
            let seed = args.seed ^ (u64::from(args.life) << 8 | nth).wrapping_mul(0x9E37_79B9);
            threads.spawn(move || {
                let Err(error) = role(scene, Rng::with_seed(seed));
                say(&format!("failed {}", chain(&error)));
                failed.lock().get_or_insert(error);
            });
        }
    });
    Err(failed.into_inner().expect("a role ends by failing"))
}

/// What all roles share.
struct Scene {
    log: LogStore,
    /// The next process of the history.
    processes: AtomicU32,
    /// The next value.
    values: AtomicU64,
    /// The next operation.
    numbers: AtomicU64,
}

/// An operation that is being told.
struct Telling {
    number: u64,
    operation: Operation,
}

impl Scene {
    fn process(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells of an operation before it takes place: if nothing more is said, nobody knows.
    fn begin(&self, process: u32, transaction: bool, actions: Vec<Action>) -> Telling {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (start, outcome, isolation) = (nanos(), Outcome::Info, Isolation::ReadCommitted);
        let operation =
            Operation { process, start, end: start, outcome, transaction, isolation, actions };
        let telling = Telling { number, operation };
        telling.say();
        telling
    }

    fn consumer(&self, group: Option<&str>, rng: &mut Rng) -> Result<Box<dyn Consumer>> {
        self.log.consumer(&ConsumerConfig {
            group: group.map(str::to_owned),
            auto_offset_reset: AutoOffsetReset::Earliest,
            max_poll_records: rng.usize(1..40),
            ..ConsumerConfig::default()
        })
    }

    fn producer(&self, transactional: bool) -> Result<Box<dyn Producer>> {
        let id = transactional.then(|| format!("producer-{}", self.process()));
        self.log.producer(&ProducerConfig { transactional_id: id, ..ProducerConfig::default() })
    }
}

impl Telling {
    fn say(&self) {
        let operation = serde_json::to_string(&self.operation).expect("it has no odd keys");
        say(&format!("{} {operation}", self.number));
    }

    fn end(mut self, outcome: Outcome) {
        self.operation.outcome = outcome;
        self.operation.end = nanos();
        self.say();
    }

    /// The offsets that the acknowledgements gave, in the order of the sends.
    fn acknowledge(&mut self, offsets: &[Offset]) {
        let sends = self.operation.actions.iter_mut().filter_map(|action| match action {
            Action::Send { offset, .. } => Some(offset),
            _ => None,
        });
        sends.zip(offsets).for_each(|(slot, offset)| *slot = Some(offset.value()));
    }
}

/// Where a value goes, and what it is the effect of.
struct Sending {
    tp: TopicPartition,
    value: u64,
    of: Option<u64>,
}

impl Sending {
    fn action(&self) -> Action {
        let (partition, value) = (name(&self.tp), self.value);
        Action::Send { partition, value, offset: None, of: self.of }
    }

    fn send(&self, to: &mut dyn Producer, rng: &mut Rng) -> Result<headwater_log_store::Receipt> {
        let mut bytes = self.value.to_be_bytes().to_vec();
        if rng.u8(0..8) == 0 {
            bytes.resize(bytes.len() + rng.usize(0..PADDING_MAX), 0xAB);
        }
        let (topic, partition) = (self.tp.topic.as_str(), Some(self.tp.partition));
        to.send(&ProducerRecord { partition, value: Some(&bytes), ..ProducerRecord::to(topic) })
    }
}

fn some_sendings(scene: &Scene, rng: &mut Rng) -> Vec<Sending> {
    let to = partitions(INPUT);
    let sending = |rng: &mut Rng| Sending {
        tp: rng.choice(&to).expect("there are some").clone(),
        value: scene.value(),
        of: None,
    };
    (0..rng.usize(1..6)).map(|_| sending(rng)).collect()
}

/// Sends one by one, and waits at the end.
fn plain(scene: &Scene, mut rng: Rng) -> Result<std::convert::Infallible> {
    let (process, mut producer) = (scene.process(), scene.producer(false)?);
    loop {
        let sendings = some_sendings(scene, &mut rng);
        let actions = sendings.iter().map(Sending::action).collect();
        let mut told = scene.begin(process, false, actions);
        let mut receipts = Vec::new();
        for sending in &sendings {
            receipts.push(sending.send(producer.as_mut(), &mut rng)?);
        }
        let offsets: Result<Vec<_>> =
            receipts.into_iter().map(|receipt| Ok(receipt.wait()?.offset)).collect();
        told.acknowledge(&offsets?);
        told.end(Outcome::Ok);
    }
}

/// Sends in transactions over several partitions.
fn transactional(scene: &Scene, mut rng: Rng) -> Result<std::convert::Infallible> {
    let (process, mut producer) = (scene.process(), scene.producer(true)?);
    loop {
        let sendings = some_sendings(scene, &mut rng);
        let actions = sendings.iter().map(Sending::action).collect();
        let mut told = scene.begin(process, true, actions);
        producer.begin_transaction()?;
        let mut receipts = Vec::new();
        for sending in &sendings {
            receipts.push(sending.send(producer.as_mut(), &mut rng)?);
        }
        if rng.u8(0..ABORTS) == 0 {
            producer.abort_transaction()?;
            told.end(Outcome::Fail);
            continue;
        }
        producer.commit_transaction()?;
        let offsets: Result<Vec<_>> =
            receipts.into_iter().map(|receipt| Ok(receipt.wait()?.offset)).collect();
        told.acknowledge(&offsets?);
        told.end(Outcome::Ok);
    }
}

/// Remembers which partitions have come.
struct Arrivals(Arc<Mutex<Vec<TopicPartition>>>);

impl RebalanceListener for Arrivals {
    fn on_partitions_assigned(
        &mut self,
        _consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.0.lock().extend_from_slice(partitions);
        Ok(())
    }
}

/// Gives each value one effect: reads, writes and commits its offsets in one transaction.
fn copier(scene: &Scene, mut rng: Rng) -> Result<std::convert::Infallible> {
    let mut producer = scene.producer(true)?;
    loop {
        let mut consumer = scene.consumer(Some(GROUP), &mut rng)?;
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        consumer.subscribe(&[INPUT], Box::new(Arrivals(Arc::clone(&arrivals))))?;
        let process = scene.process();
        loop {
            let copied =
                copy(scene, process, consumer.as_mut(), producer.as_mut(), &arrivals, &mut rng);
            match copied {
                Ok(()) if rng.u8(0..LEAVES) > 0 => {}
                Ok(()) | Err(Overtaken::ByRebalance) => break,
                Err(Overtaken::Failed(error)) => return Err(error),
            }
        }
    }
}

/// Why a copier cannot go on with its consumer.
enum Overtaken {
    ByRebalance,
    Failed(Error),
}

impl From<Error> for Overtaken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn copy(
    scene: &Scene,
    process: u32,
    consumer: &mut dyn Consumer,
    producer: &mut dyn Producer,
    arrivals: &Mutex<Vec<TopicPartition>>,
    rng: &mut Rng,
) -> std::result::Result<(), Overtaken> {
    let batches = consumer.poll(POLL)?;
    let mut actions: Vec<_> =
        arrivals.lock().drain(..).map(|tp| Action::Seek { partition: name(&tp) }).collect();
    let (mut sendings, mut offsets) = (Vec::new(), Vec::new());
    let to = partitions(OUTPUT);
    for batch in &batches {
        let tp = batch.topic_partition().clone();
        let records: Vec<_> =
            batch.iter().map(|record| (record.offset.value(), value(record.value))).collect();
        sendings.extend(records.iter().map(|(_, of)| Sending {
            tp: rng.choice(&to).expect("there are some").clone(),
            value: scene.value(),
            of: Some(*of),
        }));
        offsets.push((tp.clone(), OffsetAndMetadata::from(consumer.position(&tp)?)));
        actions.push(Action::Poll { partition: name(&tp), records, end: None, whole: false });
    }
    if batches.is_empty() {
        if !actions.is_empty() {
            scene.begin(process, false, actions).end(Outcome::Ok);
        }
        return Ok(());
    }
    actions.extend(sendings.iter().map(Sending::action));
    let told = scene.begin(process, true, actions);
    producer.begin_transaction()?;
    for sending in &sendings {
        drop(sending.send(producer, rng)?);
    }
    let group = consumer.group_metadata()?;
    let is_aborted = rng.u8(0..ABORTS) == 0;
    let committed = producer
        .send_offsets_to_transaction(&offsets, &group)
        .and_then(|()| if is_aborted { Ok(()) } else { producer.commit_transaction() });
    match committed {
        Ok(()) if !is_aborted => told.end(Outcome::Ok),
        Ok(()) => {
            producer.abort_transaction()?;
            told.end(Outcome::Fail);
            // What was taken back comes again, to a consumer that begins where the group is.
            return Err(Overtaken::ByRebalance);
        }
        Err(
            Error::UnknownMember { .. }
            | Error::IllegalGeneration { .. }
            | Error::InvalidState { .. },
        ) => {
            producer.abort_transaction()?;
            told.end(Outcome::Fail);
            return Err(Overtaken::ByRebalance);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads all partitions, and begins anew now and then.
fn reader(scene: &Scene, mut rng: Rng) -> Result<std::convert::Infallible> {
    let all: Vec<_> = [INPUT, OUTPUT].into_iter().flat_map(partitions).collect();
    loop {
        let mut consumer = scene.consumer(None, &mut rng)?;
        consumer.assign(&all)?;
        let process = scene.process();
        for _ in 0..rng.u32(20..200) {
            let batches = consumer.poll(POLL)?;
            let mut actions = Vec::new();
            for batch in &batches {
                let tp = batch.topic_partition();
                let records =
                    batch.iter().map(|record| (record.offset.value(), value(record.value)));
                let (partition, records) = (name(tp), records.collect());
                actions.push(Action::Poll { partition, records, end: None, whole: false });
            }
            let tp = rng.choice(&all).expect("there are some");
            let end = Some(scene.log.watermarks(tp)?.end.value());
            let (partition, records) = (name(tp), Vec::new());
            actions.push(Action::Poll { partition, records, end, whole: false });
            scene.begin(process, false, actions).end(Outcome::Ok);
        }
    }
}
