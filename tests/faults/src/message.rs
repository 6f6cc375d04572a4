//! What a writer tells the process that will kill it, a line each, over a pipe that outlives it.

use std::fmt;
use std::str::FromStr;

use headwater_log_store::RecoveryReport;
use rustix::time::{ClockId, clock_gettime};

use crate::tally::Tally;

/// A line of the pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The store is open; what that has found.
    Opened(Recovered),
    /// The topics are there.
    Ready,
    /// `delete_records` is about to be called.
    Cutting { before: u64 },
    /// A unit was acknowledged, with the offset of each of its records.
    Acknowledged { thread: u32, unit: u32, nanos: u64, offsets: Vec<u64> },
    /// A unit has failed, with an outcome that nobody knows.
    Failed { thread: u32, unit: u32, nanos: u64, poisoned: bool, text: String },
    /// The disk was full; the unit is tried again.
    Full,
    /// The log has broken a promise under the writer's eyes.
    Violation(String),
    /// The writer has done all that it was to do, and has closed the store.
    Closed,
}

/// The figures of a recovery report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) clean: bool,
    pub(crate) journal_entries: u64,
    pub(crate) batches_applied: u64,
    pub(crate) torn_entries: u64,
    pub(crate) torn_tails: u64,
    pub(crate) torn_bytes: u64,
}

impl From<&RecoveryReport> for Recovered {
    fn from(report: &RecoveryReport) -> Self {
        Self {
            clean: report.clean,
            journal_entries: report.journal_entries as u64,
            batches_applied: report.batches_applied as u64,
            torn_entries: u64::from(report.torn_entry_bytes > 0),
            torn_tails: report.torn.len() as u64,
            torn_bytes: report.torn_entry_bytes
                + report.torn.iter().map(|tail| tail.bytes).sum::<u64>(),
        }
    }
}

impl Recovered {
    /// Adds what one recovery has done.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.add("journal entries replayed", self.journal_entries);
        tally.add("batches applied", self.batches_applied);
        tally.add("torn segment tails", self.torn_tails);
        tally.add("torn journal entries", self.torn_entries);
        tally.add("torn bytes", self.torn_bytes);
        tally.add(CUT_SOMETHING, u64::from(self.torn_tails + self.torn_entries > 0));
    }
}

/// The figure of recoveries that had something torn to cut off.
pub(crate) const CUT_SOMETHING: &str = "recoveries that cut something";

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(r) => write!(
                f,
                "opened {} {} {} {} {} {}",
                u8::from(r.clean),
                r.journal_entries,
                r.batches_applied,
                r.torn_entries,
                r.torn_tails,
                r.torn_bytes
            ),
            Self::Ready => f.write_str("ready"),
            Self::Cutting { before } => write!(f, "cutting {before}"),
            Self::Acknowledged { thread, unit, nanos, offsets } => {
                write!(f, "ack {thread} {unit} {nanos}")?;
                offsets.iter().try_for_each(|offset| write!(f, " {offset}"))
            }
            Self::Failed { thread, unit, nanos, poisoned, text } => {
                let text = text.replace('\n', " ");
                write!(f, "failed {thread} {unit} {nanos} {} {text}", u8::from(*poisoned))
            }
            Self::Full => f.write_str("full"),
            Self::Violation(text) => write!(f, "violation {}", text.replace('\n', " ")),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl FromStr for Message {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = || -> Result<Vec<u64>, String> {
            let parse = |n: &str| n.parse().map_err(|_| format!("not a message: {line}"));
            rest.split(' ').map(parse).collect()
        };
        let bad = || format!("not a message: {line}");
        let small = |n: u64| u32::try_from(n).map_err(|_| bad());
        Ok(match word {
            "opened" => match numbers()?[..] {
                [clean, journal_entries, batches_applied, torn_entries, torn_tails, torn_bytes] => {
                    Self::Opened(Recovered {
                        clean: clean == 1,
                        journal_entries,
                        batches_applied,
                        torn_entries,
                        torn_tails,
                        torn_bytes,
                    })
                }
                _ => return Err(bad()),
            },
            "ready" => Self::Ready,
            "cutting" => Self::Cutting { before: rest.parse().map_err(|_| bad())? },
            "ack" => match numbers()?[..] {
                [thread, unit, nanos, ref offsets @ ..] => Self::Acknowledged {
                    thread: small(thread)?,
                    unit: small(unit)?,
                    nanos,
                    offsets: offsets.to_vec(),
                },
                _ => return Err(bad()),
            },
            "failed" => {
                let mut fields = rest.splitn(5, ' ');
                let mut number = || fields.next().and_then(|n| n.parse().ok()).ok_or_else(bad);
                let (thread, unit) = (small(number()?)?, small(number()?)?);
                let (nanos, poisoned) = (number()?, number()? == 1);
                let text = fields.next().unwrap_or_default().to_owned();
                Self::Failed { thread, unit, nanos, poisoned, text }
            }
            "full" => Self::Full,
            "violation" => Self::Violation(rest.to_owned()),
            "closed" => Self::Closed,
            _ => return Err(bad()),
        })
    }
}

/// The monotonic clock in nanoseconds: it is the same for all processes of the machine.
pub(crate) fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Message, Recovered};

    #[test]
    fn messages_survive_the_pipe() {
        let text = "a failure with spaces".to_owned();
        let recovered = Recovered { torn_tails: 2, torn_bytes: 70, ..Recovered::default() };
        for message in [
            Message::Opened(recovered),
            Message::Ready,
            Message::Cutting { before: 7 },
            Message::Acknowledged { thread: 1, unit: 2, nanos: 3, offsets: vec![4, 5] },
            Message::Acknowledged { thread: 1, unit: 2, nanos: 3, offsets: vec![] },
            Message::Failed { thread: 1, unit: 2, nanos: 3, poisoned: true, text: text.clone() },
            Message::Full,
            Message::Violation(text),
            Message::Closed,
        ] {
            assert_eq!(message.to_string().parse::<Message>().unwrap(), message);
        }
        assert!("ack 1 x".parse::<Message>().is_err());
        // A writer may be killed in the middle of a line.
        assert!("ac".parse::<Message>().is_err());
    }
}
