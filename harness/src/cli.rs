//! The command line: words to actions, errors to one message and a status.
//!
//! Exit status: 0 done, 1 failed, 2 wrong usage, 3 a run that fails its own validity gates under `--strict`, 4 a log with a
//! torn tail, 130 interrupted.

use crate::config::{Options, RunConfig, Usage, results_root};
use crate::run::{exit, process::CHILD_COMMAND};
use crate::{calibrate, child, inspect, list, profile, run, show};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Replays peak traffic against log engines and says which stays dry, at which durability, at which cost.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, about, disable_help_subcommand = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a profile against engines: a table, result files, a report
    ///
    /// Results go to results/local/<utc>-<profile>-<id>/ in the checkout that holds the current directory, or else in the current
    /// directory; `latest` beside them points to the last run. Status 0: done. 1: an engine failed, or one that was named cannot
    /// run here. 2: wrong usage. 3: under --strict, the run fails its own validity gates. 130: interrupted.
    Run {
        /// Name of a profile (see `highwater profiles`) or a .toml file
        profile: String,
        /// Options in TOML, by the same names; the command line stands over them
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Measure this machine's ceilings in a directory: what a result can be a share of
    ///
    /// Memory, checksum, page cache, mapping, device, flush and loopback, each by a plain loop without an engine, in under a minute.
    /// What was measured is remembered for the machine and the device, and later runs there say how near they come.
    Calibrate {
        #[command(flatten)]
        options: calibrate::Options,
    },
    /// List the engines: what each can do, and whether it can run here
    Engines {
        /// Where their logs would lie
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the profiles that come with this program
    Profiles,
    /// Print every number of a profile with its source
    Explain {
        /// Name of a profile or a .toml file
        profile: String,
    },
    /// Print a run's table again
    Show {
        /// A results folder, the name of one in results/local, or `latest`
        #[arg(default_value = "latest")]
        run: String,
    },
    /// Look into the logs of a data directory, without changing it
    Log {
        #[command(subcommand)]
        what: Log,
    },
    /// One engine of a run; started by `run`
    #[command(name = CHILD_COMMAND, hide = true)]
    Child,
}

#[derive(Debug, Subcommand)]
enum Log {
    /// Print one line a batch
    ///
    /// Status 0: every log is whole. 1: one is damaged, or cannot be read. 4: one ends in a torn tail, which the next open will judge.
    Dump {
        /// A data directory, the folder of one log, or a segment
        dir: PathBuf,
        /// The first offset to print
        #[arg(long, value_name = "OFFSET", default_value_t = 0)]
        from: u64,
        /// At most so many batches of each log
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
    /// Check every batch: checksum, dense offsets, epochs
    ///
    /// Status 0: every log is whole. 1: one is damaged, or cannot be read. 4: one ends in a torn tail, which the next open will judge.
    Verify {
        /// A data directory, the folder of one log, or a segment
        dir: PathBuf,
    },
}

/// The whole command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let status = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            error.print().ok();
            return ExitCode::from(status);
        }
    };
    match act(cli.command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let usage = error.downcast_ref::<Usage>().is_some();
            ExitCode::from(if usage { exit::USAGE } else { exit::FAILED })
        }
    }
}

fn act(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { profile, config, options } => {
            let settings = RunConfig::new(&options, config.as_deref())?;
            run::run(&profile, &settings)
        }
        Command::Calibrate { options } => calibrate::calibrate(&options),
        Command::Engines { dir, json } => list::engines(&dir, json),
        Command::Profiles => list::profiles(),
        Command::Explain { profile } => {
            let profile = profile::Profile::load(&profile).map_err(Usage::from_error)?;
            print(&profile::explain(&profile))
        }
        Command::Show { run } => {
            let table = show::show(&run, &results_root()?.join("local"))?;
            print(&table)
        }
        Command::Log { what: Log::Dump { dir, from, limit } } => inspect::dump(&dir, from, limit),
        Command::Log { what: Log::Verify { dir } } => inspect::verify(&dir),
        Command::Child => Ok(child::main()),
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// `highwater log dump … | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn negative_numbers_reach_the_check_that_names_them() {
        let cli = Cli::try_parse_from(["highwater", "run", "steady", "--rate", "-1", "--peak", "-5"]).unwrap();
        let Command::Run { options, .. } = cli.command else { panic!("run") };
        assert_eq!(options.rate.unwrap().0, "-1");
    }
}
