//! The page-cache engine: gathered `pwritev2`, paced write-back, reads as file ranges for `sendfile`.
//!
//! What lives here: the gather buffer, the writes and flushes of a commit, the dirty budget, reads. Segments are prepared, renamed,
//! sealed and unlinked off the shard by `log-segment`. What never does: a buffered write of unflushed data through the ring (the
//! kernel hands those to workers, at a quarter of the speed), a flush or a cold read on the shard.
//!
//! - *Placed* is what `pwritev2` has taken: one system call carries everything gathered since the last one.
//! - *Durable* is a write with RWF_DSYNC, through the ring, of exactly the bytes gathered since the last commit. RWF_DSYNC covers its own range
//!   only, so bytes that were placed without it are flushed by an `fdatasync`.
//! - Without flushes, write-back of each few MiB is started through the ring as they are written, and at most a budget of bytes is
//!   dirty at a time: beyond the kernel's own limit it would put the shard to sleep inside a write.

#![deny(unsafe_code)]

mod availability;
mod commit;
mod gather;
mod log;
mod pace;
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
use log_segment::{DataDir, Loader, Turns};
use pace::Pace;
use shard_ring::{Event, Helper, Ring};
use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
};

/// Bytes of one block of the gather buffer, and of one block that a copying read comes in.
const BLOCK_BYTES: usize = 1 << 20;

/// Copying reads in memory at once, over all logs of the shard; more wait for a block.
const READ_BLOCKS_MAX: usize = 8;

/// The helper gives way to the shard and the generator: a segment is prepared well before it is needed.
const HELPER_NICE: i32 = 5;

/// The page-cache engine. See the crate's documentation.
pub struct PageCache {
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
    gather: Gather,
    /// Bytes appended and not yet written, over all logs.
    inflight: Cell<u64>,
    /// Bytes were written, a segment became ready, or a log was poisoned.
    progress: Event,
    turns: Turns,
    pace: Pace,
    loader: Loader,
}

impl PageCache {
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
        let helper = Helper::start("pagecache", &config.helper_cpus, HELPER_NICE)
            .map_err(fail("start the helper thread for"))?;
        // One block more than may be in flight: the one being filled.
        let blocks = usize::try_from(config.inflight_bytes_max).unwrap_or(usize::MAX).div_ceil(BLOCK_BYTES) + 1;
        let gather = Gather::new(BLOCK_BYTES, blocks).map_err(fail("get memory to gather appends of"))?;
        let loader = Loader::new(ring, BLOCK_BYTES, READ_BLOCKS_MAX).map_err(fail("get memory for reads of"))?;
        let shared = Shared {
            ring: ring.clone(),
            helper: Rc::new(helper),
            data,
            config,
            counters: Counters::default(),
            gather,
            inflight: Cell::new(0),
            progress: Event::new(),
            turns: Turns::default(),
            pace: Pace::for_this_machine(),
            loader,
        };
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
        let counters = &self.shared.counters;
        vec![
            format!("{} gathered writes of {} batches", counters.writes.get(), counters.appended_batches.get()),
            format!(
                "a dirty budget of {} MiB, waited for {} times",
                self.shared.pace.budget() >> 20,
                self.shared.pace.waits()
            ),
        ]
    }

    fn log(&self, log: LogId) -> Option<Rc<Log>> {
        self.logs.borrow().get(log.0 as usize)?.clone()
    }
}

impl LogEngine for PageCache {
    type Pin = Pin;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "pagecache",
        mechanism: "gathered pwritev2 into the page cache under a dirty budget, RWF_DSYNC through the ring, sendfile out",
        durable: true,
        persistent: true,
        readable: true,
        send_paths: &[SendPath::Sendfile, SendPath::Copy],
        kernel_copies_in: 1,
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
        commit::commit(&logs.ok_or(CommitError::NotOpen)?, level).await
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
        let groups: Vec<Rc<Log>> = logs.into_iter().flatten().collect();
        commit::commit(&groups, Level::Placed).await?;
        for log in &groups {
            log.close().await?;
        }
        Ok(())
    }
}
