//! The null engine: assigns offsets and keeps nothing. A run with it measures everything else: generator, intake, shard and
//! acknowledgement. It is also the skeleton of an engine: copy this file, and read on each method what the core relies on.

use log_api::{
    AppendError, Appended, Availability, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, Epoch,
    FlushGroup, Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, TrimError,
};
use shard_ring::Ring;
use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Future, ready},
    path::Path,
};

/// Accepts and forgets. See the module's documentation.
#[derive(Debug, Default)]
pub struct Null {
    logs: RefCell<HashMap<LogId, Marks>>,
    segment_bytes: u64,
    counters: Counters,
}

impl Null {
    /// Required, though not of the trait: every engine is made from a shard's ring and a configuration. Here an engine starts its
    /// helper thread, registers its buffers and takes the lock of `config.dir`; it opens no log yet.
    ///
    /// # Errors
    /// None of this engine's.
    pub async fn new(_ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        Ok(Self { segment_bytes: config.segment_bytes, ..Self::default() })
    }

    /// Required, though not of the trait: tries in `dir` what the engine cannot do without (O_DIRECT, a ring with registered
    /// buffers, …) and says in a sentence what to change where it fails. It leaves nothing behind.
    #[must_use]
    pub fn availability(_dir: &Path) -> Availability {
        Availability::Available
    }
}

/// Required. An engine of its own would have a type here that keeps the memory alive; this one has nothing to show.
#[derive(Clone, Copy, Debug)]
pub enum NoPin {}

impl AsRef<[u8]> for NoPin {
    fn as_ref(&self) -> &[u8] {
        match *self {}
    }
}

impl LogEngine for Null {
    type Pin = NoPin;

    /// Required, and true: the core and the tests decide by it what they may expect, and skip aloud what they may not.
    const CAPABILITIES: Capabilities = Capabilities {
        name: "null",
        mechanism: "accepts and forgets",
        durable: false,
        persistent: false,
        readable: false,
        send_paths: &[],
        kernel_copies_in: 0,
        last_page_follows: false,
    };

    /// Required. The core opens each log once, before anything else is asked of it, and believes the marks: it acknowledges
    /// nothing below them again. A persistent engine finds the end here, cuts a torn tail, makes durable what it keeps, and has
    /// the new epoch on stable storage before it returns; `log_segment` does all that.
    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let earlier = self.logs.borrow_mut().insert(log, Marks::default());
        assert!(earlier.is_none(), "{log} is open already");
        Ok(Recovery { marks: Marks::default(), epoch: Epoch(1), cut: None })
    }

    /// Required. Called for each batch that arrives: no allocation in the steady state, no system call, no wait, one copy at most.
    /// All batches get offsets, or none. The core may reuse the bytes as soon as this returns.
    ///
    /// An engine that keeps something checks in this order: open, poisoned, too large, busy, full; and counts `busy`.
    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        let mut logs = self.logs.borrow_mut();
        let marks = logs.get_mut(&log).ok_or(AppendError::NotOpen(log))?;
        let (mut bytes, mut records) = (0, 0);
        for batch in batches {
            bytes += batch.stored_bytes();
            records += u64::from(batch.records());
        }
        if bytes > self.segment_bytes {
            return Err(AppendError::TooLarge { bytes, bytes_max: self.segment_bytes });
        }
        let base = marks.end;
        marks.end = base.plus(records);
        Counters::add(&self.counters.appended_batches, batches.len() as u64);
        Counters::add(&self.counters.appended_bytes, bytes);
        Ok(Appended { base, end: marks.end, segment: Offset(0) })
    }

    /// Required of an engine whose append can answer [`AppendError::Busy`] or [`AppendError::Full`]; this one never does. First
    /// come, first served: otherwise a large batch waits for ever behind small ones.
    async fn room(&self, _log: LogId, _bytes: u64) {}

    /// Required. Logs that share a flush share a group; here, as in most engines, each log is its own.
    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    /// Required. The core acknowledges what the marks say when this returns `Ok`. Submit the writes of all groups before the first
    /// wait; take what was appended before the call and nothing later; move the marks in order even when flushes complete out of
    /// order; and after a failure answer [`CommitError::Poisoned`] to every later call.
    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        let mut logs = self.logs.borrow_mut();
        if !groups.iter().all(|group| logs.contains_key(&LogId(group.0))) {
            return ready(Err(CommitError::NotOpen));
        }
        for group in groups {
            if let Some(marks) = logs.get_mut(&LogId(group.0)) {
                marks.placed = marks.end;
                if level == Level::Durable {
                    marks.durable = marks.end;
                }
            }
        }
        ready(Ok(()))
    }

    /// Required, and cheap: the core asks after each commit. `start <= durable <= placed <= end` at all times.
    fn marks(&self, log: LogId) -> Marks {
        self.logs.borrow().get(&log).copied().unwrap_or_default()
    }

    /// Not required of an engine that declares `readable: false`: nothing is asked of it. All others return whole batches that
    /// start with the one that holds `read.from`, end at a batch that ends at or before `read.until`, and keep their bytes, or
    /// their file's range, as they are for as long as the chunk lives.
    async fn read(&self, log: LogId, _read: Read) -> Result<Chunk<NoPin>, ReadError> {
        if self.logs.borrow().contains_key(&log) { Err(ReadError::Unreadable) } else { Err(ReadError::NotOpen(log)) }
    }

    /// Required of an engine that keeps something, or its log grows without end: the core calls it for retention. Whole segments
    /// only, never the one being written, and a segment that a chunk still shows goes when the chunk does.
    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        let mut logs = self.logs.borrow_mut();
        let marks = logs.get_mut(&log).ok_or(TrimError::NotOpen(log))?;
        marks.start = marks.start.max(before.min(marks.placed));
        marks.durable = marks.durable.max(marks.start);
        Ok(marks.start)
    }

    /// Required: the costs in the tables come from here.
    fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Required of a persistent engine: everything durable, files at their length, the directory free for the next. The core calls
    /// it when it stops in order; when it does not, the engine is dropped, and that must lose nothing that was placed.
    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}
