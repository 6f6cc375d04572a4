//! What happens to a record that fails: the handlers' questions and answers.

use std::fmt;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::error::{Error, RecordPosition};

/// A handler's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorResponse {
    /// Stop the application with the error. The default of every handler but that for nulls.
    Fail,
    /// Go on without the record, and count it.
    Skip,
    /// Write the record to the topic `errors.dead.letter.queue.topic.name`, in the same
    /// transaction, and go on without it.
    DeadLetter,
    /// Take back the work since the last commit and try again, at most
    /// [`RETRIES_MAX`] times for one record; then fail.
    Retry,
}

/// How often a record is tried again before [`ErrorResponse::Retry`] means fail.
pub const RETRIES_MAX: u32 = 10;

/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// Its bytes are not what the serde expects.
    Deserialization,
    /// Its key or value is null where the type has no null.
    Null,
    /// A closure that can fail returned an error, or a key of a store could not be serialized.
    Processing,
    /// A closure, or a serde, panicked.
    Panic,
    /// A key or value that was to be written to a topic could not be serialized.
    Serialization,
    /// The log refuses what was to be written: it is larger than the topic takes, there is no such
    /// topic or partition, or a compacted topic was to get a record without a key.
    Production,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deserialization => "deserialization",
            Self::Null => "null",
            Self::Processing => "processing",
            Self::Panic => "panic",
            Self::Serialization => "serialization",
            Self::Production => "production",
        })
    }
}

/// A record that failed, as a handler sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedRecord<'a> {
    /// Where it failed.
    pub kind: FailureKind,
    /// Its place in the source topic; `None` if it is not a record but a punctuator that failed.
    /// That can only be skipped: the other answers stop the application.
    pub position: Option<&'a RecordPosition>,
    /// The node that failed, or the store whose row its changelog refuses.
    pub node: &'a str,
    /// The error, in its own words.
    pub reason: &'a str,
    /// The source record's key.
    pub key: Option<&'a [u8]>,
    /// The source record's value.
    pub value: Option<&'a [u8]>,
    /// The source record's timestamp, or the time that the punctuator was called with.
    pub timestamp: Timestamp,
    /// How often it has failed before.
    pub retries: u32,
    /// What was to be written, if that is what has failed.
    pub output: Option<FailedOutput<'a>>,
}

/// A record that could not be written to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedOutput<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition, where one was chosen already.
    pub partition: Option<u32>,
    /// The key's bytes; none also where key or value cannot be serialized.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; none also where key or value cannot be serialized.
    pub value: Option<&'a [u8]>,
}

impl<'a> FailedOutput<'a> {
    /// One whose bytes and partition are not known.
    pub(crate) fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None }
    }
}

/// Decides about records that fail. An [`ErrorResponse`] is a handler that always says the same,
/// and so is every closure from `&FailedRecord` to `ErrorResponse`.
pub trait ErrorHandler: Send + Sync + 'static {
    /// The answer for this record.
    fn handle(&self, failed: &FailedRecord<'_>) -> ErrorResponse;
}

impl ErrorHandler for ErrorResponse {
    fn handle(&self, _failed: &FailedRecord<'_>) -> ErrorResponse {
        *self
    }
}

impl<F> ErrorHandler for F
where
    F: Fn(&FailedRecord<'_>) -> ErrorResponse + Send + Sync + 'static,
{
    fn handle(&self, failed: &FailedRecord<'_>) -> ErrorResponse {
        self(failed)
    }
}

/// The handlers of an application.
#[derive(Clone)]
pub(crate) struct Handlers {
    pub(crate) deserialization: Arc<dyn ErrorHandler>,
    pub(crate) null: Arc<dyn ErrorHandler>,
    pub(crate) processing: Arc<dyn ErrorHandler>,
    pub(crate) production: Arc<dyn ErrorHandler>,
}

impl Handlers {
    /// The same, where neither a retry nor a dead letter is possible: a record fails, or is
    /// skipped.
    pub(crate) fn for_global_tables(&self) -> Self {
        let limited = |handler: &Arc<dyn ErrorHandler>| -> Arc<dyn ErrorHandler> {
            let handler = Arc::clone(handler);
            Arc::new(move |failed: &FailedRecord<'_>| match handler.handle(failed) {
                ErrorResponse::Skip | ErrorResponse::DeadLetter => ErrorResponse::Skip,
                ErrorResponse::Fail | ErrorResponse::Retry => ErrorResponse::Fail,
            })
        };
        Self {
            deserialization: limited(&self.deserialization),
            null: limited(&self.null),
            processing: limited(&self.processing),
            production: limited(&self.production),
        }
    }

    pub(crate) fn for_kind(&self, kind: FailureKind) -> &dyn ErrorHandler {
        match kind {
            FailureKind::Deserialization => self.deserialization.as_ref(),
            FailureKind::Null => self.null.as_ref(),
            FailureKind::Processing | FailureKind::Panic => self.processing.as_ref(),
            FailureKind::Serialization | FailureKind::Production => self.production.as_ref(),
        }
    }
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            deserialization: Arc::new(ErrorResponse::Fail),
            null: Arc::new(ErrorResponse::Skip),
            processing: Arc::new(ErrorResponse::Fail),
            production: Arc::new(ErrorResponse::Fail),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handlers")
    }
}

/// Why a task cannot go on with the work since the last commit.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The application has to stop.
    Fatal(Error),
    /// A handler wants the work since the last commit redone.
    Retry { position: RecordPosition },
    /// The transaction is full: commit earlier.
    TransactionFull(Error),
    /// A changelog refuses a row of a store, which shows only when all work is to be committed.
    RowRefused { store: String, error: Error },
}

impl Failure {
    /// The error that stops an application which cannot take anything back.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Fatal(error) | Self::TransactionFull(error) | Self::RowRefused { error, .. } => {
                error
            }
            Self::Retry { position } => Error::Processing {
                position,
                node: "a node".to_owned(),
                reason: "it cannot be tried again".to_owned(),
            },
        }
    }
}

impl From<Error> for Box<Failure> {
    fn from(error: Error) -> Self {
        Self::new(Failure::Fatal(error))
    }
}
