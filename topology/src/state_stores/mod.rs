//! State stores as the application's own processors see them: typed, opened for one task.
pub(crate) mod connect;
pub(crate) mod key_value;
pub(crate) mod builder;
