//! Automation of the repository, in Rust: one command for all checks (`cargo xtask test`), and one for each thing that needs
//! more time, root or other tools than a commit should.
//!
//! What never lives here: anything a user of `highwater` needs.

#![forbid(unsafe_code)]

mod notebooks;
mod steps;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The repository's automation")]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a commit must pass: format, lints, tests, loom models, documentation
    Test,
    /// The loom models of what cores share, alone
    Loom,
    /// Executes the notebooks in a virtual environment of their own (.venv)
    Notebooks {
        /// Writes the executed outputs back into the .ipynb files
        #[arg(long)]
        write: bool,
    },
    /// The long forms: model sequences, kills, round trips, fuzzing (needs a nightly toolchain and cargo-fuzz for the last)
    Long {
        /// Model sequences an engine
        #[arg(long, default_value_t = 2_000)]
        cases: u32,
        /// kill -9 trials an engine
        #[arg(long, default_value_t = 20)]
        kills: u32,
        /// Seconds a fuzz target; 0 leaves fuzzing out
        #[arg(long, default_value_t = 30)]
        fuzz_seconds: u32,
    },
    /// Power cuts below the file system, many of them, and an I/O error at each operation of the device (needs root, /dev/fuse, loop devices and mkfs.ext4)
    Crash {
        /// Power cuts an engine
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// Seed of the first round; a failure prints the one that repeats it
        #[arg(long)]
        seed: Option<u64>,
    },
    /// The criterion benches (quiet machine, please)
    Bench {
        /// Only benches of this package
        #[arg(long)]
        package: Option<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse().task {
        Task::Test => steps::test(),
        Task::Loom => steps::loom(),
        Task::Notebooks { write } => notebooks::execute(write),
        Task::Long { cases, kills, fuzz_seconds } => steps::long(cases, kills, fuzz_seconds),
        Task::Crash { rounds, seed } => steps::crash(rounds, seed),
        Task::Bench { package } => steps::bench(package.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: the parent of this package.
fn root() -> Result<std::path::PathBuf> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().ok_or_else(|| anyhow::anyhow!("{} has no parent", here.display()))?.to_path_buf())
}
