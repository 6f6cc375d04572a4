//! What a folder was begun with, kept in its log: a run without options goes on with the same.

use std::path::PathBuf;
use std::time::Duration;

use headwater::log_store::{ConsumerConfig, Error as LogError};
use headwater::prelude::*;
use serde::{Deserialize, Serialize};

use crate::args::{Args, Logic};
use crate::error::{Error, Result};

/// The last record of this topic counts.
const SETTINGS: &str = "page-views-settings";
/// How long a poll waits for settings that are known to be there.
const POLL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Another file than the one that comes with the example, by its absolute path.
    pub(crate) file: Option<PathBuf>,
    /// How many times it is to be appended.
    pub(crate) repeat: u32,
    pub(crate) logic: Logic,
    /// A reset was asked for and is not known to be done. It may be done twice.
    pub(crate) reset: bool,
}

impl Settings {
    /// What the folder was begun with, changed as the arguments say, and noted there.
    pub(crate) fn resolve(log: &dyn Log, args: &Args) -> Result<Self> {
        let noted = Self::load(log)?;
        let before = noted.clone().unwrap_or_default();
        let file = match &args.file {
            Some(file) => Some(
                std::path::absolute(file)
                    .map_err(|source| Error::File { path: file.clone(), source })?,
            ),
            None => before.file.clone(),
        };
        if noted.is_some() && file != before.file {
            return Err(Error::OtherFile);
        }
        let logic = args.logic.unwrap_or(before.logic);
        let logic_changed = noted.is_some() && logic != before.logic;
        let settings = Self {
            file,
            // What was appended stays: the log is the truth.
            repeat: args.repeat.unwrap_or(1).max(before.repeat),
            logic,
            reset: before.reset || args.replay || logic_changed,
        };
        if noted.as_ref() != Some(&settings) {
            settings.store(log)?;
        }
        Ok(settings)
    }

    /// Notes that the reset is done.
    pub(crate) fn reset_done(&mut self, log: &dyn Log) -> Result<()> {
        self.reset = false;
        self.store(log)
    }

    fn load(log: &dyn Log) -> Result<Option<Self>> {
        log.create_topic_if_not_exists(&NewTopic::new(SETTINGS).config("retention.ms", "-1"))?;
        let partition = partition()?;
        let watermarks = log.watermarks(&partition)?;
        let mut consumer = log.consumer(&ConsumerConfig::default())?;
        consumer.assign(std::slice::from_ref(&partition))?;
        consumer.seek(&partition, watermarks.start)?;
        let mut last = None;
        while consumer.position(&partition)? < watermarks.end {
            for batch in consumer.poll(POLL)? {
                last = batch.iter().last().and_then(|record| record.value.map(<[u8]>::to_vec));
            }
        }
        let Some(json) = last else { return Ok(None) };
        serde_json::from_slice(&json).map(Some).map_err(|source| Error::Settings { source })
    }

    fn store(&self, log: &dyn Log) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|source| Error::Settings { source })?;
        let mut producer = log.producer(&ProducerConfig::default())?;
        let record = ProducerRecord {
            partition: Some(PartitionId::new(0)),
            value: Some(&json),
            ..ProducerRecord::to(SETTINGS)
        };
        producer.send(&record)?.wait()?;
        Ok(())
    }
}

fn partition() -> Result<TopicPartition> {
    let topic = TopicName::new(SETTINGS).map_err(LogError::from)?;
    Ok(TopicPartition::new(topic, PartitionId::new(0)))
}
