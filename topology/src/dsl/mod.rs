//! The DSL: it writes a graph and builds nothing that runs.
pub(crate) mod options;
pub(crate) mod table_options;
pub(crate) mod scope;
pub(crate) mod materialize;
pub(crate) mod repartition;
pub(crate) mod table_node;
pub(crate) mod handles;
pub(crate) mod windows;
pub(crate) mod table;
pub(crate) mod table_join;
pub(crate) mod grouped_table;
pub(crate) mod grouped;
pub(crate) mod windowed;
pub(crate) mod stream;
pub(crate) mod stream_join;
pub(crate) mod builder;
pub(crate) mod table_source;
