//! What the runtime asks of a store, whatever it holds.

use std::any::Any;
use std::rc::Rc;

use headwater_log_store::{RecordView, Timestamp};

use crate::backing::Covered;
use crate::error::{BoxError, Result};
use crate::record::Headers;
use crate::store::backed_rows::BackedRows;
use crate::store::record_cache::CacheBudget;

/// One line of a changelog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangelogRecord<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    /// `None` where a deletion left no time: the log then takes the time of the append.
    pub(crate) timestamp: Option<Timestamp>,
    /// Those of the record that the line is about, where Kafka Streams keeps them.
    pub(crate) headers: Option<&'a Headers>,
}

/// Takes the lines of a changelog as a commit writes them.
pub(crate) type ChangelogWriter<'a> = dyn FnMut(ChangelogRecord<'_>) -> Result<()> + 'a;

/// A store between its operator, which changes it, and the runtime, which commits or aborts what
/// was changed.
pub(crate) trait ManagedStore {
    /// What the lines of the changelog are called: the kind of store, and the formats of its keys
    /// and values. Lines of another name cannot be restored.
    fn format_name(&self) -> String;

    /// How many rows it has in memory, those included that are not committed yet.
    fn resident_rows(&self) -> usize;

    /// How many keys were changed since the last commit.
    fn dirty_len(&self) -> usize;

    /// Writes the current value of each key that was changed since the last commit.
    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()>;

    /// The changes are durable: they are the committed values from now on.
    fn commit(&mut self);

    /// Puts the committed values back.
    fn abort(&mut self);

    /// Takes a line of the changelog. A store on disk adds it to the next write.
    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError>;

    /// Puts the store's rows on disk, if it is of a kind that can have them there.
    fn back(&mut self, _rows: BackedRows) -> bool {
        false
    }

    /// The rows on disk, if they are there.
    fn backed(&mut self) -> Option<&mut BackedRows> {
        None
    }

    /// Goes on from where the rows on disk are, before lines of the changelog come.
    fn resume(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Writes to disk what was changed, which is in the changelog now. It comes between
    /// [`log_changes`](Self::log_changes) and [`commit`](Self::commit), and behind lines of the
    /// changelog.
    fn write_to_disk(&mut self, covered: Covered) -> Result<(), BoxError> {
        self.backed().map_or(Ok(()), |rows| rows.write(covered))
    }

    /// Gives the store a record cache, if it is of a kind that can have one.
    fn cache_within(&mut self, _budget: &Rc<CacheBudget>) {}

    /// Forgets the stream times of the operators, as Kafka Streams does with a restart. Most stores
    /// have none.
    fn forget_stream_times(&mut self) {}

    /// The store itself, for queries.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
