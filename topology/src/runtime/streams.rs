//! `Streams`: the handle on a running application.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use headwater_log_store::Log;
use parking_lot::Mutex;

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::Topology;
use crate::metrics::MetricsSnapshot;
use crate::runtime::application::Application;
use crate::runtime::crew::{Crew, StreamThreadExceptionResponse, UncaughtHandler};
use crate::runtime::restoring::{Restores, StateRestoreListener};
use crate::runtime::status::{Progress, Shared, StreamsState};
use crate::runtime::worker;

/// An application: a topology on a log, as Kafka Streams' `KafkaStreams`.
///
/// It is closed when it is dropped; [`close`](Self::close) tells how that went.
///
/// ```
/// use headwater_log_store::{Log, LogStore, NewTopic, ProducerConfig, ProducerRecord};
/// use headwater_topology::{Streams, StreamsBuilder, StreamsConfig};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// log.create_topic(&NewTopic::new("words"))?;
/// let mut producer = log.producer(&ProducerConfig::default())?;
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     let _ = producer.send(&ProducerRecord {
///         key: Some(word.as_bytes()),
///         value: Some(b""),
///         ..ProducerRecord::to("words")
///     })?;
/// }
/// producer.flush()?;
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("words").group_by_key().count("counts");
/// let streams = Streams::new(&builder.build()?, StreamsConfig::new("word-count"), log);
/// streams.start()?;
/// streams.wait_until_caught_up()?;
/// let counts = streams.store::<String, i64>("counts");
/// assert_eq!(counts.get(&"be".to_owned())?, Some(2));
/// streams.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Streams {
    topology: Topology,
    config: StreamsConfig,
    log: Arc<dyn Log>,
    pub(crate) shared: Arc<Shared>,
    uncaught: Mutex<Option<Arc<UncaughtHandler>>>,
    restores: Arc<Restores>,
    pub(crate) running: Mutex<Option<Running>>,
}

/// The threads of an application that was started.
pub(crate) struct Running {
    pub(crate) crew: Arc<Crew>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl Streams {
    /// An application that is not started.
    #[must_use]
    pub fn new(topology: &Topology, config: StreamsConfig, log: Arc<dyn Log>) -> Self {
        Self {
            topology: topology.clone(),
            config,
            log,
            shared: Arc::new(Shared::new()),
            uncaught: Mutex::new(None),
            restores: Arc::default(),
            running: Mutex::new(None),
        }
    }

    /// Says who hears of each change of the state: the new one, and the old one. It is called on
    /// the thread that makes the change, which waits for it: it must not change the state itself.
    /// To be set before the start.
    pub fn set_state_listener(
        &self,
        listener: impl Fn(StreamsState, StreamsState) + Send + Sync + 'static,
    ) {
        self.shared.set_listener(Arc::new(listener));
    }

    /// Says what becomes of the application when an error ends one of its threads, after the
    /// error handlers of the configuration have had their say. Default = it is shut down. An error
    /// while stores are restored for the first time is returned by [`start`](Self::start) instead.
    /// To be set before the start.
    ///
    /// ```
    /// # use headwater_log_store::LogStore;
    /// # use headwater_topology::{StreamThreadExceptionResponse, Streams, StreamsBuilder, StreamsConfig};
    /// # use std::sync::Arc;
    /// # let builder = StreamsBuilder::new();
    /// # builder.stream::<String, String>("in").to("out");
    /// # let topology = builder.build().unwrap();
    /// # let log = Arc::new(LogStore::in_memory().unwrap());
    /// let streams = Streams::new(&topology, StreamsConfig::new("app"), log);
    /// streams.set_uncaught_exception_handler(|error| {
    ///     eprintln!("begin again after: {error}");
    ///     StreamThreadExceptionResponse::ReplaceThread
    /// });
    /// ```
    pub fn set_uncaught_exception_handler(
        &self,
        handler: impl Fn(&Error) -> StreamThreadExceptionResponse + Send + Sync + 'static,
    ) {
        *self.uncaught.lock() = Some(Arc::new(handler));
    }

    /// Says who hears how far the restores of stores have come, each time that a store of a task is
    /// read from its changelog: at the start, and when a task moves to another thread. To be set
    /// before the start.
    pub fn set_global_state_restore_listener(&self, listener: impl StateRestoreListener) {
        self.restores.set_listener(Arc::new(listener));
    }

    /// Starts the application, and returns when its stores are restored.
    ///
    /// # Errors
    /// `InvalidConfig`, `MissingTopic`, `NotCoPartitioned`, `Running`, `Restore`, or a failure of the
    /// log.
    pub fn start(&self) -> Result<()> {
        let mut running = self.running.lock();
        if !self.shared.set_state(StreamsState::Rebalancing) {
            return Err(Error::NotRunning {
                operation: "a second start",
                reason: "was started before: make another one".to_owned(),
            });
        }
        let crew = self.open().inspect_err(|error| {
            self.shared.set_error(error.clone());
            self.shared.set_state(StreamsState::Error);
        })?;
        let workers: Vec<_> = (0..self.config.num_stream_threads).map(|_| crew.next_id()).collect();
        crew.members.join(workers.iter().copied());
        let mut threads = Vec::new();
        for worker in workers {
            match worker::spawn(&crew, worker) {
                Ok(thread) => threads.push(thread),
                Err(error) => crew.fail(error),
            }
        }
        *running = Some(Running { crew, threads });
        drop(running);
        self.shared.wait_while(None, |state| state == StreamsState::Rebalancing);
        // What has happened since it ran is told by its status.
        if self.shared.has_run() { Ok(()) } else { self.close() }
    }

    fn open(&self) -> Result<Arc<Crew>> {
        let graph = &self.topology.graph;
        let mut application = Application::open(graph, self.config.clone(), &self.log)?;
        application.restores = Arc::clone(&self.restores);
        let uncaught = self.uncaught.lock().clone();
        Ok(Arc::new(Crew::new(application, Arc::clone(&self.shared), uncaught)?))
    }

    pub(crate) fn is_global_store(&self, store: &str) -> bool {
        let graph = &self.topology.graph;
        let mut globals = (0..graph.subtopologies.len()).filter(|index| graph.is_global(*index));
        globals.any(|index| graph.stores_of(index).iter().any(|found| found.name == store))
    }

    /// What the application does.
    #[must_use]
    pub fn state(&self) -> StreamsState {
        self.shared.state()
    }

    /// How far it has come, as of the last commit or pause.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// What it has done since it started, as of the last commit or pause.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        let mut metrics = self.shared.metrics();
        metrics.records_to_restore = self.restores.remaining();
        metrics
    }

    /// The error that has stopped it, if one has.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.shared.error()
    }

    /// Commits what was processed and stops. Restores of stores end where they are, and are done
    /// again by the next start; one that waits in [`start`](Self::start) returns. A second call only repeats the answer. Called on a
    /// thread of the application itself, it only asks for the stop, and does not wait for it.
    ///
    /// # Errors
    /// The error that has stopped the application, now or before.
    pub fn close(&self) -> Result<()> {
        self.close_within(None).map(drop)
    }

    /// As [`close`](Self::close), but waits for `timeout` at most; `false` when it has passed. The
    /// threads then end as soon as what they do lets them, a call of the application's code for
    /// example.
    ///
    /// # Errors
    /// The error that has stopped the application, now or before.
    pub fn close_for(&self, timeout: Duration) -> Result<bool> {
        self.close_within(Some(timeout))
    }

    fn close_within(&self, timeout: Option<Duration>) -> Result<bool> {
        let crew = self.running.lock().as_ref().map(|running| Arc::clone(&running.crew));
        if let Some(crew) = crew {
            self.shared.set_state(StreamsState::PendingShutdown);
            crew.close();
            let me = std::thread::current().id();
            let running = self.running.lock();
            let mut threads = running.iter().flat_map(|running| &running.threads);
            let is_own = threads.any(|thread| thread.thread().id() == me);
            drop(running);
            if is_own || !self.shared.wait_while(timeout, |state| !state.is_final()).is_final() {
                return Ok(false);
            }
            let running = self.running.lock().take();
            for thread in running.into_iter().flat_map(|running| running.threads) {
                // A panic of the thread is in its status.
                let _ = thread.join();
            }
        }
        self.error().map_or(Ok(true), Err)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the application had stopped before it was closed");
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("application_id", &self.config.application_id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
