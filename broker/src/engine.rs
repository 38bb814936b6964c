//! Which engine: the names, and the one `match` on them.

use crate::config::ConfigError;
use log_api::{Availability, Capabilities};
use std::{fmt, path::Path, str::FromStr};

/// The engines. `mmap`, `direct`, `pagecache`, `memory` or `null` on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Segments mapped into memory.
    Mmap,
    /// O_DIRECT through the shard's ring.
    Direct,
    /// `pwritev2` into the page cache.
    PageCache,
    /// The reference model: everything in memory.
    Memory,
    /// Accepts and forgets: measures everything else.
    Null,
}

impl EngineKind {
    /// All engines, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Mmap, Self::Direct, Self::PageCache, Self::Memory, Self::Null];
    /// The engines that keep their logs on disk.
    pub const DISK: [Self; 3] = [Self::Mmap, Self::Direct, Self::PageCache];

    /// The name on the command line, in files and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Direct => "direct",
            Self::PageCache => "pagecache",
            Self::Memory => "memory",
            Self::Null => "null",
        }
    }

    /// What the engine declares of itself.
    #[must_use]
    pub fn capabilities(self) -> &'static Capabilities {
        todo!()
    }

    /// Whether the engine can run on this machine with its logs in `dir`, which must exist for a disk engine.
    #[must_use]
    pub fn availability(self, _dir: &Path) -> Availability {
        todo!()
    }
}

impl FromStr for EngineKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| ConfigError::new("engine", text, format!("choose one of {}", names())))
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
