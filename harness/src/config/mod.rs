//! The settings of a run: the command line over a configuration file over defaults, each checked, with one clear message for what
//! is wrong.

mod options;
mod placement;
mod sizes;

pub use options::{Options, Text};
pub use placement::Placement;
pub use sizes::AskedSizes;

use crate::child::job::send_path;
use crate::cost::machine;
use crate::profile::{did_you_mean, from_toml, parse_bytes, parse_quantity};
use anyhow::Context;
use broker::{CommitPolicy, ConfigError, Durability, EngineKind, Layout};
use log_api::SendPath;
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
        anyhow::Error::new(Self(error.to_string()))
    }
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
    /// Which partitions share a log; `None`: as the profile says.
    pub layout: Option<Layout>,
    /// How consumers are served; `None`: each engine's natural path.
    pub send: Option<SendPath>,
    /// Shards.
    pub shards: u32,
    /// Who runs where.
    pub placement: Placement,
    /// Options that change figures and were given as text: `--cpus`, `--helper-cpus` and the sizes, as flags that repeat them.
    pub given: Vec<String>,
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
    /// Measure what each stage costs.
    pub stages: bool,
    /// `summary.json` instead of the table.
    pub json: bool,
    /// Only the plan.
    pub dry_run: bool,
    /// Status 3 for a run that is not valid.
    pub strict: bool,
}

/// The options of the command line over those of a file, and where each was written.
struct Sources<'a> {
    line: &'a Options,
    file: &'a Options,
    /// Path and text of the file.
    text: Option<(&'a Path, &'a str)>,
}

/// One option as it was written.
struct Written {
    key: &'static str,
    text: String,
    on_command_line: bool,
}

impl Sources<'_> {
    /// An option by its key, wherever it was written.
    fn find(&self, key: &'static str, of: impl Fn(&Options) -> Option<&Text>) -> Option<Written> {
        let written = |text: &Text, on_command_line| Written { key, text: text.0.clone(), on_command_line };
        of(self.line).map(|text| written(text, true)).or_else(|| of(self.file).map(|text| written(text, false)))
    }

    fn wrong(&self, written: &Written, expected: impl fmt::Display) -> anyhow::Error {
        let Written { key, text, .. } = written;
        let place = match self.text {
            Some((path, file)) if !written.on_command_line => {
                let is_key = |line: &str| line.split('=').next().is_some_and(|word| word.trim() == *key);
                let line = file.lines().position(is_key).map_or(String::new(), |line| format!(":{}", line + 1));
                format!("{}{line}: {key}", path.display())
            }
            _ => format!("--{key}"),
        };
        Usage::from_error(format!("{place} is {text:?}; expected {expected}"))
    }

    /// One of the broker's words.
    fn word<T: FromStr<Err = ConfigError>>(&self, written: Option<Written>, default: T) -> anyhow::Result<T> {
        written.map_or(Ok(default), |written| self.parsed(&written))
    }

    fn parsed<T: FromStr<Err = ConfigError>>(&self, written: &Written) -> anyhow::Result<T> {
        written.text.parse().map_err(|error: ConfigError| self.wrong(written, error.expected))
    }

    fn engines(&self, written: Option<Written>) -> anyhow::Result<Vec<EngineKind>> {
        let Some(written) = written else { return Ok(EngineKind::DISK.to_vec()) };
        let mut engines = Vec::new();
        for name in written.text.split(',').map(str::trim) {
            let names = EngineKind::ALL.map(EngineKind::name);
            let kind = name.parse().map_err(|_| {
                let near = did_you_mean(name, names).map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                self.wrong(&written, format!("one or more of {}{near}", names.join(", ")))
            })?;
            if engines.contains(&kind) {
                return Err(self.wrong(&written, "each engine once"));
            }
            engines.push(kind);
        }
        Ok(engines)
    }

    fn send(&self, written: Option<Written>) -> anyhow::Result<Option<SendPath>> {
        let Some(written) = written else { return Ok(None) };
        let names = SendPath::ALL.map(SendPath::name).join(" or ");
        send_path(&written.text).map(Some).map_err(|_| self.wrong(&written, names))
    }

    fn whole(&self, written: Option<Written>, min: u64, max: u64) -> anyhow::Result<Option<u64>> {
        let Some(written) = written else { return Ok(None) };
        match written.text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(&written, format!("a whole number from {min} to {max}"))),
        }
    }

    fn positive(&self, written: Option<Written>) -> anyhow::Result<Option<f64>> {
        let Some(written) = written else { return Ok(None) };
        match positive(&written.text) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(&written, "a number above 0")),
        }
    }

    fn peak(&self, written: Option<Written>) -> anyhow::Result<Peak> {
        let Some(written) = written else { return Ok(Peak::Open) };
        match (written.text.as_str(), positive(&written.text)) {
            ("probe", _) => Ok(Peak::Probe),
            (_, Some(number)) => Ok(Peak::Fixed(number)),
            (_, None) => Err(self.wrong(&written, "messages a second above 0, as in 200k, or probe")),
        }
    }

    fn bytes(&self, written: Option<Written>, fits: fn(u64) -> bool, expected: &str) -> anyhow::Result<Option<u64>> {
        let Some(written) = written else { return Ok(None) };
        match parse_bytes(&written.text) {
            Ok(bytes) if fits(bytes) => Ok(Some(bytes)),
            _ => Err(self.wrong(&written, expected)),
        }
    }

    fn cores(&self, written: Option<Written>) -> anyhow::Result<Option<Vec<usize>>> {
        let Some(written) = written else { return Ok(None) };
        let parsed: Result<Vec<usize>, _> = written.text.split(',').map(|cpu| cpu.trim().parse()).collect();
        parsed.map(Some).map_err(|_| self.wrong(&written, "numbers of cores, as in 0,1"))
    }
}

fn positive(text: &str) -> Option<f64> {
    parse_quantity(text).ok().filter(|number| number.is_finite() && *number > 0.0)
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
        let name = file.unwrap_or(Path::new("")).display().to_string();
        let from_file = toml::from_str(&text).map_err(|error| Usage::from_error(from_toml(&name, &text, &error)))?;
        let text = file.map(|path| (path, text.as_str()));
        Self::checked(&Sources { line: options, file: &from_file, text })
    }

    fn checked(sources: &Sources<'_>) -> anyhow::Result<Self> {
        macro_rules! find {
            ($key:literal, $field:ident) => {
                sources.find($key, |options| options.$field.as_ref())
            };
        }
        let shards = sources.whole(find!("shards", shards), 1, SHARDS_MAX)?.unwrap_or(1) as u32;
        let cpus = sources.cores(find!("cpus", cpus))?;
        let helper_cpus = sources.cores(find!("helper-cpus", helper_cpus))?;
        let placement = Placement::new(cpus.as_deref(), helper_cpus.as_deref(), &machine::allowed_cpus(), shards)
            .map_err(|why| Usage::from_error(format!("--cpus: {why}")))?;
        let peak = sources.peak(find!("peak", peak))?;
        let rate = sources.positive(find!("rate", rate))?;
        if rate.is_some() && peak != Peak::Open {
            let both =
                "--rate and --peak exclude each other: one multiplies the profile's rates, the other sets its plateau";
            return Err(Usage::from_error(both));
        }
        let a_mebibyte = |bytes| bytes >= 1 << 20;
        let of_mebibytes = |bytes: u64| bytes > 0 && bytes.is_multiple_of(1 << 20);
        let a_ring = |bytes: u64| bytes.is_power_of_two() && bytes >= 64 << 10;
        let sizes = AskedSizes {
            segment: sources.bytes(
                find!("segment-bytes", segment_bytes),
                of_mebibytes,
                "a multiple of 1MiB, as in 128MiB",
            )?,
            retention: sources.bytes(
                find!("retention-bytes", retention_bytes),
                a_mebibyte,
                "1MiB or more, as in 8GiB",
            )?,
            inflight: sources.bytes(find!("inflight-bytes", inflight_bytes), a_mebibyte, "1MiB or more")?,
            index_interval: sources.bytes(
                find!("index-interval-bytes", index_interval_bytes),
                |bytes| bytes >= 512,
                "512 or more",
            )?,
            tail_cache: sources.bytes(find!("tail-cache-bytes", tail_cache_bytes), a_mebibyte, "1MiB or more")?,
            intake: sources.bytes(
                find!("intake-bytes", intake_bytes),
                a_ring,
                "a power of two from 64KiB, as in 2MiB",
            )?,
        };
        let given = [
            find!("cpus", cpus),
            find!("helper-cpus", helper_cpus),
            find!("segment-bytes", segment_bytes),
            find!("retention-bytes", retention_bytes),
            find!("inflight-bytes", inflight_bytes),
            find!("index-interval-bytes", index_interval_bytes),
            find!("tail-cache-bytes", tail_cache_bytes),
            find!("intake-bytes", intake_bytes),
        ];
        let given = given.into_iter().flatten().map(|Written { key, text, .. }| format!("--{key} {text}")).collect();
        let Sources { line, file, .. } = sources;
        Ok(Self {
            engines: sources.engines(find!("engine", engine))?,
            engines_named: line.engine.is_some() || file.engine.is_some(),
            durability: sources.word(find!("durability", durability), Durability::Durable)?,
            commit: sources.word(find!("commit", commit), CommitPolicy::Inflight(1))?,
            layout: find!("layout", layout).map(|written| sources.parsed(&written)).transpose()?,
            send: sources.send(find!("send", send))?,
            shards,
            placement,
            given,
            peak,
            rate,
            speed: sources.positive(find!("speed", speed))?,
            seed: sources.whole(find!("seed", seed), 0, u64::MAX)?,
            dir: line.dir.clone().or_else(|| file.dir.clone()),
            out: line.out.clone().or_else(|| file.out.clone()),
            sizes,
            stages: line.stages || file.stages,
            json: line.json || file.json,
            dry_run: line.dry_run || file.dry_run,
            strict: line.strict || file.strict,
        })
    }
}

/// Shards of one node.
const SHARDS_MAX: u64 = broker::node::SHARDS_MAX as u64;
/// The folder in which a file lies that was named on the command line, perhaps by its name alone.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The folder that holds results: `results` in the root of the checkout that holds the current directory, or else in the current
/// directory.
///
/// # Errors
/// There is no current directory.
pub fn results_root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("find the current directory")?;
    let is_root =
        |dir: &&Path| std::fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"));
    Ok(here.ancestors().find(is_root).unwrap_or(&here).join("results"))
}
