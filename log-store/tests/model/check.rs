//! Comparing a log with its model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_log_store::{
    CONSUMER_OFFSETS_TOPIC, Log, LogStore, Offset, RecordBatch, RecordView, Storage, Timestamp,
};

use crate::history::{Observed, Placed};
use crate::subject::{Subject, partition};

/// The base offsets and lengths of the segments of a partition.
pub type Segments = Vec<(u64, u64)>;

impl Subject {
    /// What is to be seen in the open store: no file is read for it.
    pub fn observe(&self) -> Observed {
        observe(self.store())
    }

    /// Compares all but the content of the partitions.
    #[track_caller]
    pub fn check_state(&self) {
        let observed = self.observe();
        let state = self.history.current();
        let expected = Observed {
            topics: state
                .topics
                .iter()
                .map(|(name, (_, bounds))| {
                    (name.clone(), bounds.iter().map(|b| (b.start, b.end)).collect())
                })
                .collect(),
            committed: state.committed.clone(),
        };
        self.assert(observed == expected, || format!("seen {observed:?}\nexpected {expected:?}"));
    }

    /// Compares everything.
    #[track_caller]
    pub fn check_all(&self) {
        self.check_state();
        for (name, (_, bounds)) in &self.history.current().topics {
            for number in 0..bounds.len() as u32 {
                self.check_content(self.store(), name, number);
            }
        }
    }

    /// Reads a partition from its beginning to its end.
    #[track_caller]
    pub fn check_content(&self, store: &LogStore, name: &str, number: u32) {
        let bounds = self.history.bounds(name, number);
        let mut from = bounds.start;
        while from < bounds.end {
            from = self.check_fetch(store, name, number, from, 2_000);
        }
    }

    /// Reads once from an offset on, and returns the offset to go on at.
    #[track_caller]
    pub fn check_fetch(
        &self,
        store: &LogStore,
        name: &str,
        number: u32,
        from: u64,
        bytes_max: usize,
    ) -> u64 {
        let tp = partition(name, number);
        let end = self.history.bounds(name, number).end;
        let batches = store
            .fetch(&tp, Offset::new(from), bytes_max)
            .unwrap_or_else(|error| self.fail(format_args!("{tp} from {from}: {error}")));
        let records = self.history.records(name, number);
        let compacted = self.history.spec(name).unwrap().is_compacted();
        let mut next = from;
        for read in batches.iter().flat_map(RecordBatch::iter) {
            let at = read.offset.value();
            let is_next = at == next || (compacted && at > next);
            self.assert(is_next && at < end, || format!("{tp} gives {at} instead of {next}"));
            let placed = &records[at as usize];
            self.assert(is_same(placed, &read), || {
                format!("{tp} at {at} reads {read:?}, but was {placed:?}")
            });
            self.check_left_out(name, number, next, at);
            next = at + 1;
        }
        if next == from {
            // Only what was left out is behind it.
            self.assert(compacted || from == end, || format!("{tp} gives nothing at {from}"));
            self.check_left_out(name, number, from, end);
            return end;
        }
        next
    }

    /// What a compaction leaves out has a newer record of its key, or says that there is none.
    #[track_caller]
    fn check_left_out(&self, name: &str, number: u32, from: u64, to: u64) {
        let records = self.history.records(name, number);
        for at in from..to {
            let placed = &records[at as usize];
            let newer = &records[at as usize + 1..];
            let superseded = newer.iter().any(|later| later.rec.key == placed.rec.key);
            self.assert(superseded || placed.rec.value.is_none(), || {
                format!("{name}-{number} has left out {at}, the newest of its key: {placed:?}")
            });
        }
    }

    /// Looks a time up, and compares with the first record that has it or a later one.
    #[track_caller]
    pub fn check_time(&self, name: &str, number: u32, timestamp: i64) {
        let start = self.history.bounds(name, number).start as usize;
        let records = self.history.records(name, number);
        let tp = partition(name, number);
        let mut times = records.iter().enumerate().skip(start);
        let mut expected = times.find(|(_, p)| p.timestamp >= timestamp).map(|(at, _)| at as u64);
        if self.history.spec(name).unwrap().is_compacted() {
            expected = self.find_time(name, number, timestamp);
        }
        let asked = Timestamp::from_millis(timestamp);
        let found = self.store().offset_for_time(&tp, asked);
        let found = found.unwrap_or_else(|error| self.fail(format_args!("{tp}: {error}")));
        let found = found.map(Offset::value);
        self.assert(found == expected, || {
            let r: Vec<_> = records.iter().map(|p| p.timestamp).collect();
            format!(
                "{tp} has {timestamp} at {found:?}, not at {expected:?} start {start} {:?} {:?}",
                self.segments(name, number),
                r
            )
        });
    }

    /// The first of the records that are there with that time or a later one.
    fn find_time(&self, name: &str, number: u32, timestamp: i64) -> Option<u64> {
        let tp = partition(name, number);
        let start = Offset::new(self.history.bounds(name, number).start);
        let batches = self.store().fetch(&tp, start, usize::MAX).unwrap();
        let mut records = batches.iter().flat_map(RecordBatch::iter);
        let found = records.find(|read| read.timestamp.as_millis() >= timestamp);
        found.map(|read| read.offset.value())
    }

    /// Looks on as another process does, and compares everything.
    #[track_caller]
    pub fn check_beside(&self) {
        let reader = LogStore::builder("store")
            .storage(Arc::new(self.storage.clone()) as Arc<dyn Storage>)
            .open_read_only()
            .unwrap_or_else(|error| self.fail(format_args!("a reader beside: {error}")));
        let (seen, expected) = (observe(&reader), self.observe());
        self.assert(seen == expected, || format!("beside: {seen:?}\nwriter: {expected:?}"));
        for (name, (_, bounds)) in &self.history.current().topics {
            for number in 0..bounds.len() as u32 {
                self.check_content(&reader, name, number);
            }
        }
    }

    pub fn segments(&self, name: &str, number: u32) -> Segments {
        let dir = Path::new("store").join(partition(name, number).to_string());
        let mut segments = BTreeMap::new();
        for (file, len) in self.storage.lengths(&dir) {
            if let Some(stem) = file.strip_suffix(".log") {
                let base = stem.split('.').next().unwrap().parse().unwrap();
                segments.insert(base, len);
            }
        }
        segments.into_iter().collect()
    }

    pub fn all_segments(&self) -> BTreeMap<(String, u32), (u64, Segments)> {
        let mut all = BTreeMap::new();
        for (name, (_, bounds)) in &self.history.current().topics {
            for (number, b) in (0..).zip(bounds) {
                all.insert((name.clone(), number), (b.start, self.segments(name, number)));
            }
        }
        all
    }

    /// Retention has dropped what is past its time or its size, whole segments at a time.
    #[track_caller]
    pub fn check_retention(&self, before: &BTreeMap<(String, u32), (u64, Segments)>, all: bool) {
        for ((name, number), (start_before, segments)) in before {
            let spec = self.history.spec(name).unwrap();
            let (start, records) =
                (self.history.bounds(name, *number).start, self.history.records(name, *number));
            let compacts = spec.configs.get("cleanup.policy").is_some_and(|p| p == "compact");
            let keep_ms = spec.number("retention.ms").filter(|ms| *ms >= 0 && !compacts);
            let keep_bytes = spec.number("retention.bytes").filter(|b| *b >= 0 && !compacts);
            let now = self.now();
            let left = self.segments(name, *number);
            let (active, sealed) = left.split_last().unwrap();
            let bytes: u64 = sealed.iter().map(|(_, len)| len).sum();
            // The active segment has its space in advance: it may hold as much as its file.
            let by_size = keep_bytes.is_some_and(|keep| bytes + active.1 >= keep as u64);
            let context = || format!("{name}-{number}, was {segments:?}, is {left:?}, at {now}");
            if start > *start_before {
                let at_segment = left.first().is_some_and(|(base, _)| *base == start);
                self.assert(at_segment, || format!("a part of a segment is gone: {}", context()));
            }
            let second = left.get(1).map_or(u64::MAX, |(base, _)| *base);
            self.assert(second > start, || format!("{start} is past a segment: {}", context()));
            // Nothing early: by the time of the append, whatever the records say of themselves.
            let dropped = &records[*start_before as usize..start as usize];
            let expired = |at: i64| keep_ms.is_some_and(|keep| now - at > keep);
            let ends = segments.iter().skip(1).map(|(base, _)| *base).chain([start]);
            for end in ends.filter(|end| *end <= start && end > start_before) {
                let newest = &dropped[(end - start_before) as usize - 1];
                self.assert(by_size || expired(newest.appended), || {
                    format!("dropped too early: {newest:?} of {}", context())
                });
            }
            // Nothing kept for ever.
            if !all {
                continue;
            }
            let mut ends = sealed.iter().skip(1).map(|(base, _)| *base).collect::<Vec<_>>();
            ends.extend(left.last().map(|(base, _)| *base));
            if let Some(end) = ends.first().filter(|end| **end > start) {
                let newest = &records[*end as usize - 1];
                let kept = !expired(newest.appended_at_latest);
                self.assert(kept, || format!("kept for too long: {newest:?} of {}", context()));
                let rest = bytes - sealed[0].1;
                let needed = keep_bytes.is_none_or(|keep| rest < keep as u64);
                self.assert(needed, || format!("more than retention.bytes: {}", context()));
            }
        }
    }
}

fn observe(store: &LogStore) -> Observed {
    let mut topics = BTreeMap::new();
    for topic in store.topics().unwrap() {
        if topic.name.as_str() == CONSUMER_OFFSETS_TOPIC {
            continue;
        }
        let bounds = |number| {
            let watermarks = store.watermarks(&partition(topic.name.as_str(), number)).unwrap();
            (watermarks.start.value(), watermarks.end.value())
        };
        topics.insert(topic.name.to_string(), (0..topic.partitions).map(bounds).collect());
    }
    let mut committed = BTreeMap::new();
    for group in store.groups().unwrap() {
        for (tp, offset) in store.group_offsets(&group).unwrap() {
            committed.insert((group.clone(), tp), offset.offset.value());
        }
    }
    Observed { topics, committed }
}

fn is_same(placed: &Placed, read: &RecordView<'_>) -> bool {
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    let header = read.headers.iter().next().and_then(|header| text(header.value));
    placed.timestamp == read.timestamp.as_millis()
        && placed.rec.key == text(read.key)
        && placed.rec.value == text(read.value)
        && placed.rec.header == header
        && read.headers.len() == usize::from(header.is_some())
}
