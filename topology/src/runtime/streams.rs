//! `Streams`: the handle on a running application.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use headwater_log_store::{ConsumerWaker, Log};
use parking_lot::Mutex;

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::Topology;
use crate::metrics::MetricsSnapshot;
use crate::runtime::status::{Progress, Shared, StreamsState};
use crate::runtime::task_set::TaskSet;
use crate::runtime::worker::{self, Command, Worker};

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
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
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
            worker: Mutex::new(None),
        }
    }

    /// Starts the application, and returns when its stores are restored.
    ///
    /// # Errors
    /// `InvalidConfig`, `MissingTopic`, `NotCoPartitioned`, `Running`, `Restore`, or a failure of the
    /// log.
    pub fn start(&self) -> Result<()> {
        let mut slot = self.worker.lock();
        if slot.is_some() || self.state() != StreamsState::Created {
            return Err(Error::NotRunning {
                operation: "a second start",
                reason: "was started before: make another one".to_owned(),
            });
        }
        let graph = &self.topology.graph;
        *slot = Some(worker::start(graph, self.config.clone(), &self.log, &self.shared)?);
        Ok(())
    }

    /// What the application does.
    #[must_use]
    pub fn state(&self) -> StreamsState {
        self.shared.status.lock().state
    }

    /// How far it has come, as of the last commit or pause.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.status.lock().progress.clone()
    }

    /// What it has done since it started, as of the last commit or pause.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.status.lock().metrics.clone()
    }

    /// The error that has stopped it, if one has.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.shared.status.lock().error.clone()
    }

    /// Waits until nothing lies ahead and everything is committed: for input that nobody adds to,
    /// until all of it is done.
    ///
    /// # Errors
    /// The error that has stopped the application, or `NotRunning`.
    pub fn wait_until_caught_up(&self) -> Result<()> {
        let when = self.ask_when_caught_up()?;
        when.recv().map_err(|_| self.stopped("the wait"))
    }

    /// As [`wait_until_caught_up`](Self::wait_until_caught_up), for `timeout` at most; `false`
    /// when it has passed: to show progress in between.
    ///
    /// # Errors
    /// The error that has stopped the application, or `NotRunning`.
    pub fn wait_until_caught_up_for(&self, timeout: Duration) -> Result<bool> {
        use std::sync::mpsc::RecvTimeoutError;
        match self.ask_when_caught_up()?.recv_timeout(timeout) {
            Ok(()) => Ok(true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(self.stopped("the wait")),
        }
    }

    fn ask_when_caught_up(&self) -> Result<std::sync::mpsc::Receiver<()>> {
        let (answer, when) = channel();
        self.ask("the wait")?.tell(Command::WhenCaughtUp(answer));
        Ok(when)
    }

    /// Commits what was processed and stops. A second call only repeats the answer.
    ///
    /// # Errors
    /// The error that has stopped the application, now or before.
    pub fn close(&self) -> Result<()> {
        if let Some(worker) = self.worker.lock().take() {
            {
                let mut status = self.shared.status.lock();
                if status.state == StreamsState::Running {
                    status.state = StreamsState::PendingShutdown;
                }
            }
            let Worker { commands, waker, thread } = worker;
            // A worker that has stopped already does not listen.
            let _ = commands.send(Command::Close);
            waker.wake();
            // A panic of the thread is in its status.
            let _ = thread.join();
        }
        self.error().map_or(Ok(()), Err)
    }

    fn ask(&self, operation: &'static str) -> Result<Line> {
        let slot = self.worker.lock();
        match slot.as_ref() {
            Some(worker) if self.error().is_none() => {
                Ok(Line { commands: worker.commands.clone(), waker: worker.waker.clone() })
            }
            _ => Err(self.stopped(operation)),
        }
    }

    /// Why there is no answer. A worker that ends drops its questions before it says how it ended,
    /// so this waits for that.
    fn stopped(&self, operation: &'static str) -> Error {
        let mut status = self.shared.status.lock();
        while matches!(
            status.state,
            StreamsState::Rebalancing | StreamsState::Running | StreamsState::PendingShutdown
        ) {
            self.shared.changed.wait(&mut status);
        }
        drop(status);
        self.error().unwrap_or_else(|| Error::NotRunning {
            operation,
            reason: match self.state() {
                StreamsState::Created => "was not started".to_owned(),
                _ => "was closed".to_owned(),
            },
        })
    }

    pub(crate) fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&TaskSet) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, when) = channel();
        self.ask("a query")?.tell(Command::Query(Box::new(move |tasks| {
            // Who has stopped waiting needs no answer.
            let _ = answer.send(tasks.query(query));
        })));
        when.recv().map_err(|_| self.stopped("a query"))?
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

/// A way to the worker.
struct Line {
    commands: Sender<Command>,
    waker: ConsumerWaker,
}

impl Line {
    /// A worker that has stopped drops the command, and with it the sender of its answer.
    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}
