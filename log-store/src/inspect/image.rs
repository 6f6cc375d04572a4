//! The store's own files, each read by itself, so that one that is damaged hides no other.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::engine::{RESERVE_NAME, STORE_FILE_BYTES, STORE_FILE_COPY, journal_path, parse_copy};
use crate::error::{Error, Result};
use crate::inspect::report::{Finding, Severity};
use crate::inspect::source::{Source, finding, name};
use crate::published::{CONTENT_BYTES, PublishedEnd, SLOT_BYTES, published_store_id};
use crate::topic::{TopicFile, parse_deleted_name, topics_dir};
use crate::types::TopicName;

/// The names of the two checkpoints, in the order of their slots.
pub(super) const CHECKPOINTS: [&str; 2] = ["checkpoint.0", "checkpoint.1"];
/// Files of the store's folder that are there or may be.
const KNOWN: [&str; 5] = ["store", "store.lock", "published", "journal", RESERVE_NAME];
/// What a file is called until it is whole.
const UNFINISHED: [&str; 2] = ["store.new", "published.new"];

/// What is left of the store's own files.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// What the `store` file says.
    pub(super) store_id: Option<u128>,
    /// The newer whole checkpoint.
    pub(super) checkpoint: Option<Checkpoint>,
    /// How many checkpoints are whole.
    pub(super) whole_checkpoints: usize,
    /// Topics whose file is whole.
    pub(super) topics: BTreeMap<TopicName, TopicFile>,
    /// Topics whose deletion was interrupted.
    pub(super) deleted: BTreeMap<TopicName, TopicFile>,
    /// Topics whose file is damaged.
    pub(super) damaged_topics: Vec<TopicName>,
    /// The id of the store that the published file is of.
    pub(super) published_id: Option<u128>,
    /// What the published file says of each partition.
    pub(super) published: Vec<PublishedEnd>,
    pub(super) findings: Vec<Finding>,
}

/// The path of the journal from the store's folder on.
pub(super) fn journal_file() -> PathBuf {
    journal_path(Path::new(""))
}

/// Whether there is a store. What the making of one leaves behind that was interrupted is none: the
/// `store` file is written last, and only then come topics. An open makes one there without a word.
fn is_store(source: &Source<'_>) -> Result<bool> {
    if source.kind(Path::new("store"))?.is_some() {
        return Ok(true);
    }
    let topics = source.dir.join(topics_dir(Path::new("")));
    match source.storage.list(&topics) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        names => Ok(!names.map_err(|e| Error::io("list", &topics, e))?.is_empty()),
    }
}

impl Image {
    /// Reads everything; what is damaged becomes a finding.
    ///
    /// # Errors
    /// `NoStore`, or `UnsupportedVersion` of a file that is whole.
    pub(super) fn read(source: &Source<'_>) -> Result<Self> {
        let mut image = Self::default();
        if !is_store(source)? {
            return Err(Error::NoStore { path: source.dir.to_owned() });
        }
        image.read_store_file(source)?;
        image.read_checkpoints(source)?;
        image.read_topics(source)?;
        image.read_published(source);
        Ok(image)
    }

    fn note<T>(&mut self, result: Result<T, Finding>) -> Option<T> {
        result.map_err(|finding| self.findings.push(finding)).ok()
    }

    fn read_store_file(&mut self, source: &Source<'_>) -> Result<()> {
        let path = Path::new("store");
        let read = source.read(path, Severity::Data);
        let Some(bytes) = self.note(read) else { return Ok(()) };
        let mut ids = Vec::new();
        for position in [0, STORE_FILE_COPY] {
            let start = usize::try_from(position).unwrap_or(usize::MAX);
            let copy = bytes.get(start..start + STORE_FILE_BYTES).unwrap_or_default();
            ids.push((position, parse_copy(&source.dir.join(path), copy)?));
        }
        self.store_id = ids.iter().find_map(|(_, id)| *id);
        let severity = if self.store_id.is_some() { Severity::Copy } else { Severity::Data };
        for (position, id) in ids {
            if id.is_none() || id != self.store_id {
                let reason = "this copy of the store's id is damaged";
                self.findings.push(Finding {
                    position,
                    bytes: STORE_FILE_BYTES as u64,
                    ..finding(severity, path, reason)
                });
            }
        }
        let end = usize::try_from(STORE_FILE_COPY).unwrap_or(usize::MAX) + STORE_FILE_BYTES;
        let between = bytes.iter().take(end - STORE_FILE_BYTES).skip(STORE_FILE_BYTES);
        if bytes.len() > end || between.into_iter().any(|&byte| byte != 0) {
            let reason = "there are bytes beside the two copies";
            self.findings.push(finding(Severity::Harmless, path, reason));
        }
        Ok(())
    }

    fn read_checkpoints(&mut self, source: &Source<'_>) -> Result<()> {
        let mut damaged = Vec::new();
        let mut whole: Vec<(usize, Checkpoint)> = Vec::new();
        for (slot, name) in CHECKPOINTS.into_iter().enumerate() {
            let path = Path::new(name);
            let bytes = match source.read(path, Severity::Copy) {
                Ok(bytes) => bytes,
                Err(finding) => {
                    damaged.push(finding);
                    continue;
                }
            };
            match Checkpoint::parse(&source.dir.join(path), &bytes)? {
                Some(checkpoint) => whole.push((slot, checkpoint)),
                None => {
                    let is_empty = bytes.iter().all(|&byte| byte == 0);
                    let reason =
                        if is_empty { "it was never written" } else { "its checksum is wrong" };
                    let bytes = bytes.len() as u64;
                    damaged.push(Finding { bytes, ..finding(Severity::Copy, path, reason) });
                }
            }
        }
        whole.sort_by_key(|(_, checkpoint)| checkpoint.generation);
        if let [(_, older), (slot, newer)] = &*whole
            && older.generation + 1 != newer.generation
        {
            let path = Path::new(CHECKPOINTS.get(1 - slot).copied().unwrap_or_default());
            let reason = format!(
                "it is of generation {}, not of the one before {}",
                older.generation, newer.generation
            );
            damaged.push(finding(Severity::Copy, path, reason));
        }
        // The first checkpoint of a store stands alone.
        let is_first = whole.first().is_some_and(|(_, checkpoint)| checkpoint.generation == 1);
        damaged.retain(|finding| !is_first || finding.reason != "it was never written");
        if whole.is_empty() {
            damaged.iter_mut().for_each(|finding| finding.severity = Severity::Data);
        }
        self.findings.extend(damaged);
        self.whole_checkpoints = whole.len();
        self.checkpoint = whole.pop().map(|(_, checkpoint)| checkpoint);
        Ok(())
    }

    fn read_topics(&mut self, source: &Source<'_>) -> Result<()> {
        let names = source.list(&topics_dir(Path::new("")), Severity::Data);
        for path in self.note(names).unwrap_or_default() {
            let deleted = parse_deleted_name(name(&path));
            let is_deleted = deleted.is_some();
            let Some(topic) = deleted.or_else(|| TopicName::new(name(&path)).ok()) else {
                let reason = match name(&path) {
                    "~" => "a topic's file that was not finished",
                    _ => "this is no topic's name",
                };
                self.findings.push(finding(Severity::Harmless, &path, reason));
                continue;
            };
            let read = source.read(&path, Severity::Data);
            let Some(bytes) = self.note(read) else {
                self.damaged_topics.push(topic);
                continue;
            };
            match TopicFile::parse(source.dir.join(&path), &bytes) {
                Ok(file) if is_deleted => {
                    self.deleted.insert(topic, file);
                    let reason = "a deletion that the next open finishes";
                    self.findings.push(finding(Severity::Harmless, &path, reason));
                }
                Ok(file) => {
                    self.topics.insert(topic, file);
                }
                Err(Error::CorruptFile { reason, .. }) => {
                    let bytes = bytes.len() as u64;
                    let damage = finding(Severity::Data, &path, reason);
                    self.findings.push(Finding { bytes, ..damage });
                    self.damaged_topics.push(topic);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_published(&mut self, source: &Source<'_>) {
        let path = Path::new("published");
        let read = source.read(path, Severity::Cache);
        let Some(bytes) = self.note(read) else { return };
        self.published_id = published_store_id(&bytes);
        let cache = |position: usize, bytes: usize, reason: &str| Finding {
            position: position as u64,
            bytes: bytes as u64,
            ..finding(Severity::Cache, path, reason)
        };
        if self.published_id.is_none() {
            self.findings.push(cache(0, SLOT_BYTES, "its header is damaged"));
        } else if self.store_id.is_some() && self.published_id != self.store_id {
            self.findings.push(cache(0, SLOT_BYTES, "it belongs to another store"));
        }
        for (index, slot) in bytes.chunks(SLOT_BYTES).enumerate().skip(1) {
            let content = slot.get(..CONTENT_BYTES).unwrap_or(slot);
            match PublishedEnd::decode(content) {
                _ if content.iter().all(|&byte| byte == 0) => {}
                Some(end) => end.add_to(&mut self.published),
                None => self.findings.push(cache(
                    index * SLOT_BYTES,
                    content.len(),
                    "a slot's checksum does not match",
                )),
            }
        }
    }

    /// Notes what is in the store's folder and none of the store's, given the partitions' folders.
    pub(super) fn check_names(&mut self, source: &Source<'_>, partitions: &[PathBuf]) {
        let names = source.list(Path::new(""), Severity::Data);
        for path in self.note(names).unwrap_or_default() {
            let name = name(&path);
            let reason = if partitions.contains(&path)
                || KNOWN.contains(&name)
                || CHECKPOINTS.contains(&name)
                || path == topics_dir(Path::new(""))
            {
                continue;
            } else if UNFINISHED.contains(&name) {
                "a file that was not finished"
            } else if self.deleted.keys().any(|topic| is_partition_of(&path, topic)) {
                "a folder of a deleted topic, which the next open removes"
            } else {
                "it is none of the store's"
            };
            self.findings.push(finding(Severity::Harmless, &path, reason));
        }
    }
}

/// Whether a folder is that of a partition of the topic, going by its name.
pub(super) fn is_partition_of(path: &Path, topic: &TopicName) -> bool {
    let parts = name(path).rsplit_once('-');
    parts.is_some_and(|(name, number)| name == topic.as_str() && number.parse::<u32>().is_ok())
}
