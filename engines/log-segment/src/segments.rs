//! The segments of one log in memory.

use crate::{ActiveSegment, Boundary, LogConfig, Plan, PreparedFile, SealedSegment, SparseIndex};
use log_api::{Framing, Lease, Offset, Read};
use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc};

/// Commit boundaries that are remembered: a read may go to any of them exactly. Consumers stop at the commit point, which is one of
/// the last few.
const MARKS_MAX: usize = 256;

/// Ends of reads that are remembered, for that is where the next reads start; by a hash of the offset.
const READ_ENDS: usize = 64;

/// One segment, with the engine's handle to it.
#[derive(Debug)]
pub struct Segment<F> {
    base: Offset,
    end: Offset,
    bytes: u64,
    capacity: u64,
    /// Shared with the job that writes it to its file, once the segment is finished.
    index: Arc<SparseIndex>,
    state: State,
    lease: Rc<Held>,
    /// What the engine reads and writes it by.
    pub handle: F,
}

/// Its references are leases.
#[derive(Debug)]
struct Held;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Being written.
    Active,
    /// Full, but possibly not all of it placed.
    Finished,
    /// A job to seal it was given out.
    Sealed,
}

impl<F> Segment<F> {
    /// First offset.
    #[must_use]
    pub fn base(&self) -> Offset {
        self.base
    }

    /// Offset after the last record appended.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Bytes of batches.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the file was prepared for; those of its batches once it is sealed.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Its boundaries.
    #[must_use]
    pub fn index(&self) -> &SparseIndex {
        &self.index
    }

    /// Where its last batch ends.
    #[must_use]
    pub fn end_boundary(&self) -> Boundary {
        Boundary { offset: self.end, position: self.bytes }
    }

    fn seal_job(&mut self) -> SealJob {
        self.state = State::Sealed;
        SealJob { base: self.base, end: self.end, bytes: self.bytes, index: self.index.clone() }
    }
}

/// A finished segment that can be trimmed and indexed. Give it to [`crate::Keeper::seal`].
#[derive(Debug)]
pub struct SealJob {
    /// First offset of the segment.
    pub base: Offset,
    /// Offset after its last record.
    pub end: Offset,
    /// Bytes of batches.
    pub bytes: u64,
    pub(crate) index: Arc<SparseIndex>,
}

/// Segments that were given up. Give them to [`crate::Keeper::trim`] or [`crate::Preparer::trim`].
#[derive(Debug)]
pub struct Dead<F> {
    /// The log's start after the trim.
    pub start: Offset,
    /// First offsets and handles of segments without a lease, oldest first.
    pub(crate) segments: Vec<(Offset, F)>,
}

/// The segments of one log, oldest first; the last is the active one. Plain data: no I/O, no waiting. Between rolls nothing here
/// allocates.
#[derive(Debug)]
pub struct Segments<F> {
    segments: VecDeque<Segment<F>>,
    /// Recent commit boundaries, rising; each with the first offset of its segment.
    marks: VecDeque<(Offset, Boundary)>,
    read_ends: [Cell<Option<(Offset, Boundary)>>; READ_ENDS],
    /// The offset that [`Segments::bytes_after`] was last asked for (each append asks for the durable mark), its segment and the place in it;
    /// none since segments have gone.
    counted_from: Cell<Option<(Offset, Offset, u64)>>,
    /// Given up, not yet unlinked because something still uses them: oldest first.
    dying: VecDeque<(Offset, Rc<Held>, F)>,
    index_interval_bytes: u64,
    framing: Framing,
}

impl<F> Segments<F> {
    /// The segments that recovery found, each with the engine's handle.
    ///
    /// # Panics
    /// If they do not follow each other.
    #[must_use]
    pub fn new(config: &LogConfig, sealed: Vec<(SealedSegment, F)>, active: (ActiveSegment, F)) -> Self {
        let finished = sealed.into_iter().map(|(segment, handle)| Segment {
            base: segment.base,
            end: segment.end,
            bytes: segment.bytes,
            capacity: segment.bytes,
            index: Arc::new(segment.index),
            state: State::Sealed,
            lease: Rc::new(Held),
            handle,
        });
        let (active, handle) = active;
        let last = Segment {
            base: active.base,
            end: active.end,
            bytes: active.bytes,
            capacity: active.capacity,
            index: Arc::new(active.index),
            state: State::Active,
            lease: Rc::new(Held),
            handle,
        };
        let segments: VecDeque<Segment<F>> = finished.chain([last]).collect();
        let follow = segments.iter().zip(segments.iter().skip(1)).all(|(one, next)| one.end == next.base);
        assert!(follow, "each segment starts where the one before it ends");
        let mut marks = VecDeque::with_capacity(MARKS_MAX + 1);
        // Everything that recovery keeps is durable: the index's last entry before the end is not where the undurable begins.
        marks.extend(segments.back().map(|active| (active.base, active.end_boundary())));
        Self {
            segments,
            marks,
            read_ends: [const { Cell::new(None) }; READ_ENDS],
            counted_from: Cell::new(None),
            dying: VecDeque::new(),
            index_interval_bytes: config.index_interval_bytes,
            framing: config.framing,
        }
    }

    /// The first offset that can be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.segments.front().expect("there is always an active segment").base
    }

    /// Where the next append starts.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.active().end
    }

    /// The segment being written.
    #[must_use]
    pub fn active(&self) -> &Segment<F> {
        self.segments.back().expect("there is always an active segment")
    }

    fn active_mut(&mut self) -> &mut Segment<F> {
        self.segments.back_mut().expect("there is always an active segment")
    }

    /// Bytes that still fit the active segment.
    #[must_use]
    pub fn room(&self) -> u64 {
        let active = self.active();
        active.capacity - active.bytes
    }

    /// The segment that starts at `base`.
    #[must_use]
    pub fn get(&self, base: Offset) -> Option<&Segment<F>> {
        self.segments.get(self.place(base)?)
    }

    /// The same, to exchange its handle.
    pub fn get_mut(&mut self, base: Offset) -> Option<&mut Segment<F>> {
        let place = self.place(base)?;
        self.segments.get_mut(place)
    }

    fn place(&self, base: Offset) -> Option<usize> {
        // Reads at the tail are the most frequent.
        if self.active().base == base {
            return Some(self.segments.len() - 1);
        }
        self.segments.binary_search_by_key(&base, |segment| segment.base).ok()
    }

    /// Bytes of log after `offset`, counted from the last known boundary at or before it: exact for a mark. With the durable mark,
    /// what recovery takes to be at most `inflight_bytes_max` in a log that is written for durable acknowledgement.
    #[must_use]
    pub fn bytes_after(&self, offset: Offset) -> u64 {
        let known = self.counted_from.get().filter(|(asked, ..)| *asked == offset);
        let known = known.or_else(|| {
            let segment = self.holding(offset)?;
            Some((offset, segment.base, self.boundary_at_or_before(segment, offset).position))
        });
        self.counted_from.set(known);
        let Some((_, base, position)) = known else { return 0 };
        let from_there = self.segments.iter().rev().take_while(|segment| segment.base >= base);
        from_there.map(Segment::bytes).sum::<u64>() - position
    }

    /// The segment that holds `offset`; the active one for the log's end.
    #[must_use]
    pub fn holding(&self, offset: Offset) -> Option<&Segment<F>> {
        if offset > self.end() {
            return None;
        }
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        self.segments.get(after.checked_sub(1)?)
    }

    /// All segments, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment<F>> {
        self.segments.iter()
    }

    /// Notes that one batch now follows the last one in the active segment; returns where it starts.
    ///
    /// # Panics
    /// If it does not fit: the engine rolls first.
    pub fn append(&mut self, records: u32, bytes: u64) -> Boundary {
        let active = self.active_mut();
        assert!(records > 0 && bytes > 0, "a batch has a record");
        assert!(bytes <= active.capacity - active.bytes, "batches never straddle segments");
        let at = active.end_boundary();
        Arc::get_mut(&mut active.index).expect("the active segment's index is not shared").note(at);
        active.end = active.end.plus(u64::from(records));
        active.bytes += bytes;
        at
    }

    /// Goes on in a prepared segment: it becomes the active one and starts at the log's end.
    ///
    /// # Panics
    /// If the active segment is empty: two segments cannot start at one offset.
    pub fn roll(&mut self, file: PreparedFile, handle: F) {
        let active = self.active_mut();
        assert!(active.bytes > 0, "an empty segment is not rolled");
        active.state = State::Finished;
        let base = active.end;
        let PreparedFile { bytes: capacity, mut index, .. } = file;
        debug_assert_eq!(index.interval_bytes(), self.index_interval_bytes.max(1));
        index.rebase(base);
        self.segments.push_back(Segment {
            base,
            end: base,
            bytes: 0,
            capacity,
            index: Arc::new(index),
            state: State::Active,
            lease: Rc::new(Held),
            handle,
        });
    }

    /// Remembers the log's end as a boundary to which a read may go: call it when a commit takes everything appended so far.
    pub fn mark(&mut self) -> Boundary {
        let active = self.active();
        let (base, end) = (active.base, active.end_boundary());
        if self.marks.back().is_none_or(|(_, last)| last.offset < end.offset) {
            self.marks.push_back((base, end));
            if self.marks.len() > MARKS_MAX {
                self.marks.pop_front();
            }
        }
        end
    }

    /// Plans a read without touching data. `None`: there is nothing between `from` and `until`.
    ///
    /// # Panics
    /// If `from` lies outside `start..=end`: the engine answers that with `OutOfRange`.
    #[must_use]
    pub fn plan(&self, read: &Read) -> Option<Plan> {
        assert!(self.start() <= read.from && read.from <= self.end(), "the engine checks the range first");
        let until = read.until.min(self.end());
        if read.from >= until {
            return None;
        }
        let segment = self.holding(read.from).expect("checked above");
        let start = self.boundary_at_or_before(segment, read.from);
        let limit = start.position.saturating_add(read.bytes_max);
        let best = self.last_boundary(segment, until, limit).filter(|end| end.offset > read.from);
        // Without one within both limits, the first boundary after the batch asked for, wherever it lies.
        let end = best.unwrap_or_else(|| self.first_boundary_after(segment, read.from));
        let exact = best.is_some() && start.offset == read.from;
        let plan = Plan { segment: segment.base, start, end, exact, framing: self.framing };
        if exact {
            self.remember(&plan);
        }
        Some(plan)
    }

    /// Remembers where a read ended, so that the next one can start there. [`Segments::plan`] does it for exact plans; call it with what
    /// [`Plan::narrow`] returned.
    pub fn remember(&self, plan: &Plan) {
        self.read_ends[read_slot(plan.end.offset)].set(Some((plan.segment, plan.end)));
    }

    /// In a framed log offsets count bytes, and whoever asks for one knows that an entry starts there: it says where by itself.
    fn framed_boundary(&self, segment: &Segment<F>, offset: Offset) -> Option<Boundary> {
        let inside = segment.base <= offset && offset <= segment.end;
        (self.framing == Framing::Framed && inside).then(|| Boundary { offset, position: offset.0 - segment.base.0 })
    }

    /// The largest known boundary at or before `offset`, which the segment holds.
    fn boundary_at_or_before(&self, segment: &Segment<F>, offset: Offset) -> Boundary {
        if let Some(boundary) = self.framed_boundary(segment, offset) {
            return boundary;
        }
        let indexed = segment.index.at_or_before_offset(offset);
        if indexed.offset == offset {
            return indexed;
        }
        if let Some(end) = self.read_end(segment, offset) {
            return end;
        }
        let after = self.marks.partition_point(|(_, mark)| mark.offset <= offset);
        let marked = after.checked_sub(1).map(|place| self.marks[place]);
        marked.filter(|(base, _)| *base == segment.base).map_or(indexed, |(_, mark)| mark.max(indexed))
    }

    /// The largest known boundary of the segment at or before both limits.
    fn last_boundary(&self, segment: &Segment<F>, until: Offset, position_max: u64) -> Option<Boundary> {
        let within = |boundary: &Boundary| boundary.offset <= until && boundary.position <= position_max;
        let whole = segment.end_boundary();
        if within(&whole) {
            return Some(whole);
        }
        if let Some(boundary) = self.framed_boundary(segment, until).filter(within) {
            return Some(boundary);
        }
        let by_offset = segment.index.at_or_before_offset(until);
        let by_position = segment.index.at_or_before_position(position_max);
        let indexed = by_offset.min(by_position);
        let after =
            self.marks.partition_point(|(base, mark)| *base < segment.base || *base == segment.base && within(mark));
        let marked = after.checked_sub(1).map(|place| self.marks[place]).filter(|(base, _)| *base == segment.base);
        let read = self.read_end(segment, until).filter(within);
        [Some(indexed).filter(within), marked.map(|(_, mark)| mark), read].into_iter().flatten().max()
    }

    /// The smallest known boundary of the segment after `offset`.
    fn first_boundary_after(&self, segment: &Segment<F>, offset: Offset) -> Boundary {
        let after = self.marks.partition_point(|(_, mark)| mark.offset <= offset);
        let marked = self.marks.get(after).filter(|(base, _)| *base == segment.base).map(|(_, mark)| *mark);
        let indexed = segment.index.after_offset(offset);
        [marked, indexed].into_iter().flatten().fold(segment.end_boundary(), Boundary::min)
    }

    fn read_end(&self, segment: &Segment<F>, offset: Offset) -> Option<Boundary> {
        let (base, end) = self.read_ends[read_slot(offset)].get()?;
        (base == segment.base && end.offset == offset).then_some(end)
    }

    /// Keeps a segment's file from being unlinked (or recycled) as long as the lease or a clone of it lives.
    #[must_use]
    pub fn lease(&self, base: Offset) -> Option<Lease> {
        self.get(base).map(|segment| segment.lease.clone() as Lease)
    }

    /// The oldest finished segment that was not sealed yet and whose bytes all lie before `placed`. Each is returned once.
    pub fn take_sealable(&mut self, placed: Offset) -> Option<SealJob> {
        // Those that are not sealed are the last few.
        let unsealed = self.segments.iter().rev().take_while(|segment| segment.state != State::Sealed).count();
        let place = self.segments.len() - unsealed;
        let oldest = self.segments.get_mut(place)?;
        (oldest.state == State::Finished && oldest.end <= placed).then(|| oldest.seal_job())
    }

    /// Gives up whole segments all of whose records lie before `before`, never the active one nor one that is not sealed yet. Also returns
    /// what was given up earlier and is no longer leased.
    pub fn trim(&mut self, before: Offset) -> Dead<F> {
        while self.segments.front().is_some_and(|oldest| oldest.state == State::Sealed && oldest.end <= before)
            && self.segments.len() > 1
        {
            self.counted_from.set(None);
            let Segment { base, lease, handle, .. } = self.segments.pop_front().expect("just looked at");
            self.dying.push_back((base, lease, handle));
        }
        // In order: a segment that is missing between others would look like damage to recovery.
        let free = self.dying.iter().take_while(|(_, lease, _)| Rc::strong_count(lease) == 1).count();
        let segments = self.dying.drain(..free).map(|(base, _, handle)| (base, handle)).collect();
        Dead { start: self.start(), segments }
    }

    /// All segments that are not sealed, the active one included: for a clean close. Nothing is appended afterwards.
    pub fn finish(&mut self) -> Vec<SealJob> {
        let unsealed = self.segments.iter_mut().filter(|segment| segment.state != State::Sealed);
        unsealed.map(Segment::seal_job).collect()
    }
}

fn read_slot(offset: Offset) -> usize {
    // Fibonacci hashing: consecutive offsets spread over the slots.
    (offset.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}
