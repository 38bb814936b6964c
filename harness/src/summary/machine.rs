//! The machine a run was made on, and the manifest that lets somebody judge or repeat it.

use super::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a reader of the table must know of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Type of the file system of the data directory: `ext4`.
    pub file_system: String,
    /// Block device under it, with its model where the kernel tells: `vda (virtio)`.
    pub device: String,
    /// Median latency of a bare flush: a 4 KiB overwrite and fdatasync, measured before the first engine.
    pub flush_ns: Option<u64>,
    /// Kernel release.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Cores and who has them.
    pub cores: Cores,
}

/// Who has which cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cores {
    /// Cores that the process may run on.
    pub allowed: Vec<usize>,
    /// Limit by control group in cores; `None` without one.
    pub quota: Option<f64>,
    /// The generator's and the consumers' core.
    pub generator: Vec<usize>,
    /// The shards' cores, in the order of shards.
    pub shards: Vec<usize>,
    /// Cores of the engines' helper threads.
    pub helpers: Vec<usize>,
}

/// `manifest.json`: everything that may explain a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`super::SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the results folder.
    pub run: String,
    /// UTC, RFC 3339.
    pub started: String,
    /// The command that repeats the run.
    pub command: String,
    /// SHA-256 of the profile's text and its traces'.
    pub profile_sha256: String,
    /// SHA-256 of the schedule: arrivals, sizes, partitions.
    pub schedule_sha256: String,
    /// Seed.
    pub seed: u64,
    /// The configuration after defaults, file and command line.
    pub config: serde_json::Value,
    /// Commit of the build; `None` outside a checkout.
    pub commit: Option<String>,
    /// Files were changed since that commit.
    pub dirty: Option<bool>,
    /// Compiler: `rustc 1.95.0`.
    pub toolchain: String,
    /// `release` or `debug`.
    pub build: String,
    /// The machine as in the summary.
    pub machine: Machine,
    /// Options of the mount of the data directory.
    pub mount_options: Option<String>,
    /// I/O scheduler of the device.
    pub scheduler: Option<String>,
    /// `write back` or `write through`, as the kernel believes.
    pub write_cache: Option<String>,
    /// Frequency governor.
    pub governor: Option<String>,
    /// Mitigations of processor faults, by name.
    pub mitigations: BTreeMap<String, String>,
    /// `vm.dirty_*` and others that govern write-back.
    pub sysctls: BTreeMap<String, String>,
    /// Clock source of the kernel.
    pub clock_source: Option<String>,
    /// Limits of the control group and of the process (memlock) by name.
    pub limits: BTreeMap<String, String>,
    /// The machine's ceilings as `highwater calibrate` measured them; `None` if it did not.
    #[serde(default)]
    pub ceilings: Option<crate::calibrate::Ceilings>,
    /// Engine asked for → engine that was attested.
    pub effective_engines: BTreeMap<String, String>,
    /// All gates, the engines' with `engine: ` before the name.
    pub validity: Vec<Verdict>,
}
