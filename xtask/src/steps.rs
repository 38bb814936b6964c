//! The steps that call cargo.

use crate::root;
use anyhow::{Context, Result, bail};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Loom explores every interleaving up to its bounds, so its models run optimised and in a target directory of their own
/// (the flag changes every crate).
const LOOM_MODELS: [(&str, &str); 2] = [("shard-ring", "loom_doorbell"), ("broker", "loom_intake")];

/// Runs one program in the root and says what it is and how long it took.
fn step(name: &str, command: &mut Command) -> Result<Duration> {
    println!("== {name}");
    let started = Instant::now();
    let status = command
        .current_dir(root()?)
        .status()
        .with_context(|| format!("{name}: {:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("{name} failed ({status}); repeat it with: {command:?}");
    }
    Ok(started.elapsed())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Everything a commit must pass, cheapest first.
pub(crate) fn test() -> Result<()> {
    let mut times = vec![
        ("format", step("format", &mut cargo(&["fmt", "--all", "--check"]))?),
        ("lints", step("lints", &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked"]))?),
        ("tests", step("tests", &mut cargo(&["test", "--workspace", "--locked"]))?),
    ];
    let models = Instant::now();
    loom()?;
    times.push(("loom models", models.elapsed()));
    times.push((
        "documentation",
        step(
            "documentation",
            cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
        )?,
    ));
    println!("== all passed");
    for (name, time) in times {
        println!("   {name}: {:.0} s", time.as_secs_f64());
    }
    Ok(())
}

/// The models of what cores share.
pub(crate) fn loom() -> Result<()> {
    for (package, model) in LOOM_MODELS {
        step(
            &format!("loom model {model}"),
            cargo(&["test", "--release", "--locked", "--package", package, "--test", model])
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_TARGET_DIR", root()?.join("target/loom")),
        )?;
    }
    Ok(())
}

/// The long forms of tests that also run, shorter, in [`test()`].
pub(crate) fn long(cases: u32, kills: u32, fuzz_seconds: u32) -> Result<()> {
    step(
        "long tests",
        cargo(&["test", "--workspace", "--release", "--locked"])
            .env("HIGHWATER_CASES", cases.to_string())
            .env("HIGHWATER_KILLS", kills.to_string())
            .env("HIGHWATER_LONG", "1"),
    )?;
    if fuzz_seconds > 0 {
        let folder = root()?.join("engines/log-format");
        for target in fuzz_targets(&folder)? {
            step(
                &format!("fuzz {target} for {fuzz_seconds} s"),
                Command::new("cargo").args([
                    "+nightly",
                    "fuzz",
                    "run",
                    "--fuzz-dir",
                    "engines/log-format/fuzz",
                    &target,
                    "--",
                    &format!("-max_total_time={fuzz_seconds}"),
                ]),
            )?;
        }
    }
    Ok(())
}

/// The long form of the tests that cut the power, each engine's own and each engine's logs read by all, and of those of I/O errors.
pub(crate) fn crash(rounds: u32, seed: Option<u64>) -> Result<()> {
    let mut command = cargo(&["test", "--release", "--locked"]);
    for package in ["log-mmap", "log-direct", "log-pagecache", "log-testkit"] {
        command.args(["--package", package]);
    }
    command.args(["--test", "conformance", "--test", "engines", "--", "power", "io_errors", "--nocapture"]);
    command.env("HIGHWATER_CUTS", rounds.to_string()).env("HIGHWATER_ERRORS", "all");
    if let Some(seed) = seed {
        command.env("HIGHWATER_SEED", seed.to_string());
    }
    step(&format!("{rounds} power cuts an engine, and each I/O error"), &mut command).map(|_| ())
}

fn fuzz_targets(package: &std::path::Path) -> Result<Vec<String>> {
    let folder = package.join("fuzz/fuzz_targets");
    let mut targets: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    targets.sort();
    Ok(targets)
}

/// Criterion benches, all or one package's.
pub(crate) fn bench(package: Option<&str>) -> Result<()> {
    let mut command = cargo(&["bench", "--locked"]);
    match package {
        Some(name) => command.args(["--package", name, "--benches"]),
        None => command.args(["--workspace", "--benches"]),
    };
    step("benches", &mut command).map(|_| ())
}
