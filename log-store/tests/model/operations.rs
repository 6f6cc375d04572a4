//! The operations on a log, each beside what it does to the model.

use std::collections::BTreeMap;

use headwater_log_store::{
    Durability, Error, GroupMetadata, Header, Log, NewTopic, Offset, OffsetAndMetadata,
    PartitionId, Producer, ProducerConfig, ProducerRecord, Record, Timestamp,
};

use crate::history::{Bounds, Placed, Rec, Snapshot, TopicSpec};
use crate::subject::{Stop, Subject, partition};

/// What a transaction does.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Records, by topic and partition.
    pub records: Vec<(String, u32, Rec)>,
    /// A group's offsets.
    pub offsets: Vec<(String, String, u32, u64)>,
    pub abort: bool,
}

impl Subject {
    /// Appends records that follow one another, by one call.
    pub fn append(&mut self, topic: &str, number: u32, recs: &[Rec]) -> Result<bool, Stop> {
        self.tell(format_args!("append {} to {topic}-{number}: {}", recs.len(), brief(recs)));
        let states = self.states_of_append(topic, number, recs);
        let first = self.history.bounds(topic, number).end;
        let result = self.call(|store| {
            let headers: Vec<_> = recs.iter().map(headers).collect();
            let records: Vec<_> =
                recs.iter().zip(&headers).map(|(rec, headers)| record(rec, headers)).collect();
            store.append_batch(&partition(topic, number), &records)
        });
        if let Ok(offset) = &result {
            self.assert(*offset == Offset::new(first), || format!("{offset} instead of {first}"));
        }
        self.finish(states, result)
    }

    /// Sends records one after the other and waits for all of them.
    pub fn send(&mut self, topic: &str, number: u32, recs: &[Rec]) -> Result<bool, Stop> {
        self.tell(format_args!("send {} to {topic}-{number}: {}", recs.len(), brief(recs)));
        let states = self.states_of_append(topic, number, recs);
        let first = self.history.bounds(topic, number).end;
        let result = self.call(|store| {
            let mut producer = store.producer(&ProducerConfig::default())?;
            let mut receipts = Vec::new();
            for rec in recs {
                receipts.push(send(&mut *producer, topic, number, rec)?);
            }
            producer.flush()?;
            receipts.into_iter().map(|receipt| receipt.wait()).collect::<Result<Vec<_>, _>>()
        });
        if let Ok(receipts) = &result {
            let right = receipts.iter().zip(first..).all(|(r, at)| r.offset.value() == at);
            self.assert(right, || format!("{receipts:?} instead of {first}"));
        }
        self.finish(states, result)
    }

    fn states_of_append(&mut self, topic: &str, number: u32, recs: &[Rec]) -> Vec<Snapshot> {
        let mut state = self.history.current().clone();
        let append_time = self.history.spec(topic).is_some_and(TopicSpec::has_append_time);
        let now = self.now();
        let mut states = Vec::new();
        for rec in recs {
            let placed = place(rec, now, append_time);
            self.history.add_record(&mut state, topic, number, placed);
            states.push(state.clone());
        }
        states
    }

    /// Writes a transaction; all of it is one change.
    pub fn transact(&mut self, transaction: &Transaction) -> Result<bool, Stop> {
        let Transaction { records, offsets, abort } = transaction;
        let places: Vec<_> = records.iter().map(|(t, n, _)| format!("{t}-{n}")).collect();
        self.tell(format_args!("transaction of {places:?}, {offsets:?}, abort {abort}"));
        let mut state = self.history.current().clone();
        let now = self.now();
        for (topic, number, rec) in records {
            let append_time = self.history.spec(topic).is_some_and(TopicSpec::has_append_time);
            let placed = place(rec, now, append_time);
            self.history.add_record(&mut state, topic, *number, placed);
        }
        for (group, topic, number, offset) in offsets {
            state.committed.insert((group.clone(), partition(topic, *number)), *offset);
        }
        let result = self.call(|store| {
            let config =
                ProducerConfig { transactional_id: Some("p".to_owned()), ..Default::default() };
            let mut producer = store.producer(&config)?;
            producer.begin_transaction()?;
            let mut receipts = Vec::new();
            for (topic, number, rec) in records {
                receipts.push(send(&mut *producer, topic, *number, rec)?);
            }
            for (group, topic, number, offset) in offsets {
                let offset = OffsetAndMetadata::from(Offset::new(*offset));
                let offsets = [(partition(topic, *number), offset)];
                producer.send_offsets_to_transaction(&offsets, &GroupMetadata::outside(group))?;
            }
            if *abort {
                return producer.abort_transaction().map(|()| Vec::new());
            }
            producer.commit_transaction()?;
            receipts.into_iter().map(|receipt| receipt.wait()).collect::<Result<Vec<_>, _>>()
        });
        if let Ok(receipts) = &result {
            let mut ends: BTreeMap<_, u64> = BTreeMap::new();
            for (receipt, (topic, number, _)) in receipts.iter().zip(records) {
                let first = self.history.bounds(topic, *number).end;
                let end = ends.entry((topic, number)).or_insert(first);
                self.assert(receipt.offset.value() == *end, || format!("{receipt:?}, not {end}"));
                *end += 1;
            }
        }
        let states = if *abort { vec![self.history.current().clone()] } else { vec![state] };
        self.finish(states, result)
    }

    pub fn create_topic(&mut self, name: &str, spec: &TopicSpec) -> Result<bool, Stop> {
        self.tell(format_args!("create {name}: {spec:?}"));
        let life = self.history.add_life(spec);
        let mut state = self.history.current().clone();
        let bounds = vec![Bounds::default(); spec.partitions as usize];
        state.topics.insert(name.to_owned(), (life, bounds));
        let result = self.call(|store| {
            let mut topic = NewTopic::new(name).partitions(spec.partitions);
            topic.configs.clone_from(&spec.configs);
            store.create_topic(&topic)
        });
        let outcome = self.finish(vec![state], result);
        if let Ok(true) = outcome {
            self.history.settle_topic(name);
            self.history.make_durable();
        } else {
            self.history.doubt_topic(name, life);
        }
        outcome
    }

    /// Deletes a topic, and before it what groups have committed for it.
    pub fn delete_topic(&mut self, name: &str) -> Result<bool, Stop> {
        self.tell(format_args!("delete {name}"));
        let mut state = self.history.current().clone();
        let mut states = Vec::new();
        // One after the other: who is stopped in the middle has forgotten some of them.
        let keys: Vec<_> = state.committed.keys().cloned().collect();
        for key in keys.into_iter().filter(|(_, tp)| tp.topic.as_str() == name) {
            state.committed.remove(&key);
            states.push(state.clone());
        }
        state.topics.remove(name);
        states.push(state);
        let result = self.call(|store| store.delete_topic(name));
        let outcome = self.finish(states, result);
        if let Ok(true) = outcome {
            self.history.settle_topic(name);
            self.history.make_durable();
        } else {
            self.history.doubt_deletion(name);
        }
        outcome
    }

    pub fn delete_records(&mut self, topic: &str, number: u32, before: u64) -> Result<bool, Stop> {
        self.tell(format_args!("delete records of {topic}-{number} before {before}"));
        let mut state = self.history.current().clone();
        let (_, bounds) = state.topics.get_mut(topic).unwrap();
        let bounds = &mut bounds[number as usize];
        let changed = before > bounds.start;
        bounds.start = bounds.start.max(before);
        bounds.start_max = bounds.start;
        let result =
            self.call(|store| store.delete_records(&partition(topic, number), Offset::new(before)));
        let done = self.finish(vec![state], result)?;
        if done && changed {
            self.history.make_durable();
        }
        Ok(done)
    }

    /// Sets or removes what a group has committed.
    pub fn commit(
        &mut self,
        group: &str,
        offsets: &[(&str, u32, Option<u64>)],
    ) -> Result<bool, Stop> {
        self.tell(format_args!("commit of {group}: {offsets:?}"));
        let mut state = self.history.current().clone();
        let mut states = Vec::new();
        let mut asked = Vec::new();
        for (topic, number, offset) in offsets {
            let tp = partition(topic, *number);
            match offset {
                Some(offset) => state.committed.insert((group.to_owned(), tp.clone()), *offset),
                None => state.committed.remove(&(group.to_owned(), tp.clone())),
            };
            asked.push((tp, offset.map(Offset::new)));
            states.push(state.clone());
        }
        let result = self.call(|store| store.alter_group_offsets(group, &asked));
        self.finish(states, result)
    }

    /// Drops what is past its time or size, and checks that it was that and no more.
    pub fn retain(&mut self) -> Result<bool, Stop> {
        self.tell("retention");
        let mut state = self.history.current().clone();
        for (_, bounds) in state.topics.values_mut() {
            bounds.iter_mut().for_each(|b| b.start_max = b.end);
        }
        let before = self.all_segments();
        let result = self.call(|store| store.enforce_retention());
        let done = self.finish(vec![state], result)?;
        if done {
            let observed = self.observe();
            if let Err(reason) = self.history.settle(&observed, true) {
                self.fail(reason);
            }
            // Where a call has failed, something may be left for the next time.
            self.check_retention(&before, self.storage.befallen() == 0);
        }
        Ok(done)
    }

    /// Compacts what is due, which changes no state; says how many records went.
    pub fn compact(&mut self) -> Result<u64, Stop> {
        self.tell("compaction");
        let state = self.history.current().clone();
        let result = self.call(headwater_log_store::LogStore::compact);
        let removed = result.as_ref().map_or(0, |report| report.records_removed);
        self.finish(vec![state], result)?;
        Ok(removed)
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self, durability: Durability) -> Result<(), Stop> {
        self.tell("close");
        let closed = self.call(headwater_log_store::LogStore::close);
        if closed.is_ok() {
            self.history.make_durable();
        }
        let state = self.history.current().clone();
        self.finish(vec![state], closed).and_then(|done| done.then_some(()).ok_or(Stop))?;
        self.open_if_possible(durability, true)?;
        self.assert(self.store().recovery().clean, || "a clean stop was not known".to_owned());
        Ok(())
    }

    /// Tries what must be refused, and leave all as it was.
    pub fn misuse(&mut self, topic: &str, number: u32) {
        self.tell(format_args!("misuse of {topic}-{number}"));
        let spec = self.history.spec(topic).unwrap();
        let bytes_max = spec.number("max.message.bytes").unwrap_or(20_000);
        let large = vec![b'x'; bytes_max as usize + 1];
        let store = self.store();
        let tp = partition(topic, number);
        let end = self.history.bounds(topic, number).end;
        let records = [b"x", &large[..]].map(|value| Record::value(value).with_key(b"key"));
        let beyond = Offset::new(end + 1);
        let refusals = [
            (store.append_batch(&tp, &records).err(), "takes"),
            (store.append(&partition(topic, 99), &records[0]).err(), "does not exist"),
            (store.append(&partition("nowhere", 0), &records[0]).err(), "does not exist"),
            (store.delete_records(&tp, beyond).err(), "out of range"),
            (store.alter_group_offsets("g0", &[(tp.clone(), Some(beyond))]).err(), "out of range"),
            (store.fetch(&tp, beyond, 1).err(), "out of range"),
            (store.create_topic(&NewTopic::new(topic)).err(), "exists already"),
            (store.create_topic(&NewTopic::new("no/slash")).err(), "topic name"),
        ];
        for (error, expected) in refusals {
            let text = error.as_ref().map(Error::to_string).unwrap_or_default();
            self.assert(text.contains(expected), || format!("{error:?}: {expected:?} expected"));
        }
    }
}

fn place(rec: &Rec, now: i64, append_time: bool) -> Placed {
    let timestamp = if append_time { now } else { rec.timestamp.unwrap_or(now) };
    Placed { rec: rec.clone(), timestamp, appended: now, appended_at_latest: now }
}

fn brief(recs: &[Rec]) -> String {
    let len = |rec: &Rec| rec.value.as_ref().map_or(0, String::len);
    recs.iter().map(|rec| format!("{:?}={}", rec.key, len(rec))).collect::<Vec<_>>().join(" ")
}

fn headers(rec: &Rec) -> Vec<Header<'_>> {
    rec.header
        .as_ref()
        .map(|value| Header { key: "h", value: Some(value.as_bytes()) })
        .into_iter()
        .collect()
}

fn record<'a>(rec: &'a Rec, headers: &'a [Header<'a>]) -> Record<'a> {
    Record {
        key: rec.key.as_deref().map(str::as_bytes),
        value: rec.value.as_deref().map(str::as_bytes),
        timestamp: rec.timestamp.map(Timestamp::from_millis),
        headers,
    }
}

fn send(
    producer: &mut dyn Producer,
    topic: &str,
    number: u32,
    rec: &Rec,
) -> Result<headwater_log_store::Receipt, Error> {
    let headers = headers(rec);
    let Record { key, value, timestamp, headers } = record(rec, &headers);
    let partition = Some(PartitionId::new(number));
    producer.send(&ProducerRecord { topic, partition, key, value, timestamp, headers })
}
