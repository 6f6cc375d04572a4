//! Windows of time: their definition, their arithmetic, and keys that carry one.
pub(crate) mod windowed;
pub(crate) mod time_windows;
pub(crate) mod sliding_windows;
pub(crate) mod session_windows;
pub(crate) mod join_windows;
pub(crate) mod emit_strategy;
