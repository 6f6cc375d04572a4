//! The Processor API: what an application's own processors are, and what they see.
pub(crate) mod context;
pub(crate) mod fixed_key;
