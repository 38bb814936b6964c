//! What a child process is told, and what it tells: one line of JSON in, lines of JSON out.

use crate::profile::{Profile, Resolved, Settings};
use crate::summary::EngineResult;
use anyhow::{Context, bail};
use broker::{CommitPolicy, Durability, EngineKind, NodeConfig};
use log_api::SendPath;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// One engine's part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Profile: name or file, as on the command line.
    pub profile: String,
    /// SHA-256 of its text and its traces': the child refuses others.
    pub profile_sha256: String,
    /// What is left open by the profile.
    pub peak: Option<f64>,
    /// See [`Settings::rate`].
    pub rate: Option<f64>,
    /// See [`Settings::speed`].
    pub speed: Option<f64>,
    /// See [`Settings::seed`].
    pub seed: Option<u64>,
    /// What to do.
    pub task: Task,
    /// Engine, as on the command line.
    pub engine: String,
    /// Durability, as on the command line.
    pub durability: String,
    /// Commit policy, as on the command line.
    pub commit: String,
    /// Layout, as on the command line.
    pub layout: String,
    /// Send path; `None`: the engine's natural one.
    pub send: Option<String>,
    /// Shards.
    pub shards: u32,
    /// The generator's processor.
    pub generator_cpu: Option<usize>,
    /// The shards' processors.
    pub shard_cpus: Vec<usize>,
    /// Processors of helper threads.
    pub helper_cpus: Vec<usize>,
    /// Where the logs lie.
    pub data_dir: PathBuf,
    /// Where histograms go; `None`: nowhere.
    pub out_dir: Option<PathBuf>,
    /// Sizes.
    pub sizes: Sizes,
    /// Place in the order of engines, from 1.
    pub order: u32,
    /// What the engine is known to sustain, messages a second: a gate compares with it.
    pub wall: Option<f64>,
    /// How long a backlog may drain, milliseconds.
    pub drain_ms: u64,
    /// Measure what each stage costs; never in a probe.
    pub stages: bool,
    /// The data are kept afterwards: close the logs cleanly.
    pub keep: bool,
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "task")]
pub enum Task {
    /// Plays the profile.
    Play,
    /// Floods the engine and tells what it sustains after `settle_ms` of `total_ms`.
    Probe {
        /// Not counted, milliseconds.
        settle_ms: u64,
        /// All of it, milliseconds.
        total_ms: u64,
    },
}

/// Sizes of the engine and the broker; see [`NodeConfig`] and `log_api::EngineConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes that all logs together keep.
    pub retention_bytes: u64,
    /// Bytes appended and not yet written, on a shard.
    pub inflight_bytes: u64,
    /// Bytes between two index entries.
    pub index_interval_bytes: u64,
    /// Bytes of recent log that an engine without the page cache keeps, on a shard.
    pub tail_cache_bytes: u64,
    /// Bytes between the generator and a shard.
    pub intake_bytes: u64,
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The engine has opened its logs.
    Opened,
    /// Writing the history that catch-up consumers will read.
    History {
        /// Bytes written.
        bytes: u64,
        /// Bytes to write.
        of: u64,
    },
    /// The load is running.
    Progress(Progress),
    /// A probe's answer.
    Probed(Probed),
    /// The result of a played profile.
    Measured(Box<EngineResult>),
    /// Nothing came of it.
    Failed {
        /// Why, in words.
        why: String,
        /// The engine cannot run here.
        unavailable: bool,
    },
}

/// Where a running load is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Time on the run's clock.
    pub at_s: f64,
    /// Phase, or `drain`.
    pub phase: String,
    /// Messages a second offered now.
    pub offered_per_s: f64,
    /// Messages a second acknowledged since the last line.
    pub achieved_per_s: f64,
    /// Messages due and not acknowledged.
    pub backlog: u64,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Messages a second.
    pub messages_per_s: f64,
    /// Share of its core that the generator used.
    pub generator_busy: f64,
}

impl Job {
    /// The job's profile, checked to be the one the parent read.
    ///
    /// # Errors
    /// The profile cannot be read, or has changed since.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        let profile = Profile::load(&self.profile).map_err(crate::config::Usage::from_error)?;
        if profile.sha256 != self.profile_sha256 {
            bail!("{}: the profile or a trace of it was changed while the run was starting", self.profile);
        }
        Ok(profile)
    }

    /// The settings that the profile is resolved with.
    ///
    /// # Errors
    /// A word of the job is not known.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            peak: self.peak,
            rate: self.rate,
            speed: self.speed,
            seed: self.seed,
            shards: self.shards,
            layout: Some(self.layout.parse()?),
        })
    }

    /// The engine.
    ///
    /// # Errors
    /// It has no such name.
    pub fn engine(&self) -> anyhow::Result<EngineKind> {
        Ok(self.engine.parse()?)
    }

    /// The node to start for a schedule.
    ///
    /// # Errors
    /// A word of the job is not known.
    pub fn node(&self, resolved: &Resolved) -> anyhow::Result<NodeConfig> {
        let engine = self.engine()?;
        let partitions = resolved.partitions;
        let readers = resolved.consumers.catch_up.map_or(0, |catch_up| catch_up.readers);
        let send = self.send.as_deref().map(send_path).transpose()?;
        Ok(NodeConfig {
            durability: self.durability.parse::<Durability>()?,
            commit: self.commit.parse::<CommitPolicy>()?,
            layout: resolved.layout,
            send,
            shards: self.shards,
            cpus: self.shard_cpus.clone(),
            helper_cpus: self.helper_cpus.clone(),
            partitions,
            segment_bytes: self.sizes.segment_bytes,
            inflight_bytes_max: self.sizes.inflight_bytes,
            index_interval_bytes: self.sizes.index_interval_bytes,
            tail_cache_bytes: self.sizes.tail_cache_bytes,
            retention_bytes: Some(self.sizes.retention_bytes / u64::from(partitions)),
            intake_bytes: usize::try_from(self.sizes.intake_bytes).context("intake_bytes")?,
            // A catch-up consumer connects again before its old connection is seen to be gone.
            stages: self.stages && self.task == Task::Play,
            consumers_max: (resolved.consumers.tail * partitions).div_ceil(self.shards) + 2 * readers + 1,
            ..NodeConfig::new(engine, self.data_dir.clone())
        })
    }

    /// Helper threads have no other cores than the shards'.
    #[must_use]
    pub fn helpers_share(&self) -> bool {
        !self.helper_cpus.is_empty() && self.helper_cpus.iter().all(|cpu| self.shard_cpus.contains(cpu))
    }

    /// How long a backlog may drain.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

/// A send path by its name.
///
/// # Errors
/// There is no such path.
pub fn send_path(name: &str) -> anyhow::Result<SendPath> {
    let names = SendPath::ALL.map(SendPath::name).join(", ");
    let found = SendPath::ALL.into_iter().find(|path| path.name() == name);
    found.with_context(|| format!("send path {name:?} is not known: choose one of {names}"))
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Event {
    type Err = serde_json::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_that_read_back() {
        let progress =
            Progress { at_s: 1.5, phase: "plateau".to_owned(), offered_per_s: 1e5, achieved_per_s: 9e4, backlog: 12 };
        let events = [
            Event::Opened,
            Event::History { bytes: 1, of: 2 },
            Event::Progress(progress),
            Event::Probed(Probed { messages_per_s: 123.0, generator_busy: 0.5 }),
            Event::Failed { why: "line\nbreak".to_owned(), unavailable: false },
        ];
        for event in events {
            let line = event.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(line.parse::<Event>().unwrap(), event);
        }
        assert!("not a line".parse::<Event>().is_err());
    }

    #[test]
    fn a_trace_that_was_changed_after_the_parent_read_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../workloads");
        let trace = "traces/worldcup98-1998-06-30.csv";
        std::fs::create_dir(folder.path().join("traces")).unwrap();
        for file in ["worldcup98.toml", trace] {
            std::fs::copy(shipped.join(file), folder.path().join(file)).unwrap();
        }
        let name = folder.path().join("worldcup98.toml").to_str().unwrap().to_owned();
        let job = serde_json::json!({
            "profile": name, "profile_sha256": Profile::load(&name).unwrap().sha256,
            "peak": null, "rate": null, "speed": null, "seed": null, "task": { "task": "play" },
            "engine": "memory", "durability": "none", "commit": "inflight", "layout": "partition", "send": null,
            "shards": 1, "generator_cpu": 0, "shard_cpus": [1], "helper_cpus": [1], "data_dir": "", "out_dir": null,
            "sizes": {
                "segment_bytes": 0, "retention_bytes": 0, "inflight_bytes": 0, "index_interval_bytes": 0,
                "tail_cache_bytes": 0, "intake_bytes": 0,
            },
            "order": 1, "wall": null, "drain_ms": 0, "stages": false, "keep": false,
        });
        let job: Job = serde_json::from_value(job).unwrap();
        job.profile().unwrap();
        assert!(job.helpers_share() && !Job { helper_cpus: vec![1, 2], ..job.clone() }.helpers_share());
        let counts = std::fs::read_to_string(folder.path().join(trace)).unwrap();
        std::fs::write(folder.path().join(trace), format!("# later\n{counts}")).unwrap();
        assert!(job.profile().unwrap_err().to_string().contains("a trace of it was changed"));
    }

    #[test]
    fn a_wrong_send_path_says_what_to_write() {
        assert_eq!(send_path("copy").unwrap(), SendPath::Copy);
        assert!(send_path("carrier-pigeon").unwrap_err().to_string().contains("sendfile, copy"));
    }
}
