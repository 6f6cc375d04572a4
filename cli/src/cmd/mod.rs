//! One file per command.
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod produce;
pub(crate) mod topic;
