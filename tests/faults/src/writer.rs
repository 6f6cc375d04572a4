//! The process that is killed: it writes what its plan says, and tells of each acknowledgement
//! through standard output.

use std::io::{self, Write as _};
use std::path::PathBuf;

use headwater_log_store::{
    Error, GroupMetadata, Header, Log as _, LogStore, NewTopic, Offset, OffsetAndMetadata,
    PartitionId, Producer, ProducerConfig, ProducerRecord, Record, RecordBatch,
};

use crate::failure::chain;
use crate::message::{Message, Recovered, nanos};
use crate::plan::{
    CUT, IDENTITY_HEADER, Identity, Kind, PARTITIONS, Plan, PlannedRecord, Topic, Unit, partition,
};
use crate::store::StoreSettings;

/// How often a unit is tried that finds the disk full.
const FULL_ATTEMPTS_MAX: u32 = 4;

/// The arguments of a writer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WriterArgs {
    /// The folder of the store.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// What decides the content.
    #[arg(long)]
    pub(crate) seed: u64,
    /// For each thread the number of its first unit.
    #[arg(long, value_delimiter = ',')]
    pub(crate) from: Vec<u32>,
    /// How many units each thread writes.
    #[arg(long, default_value_t = u32::MAX)]
    pub(crate) units: u32,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

impl WriterArgs {
    /// The command line that says the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let from: Vec<_> = self.from.iter().map(u32::to_string).collect();
        let mut arguments = vec![
            "writer".to_owned(),
            format!("--dir={}", self.dir.display()),
            format!("--seed={}", self.seed),
            format!("--from={}", from.join(",")),
            format!("--units={}", self.units),
        ];
        arguments.extend(self.store.arguments());
        arguments
    }
}

/// Runs as a writer. Only what the pipe says counts, so there is nothing to return.
pub(crate) fn run(args: &WriterArgs) {
    let store = match args.store.open(&args.dir) {
        Ok(store) => store,
        Err(error) => return failed(0, 0, &error),
    };
    say(&Message::Opened(Recovered::from(&store.recovery())));
    if let Err(error) = args.store.create_topics(&store) {
        return failed(0, 0, &error);
    }
    say(&Message::Ready);
    let plan = Plan::new(args.seed, args.store.journal_bytes);
    std::thread::scope(|scope| {
        for (thread, from) in (0..).zip(&args.from) {
            let store = &store;
            scope.spawn(move || {
                let mut worker = Worker::new(thread, plan, store, args.store.no_housekeeping);
                let last = from.saturating_add(args.units);
                (*from..last).try_for_each(|number| worker.run(number))
            });
        }
    });
    match store.close() {
        Ok(()) => say(&Message::Closed),
        Err(error) => failed(0, u32::MAX, &error),
    }
}

/// Writes a line at once: a line that was written outlives this process.
fn say(message: &Message) {
    let line = format!("{message}\n");
    // One system call, so that lines of several threads do not mix. A parent that is gone wants
    // to know nothing any more.
    if io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

fn failed(thread: u32, unit: u32, error: &Error) {
    let poisoned = matches!(error, Error::Poisoned { .. });
    say(&Message::Failed { thread, unit, nanos: nanos(), poisoned, text: chain(error) });
}

/// One thread of the writer.
struct Worker<'a> {
    thread: u32,
    plan: Plan,
    store: &'a LogStore,
    /// Whether this thread does what the store's own does otherwise.
    keeps_house: bool,
    value: Vec<u8>,
    /// Where this thread's last acknowledged record of the partition that is cut lies.
    last_cut: Option<u64>,
    /// An acknowledged record: its number, its place and how it was planned.
    last: Option<(Identity, u64, PlannedRecord)>,
}

/// The thread is to end.
struct Ended;

impl<'a> Worker<'a> {
    fn new(thread: u32, plan: Plan, store: &'a LogStore, keeps_house: bool) -> Self {
        let (value, last_cut, last) = (Vec::new(), None, None);
        Self { thread, plan, store, keeps_house, value, last_cut, last }
    }

    fn run(&mut self, number: u32) -> Result<(), Ended> {
        let unit = self.plan.unit(self.thread, number);
        match self.try_unit(&unit, number) {
            Ok(offsets) => {
                for (index, (record, offset)) in (0..).zip(unit.records.iter().zip(&offsets)) {
                    let identity = Identity { thread: self.thread, unit: number, index };
                    if record.partition == CUT {
                        self.last_cut = Some(*offset);
                    }
                    self.last = Some((identity, *offset, record.clone()));
                }
                let (thread, unit) = (self.thread, number);
                say(&Message::Acknowledged { thread, unit, nanos: nanos(), offsets });
                Ok(())
            }
            Err(error) => {
                failed(self.thread, number, &error);
                if !matches!(error, Error::Poisoned { .. }) {
                    return Ok(());
                }
                self.stays_poisoned();
                Err(Ended)
            }
        }
    }

    /// After a failure that poisons the store nothing is acknowledged any more.
    fn stays_poisoned(&self) {
        for number in 0..PARTITIONS.len() {
            match self.store.append(&partition(number), &Record::value(b"after").with_key(b"key")) {
                Err(Error::Poisoned { .. }) => {}
                other => {
                    let text = format!("an append to a poisoned store returned {other:?}");
                    say(&Message::Violation(text));
                }
            }
        }
    }

    fn try_unit(&mut self, unit: &Unit, number: u32) -> Result<Vec<u64>, Error> {
        match unit.kind {
            Kind::Append => self.append(unit, number),
            Kind::Pipelined => self.send(unit, number),
            Kind::Transaction | Kind::Aborted => self.transaction(unit, number),
            Kind::DeleteRecords => self.delete_records(),
            Kind::OwnTopic => self.own_topic(),
            Kind::Read => {
                if self.keeps_house {
                    self.store.enforce_retention()?;
                    self.store.compact()?;
                }
                self.read().map(|()| Vec::new())
            }
        }
    }

    fn append(&self, unit: &Unit, number: u32) -> Result<Vec<u64>, Error> {
        let values: Vec<_> = self.values(unit, number);
        let identities: Vec<_> = self.identities(unit, number).map(Identity::encode).collect();
        let headers: Vec<_> = identities.iter().map(|id| [header(id)]).collect();
        let records: Vec<_> = unit
            .records
            .iter()
            .zip(values.iter().zip(&headers))
            .map(|(planned, (value, headers))| Record {
                key: planned.key.as_deref().map(str::as_bytes),
                value: value.as_deref(),
                timestamp: None,
                headers,
            })
            .collect();
        let partition = partition(unit.records.first().map_or(0, |record| record.partition));
        let first = unless_full(|| self.store.append_batch(&partition, &records))?;
        Ok((first.value()..).take(records.len()).collect())
    }

    fn send(&mut self, unit: &Unit, number: u32) -> Result<Vec<u64>, Error> {
        let mut producer = self.store.producer(&ProducerConfig::default())?;
        let mut receipts = Vec::new();
        for (identity, planned) in self.identities(unit, number).zip(&unit.records) {
            receipts.push(unless_full(|| self.send_one(producer.as_mut(), identity, planned))?);
        }
        producer.flush()?;
        receipts.into_iter().map(|receipt| Ok(receipt.wait()?.offset.value())).collect()
    }

    fn send_one(
        &mut self,
        producer: &mut dyn Producer,
        identity: Identity,
        planned: &PlannedRecord,
    ) -> Result<headwater_log_store::Receipt, Error> {
        let id = identity.encode();
        if let Some(len) = planned.value_len {
            self.plan.value(identity, len, &mut self.value);
        }
        let (topic, number) = PARTITIONS[planned.partition];
        producer.send(&ProducerRecord {
            partition: Some(PartitionId::new(number)),
            key: planned.key.as_deref().map(str::as_bytes),
            value: planned.value_len.map(|_| &*self.value),
            headers: &[header(&id)],
            ..ProducerRecord::to(topic.name())
        })
    }

    fn transaction(&mut self, unit: &Unit, number: u32) -> Result<Vec<u64>, Error> {
        let id = format!("thread-{}", self.thread);
        let config = ProducerConfig { transactional_id: Some(id.clone()), ..Default::default() };
        unless_full(|| {
            let mut producer = self.store.producer(&config)?;
            producer.begin_transaction()?;
            let mut receipts = Vec::new();
            for (identity, planned) in self.identities(unit, number).zip(&unit.records) {
                receipts.push(self.send_one(producer.as_mut(), identity, planned)?);
            }
            let metadata = number.to_string();
            let offsets = [(partition(0), OffsetAndMetadata { offset: Offset::ZERO, metadata })];
            producer.send_offsets_to_transaction(&offsets, &GroupMetadata::outside(id.clone()))?;
            if unit.kind == Kind::Aborted {
                producer.abort_transaction()?;
                return Ok(Vec::new());
            }
            producer.commit_transaction()?;
            receipts.into_iter().map(|receipt| Ok(receipt.wait()?.offset.value())).collect()
        })
    }

    fn delete_records(&self) -> Result<Vec<u64>, Error> {
        let Some(before) = self.last_cut else { return Ok(Vec::new()) };
        say(&Message::Cutting { before });
        self.store.delete_records(&partition(CUT), Offset::new(before))?;
        Ok(vec![before])
    }

    /// The answer is whether the topic is there now.
    fn own_topic(&self) -> Result<Vec<u64>, Error> {
        let name = own_topic(self.thread);
        match self.store.describe_topic(&name) {
            Ok(_) => self.store.delete_topic(&name).map(|()| vec![0]),
            Err(_) => self.store.create_topic(&NewTopic::new(name)).map(|()| vec![1]),
        }
    }

    /// What was acknowledged last is there to read, unless it had to go since.
    fn read(&mut self) -> Result<(), Error> {
        let Some((identity, offset, planned)) = self.last.clone() else { return Ok(()) };
        let fetched = self.store.fetch(&partition(planned.partition), Offset::new(offset), 1);
        let batches = match fetched {
            Err(Error::OffsetOutOfRange { .. }) => return Ok(()),
            fetched => fetched?,
        };
        let found = batches.iter().flat_map(RecordBatch::iter).find(|r| r.offset.value() == offset);
        let Some(found) = found else {
            if PARTITIONS[planned.partition].0 != Topic::Keyed {
                let text = format!("offset {offset} of {planned:?} was acknowledged, and is gone");
                say(&Message::Violation(text));
            }
            return Ok(());
        };
        if let Some(len) = planned.value_len {
            self.plan.value(identity, len, &mut self.value);
        }
        if found.value != planned.value_len.map(|_| &*self.value) {
            say(&Message::Violation(format!("offset {offset} of {planned:?} reads differently")));
        }
        Ok(())
    }

    fn identities(&self, unit: &Unit, number: u32) -> impl Iterator<Item = Identity> + use<> {
        let (thread, count) = (self.thread, unit.records.len());
        (0..).take(count).map(move |index| Identity { thread, unit: number, index })
    }

    fn values(&self, unit: &Unit, number: u32) -> Vec<Option<Vec<u8>>> {
        let value = |(identity, planned): (Identity, &PlannedRecord)| {
            let mut value = Vec::new();
            self.plan.value(identity, planned.value_len?, &mut value);
            Some(value)
        };
        self.identities(unit, number).zip(&unit.records).map(value).collect()
    }
}

/// The topic that only this thread creates and deletes.
pub(crate) fn own_topic(thread: u32) -> String {
    format!("own-{thread}")
}

fn header(identity: &[u8; 12]) -> Header<'_> {
    Header { key: IDENTITY_HEADER, value: Some(identity) }
}

/// A full disk has written nothing, so that the same may be tried again.
fn unless_full<T>(mut act: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut attempts = 1;
    loop {
        match act() {
            Err(Error::DiskFull { .. }) if attempts < FULL_ATTEMPTS_MAX => {
                say(&Message::Full);
                attempts += 1;
            }
            other => return other,
        }
    }
}
