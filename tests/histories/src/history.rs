//! A history: operations with what they did and saw, and what was found at the end. Its text is a
//! JSON object a line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What producers and consumers did, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// Somebody did something.
    Operation(Operation),
    /// At the end, this is the committed offset of the group that makes effects of a partition's
    /// values: the next one to process.
    Committed {
        /// The partition.
        partition: String,
        /// The offset.
        offset: u64,
    },
    /// At the end, this is what a view holds, by one account of it. All accounts of a name have to
    /// agree.
    View {
        /// The view's name.
        name: String,
        /// Whose account it is.
        source: ViewSource,
        /// Its rows.
        rows: BTreeMap<String, String>,
    },
    /// How long it took, after the last fault, until all that runs was running or had failed and
    /// all readers were at the end; without `after_ms` it did not come to that.
    Settled {
        /// Milliseconds.
        after_ms: Option<u64>,
    },
}

/// Where an account of a view is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ViewSource {
    /// The state store.
    Store,
    /// The store's changelog.
    Changelog,
    /// A fold over the input that shares no code with the application.
    Recomputation,
}

/// What one process did between two moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who did it. A process that died comes back as another one, and so does a consumer that is
    /// made anew.
    pub process: u32,
    /// When it began. The unit does not matter, the clock has to be one for all processes.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether its sends are one transaction.
    #[serde(default)]
    pub transaction: bool,
    /// What its polls may see. Default = committed records.
    #[serde(default)]
    pub isolation: Isolation,
    /// What it did, in order.
    pub actions: Vec<Action>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it took place.
    Ok,
    /// Nothing of it took place: it was refused or aborted.
    Fail,
    /// Nobody knows: it failed with an unknown outcome, or its process died before it ended.
    Info,
}

/// What a consumer may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// What was committed.
    #[default]
    ReadCommitted,
    /// All that was written.
    ReadUncommitted,
}

/// A part of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A record was sent.
    Send {
        /// Where to.
        partition: String,
        /// Its value, which no other record has.
        value: u64,
        /// The offset that the acknowledgement gave.
        #[serde(default)]
        offset: Option<u64>,
        /// The value that this one is the effect of.
        #[serde(default)]
        of: Option<u64>,
    },
    /// Records of a partition came.
    Poll {
        /// The partition.
        partition: String,
        /// Offsets and values, in the order in which they came.
        records: Vec<(u64, u64)>,
        /// Where the visible part of the partition ended when this was read.
        #[serde(default)]
        end: Option<u64>,
        /// Whether this is all of the partition, read when nobody wrote any more.
        #[serde(default)]
        whole: bool,
    },
    /// The process reads on at another place of the partition from now on: an assignment, a seek.
    Seek {
        /// The partition.
        partition: String,
    },
}

impl History {
    /// The operations with their numbers, from 0 on.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (usize, &Operation)> {
        let operations = self.lines.iter().filter_map(|line| match line {
            Line::Operation(operation) => Some(operation),
            _ => None,
        });
        operations.enumerate()
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: Operation) {
        self.lines.push(Line::Operation(operation));
    }
}

impl FromStr for History {
    type Err = Error;

    /// Reads JSON objects, each on one line or several.
    fn from_str(text: &str) -> Result<Self> {
        let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Line>();
        let mut lines = Vec::new();
        loop {
            let number = 1 + text.get(..objects.byte_offset()).unwrap_or(text).lines().count();
            match objects.next() {
                None => return Ok(Self { lines }),
                Some(Ok(line)) => lines.push(line),
                Some(Err(source)) => return Err(Error::Line { number, source }),
            }
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let line = serde_json::to_string(line).map_err(|_| fmt::Error)?;
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
