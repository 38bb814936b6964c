//! Read-ahead: who reads through a log in order, what was read for them beyond what they asked, and what is on its way. What never lives
//! here: the tail cache.

use crate::{
    log::{Log, State},
    memory::READING_BLOCKS_RESERVED,
    run::{Pending, Run, Stretch},
    staging::Place,
};
use log_api::{LogId, Offset, Read, ReadError, ReadKind};
use log_segment::{Boundary, segment_path};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

/// Readers that are remembered; the one that has not read for longest is forgotten first.
const CURSORS_MAX: usize = 16;

/// Runs in flight for one who scans. `calibrate --engines --case cold`, four and eight in turn three times: 2.90, 3.08 and 2.81 GB/s, then 3.22,
/// 3.11 and 3.03.
pub(crate) const AHEAD_SCAN: usize = 8;

/// Bytes of a run for one who scans while others append, in whichever log, and then none is read ahead: a commit queues behind reads on the device,
/// and behind the sends that they feed on the shard.
pub(crate) const BYTES_BESIDE: u64 = 256 << 10;

/// Reads that the tail cache did not answer, of all readers, without an append between them: after so many nobody appends, and a scan has the device
/// for itself again.
const CALM_READS: u64 = 16;

/// Runs in flight for a tail reader that has fallen out of the tail cache: it is about to catch up.
pub(crate) const AHEAD_HOT: usize = 1;

/// A cursor whose owner has been silent for this many reads of others may lose its read-ahead to one that is active.
const SILENT_READS: u64 = 64;

/// A reader in the middle of a log: the next read starts at `next`.
pub(crate) struct Cursor {
    log: LogId,
    pub(crate) next: Offset,
    /// A run that is partly read, and the boundary up to which it is.
    pub(crate) current: Option<(Run, Boundary)>,
    ahead: VecDeque<Pending>,
    /// The segment and the boundary at which the next run starts.
    planned: (Offset, Boundary),
    used: u64,
}

/// The readers of one engine.
#[derive(Default)]
pub(crate) struct Cursors {
    cursors: RefCell<Vec<Cursor>>,
    reads: Cell<u64>,
    /// The clock of appends when it was last looked at, and how many reads there had been when it had moved.
    clock_seen: Cell<u64>,
    reads_at_append: Cell<u64>,
}

impl Cursors {
    /// Whether anything was appended within the last [`CALM_READS`] reads. `clock` counts appends.
    pub(crate) fn are_beside_appends(&self, clock: u64) -> bool {
        if self.clock_seen.replace(clock) != clock {
            self.reads_at_append.set(self.reads.get());
        }
        clock > 0 && self.reads.get() < self.reads_at_append.get() + CALM_READS
    }

    /// The cursor of the reader who goes on at `next`. It is the caller's until `put`.
    pub(crate) fn take(&self, log: LogId, next: Offset) -> Option<Cursor> {
        self.reads.set(self.reads.get() + 1);
        let mut cursors = self.cursors.borrow_mut();
        let index = cursors.iter().position(|cursor| cursor.log == log && cursor.next == next)?;
        Some(cursors.swap_remove(index))
    }

    /// Remembers a reader.
    pub(crate) fn put(&self, mut cursor: Cursor) {
        cursor.used = self.reads.get();
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() == CURSORS_MAX
            && let Some(index) = oldest(&cursors)
        {
            cursors.swap_remove(index);
        }
        cursors.push(cursor);
    }

    /// Gives up the blocks of a reader that seems to be gone. False: all are active.
    fn forget_silent(&self) -> bool {
        let mut cursors = self.cursors.borrow_mut();
        let silent = oldest(&cursors).filter(|index| cursors[*index].used + SILENT_READS < self.reads.get());
        silent.map(|index| cursors.swap_remove(index)).is_some()
    }

    /// Forgets the readers of a log for whom something before its new start is on its way: it is no longer theirs, and would keep the segment.
    pub(crate) fn forget_before(&self, log: LogId, start: Offset) {
        let reads_before = |cursor: &Cursor| cursor.ahead.iter().any(|pending| pending.stretch().start.offset < start);
        self.cursors.borrow_mut().retain(|cursor| cursor.log != log || !reads_before(cursor));
    }

    /// Forgets all readers.
    pub(crate) fn clear(&self) {
        self.cursors.borrow_mut().clear();
    }
}

fn oldest(cursors: &[Cursor]) -> Option<usize> {
    (0..cursors.len()).min_by_key(|index| cursors[*index].used)
}

impl Cursor {
    /// A reader who was not seen before, and whose read starts at `start` at the latest.
    pub(crate) fn new(log: LogId, segment: Offset, start: Boundary) -> Self {
        Self { log, next: start.offset, current: None, ahead: VecDeque::new(), planned: (segment, start), used: 0 }
    }

    /// Sees to `count` runs being on their way, of about `bytes` each. Only the first, if nothing else is at hand, is owed; the others
    /// stop where the tail cache begins, and before the blocks run out that others need.
    pub(crate) fn fill(&mut self, log: &Log, count: usize, bytes: u64) -> Result<(), ReadError> {
        let (shared, reading) = (&log.shared, &log.shared.memory.reading);
        while self.ahead.len() < count {
            let owed = self.ahead.is_empty() && self.current.is_none();
            let state = log.state.borrow();
            let Some(stretch) = plan(&state, self.planned, bytes, reading.block_bytes()) else { break };
            if !owed {
                let start = Place { segment: stretch.segment.0, position: stretch.start.position };
                let blocks = stretch.operations(reading.block_bytes());
                if blocks > 1 || state.staging.holds(start) {
                    break;
                }
                if reading.free_blocks() < blocks + READING_BLOCKS_RESERVED && !shared.cursors.forget_silent() {
                    break;
                }
            }
            let Some(segment) = state.segments.get(stretch.segment) else { break };
            let Some(lease) = state.segments.lease(stretch.segment) else { break };
            self.ahead.push_back(stretch.submit(
                log.config.framing,
                &shared.ring,
                &shared.memory,
                &segment.handle,
                lease,
            )?);
            self.planned = (stretch.segment, stretch.end);
        }
        Ok(())
    }

    /// The next run that was submitted: None if nothing is left to read. The cursor is without it when the wait is dropped.
    pub(crate) async fn pop(&mut self, log: &Log) -> Result<Option<Run>, ReadError> {
        let Some(pending) = self.ahead.pop_front() else { return Ok(None) };
        let path = segment_path(&log.config.dir, pending.stretch().segment);
        pending.finish(&log.shared.ring, &path, &log.shared.counters).await.map(Some)
    }

    /// Runs on their way.
    pub(crate) fn runs_ahead(&self) -> usize {
        self.ahead.len()
    }

    /// A run is on its way already.
    pub(crate) fn is_ahead(&self) -> bool {
        self.current.is_some() || !self.ahead.is_empty()
    }
}

/// The run that starts at a boundary: about `bytes`, within one read operation unless a single batch is larger. Nothing that has not been written.
fn plan(state: &State, (segment, from): (Offset, Boundary), bytes: u64, block_bytes: usize) -> Option<Stretch> {
    let placed = state.flights.placed();
    if from.offset >= placed.offset || from.offset < state.segments.start() {
        return None;
    }
    let read = Read { from: from.offset, until: placed.offset, bytes_max: bytes, kind: ReadKind::Scan };
    let plan = state.segments.plan(&read)?;
    // The plan starts at an indexed boundary at or before `from`; the start of a later segment is one.
    let start = if plan.segment == segment { from } else { plan.start };
    let mut end = plan.end;
    if plan.segment.0 == placed.place.segment && end.position > placed.place.position {
        end = Boundary { offset: placed.offset, position: placed.place.position };
    }
    let reach = start.position - start.position % crate::PAGE_BYTES + block_bytes as u64;
    if end.position > reach {
        let indexed = state.segments.get(plan.segment)?.index().at_or_before_position(reach);
        if indexed.position > start.position {
            end = indexed;
        }
    }
    Some(Stretch { segment: plan.segment, start, end })
}

/// Puts a cursor back when the read that borrowed it is over.
pub(crate) fn put_back(log: &Rc<Log>, mut cursor: Cursor, next: Offset) {
    cursor.next = next;
    log.shared.cursors.put(cursor);
}
