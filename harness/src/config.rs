//! The settings of a run: the command line over a configuration file over defaults, each checked, with one clear message for what
//! is wrong.

use crate::child::job::{Sizes, send_path};
use crate::cost::machine;
use crate::profile::{did_you_mean, from_toml, parse_bytes, parse_quantity};
use anyhow::{Context, anyhow};
use broker::{CommitPolicy, Durability, EngineKind};
use log_api::SendPath;
use serde::{Deserialize, Deserializer, de};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The command cannot be understood, or asks for what cannot be: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Usage {
    /// A usage error that ends a command.
    pub fn from_error(error: impl fmt::Display) -> anyhow::Error {
        anyhow!(Self(error.to_string()))
    }
}

/// A value as it was written: on the command line or, as text, number or list, in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> de::Visitor<'de> for Words {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
                let mut words: Vec<String> = Vec::new();
                while let Some(Text(word)) = list.next_element()? {
                    words.push(word);
                }
                Ok(Text(words.join(",")))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// The options of `run`. The same names are the keys of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Engines, in the order of the table: mmap, direct, pagecache, memory, null [default: mmap,direct,pagecache]
    #[arg(long, value_name = "NAMES")]
    pub engine: Option<Text>,
    /// When a message is acknowledged: durable, interval:<ms>, none [default: durable]
    #[arg(long, value_name = "WHEN")]
    pub durability: Option<Text>,
    /// How appends are gathered into one commit: inflight, inflight:<n>, linger:<us>, each [default: inflight]
    #[arg(long, value_name = "HOW")]
    pub commit: Option<Text>,
    /// How consumers are served: sendfile, copy [default: each engine's natural path]
    #[arg(long, value_name = "PATH")]
    pub send: Option<Text>,
    /// Shards, each on a core of its own [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub shards: Option<Text>,
    /// Cores: the first for the generator, the others for the shards [default: all that are allowed]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<Text>,
    /// Cores of the engines' helper threads [default: all that are allowed]
    #[arg(long, value_name = "LIST")]
    pub helper_cpus: Option<Text>,
    /// Height of the plateau in messages a second, e.g. 200k; `probe` measures the engines' walls again
    #[arg(long, value_name = "N|probe", allow_negative_numbers = true)]
    pub peak: Option<Text>,
    /// Factor on a profile's own rates; excludes --peak
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub rate: Option<Text>,
    /// Play the curve this many times faster, at unchanged rates
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub speed: Option<Text>,
    /// Seed of the schedule and of the order of engines
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<Text>,
    /// Data directory, kept afterwards; with several engines DIR/<engine> [default: below the results, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Results folder [default: results/local/<utc>-<profile>-<id>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Bytes of a segment, e.g. 128MiB; a multiple of 1 MiB
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub segment_bytes: Option<Text>,
    /// Bytes that all logs of an engine together keep [default: 8 GiB, or a quarter of the free space]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub retention_bytes: Option<Text>,
    /// Bytes that a shard may have appended and not yet written [default: 16MiB]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub inflight_bytes: Option<Text>,
    /// Bytes of log between two index entries [default: 4KiB]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub index_interval_bytes: Option<Text>,
    /// Bytes of recent log that an engine without the page cache keeps for tail readers [default: 64MiB]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub tail_cache_bytes: Option<Text>,
    /// Bytes between the generator and a shard; a power of two [default: 2MiB, or eight of the largest batches]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub intake_bytes: Option<Text>,
    /// Print summary.json to standard output instead of the table
    #[arg(long)]
    pub json: bool,
    /// Print what a run would do, refuse what does not fit, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// End with status 3 when the run fails its own validity gates
    #[arg(long)]
    pub strict: bool,
}

/// How the plateau is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peak {
    /// By the profile, or by walls that are remembered or probed.
    Open,
    /// Messages a second.
    Fixed(f64),
    /// By walls that are probed now.
    Probe,
}

/// Sizes that were asked for; what is `None` follows from the profile and the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedSizes {
    /// See [`Sizes::segment_bytes`].
    pub segment: Option<u64>,
    /// See [`Sizes::retention_bytes`].
    pub retention: Option<u64>,
    /// See [`Sizes::inflight_bytes`].
    pub inflight: Option<u64>,
    /// See [`Sizes::index_interval_bytes`].
    pub index_interval: Option<u64>,
    /// See [`Sizes::tail_cache_bytes`].
    pub tail_cache: Option<u64>,
    /// See [`Sizes::intake_bytes`].
    pub intake: Option<u64>,
}

/// The settings of a run, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// Engines in the order of the table.
    pub engines: Vec<EngineKind>,
    /// They were named, not left to the default: one that cannot run here is a failure.
    pub engines_named: bool,
    /// When a message is acknowledged.
    pub durability: Durability,
    /// How appends are gathered.
    pub commit: CommitPolicy,
    /// How consumers are served; `None`: each engine's natural path.
    pub send: Option<SendPath>,
    /// Shards.
    pub shards: u32,
    /// Who runs where.
    pub placement: Placement,
    /// How high.
    pub peak: Peak,
    /// Factor on the profile's own rates.
    pub rate: Option<f64>,
    /// How many times faster.
    pub speed: Option<f64>,
    /// Seed.
    pub seed: Option<u64>,
    /// Data directory, kept.
    pub dir: Option<PathBuf>,
    /// Results folder.
    pub out: Option<PathBuf>,
    /// Sizes.
    pub sizes: AskedSizes,
    /// `summary.json` instead of the table.
    pub json: bool,
    /// Only the plan.
    pub dry_run: bool,
    /// Status 3 for a run that is not valid.
    pub strict: bool,
}

/// Who runs on which core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The generator's core; `None` where a single core must do for everything.
    pub generator: Option<usize>,
    /// The shards' cores, in order.
    pub shards: Vec<usize>,
    /// The helper threads' cores.
    pub helpers: Vec<usize>,
}

impl Placement {
    /// Places `shards` on `cpus` (the first is the generator's), which must be among `allowed`.
    ///
    /// # Errors
    /// A core that is not allowed or named twice.
    pub fn new(cpus: Option<&[usize]>, helpers: Option<&[usize]>, allowed: &[usize], shards: u32) -> Result<Self, String> {
        for named in [cpus, helpers].into_iter().flatten() {
            if let Some(other) = named.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(format!("core {other} is not among those that this process may use: {}", list(allowed)));
            }
            if let Some(twice) = named.iter().enumerate().find(|(at, cpu)| named[..*at].contains(cpu)) {
                return Err(format!("core {} is named twice", twice.1));
            }
        }
        let cpus = cpus.unwrap_or(allowed);
        let helpers = helpers.unwrap_or(allowed).to_vec();
        Ok(match cpus {
            [generator, rest @ ..] if !rest.is_empty() => Self {
                generator: Some(*generator),
                shards: rest.iter().copied().take(shards as usize).collect(),
                helpers,
            },
            _ => Self { generator: None, shards: Vec::new(), helpers },
        })
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Where each value was written, for messages.
struct Origin<'a> {
    file: Option<(&'a Path, &'a str)>,
    command_line: &'a Options,
}

impl Origin<'_> {
    fn wrong(&self, key: &str, on_command_line: bool, found: impl fmt::Display, expected: impl fmt::Display) -> anyhow::Error {
        let place = match self.file {
            Some((path, text)) if !on_command_line => {
                let is_key = |line: &&str| line.split('=').next().is_some_and(|word| word.trim() == key);
                let line = text.lines().position(|line| is_key(&line)).map_or(String::new(), |line| format!(":{}", line + 1));
                format!("{}{line}: {key}", path.display())
            }
            _ => format!("--{key}"),
        };
        anyhow!(Usage(format!("{place} is {found}; expected {expected}")))
    }
}

/// A value and whether it came from the command line.
type Chosen = Option<(String, bool)>;

fn choose(line: Option<&Text>, file: Option<&Text>) -> Chosen {
    line.map(|text| (text.0.clone(), true)).or_else(|| file.map(|text| (text.0.clone(), false)))
}

impl RunConfig {
    /// The command line's options over those of a configuration file, checked.
    ///
    /// # Errors
    /// [`Usage`] that says what is wrong, where, and what to write instead.
    pub fn new(options: &Options, file: Option<&Path>) -> anyhow::Result<Self> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Usage::from_error(format!("--config {}: {error}", path.display())))?,
            None => String::new(),
        };
        let from_file: Options = toml::from_str(&text).map_err(|error| {
            Usage::from_error(from_toml(&file.unwrap_or(Path::new("")).display().to_string(), &text, &error))
        })?;
        let origin = Origin { file: file.map(|path| (path, text.as_str())), command_line: options };
        Self::checked(&origin, options, &from_file)
    }

    fn checked(origin: &Origin<'_>, line: &Options, file: &Options) -> anyhow::Result<Self> {
        macro_rules! chosen {
            ($field:ident) => {
                choose(line.$field.as_ref(), file.$field.as_ref())
            };
        }
        debug_assert!(std::ptr::eq(origin.command_line, line));
        let word = |key: &str, chosen: Chosen, default: &str| {
            let (text, on_line) = chosen.unwrap_or_else(|| (default.to_owned(), true));
            (key.to_owned(), text, on_line)
        };
        let parsed = |(key, text, on_line): (String, String, bool), parse: &dyn Fn(&str) -> Result<(), String>| {
            parse(&text).map_err(|expected| origin.wrong(&key, on_line, format!("{text:?}"), expected))
        };
        let mut engines = Vec::new();
        let default_engines = EngineKind::DISK.map(EngineKind::name).join(",");
        let (key, text, on_line) = word("engine", chosen!(engine), &default_engines);
        for name in text.split(',').map(str::trim) {
            let kind: EngineKind = name.parse().map_err(|_| {
                let names = EngineKind::ALL.map(EngineKind::name);
                let near = did_you_mean(name, names).map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                origin.wrong(&key, on_line, format!("{name:?}"), format!("one or more of {}{near}", names.join(", ")))
            })?;
            if engines.contains(&kind) {
                return Err(origin.wrong(&key, on_line, format!("{text:?}"), "each engine once"));
            }
            engines.push(kind);
        }
        let engines_named = chosen!(engine).is_some();
        let mut durability = Durability::Durable;
        parsed(word("durability", chosen!(durability), "durable"), &|text| {
            text.parse::<Durability>().map(|_| ()).map_err(|error| error.expected)
        })?;
        if let Some((text, _)) = chosen!(durability) {
            durability = text.parse()?;
        }
        let mut commit = CommitPolicy::Inflight(1);
        parsed(word("commit", chosen!(commit), "inflight"), &|text| {
            text.parse::<CommitPolicy>().map(|_| ()).map_err(|error| error.expected)
        })?;
        if let Some((text, _)) = chosen!(commit) {
            commit = text.parse()?;
        }
        let send = match chosen!(send) {
            Some((text, on_line)) => {
                let names = SendPath::ALL.map(SendPath::name).join(" or ");
                Some(send_path(&text).map_err(|_| origin.wrong("send", on_line, format!("{text:?}"), names))?)
            }
            None => None,
        };
        let whole = |key: &str, chosen: Chosen, min: u64, max: u64| match chosen {
            Some((text, on_line)) => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
                _ => Err(origin.wrong(key, on_line, text, format!("a whole number from {min} to {max}"))),
            },
            None => Ok(None),
        };
        let positive = |key: &str, chosen: Chosen| match chosen {
            Some((text, on_line)) => match parse_quantity(&text) {
                Ok(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
                _ => Err(origin.wrong(key, on_line, text, "a number above 0")),
            },
            None => Ok(None),
        };
        let bytes = |key: &str, chosen: Chosen, fits: &dyn Fn(u64) -> bool, expected: &str| match chosen {
            Some((text, on_line)) => match parse_bytes(&text) {
                Ok(bytes) if fits(bytes) => Ok(Some(bytes)),
                _ => Err(origin.wrong(key, on_line, text, expected)),
            },
            None => Ok(None),
        };
        let cores = |key: &str, chosen: Chosen| match chosen {
            Some((text, on_line)) => {
                let parsed: Result<Vec<usize>, _> = text.split(',').map(|cpu| cpu.trim().parse()).collect();
                parsed.map(Some).map_err(|_| origin.wrong(key, on_line, format!("{text:?}"), "numbers of cores, as in 0,1"))
            }
            None => Ok(None),
        };
        let shards = whole("shards", chosen!(shards), 1, 1024)?.unwrap_or(1) as u32;
        let (cpus, helper_cpus) = (cores("cpus", chosen!(cpus))?, cores("helper-cpus", chosen!(helper_cpus))?);
        let allowed = machine::allowed_cpus();
        let placement = Placement::new(cpus.as_deref(), helper_cpus.as_deref(), &allowed, shards);
        let peak = match chosen!(peak) {
            Some((text, _)) if text == "probe" => Peak::Probe,
            Some((text, on_line)) => match parse_quantity(&text) {
                Ok(number) if number.is_finite() && number > 0.0 => Peak::Fixed(number),
                _ => {
                    return Err(origin.wrong("peak", on_line, text, "messages a second above 0, as in 200k, or probe"));
                }
            },
            None => Peak::Open,
        };
        let rate = positive("rate", chosen!(rate))?;
        if rate.is_some() && peak != Peak::Open {
            let both = "--rate and --peak exclude each other: one multiplies the profile's rates, the other sets its plateau";
            return Err(Usage::from_error(both));
        }
        let mebibytes = |bytes: u64| bytes > 0 && bytes % (1 << 20) == 0;
        let above = |min: u64| move |bytes: u64| bytes >= min;
        let sizes = AskedSizes {
            segment: bytes("segment-bytes", chosen!(segment_bytes), &mebibytes, "a multiple of 1MiB, as in 128MiB")?,
            retention: bytes("retention-bytes", chosen!(retention_bytes), &above(1 << 20), "1MiB or more, as in 8GiB")?,
            inflight: bytes("inflight-bytes", chosen!(inflight_bytes), &above(1 << 20), "1MiB or more")?,
            index_interval: bytes("index-interval-bytes", chosen!(index_interval_bytes), &above(512), "512 or more")?,
            tail_cache: bytes("tail-cache-bytes", chosen!(tail_cache_bytes), &above(1 << 20), "1MiB or more")?,
            intake: bytes(
                "intake-bytes",
                chosen!(intake_bytes),
                &|bytes| bytes.is_power_of_two() && bytes >= 64 << 10,
                "a power of two from 64KiB, as in 2MiB",
            )?,
        };
        Ok(Self {
            engines,
            engines_named,
            durability,
            commit,
            send,
            shards,
            placement: placement.map_err(|why| Usage::from_error(format!("--cpus: {why}")))?,
            peak,
            rate,
            speed: positive("speed", chosen!(speed))?,
            seed: whole("seed", chosen!(seed), 0, u64::MAX)?,
            dir: line.dir.clone().or_else(|| file.dir.clone()),
            out: line.out.clone().or_else(|| file.out.clone()),
            sizes,
            json: line.json || file.json,
            dry_run: line.dry_run || file.dry_run,
            strict: line.strict || file.strict,
        })
    }
}

/// Most bytes that an engine keeps when nothing else is said.
const RETENTION_BYTES_DEFAULT: u64 = 8 << 30;
/// Share of the free space that an engine may fill when nothing else is said.
const FREE_SHARE: u64 = 4;
const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
/// Segments that a log's share is cut into at least, so that retention can keep its bound.
const SEGMENTS_MIN: u64 = 4;
const INTAKE_BYTES_DEFAULT: u64 = 2 << 20;
/// Largest batches that the intake holds at least.
const INTAKE_BATCHES_MIN: u64 = 8;

impl AskedSizes {
    /// The sizes of a run with so many partitions and batches of at most so many bytes, in a directory with `free` bytes.
    /// `hints` are the profile's own segment and retention sizes.
    #[must_use]
    pub fn resolve(&self, hints: (Option<u64>, Option<u64>), partitions: u32, batch_bytes_max: u64, free: u64) -> Sizes {
        let bounded = RETENTION_BYTES_DEFAULT.min(free / FREE_SHARE);
        let retention_bytes = self.retention.or(hints.1).unwrap_or(bounded).max(1 << 20);
        let share = retention_bytes / u64::from(partitions);
        let mebibyte = 1 << 20;
        let whole = |bytes: u64| (bytes / mebibyte).max(1) * mebibyte;
        let largest = self.segment.or(hints.0).unwrap_or(SEGMENT_BYTES_DEFAULT);
        let fitting = whole((share / SEGMENTS_MIN).min(largest)).max(whole(batch_bytes_max.saturating_mul(2)));
        let intake = INTAKE_BYTES_DEFAULT.max((batch_bytes_max * INTAKE_BATCHES_MIN).next_power_of_two());
        Sizes {
            segment_bytes: self.segment.unwrap_or(fitting),
            retention_bytes,
            inflight_bytes: self.inflight.unwrap_or(16 << 20).max(2 * batch_bytes_max),
            index_interval_bytes: self.index_interval.unwrap_or(4096),
            tail_cache_bytes: self.tail_cache.unwrap_or(64 << 20),
            intake_bytes: self.intake.unwrap_or(intake),
        }
    }
}

/// The folder that holds results: `results` in the root of the checkout that holds the current directory, or else in the current
/// directory.
///
/// # Errors
/// There is no current directory.
pub fn results_root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("find the current directory")?;
    let is_root = |dir: &&Path| {
        std::fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
    };
    Ok(here.ancestors().find(is_root).unwrap_or(&here).join("results"))
}
