//! The configuration by Kafka's keys, as strings.

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::AutoOffsetReset;

use crate::config::{ProcessingGuarantee, StreamsConfig};
use crate::error::{Error, Result};
use crate::error_handler::{ErrorHandler, ErrorResponse};

impl StreamsConfig {
    /// Sets a value by Kafka's key.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown key or a value that it cannot have.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self> {
        let refuse = |reason: &str| refused(key, value, reason);
        let number = || value.parse::<u64>().map_err(|_| refuse("it has to be a number from 0 up"));
        let millis = || number().map(Duration::from_millis);
        let count = || {
            let count = number()?;
            usize::try_from(count)
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(|| refuse("it has to be 1 at least"))
        };
        match key {
            "application.id" => self.application_id = value.to_owned(),
            "processing.guarantee" => {
                self.guarantee = match value {
                    "exactly_once_v2" => ProcessingGuarantee::ExactlyOnceV2,
                    "at_least_once" => ProcessingGuarantee::AtLeastOnce,
                    _ => return Err(refuse("it is exactly_once_v2 or at_least_once")),
                }
            }
            "commit.interval.ms" => self.commit_interval = Some(millis()?),
            "state.dir" => self.state_dir = Some(value.into()),
            "num.stream.threads" => self.num_stream_threads = count()?,
            "num.standby.replicas" => {
                self.num_standby_replicas = usize::try_from(number()?).unwrap_or(usize::MAX);
            }
            "retry.backoff.ms" => self.retry_backoff = millis()?,
            "retry.backoff.max.ms" => self.retry_backoff_max = millis()?,
            "poll.ms" => self.poll = millis()?,
            "max.poll.records" => self.max_poll_records = count()?,
            "max.task.idle.ms" if value == "-1" => self.max_task_idle_ms = -1,
            "max.task.idle.ms" => self = self.max_task_idle(millis()?),
            "buffered.records.per.partition" => self.buffered_records_per_partition = count()?,
            "__emit.interval.ms.kstreams.windowed.aggregation__"
            | "__emit.interval.ms.kstreams.outer.join.spurious.results.fix__" => {
                self.emit_interval = Some(millis()?);
            }
            "statestore.cache.max.bytes" => {
                self.statestore_cache_max_bytes = usize::try_from(number()?).unwrap_or(usize::MAX);
            }
            "repartition.purge.interval.ms" => self.repartition_purge_interval = millis()?,
            "windowstore.changelog.additional.retention.ms" => {
                self.window_changelog_additional_retention_ms =
                    i64::try_from(number()?).unwrap_or(i64::MAX);
            }
            "auto.offset.reset" => {
                self.auto_offset_reset = match value {
                    "earliest" => AutoOffsetReset::Earliest,
                    "latest" => AutoOffsetReset::Latest,
                    "none" => AutoOffsetReset::None,
                    _ => return Err(refuse("it is earliest, latest or none")),
                }
            }
            "errors.dead.letter.queue.topic.name" => {
                self.dead_letter_topic = Some(value.to_owned());
            }
            "deserialization.exception.handler" => {
                self.handlers.deserialization = handler(key, value)?;
            }
            "processing.exception.handler" => self.handlers.processing = handler(key, value)?,
            "production.exception.handler" => self.handlers.production = handler(key, value)?,
            _ => return Err(refuse("there is no such key")),
        }
        Ok(self)
    }
}

fn refused(key: &str, value: &str, reason: &str) -> Error {
    Error::InvalidConfig { key: key.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

/// A handler by its short name or by that of Kafka Streams' class.
fn handler(key: &str, name: &str) -> Result<Arc<dyn ErrorHandler>> {
    let class = name.rsplit('.').next().unwrap_or(name);
    let response = match class {
        "fail" | "DefaultProductionExceptionHandler" => ErrorResponse::Fail,
        "skip" => ErrorResponse::Skip,
        "dead-letter" => ErrorResponse::DeadLetter,
        "retry" => ErrorResponse::Retry,
        _ if class.starts_with("LogAndFail") => ErrorResponse::Fail,
        _ if class.starts_with("LogAndContinue") => ErrorResponse::Skip,
        _ => {
            let reason = "it is fail, skip, dead-letter or retry, or Kafka's LogAndFail…, \
                          LogAndContinue… or DefaultProductionExceptionHandler";
            return Err(refused(key, name, reason));
        }
    };
    Ok(Arc::new(response))
}
