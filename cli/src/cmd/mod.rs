//! One file per command.
pub(crate) mod bridge;
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod log_dump;
pub(crate) mod log_repair;
pub(crate) mod log_verify;
pub(crate) mod produce;
pub(crate) mod topic;
