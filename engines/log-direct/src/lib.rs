//! The io_uring direct-I/O engine: past the page cache, on the shard's own ring.
//!
//! An append is copied once into a registered slab, where it stays: the same memory is staging, the buffer of the write, and afterwards the
//! tail cache from which readers near the end are served. A commit submits what was appended since the last one, in whole pages, with
//! `RWF_DSYNC` when it is to be durable; several are in flight at once, and acknowledged in order. The page in which the log ends is kept
//! and written again with what follows. Segments are recycled, or filled with zeros ahead, off the shard, so that no
//! write ever extends a file. Reads of
//! what the tail cache has forgotten go to the device, ahead of who reads in order, and are verified when they come.
//!
//! | file | subject |
//! |---|---|
//! | `staging.rs` | extents: bytes of the log in slab blocks, dispatched in whole pages, forgotten oldest first |
//! | `flights.rs` | which page may be written when, what a flush covers, how far the marks move; no I/O |
//! | `commit.rs` | carries that out on the ring |
//! | `log.rs` | opening, appending, rolling, room |
//! | `read.rs`, `cursor.rs`, `run.rs` | answering, reading ahead, one run of batches from the device |
//! | `memory.rs` | slabs, budget, pins |
//! | `availability.rs` | whether all this works here |
//!
//! What never lives here: the page cache (all files are open with O_DIRECT), a system call a message, file work that blocks the shard
//! (`log-segment` does it on the helper), topics, clients, sockets.

mod availability;
mod commit;
mod cursor;
mod flights;
mod log;
mod memory;
mod read;
mod run;
mod staging;

pub use memory::Pin;

use crate::{
    log::{Log, Shared},
    memory::Memory,
};
use log_api::{
    AppendError, Appended, Availability, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, FlushGroup,
    Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, SendPath, TrimError,
};
use log_segment::DataDir;
use shard_ring::{Helper, Ring};
use std::{future::Future, io, path::Path, rc::Rc};

/// The unit of direct I/O: memory, offsets and lengths are multiples of it.
pub(crate) const PAGE: usize = 4096;

/// [`PAGE`], for positions in files.
pub(crate) const PAGE_BYTES: u64 = PAGE as u64;

/// How much the helper thread gives way: it fills segments with zeros, which must not delay who serves.
const HELPER_NICE: i32 = 5;

/// The io_uring direct-I/O engine of one shard.
pub struct Direct {
    shared: Rc<Shared>,
}

/// What proves that the engine ran as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// O_DIRECT stands in the flags of every open segment, as `fcntl` tells, and there is one.
    pub direct: bool,
    /// Alignment of memory and of file offsets that the file system asks of direct I/O (`statx`), in bytes; None where it does not say.
    pub alignment_bytes: Option<(u32, u32)>,
    /// Segments open on the ring, and how many of them the kernel knows as fixed files.
    pub files: usize,
    /// See [`Attestation::files`].
    pub files_fixed: usize,
    /// Bytes of a block of staging and tail cache: the largest write.
    pub staging_block_bytes: usize,
    /// Blocks of staging and tail cache.
    pub staging_blocks: usize,
    /// How many of them are registered buffers; the limit of locked memory decides.
    pub staging_blocks_registered: usize,
    /// Bytes of a block for reading: the largest read.
    pub reading_block_bytes: usize,
    /// Blocks for reading.
    pub reading_blocks: usize,
    /// How many of them are registered buffers.
    pub reading_blocks_registered: usize,
}

impl Direct {
    /// Starts the engine in a data directory that nobody else has. Maps its memory: staging and tail cache
    /// (`inflight_bytes_max + tail_cache_bytes` and a few blocks), and at most 16 MiB for reading.
    ///
    /// # Errors
    /// [`OpenError::Held`], or `Io` when memory, the helper thread or the directory is refused.
    pub async fn new(ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        let failed = |action| {
            let path = config.dir.clone();
            move |source: io::Error| OpenError::Io { action, path, source }
        };
        let start =
            |name| Helper::start(name, &config.helper_cpus, HELPER_NICE).map_err(failed("start a helper thread for"));
        let (helper, preparing) = (start("direct")?, start("next")?);
        let dir = config.dir.clone();
        let data = helper.run(ring, move || DataDir::open(&dir)).await?;
        let memory = Memory::new(ring, &config).map_err(failed("map memory for"))?;
        Ok(Self { shared: Shared::new(ring, config, data, [helper, preparing], memory) })
    }

    /// Whether `dir`, or the directory it would be made in, can be written past the page cache through io_uring. Tries it with one page.
    #[must_use]
    pub fn availability(dir: &Path) -> Availability {
        availability::availability(dir)
    }

    /// What the engine is really doing, for the record of a run.
    #[must_use]
    pub fn attestation(&self) -> Attestation {
        let memory = &self.shared.memory;
        let mut attestation = Attestation {
            direct: true,
            alignment_bytes: None,
            files: 0,
            files_fixed: 0,
            staging_block_bytes: memory.staging.block_bytes(),
            staging_blocks: memory.staging.blocks(),
            staging_blocks_registered: memory.staging_registered,
            reading_block_bytes: memory.reading.block_bytes(),
            reading_blocks: memory.reading.blocks(),
            reading_blocks_registered: memory.reading_registered,
        };
        for log in self.shared.logs.borrow().values() {
            let state = log.state.borrow();
            for segment in state.segments.iter() {
                attestation.files += 1;
                attestation.files_fixed += usize::from(segment.handle.is_fixed());
                attestation.direct &= commit::is_direct(&segment.handle);
            }
            attestation.alignment_bytes = availability::dio_alignment(state.segments.active().handle.file());
        }
        attestation.direct &= attestation.files > 0;
        attestation
    }

    fn log(&self, id: LogId) -> Option<Rc<Log>> {
        self.shared.log(id)
    }
}

impl Drop for Direct {
    /// A crash, as far as the logs can tell. Writes in flight land, and hold the directory until then.
    fn drop(&mut self) {
        self.shared.cursors.clear();
        // Each log holds what it shares with the others.
        let logs = std::mem::take(&mut *self.shared.logs.borrow_mut());
        drop(logs);
    }
}

impl LogEngine for Direct {
    type Pin = Pin;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "direct",
        mechanism: "O_DIRECT writes of registered buffers on the shard's own io_uring ring",
        durable: true,
        persistent: true,
        readable: true,
        send_paths: &[SendPath::Copy],
        kernel_copies_in: 0,
        last_page_follows: true,
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        self.shared.open(log).await
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        self.log(log).ok_or(AppendError::NotOpen(log))?.append(batches)
    }

    async fn room(&self, log: LogId, bytes: u64) {
        if let Some(log) = self.log(log) {
            log.room(bytes).await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        // At the call, not at the first poll: the writes of all groups are in the queue before anybody waits.
        let launched = groups.iter().map(|group| {
            let log = self.log(LogId(group.0)).ok_or(CommitError::NotOpen)?;
            let target = log.launch(level)?;
            Ok((log, target))
        });
        let launched: Vec<Result<(Rc<Log>, Offset), CommitError>> = launched.collect();
        async move {
            let mut outcome = Ok(());
            for launched in launched {
                let reached = match launched {
                    Ok((log, target)) => log.reach(level, target).await,
                    Err(error) => Err(error),
                };
                outcome = outcome.and(reached);
            }
            outcome
        }
    }

    fn marks(&self, log: LogId) -> Marks {
        self.log(log).map_or_else(Marks::default, |log| log.marks())
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Pin>, ReadError> {
        self.log(log).ok_or(ReadError::NotOpen(log))?.read(read).await
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        self.log(log).ok_or(TrimError::NotOpen(log))?.trim(before).await
    }

    fn counters(&self) -> &Counters {
        let counters = &self.shared.counters;
        let (mut bytes, mut zeroed, mut recycled) = (0, 0, 0);
        for log in self.shared.logs.borrow().values() {
            let preparation = log.preparation();
            bytes += preparation.bytes;
            zeroed += preparation.zeroed;
            recycled += preparation.recycled;
        }
        counters.prepared_bytes.set(bytes);
        counters.segments_zeroed.set(zeroed);
        counters.segments_recycled.set(recycled);
        counters
    }

    async fn close(self) -> Result<(), CommitError> {
        let logs: Vec<Rc<Log>> = self.shared.logs.borrow().values().cloned().collect();
        let mut outcome = Ok(());
        for log in &logs {
            outcome = outcome.and(log.finish().await);
        }
        self.shared.quiet().await;
        for log in &logs {
            outcome = outcome.and(log.is_sound());
        }
        outcome
    }
}
