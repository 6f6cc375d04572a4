//! `Streams`: the handle on a running application.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether a close waits for a start.
    is_closing: AtomicBool,
    /// Held by a start until its threads are there.
    pub(crate) running: Mutex<Option<Running>>,
}

/// What a close keeps from coming to its end.
const START: &str = "the start";

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
            is_closing: AtomicBool::new(false),
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
        let crew = match self.open() {
            Ok(crew) => crew,
            Err(Error::NotRunning { operation: START, .. }) => {
                self.shared.set_state(StreamsState::NotRunning);
                return Ok(());
            }
            Err(error) => {
                self.shared.set_error(error.clone());
                self.shared.set_state(StreamsState::Error);
                return Err(error);
            }
        };
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
        let config = self.config.clone();
        let mut application =
            Application::open_unless(graph, config, &self.log, &|| self.check_start())?;
        application.restores = Arc::clone(&self.restores);
        let uncaught = self.uncaught.lock().clone();
        Ok(Arc::new(Crew::new(application, Arc::clone(&self.shared), uncaught)?))
    }

    /// Whether a start is to go on.
    fn check_start(&self) -> Result<()> {
        if !self.is_closing.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::NotRunning { operation: START, reason: "closes before its end".to_owned() })
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
    /// again by the next start; one that waits in [`start`](Self::start) returns, with the call of the
    /// log that it is at: on a cluster that does not answer after the log's request timeout. A second
    /// call only repeats the answer. Called on a thread of the application itself, it only asks for
    /// the stop, and does not wait for it.
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
        if self.shared.state().is_alive() {
            self.is_closing.store(true, Ordering::Relaxed);
        }
        // A start that is under way has it.
        let running = match timeout {
            None => Some(self.running.lock()),
            Some(timeout) => self.running.try_lock_for(timeout),
        };
        let Some(running) = running else { return Ok(false) };
        let crew = running.as_ref().map(|running| Arc::clone(&running.crew));
        drop(running);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use headwater_log_store::{Error as LogError, Log, LogStore, NewTopic, Watermarks};
    use parking_lot::Mutex;

    use super::{Streams, StreamsState};
    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::simulation::cluster::Cluster;

    fn counting(log: Arc<dyn Log>) -> Streams {
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").group_by_key().count("counts");
        Streams::new(&builder.build().unwrap(), StreamsConfig::new("app"), log)
    }

    /// A log on which the application has run, so that the next start has notes to read.
    fn used_log() -> Arc<dyn Log> {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        log.create_topic(&NewTopic::new("in")).unwrap();
        let streams = counting(Arc::clone(&log));
        streams.start().unwrap();
        streams.close().unwrap();
        log
    }

    /// The close waited for the end of the start, also with a timeout, and the start did not hear
    /// of it.
    #[test]
    fn a_close_ends_a_start_that_waits_for_an_answer_of_the_cluster() {
        let (is_asked, asked) = channel();
        let (answer, answered) = channel::<()>();
        let (is_asked, answered) = (Mutex::new(is_asked), Mutex::new(answered));
        let cluster = Cluster::answering(used_log(), move |ends: Watermarks| {
            let _ = is_asked.lock().send(());
            // Nobody answers before the close, and everybody after it.
            let _ = answered.lock().recv();
            Ok(ends)
        });
        let streams = counting(Arc::new(cluster));
        std::thread::scope(|scope| {
            let start = scope.spawn(|| streams.start());
            asked.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(!streams.close_for(Duration::ZERO).unwrap(), "the start is not over");
            drop(answer);
            start.join().unwrap().unwrap();
        });
        assert_eq!(streams.state(), StreamsState::NotRunning);
        assert_eq!(streams.metrics().commits, 0, "no thread has begun");
        streams.close().unwrap();
    }

    /// A consumer of a cluster that goes out of reach behind the first answers waits, and the start
    /// waited with it for ever.
    #[test]
    fn a_start_whose_cluster_goes_out_of_reach_fails_with_what_the_cluster_says() {
        let questions = AtomicUsize::new(0);
        let cluster = Cluster::answering(used_log(), move |ends: Watermarks| {
            match questions.fetch_add(1, Ordering::Relaxed) {
                // As if there were a record more, which does not come.
                0 => Ok(Watermarks { end: ends.end.next(), ..ends }),
                _ => Err(LogError::External {
                    operation: "watermarks",
                    reason: "no broker answers at broker-1:9092".to_owned(),
                    retriable: true,
                }),
            }
        });
        let streams = counting(Arc::new(cluster));
        let error = streams.start().unwrap_err();
        let chain: Vec<_> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect();
        let text = chain.join(": ");
        assert!(text.contains("app-__topology-changelog"), "{text}");
        assert!(text.contains("broker-1:9092"), "{text}");
        assert_eq!(streams.state(), StreamsState::Error);
    }
}
