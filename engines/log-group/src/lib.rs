//! Many partitions in one log: an engine over an engine.
//!
//! A log of its own for each partition costs each partition files, memory and a flush a commit. Here the partitions of a group share one log of
//! the inner engine, as those of JMQ's partition groups do: each batch is appended there with a frame before it that says whose it is, and an
//! index by partition says where each lies. One flush makes durable what all partitions of the group have appended.
//!
//! ```text
//! <data>/layout                           "group", or "group:<n>" with n partitions in each group
//! <data>/00000/                           the log of group 0, with the files that every log has, and
//!     00000000000000000000.entries        the index of a finished segment; a hint, made again when missing or wrong
//! ```
//!
//! Segments are named by the byte of the log at which they begin: in a framed log offsets count bytes.
//!
//! | file | subject |
//! |---|---|
//! | `layout.rs` | which partitions share a log, and the file that says so |
//! | `group.rs` | one group: where its partitions stand, appends |
//! | `part.rs`, `index.rs` | the index of a segment, in memory and in its file |
//! | `recover.rs` | finding the partitions again from the log |
//! | `checkpoint.rs` | where partitions end, for those that have nothing left in the log |
//! | `read.rs`, `pin.rs` | reads without frames |
//! | `trim.rs`, `lowest.rs` | a segment goes when all partitions have passed it |
//!
//! What lives here: what the partitions of a group share. What never does: how bytes are written, flushed or read (the inner engine's affair),
//! topics, clients, sockets.

#![forbid(unsafe_code)]

mod checkpoint;
mod group;
mod index;
mod layout;
mod lowest;
mod part;
mod pin;
mod read;
mod recover;
mod trim;

pub use checkpoint::END_BYTES as CHECKPOINT_END_BYTES;
pub use index::ENTRY_BYTES;
pub use layout::{Grouping, PARTITIONS_MAX};
pub use pin::Pin;

use group::{FRAMES_ROOM_BYTES, Group, Off};
use log_api::{
    AppendError, Appended, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, FlushGroup, Framing, Level,
    LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, TrimError,
};
use shard_ring::{Event, Helper, Ring};
use std::{cell::RefCell, collections::BTreeMap, future::Future, io, rc::Rc};

/// The helper gives way to the shard and the generator, as the engines' do.
const HELPER_NICE: i32 = 5;

/// Segments are smaller than this: a place in one is four bytes of an index.
pub const SEGMENT_BYTES_MAX: u64 = (1 << 32) - FRAMES_ROOM_BYTES - 1;

/// An engine whose logs are partitions that share logs of an inner engine. See the crate's documentation.
pub struct LogGroup<E: LogEngine> {
    /// Before the inner engine, so that its last jobs have ended when that gives the directory free.
    off: Off,
    inner: E,
    config: EngineConfig,
    grouping: Grouping,
    groups: RefCell<BTreeMap<LogId, Opened>>,
    /// The opening of a group has ended, well or not.
    opened: Event,
}

enum Opened {
    Opening,
    Open(Rc<Group>),
}

/// The opening of a group. When it ends without one, also because nobody waits for it any more, the next call begins again.
struct Opening<'a, E: LogEngine> {
    group: &'a LogGroup<E>,
    log: LogId,
}

impl<E: LogEngine> Drop for Opening<'_, E> {
    fn drop(&mut self) {
        let mut groups = self.group.groups.borrow_mut();
        if matches!(groups.get(&self.log), Some(Opened::Opening)) {
            groups.remove(&self.log);
        }
        self.group.opened.notify_all();
    }
}

/// What an inner engine with these capabilities is to be told, where its [`LogGroup`] is told `config`.
#[must_use]
pub fn inner_config(config: &EngineConfig, inner: &Capabilities) -> EngineConfig {
    let room = if inner.persistent { FRAMES_ROOM_BYTES } else { 0 };
    EngineConfig { framing: Framing::Framed, segment_bytes: config.segment_bytes + room, ..config.clone() }
}

impl<E: LogEngine> LogGroup<E> {
    /// Groups the partitions of `config.dir`, in which `inner` was started with [`inner_config`] and has opened no log yet.
    ///
    /// # Errors
    /// [`OpenError::Layout`] if the directory was made with another layout; `Io` for segments of 4 GiB or more, or if a file operation or the
    /// helper thread is refused.
    pub fn new(ring: &Ring, inner: E, config: EngineConfig, grouping: Grouping) -> Result<Self, OpenError> {
        if config.segment_bytes > SEGMENT_BYTES_MAX {
            let what = format!("segments of {} bytes; in groups they are smaller than 4 GiB", config.segment_bytes);
            return Err(recover::failed("open", &config.dir, io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        if E::CAPABILITIES.persistent {
            layout::check(&config, grouping)?;
        }
        let helper = Helper::start("group", &config.helper_cpus, HELPER_NICE)
            .map_err(|source| recover::failed("start the helper thread for", &config.dir, source))?;
        Ok(Self {
            off: Off { ring: ring.clone(), helper },
            inner,
            config,
            grouping,
            groups: RefCell::default(),
            opened: Event::new(),
        })
    }

    /// The engine that holds the shared logs.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    fn of(&self, partition: LogId) -> Option<Rc<Group>> {
        self.open_group(self.grouping.log_of(partition))
    }

    /// The group of a shared log, if it is open.
    fn open_group(&self, shared: LogId) -> Option<Rc<Group>> {
        match self.groups.borrow().get(&shared) {
            Some(Opened::Open(group)) => Some(group.clone()),
            _ => None,
        }
    }

    /// The group of a shared log, opened if it was not.
    async fn group_of_log(&self, log: LogId) -> Result<Rc<Group>, OpenError> {
        loop {
            let opened = self.opened.wait();
            match self.groups.borrow().get(&log) {
                Some(Opened::Open(group)) => return Ok(group.clone()),
                Some(Opened::Opening) => {}
                None => break,
            }
            opened.await;
        }
        self.groups.borrow_mut().insert(log, Opened::Opening);
        let _opening = Opening { group: self, log };
        let dir = self.config.dir.join(format!("{:05}", log.0));
        let outcome = Group::open(&self.off, &self.inner, log, dir).await.map(Rc::new);
        if let Ok(group) = &outcome {
            Counters::add(&self.inner.counters().shared_logs, 1);
            self.count_rebuilt(group);
            self.groups.borrow_mut().insert(log, Opened::Open(group.clone()));
        }
        outcome
    }

    fn count_rebuilt(&self, group: &Group) {
        Counters::add(&self.inner.counters().shared_log_indexes_rebuilt, group.rebuilt.take());
    }

    /// Indexes of segments that a commit has made durable get their files.
    fn committed(&self) {
        for opened in self.groups.borrow().values() {
            if let Opened::Open(group) = opened {
                group.write_finished(&self.off, self.inner.marks(group.log).durable.0);
            }
        }
    }
}

impl<E: LogEngine> LogEngine for LogGroup<E> {
    type Pin = Pin<E::Pin>;

    const CAPABILITIES: Capabilities = E::CAPABILITIES;

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let recovery = self.group_of_log(self.grouping.log_of(log)).await?.open_partition(log)?;
        Counters::add(&self.inner.counters().shared_log_partitions, 1);
        Ok(recovery)
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        let groups = self.groups.borrow();
        let Some(Opened::Open(group)) = groups.get(&self.grouping.log_of(log)) else {
            return Err(AppendError::NotOpen(log));
        };
        let Counters { appended_batches, appended_bytes, .. } = self.inner.counters();
        let (batches_before, bytes_before) = (appended_batches.get(), appended_bytes.get());
        let appended = group.append(&self.inner, self.config.segment_bytes, log, batches);
        // What was appended is what came in; the inner engine has counted frames and checkpoints, too.
        let taken = if appended.is_ok() { batches } else { &[] };
        appended_batches.set(batches_before + taken.len() as u64);
        appended_bytes.set(bytes_before + taken.iter().map(Batch::stored_bytes).sum::<u64>());
        appended
    }

    async fn room(&self, log: LogId, bytes: u64) {
        if let Some(group) = self.of(log) {
            self.inner.room(group.log, group.bytes_for(bytes)).await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        self.inner.group(self.grouping.log_of(log))
    }

    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        let committed = self.inner.commit(groups, level);
        async move {
            let outcome = committed.await;
            self.committed();
            outcome
        }
    }

    fn marks(&self, log: LogId) -> Marks {
        if let Some(shared) = log.of_whole() {
            return self.inner.marks(shared);
        }
        let shared = self.grouping.log_of(log);
        match self.groups.borrow().get(&shared) {
            Some(Opened::Open(group)) => group.marks(log, self.inner.marks(shared)),
            _ => Marks::default(),
        }
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Self::Pin>, ReadError> {
        if let Some(shared) = log.of_whole() {
            return Ok(pin::whole(self.inner.read(shared, read).await?));
        }
        let group = self.of(log).ok_or(ReadError::NotOpen(log))?;
        let chunk = group.read(&self.off, &self.inner, log, read).await;
        self.count_rebuilt(&group);
        chunk
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        let whole = log.of_whole();
        let group = whole.map_or_else(|| self.of(log), |shared| self.open_group(shared));
        let group = group.ok_or(TrimError::NotOpen(log))?;
        let start = match whole {
            Some(_) => group.trim_whole(&self.off, &self.inner, before).await,
            None => group.trim(&self.off, &self.inner, log, before).await,
        };
        self.count_rebuilt(&group);
        start
    }

    fn counters(&self) -> &Counters {
        self.inner.counters()
    }

    async fn close(self) -> Result<(), CommitError> {
        let Self { off, inner, .. } = self;
        // Jobs that were given are done before the directory is free.
        drop(off);
        inner.close().await
    }
}
