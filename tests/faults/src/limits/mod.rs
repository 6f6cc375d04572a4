//! T15: what a process, a file system or a machine does not have enough of.
mod open_files;
mod file_size;
mod full_disk;
mod no_space;
mod state_disk;
mod read_only;
mod large_record;
mod memory;
mod all;

pub(crate) use all::{LimitArgs, LimitedArgs, run, run_limited};
