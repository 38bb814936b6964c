//! Reads: from the tail cache where it holds the bytes, else from the device, ahead of who reads in order. Both answer with pins: slices
//! of the memory that the bytes are in already. What never lives here: writing.

use crate::{
    cursor::{AHEAD_HOT, AHEAD_SCAN, BYTES_BESIDE, Cursor, put_back},
    log::{Log, State},
    memory::Pin,
    staging::Place,
};
use log_api::{Chunk, Counters, Offset, Piece, Read, ReadError, ReadKind};
use log_format::{ENTRY_HEADER_BYTES_MAX, Entry, entry_header_bytes, peek_entry};
use log_segment::{Boundary, Plan, SparseIndex};
use shard_ring::Slice;
use std::rc::Rc;

/// Pieces of a chunk from the tail cache, about: what one vectored send takes. Small commits leave small extents.
const PIECES_MAX: usize = 128;

/// Whole batches that answer a read.
type Found = (Boundary, Boundary, Vec<Slice>);

impl Log {
    pub(crate) async fn read(self: &Rc<Self>, read: Read) -> Result<Chunk<Pin>, ReadError> {
        let (read, plan) = {
            let state = self.state.borrow();
            let (start, end, placed) = (state.segments.start(), state.segments.end(), state.flights.placed().offset);
            if read.from < start || read.from > end {
                return Err(ReadError::OutOfRange { asked: read.from, start, end });
            }
            let read = Read { until: read.until.min(placed), ..read };
            if read.from >= read.until {
                return Ok(Chunk::empty(read.from));
            }
            let Some(plan) = state.segments.plan(&read) else { return Ok(Chunk::empty(read.from)) };
            if let Some(found) = tail(&state, &read, &plan) {
                Counters::add(&self.shared.counters.read_hits, 1);
                return Ok(chunk(found, |slices| self.shared.memory.pin_staged(slices, &self.shared.counters)));
            }
            (read, plan)
        };
        self.read_device(read, plan).await
    }

    async fn read_device(self: &Rc<Self>, read: Read, plan: Plan) -> Result<Chunk<Pin>, ReadError> {
        let shared = &self.shared;
        let block_bytes = shared.memory.reading.block_bytes() as u64;
        let known = shared.cursors.take(self.id, read.from);
        let beside = shared.cursors.are_beside_appends(shared.memory.clock()) || shared.memory.unwritten.get() > 0;
        let (ahead, bytes) = match (read.kind, &known) {
            (ReadKind::Scan, _) if beside => (0, block_bytes.min(BYTES_BESIDE)),
            (ReadKind::Scan, _) => (AHEAD_SCAN, block_bytes),
            (ReadKind::Hot, Some(_)) => (AHEAD_HOT, block_bytes),
            (ReadKind::Hot, None) => (0, read.bytes_max.min(block_bytes)),
        };
        let mut cursor = known.unwrap_or_else(|| Cursor::new(self.id, plan.segment, plan.start));
        let counters = &shared.counters;
        Counters::add(if cursor.is_ahead() { &counters.read_hits } else { &counters.read_misses }, 1);

        let (run, at) = match cursor.current.take() {
            Some(partly_read) => partly_read,
            None => {
                let before = cursor.runs_ahead();
                cursor.fill(self, ahead + 1, bytes)?;
                if before > 0 && cursor.runs_ahead() > before {
                    // Runs come many at a time, and the device would idle until all of them are verified and the round is over.
                    shared.ring.submit();
                }
                let Some(run) = cursor.pop(self).await? else { return Ok(Chunk::empty(read.from)) };
                let start = run.stretch().start;
                (run, start)
            }
        };
        let end = run.stretch().end;
        let framing = self.config.framing;
        let range = {
            let state = self.state.borrow();
            // A trim may have given the segment up meanwhile; its bytes are here all the same.
            let segment = run.stretch().segment;
            let index = state.segments.get(segment).map(|segment| segment.index());
            narrow(index, at, end, &read, |position| run.entry(framing, position)).inspect(|(start, end)| {
                state.segments.remember(&Plan { segment, start: *start, end: *end, exact: true, framing })
            })
        };
        let Some((first, last)) = range else { return Ok(Chunk::empty(read.from)) };
        let found = (first, last, run.slices(first.position, last.position));
        cursor.current = (last.position < end.position).then_some((run, last));
        cursor.fill(self, ahead, block_bytes)?;
        put_back(self, cursor, last.offset);
        Ok(chunk(found, |slices| shared.memory.pin_read(slices, counters)))
    }
}

/// The answer from the tail cache, if it holds all of it.
fn tail(state: &State, read: &Read, plan: &Plan) -> Option<Found> {
    let place = |position| Place { segment: plan.segment.0, position };
    let staging = &state.staging;
    let reach = staging.reach(place(plan.start.position), PIECES_MAX);
    if reach == 0 {
        return None;
    }
    let (first, last) = if plan.exact && plan.bytes() <= reach {
        (plan.start, plan.end)
    } else {
        let index = state.segments.get(plan.segment)?.index();
        let limits = Read { bytes_max: read.bytes_max.min(reach), ..*read };
        narrow(Some(index), plan.start, plan.end, &limits, |position| {
            let mut header = [0; ENTRY_HEADER_BYTES_MAX];
            let header = &mut header[..entry_header_bytes(plan.framing)];
            staging.copy(place(position), header).then(|| peek_entry(plan.framing, header).ok().flatten()).flatten()
        })?
    };
    state.segments.remember(&Plan { start: first, end: last, exact: true, ..*plan });
    let mut slices = Vec::with_capacity(1);
    staging.slices(place(first.position), last.position - first.position, |slice| slices.push(slice)).then_some(())?;
    Some((first, last, slices))
}

/// The batches between two boundaries that answer a read: from the one that holds `read.from` on, as many as keep its limits, one
/// at least. None when even the first reaches beyond `read.until`, or its header cannot be read.
fn narrow(
    index: Option<&SparseIndex>,
    start: Boundary,
    end: Boundary,
    read: &Read,
    entry: impl Fn(u64) -> Option<Entry>,
) -> Option<(Boundary, Boundary)> {
    let after = |at: Boundary| -> Option<Boundary> {
        let entry = entry(at.position).filter(|_| at.position < end.position)?;
        Some(Boundary { offset: entry.offset?.plus(entry.takes), position: at.position + entry.bytes })
    };
    let mut first = start;
    let mut last = after(first)?;
    while last.offset <= read.from {
        (first, last) = (last, after(last)?);
    }
    if last.offset > read.until {
        return None;
    }
    let limit = first.position.saturating_add(read.bytes_max).min(end.position);
    // Most of the way by the index, without touching the bytes; the rest header by header.
    if let Some(index) = index {
        let leap = index.at_or_before_position(limit).min(index.at_or_before_offset(read.until));
        last = last.max(leap);
    }
    while let Some(next) = after(last).filter(|next| next.offset <= read.until && next.position <= limit) {
        last = next;
    }
    Some((first, last))
}

fn chunk((first, last, slices): Found, pin: impl FnOnce(Vec<Slice>) -> Vec<Pin>) -> Chunk<Pin> {
    let (base, next): (Offset, Offset) = (first.offset, last.offset);
    let bytes = last.position - first.position;
    let pieces = pin(slices).into_iter().map(Piece::Pin).collect();
    Chunk { base, next, bytes, pieces }
}
