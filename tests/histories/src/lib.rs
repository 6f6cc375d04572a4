//! Checks histories: what producers and consumers of a log did and saw, line by line, against what
//! transactions and exactly-once promise. Not part of what users get.
//!
//! A [`History`] is written down outside of the processes that die. Every value is sent once, so
//! a value that is read tells which operation wrote it. [`History::check`] lists what must not be;
//! the kinds are those that Jepsen looks for in Kafka, and a few that only stream processing has.
//!
//! ```
//! use headwater_histories::{Anomaly, History};
//!
//! // The transaction of process 1 was aborted, and process 2 has read its value.
//! let history: History = r#"
//!     {"operation": {"process": 1, "start": 1, "end": 2, "outcome": "fail", "transaction": true,
//!         "actions": [{"send": {"partition": "t-0", "value": 7}}]}}
//!     {"operation": {"process": 2, "start": 3, "end": 4, "outcome": "ok",
//!         "actions": [{"poll": {"partition": "t-0", "records": [[0, 7]]}}]}}
//! "#.parse()?;
//! let report = history.check()?;
//! assert!(matches!(report.anomalies[..], [Anomaly::AbortedRead { value: 7, .. }]));
//! # Ok::<(), headwater_histories::Error>(())
//! ```
mod error;
mod history;
mod anomaly;
mod index;
mod reads;
mod writes;
mod transactions;
mod cycles;
mod effects;
mod check;

pub use anomaly::Anomaly;
pub use check::Report;
pub use error::{Error, Result};
pub use history::{Action, History, Isolation, Line, Operation, Outcome, ViewSource};
