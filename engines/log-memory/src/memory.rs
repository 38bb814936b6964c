//! The reference model: a log as the contract describes it, and nothing else. Everything that another engine does beyond this, it
//! does for speed or for keeping.
//!
//! Where real engines differ from it, and why it is still their model:
//! - *placed* and *durable* are words here: a commit moves the marks and touches nothing. Dropping the engine is the crash, and
//!   nothing outlives it.
//! - It rolls, trims and pins by segment like an engine on disk, so that offsets and starts are theirs.
//! - Its memory is bounded as a disk is: past the bound, appends are [`AppendError::Full`] until something is trimmed.

use crate::segment::{BLOCK_BYTES, Pool, Segment};
use log_api::{
    AppendError, Appended, Availability, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, Epoch,
    FlushGroup, Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, SendPath, TrimError,
};
use shard_ring::{Event, Ring, Slice};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    future::{Future, ready},
    path::Path,
    time::Duration,
};

/// Bytes of memory that a [`Memory`] may take for its segments unless told otherwise.
pub const BYTES_MAX_DEFAULT: u64 = 4 << 30;

/// Memory comes back without a word when a reader drops its last pin, so a wait for it ends by itself.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(100);

/// A log is in its first incarnation whenever it is opened: nothing of an earlier one is left.
const EPOCH: Epoch = Epoch(1);

/// Keeps batches in memory. See the module's documentation.
#[derive(Debug)]
pub struct Memory {
    config: EngineConfig,
    logs: RefCell<HashMap<LogId, Log>>,
    pool: Pool,
    /// Bytes appended and not yet committed, over all logs.
    inflight_bytes: Cell<u64>,
    /// The last append was refused for want of memory, and nothing was trimmed since.
    full: Cell<bool>,
    /// Tickets of those who wait for room, in order.
    queue: RefCell<VecDeque<u64>>,
    tickets: Cell<u64>,
    /// A commit, a trim, or somebody at the head of the queue who went.
    room_made: Event,
    counters: Counters,
}

#[derive(Debug)]
struct Log {
    marks: Marks,
    /// In offset order, never empty; the last one is being written.
    segments: VecDeque<Segment>,
    /// Bytes appended and not yet committed.
    inflight_bytes: u64,
}

impl Memory {
    /// An engine with at most [`BYTES_MAX_DEFAULT`] bytes of segments.
    ///
    /// # Errors
    /// None of this engine's.
    ///
    /// # Panics
    /// If the segment size is not a multiple of 1 MiB.
    pub async fn new(_ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        Ok(Self::bounded(config, BYTES_MAX_DEFAULT))
    }

    /// An engine with at most `bytes_max` bytes of segments, in whole MiB.
    ///
    /// # Panics
    /// If the segment size is not a multiple of 1 MiB.
    #[must_use]
    pub fn bounded(config: EngineConfig, bytes_max: u64) -> Self {
        let whole = config.segment_bytes > 0 && config.segment_bytes.is_multiple_of(BLOCK_BYTES as u64);
        assert!(whole, "segments of {} bytes: want a multiple of 1 MiB", config.segment_bytes);
        Self {
            config,
            logs: RefCell::default(),
            pool: Pool::new(bytes_max),
            inflight_bytes: Cell::new(0),
            full: Cell::new(false),
            queue: RefCell::default(),
            tickets: Cell::new(0),
            room_made: Event::new(),
            counters: Counters::default(),
        }
    }

    /// It can run wherever there is memory.
    #[must_use]
    pub fn availability(_dir: &Path) -> Availability {
        Availability::Available
    }

    /// A single append larger than the whole bound passes when it is alone, or it would wait for ever.
    fn fits(&self, bytes: u64) -> bool {
        let inflight = self.inflight_bytes.get();
        inflight == 0 || inflight + bytes <= self.config.inflight_bytes_max
    }

    fn segment(&self, base: Offset) -> Segment {
        Segment::new(base, self.config.framing, self.config.segment_bytes, self.config.index_interval_bytes)
    }
}

/// A place in the queue for room, given up when the waiter is served or goes away.
struct Ticket<'a> {
    engine: &'a Memory,
    number: u64,
}

impl Ticket<'_> {
    fn is_first(&self) -> bool {
        self.engine.queue.borrow().front() == Some(&self.number)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.engine.queue.borrow_mut().retain(|number| *number != self.number);
        self.engine.room_made.notify_all();
    }
}

impl LogEngine for Memory {
    type Pin = Slice;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "memory",
        mechanism: "segments in memory, gone with the process: the reference model and the ceiling of memory",
        durable: false,
        persistent: false,
        readable: true,
        send_paths: &[SendPath::Copy],
        kernel_copies_in: 0,
        last_page_follows: false,
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let segments = VecDeque::from([self.segment(Offset(0))]);
        let empty = Log { marks: Marks::default(), segments, inflight_bytes: 0 };
        let earlier = self.logs.borrow_mut().insert(log, empty);
        assert!(earlier.is_none(), "{log} is open already");
        Ok(Recovery { marks: Marks::default(), epoch: EPOCH, cut: None })
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        let mut logs = self.logs.borrow_mut();
        let state = logs.get_mut(&log).ok_or(AppendError::NotOpen(log))?;
        let segment_bytes = self.config.segment_bytes;
        let bytes: u64 = batches.iter().map(Batch::stored_bytes).sum();
        if bytes > segment_bytes {
            return Err(AppendError::TooLarge { bytes, bytes_max: segment_bytes });
        }
        if !self.fits(bytes) {
            Counters::add(&self.counters.busy, 1);
            return Err(AppendError::Busy);
        }
        let current = state.segments.back().expect("a log has a segment");
        let rolls = current.bytes + bytes > segment_bytes;
        let missing = if rolls { bytes.div_ceil(BLOCK_BYTES as u64) as usize } else { current.blocks_missing(bytes) };
        if missing > 0 && !self.pool.has(missing) {
            self.full.set(true);
            return Err(AppendError::Full);
        }

        // Nothing can fail from here on.
        let base = state.marks.end;
        if rolls {
            state.segments.push_back(self.segment(base));
            Counters::add(&self.counters.rolls, 1);
        }
        let current = state.segments.back_mut().expect("a log has a segment");
        let mut copied = 0;
        for batch in batches {
            copied += current.append(batch, EPOCH, &self.pool);
        }
        assert!(current.bytes <= segment_bytes, "a segment past its size");
        let segment = current.base;
        state.marks.end = current.end;
        state.inflight_bytes += bytes;
        self.inflight_bytes.set(self.inflight_bytes.get() + bytes);
        Counters::add(&self.counters.appended_batches, batches.len() as u64);
        Counters::add(&self.counters.appended_bytes, bytes);
        Counters::add(&self.counters.copied_bytes, copied);
        Ok(Appended { base, end: state.marks.end, segment })
    }

    async fn room(&self, _log: LogId, bytes: u64) {
        let number = self.tickets.replace(self.tickets.get() + 1);
        self.queue.borrow_mut().push_back(number);
        let ticket = Ticket { engine: self, number };
        if self.full.get() {
            let made = self.room_made.wait();
            futures_lite::future::or(made, shard_ring::sleep(FULL_RETRY_AFTER)).await;
        }
        loop {
            let made = self.room_made.wait();
            if ticket.is_first() && self.fits(bytes) {
                return;
            }
            made.await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    /// Everything happens at the call; the future only says so.
    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        let mut logs = self.logs.borrow_mut();
        if !groups.iter().all(|group| logs.contains_key(&LogId(group.0))) {
            return ready(Err(CommitError::NotOpen));
        }
        for group in groups {
            let log = logs.get_mut(&LogId(group.0)).expect("looked up above");
            log.marks.placed = log.marks.end;
            if level == Level::Durable {
                log.marks.durable = log.marks.end;
            }
            self.inflight_bytes.set(self.inflight_bytes.get() - log.inflight_bytes);
            log.inflight_bytes = 0;
        }
        self.room_made.notify_all();
        ready(Ok(()))
    }

    fn marks(&self, log: LogId) -> Marks {
        self.logs.borrow().get(&log).map(|log| log.marks).unwrap_or_default()
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Slice>, ReadError> {
        let logs = self.logs.borrow();
        let state = logs.get(&log).ok_or(ReadError::NotOpen(log))?;
        let Marks { start, placed, end, .. } = state.marks;
        if read.from < start || read.from > end {
            return Err(ReadError::OutOfRange { asked: read.from, start, end });
        }
        let until = read.until.min(placed);
        if read.from >= until {
            return Ok(Chunk::empty(read.from));
        }
        let after = state.segments.partition_point(|segment| segment.base <= read.from);
        let segment = &state.segments[after - 1];
        let first = segment.find(read.from);
        if first.end > until {
            return Ok(Chunk::empty(read.from));
        }
        let (mut next, mut bytes) = (first.end, first.bytes);
        let mut place = first;
        while let Some(following) = segment.next(&place) {
            if following.end > until || bytes + following.bytes > read.bytes_max {
                break;
            }
            (next, bytes) = (following.end, bytes + following.bytes);
            place = following;
        }
        Counters::add(&self.counters.read_hits, 1);
        Ok(Chunk { base: first.base, next, bytes, pieces: segment.pins(first.position, bytes) })
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        let mut logs = self.logs.borrow_mut();
        let state = logs.get_mut(&log).ok_or(TrimError::NotOpen(log))?;
        let before = before.min(state.marks.placed);
        while state.segments.len() > 1 && state.segments[0].end <= before {
            state.segments.pop_front();
        }
        let marks = &mut state.marks;
        marks.start = state.segments[0].base;
        // Nothing before the start is left to lose.
        marks.durable = marks.durable.max(marks.start);
        self.full.set(false);
        self.room_made.notify_all();
        Ok(marks.start)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}
