//! Fault tests of Headwater's log on real processes and real file systems; the program
//! `headwater-faults` runs them. Not part of what users get.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program: it speaks to its terminal, and an index out of bounds fails a test"
)]
mod failure;
mod place;
mod tally;
mod plan;
mod message;
mod store;
mod writer;
mod child;
mod model;
mod verify;
mod disk;
mod faulty_disk;
mod kill;
mod kill_cli;
mod views;
mod kill_topology;
mod stop_topology;
mod restart_persistent;
mod history_worker;
mod histories;
mod power_cut;
mod write_back;
mod failed_calls;
mod open_time;
mod openers;
mod limits;
mod run;

pub use run::main;
