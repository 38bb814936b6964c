//! The mmap engine: segments mapped into memory, an append is one copy into the mapping.
//!
//! What lives here: the mapping, appends into it, reads from it. Segments are prepared, flushed, renamed, sealed and unlinked by
//! `log-segment`. What never does: a write system call for payload, a page fault, a flush or a cold read on the shard.
//!
//! - *Placed* is what has been copied into the mapping: the kernel writes it even if the process is killed.
//! - *Durable* is what an `fdatasync` of the range appended covers, submitted through the ring after the bytes were copied. After it
//!   the kernel write-protects the pages of that range: the next append takes a fault for the page that both share.
//! - A hot read pins the mapping (or names the range for `sendfile`). A page that is not resident is never touched here: the fault
//!   would stall the shard, and a failing device would kill the process with SIGBUS. Such bytes come by ring READ.

#![deny(unsafe_code)]

mod availability;
mod log;
#[allow(unsafe_code)]
mod mapping;
mod read;
mod segment;

pub use availability::availability;
pub use read::Pin;

use log::Log;
use log_api::{
    AppendError, Appended, Availability, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, FlushGroup,
    Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, SendPath, TrimError,
};
use log_segment::{Host, Logs};
use shard_ring::Ring;
use std::{path::Path, rc::Rc};

/// The mmap engine. See the crate's documentation.
pub struct Mmap {
    host: Rc<Host>,
    logs: Logs<Log>,
}

impl Mmap {
    /// Starts the engine in `config.dir`.
    ///
    /// # Errors
    /// [`OpenError::Held`] if another process has the directory; `Io` if it cannot be made, or memory or a helper thread is refused.
    pub async fn new(ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        Ok(Self { host: Rc::new(Host::new("mmap", ring, config)?), logs: Logs::default() })
    }

    /// Whether it can run in `dir`.
    #[must_use]
    pub fn availability(dir: &Path) -> Availability {
        availability(dir)
    }

    /// What proves the engine, for a run's report.
    #[must_use]
    pub fn attestation(&self) -> Vec<String> {
        let mapped = |log: &Rc<Log>| -> usize {
            let segments = log.disk.segments.borrow();
            segments.iter().filter_map(|segment| segment.handle.mapping.as_ref()).map(|mapping| mapping.len()).sum()
        };
        let bytes: usize = self.logs.list().iter().map(mapped).sum();
        let pace = &self.host.pace;
        vec![
            format!("{} MiB of segments mapped, no write system call for payload", bytes >> 20),
            format!("a dirty budget of {} MiB, waited for {} times", pace.budget() >> 20, pace.waits()),
        ]
    }
}

impl LogEngine for Mmap {
    type Pin = Pin;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "mmap",
        mechanism: "segments mapped into memory; one copy into the mapping, fdatasync through the ring",
        durable: true,
        persistent: true,
        readable: true,
        send_paths: &[SendPath::Sendfile, SendPath::Copy],
        kernel_copies_in: 0,
        last_page_follows: false,
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let (opened, recovery) = Log::open(&self.host, log).await?;
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
        log::commit(&logs, level).await
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
        &self.host.counters
    }

    async fn close(self) -> Result<(), CommitError> {
        // A poisoned log does not keep the others from a clean end.
        let mut outcome = Ok(());
        for log in self.logs.take() {
            outcome = outcome.and(log.disk.close().await);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    log_testkit::under_test!(UnderTest: Mmap);

    #[test]
    fn a_poisoned_log_does_not_keep_another_from_a_clean_end() {
        log_testkit::conformance::a_poisoned_log_does_not_keep_another_from_a_clean_end::<UnderTest>(
            |engine, log, what| {
                engine.logs.get(log).unwrap().disk.fail(what);
            },
        );
    }
}
