//! State stores: typed values in memory, their changes logged at each commit.
pub(crate) mod table;
pub(crate) mod record_cache;
pub(crate) mod managed;
pub(crate) mod stream_times;
pub(crate) mod key_value;
pub(crate) mod versioned;
pub(crate) mod bytes_store;
pub(crate) mod window_store;
pub(crate) mod slots;
pub(crate) mod keyed_windows;
pub(crate) mod cached_windows;
pub(crate) mod outer_store;
pub(crate) mod layout;
pub(crate) mod suppress_buffer;
pub(crate) mod join_buffer;
