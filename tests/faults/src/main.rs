//! The program `headwater-faults`.

use std::process::ExitCode;

fn main() -> ExitCode {
    headwater_faults::main()
}
