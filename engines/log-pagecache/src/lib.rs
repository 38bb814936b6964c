//! The page-cache engine: gathered `pwritev2`, paced write-back, reads as file ranges for `sendfile`.
//!
//! What lives here: the gather buffer, the writes of a commit, reads. Segments are prepared, flushed, renamed, sealed and unlinked by
//! `log-segment`, which also paces write-back. What never does: a buffered write through the ring (the kernel hands those to workers, one
//! at a time for a file), a flush or a cold read on the shard.
//!
//! - *Placed* is what `pwritev2` has taken: one system call carries everything gathered since the last one. A large append of a log that
//!   does not flush is not gathered but written from where it lies, unless the kernel's copy from there would be a slow one.
//! - *Durable* is what an `fdatasync` of the range written covers, submitted through the ring right after the write: what RWF_DSYNC does,
//!   but that several run at once.
//! - Without flushes, write-back is started through the ring, a few MiB at a time, once half of a budget is dirty, and no more than the
//!   budget is dirty at a time: beyond the kernel's own limit it would put the shard to sleep inside a write.

#![deny(unsafe_code)]

mod availability;
mod commit;
mod gather;
mod log;
mod read;
#[allow(unsafe_code)]
mod residency;

pub use availability::availability;
pub use read::Pin;

use gather::Gather;
use log::Log;
use log_api::{
    AppendError, Appended, Availability, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, FlushGroup,
    Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, SendPath, TrimError,
};
use log_segment::{Host, Logs};
use shard_ring::Ring;
use std::{cell::Cell, path::Path, rc::Rc};

/// Bytes of one block of the gather buffer.
const BLOCK_BYTES: usize = 1 << 20;

/// The page-cache engine. See the crate's documentation.
pub struct PageCache {
    shared: Rc<Shared>,
    logs: Logs<Log>,
}

/// What the logs of an engine share.
struct Shared {
    host: Rc<Host>,
    gather: Gather,
    /// Bytes appended and not yet written, over all logs.
    staged_bytes: Cell<u64>,
}

impl PageCache {
    /// Starts the engine in `config.dir`.
    ///
    /// # Errors
    /// [`OpenError::Held`] if another process has the directory; `Io` if it cannot be made, or memory or a helper thread is refused.
    pub async fn new(ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        // One block more than may be in flight: the one being filled. What is stepped over in the others makes an append wait for a commit.
        let blocks = usize::try_from(config.inflight_bytes_max).unwrap_or(usize::MAX).div_ceil(BLOCK_BYTES) + 1;
        let dir = config.dir.clone();
        let host = Rc::new(Host::new("pagecache", ring, config)?);
        let gather = Gather::new(BLOCK_BYTES, blocks).map_err(|source| OpenError::Io {
            action: "get memory to gather appends of",
            path: dir,
            source,
        })?;
        let shared = Rc::new(Shared { host, gather, staged_bytes: Cell::new(0) });
        Ok(Self { shared, logs: Logs::default() })
    }

    /// Whether it can run in `dir`.
    #[must_use]
    pub fn availability(dir: &Path) -> Availability {
        availability(dir)
    }

    /// What proves the engine, for a run's report.
    #[must_use]
    pub fn attestation(&self) -> Vec<String> {
        let Host { counters, pace, .. } = &*self.shared.host;
        vec![
            format!("{} writes of {} batches", counters.writes.get(), counters.appended_batches.get()),
            format!("a dirty budget of {} MiB, waited for {} times", pace.budget() >> 20, pace.waits()),
        ]
    }
}

impl LogEngine for PageCache {
    type Pin = Pin;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "pagecache",
        mechanism: "gathered pwritev2 into the page cache under a dirty budget, fdatasync of the range through the ring, sendfile out",
        durable: true,
        persistent: true,
        readable: true,
        send_paths: &[SendPath::Sendfile, SendPath::Copy],
        kernel_copies_in: 1,
        last_page_follows: false,
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let (opened, recovery) = Log::open(&self.shared, log).await?;
        self.logs.insert(log, opened);
        Ok(recovery)
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        self.logs.get(log).ok_or(AppendError::NotOpen(log))?.append(batches)
    }

    async fn room(&self, log: LogId, bytes: u64) {
        if let Some(log) = self.logs.get(log) {
            log.room(bytes).await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    async fn commit(&self, groups: &[FlushGroup], level: Level) -> Result<(), CommitError> {
        let logs = self.logs.all(groups.iter().map(|group| LogId(group.0))).ok_or(CommitError::NotOpen)?;
        commit::commit(&logs, level).await
    }

    fn marks(&self, log: LogId) -> Marks {
        self.logs.get(log).map_or_else(Marks::default, |log| log.marks())
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Pin>, ReadError> {
        self.logs.get(log).ok_or(ReadError::NotOpen(log))?.read(read).await
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        self.logs.get(log).ok_or(TrimError::NotOpen(log))?.disk.trim(before).await
    }

    fn counters(&self) -> &Counters {
        &self.shared.host.counters
    }

    async fn close(self) -> Result<(), CommitError> {
        let logs = self.logs.take();
        // A poisoned log does not keep the others from a clean end, and says again what its failure was.
        let mut outcome = commit::commit(&logs, Level::Placed).await;
        for log in logs {
            outcome = outcome.and(log.disk.close().await);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    log_testkit::under_test!(UnderTest: PageCache);

    #[test]
    fn a_poisoned_log_does_not_keep_another_from_a_clean_end() {
        log_testkit::conformance::a_poisoned_log_does_not_keep_another_from_a_clean_end::<UnderTest>(
            |engine, log, what| {
                engine.logs.get(log).unwrap().disk.fail(what);
            },
        );
    }
}
