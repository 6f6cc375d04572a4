//! `KStream::print`: records as lines of text.

use std::fmt::{self, Debug};
use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dsl::handles::KStream;
use crate::dsl::stream_ends::Terminal;
use crate::operators::peek;

/// Makes a line's text of a key and a value.
type Mapper<K, V> = Box<dyn Fn(&K, &V) -> String + Send + Sync>;

/// Where and how records are printed: as `[label]: key, value`.
///
/// ```
/// # use headwater_topology::{Printed, StreamsBuilder};
/// # let builder = StreamsBuilder::new();
/// let clicks = builder.stream::<String, i64>("clicks");
/// clicks.print(Printed::to_stdout().with_label("clicks"));
/// let pages = Printed::to_writer(std::io::stderr());
/// clicks.print(pages.with_mapper(|page: &String, _| page.clone()));
/// ```
pub struct Printed<K, V> {
    writer: Box<dyn Write + Send>,
    label: Option<String>,
    mapper: Mapper<K, V>,
}

impl<K: Debug, V: Debug> Printed<K, V> {
    /// To the standard output (Kafka's `Printed.toSysOut`), keys and values as their types'
    /// `Debug` shows them.
    #[must_use]
    pub fn to_stdout() -> Self {
        Self::to_writer(std::io::stdout())
    }

    /// To a file that is open, or to any other writer; keys and values as their types' `Debug`
    /// shows them.
    #[must_use]
    pub fn to_writer(writer: impl Write + Send + 'static) -> Self {
        let mapper = Box::new(|key: &K, value: &V| format!("{key:?}, {value:?}"));
        Self { writer: Box::new(writer), label: None, mapper }
    }
}

impl<K, V> Printed<K, V> {
    /// What each line begins with. Default = the name of the node.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// What each line says after its label. Default = key and value.
    #[must_use]
    pub fn with_mapper(self, mapper: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self { mapper: Box::new(mapper), ..self }
    }
}

impl<K, V> Debug for Printed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printed").field("label", &self.label).finish_non_exhaustive()
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Prints each record, null keys and values as well, and ends here. What was printed is not
    /// taken back by an abort. A writer that fails is left alone: printing is for looking.
    ///
    /// ```
    /// # use headwater_topology::{Printed, StreamsBuilder};
    /// # let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").print(Printed::to_stdout().with_label("in"));
    /// ```
    pub fn print(&self, printed: Printed<K, V>) -> Terminal {
        let name = self.scope.next_name("KSTREAM-PRINTER-");
        let Printed { writer, label, mapper } = printed;
        let label = label.unwrap_or_else(|| name.clone());
        let writer = Arc::new(Mutex::new(writer));
        let print = move |key: &K, value: &V| {
            let line = format!("[{label}]: {}\n", mapper(key, value));
            // OK because a closed pipe behind a print must not stop the application.
            let _ = writer.lock().write_all(line.as_bytes());
        };
        let factory = peek::factory(self.scope.next_id(), print);
        self.add_terminal(name, factory)
    }
}
