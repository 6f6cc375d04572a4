//! The threads of a running application: more of them, fewer, or a rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::metrics::{MetricsSnapshot, StoreSize};
use crate::runtime::crew::{Command, Crew};
use crate::runtime::status::StreamsState;
use crate::runtime::streams::Streams;
use crate::runtime::worker;
use crate::types::TaskId;

/// A thread of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadMetadata {
    /// Its name: `<application.id>-StreamThread-<n>`.
    pub name: String,
    /// The tasks that it runs.
    pub tasks: Vec<TaskId>,
}

impl Streams {
    /// Adds a thread, and returns its name. It gets its share of the tasks, one after the other,
    /// as the other threads give them up.
    ///
    /// ```
    /// # use headwater_log_store::{Log, LogStore, NewTopic};
    /// # use headwater_topology::{Streams, StreamsBuilder, StreamsConfig};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
    /// log.create_topic(&NewTopic::new("in").partitions(4))?;
    /// log.create_topic(&NewTopic::new("out").partitions(4))?;
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("in").to("out");
    /// let streams = Streams::new(&builder.build()?, StreamsConfig::new("app"), log);
    /// streams.start()?;
    /// let name = streams.add_stream_thread()?;
    /// assert_eq!(name.as_deref(), Some("app-StreamThread-2"));
    /// streams.wait_until_caught_up()?;
    /// let threads = streams.metadata_for_local_threads();
    /// assert_eq!(threads.iter().map(|thread| thread.tasks.len()).collect::<Vec<_>>(), [2, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotRunning` if the system has no thread; `None` says that the application does not run.
    pub fn add_stream_thread(&self) -> Result<Option<String>> {
        let mut running = self.running.lock();
        let Some(running) = running.as_mut().filter(|running| takes_changes(&running.crew)) else {
            return Ok(None);
        };
        let crew = Arc::clone(&running.crew);
        let id = crew.next_id();
        crew.members.join([id]);
        let thread = worker::spawn(&crew, id)?;
        running.threads.push(thread);
        crew.rouse();
        Ok(Some(crew.thread_name(id)))
    }

    /// Asks the youngest thread to end and returns its name: it commits, and the others get its
    /// tasks. `None` says that the application does not run, or has only one thread left.
    #[must_use]
    pub fn remove_stream_thread(&self) -> Option<String> {
        let running = self.running.lock();
        let crew = &running.as_ref().filter(|running| takes_changes(&running.crew))?.crew;
        let id = crew.members.dismiss()?;
        crew.lines().into_iter().filter(|(worker, _)| *worker == id).for_each(|(_, line)| {
            line.tell(Command::Close);
        });
        // Questions wait from now on until its tasks are elsewhere.
        crew.rouse();
        Some(crew.thread_name(id))
    }

    /// The threads and their tasks, as of now.
    #[must_use]
    pub fn metadata_for_local_threads(&self) -> Vec<ThreadMetadata> {
        let running = self.running.lock();
        let Some(crew) = running.as_ref().map(|running| &running.crew) else { return Vec::new() };
        let threads = crew.lines().into_iter();
        threads
            .map(|(worker, _)| ThreadMetadata {
                name: crew.thread_name(worker),
                tasks: crew.members.tasks_of(worker),
            })
            .collect()
    }

    /// What each thread that runs has done since it started, and where it stands, by the thread's
    /// name: see [`metrics`](Self::metrics) for all of them together.
    #[must_use]
    pub fn metrics_for_local_threads(&self) -> BTreeMap<String, MetricsSnapshot> {
        let running = self.running.lock();
        let Some(crew) = running.as_ref().map(|running| &running.crew) else {
            return BTreeMap::new();
        };
        let workers = crew.shared.metrics_by_worker().into_iter();
        workers.map(|(worker, metrics)| (crew.thread_name(worker), metrics)).collect()
    }

    /// How large each store is, task by task, as of now: each thread counts those of its tasks
    /// between two batches. Of a global table there is one count, although each thread has a copy.
    ///
    /// # Errors
    /// `NotRunning`.
    pub fn store_sizes(&self) -> Result<Vec<StoreSize>> {
        let answers = self.query("", |tasks| Ok(tasks.store_sizes()))?;
        let mut sizes: Vec<StoreSize> = answers.into_iter().flatten().collect();
        sizes.sort_by(|a, b| (&a.store, a.task).cmp(&(&b.store, b.task)));
        sizes.dedup_by(|a, b| a.task.is_none() && (&a.store, a.task) == (&b.store, b.task));
        Ok(sizes)
    }

    /// Stops the processing until [`resume`](Self::resume): what was processed is committed, and
    /// queries go on. Before the start it does nothing.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Whether the application is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.running.lock().as_ref().is_some_and(|running| running.crew.is_paused())
    }

    fn set_paused(&self, paused: bool) {
        if let Some(running) = self.running.lock().as_ref() {
            running.crew.set_paused(paused);
        }
    }
}

fn takes_changes(crew: &Crew) -> bool {
    matches!(crew.shared.state(), StreamsState::Running | StreamsState::Rebalancing)
}
