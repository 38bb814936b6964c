//! What a shard promises before it acknowledges, and how it gathers: the words of the command line.

use std::{fmt, str::FromStr, time::Duration};

/// When a message is acknowledged. `durable`, `interval:<ms>` or `none` on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// After it is on stable storage.
    Durable,
    /// When it is placed; what was placed is made durable each time this interval has passed, while there is any.
    Interval(Duration),
    /// When it is placed; nothing is flushed before the log is closed.
    None,
}

/// How appends are gathered into one commit. `inflight:<n>`, `linger:<us>` or `each` on the command line; `inflight` is
/// `inflight:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitPolicy {
    /// This many commits of a flush group are on the device at once
    /// ([`commits_in_flight`](log_api::Capabilities::commits_in_flight)); what arrives while they run is the next. With one, and durability
    /// `durable`, the next waits some microseconds for messages of those whom the last one answered, where these come in time.
    Inflight(u32),
    /// A commit starts this long after the first append that it covers; one runs at a time.
    Linger(Duration),
    /// Each batch is committed by itself, one at a time in a flush group: what a log without group commit does.
    Each,
}

/// Which partitions share a log. `partition`, `group` or `group:<n>` on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Each has a log of its own.
    #[default]
    Partition,
    /// All of a shard, or this many of a shard, share one: memory, files and flushes do not grow with partitions. Kafka's tools do not
    /// read its files.
    Group(Option<u32>),
}

impl Layout {
    /// Logs of a node with so many partitions and shards.
    #[must_use]
    pub fn logs(self, partitions: u32, shards: u32) -> u32 {
        let of_a_shard = |shard| (partitions.saturating_sub(shard)).div_ceil(shards.max(1));
        match self {
            Self::Partition => partitions,
            Self::Group(None) => shards,
            Self::Group(Some(size)) => (0..shards).map(|shard| of_a_shard(shard).div_ceil(size.max(1))).sum(),
        }
    }
}

/// The most partitions of one group.
pub const GROUP_PARTITIONS_MAX: u32 = log_group::PARTITIONS_MAX as u32;
/// The most commits of one flush group that may run at once.
pub const INFLIGHT_MAX: u32 = 64;
/// The longest interval between two flushes.
pub const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The longest time that a commit may wait for more.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// A word that is none of the choices, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not known; expected {expected}")]
pub struct ConfigError {
    /// Which choice: "durability", "commit policy", "engine".
    pub what: &'static str,
    /// What was written.
    pub given: String,
    /// What can be written.
    pub expected: String,
}

impl ConfigError {
    pub(crate) fn new(what: &'static str, given: &str, expected: impl Into<String>) -> Self {
        Self { what, given: given.to_owned(), expected: expected.into() }
    }
}

/// A whole number between `min` and `max`, digits only.
fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && (min..=max).contains(n))
}

impl FromStr for Durability {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let max = INTERVAL_MAX.as_millis() as u64;
        let parsed = match text.split_once(':') {
            None if text == "durable" => Some(Self::Durable),
            None if text == "none" => Some(Self::None),
            Some(("interval", ms)) => number(ms, 1, max).map(|ms| Self::Interval(Duration::from_millis(ms))),
            _ => None,
        };
        let expected = || format!("durable, none or interval:<ms> with 1 to {max} ms");
        parsed.ok_or_else(|| ConfigError::new("durability", text, expected()))
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable => f.write_str("durable"),
            Self::Interval(interval) => write!(f, "interval:{}", interval.as_millis()),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Layout {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parsed = match text.split_once(':') {
            None if text == "partition" => Some(Self::Partition),
            None if text == "group" => Some(Self::Group(None)),
            Some(("group", n)) => number(n, 1, u64::from(GROUP_PARTITIONS_MAX)).map(|n| Self::Group(Some(n as u32))),
            _ => None,
        };
        let expected =
            || format!("partition, group, or group:<n> with 1 to {GROUP_PARTITIONS_MAX} partitions in each group");
        parsed.ok_or_else(|| ConfigError::new("layout", text, expected()))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition => f.write_str("partition"),
            Self::Group(None) => f.write_str("group"),
            Self::Group(Some(size)) => write!(f, "group:{size}"),
        }
    }
}

impl FromStr for CommitPolicy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let linger_max = LINGER_MAX.as_micros() as u64;
        let parsed = match text.split_once(':') {
            None if text == "inflight" => Some(Self::Inflight(1)),
            None if text == "each" => Some(Self::Each),
            Some(("inflight", n)) => number(n, 1, u64::from(INFLIGHT_MAX)).map(|n| Self::Inflight(n as u32)),
            Some(("linger", us)) => number(us, 1, linger_max).map(|us| Self::Linger(Duration::from_micros(us))),
            _ => None,
        };
        let expected = || {
            format!("inflight, inflight:<n> with 1 to {INFLIGHT_MAX}, linger:<us> with 1 to {linger_max} us, or each")
        };
        parsed.ok_or_else(|| ConfigError::new("commit policy", text, expected()))
    }
}

impl fmt::Display for CommitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inflight(1) => f.write_str("inflight"),
            Self::Inflight(n) => write!(f, "inflight:{n}"),
            Self::Linger(linger) => write!(f, "linger:{}", linger.as_micros()),
            Self::Each => f.write_str("each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_command_line_reads_back_as_itself() {
        for word in ["durable", "none", "interval:1", "interval:60000"] {
            assert_eq!(word.parse::<Durability>().unwrap().to_string(), word);
        }
        for word in ["inflight", "inflight:2", "inflight:64", "linger:1", "linger:1000000", "each"] {
            assert_eq!(word.parse::<CommitPolicy>().unwrap().to_string(), word);
        }
        assert_eq!("inflight:1".parse(), Ok(CommitPolicy::Inflight(1)));
        for word in ["partition", "group", "group:1", "group:16384"] {
            assert_eq!(word.parse::<Layout>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn a_wrong_word_says_what_to_write() {
        for word in
            ["", "Durable", "interval", "interval:", "interval:0", "interval:60001", "interval:-1", "interval:+1"]
        {
            let error = word.parse::<Durability>().unwrap_err().to_string();
            assert!(error.contains("interval:<ms>"), "{error}");
        }
        for word in ["", "inflight:0", "inflight:65", "inflight:x", "linger", "linger:0", "linger:1000001", "each:1"] {
            let error = word.parse::<CommitPolicy>().unwrap_err().to_string();
            assert!(error.contains("linger:<us>"), "{error}");
        }
        for word in ["", "groups", "group:", "group:0", "group:16385", "partition:1"] {
            let error = word.parse::<Layout>().unwrap_err().to_string();
            assert!(error.contains("group:<n>"), "{error}");
        }
    }

    #[test]
    fn logs_are_counted_shard_by_shard() {
        assert_eq!(Layout::Partition.logs(200, 3), 200);
        assert_eq!(Layout::Group(None).logs(200, 3), 3);
        assert_eq!(Layout::Group(Some(25)).logs(200, 1), 8);
        assert_eq!(Layout::Group(Some(25)).logs(200, 3), 9, "67, 67 and 66 partitions");
    }
}
