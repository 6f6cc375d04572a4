//! The command line of Headwater, as a library: the program `headwater` is a call of [`main`], and
//! so can be a program of your own.
mod error;
mod position;
mod bridge_args;
mod args;
mod output;
mod cmd;
mod run;

pub use run::main;
