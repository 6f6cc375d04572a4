//! Applications whose closures, input or disk fail while they run: each failure is dealt with as
//! its handler says, and what they have written and stored in the end is a plain fold over the
//! records that are good.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the helpers of a test fail it by panicking"
)]

mod app;
mod closures;
mod full_disk;
mod poisoned_input;
mod production;
