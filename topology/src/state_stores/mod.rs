//! State stores as the application's own processors see them: typed, opened for one task.
pub(crate) mod connect;
pub(crate) mod key_value;
pub(crate) mod window;
pub(crate) mod session;
pub(crate) mod versioned;
pub(crate) mod builder;
