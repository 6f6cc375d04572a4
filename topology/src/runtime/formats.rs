//! The formats of what an application keeps in its log, and the topic in which it notes them: one
//! record for each store and each repartition topic, newest first by compaction.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use headwater_log_store::{
    Error as LogError, Log, NewTopic, PartitionId, Producer, ProducerConfig, ProducerRecord,
    TopicName, TopicPartition,
};

use crate::error::{Error, Result};
use crate::graph::node::{FORMATS, NodeKind, StoreDefinition, StoreKind};
use crate::graph::plan::Graph;
use crate::runtime::reader::reader_to_the_end;
use crate::runtime::resolve::internal_name;

/// The key of the note of [`state_id`].
const STATE_ID: &str = "state";

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// After so many polls that bring nothing the log is asked whether it is there: a consumer of a cluster
/// that is out of reach waits, and a question fails.
const IDLE_POLLS_MAX: u32 = 20;

/// What an application keeps in its log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// A store, in its changelog.
    Store(String),
    /// A repartition topic, without the application's id before its name.
    Repartition(String),
}

impl Part {
    /// The topic that it is in.
    pub(crate) fn topic(&self, application_id: &str) -> String {
        match self {
            Self::Store(store) => internal_name(application_id, &format!("{store}-changelog")),
            Self::Repartition(topic) => internal_name(application_id, topic),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("store", name) => Some(Self::Store(name.to_owned())),
            ("repartition", name) => Some(Self::Repartition(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(name) => write!(f, "store {name}"),
            Self::Repartition(name) => write!(f, "repartition {name}"),
        }
    }
}

/// The formats by what has them.
pub(crate) type Formats = BTreeMap<Part, String>;

/// What is to be noted, by its keys; without a value it is taken away.
pub(crate) type Notes = Vec<(String, Option<String>)>;

/// The formats of a topology.
pub(crate) fn formats_of(graph: &Graph) -> Formats {
    let stores = graph.stores.iter().filter(|store| store.logged);
    let stores = stores.map(|store| (Part::Store(store.name.clone()), format_of(store)));
    let sinks = graph.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Sink { topic, format, .. } if topic.internal => {
            Some((Part::Repartition(topic.name.clone()), format.clone()))
        }
        _ => None,
    });
    stores.chain(sinks).collect()
}

fn format_of(store: &StoreDefinition) -> String {
    let rows = (store.factory)().managed.borrow().format_name();
    match store.kind {
        StoreKind::Window { size_ms: Some(size_ms), .. } => {
            format!("{rows}, of windows of {size_ms} ms")
        }
        StoreKind::KeyValue | StoreKind::Versioned { .. } | StoreKind::Window { .. } => rows,
    }
}

/// The topic that has the notes.
pub(crate) fn notes_topic(application_id: &str) -> String {
    Part::Store(FORMATS.to_owned()).topic(application_id)
}

/// The topic of the notes, to be created.
pub(crate) fn new_notes_topic(application_id: &str) -> NewTopic {
    NewTopic::new(notes_topic(application_id)).config("cleanup.policy", "compact")
}

/// What an application has noted; nothing if it has never run.
pub(crate) fn noted(log: &dyn Log, application_id: &str) -> Result<Formats> {
    let notes = read(log, application_id)?.into_iter();
    // What a newer version notes besides says nothing to this one.
    Ok(notes.filter_map(|(key, format)| Some((Part::parse(&key)?, format))).collect())
}

/// A number that the state of an application has on this log until a reset has taken it away: who
/// finds rows of a state with another number has those of before.
pub(crate) fn state_id(log: &dyn Log, application_id: &str) -> Result<u32> {
    let noted = || {
        let notes = read(log, application_id)?;
        Ok::<_, Error>(notes.get(STATE_ID).and_then(|id| id.parse::<u32>().ok()))
    };
    if let Some(id) = noted()? {
        return Ok(id);
    }
    // The keys of the hasher are random. Of two processes that note one the last counts; rows with
    // the other are made anew once.
    let id = RandomState::new().build_hasher().finish() >> 32;
    // Always of one length: what comes behind it has the same place in each run of a simulation.
    write(log, application_id, &vec![(STATE_ID.to_owned(), Some(format!("{id:010}")))])?;
    Ok(noted()?.unwrap_or_default())
}

/// All notes, by their keys.
fn read(log: &dyn Log, application_id: &str) -> Result<BTreeMap<String, String>> {
    let topic = notes_topic(application_id);
    let failed = || format!("a read of {topic}");
    match log.describe_topic(&topic) {
        Ok(_) => {}
        Err(LogError::UnknownTopic { .. }) => return Ok(BTreeMap::new()),
        Err(source) => return Err(Error::log(failed())(source)),
    }
    let name = TopicName::new(&topic).map_err(Error::log(failed()))?;
    let partition = TopicPartition::new(name, PartitionId::new(0));
    let watermarks = log.watermarks(&partition).map_err(Error::log(failed()))?;
    let mut consumer = reader_to_the_end(log).map_err(Error::log(failed()))?;
    consumer
        .assign(std::slice::from_ref(&partition))
        .and_then(|()| consumer.seek(&partition, watermarks.start))
        .map_err(Error::log(failed()))?;
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes?.to_vec()).ok();
    let (mut notes, mut idle_polls) = (BTreeMap::new(), 0);
    while consumer.position(&partition).map_err(Error::log(failed()))? < watermarks.end {
        let batches = consumer.poll(POLL).map_err(Error::log(failed()))?;
        idle_polls = if batches.is_empty() { idle_polls + 1 } else { 0 };
        if idle_polls == IDLE_POLLS_MAX {
            idle_polls = 0;
            log.watermarks(&partition).map_err(Error::log(failed()))?;
        }
        for batch in batches {
            for view in batch.iter() {
                let Some(key) = text(view.key) else { continue };
                match text(view.value) {
                    Some(note) => notes.insert(key, note),
                    None => notes.remove(&key),
                };
            }
        }
    }
    Ok(notes)
}

/// What a topology that is about to run has to note of its formats, under which keys: nothing that
/// is known. Those of parts that it does not have any more stay, until their topics are gone: they
/// may come back.
pub(crate) fn to_note(
    log: &dyn Log,
    application_id: &str,
    known: &Formats,
    formats: &Formats,
) -> Notes {
    let changed = formats.iter().filter(|(part, format)| known.get(part) != Some(format));
    let mut notes: Notes =
        changed.map(|(part, format)| (part.to_string(), Some(format.clone()))).collect();
    for part in known.keys().filter(|part| !formats.contains_key(part)) {
        if let Err(LogError::UnknownTopic { .. }) = log.describe_topic(&part.topic(application_id))
        {
            notes.push((part.to_string(), None));
        }
    }
    notes
}

/// Writes notes, in a transaction of their own if the producer writes in such.
pub(crate) fn note(
    producer: &mut dyn Producer,
    transactional: bool,
    application_id: &str,
    notes: &Notes,
) -> Result<()> {
    let topic = notes_topic(application_id);
    let mut write = || {
        if transactional {
            producer.begin_transaction()?;
        }
        for (key, value) in notes {
            let (key, value) = (Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
            let record = ProducerRecord { key, value, ..ProducerRecord::to(&topic) };
            producer.send_without_receipt(&record)?;
        }
        if transactional { producer.commit_transaction() } else { producer.flush() }
    };
    write().map_err(Error::log(format!("a write to {topic}")))
}

/// Writes notes with a producer of their own, and makes the topic if there is none.
fn write(log: &dyn Log, application_id: &str, notes: &Notes) -> Result<()> {
    let topic = notes_topic(application_id);
    log.create_topic_if_not_exists(&new_notes_topic(application_id))
        .map_err(Error::log(format!("the creation of topic {topic}")))?;
    let failed = || format!("a write to {topic}");
    let mut producer = log.producer(&ProducerConfig::default()).map_err(Error::log(failed()))?;
    note(producer.as_mut(), false, application_id, notes)
}

#[cfg(test)]
mod tests {
    use headwater_log_store::{Log, LogStore, NewTopic};

    use super::{Formats, Part, noted, state_id, to_note, write};

    #[test]
    fn a_part_is_noted_until_its_topic_is_gone_and_the_states_number_stays() {
        let log = LogStore::in_memory().unwrap();
        let parts = [Part::Store("a".to_owned()), Part::Repartition("b-repartition".to_owned())];
        let all: Formats = parts.iter().map(|part| (part.clone(), "i64".to_owned())).collect();
        for part in &parts {
            log.create_topic(&NewTopic::new(part.topic("app"))).unwrap();
        }
        let note = |formats: &Formats| {
            let notes = to_note(&log, "app", &noted(&log, "app").unwrap(), formats);
            write(&log, "app", &notes).unwrap();
        };
        note(&all);
        assert_eq!(noted(&log, "app").unwrap(), all);
        let state = state_id(&log, "app").unwrap();
        note(&Formats::new());
        assert_eq!(noted(&log, "app").unwrap(), all, "their topics are there");
        log.delete_topic(&parts[0].topic("app")).unwrap();
        note(&Formats::new());
        let left: Vec<Part> = noted(&log, "app").unwrap().into_keys().collect();
        assert_eq!(left, parts[1..]);
        assert_eq!(state_id(&log, "app").unwrap(), state);
    }
}
