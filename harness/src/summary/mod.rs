//! The model of a run's result: what `summary.json` and `manifest.json` hold, and the one source of the terminal table, of
//! `show`, of `report.html` and of the notebooks. `results/README.md` describes the same schema for people.
//!
//! Units: times on the run's clock are seconds from the first intended arrival that the schedule could hold (`_s`),
//! latencies are nanoseconds (`_ns`), rates are messages a second (`_per_s`). Numbers are finite: JSON has no NaN. What could
//! not be measured is `None` ("absent"), never zero.
//!
//! What never lives here: measuring. The run fills these types; nothing here looks at the machine.

mod ceiling;
mod engine;
mod files;
mod flood;
pub mod format;
mod machine;

pub use ceiling::{CeilingShare, PlateauUse};
pub use engine::{
    Attestation, Backlog, Content, CoreTaken, Costs, Dry, EngineResult, GeneratorLoad, LatencySet, Measurement,
    ObjectiveMet, P9999_SAMPLES_MIN, PhaseResult, SAMPLES_BEYOND_MIN, Series, StageCost, Status, Throughput,
    WINDOW_INTERVALS_MAX, percentile_windows,
};
pub use files::{
    LATENCY_FILE, MANIFEST_FILE, REPORT_FILE, ResultError, SERIES_COLUMNS, SERIES_FILE, SUMMARY_FILE, load_manifest,
    load_summary, store_json, store_series,
};
pub use flood::{Fluid, UNDER_QUEUE_MS, dry_from, under_threshold};
pub use machine::{Cores, Machine, Manifest};

use serde::{Deserialize, Serialize};

/// Version of the schema of `summary.json` and `manifest.json`. It grows when a field changes its meaning or disappears;
/// a field that is only added leaves it alone.
pub const SCHEMA_VERSION: u32 = 1;

/// The result of one run: all engines under one schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// What was run.
    pub run: Run,
    /// Where.
    pub machine: Machine,
    /// Walls known for this machine, device, profile, durability and shards, the null engine's among them.
    pub walls: Vec<Wall>,
    /// The clock that all series share.
    pub clock: Clock,
    /// Phases of the profile in order.
    pub phases: Vec<Phase>,
    /// Messages a second that the schedule offers, by interval; the same for every engine.
    pub offered_per_s: Vec<f64>,
    /// What counts as good enough, at the durability of the run; may be empty.
    pub objectives: Vec<Objective>,
    /// Engines in the order asked for (not the order in which they ran: see [`EngineResult::order`]).
    pub engines: Vec<EngineResult>,
    /// Gates that concern the run as a whole: debug build, quota of cores, tmpfs.
    pub validity: Vec<Verdict>,
    /// Sentences to print under the table.
    pub notes: Vec<String>,
}

/// The layout of runs whose files do not name one.
fn own_logs() -> String {
    broker::Layout::Partition.to_string()
}

/// Identity of a run: enough to name it, title it and repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name of the results folder: `<utc>-<profile>-<id>`.
    pub id: String,
    /// Name of the profile.
    pub profile: String,
    /// The profile's own one-line title.
    pub title: String,
    /// How many times faster than life the clock ran; rates are unchanged by it.
    pub speed: f64,
    /// As on the command line: `durable`, `interval:<ms>`, `none`.
    pub durability: String,
    /// As on the command line: `inflight`, `inflight:<n>`, `linger:<us>`, `each`.
    pub commit: String,
    /// As on the command line: `partition`, `group`, `group:<n>`.
    #[serde(default = "own_logs")]
    pub layout: String,
    /// How the peak was set; `None` for a profile that carries its own rates.
    pub plateau: Option<Plateau>,
    /// Factor on the profile's own rates (`--rate`); 1 when not given.
    pub rate: f64,
    /// Seed of the schedule and of the order of engines.
    pub seed: u64,
    /// Shards of the broker.
    pub shards: u32,
    /// Bytes of a message's value, mean over the schedule.
    pub message_bytes_mean: f64,
    /// Messages of the schedule.
    pub messages: u64,
    /// Payload bytes of the schedule: whole record batches as they stand on disk.
    pub payload_bytes: u64,
    /// The command that repeats this run, with every choice resolved.
    pub command: String,
    /// UTC, RFC 3339, to the second.
    pub started: String,
    /// `completed` or `interrupted`.
    pub state: RunState,
    /// The build: version, commit and whether files were changed, e.g. `0.1.0 (a1b2c3d, modified)`.
    pub build: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Every engine was run to the end of the schedule and drained, or said why not.
    Completed,
    /// Ctrl-C: what had been measured is kept.
    Interrupted,
}

/// The height of the flood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Messages a second at the profile's peak.
    pub messages_per_s: f64,
    /// What it is a multiple of; `None` when `--peak N` set it.
    pub of: Option<PlateauOf>,
}

/// Where a plateau comes from: `multiple` times the wall of `engine` at `durability`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauOf {
    /// 1.5, or less when 80 % of the null engine's wall capped it.
    pub multiple: f64,
    /// The slowest disk engine.
    pub engine: String,
    /// The durability of its wall.
    pub durability: String,
    /// The null engine's wall capped the plateau.
    pub capped: bool,
    /// The walls were remembered from an earlier run on this machine instead of probed now.
    pub remembered: bool,
}

/// What an engine sustains, consumers on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wall {
    /// Engine.
    pub engine: String,
    /// Durability at which it was probed.
    pub durability: String,
    /// Messages a second.
    pub messages_per_s: f64,
    /// The generator's core was over 90 % busy: the engine may stand higher. Printed as `≥`.
    pub harness_bound: bool,
}

/// The clock of the run and what is marked on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Length of an interval of the series.
    pub interval_s: f64,
    /// End of the schedule. Series may go on after it, up to 30 s, while a backlog drains.
    pub duration_s: f64,
    /// What time is told from: `midnight` in the festival profiles, `start` in others.
    pub mark: String,
    /// When that is.
    pub mark_s: f64,
    /// Begin of the plateau: the phase with the highest rate.
    pub plateau_start_s: f64,
    /// Its end.
    pub plateau_end_s: f64,
}

/// One phase of the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name as in the profile.
    pub name: String,
    /// Role in the table.
    pub role: PhaseRole,
    /// Begin on the run's clock.
    pub start_s: f64,
    /// End on the run's clock.
    pub end_s: f64,
}

/// What a phase is to the table: its calm column, its plateau columns, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseRole {
    /// Before the flood. At most one phase.
    Calm,
    /// The highest rate. At most one phase.
    Plateau,
    /// Anything else.
    Other,
}

/// "`share` of the messages answered within `within_ns`."
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Response time.
    pub within_ns: u64,
    /// Share of the messages, 0 to 1.
    pub share: f64,
    /// Where the figure comes from, or `assumed`.
    pub source: String,
}

/// One validity gate and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Short name: `lateness`, `content`, `debug build`, …
    pub gate: String,
    /// The run may be believed as far as this gate is concerned.
    pub passed: bool,
    /// Measured value and bound, in words.
    pub detail: String,
}

impl Summary {
    /// The wall of an engine at a durability.
    pub fn wall(&self, engine: &str, durability: &str) -> Option<&Wall> {
        self.walls.iter().find(|wall| wall.engine == engine && wall.durability == durability)
    }

    /// The name of the phase with this role.
    pub fn phase_named(&self, role: PhaseRole) -> Option<&str> {
        self.phases.iter().find(|phase| phase.role == role).map(|phase| phase.name.as_str())
    }

    /// Failed gates, the run's own first (engine `None`), then each engine's in order.
    pub fn failed_gates(&self) -> impl Iterator<Item = (Option<&str>, &Verdict)> {
        let own = self.validity.iter().map(|verdict| (None, verdict));
        let engines = self.engines.iter().filter_map(|engine| {
            let measured = engine.measurement.as_ref()?;
            Some(measured.validity.iter().map(|verdict| (Some(engine.name.as_str()), verdict)))
        });
        own.chain(engines.flatten()).filter(|(_, verdict)| !verdict.passed)
    }

    /// Every gate passed. An engine that is unavailable or failed does not make the others' figures invalid.
    pub fn is_valid(&self) -> bool {
        self.failed_gates().next().is_none()
    }

    /// What the fluid model says of an engine on this schedule: capacity is what the engine sustained while a queue stood,
    /// or else its wall. `None` without either.
    pub fn fluid(&self, engine: &EngineResult) -> Option<Fluid> {
        let sustained = engine.measurement.as_ref().and_then(|measured| measured.throughput.sustained_per_s);
        let wall = self.wall(&engine.name, &self.run.durability).map(|wall| wall.messages_per_s);
        Fluid::simulate(&self.offered_per_s, self.clock.interval_s, sustained.or(wall)?)
    }
}
