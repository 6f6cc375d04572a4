//! Looking at a store's files without opening it: what they hold, what is damaged, and how to go
//! on with what is not.
//!
//! [`verify`] and [`dump`] change no byte and take no lock; [`repair`] does what a
//! [`RepairPlan`] says, and nothing runs it but its caller.
mod report;
mod source;
mod segments;
mod index_files;
mod journal;
mod image;
mod partitions;
mod verify;
mod rows;
mod dump;
mod plan;
mod pieces;
mod survey;
mod repair;

pub use dump::{DumpOptions, DumpSink, dump, dumpable_files};
pub use plan::{RepairPlan, RepairStep};
pub use repair::{plan_repair, repair};
pub use report::{Finding, Severity, VerifyReport};
pub use rows::{DumpRow, DumpValue};
pub use verify::verify;
