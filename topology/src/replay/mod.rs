//! Replays: the application reset.
pub(crate) mod reset;
