//! What a node does with a record that it fails on: it asks the handler, and does as that says.

use std::fmt;
use std::rc::Rc;

use headwater_log_store::{Header, ProducerRecord, partition_for_key};

use crate::context::{Context, DeadLetterTopic, Step, WRITER_HEADER, partition_for_task, valid};
use crate::error::{Error, RecordPosition};
use crate::error_handler::{
    ErrorResponse, FailedOutput, FailedRecord, Failure, FailureKind, RETRIES_MAX,
};
use crate::metrics::DropReason;

/// A record that failed, kept beyond the borrow of its batch.
#[derive(Clone, Debug)]
pub(crate) struct FailureReport {
    pub(crate) kind: FailureKind,
    pub(crate) node: String,
    pub(crate) reason: String,
    /// What it is counted as if it is skipped.
    pub(crate) dropped: DropReason,
}

impl Context {
    /// The node that runs has failed on the current record: asks the handler and does as it says.
    /// `Ok` means to go on without the record.
    pub(crate) fn fail(&mut self, kind: FailureKind, reason: impl fmt::Display) -> Step {
        self.fail_as(DropReason::Failed, kind, reason)
    }

    /// As [`fail`](Self::fail), for a record that is counted as `dropped` if it is skipped.
    pub(crate) fn fail_as(
        &mut self,
        dropped: DropReason,
        kind: FailureKind,
        reason: impl fmt::Display,
    ) -> Step {
        let (node, reason) = (self.current_node_name(), reason.to_string());
        let report = FailureReport { kind, node, reason, dropped };
        let response = self.ask(&report, None);
        self.apply(response, &report)
    }

    /// The node that runs could not write `output`: asks the production handler and does as it
    /// says. `Ok` means to go on without the output; what else the record has done stays.
    pub(crate) fn fail_to_produce(
        &mut self,
        kind: FailureKind,
        reason: impl fmt::Display,
        output: FailedOutput<'_>,
    ) -> Step {
        let (node, reason) = (self.current_node_name(), reason.to_string());
        let report = FailureReport { kind, node, reason, dropped: DropReason::Failed };
        let response = self.ask(&report, Some(output));
        self.apply(response, &report)
    }

    /// The handler's answer for the current record, or for the punctuator that runs: that can only
    /// be skipped, for there is no record to try again or to write anywhere.
    pub(crate) fn ask(
        &self,
        report: &FailureReport,
        output: Option<FailedOutput<'_>>,
    ) -> ErrorResponse {
        let position = self.position();
        let view = self.current.batch.as_ref().and_then(|batch| batch.get(self.current.index));
        let retries = position.as_ref().and_then(|position| self.retries.get(position));
        let retries = retries.copied().unwrap_or_default();
        let response = self.handlers.for_kind(report.kind).handle(&FailedRecord {
            kind: report.kind,
            position: position.as_ref(),
            node: &report.node,
            reason: &report.reason,
            key: view.as_ref().and_then(|view| view.key),
            value: view.as_ref().and_then(|view| view.value),
            timestamp: view.map_or(self.current.time, |view| view.timestamp),
            retries,
            output,
        });
        match response {
            ErrorResponse::Retry if retries >= RETRIES_MAX => ErrorResponse::Fail,
            ErrorResponse::Retry | ErrorResponse::DeadLetter if position.is_none() => {
                ErrorResponse::Fail
            }
            _ => response,
        }
    }

    /// Does what a handler has answered for the current record.
    pub(crate) fn apply(&mut self, response: ErrorResponse, report: &FailureReport) -> Step {
        let position = match (self.position(), response) {
            (Some(position), _) => position,
            (None, ErrorResponse::Skip) => {
                self.skip_punctuation(report);
                return Ok(());
            }
            (None, _) => return Err(self.processor_error(report.reason.clone()).into()),
        };
        match response {
            ErrorResponse::Fail => {
                let (node, reason) = (report.node.clone(), report.reason.clone());
                Err(Error::Processing { position, node, reason }.into())
            }
            ErrorResponse::Retry => Err(Box::new(Failure::Retry { position })),
            ErrorResponse::Skip => {
                tracing::warn!(%position, node = report.node, reason = report.reason, "skipped");
                self.drop_record(report.dropped);
                Ok(())
            }
            ErrorResponse::DeadLetter => {
                self.drop_record(DropReason::Failed);
                self.send_dead_letter(position, report)
            }
        }
    }

    /// A punctuator is skipped, and counted as a record is.
    pub(crate) fn skip_punctuation(&mut self, report: &FailureReport) {
        let task = self.current.task;
        tracing::warn!(%task, node = report.node, reason = report.reason, "skipped");
        self.drop_record(report.dropped);
    }

    /// The node that runs has failed without a record: in a punctuator or in an `init`.
    pub(crate) fn processor_error(&self, reason: String) -> Error {
        let (task, node) = (self.current.task, self.current_node_name());
        let punctuates = self.current.punctuation.is_some();
        let operation = if punctuates { "a punctuation" } else { "the init" };
        Error::Processor { task, node, operation, reason }
    }

    fn send_dead_letter(&mut self, position: RecordPosition, report: &FailureReport) -> Step {
        let Some(DeadLetterTopic { topic }) = self.dead_letters.clone() else {
            let (node, reason) = (report.node.clone(), report.reason.clone());
            return Err(Error::NoDeadLetterTopic { position, node, reason }.into());
        };
        let batch = Rc::clone(self.current.batch.as_ref().expect("a task works on a record"));
        let view = batch.get(self.current.index).expect("the index lies in the batch");
        let kind = report.kind.to_string();
        let trace = format!("{kind} at {} of {position}", report.node);
        let partition = position.topic_partition.partition.to_string();
        let offset = position.offset.to_string();
        let own = view.headers.iter().filter(|header| header.key != WRITER_HEADER);
        let mut headers: Vec<Header<'_>> = own.collect();
        let about = [
            ("__streams.errors.exception", kind.as_str()),
            ("__streams.errors.message", report.reason.as_str()),
            ("__streams.errors.stacktrace", trace.as_str()),
            ("__streams.errors.topic", position.topic_partition.topic.as_str()),
            ("__streams.errors.partition", partition.as_str()),
            ("__streams.errors.offset", offset.as_str()),
        ];
        headers
            .extend(about.iter().map(|(key, value)| Header { key, value: Some(value.as_bytes()) }));
        let target = match view.key {
            Some(key) => partition_for_key(key, topic.partitions),
            None => partition_for_task(self.current.task.partition, topic.partitions),
        };
        self.metrics.dead_letters += 1;
        self.send(&ProducerRecord {
            topic: &topic.name,
            partition: Some(target),
            key: view.key,
            value: view.value,
            timestamp: valid(view.timestamp),
            headers: &headers,
        })
    }
}
