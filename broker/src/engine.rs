//! Which engine: the names, and the one `match` on them that turns a flag into a type.

use crate::{
    ShardReport,
    config::{ConfigError, Layout},
    node::ShardSetup,
};
use log_api::{Availability, Capabilities, EngineConfig, LogEngine, OpenError};
use log_direct::Direct;
use log_group::{Grouping, LogGroup};
use log_memory::{Memory, Null};
use log_mmap::Mmap;
use log_pagecache::PageCache;
use shard_ring::Ring;
use std::{fmt, future::Future, path::Path, str::FromStr};

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
        self.capabilities().name
    }

    /// What the engine declares of itself.
    #[must_use]
    pub fn capabilities(self) -> &'static Capabilities {
        match self {
            Self::Mmap => &Mmap::CAPABILITIES,
            Self::Direct => &Direct::CAPABILITIES,
            Self::PageCache => &PageCache::CAPABILITIES,
            Self::Memory => &Memory::CAPABILITIES,
            Self::Null => &Null::CAPABILITIES,
        }
    }

    /// Whether the engine can run on this machine with its logs in `dir`, which must exist for a disk engine: what it needs itself, then
    /// what the shard needs that it runs on.
    #[must_use]
    pub fn availability(self, dir: &Path) -> Availability {
        let own = match self {
            Self::Mmap => Mmap::availability(dir),
            Self::Direct => Direct::availability(dir),
            Self::PageCache => PageCache::availability(dir),
            Self::Memory => Memory::availability(dir),
            Self::Null => Null::availability(dir),
        };
        match (own, shard_ring::attempt()) {
            (Availability::Available, Err(error)) => Availability::Unavailable(error.to_string()),
            (own, _) => own,
        }
    }

    /// Whether its logs lie in files.
    #[must_use]
    pub fn is_on_disk(self) -> bool {
        self.capabilities().persistent
    }

    /// Makes an engine of this kind on the ring's executor and hands it to `user`.
    ///
    /// # Errors
    /// The engine cannot be made.
    pub async fn with<U: EngineUser>(self, ring: &Ring, config: EngineConfig, user: U) -> Result<U::Output, OpenError> {
        Ok(match self {
            Self::Mmap => user.with(ring, Mmap::new(ring, config).await?).await,
            Self::Direct => user.with(ring, Direct::new(ring, config).await?).await,
            Self::PageCache => user.with(ring, PageCache::new(ring, config).await?).await,
            Self::Memory => user.with(ring, Memory::new(ring, config).await?).await,
            Self::Null => user.with(ring, Null::new(ring, config).await?).await,
        })
    }

    /// The same with partitions that share logs as `layout` says, on one of so many shards. An engine that keeps nothing has no layout.
    ///
    /// # Errors
    /// The engine cannot be made, or the directory was made with another layout.
    pub async fn with_layout<U: EngineUser>(
        self,
        ring: &Ring,
        config: EngineConfig,
        layout: Layout,
        shards: u32,
        user: U,
    ) -> Result<U::Output, OpenError> {
        match layout {
            Layout::Group(partitions) if self.capabilities().readable => {
                let told = log_group::inner_config(&config, self.capabilities());
                let grouping = Grouping { partitions, stride: shards };
                self.with(ring, told, Grouped { user, config, grouping }).await?
            }
            Layout::Group(_) | Layout::Partition => self.with(ring, config, user).await,
        }
    }
}

/// Something to be done with an engine, whichever it is: a shard, or a measurement without one.
pub trait EngineUser {
    /// What comes of it.
    type Output;

    /// Does it. Runs on the ring's executor.
    fn with<E: LogEngine>(self, ring: &Ring, engine: E) -> impl Future<Output = Self::Output>;
}

impl EngineUser for ShardSetup {
    type Output = Result<ShardReport, OpenError>;

    async fn with<E: LogEngine>(self, ring: &Ring, engine: E) -> Self::Output {
        self.run(ring, engine).await
    }
}

/// Whoever uses an engine whose partitions share logs.
struct Grouped<U> {
    user: U,
    config: EngineConfig,
    grouping: Grouping,
}

impl<U: EngineUser> EngineUser for Grouped<U> {
    type Output = Result<U::Output, OpenError>;

    async fn with<E: LogEngine>(self, ring: &Ring, engine: E) -> Self::Output {
        Ok(self.user.with(ring, LogGroup::new(ring, engine, self.config, self.grouping)?).await)
    }
}

impl FromStr for EngineKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| ConfigError::new("engine", text, format!("one of {}", names())))
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_is_found_by_the_name_that_it_declares() {
        let names = EngineKind::ALL.map(EngineKind::name);
        assert_eq!(names, ["mmap", "direct", "pagecache", "memory", "null"]);
        for kind in EngineKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "rocks".parse::<EngineKind>().unwrap_err().to_string();
        assert!(error.contains("pagecache"), "{error}");
    }
}
