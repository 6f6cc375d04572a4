//! How a test of this program ends when it does not pass.

use std::fmt;

/// Why a test did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The log has broken a promise.
    #[error("VIOLATION: {0}")]
    Violation(String),
    /// The test itself could not do what it wanted to.
    #[error("the test failed to {what}: {why}")]
    Setup {
        /// What it tried.
        what: String,
        /// What stood in the way.
        why: String,
    },
    /// This machine cannot run the test.
    #[error("SKIPPED: {0}")]
    Skipped(String),
}

/// What the parts of a test return.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// A broken promise of the log.
pub(crate) fn violation<T>(what: impl fmt::Display) -> Result<T> {
    Err(Failure::Violation(what.to_string()))
}

/// Says what was tried where something failed that is not the log's fault.
pub(crate) trait Context<T> {
    /// Turns the error into a [`Failure::Setup`].
    fn to(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn to(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Setup { what: what.to_string(), why: error.to_string() })
    }
}

/// Says what the log was to do where an error of it breaks a promise.
pub(crate) trait Promise<T> {
    /// Turns the error into a [`Failure::Violation`].
    fn promised(self, what: impl fmt::Display) -> Result<T>;
}

impl<T> Promise<T> for std::result::Result<T, headwater_log_store::Error> {
    fn promised(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Violation(format!("{what}: {}", chain(&error))))
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
