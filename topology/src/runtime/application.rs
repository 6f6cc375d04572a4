//! What the workers of an application have in common: its graph on its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_log_store::{GroupOffsets, Log, Producer};
use parking_lot::Mutex;

use crate::config::{ProcessingGuarantee, StreamsConfig};
use crate::error::Result;
use crate::graph::plan::Graph;
use crate::runtime::commit_metadata::CommitMetadata;
use crate::runtime::formats::{Notes, formats_of, new_notes_topic, note, noted, to_note};
use crate::runtime::group::{ProcessId, TaskGroup, missing_tasks_topic};
use crate::runtime::on_disk::OnDisk;
use crate::runtime::registry::Registration;
use crate::runtime::resolve::{Resolved, create_topics, missing_topics, resolve};
use crate::runtime::restoring::Restores;
use crate::runtime::upgrade::{Before, plan};
use crate::runtime::wipe::{finish_reset, group_offsets};
use crate::types::TaskId;

/// What an application has for itself alone.
struct Held {
    _registration: Registration,
    on_disk: Option<OnDisk>,
}

/// An application on its log: topics checked and created, an unfinished reset finished. No other
/// of its id runs on the log until it is [released](Self::release) or dropped.
pub(crate) struct Application {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) config: StreamsConfig,
    pub(crate) resolved: Resolved,
    /// All of its tasks, upstream first.
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) process_id: ProcessId,
    /// Who hears of the restores of its stores.
    pub(crate) restores: Arc<Restores>,
    /// What is still to be noted of the formats of its topology.
    notes: Mutex<Notes>,
    held: Mutex<Option<Held>>,
}

impl Application {
    /// See the type.
    pub(crate) fn open(
        graph: &Arc<Graph>,
        config: StreamsConfig,
        log: &Arc<dyn Log>,
    ) -> Result<Self> {
        Self::open_unless(graph, config, log, &|| Ok(()))
    }

    /// As [`open`](Self::open), but asks between two steps whether to go on: each of them may take as
    /// long as a cluster takes to answer.
    pub(crate) fn open_unless(
        graph: &Arc<Graph>,
        config: StreamsConfig,
        log: &Arc<dyn Log>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        config.check_application_id()?;
        let registration = Registration::new(log.as_ref(), &config.application_id)?;
        let offsets = finish_reset(log.as_ref(), &config.application_id)?;
        go_on()?;
        let resolved = resolve(graph, &config, log.as_ref())?;
        go_on()?;
        let noted = noted(log.as_ref(), &config.application_id)?;
        go_on()?;
        let before = Before { noted: &noted, offsets: &offsets };
        plan(graph, &config, &resolved, before, log.as_ref())?.check()?;
        go_on()?;
        let notes = to_note(log.as_ref(), &config.application_id, &noted, &formats_of(graph));
        let tasks = tasks(&resolved);
        go_on()?;
        let mut missing = missing_topics(&resolved, log.as_ref())?;
        if !notes.is_empty() {
            missing.push(new_notes_topic(&config.application_id));
        }
        if !log.is_embedded() {
            missing.extend(missing_tasks_topic(log.as_ref(), &config, tasks.len())?);
        }
        go_on()?;
        create_topics(&missing, log.as_ref())?;
        let on_disk = OnDisk::open(graph, &config, log.as_ref())?;
        Ok(Self {
            log: Arc::clone(log),
            graph: Arc::clone(graph),
            config,
            resolved,
            tasks,
            process_id: ProcessId::unique(),
            restores: Arc::default(),
            notes: Mutex::new(notes),
            held: Mutex::new(Some(Held { _registration: registration, on_disk })),
        })
    }

    /// Notes the formats of the topology, if that is still to be done. No worker may write anything
    /// in these formats before.
    pub(crate) fn note(&self, producer: &mut dyn Producer) -> Result<()> {
        // Who finds another worker at it waits for the end.
        let mut notes = self.notes.lock();
        if !notes.is_empty() {
            let transactional = self.config.guarantee == ProcessingGuarantee::ExactlyOnceV2;
            note(producer, transactional, &self.config.application_id, &notes)?;
            notes.clear();
        }
        Ok(())
    }

    /// A worker's membership in the group that shares the tasks; `None` where this process has all.
    pub(crate) fn join_group(&self, worker: u32) -> Result<Option<TaskGroup>> {
        let client_id = self.process_id.client_id(&self.config.application_id, worker);
        let join = || TaskGroup::join(self.log.as_ref(), &self.config, &self.tasks, client_id);
        (!self.log.is_embedded()).then(join).transpose()
    }

    /// The folder of its stores on disk, if it has any.
    pub(crate) fn on_disk(&self) -> Option<OnDisk> {
        self.held.lock().as_ref().and_then(|held| held.on_disk.clone())
    }

    /// What its group has committed.
    pub(crate) fn offsets(&self) -> Result<GroupOffsets> {
        group_offsets(self.log.as_ref(), &self.config.application_id)
    }

    /// Whether a replay is under way: as long as a committed offset notes its end.
    pub(crate) fn is_replaying(&self) -> Result<bool> {
        let offsets = self.offsets()?;
        let mut notes = offsets.values().map(|note| CommitMetadata::parse(&note.metadata));
        Ok(notes.any(|note| note.replay_end.is_some()))
    }

    /// The place of each task among all, upstream first.
    pub(crate) fn order(&self) -> BTreeMap<TaskId, usize> {
        self.tasks.iter().copied().zip(0..).collect()
    }

    /// Lets another application of this id run: this one has ended.
    pub(crate) fn release(&self) {
        self.held.lock().take();
    }
}

fn tasks(resolved: &Resolved) -> Vec<TaskId> {
    let numbered = resolved.order.iter().map(|index| {
        (u32::try_from(*index).expect("a graph is small"), resolved.tasks.get(*index).copied())
    });
    numbered
        .flat_map(|(subtopology, count)| {
            (0..count.unwrap_or_default()).map(move |partition| TaskId { subtopology, partition })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headwater_log_store::{
        Log, LogStore, NewTopic, Offset, PartitionId, ProducerConfig, TopicName, TopicPartition,
    };

    use crate::config::{ProcessingGuarantee, StreamsConfig};
    use crate::dsl::builder::StreamsBuilder;
    use crate::runtime::application::Application;
    use crate::runtime::formats::{formats_of, noted, notes_topic};

    /// The workers of a process share one duty to note the formats.
    #[test]
    fn formats_are_noted_once_whichever_worker_is_the_first_and_again_if_it_fails() {
        for guarantee in [ProcessingGuarantee::ExactlyOnceV2, ProcessingGuarantee::AtLeastOnce] {
            let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
            log.create_topic(&NewTopic::new("in")).unwrap();
            let builder = StreamsBuilder::new();
            builder.stream::<String, String>("in").group_by_key().count("counts");
            let graph = builder.build().unwrap().graph;
            let config = StreamsConfig::new("app").processing_guarantee(guarantee);
            let application = Application::open(&graph, config, &log).unwrap();
            let producer = |id: &str| {
                let is_transactional = guarantee == ProcessingGuarantee::ExactlyOnceV2;
                let transactional_id = is_transactional.then(|| id.to_owned());
                let config = ProducerConfig { transactional_id, ..ProducerConfig::default() };
                log.producer(&config).unwrap()
            };
            let (mut fenced, mut first) = (producer("a"), producer("a"));
            if guarantee == ProcessingGuarantee::ExactlyOnceV2 {
                let refused = application.note(fenced.as_mut()).unwrap_err();
                assert!(refused.is_migration(), "{refused:?}");
                assert!(noted(log.as_ref(), "app").unwrap().is_empty());
            }
            application.note(first.as_mut()).unwrap();
            application.note(producer("b").as_mut()).unwrap();
            assert_eq!(noted(log.as_ref(), "app").unwrap(), formats_of(&graph));
            let topic = TopicName::new(&notes_topic("app")).unwrap();
            let notes = TopicPartition::new(topic, PartitionId::new(0));
            assert_eq!(log.watermarks(&notes).unwrap().end, Offset::new(1), "one for each store");
        }
    }
}
