//! Newtypes: two plain integers in one signature are a mistake waiting to be swapped.

use std::fmt;

/// A log of an engine: one partition, in the layout that keeps a log for each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

impl LogId {
    /// Set in the number of a [whole](Self::whole) log: partitions are numbered below it.
    const WHOLE: u32 = 1 << 31;

    /// All of the shared log of this number: the entries of every partition in it, frames included, offsets counted in bytes. An engine
    /// whose partitions share logs reads it, tells its marks and trims it, for all its partitions at once; nothing is appended to it. It also goes as all of them are trimmed.
    #[must_use]
    pub fn whole(self) -> Self {
        Self(self.0 | Self::WHOLE)
    }

    /// The number of the shared log, if this means the [whole](Self::whole) of one.
    #[must_use]
    pub fn of_whole(self) -> Option<Self> {
        (self.0 & Self::WHOLE != 0).then_some(Self(self.0 & !Self::WHOLE))
    }
}

/// The place of a record in its log, counted in records from zero. Kafka stores it as a signed 64-bit integer, so the
/// largest offset is `i64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `records` further on.
    #[must_use]
    pub fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

/// The incarnation of a log: raised at each open, written into each batch (its leader epoch), so that a batch left over in
/// a recycled segment is told from a batch of today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// What one flush makes durable together: a log of its own, or a log that several partitions share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushGroup(pub u32);

/// How far a commit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The kernel (or the mapping) has the bytes: a killed process does not lose them, a power cut may.
    Placed,
    /// Stable storage has the bytes: a power cut does not lose them.
    Durable,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
