//! Cases that run both here and on the real Kafka Streams: a case is a topology as a list of
//! operators, records that go in, and records that come out. The Java program beside this package
//! reads the same cases.
mod case;
mod error;
mod functions;
mod built;
mod processors;
mod streams;
mod grouped;
mod tables;
mod joins;
mod build;
mod run;
mod compare;
mod origin;
mod random_inputs;
mod generate;
mod shrink;
mod java;
pub use build::{build, build_with};
pub use case::{Case, CaseFile, Config, Expected, Input, Key, Op, Outcome, WindowSpec};
pub use compare::{description_difference, difference};
pub use error::OracleError;
pub use generate::random_case;
pub use java::Java;
pub use run::{run, run_with};
pub use shrink::shrink;
