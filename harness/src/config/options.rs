//! The options of `run`, as words: on the command line, or by the same names in a file.

#![allow(rustdoc::invalid_html_tags, reason = "the documentation of options is also what --help prints")]

use serde::{Deserialize, Deserializer, de};
use std::{fmt, path::PathBuf, str::FromStr};

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
    /// Which partitions share a log: partition (each has its own), group (all of a shard), group:<n> [default: the profile's]
    #[arg(long, value_name = "HOW")]
    pub layout: Option<Text>,
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
    /// Measure what each stage of an append and of a read costs on the shards; reading the clock adds about 40 ns a stage
    #[arg(long)]
    pub stages: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

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
