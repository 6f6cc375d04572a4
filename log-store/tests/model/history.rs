//! What the callers of a log know of it: everything that they appended, and which states the log
//! may be in.
//!
//! A log goes from state to state, one for each record, transaction or change of a topic; a crash
//! takes it back to one of the states that it was in, never to a mixture. So the model is the list
//! of those states, and how far back the crash may go.

use std::collections::{BTreeMap, BTreeSet};

use headwater_log_store::TopicPartition;

/// A record as it was appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rec {
    pub key: Option<String>,
    pub value: Option<String>,
    /// The event time; none if the log is to choose it.
    pub timestamp: Option<i64>,
    pub header: Option<String>,
}

/// A record that has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub rec: Rec,
    /// The time that readers see.
    pub timestamp: i64,
    /// When it was appended.
    pub appended: i64,
    /// When retention may think that it was appended: after a crash, the time of the recovery.
    pub appended_at_latest: i64,
}

/// What a topic was created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    pub partitions: u32,
    pub configs: BTreeMap<String, String>,
}

impl TopicSpec {
    pub fn number(&self, key: &str) -> Option<i64> {
        self.configs.get(key).map(|value| value.parse().unwrap())
    }

    pub fn has_append_time(&self) -> bool {
        self.configs.get("message.timestamp.type").is_some_and(|value| value == "LogAppendTime")
    }

    pub fn is_compacted(&self) -> bool {
        self.configs.get("cleanup.policy").is_some_and(|value| value.contains("compact"))
    }
}

/// Where a partition begins and ends. The beginning is a range after a call whose outcome is not
/// known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub start: u64,
    pub start_max: u64,
    pub end: u64,
}

/// A state that the log may be in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By name, which life of the topic it is, and the bounds of its partitions.
    pub topics: BTreeMap<String, (usize, Vec<Bounds>)>,
    pub committed: BTreeMap<(String, TopicPartition), u64>,
}

/// What is seen in an open log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The start and the end of each partition.
    pub topics: BTreeMap<String, Vec<(u64, u64)>>,
    pub committed: BTreeMap<(String, TopicPartition), u64>,
}

impl Snapshot {
    /// Whether this may be what was seen.
    fn is(&self, observed: &Observed) -> bool {
        self.committed == observed.committed
            && self.topics.len() == observed.topics.len()
            && self.topics.iter().all(|(name, (_, bounds))| {
                let seen = observed.topics.get(name);
                seen.is_some_and(|seen| {
                    seen.len() == bounds.len()
                        && seen.iter().zip(bounds).all(|((start, end), b)| {
                            *end == b.end && (b.start..=b.start_max).contains(start)
                        })
                })
            })
    }

    /// Takes over the starts that were seen.
    fn settle(&mut self, observed: &Observed) {
        for (name, (_, bounds)) in &mut self.topics {
            for (b, (start, _)) in bounds.iter_mut().zip(&observed.topics[name]) {
                (b.start, b.start_max) = (*start, *start);
            }
        }
    }
}

/// All states that the log was in, or may have come to.
#[derive(Clone, Debug)]
pub struct History {
    snapshots: Vec<Snapshot>,
    /// The state after the last call that was acknowledged.
    acknowledged: usize,
    /// The state that no power cut takes, whatever the durability.
    durable: usize,
    /// What was appended, by life of a topic, partition and offset; with what was not
    /// acknowledged.
    records: Vec<Vec<Vec<Placed>>>,
    specs: Vec<TopicSpec>,
    /// Topics whose creation failed: they may be there after the next open.
    ghosts: BTreeSet<(String, usize)>,
    /// Topics whose deletion failed: they may be gone, whatever else comes back.
    deletions: BTreeSet<String>,
}

impl History {
    pub fn new() -> Self {
        Self {
            snapshots: vec![Snapshot::default()],
            acknowledged: 0,
            durable: 0,
            records: Vec::new(),
            specs: Vec::new(),
            ghosts: BTreeSet::new(),
            deletions: BTreeSet::new(),
        }
    }

    /// The state after the last call that was acknowledged.
    pub fn current(&self) -> &Snapshot {
        &self.snapshots[self.acknowledged]
    }

    pub fn topic(&self, name: &str) -> Option<&(usize, Vec<Bounds>)> {
        self.current().topics.get(name)
    }

    pub fn spec(&self, name: &str) -> Option<&TopicSpec> {
        self.topic(name).map(|(life, _)| &self.specs[*life])
    }

    pub fn bounds(&self, name: &str, partition: u32) -> Bounds {
        self.topic(name).map_or(Bounds::default(), |(_, bounds)| bounds[partition as usize])
    }

    /// The records of a partition from offset 0 on.
    pub fn records(&self, name: &str, partition: u32) -> &[Placed] {
        let Some((life, bounds)) = self.topic(name) else { return &[] };
        let end = bounds[partition as usize].end as usize;
        &self.records[*life][partition as usize][..end]
    }

    pub fn records_mut(&mut self, name: &str, partition: u32) -> &mut [Placed] {
        let Some(life) = self.topic(name).map(|(life, _)| *life) else { return &mut [] };
        &mut self.records[life][partition as usize]
    }

    /// How many records were acknowledged and are there.
    pub fn count(&self) -> u64 {
        let bounds = self.current().topics.values().flat_map(|(_, bounds)| bounds);
        bounds.map(|b| b.end - b.start).sum()
    }

    /// A new life of a topic.
    pub fn add_life(&mut self, spec: &TopicSpec) -> usize {
        self.records.push(vec![Vec::new(); spec.partitions as usize]);
        self.specs.push(spec.clone());
        self.records.len() - 1
    }

    /// Notes a record behind the end of the partition in `snapshot`.
    pub fn add_record(&mut self, snapshot: &mut Snapshot, name: &str, n: u32, placed: Placed) {
        let (life, bounds) = snapshot.topics.get_mut(name).expect("the topic is there");
        let (records, bounds) = (&mut self.records[*life][n as usize], &mut bounds[n as usize]);
        records.truncate(bounds.end as usize);
        records.push(placed);
        bounds.end += 1;
    }

    /// A call was acknowledged that went through these states.
    pub fn acknowledge(&mut self, states: Vec<Snapshot>) {
        assert_eq!(self.acknowledged + 1, self.snapshots.len(), "the last call is not settled");
        self.snapshots.extend(states);
        self.acknowledged = self.snapshots.len() - 1;
    }

    /// All that was acknowledged lasts from now on, whatever happens.
    pub fn make_durable(&mut self) {
        self.durable = self.acknowledged;
    }

    /// A call failed that may have gone through some of these states.
    pub fn doubt(&mut self, states: Vec<Snapshot>) {
        self.snapshots.extend(states);
    }

    /// A topic whose creation failed may come back.
    pub fn doubt_topic(&mut self, name: &str, life: usize) {
        self.ghosts.insert((name.to_owned(), life));
    }

    /// A topic whose deletion failed may be gone.
    pub fn doubt_deletion(&mut self, name: &str) {
        self.deletions.insert(name.to_owned());
    }

    /// A topic was created or deleted for certain.
    pub fn settle_topic(&mut self, name: &str) {
        self.ghosts.retain(|(ghost, _)| ghost != name);
        self.deletions.remove(name);
    }

    /// Finds the state that was seen, and goes on from it: after a call that failed or a crash.
    /// `lossless` says whether all that was acknowledged must be there.
    pub fn settle(&mut self, observed: &Observed, lossless: bool) -> Result<(), String> {
        let least = if lossless { self.acknowledged } else { self.durable };
        let states = (least..self.snapshots.len()).rev();
        let plain = states.clone().find(|at| self.snapshots[*at].is(observed));
        let found = plain.map(|at| (at, self.snapshots[at].clone())).or_else(|| {
            states
                .map(|at| (at, self.with_doubts(&self.snapshots[at], observed)))
                .find(|(_, state)| state.is(observed))
        });
        let Some((at, mut state)) = found else {
            return Err(format!(
                "the log is in no state that it was in\nseen: {observed:?}\nat least: {:?}\nlast: \
                 {:?}",
                self.snapshots[least],
                self.snapshots.last()
            ));
        };
        state.settle(observed);
        self.snapshots.truncate(at);
        self.snapshots.push(state);
        self.acknowledged = at;
        self.durable = self.durable.min(at);
        Ok(())
    }

    /// A state with the topics that came or went by calls that failed. They come and go at once,
    /// while other changes may still be on their way to the disk.
    fn with_doubts(&self, state: &Snapshot, observed: &Observed) -> Snapshot {
        let mut state = state.clone();
        for name in &self.deletions {
            if !observed.topics.contains_key(name) {
                state.topics.remove(name);
                state.committed.retain(|(_, tp), _| tp.topic.as_str() != name);
            }
        }
        for (name, life) in &self.ghosts {
            if observed.topics.contains_key(name) && !state.topics.contains_key(name) {
                let bounds = vec![Bounds::default(); self.specs[*life].partitions as usize];
                state.topics.insert(name.clone(), (*life, bounds));
            }
        }
        state
    }

    /// Forgets the states before this one, which no crash goes back to.
    pub fn begin_here(&mut self) {
        assert_eq!(self.acknowledged + 1, self.snapshots.len(), "the last call is not settled");
        self.snapshots.drain(..self.acknowledged);
        (self.acknowledged, self.durable) = (0, 0);
        self.ghosts.clear();
        self.deletions.clear();
    }
}
