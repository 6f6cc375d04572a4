//! Compares a store that was opened again with what its writers were told: content, not counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use headwater_log_store::{
    Log as _, LogStore, Offset, RecordBatch, RecordView, inspect, inspect::Severity,
};

use crate::failure::{Context as _, Promise as _, Result, violation};
use crate::message::Recovered;
use crate::model::{Expected, Loss, Model};
use crate::plan::{
    CUT, IDENTITY_HEADER, Identity, Kind, PARTITIONS, PlannedRecord, Topic, partition,
};
use crate::store::StoreSettings;
use crate::tally::Tally;
use crate::writer::own_topic;

/// The figure of records that compactions have dropped.
pub(crate) const COMPACTED: &str = "records compacted away";

/// What became of a record of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Present,
    /// Not there, and it never was or was lost.
    Absent,
    /// Not there, which may be by retention, deletion or compaction.
    Gone,
}

/// What was read of a partition.
#[derive(Debug, Default)]
struct Read {
    start: u64,
    end: u64,
    records: BTreeMap<u64, Identity>,
}

/// Opens a store after a stop, compares all of it with the model, closes it, and brings the model to
/// what was found.
pub(crate) fn verify(
    settings: &StoreSettings,
    dir: &Path,
    loss: Loss,
    model: &mut Model,
    tally: &mut Tally,
) -> Result {
    // The one of two checkpoints that was being written may be torn, and so may caches be.
    inspect_store(settings, dir, Severity::Copy)?;
    let settings = StoreSettings { no_housekeeping: true, ..settings.clone() };
    let store = settings.open(dir).promised("a stopped store does not open")?;
    Recovered::from(&store.recovery()).count(tally);
    Comparison { store: &store, model, loss, lost: 0, compacted: 0 }.run(tally)?;
    check_retention(&settings, dir, model)?;
    store.close().promised("a store does not close")?;
    drop(store);
    // An index that was lost is made anew when it is needed.
    inspect_store(&settings, dir, Severity::Cache)?;
    tally.count("verified");
    Ok(())
}

/// Looks at a store as `headwater log verify` does: nothing may be worse than this.
pub(crate) fn inspect_store(settings: &StoreSettings, dir: &Path, worst: Severity) -> Result {
    // It may have been stopped before it was a store; then nothing was acknowledged either.
    if !dir.join("store").exists() {
        return Ok(());
    }
    let report = inspect::verify(&*settings.storage(), dir);
    let report = report.promised("a store cannot be looked at")?;
    match report.findings.iter().find(|finding| finding.severity > worst) {
        None => Ok(()),
        Some(finding) => violation(format!("verify finds damage: {finding}")),
    }
}

/// Retention keeps at least what it is told to keep.
fn check_retention(settings: &StoreSettings, dir: &Path, model: &Model) -> Result {
    for (number, (topic, _)) in PARTITIONS.iter().enumerate() {
        if *topic != Topic::Short || model.starts[number] == 0 {
            continue;
        }
        let folder = dir.join(partition(number).to_string());
        let mut bytes = 0;
        for entry in std::fs::read_dir(&folder).to("list a partition")? {
            let entry = entry.to("list a partition")?;
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                bytes += entry.metadata().to("measure a segment")?.len();
            }
        }
        if bytes < settings.retention_bytes() {
            let least = settings.retention_bytes();
            return violation(format!("retention.bytes={least} has left {bytes} bytes"));
        }
    }
    Ok(())
}

struct Comparison<'a> {
    store: &'a LogStore,
    model: &'a mut Model,
    loss: Loss,
    lost: u64,
    compacted: u64,
}

impl Comparison<'_> {
    fn run(mut self, tally: &mut Tally) -> Result {
        let expected = self.model.expected(self.loss)?;
        let mut read = Vec::new();
        for (number, expected) in expected.iter().enumerate() {
            let found = self.read(number, expected)?;
            self.compare(number, expected, &found)?;
            read.push(found);
        }
        self.check_units(&expected, &read, tally)?;
        self.check_groups()?;
        self.check_own_topics()?;
        tally.add("records compared", read.iter().map(|r| r.records.len() as u64).sum());
        tally.add("acknowledged records lost in a power cut, as allowed", self.lost);
        tally.add(COMPACTED, self.compacted);
        for (number, read) in read.into_iter().enumerate() {
            self.model.starts[number] = read.start;
            self.model.found[number] = read.records;
        }
        self.model.cut_acknowledged = self.model.starts[CUT];
        self.model.cut_tried = self.model.starts[CUT].max(self.model.cut_tried);
        for thread in &mut self.model.threads {
            thread.acknowledged.clear();
            thread.unknown.clear();
        }
        Ok(())
    }

    /// Reads a partition from its start to its end; each record is one that was written, and has
    /// the bytes that were written.
    fn read(&mut self, number: usize, expected: &BTreeMap<u64, Expected>) -> Result<Read> {
        let tp = partition(number);
        // A writer that was stopped early has made no topics.
        let Ok(watermarks) = self.store.watermarks(&tp) else { return Ok(Read::default()) };
        let (start, end) = (watermarks.start.value(), watermarks.end.value());
        let known: BTreeSet<Identity> = expected.values().map(|e| e.identity).collect();
        let mut read = Read { start, end, records: BTreeMap::new() };
        let mut from = start;
        while from < end {
            let batches = self.store.fetch(&tp, Offset::new(from), 4 << 20);
            let batches = batches.promised(format!("{tp} cannot be read from {from} on"))?;
            for record in batches.iter().flat_map(RecordBatch::iter) {
                let offset = record.offset.value();
                if offset < from || (offset > from && PARTITIONS[number].0 != Topic::Keyed) {
                    return violation(format!("{tp} has offset {offset} where {from} belongs"));
                }
                let identity = self.check_content(number, &record)?;
                match expected.get(&offset) {
                    Some(expected) if expected.identity == identity => {}
                    Some(expected) => {
                        return violation(format!(
                            "{tp} offset {offset} is {identity:?}, not {:?}",
                            expected.identity
                        ));
                    }
                    None if known.contains(&identity) => {
                        return violation(format!("{tp} has {identity:?} again, at {offset}"));
                    }
                    None => self.check_unknown(number, identity, offset)?,
                }
                read.records.insert(offset, identity);
                from = offset + 1;
            }
            if batches.is_empty() {
                break;
            }
        }
        if from != end && PARTITIONS[number].0 != Topic::Keyed {
            return violation(format!("{tp} ends at {end}, and its records at {from}"));
        }
        self.check_order(number, &read)?;
        self.check_lookups(number, &read)?;
        Ok(read)
    }

    /// Who the record says that it is, if its bytes are those of that record.
    fn check_content(&mut self, number: usize, record: &RecordView<'_>) -> Result<Identity> {
        let offset = record.offset.value();
        let identity = record.headers.last(IDENTITY_HEADER).and_then(|header| header.value);
        let Some(identity) = identity.and_then(Identity::decode) else {
            return violation(format!("offset {offset} of partition {number} was never written"));
        };
        let planned = self.planned(identity);
        let Some(planned) = planned.filter(|planned| planned.partition == number) else {
            return violation(format!("{identity:?} at {offset} does not belong to {number}"));
        };
        let mut value = Vec::new();
        if let Some(len) = planned.value_len {
            self.model.plan.value(identity, len, &mut value);
        }
        let same = record.key == planned.key.as_deref().map(str::as_bytes)
            && record.value == planned.value_len.map(|_| &*value);
        match same {
            true => Ok(identity),
            false => violation(format!("{identity:?} at {offset} has other bytes than written")),
        }
    }

    fn planned(&mut self, identity: Identity) -> Option<PlannedRecord> {
        let known = self.model.threads.get(identity.thread as usize)?;
        (identity.unit < known.next)
            .then(|| self.model.unit(identity.thread, identity.unit))
            .and_then(|unit| unit.records.get(identity.index as usize))
            .cloned()
    }

    /// A record that nobody acknowledged is of a unit that was under way.
    fn check_unknown(&mut self, number: usize, identity: Identity, offset: u64) -> Result {
        let unknown = &self.model.threads[identity.thread as usize].unknown;
        let under_way = unknown.contains(&identity.unit);
        let unit = self.model.unit(identity.thread, identity.unit);
        match under_way && unit.kind != Kind::Aborted {
            true => Ok(()),
            false => violation(format!(
                "{identity:?} is at {offset} of partition {number}: it was aborted, or lost before"
            )),
        }
    }

    /// Each thread's records are in the order in which it has written them.
    fn check_order(&self, number: usize, read: &Read) -> Result {
        let mut last: HashMap<u32, Identity> = HashMap::new();
        for (offset, identity) in &read.records {
            let before = last.insert(identity.thread, *identity);
            if before.is_some_and(|before| before >= *identity) {
                return violation(format!(
                    "partition {number} has {identity:?} at {offset}, behind {before:?}"
                ));
            }
        }
        Ok(())
    }

    /// From anywhere it reads the same, whatever became of the indexes.
    fn check_lookups(&self, number: usize, read: &Read) -> Result {
        let tp = partition(number);
        for nth in 0..4 {
            let from = read.start + nth * (read.end - read.start) / 4;
            let first = read.records.range(from..).next().map(|(offset, _)| *offset);
            let batches = self.store.fetch(&tp, Offset::new(from), 1);
            let batches = batches.promised(format!("{tp} cannot be read from {from} on"))?;
            let found = batches.iter().flat_map(RecordBatch::iter).next().map(|r| r.offset.value());
            if found != first {
                return violation(format!("{tp} from {from}: {found:?} instead of {first:?}"));
            }
        }
        Ok(())
    }

    /// Nothing is missing that has to be there.
    fn compare(
        &mut self,
        number: usize,
        expected: &BTreeMap<u64, Expected>,
        read: &Read,
    ) -> Result {
        let topic = PARTITIONS[number].0;
        let tp = partition(number);
        for (offset, expect) in expected {
            if read.records.contains_key(offset) {
                continue;
            }
            let allowed = if *offset < read.start {
                matches!(topic, Topic::Short | Topic::Cut)
            } else if *offset >= read.end {
                if expect.losable {
                    self.lost += 1;
                    let oldest = self.model.oldest_lost.unwrap_or(u64::MAX);
                    self.model.oldest_lost = Some(oldest.min(expect.nanos));
                }
                expect.losable
            } else {
                self.compacted += 1;
                topic == Topic::Keyed && self.is_compacted(*offset, expect.identity, expected, read)
            };
            if !allowed {
                return violation(format!(
                    "{tp} from {} to {} has lost {expect:?} at offset {offset}",
                    read.start, read.end
                ));
            }
        }
        let fine = match topic {
            Topic::Plain | Topic::Keyed => 0..=0,
            Topic::Short => self.model.starts[number]..=u64::MAX,
            Topic::Cut => self.model.cut_range(self.loss),
        };
        if !fine.contains(&read.start) && read.end > 0 {
            return violation(format!("{tp} starts at {}, outside of {fine:?}", read.start));
        }
        Ok(())
    }

    /// Whether a compaction may have dropped a record: a later one has the same key, or it is a
    /// tombstone and nothing that it deletes is left.
    fn is_compacted(
        &mut self,
        offset: u64,
        identity: Identity,
        expected: &BTreeMap<u64, Expected>,
        read: &Read,
    ) -> bool {
        let Some(planned) = self.planned(identity) else { return false };
        let later = expected.range(offset + 1..).map(|(_, expected)| expected.identity);
        let later: Vec<_> =
            later.chain(read.records.range(offset + 1..).map(|(_, later)| *later)).collect();
        let mut of_key = |identity| self.planned(identity).is_some_and(|p| p.key == planned.key);
        if later.into_iter().any(&mut of_key) {
            return true;
        }
        let earlier: Vec<_> = read.records.range(..offset).map(|(_, earlier)| *earlier).collect();
        planned.value_len.is_none() && !earlier.into_iter().any(of_key)
    }

    /// Transactions are whole or absent, and of other units there is a beginning.
    fn check_units(
        &mut self,
        expected: &[BTreeMap<u64, Expected>],
        read: &[Read],
        tally: &mut Tally,
    ) -> Result {
        let present: BTreeSet<Identity> =
            read.iter().flat_map(|read| read.records.values().copied()).collect();
        let mut gone = BTreeSet::new();
        for (expected, read) in expected.iter().zip(read) {
            let missing = |(offset, _): &(&u64, &Expected)| {
                **offset < read.end && !read.records.contains_key(offset)
            };
            gone.extend(expected.iter().filter(missing).map(|(_, e)| e.identity));
        }
        for thread in 0..self.model.threads.len() {
            let known = self.model.threads[thread].clone();
            let acknowledged = known.acknowledged.iter().map(|unit| (unit.number, true));
            let unknown = known.unknown.iter().map(|number| (*number, false));
            let mut units: Vec<_> = acknowledged.chain(unknown).collect();
            units.sort_unstable();
            let mut absent_before = None;
            for (number, acknowledged) in units {
                let thread_id = u32::try_from(thread).unwrap_or(u32::MAX);
                let fates = self.fates(thread_id, number, acknowledged, &present, &gone, read);
                let unit = self.model.unit(thread_id, number).clone();
                check_unit(&unit.kind, &fates).or_else(|why| {
                    violation(format!("unit {number} of thread {thread}, {unit:?}: {why}"))
                })?;
                let there = fates.contains(&Fate::Present);
                if !acknowledged && !unit.records.is_empty() {
                    tally.count(if there { "unknown, there" } else { "unknown, not there" });
                }
                if there && unit.kind == Kind::Transaction {
                    self.model.threads[thread].committed = Some(number);
                    tally.count("transactions compared");
                }
                match absent_before {
                    // The journal has them in one order, whatever the partition.
                    Some(earlier) if there && matches!(self.loss, Loss::Since { .. }) => {
                        return violation(format!(
                            "thread {thread} has lost unit {earlier} and kept unit {number}"
                        ));
                    }
                    _ if acknowledged && fates.contains(&Fate::Absent) => {
                        absent_before = Some(number);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn fates(
        &mut self,
        thread: u32,
        number: u32,
        acknowledged: bool,
        present: &BTreeSet<Identity>,
        gone: &BTreeSet<Identity>,
        read: &[Read],
    ) -> Vec<Fate> {
        let records = self.model.unit(thread, number).records.clone();
        let fate = |(index, record): (u32, &PlannedRecord)| {
            let identity = Identity { thread, unit: number, index };
            let start = read[record.partition].start;
            let topic = PARTITIONS[record.partition].0;
            if present.contains(&identity) {
                Fate::Present
            } else if gone.contains(&identity)
                || (!acknowledged && start > 0 && matches!(topic, Topic::Short | Topic::Cut))
                || (!acknowledged && topic == Topic::Keyed)
            {
                // Of what was not acknowledged nobody knows the offset.
                Fate::Gone
            } else {
                Fate::Absent
            }
        };
        (0..).zip(&records).map(fate).collect()
    }

    /// A group is where the last transaction that took place has put it.
    fn check_groups(&self) -> Result {
        for (thread, known) in self.model.threads.iter().enumerate() {
            let group = format!("thread-{thread}");
            let offsets = self.store.group_offsets(&group).promised("group offsets")?;
            let found = offsets.get(&partition(0)).map(|offset| offset.metadata.clone());
            if found != known.committed.map(|unit| unit.to_string()) {
                return violation(format!(
                    "group {group} is at {found:?}, and its last transaction was {:?}",
                    known.committed
                ));
            }
        }
        Ok(())
    }

    /// Topics are there that were created, and not there that were deleted, whatever has stopped.
    fn check_own_topics(&mut self) -> Result {
        for thread in 0..self.model.threads.len() {
            let id = u32::try_from(thread).unwrap_or(u32::MAX);
            let exists = self.store.describe_topic(&own_topic(id)).is_ok();
            let unknown = self.model.threads[thread].unknown.clone();
            let open = unknown.iter().any(|unit| self.model.unit(id, *unit).kind == Kind::OwnTopic);
            let known = self.model.threads[thread].own_topic.replace(exists);
            if !open && known.is_some_and(|known| known != exists) {
                return violation(format!("{} exists: {exists}, not {known:?}", own_topic(id)));
            }
        }
        Ok(())
    }
}

fn check_unit(kind: &Kind, fates: &[Fate]) -> std::result::Result<(), String> {
    let there = fates.contains(&Fate::Present);
    let absent = fates.contains(&Fate::Absent);
    let torn = match kind {
        Kind::Transaction => there && absent,
        Kind::Append | Kind::Pipelined => fates
            .iter()
            .position(|fate| *fate == Fate::Absent)
            .is_some_and(|first| fates.iter().skip(first).any(|fate| *fate == Fate::Present)),
        Kind::Aborted => there,
        Kind::DeleteRecords | Kind::OwnTopic | Kind::Read => false,
    };
    if torn { Err(format!("it is torn: {fates:?}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{Fate, check_unit};
    use crate::plan::Kind;

    #[test]
    fn torn_units_are_told_from_whole_ones() {
        use Fate::{Absent, Gone, Present};
        for (kind, fates, fine) in [
            (Kind::Transaction, &[Present, Gone, Present][..], true),
            (Kind::Transaction, &[Absent, Gone], true),
            (Kind::Transaction, &[Present, Absent], false),
            (Kind::Append, &[Present, Absent], true),
            (Kind::Append, &[Absent, Present], false),
            (Kind::Aborted, &[Present], false),
        ] {
            assert_eq!(check_unit(&kind, fates).is_ok(), fine, "{kind:?} {fates:?}");
        }
    }
}
