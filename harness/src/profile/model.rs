//! What a profile says, checked and without its spelling: plain values in base units.

use super::curve::Shape;
use super::figure::Figure;
use broker::Layout;
use serde::{Serialize, Serializer};

/// A workload profile as read from its file. Rates stand as the file has them (see [`Scale`]) on the profile's own clock;
/// [`Profile::resolve`] turns them into messages a second on the run's clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Name: lower case, digits and dashes; the file's name without `.toml`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it stands for and where it is only a model; may be empty.
    pub about: String,
    /// What time is told from.
    pub mark: Mark,
    /// Default of `--speed`.
    pub speed: f64,
    /// Default of `--seed`.
    pub seed: u64,
    /// Whether rates are relative or messages a second.
    pub scale: Scale,
    /// Phases in order; at least one, exactly one of them [`Role::Plateau`].
    pub phases: Vec<Phase>,
    /// How arrivals fall inside the curve.
    pub arrivals: ArrivalLaw,
    /// What a message is.
    pub messages: Messages,
    /// Where messages go.
    pub partitions: Partitions,
    /// Who reads.
    pub consumers: Consumers,
    /// What counts as good enough.
    pub objectives: Vec<Objective>,
    /// Sizes on disk that suit the profile; the run's own defaults where `None`.
    pub storage: Storage,
    /// Figures that others published for this workload: for comparison, never used by a run.
    pub published: Vec<Published>,
    /// Every number of the file with its source, in reading order.
    pub figures: Vec<Figure>,
    /// Sources by the short name that figures cite.
    pub sources: Vec<(String, String)>,
    /// SHA-256, in hexadecimal, of the profile's text and of its traces' in the order of their use.
    pub sha256: String,
}

/// The instant that time is told from: the beginning of a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// `midnight` in the festival profiles, `start` by default.
    pub name: String,
    /// Index of the phase that begins there.
    pub phase: usize,
}

/// What a profile's rates are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Multiples of anything; the highest rate of the plateau becomes `--peak` or, without it, `of_wall` times the slowest
    /// wall at the run's durability.
    Relative {
        /// 1.5 in the festival profiles: a flood that overtops the wall.
        of_wall: f64,
    },
    /// Messages a second, multiplied by `--rate`.
    Absolute,
}

/// A named part of the curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// Unique in the profile.
    pub name: String,
    /// What it is to the table.
    pub role: Role,
    /// Length in seconds on the profile's clock.
    pub duration_s: f64,
    /// The curve as pieces that follow each other: length in seconds, shape with times in seconds.
    pub pieces: Vec<(f64, Shape)>,
}

/// What a phase is to the table and to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Before the flood: the table's calm column. At most one phase.
    Calm,
    /// On the way up.
    Rise,
    /// The height of it: the table's plateau columns, and what `--peak` sets. Exactly one phase.
    Plateau,
    /// On the way down.
    Decay,
    /// Anything else.
    Other,
}

/// How arrivals fall inside the curve. Lengths are on the run's clock: playing faster moves the curve, not the fine grain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "law", rename_all = "kebab-case")]
pub enum ArrivalLaw {
    /// Evenly spaced in the integral of the rate: the control.
    Deterministic,
    /// Poisson: independent arrivals. The default.
    Poisson,
    /// A Poisson process whose rate switches between two states (Markov-modulated), mean 1.
    Mmpp {
        /// Rate in a burst over the curve's rate.
        burst: f64,
        /// Share of the time that bursts take; `burst * share <= 1`.
        share: f64,
        /// Mean length of a burst in seconds.
        length_s: f64,
    },
    /// The b-model (Wang et al., ICDE 2002): each half of a window gets `b` or `1 - b` of its arrivals, recursively.
    BModel {
        /// 0.5 is Poisson; 0.6 to 0.8 is bursty.
        b: f64,
        /// Length of a window in seconds.
        window_s: f64,
        /// Times that a window is halved.
        halvings: u32,
    },
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Messages {
    /// Bytes of the value.
    pub bytes: SizeLaw,
    /// Share of the value's bytes that are random, 0 to 1: about what a compressor leaves.
    pub entropy: f64,
    /// Messages of a record batch. All messages of a batch have the same size.
    pub batch: u32,
}

/// Law of the sizes, in bytes of a message's value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "law", rename_all = "kebab-case")]
pub enum SizeLaw {
    /// All the same.
    Fixed {
        /// Bytes.
        bytes: u32,
    },
    /// Log-normal, cut to `min ..= max`.
    Lognormal {
        /// Median in bytes.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Smaller draws become this.
        min: u32,
        /// Larger draws become this.
        max: u32,
    },
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Partitions {
    /// How many.
    pub count: PartitionCount,
    /// How unevenly.
    pub skew: Skew,
    /// Which of them share a log, unless `--layout` says otherwise.
    #[serde(serialize_with = "in_words")]
    pub layout: Layout,
}

/// As on the command line.
pub(super) fn in_words<S: Serializer>(layout: &Layout, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(layout)
}

/// Number of partitions (logs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionCount {
    /// As many whatever the shards.
    InAll(u32),
    /// This many on each shard.
    PerShard(u32),
}

/// How unevenly messages go to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "law", rename_all = "kebab-case")]
pub enum Skew {
    /// Each as likely.
    Uniform,
    /// Partition `k` (from 0) in proportion to `1 / (k + 1)^s`.
    Zipf {
        /// Exponent; 0 is uniform.
        s: f64,
    },
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consumers {
    /// Tail consumers of each partition or log.
    pub tail: u32,
    /// What each of them follows.
    pub follow: Follow,
    /// Readers of old data, if any.
    pub catch_up: Option<CatchUp>,
}

/// What a tail consumer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// One partition.
    Partition,
    /// One log: where partitions share logs, all that are in it.
    Log,
}

/// Readers that start at the log's beginning and read as fast as they are served (closed loop).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CatchUp {
    /// How many, spread over the partitions.
    pub readers: u32,
    /// Bytes of log, over all partitions, written before the curve begins and made cold.
    pub history_bytes: u64,
    /// Index of the phase during which they read.
    pub phase: usize,
}

/// A promise's class, for objectives: which figure may be compared with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DurabilityClass {
    /// `--durability durable`.
    Durable,
    /// `--durability interval:<ms>`.
    Interval,
    /// `--durability none`.
    None,
}

impl From<broker::Durability> for DurabilityClass {
    fn from(durability: broker::Durability) -> Self {
        match durability {
            broker::Durability::Durable => Self::Durable,
            broker::Durability::Interval(_) => Self::Interval,
            broker::Durability::None => Self::None,
        }
    }
}

/// "`share` of the messages are acknowledged within `within_ns`."
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// The durabilities it is meant for.
    pub durability: Vec<DurabilityClass>,
    /// Response time in nanoseconds.
    pub within_ns: u64,
    /// Share of the messages, 0 to 1.
    pub share: f64,
    /// Source of the share, resolved to its text.
    pub source: String,
}

/// Sizes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Bytes of a segment.
    pub segment_bytes: Option<u64>,
    /// Bytes that all logs of a run together keep.
    pub retention_bytes: Option<u64>,
}

/// A figure published for this workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    /// What was measured, and where.
    pub what: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}
