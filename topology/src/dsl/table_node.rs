//! What stands behind a `KTable`: how the nodes below it get at its rows and its old values.

use std::hash::Hash;
use std::sync::Arc;

use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::serdes::SerdeRef;
use crate::types::NodeId;

/// The tables that a table is made of.
pub(crate) trait Above<K, V> {
    /// Asks them to send old values; `force` gives those a store that could not do so without.
    /// Returns whether they do.
    fn send_old(&self, force: bool) -> bool;

    /// Whether old rows are made of old ones above even where the table keeps rows of its own.
    fn makes_old_rows(&self) -> bool {
        false
    }

    /// The table's rows through them.
    fn view(&self) -> View<K, V>;

    /// Whether they keep versions. Default = no.
    fn is_versioned(&self) -> bool {
        false
    }
}

/// The node of a table.
pub(crate) struct TableNode<K, V> {
    /// Shared with the operator.
    pub(crate) state: Arc<TableState>,
    pub(crate) key_serde: SerdeRef<K>,
    /// The other nodes of its operation, with what their names add to the name of the table.
    pub(crate) parts: Vec<(NodeId, &'static str)>,
    /// The generated name of a store, whose number is used up unless the table is given one.
    pub(crate) spare_name: Option<String>,
    rows: TableRows<K, V>,
}

enum TableRows<K, V> {
    /// In a store of the table's own, from the beginning.
    Kept(View<K, V>),
    /// In a store of its own once it is materialized, else through the tables above.
    Through(Box<dyn Above<K, V>>),
}

impl<K, V> TableNode<K, V> {
    /// A table whose rows are in a store of its own, as those of an aggregation.
    pub(crate) fn kept(state: Arc<TableState>, key_serde: SerdeRef<K>, view: View<K, V>) -> Self {
        let rows = TableRows::Kept(view);
        Self { state, key_serde, parts: Vec::new(), spare_name: None, rows }
    }

    /// A table that need not have a store.
    pub(crate) fn through(
        state: Arc<TableState>,
        key_serde: SerdeRef<K>,
        above: impl Above<K, V> + 'static,
    ) -> Self {
        let rows = TableRows::Through(Box::new(above));
        Self { state, key_serde, parts: Vec::new(), spare_name: None, rows }
    }

    /// The same table, of several nodes.
    pub(crate) fn with_parts(self, parts: Vec<(NodeId, &'static str)>) -> Self {
        Self { parts, ..self }
    }

    /// The same table, with a generated name for its store.
    pub(crate) fn with_spare_name(self, name: String) -> Self {
        Self { spare_name: Some(name), ..self }
    }

    /// Whether its rows are those of a versioned table.
    pub(crate) fn is_versioned(&self) -> bool {
        match &self.rows {
            TableRows::Kept(_) => false,
            TableRows::Through(_) if self.state.store().is_some() => self.state.is_versioned(),
            TableRows::Through(above) => above.is_versioned(),
        }
    }

    /// Asks the table to send old values with the new ones. Only with `force` does a table from a
    /// topic get a store for that. Returns whether it sends them.
    pub(crate) fn send_old(&self, force: bool) -> bool {
        if self.state.sends_old() {
            return true;
        }
        let is_stored = self.state.store().is_some();
        let granted = match &self.rows {
            TableRows::Kept(_) => true,
            TableRows::Through(above) if is_stored && !above.makes_old_rows() => true,
            TableRows::Through(above) => above.send_old(force),
        };
        if granted {
            self.state.send_old();
        }
        granted
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> TableNode<K, V> {
    /// The table's rows, to be read by other nodes.
    pub(crate) fn view(&self) -> View<K, V> {
        match (&self.rows, self.state.store()) {
            (TableRows::Kept(view), _) => view.clone(),
            (TableRows::Through(_), Some(store)) if self.state.is_versioned() => {
                View::of_versioned_store(store)
            }
            (TableRows::Through(_), Some(store)) => View::of_key_value_store(store),
            (TableRows::Through(above), None) => above.view(),
        }
    }
}
