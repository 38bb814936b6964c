//! The real binary in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A second and a half at two thousand messages a second, on two partitions.
pub(crate) const SHORT: &str = r#"
name = "short"
title = "Short: for tests"
speed = { value = 1, unit = "x", source = "assumed" }
seed = { value = 7, source = "assumed" }

[[phase]]
name = "before"
role = "calm"
duration = { value = 0.5, unit = "s", source = "assumed" }
rate = { curve = "constant", at = { value = 1000, unit = "/s", source = "assumed" } }

[[phase]]
name = "flood"
role = "plateau"
duration = { value = SECONDS, unit = "s", source = "assumed" }
rate = { curve = "constant", at = { value = 2000, unit = "/s", source = "assumed" } }

[arrivals]
law = "poisson"

[messages]
entropy = { value = 0.5, source = "assumed" }
batch = { value = 1, unit = "messages", source = "assumed" }

[messages.bytes]
law = "fixed"
size = { value = 200, unit = "B", source = "assumed" }

[partitions]
count = { value = 2, unit = "in all", source = "assumed" }
skew = { law = "uniform" }

[consumers]
tail = { value = 1, unit = "per partition", source = "assumed" }

[storage]
segment = { value = 4, unit = "MiB", source = "assumed" }
retention = { value = 64, unit = "MiB", source = "assumed" }
"#;

/// A current directory with a profile in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A folder with `short.toml`, whose plateau lasts so many seconds.
    pub(crate) fn new(seconds: f64) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("short.toml"), SHORT.replace("SECONDS", &seconds.to_string()))
            .expect("a writable folder");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command, with its memory of walls in the folder too.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command.args(arguments).current_dir(self.path()).env("XDG_CACHE_HOME", self.path().join("cache"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// The folder of the last run.
    pub(crate) fn latest(&self) -> PathBuf {
        self.path().join("results/local/latest")
    }

    /// `summary.json` of the last run.
    pub(crate) fn summary(&self) -> harness::summary::Summary {
        harness::summary::load_summary(&self.latest()).expect("a run left its summary")
    }
}

/// Standard output.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
