//! What follows a failure inside a task: the work since the last commit is taken back, and the
//! answer about the record that failed is kept for the redo.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, RecordPosition, Result};
use crate::error_handler::{ErrorResponse, Failure, FailureKind};
use crate::failing::FailureReport;
use crate::metrics::DropReason;
use crate::runtime::task_set::TaskSet;

impl TaskSet {
    /// Asks what to do about a closure's panic, and takes the work back. `Err` stops the
    /// application.
    pub(crate) fn recover_from_panic(&mut self, payload: &(dyn Any + Send)) -> Result<()> {
        let position = self.context.position();
        let report = FailureReport {
            kind: FailureKind::Panic,
            node: self.context.current_node_name(),
            reason: panic_message(payload),
            dropped: DropReason::Failed,
        };
        // A handler that panics itself has no answer.
        let context = &self.context;
        let response = catch_unwind(AssertUnwindSafe(|| context.ask(&report, None)))
            .unwrap_or(ErrorResponse::Fail);
        let FailureReport { node, reason, .. } = &report;
        let reason = format!("panic: {reason}");
        let Some(position) = position else {
            let error = self.context.processor_error(reason);
            let punctuation = self.context.current.punctuation;
            self.abort()?;
            return match (response, punctuation) {
                (ErrorResponse::Skip, Some(punctuation)) => {
                    self.context.skip_punctuation(&report);
                    self.poison.remember_punctuation(punctuation);
                    Ok(())
                }
                _ => Err(error),
            };
        };
        let failed = Error::Processing { position: position.clone(), node: node.clone(), reason };
        self.abort()?;
        self.follow(response, position, report, failed)
    }

    /// Does what was answered about a record whose work is taken back as a whole.
    fn follow(
        &mut self,
        response: ErrorResponse,
        position: RecordPosition,
        report: FailureReport,
        failed: Error,
    ) -> Result<()> {
        match response {
            ErrorResponse::Fail => Err(failed),
            ErrorResponse::Retry => {
                self.note_retry(position);
                Ok(())
            }
            ErrorResponse::Skip | ErrorResponse::DeadLetter => {
                self.poison.remember(position, response, report);
                Ok(())
            }
        }
    }

    /// Takes the work back after a failure that a node has reported. `Err` stops the application.
    pub(crate) fn recover_from_failure(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Fatal(error) => {
                // The error matters more than a second one from the abort.
                if let Err(second) = self.abort() {
                    tracing::warn!(%second, "the abort failed as well");
                }
                Err(error)
            }
            Failure::Retry { position } => {
                self.abort()?;
                self.note_retry(position);
                Ok(())
            }
            Failure::TransactionFull(error) => {
                self.split_commit("the transaction of the record alone".to_owned(), error)
            }
            Failure::RowRefused { store, error } => self.split_commit(store, error),
        }
    }

    /// What could not be committed is taken back, to be committed in halves; a record whose work
    /// cannot be committed even alone is the production handler's. `node` is what has failed.
    fn split_commit(&mut self, node: String, error: Error) -> Result<()> {
        let records = self.records_since_commit;
        if records > 1 {
            self.abort()?;
            self.records_per_commit_max = records / 2;
            return Ok(());
        }
        // It may be a punctuator that has done it all, or too much of it.
        let is_known =
            |at: &RecordPosition| self.poison.answer(&at.topic_partition, at.offset).is_some();
        let position = self.context.position().filter(|at| records == 1 && !is_known(at));
        let Some(position) = position else {
            self.abort()?;
            return Err(error);
        };
        let reason = with_causes(&error);
        let kind = FailureKind::Production;
        let report = FailureReport { kind, node, reason, dropped: DropReason::Failed };
        let response = self.context.ask(&report, None);
        let FailureReport { node, reason, .. } = report.clone();
        let failed = Error::Processing { position: position.clone(), node, reason };
        self.abort()?;
        self.follow(response, position, report, failed)
    }

    fn note_retry(&mut self, position: RecordPosition) {
        *self.context.retries.entry(position).or_default() += 1;
    }

    /// Puts everything back to the last commit: the transaction, the stores, the queues and the
    /// consumer.
    pub(crate) fn abort(&mut self) -> Result<()> {
        self.context.metrics.aborts += 1;
        if std::mem::take(&mut self.context.transaction_open) {
            self.context
                .producer
                .abort_transaction()
                .map_err(Error::log("the abort of a transaction"))?;
        }
        for task in &mut self.tasks {
            task.abort();
        }
        self.context.forget_step();
        self.records_since_commit = 0;
        self.activate()
    }
}

/// An error with those that it comes from.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a panic has said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
