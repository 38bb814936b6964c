//! The mmap engine: segments mapped into memory, an append is one copy into the mapping.
//!
//! What lives here: the mapping, appends into it, flushes of its file, reads from it. Segments are prepared, renamed, sealed and
//! unlinked off the shard by `log-segment`. What never does: a write system call for payload, a flush or a cold read on the shard.
//!
//! - *Placed* is what has been copied into the mapping: the kernel writes it even if the process is killed.
//! - *Durable* is what an `fdatasync` of the segment file covers, submitted through the ring after the bytes were copied. After each
//!   flush the kernel write-protects the pages again, so the next append to a page takes a fault: that is the mechanism's price.
//! - A hot read pins the mapping (or names the range for `sendfile`). A page that is not resident is never touched here: the fault
//!   would stall the shard, and a failing device would kill the process with SIGBUS. Such bytes come by ring READ.

#![deny(unsafe_code)]

mod availability;
mod flush;
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
use log_segment::{DataDir, Loader};
use shard_ring::{Helper, Ring};
use std::{cell::RefCell, path::Path, rc::Rc};

/// Bytes of a block that cold reads come in.
const READ_BLOCK_BYTES: usize = 1 << 20;

/// Cold reads in memory at once, over all logs of the shard; more wait for a block.
const READ_BLOCKS_MAX: usize = 8;

/// The helper gives way to the shard and the generator: a segment is prepared well before it is needed.
const HELPER_NICE: i32 = 5;

/// The mmap engine. See the crate's documentation.
pub struct Mmap {
    shared: Rc<Shared>,
    logs: RefCell<Vec<Option<Rc<Log>>>>,
}

/// What the logs of an engine share.
struct Shared {
    ring: Ring,
    helper: Rc<Helper>,
    data: DataDir,
    config: EngineConfig,
    counters: Counters,
    loader: Loader,
}

impl Mmap {
    /// Starts the engine in `config.dir`.
    ///
    /// # Errors
    /// [`OpenError::Held`] if another process has the directory; `Io` if it cannot be made, or memory or the helper thread are refused.
    pub async fn new(ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        let fail = |action| {
            let path = config.dir.clone();
            move |source| OpenError::Io { action, path, source }
        };
        let data = DataDir::open(&config.dir)?;
        let helper =
            Helper::start("mmap", &config.helper_cpus, HELPER_NICE).map_err(fail("start the helper thread for"))?;
        let loader = Loader::new(ring, READ_BLOCK_BYTES, READ_BLOCKS_MAX).map_err(fail("get memory for reads of"))?;
        let shared =
            Shared { ring: ring.clone(), helper: Rc::new(helper), data, config, counters: Counters::default(), loader };
        Ok(Self { shared: Rc::new(shared), logs: RefCell::default() })
    }

    /// Whether it can run in `dir`.
    #[must_use]
    pub fn availability(dir: &Path) -> Availability {
        availability(dir)
    }

    /// What proves the engine, for a run's report.
    #[must_use]
    pub fn attestation(&self) -> Vec<String> {
        let logs = self.logs.borrow();
        let mapped: usize = logs.iter().flatten().map(|log| log.mapped_bytes()).sum();
        vec![format!("{} MiB of segments mapped, no write system call for payload", mapped >> 20)]
    }

    fn log(&self, log: LogId) -> Option<Rc<Log>> {
        self.logs.borrow().get(log.0 as usize)?.clone()
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
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        assert!(self.log(log).is_none(), "{log} is opened once in an engine's life");
        let (opened, recovery) = Log::open(&self.shared, log).await?;
        let mut logs = self.logs.borrow_mut();
        let index = log.0 as usize;
        if logs.len() <= index {
            logs.resize_with(index + 1, || None);
        }
        logs[index] = Some(Rc::new(opened));
        Ok(recovery)
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        match self.logs.borrow().get(log.0 as usize) {
            Some(Some(open)) => open.append(batches),
            _ => Err(AppendError::NotOpen(log)),
        }
    }

    async fn room(&self, log: LogId, bytes: u64) {
        if let Some(log) = self.log(log) {
            log.room(bytes).await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    async fn commit(&self, groups: &[FlushGroup], level: Level) -> Result<(), CommitError> {
        let logs: Option<Vec<Rc<Log>>> = groups.iter().map(|group| self.log(LogId(group.0))).collect();
        flush::commit(&logs.ok_or(CommitError::NotOpen)?, level).await
    }

    fn marks(&self, log: LogId) -> Marks {
        match self.logs.borrow().get(log.0 as usize) {
            Some(Some(open)) => open.marks(),
            _ => Marks::default(),
        }
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Pin>, ReadError> {
        self.log(log).ok_or(ReadError::NotOpen(log))?.read(read).await
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        self.log(log).ok_or(TrimError::NotOpen(log))?.trim(before).await
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    async fn close(self) -> Result<(), CommitError> {
        let logs = self.logs.take();
        for log in logs.iter().flatten() {
            log.close().await?;
        }
        Ok(())
    }
}
