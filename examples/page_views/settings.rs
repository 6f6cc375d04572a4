//! What a folder was begun with, kept in its log: a run without options goes on with the same.

use std::path::PathBuf;

use headwater::log_store::Error as LogError;
use headwater::prelude::*;
use serde::{Deserialize, Serialize};

use crate::args::{Args, Logic};
use crate::error::{Error, Result};

/// The last record of this topic counts.
const SETTINGS: &str = "page-views-settings";

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
    pub(crate) fn resolve(log: &LogStore, args: &Args) -> Result<Self> {
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
    pub(crate) fn reset_done(&mut self, log: &LogStore) -> Result<()> {
        self.reset = false;
        self.store(log)
    }

    fn load(log: &LogStore) -> Result<Option<Self>> {
        create_topic(log, &NewTopic::new(SETTINGS).config("retention.ms", "-1"))?;
        let partition = partition()?;
        let end = log.watermarks(&partition)?.end;
        let Some(last) = end.value().checked_sub(1) else { return Ok(None) };
        let batches = log.fetch(&partition, Offset::new(last), 1 << 20)?;
        let record = batches.iter().flat_map(|batch| batch.iter()).last();
        let json = record.and_then(|record| record.value).unwrap_or_default();
        serde_json::from_slice(json).map(Some).map_err(|source| Error::Settings { source })
    }

    fn store(&self, log: &LogStore) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|source| Error::Settings { source })?;
        log.append(&partition()?, &Record::value(&json))?;
        Ok(())
    }
}

/// Creates a topic if it is not there.
pub(crate) fn create_topic(log: &LogStore, topic: &NewTopic) -> Result<()> {
    match log.create_topic(topic) {
        Ok(()) | Err(LogError::TopicExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn partition() -> Result<TopicPartition> {
    let topic = TopicName::new(SETTINGS).map_err(LogError::from)?;
    Ok(TopicPartition::new(topic, PartitionId::new(0)))
}
