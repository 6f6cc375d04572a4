//! What a writer writes: units of work whose content is a function of a seed, a thread and a number,
//! so that whoever knows these three can tell what has to be in the log.

use fastrand::Rng;
use headwater_log_store::{PartitionId, TopicName, TopicPartition};

/// The header that carries a record's identity.
pub(crate) const IDENTITY_HEADER: &str = "id";
/// How many keys a thread has in the compacted topic.
const KEYS: u32 = 6;
/// Every value begins with this, by which an injector knows the pages of segments.
pub(crate) const VALUE_MARK: &[u8; 8] = b"HWFAULT!";

/// The topics of the workload. Each shows another part of the log at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Keeps everything.
    Plain,
    /// Loses its oldest segments by `retention.bytes`.
    Short,
    /// Loses its oldest records by `delete_records`.
    Cut,
    /// Is compacted.
    Keyed,
}

/// All partitions that are written to, in the order in which they are numbered here.
pub(crate) const PARTITIONS: [(Topic, u32); 6] = [
    (Topic::Plain, 0),
    (Topic::Plain, 1),
    (Topic::Plain, 2),
    (Topic::Short, 0),
    (Topic::Cut, 0),
    (Topic::Keyed, 0),
];
/// The number of the partition whose records are deleted.
pub(crate) const CUT: usize = 4;

impl Topic {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Short, Self::Cut, Self::Keyed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Short => "short",
            Self::Cut => "cut",
            Self::Keyed => "keyed",
        }
    }

    pub(crate) fn partitions(self) -> u32 {
        let own = PARTITIONS.iter().filter(|(topic, _)| *topic == self);
        u32::try_from(own.count()).expect("there are six")
    }
}

/// The partition of that number in [`PARTITIONS`].
pub(crate) fn partition(number: usize) -> TopicPartition {
    let (topic, partition) = PARTITIONS[number];
    let topic = TopicName::new(topic.name()).expect("a good name");
    TopicPartition::new(topic, PartitionId::new(partition))
}

/// What tells a record from all others of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) thread: u32,
    pub(crate) unit: u32,
    pub(crate) index: u32,
}

impl Identity {
    /// As it stands in the header.
    pub(crate) fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.thread.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.unit.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let identity = Self { thread: field(0)?, unit: field(4)?, index: field(8)? };
        (bytes.len() == 12).then_some(identity)
    }
}

/// What one unit of work does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One call of `append_batch`.
    Append,
    /// Sends of a producer that are waited for at the end only.
    Pipelined,
    /// A transaction with an offset of the thread's group.
    Transaction,
    /// A transaction that is given up.
    Aborted,
    /// `delete_records` up to the last record that this thread knows in that partition.
    DeleteRecords,
    /// Creates the thread's own topic, or deletes it if it is there.
    OwnTopic,
    /// Reads back what was acknowledged last.
    Read,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRecord {
    /// A number in [`PARTITIONS`].
    pub(crate) partition: usize,
    pub(crate) key: Option<String>,
    /// The length of the value; a tombstone has none.
    pub(crate) value_len: Option<usize>,
}

/// A unit of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    pub(crate) records: Vec<PlannedRecord>,
}

/// What decides all units of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The most bytes of values in a unit: a transaction has to fit into a quarter of the journal.
    pub(crate) unit_bytes_max: usize,
    /// Whether most values are as long as they can be: then a kill is likely to hit a write.
    pub(crate) heavy: bool,
}

/// A store with so large a journal is there for long values.
const HEAVY_JOURNAL_BYTES: u64 = 4 << 20;

impl Plan {
    /// For a store with a journal of that size.
    pub(crate) fn new(seed: u64, journal_bytes: u64) -> Self {
        let quarter = usize::try_from(journal_bytes / 4).expect("a journal fits memory");
        let heavy = journal_bytes >= HEAVY_JOURNAL_BYTES;
        Self { seed, unit_bytes_max: (quarter * 3 / 4).min(400 << 10), heavy }
    }

    fn rng(&self, thread: u32, unit: u32, salt: u64) -> Rng {
        let place = (u64::from(thread) << 40) ^ (u64::from(unit) << 8) ^ salt;
        let mut mixed = self.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Neighbouring seeds give neighbouring first numbers, so they are mixed.
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Rng::with_seed(mixed ^ (mixed >> 29))
    }

    /// The unit of that number.
    pub(crate) fn unit(&self, thread: u32, number: u32) -> Unit {
        let mut rng = self.rng(thread, number, 0);
        let kind = match rng.u32(0..100) {
            0..45 => Kind::Append,
            45..60 => Kind::Pipelined,
            60..85 => Kind::Transaction,
            85..90 => Kind::Aborted,
            90..93 => Kind::DeleteRecords,
            93..95 => Kind::OwnTopic,
            _ => Kind::Read,
        };
        let count = match kind {
            Kind::Append if rng.u8(0..4) > 0 => 1,
            Kind::Append | Kind::Pipelined => rng.usize(2..24),
            Kind::Transaction | Kind::Aborted => rng.usize(2..8),
            Kind::DeleteRecords | Kind::OwnTopic | Kind::Read => 0,
        };
        let one = rng.usize(0..PARTITIONS.len());
        let mut left = self.unit_bytes_max;
        let mut records = Vec::new();
        for index in 0..count {
            let partition = match kind {
                Kind::Append | Kind::Pipelined => one,
                // One of a partition that keeps everything is in each transaction: it tells
                // whether that took place.
                _ if index == 0 => rng.usize(0..3),
                _ => rng.usize(0..PARTITIONS.len()),
            };
            let keyed = PARTITIONS[partition].0 == Topic::Keyed;
            let key = match keyed || rng.bool() {
                true => Some(format!("key-{thread}-{}", rng.u32(0..KEYS))),
                false => None,
            };
            let len = self.length(&mut rng, count, left);
            left -= len;
            let value_len = if keyed && rng.u8(0..8) == 0 { None } else { Some(len) };
            records.push(PlannedRecord { partition, key, value_len });
        }
        Unit { kind, records }
    }

    /// Mostly short, often longer than a page, and now and then so long that a kill is likely to
    /// hit the write.
    fn length(&self, rng: &mut Rng, count: usize, left: usize) -> usize {
        let longest = match rng.u32(0..100) {
            0..80 if self.heavy => left,
            0..50 => 300,
            50..85 => 16 << 10,
            _ => left / 2,
        };
        rng.usize(0..=longest.min(if count > 4 { left / count } else { left / 2 }))
    }

    /// The value of a record: its mark in every 4 KiB, so that each page of a segment has it, and
    /// bytes that differ everywhere.
    pub(crate) fn value(&self, identity: Identity, len: usize, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(len, 0);
        let mut next =
            self.rng(identity.thread, identity.unit, u64::from(identity.index) + 1).u64(..);
        for chunk in buffer.chunks_mut(8) {
            next = next.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
        for page in buffer.chunks_mut(4096) {
            let mark = page.len().min(VALUE_MARK.len());
            page[..mark].copy_from_slice(&VALUE_MARK[..mark]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Kind, Plan};

    #[test]
    fn units_are_a_function_of_seed_thread_and_number() {
        let plan = Plan::new(7, 1 << 20);
        for number in 0..200 {
            assert_eq!(plan.unit(1, number), plan.unit(1, number));
            let bytes = plan.unit(1, number).records.iter().filter_map(|r| r.value_len).sum();
            assert!((0..=plan.unit_bytes_max).contains(&bytes), "unit {number} has {bytes} bytes");
        }
        assert_ne!(plan.unit(1, 3), plan.unit(2, 3));
        assert!((0..200).any(|n| plan.unit(0, n).kind == Kind::Transaction));
    }

    #[test]
    fn values_differ_by_identity_and_identities_survive_their_header() {
        let plan = Plan::new(7, 1 << 20);
        let identity = Identity { thread: 2, unit: 70_000, index: 3 };
        assert_eq!(Identity::decode(&identity.encode()), Some(identity));
        assert_eq!(Identity::decode(&[0; 11]), None);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        plan.value(identity, 9_000, &mut one);
        plan.value(Identity { index: 4, ..identity }, 9_000, &mut other);
        assert_ne!(one, other);
        assert!(one.starts_with(super::VALUE_MARK) && one.len() == 9_000);
    }
}
