//! The log against a plain model of it, in three ways: long random sequences of operations with
//! crashes between them; short workloads with each of their calls to the file system failing in
//! turn; and the same workloads with a crash after each of their calls.
//!
//! After every operation the log is compared with the model. `HEADWATER_CASES=n` sets how much is
//! tried, `HEADWATER_SEED=n` runs one seed again; see the modules.
#![allow(
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test and its modules, not an API"
)]

#[path = "model/history.rs"]
mod history;
#[path = "model/subject.rs"]
mod subject;
#[path = "model/check.rs"]
mod check;
#[path = "model/operations.rs"]
mod operations;
#[path = "model/sequences.rs"]
mod sequences;
#[path = "model/workloads.rs"]
mod workloads;
#[path = "model/failing_calls.rs"]
mod failing_calls;
#[path = "model/crashes.rs"]
mod crashes;
