//! The machine, the build and the gates that concern a run as a whole.

use crate::config::Placement;
use crate::cost::{
    device::Device,
    flush,
    kernel::Memory,
    machine::{self, Mount},
};
use crate::summary::{Cores, Machine, Verdict};
use std::{path::Path, process::Command};

/// Cores without which the generator and the shard share one, and lateness is the machine's.
const CORES_MIN: f64 = 2.0;

/// The machine as the summary tells it. `dir` must exist; with `measure_flush` a bare flush is measured in it.
#[must_use]
pub fn machine(dir: &Path, placement: &Placement, measure_flush: bool) -> Machine {
    let device = Device::of(dir).ok().flatten();
    let flush = measure_flush.then(|| flush::median(dir).ok()).flatten();
    Machine {
        file_system: machine::file_system(dir),
        device: device.map_or_else(|| "no device".to_owned(), |device| device.label()),
        flush_ns: flush.map(|flush| flush.as_nanos() as u64),
        kernel: machine::kernel(),
        cpu: machine::cpu_model(),
        memory_bytes: Memory::sample().total_bytes,
        cores: Cores {
            allowed: machine::allowed_cpus(),
            quota: machine::cpu_quota(),
            generator: placement.generator.into_iter().collect(),
            shards: placement.shards.clone(),
            helpers: placement.helpers.clone(),
        },
    }
}

/// The gates of a run as a whole. `on_disk`: an engine with files takes part; `shards`: how many there are.
#[must_use]
pub fn verdicts(dir: &Path, machine: &Machine, on_disk: bool, shards: u32) -> Vec<Verdict> {
    let verdict = |gate: &str, passed: bool, detail: String| Verdict { gate: gate.to_owned(), passed, detail };
    let cores = machine.cores.quota.unwrap_or(f64::INFINITY).min(machine.cores.allowed.len() as f64);
    let own = machine.cores.generator.len() == 1 && machine.cores.shards.len() >= shards as usize;
    let mut verdicts = vec![
        verdict(
            "debug build",
            !cfg!(debug_assertions),
            if cfg!(debug_assertions) {
                "a debug build measures itself: build with --release".to_owned()
            } else {
                "a release build".to_owned()
            },
        ),
        verdict(
            "cores",
            cores >= CORES_MIN && own,
            format!(
                "{cores} cores for this process, {} for {shards} shard{}, {} for the generator: each needs its own",
                machine.cores.shards.len(),
                if shards == 1 { "" } else { "s" },
                machine.cores.generator.len(),
            ),
        ),
    ];
    if on_disk {
        let mount = Mount::of(dir);
        let in_memory = mount.as_ref().is_some_and(Mount::is_memory);
        verdicts.push(verdict(
            "tmpfs",
            !in_memory,
            format!(
                "data on {}{}",
                machine.file_system,
                if in_memory { ": there is no disk to measure; name one with --dir" } else { "" }
            ),
        ));
    }
    verdicts
}

/// The build: version, commit and whether files were changed.
pub struct Build {
    /// Commit; `None` outside a checkout.
    pub commit: Option<String>,
    /// Files were changed since.
    pub dirty: Option<bool>,
}

impl Build {
    /// Asks the checkout that the program was built from, if it is still there.
    #[must_use]
    pub fn find() -> Self {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let commit = git(&["rev-parse", "HEAD"]);
        let dirty = commit.as_ref().and_then(|_| git(&["status", "--porcelain"])).map(|changed| !changed.is_empty());
        Self { commit, dirty }
    }

    /// `0.1.0 (a1b2c3d, modified)`.
    #[must_use]
    pub fn label(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match (&self.commit, self.dirty) {
            (Some(commit), Some(true)) => format!("{version} ({:.7}, modified)", commit),
            (Some(commit), _) => format!("{version} ({:.7})", commit),
            (None, _) => version.to_owned(),
        }
    }
}

/// The compiler of this build.
#[must_use]
pub fn toolchain() -> String {
    env!("HIGHWATER_RUSTC").to_owned()
}

/// `release` or `debug`.
#[must_use]
pub fn build_kind() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}
