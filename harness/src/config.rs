//! The settings of a run: the command line over a configuration file over defaults, each checked, with one clear message for what
//! is wrong.

#![allow(rustdoc::invalid_html_tags, reason = "the documentation of options is also what --help prints")]

use crate::child::job::{Sizes, send_path};
use crate::cost::machine;
use crate::profile::{did_you_mean, from_toml, parse_bytes, parse_quantity};
use anyhow::Context;
use broker::{CommitPolicy, ConfigError, Durability, EngineKind};
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
        anyhow::Error::new(Self(error.to_string()))
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
    /// Cores of the engines' helper threads [default: those that are left, or else the shards']
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
    pub fn new(
        cpus: Option<&[usize]>,
        helpers: Option<&[usize]>,
        allowed: &[usize],
        shards: u32,
    ) -> Result<Self, String> {
        for named in [cpus, helpers].into_iter().flatten() {
            if let Some(other) = named.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(format!("core {other} is not among those that this process may use: {}", list(allowed)));
            }
            if let Some(twice) = named.iter().enumerate().find(|(at, cpu)| named[..*at].contains(cpu)) {
                return Err(format!("core {} is named twice", twice.1));
            }
        }
        let [generator, rest @ ..] = cpus.unwrap_or(allowed) else { return Ok(Self::default()) };
        if rest.is_empty() {
            return Ok(Self { helpers: helpers.unwrap_or(allowed).to_vec(), ..Self::default() });
        }
        let shards: Vec<usize> = rest.iter().copied().take(shards as usize).collect();
        let free: Vec<usize> =
            allowed.iter().copied().filter(|cpu| cpu != generator && !shards.contains(cpu)).collect();
        let helpers = match helpers {
            Some(helpers) => helpers.to_vec(),
            // The generator's core is nobody else's: what a helper takes there would be lateness. An engine has its shard's.
            None if free.is_empty() => shards.clone(),
            None => free,
        };
        Ok(Self { generator: Some(*generator), shards, helpers })
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
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
        let Some(written) = written else { return Ok(default) };
        written.text.parse().map_err(|error: ConfigError| self.wrong(&written, error.expected))
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
            json: line.json || file.json,
            dry_run: line.dry_run || file.dry_run,
            strict: line.strict || file.strict,
        })
    }
}

/// Shards of one node.
const SHARDS_MAX: u64 = broker::node::SHARDS_MAX as u64;
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
    pub fn resolve(
        &self,
        hints: (Option<u64>, Option<u64>),
        partitions: u32,
        batch_bytes_max: u64,
        free: u64,
    ) -> Sizes {
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
    let is_root =
        |dir: &&Path| std::fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"));
    Ok(here.ancestors().find(is_root).unwrap_or(&here).join("results"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_core_is_the_generators_and_the_others_are_the_shards() {
        let placed = |cpus: Option<&[usize]>, shards| Placement::new(cpus, None, &[0, 1, 2, 3], shards);
        let two = placed(None, 2).unwrap();
        assert_eq!((two.generator, two.shards, two.helpers), (Some(0), vec![1, 2], vec![3]));
        let full = placed(None, 3).unwrap();
        assert_eq!((full.shards, full.helpers), (vec![1, 2, 3], vec![1, 2, 3]), "never the generator's core");
        let named = placed(Some(&[3, 1]), 1).unwrap();
        assert_eq!((named.generator, named.shards), (Some(3), vec![1]));
        let alone = placed(Some(&[2]), 1).unwrap();
        assert_eq!((alone.generator, alone.shards), (None, vec![]));
        assert!(placed(Some(&[0, 7]), 1).unwrap_err().contains("core 7"));
        assert!(placed(Some(&[1, 1]), 1).unwrap_err().contains("twice"));
    }

    #[test]
    fn sizes_follow_from_what_the_disk_and_the_partitions_leave() {
        let asked = AskedSizes::default();
        let one = asked.resolve((None, None), 1, 1_100, 100 << 30);
        assert_eq!((one.retention_bytes, one.segment_bytes, one.intake_bytes), (8 << 30, 128 << 20, 2 << 20));
        let small = asked.resolve((None, None), 1, 1_100, 2 << 30);
        assert_eq!((small.retention_bytes, small.segment_bytes), (512 << 20, 128 << 20));
        let many = asked.resolve((None, None), 200, 1_100, 100 << 30);
        assert_eq!(many.segment_bytes, 10 << 20, "a quarter of a log's share");
        let large = asked.resolve((None, None), 1_000, 1 << 20, 4 << 30);
        assert_eq!(large.segment_bytes, 2 << 20, "never smaller than two batches");
        assert_eq!(large.intake_bytes, 8 << 20, "eight of the largest batches");
        let own = AskedSizes { segment: Some(1 << 20), retention: Some(3 << 20), ..asked };
        let own = own.resolve((Some(64 << 20), Some(1 << 30)), 1, 1_100, 100 << 30);
        assert_eq!(
            (own.segment_bytes, own.retention_bytes),
            (1 << 20, 3 << 20),
            "what was asked for stands over the profile"
        );
    }

    #[test]
    fn values_in_a_file_may_be_numbers_texts_or_lists() {
        let text = "engine = [\"mmap\", \"null\"]\nrate = 1.5\nseed = 3\ncpus = [0, 1]\n";
        let options: Options = toml::from_str(text).unwrap();
        let text = |text: &Option<Text>| text.clone().unwrap().0;
        assert_eq!(text(&options.engine), "mmap,null");
        assert_eq!(
            (text(&options.rate), text(&options.seed), text(&options.cpus)),
            ("1.5".into(), "3".into(), "0,1".into())
        );
    }
}
