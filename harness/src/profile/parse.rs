//! A profile's file, key by key.

use super::document::{Document, Kind, Table};
use super::error::{ProfileError, one_of};
use super::model::{
    ArrivalLaw, CatchUp, Consumers, DurabilityClass, Follow, Mark, Messages, Objective, PartitionCount, Partitions,
    Phase, Profile, Published, Role, Scale, SizeLaw, Skew, Storage,
};
use super::parse_curve::{self, TIME};
use super::shipped::{shipped, shipped_trace};
use broker::{ConfigError, Layout};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::path::Path;

/// The smallest value: the generator's stamp must fit.
pub const VALUE_BYTES_MIN: u32 = crate::load::stamp::STAMP_BYTES as u32;
/// The largest batch, by the bytes of its values: what Kafka accepts by default (`message.max.bytes`).
pub const BATCH_BYTES_MAX: u32 = 1 << 20;
/// The most partitions of a run (or of a shard).
pub const PARTITIONS_MAX: u32 = 10_000;
/// The most phases of a profile.
pub const PHASES_MAX: usize = 1_000;

const BYTES: &[(&str, f64)] = &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
const PLAIN: &[(&str, f64)] = &[("", 1.0)];
const TIMES: &[(&str, f64)] = &[("x", 1.0)];

fn is_whole(value: f64, min: f64, max: f64) -> bool {
    value.fract() == 0.0 && (min..=max).contains(&value)
}

/// Reads a trace by the path that the profile gives: what to call it in messages, and its text.
type TraceText<'t> = dyn Fn(&str) -> (String, std::io::Result<String>) + 't;

impl Profile {
    /// Loads a shipped profile by its name, or any by the path of its `.toml` file. Traces lie relative to it.
    ///
    /// # Errors
    /// There is no such profile, or it is faulty: file, line, key, what was found and what is expected.
    pub fn load(name_or_path: &str) -> Result<Self, ProfileError> {
        if let Some(profile) = shipped().iter().find(|profile| profile.name == name_or_path) {
            let text = |path: &str| {
                let text = shipped_trace(path).map(str::to_owned).ok_or_else(|| std::io::ErrorKind::NotFound.into());
                (format!("workloads/{path}"), text)
            };
            return Self::parse(profile.file, profile.text, &text);
        }
        let path = Path::new(name_or_path);
        let is_path = path.extension().is_some_and(|extension| extension == "toml") || path.components().count() > 1;
        let fault = |found: String, expected: String| ProfileError {
            file: name_or_path.to_owned(),
            line: None,
            key: String::new(),
            found,
            expected,
        };
        if !is_path {
            let names: Vec<&str> = shipped().iter().map(|profile| profile.name).collect();
            let expected = format!("{}, or the path of a .toml file", one_of(name_or_path, &names));
            return Err(fault("is no profile".to_owned(), expected));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| fault(format!("cannot be read ({error})"), "a profile in TOML".to_owned()))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(name_or_path, &text, &|trace: &str| {
            let trace = folder.join(trace);
            (trace.display().to_string(), std::fs::read_to_string(&trace))
        })
    }

    /// Reads a profile from its text. `file` names it in errors, `trace` finds the text of a trace.
    ///
    /// # Errors
    /// As [`Profile::load`].
    pub fn parse(file: &str, text: &str, trace: &TraceText<'_>) -> Result<Self, ProfileError> {
        let document = Document::new(file, text);
        let tree = document.tree()?;
        let root = document.root(&tree);
        root.read_sources()?;
        let name = root.string("name", "the profile's name")?;
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(root.error("name", format!("is {name:?}"), "lower-case letters, digits and dashes"));
        }
        let title = root.string("title", "one line that says what is replayed")?.to_owned();
        let about = root.string_or_none("about")?.unwrap_or_default().trim().to_owned();
        let speed =
            root.number("speed", &Kind { units: TIMES, holds: |v| v > 0.0, expected: "a speed above 0" })?.value;
        const SEED: Kind =
            Kind { units: PLAIN, holds: |v| is_whole(v, 0.0, 9e15), expected: "a whole number from 0 to 9e15" };
        let seed = root.number("seed", &SEED)?.value as u64;
        let sha = RefCell::new(Sha256::new_with_prefix(text));
        let hashed_trace = |path: &str| {
            let (named, text) = trace(path);
            if let Ok(text) = &text {
                sha.borrow_mut().update(text);
            }
            (named, text)
        };
        let phases = phases(&root, &hashed_trace)?;
        let scale = scale(&root)?;
        let mark = mark(&root, &phases)?;
        let arrivals = arrivals(&root)?;
        let messages = messages(&root)?;
        let partitions = partitions(&root)?;
        let consumers = consumers(&root, &phases)?;
        let objectives = objectives(&root)?;
        let storage = storage(&root)?;
        let published = published(&root)?;
        root.finish()?;
        Ok(Self {
            name: name.to_owned(),
            title,
            about,
            mark,
            speed,
            seed,
            scale,
            phases,
            arrivals,
            messages,
            partitions,
            consumers,
            objectives,
            storage,
            published,
            figures: document.figures.take(),
            sources: document.sources.take(),
            sha256: sha.into_inner().finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

fn phases(root: &Table<'_, '_>, trace: &TraceText<'_>) -> Result<Vec<Phase>, ProfileError> {
    let tables = root.tables("phase")?;
    if tables.is_empty() || tables.len() > PHASES_MAX {
        let found = if tables.is_empty() { "is missing".to_owned() } else { format!("has {} tables", tables.len()) };
        return Err(root.error("phase", found, format!("1 to {PHASES_MAX} phases, each under [[phase]]")));
    }
    let mut phases: Vec<Phase> = Vec::with_capacity(tables.len());
    for mut table in tables {
        let name = table.string("name", "the phase's name")?;
        if phases.iter().any(|phase| phase.name == name) {
            return Err(table.error("name", format!("is {name:?} again"), "another name for each phase"));
        }
        table.path = format!("phase.{name}");
        let role = match table.word("role", &["calm", "rise", "plateau", "decay", "other"])? {
            "calm" => Role::Calm,
            "rise" => Role::Rise,
            "plateau" => Role::Plateau,
            "decay" => Role::Decay,
            _ => Role::Other,
        };
        if matches!(role, Role::Calm | Role::Plateau) && phases.iter().any(|phase| phase.role == role) {
            let found = if role == Role::Calm { "is \"calm\" again" } else { "is \"plateau\" again" };
            return Err(table.error(
                "role",
                found,
                "at most one calm phase and one plateau: the table has a column for each",
            ));
        }
        let pieces = parse_curve::pieces(&table, trace)?;
        table.finish()?;
        let duration_s = pieces.iter().map(|(duration_s, _)| duration_s).sum();
        let phase = Phase { name: name.to_owned(), role, duration_s, pieces };
        if role == Role::Plateau && phase.highest() <= 0.0 {
            return Err(table.error(
                "rate",
                "is 0 throughout",
                "a rate above 0 in the plateau: it is what --peak sets",
            ));
        }
        phases.push(phase);
    }
    if !phases.iter().any(|phase| phase.role == Role::Plateau) {
        return Err(root.error(
            "phase",
            "has no plateau",
            "one phase with role = \"plateau\": the height that --peak sets",
        ));
    }
    Ok(phases)
}

fn scale(root: &Table<'_, '_>) -> Result<Scale, ProfileError> {
    const OF_WALL: Kind = Kind { units: TIMES, holds: |v| v > 0.0, expected: "a multiple of the wall above 0" };
    let relative = root.document.relative.get() == Some(true);
    match (relative, root.table_or_none("plateau")?) {
        (true, Some(table)) => {
            let of_wall = table.number("of_wall", &OF_WALL)?.value;
            table.finish()?;
            Ok(Scale::Relative { of_wall })
        }
        (true, None) => {
            let expected = "[plateau] with of_wall: rates in x need a height when no --peak is given";
            Err(root.error("plateau", "is missing", expected))
        }
        (false, Some(_)) => Err(root.error(
            "plateau",
            "is given",
            "no [plateau]: the rates are messages a second and have their own height",
        )),
        (false, None) => Ok(Scale::Absolute),
    }
}

/// The index of the phase that a key names.
fn phase_named(table: &Table<'_, '_>, key: &'static str, phases: &[Phase]) -> Result<usize, ProfileError> {
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    let name = table.word(key, &names)?;
    Ok(names.iter().position(|known| *known == name).expect("the word is one of the names"))
}

fn mark(root: &Table<'_, '_>, phases: &[Phase]) -> Result<Mark, ProfileError> {
    let Some(table) = root.table_or_none("mark")? else { return Ok(Mark { name: "start".to_owned(), phase: 0 }) };
    let name = table.string("name", "what to call the instant, e.g. midnight")?.to_owned();
    let phase = phase_named(&table, "phase", phases)?;
    table.finish()?;
    Ok(Mark { name, phase })
}

fn arrivals(root: &Table<'_, '_>) -> Result<ArrivalLaw, ProfileError> {
    const BURST: Kind = Kind { units: TIMES, holds: |v| v >= 1.0, expected: "a rate in bursts of 1 x or more" };
    const SHARE: Kind =
        Kind { units: &[("", 1.0), ("%", 0.01)], holds: |v| v > 0.0 && v < 1.0, expected: "a share between 0 and 1" };
    const B: Kind = Kind { units: PLAIN, holds: |v| (0.5..1.0).contains(&v), expected: "0.5 or more and under 1" };
    const HALVINGS: Kind =
        Kind { units: PLAIN, holds: |v| is_whole(v, 1.0, 12.0), expected: "a whole number from 1 to 12" };
    let Some(table) = root.table_or_none("arrivals")? else { return Ok(ArrivalLaw::Poisson) };
    let law = match table.word("law", &["deterministic", "poisson", "mmpp", "b-model"])? {
        "deterministic" => ArrivalLaw::Deterministic,
        "poisson" => ArrivalLaw::Poisson,
        "mmpp" => {
            let (burst, share) = (table.number("burst", &BURST)?, table.number("share", &SHARE)?);
            if burst.value * share.value > 1.0 {
                let found = format!("makes bursts carry {:.3} of all messages", burst.value * share.value);
                return Err(table.error("burst", found, "burst times share of at most 1"));
            }
            let length_s = table.number("length", &TIME)?.value;
            ArrivalLaw::Mmpp { burst: burst.value, share: share.value, length_s }
        }
        _ => ArrivalLaw::BModel {
            b: table.number("b", &B)?.value,
            window_s: table.number("window", &TIME)?.value,
            halvings: table.number("halvings", &HALVINGS)?.value as u32,
        },
    };
    table.finish()?;
    Ok(law)
}

fn messages(root: &Table<'_, '_>) -> Result<Messages, ProfileError> {
    const SIZE: Kind = Kind {
        units: BYTES,
        holds: |v| is_whole(v, VALUE_BYTES_MIN as f64, BATCH_BYTES_MAX as f64),
        expected: "whole bytes from 24 B (the generator's stamp) to 1 MiB",
    };
    const MEDIAN: Kind = Kind { units: BYTES, holds: |v| v > 0.0, expected: "a size above 0" };
    const SIGMA: Kind = Kind { units: PLAIN, holds: |v| v > 0.0 && v <= 10.0, expected: "above 0 and at most 10" };
    const ENTROPY: Kind =
        Kind { units: PLAIN, holds: |v| (0.0..=1.0).contains(&v), expected: "a share of random bytes from 0 to 1" };
    const BATCH: Kind = Kind {
        units: &[("messages", 1.0)],
        holds: |v| is_whole(v, 1.0, 10_000.0),
        expected: "a whole number of messages from 1 to 10000",
    };
    let table = root.table("messages", "a table with bytes, entropy and batch")?;
    let size = table.table("bytes", "a table with law = \"fixed\" or \"lognormal\"")?;
    let (bytes, largest) = match size.word("law", &["fixed", "lognormal"])? {
        "fixed" => {
            let bytes = size.number("size", &SIZE)?.value as u32;
            (SizeLaw::Fixed { bytes }, bytes)
        }
        _ => {
            let (median, sigma) = (size.number("median", &MEDIAN)?.value, size.number("sigma", &SIGMA)?.value);
            let (min, max) = (size.number("min", &SIZE)?.value as u32, size.number("max", &SIZE)?.value as u32);
            if min > max {
                return Err(size.error("min", format!("is {min} B"), format!("at most max, which is {max} B")));
            }
            (SizeLaw::Lognormal { median, sigma, min, max }, max)
        }
    };
    size.finish()?;
    let entropy = table.number("entropy", &ENTROPY)?.value;
    let batch = table.number("batch", &BATCH)?.value as u32;
    if u64::from(batch) * u64::from(largest) > u64::from(BATCH_BYTES_MAX) {
        let found = format!("makes batches of {} bytes", u64::from(batch) * u64::from(largest));
        return Err(table.error("batch", found, format!("at most {BATCH_BYTES_MAX} bytes a batch (1 MiB)")));
    }
    table.finish()?;
    Ok(Messages { bytes, entropy, batch })
}

fn partitions(root: &Table<'_, '_>) -> Result<Partitions, ProfileError> {
    const COUNT: Kind = Kind {
        units: &[("in all", 1.0), ("per shard", 1.0)],
        holds: |v| is_whole(v, 1.0, PARTITIONS_MAX as f64),
        expected: "a whole number of partitions from 1 to 10000",
    };
    const S: Kind = Kind { units: PLAIN, holds: |v| (0.0..=10.0).contains(&v), expected: "an exponent from 0 to 10" };
    let table = root.table("partitions", "a table with count")?;
    let count = table.number("count", &COUNT)?;
    let number = count.value as u32;
    let count = if count.unit == "in all" { PartitionCount::InAll(number) } else { PartitionCount::PerShard(number) };
    let skew = match table.table_or_none("skew")? {
        None => Skew::Uniform,
        Some(skew) => {
            let law = match skew.word("law", &["uniform", "zipf"])? {
                "uniform" => Skew::Uniform,
                _ => Skew::Zipf { s: skew.number("s", &S)?.value },
            };
            skew.finish()?;
            law
        }
    };
    let layout = match table.string_or_none("layout")? {
        None => Layout::Partition,
        Some(word) => {
            word.parse().map_err(|error: ConfigError| table.error("layout", format!("is {word:?}"), error.expected))?
        }
    };
    table.finish()?;
    Ok(Partitions { count, skew, layout })
}

fn consumers(root: &Table<'_, '_>, phases: &[Phase]) -> Result<Consumers, ProfileError> {
    const TAIL: Kind = Kind {
        units: &[("per partition", 1.0), ("per log", 1.0)],
        holds: |v| is_whole(v, 0.0, 64.0),
        expected: "a whole number of consumers from 0 to 64",
    };
    const READERS: Kind = Kind {
        units: &[("in all", 1.0)],
        holds: |v| is_whole(v, 1.0, 64.0),
        expected: "a whole number of readers from 1 to 64",
    };
    const HISTORY: Kind =
        Kind { units: BYTES, holds: |v| is_whole(v, 1_048_576.0, 1e15), expected: "whole bytes of 1 MiB or more" };
    let table = root.table("consumers", "a table with tail (one per partition is usual)")?;
    let tail = table.number("tail", &TAIL)?;
    let follow = if tail.unit == "per log" { Follow::Log } else { Follow::Partition };
    let catch_up = match table.table_or_none("catch_up")? {
        None => None,
        Some(reading) => {
            let readers = reading.number("readers", &READERS)?.value as u32;
            let history_bytes = reading.number("history", &HISTORY)?.value as u64;
            let phase = phase_named(&reading, "during", phases)?;
            reading.finish()?;
            Some(CatchUp { readers, history_bytes, phase })
        }
    };
    if follow == Follow::Log && catch_up.is_some() {
        // How long a history is in a shared log, frames included, is known to nobody beforehand.
        return Err(table.error("tail", "is per log beside catch_up".to_owned(), "per partition".to_owned()));
    }
    table.finish()?;
    Ok(Consumers { tail: tail.value as u32, follow, catch_up })
}

fn objectives(root: &Table<'_, '_>) -> Result<Vec<Objective>, ProfileError> {
    const SHARE: Kind = Kind {
        units: &[("%", 0.01)],
        holds: |v| v > 0.0 && v < 1.0,
        expected: "a share of the messages above 0 and under 100",
    };
    let mut objectives = Vec::new();
    for table in root.tables("objective")? {
        let durability = table.words("durability", &["durable", "interval", "none"])?;
        let class = |word: &&str| match *word {
            "durable" => DurabilityClass::Durable,
            "interval" => DurabilityClass::Interval,
            _ => DurabilityClass::None,
        };
        let within_ns = (table.number("within", &TIME)?.value * 1e9).round() as u64;
        let share = table.number("share", &SHARE)?;
        table.finish()?;
        let sources = root.document.sources.borrow();
        let text = sources.iter().find(|(name, _)| *name == share.source).map_or("assumed", |(_, text)| text.as_str());
        objectives.push(Objective {
            durability: durability.iter().map(class).collect(),
            within_ns,
            // 99.6 % is 0.996 and not its neighbour.
            share: (share.value * 1e9).round() / 1e9,
            source: text.to_owned(),
        });
    }
    Ok(objectives)
}

fn storage(root: &Table<'_, '_>) -> Result<Storage, ProfileError> {
    const SEGMENT: Kind = Kind {
        units: BYTES,
        holds: |v| v % 1_048_576.0 == 0.0 && (1_048_576.0..=17_179_869_184.0).contains(&v),
        expected: "a multiple of 1 MiB up to 16 GiB",
    };
    const RETENTION: Kind =
        Kind { units: BYTES, holds: |v| is_whole(v, 1_048_576.0, 1e15), expected: "whole bytes of 1 MiB or more" };
    let Some(table) = root.table_or_none("storage")? else { return Ok(Storage::default()) };
    let bytes = |number: Option<super::document::Number>| number.map(|number| number.value as u64);
    let segment_bytes = bytes(table.number_or_none("segment", &SEGMENT)?);
    let retention_bytes = bytes(table.number_or_none("retention", &RETENTION)?);
    table.finish()?;
    Ok(Storage { segment_bytes, retention_bytes })
}

fn published(root: &Table<'_, '_>) -> Result<Vec<Published>, ProfileError> {
    const ANY: Kind = Kind { units: &[], holds: |_| true, expected: "a number" };
    let mut published = Vec::new();
    for table in root.tables("published")? {
        let what = table.string("what", "what was measured, and where")?.to_owned();
        let figure = table.number("figure", &ANY)?;
        table.finish()?;
        published.push(Published { what, value: figure.value, unit: figure.unit });
    }
    Ok(published)
}
