//! The `highwater` command. Everything lives in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main()
}
