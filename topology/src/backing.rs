//! Where a persistent store keeps its committed rows, whatever the engine is.
//!
//! The rows on disk are those of a place in the changelog: each write brings them to a later one,
//! in one step with the note of that place. They are written after the log has made the commit
//! durable, so they are never ahead of it, and a start replays what lies between.
#![cfg_attr(
    feature = "engines",
    allow(
        clippy::len_without_is_empty,
        clippy::missing_errors_doc,
        reason = "it is no API: it is seen from outside only where engines are compared"
    )
)]
#![cfg_attr(
    not(feature = "engines"),
    allow(unreachable_pub, reason = "it is seen from outside where engines are compared")
)]

use std::ops::Bound;

use headwater_log_store::{LeaderEpoch, Offset};

use crate::error::BoxError;
use crate::types::TaskId;

/// How far in its changelog a store is: all before the offset is in its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Where the changelog goes on.
    pub offset: Offset,
    /// The changelog's epoch at that time: if the log has lost records since, it tells.
    pub epoch: LeaderEpoch,
    /// The number of the application's state in its log: a reset has others after it, and so has
    /// another log.
    pub state: u32,
}

/// A key with its new row, or with none.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Sees a row; `false` ends the visit.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, BoxError> + 'a;

/// The rows of one store of one task.
pub trait Backing {
    /// How far the rows are. `None` says that they are to be made anew.
    fn covered(&self) -> Result<Option<Covered>, BoxError>;

    /// The row of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError>;

    /// Shows the rows of a range in the order of their keys, or from its end.
    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError>;

    /// Changes rows and notes how far they are then, all or nothing. Of several changes of a key the
    /// last counts.
    fn write(&self, changes: Vec<Change>, covered: Covered) -> Result<(), BoxError>;

    /// Forgets all rows.
    fn clear(&self) -> Result<(), BoxError>;

    /// About how many rows there are.
    fn len(&self) -> usize;

    /// How many bytes its files have.
    fn disk_bytes(&self) -> u64;

    /// How long a key in a changelog may be whose row it takes.
    fn key_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// A standby copy is to become the task that runs: whether its rows are its own still. From here
    /// on they are the task's.
    fn claim(&self) -> bool {
        true
    }
}

/// The folder of an application's persistent stores.
pub trait StateDirectory: Send + Sync {
    /// The rows of a store, as they were left.
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError>;
}
