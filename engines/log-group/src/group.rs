//! One group: the partitions that share a log, where each of them stands, and appending to them. What never lives here: reading (`read.rs`),
//! giving up segments (`trim.rs`).

use crate::{
    checkpoint,
    index::{self, Index},
    layout::PARTITIONS_MAX,
    lowest::Lowest,
    part::{Part, Placed},
    recover::{Known, failed, recover},
};
use log_api::{AppendError, Appended, Batch, Cut, Epoch, LogEngine, LogId, Marks, Offset, OpenError, Recovery};
use log_format::{CHECKPOINT, FRAME_BYTES, FRAME_HEAD_BYTES, frame};
use shard_ring::{Helper, Ring, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

/// Bytes by which a segment of a shared log is larger than it was told: what fits a segment of a partition's own log fits here too, with
/// its frame.
pub(crate) const FRAMES_ROOM_BYTES: u64 = 4096;

/// Where jobs go that block.
pub(crate) struct Off {
    pub(crate) ring: Ring,
    pub(crate) helper: Helper,
}

/// See the module's documentation.
pub(crate) struct Group {
    /// The shared log.
    pub(crate) log: LogId,
    pub(crate) dir: PathBuf,
    epoch: Epoch,
    /// The shared log is kept in files, and so are the indexes of its finished segments.
    pub(crate) persistent: bool,
    pub(crate) state: RefCell<State>,
    /// Indexes that were read from their files, the one used last at the back.
    pub(crate) loaded: RefCell<VecDeque<Rc<Index>>>,
    /// The torn tail of the shared log, told to whoever opens the first partition.
    cut: RefCell<Option<Cut>>,
    /// Indexes that were made again since they were last counted.
    pub(crate) rebuilt: Cell<u64>,
    scratch: RefCell<Scratch>,
}

/// Memory of appends.
#[derive(Default)]
struct Scratch {
    heads: Vec<[u8; FRAME_HEAD_BYTES]>,
    entries: Vec<Batch<'static>>,
}

pub(crate) struct State {
    /// The partitions by slot, and where each ends.
    pub(crate) known: Known,
    /// By slot.
    pub(crate) partitions: Vec<Partition>,
    /// Oldest first; the last is the one being written.
    pub(crate) segments: VecDeque<Segment>,
    /// First byte of the shared log.
    pub(crate) start: u64,
    /// By slot: the byte from which on a partition needs the shared log; none where it holds nothing.
    pub(crate) needed: Lowest,
    /// The segment being written still wants its checkpoint.
    checkpoint_due: bool,
    /// Bytes after the newest checkpoint, and the segment it is in: at once when it is durable, segments before that one can go.
    checkpoint: (u64, u64),
    /// The newest segment that holds a durable checkpoint.
    pub(crate) checkpointed: u64,
    writing: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    No,
    Yes,
    /// The last one failed: not before the next roll.
    Failed,
}

/// One partition. What ten thousand of them cost: this, 16 bytes in the index of each segment in memory, and some 40 in tables.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partition {
    open: bool,
    /// First offset that can be read.
    pub(crate) start: u64,
    /// Byte of the shared log after its last batch; 0 where recovery made everything durable.
    last: u64,
}

pub(crate) struct Segment {
    pub(crate) base: u64,
    /// Byte after it; of the segment being written, where it began.
    pub(crate) end: u64,
    pub(crate) index: Held,
}

/// Where a segment's index is.
pub(crate) enum Held {
    Memory(Arc<Part>),
    File,
}

impl Segment {
    pub(crate) fn part(&self) -> Option<&Arc<Part>> {
        match &self.index {
            Held::Memory(part) => Some(part),
            Held::File => None,
        }
    }
}

impl State {
    fn active(&mut self) -> &mut Part {
        let last = self.segments.back_mut().expect("there is always a segment being written");
        match &mut last.index {
            Held::Memory(part) => Arc::get_mut(part).expect("the part being written is not shared"),
            Held::File => unreachable!("the segment being written has no file"),
        }
    }

    /// Goes on in the segment that begins at `base`, if that is another one.
    fn roll_to(&mut self, base: u64, persistent: bool) {
        let last = self.segments.back_mut().expect("there is always a segment being written");
        if last.base == base {
            return;
        }
        last.end = base;
        debug_assert!(last.part().is_some_and(|part| part.end == base), "segments follow each other");
        let part = Part::new(base, self.known.ends.iter().copied());
        self.segments.push_back(Segment { base, end: base, index: Held::Memory(Arc::new(part)) });
        self.checkpoint_due = persistent;
        if self.writing == Writing::Failed {
            self.writing = Writing::No;
        }
    }

    pub(crate) fn slot(&self, partition: LogId) -> Option<usize> {
        self.known.slot(partition.0).filter(|&slot| self.partitions[slot].open)
    }

    /// How far a partition has come when the shared log has come to `mark`.
    pub(crate) fn reached(&self, slot: usize, mark: u64) -> u64 {
        if self.partitions[slot].last <= mark {
            return self.known.ends[slot];
        }
        let mut before = 0;
        // What is not yet marked lies in the last few segments, whose indexes are in memory.
        for part in self.segments.iter().rev().map_while(Segment::part) {
            if let Some(end) = part.end_before(slot, mark) {
                return end;
            }
            before = part.before(slot).unwrap_or(0);
        }
        before
    }
}

impl Group {
    /// Opens the shared log and finds out about its partitions.
    pub(crate) async fn open<E: LogEngine>(off: &Off, inner: &E, log: LogId, dir: PathBuf) -> Result<Self, OpenError> {
        let recovery = inner.open(log).await?;
        let (start, end) = (recovery.marks.start.0, recovery.marks.end.0);
        let persistent = E::CAPABILITIES.persistent;
        let mut state = State {
            known: Known::default(),
            partitions: Vec::new(),
            segments: VecDeque::new(),
            start,
            needed: Lowest::new(),
            checkpoint_due: false,
            checkpoint: (0, 0),
            checkpointed: if persistent { start } else { u64::MAX },
            writing: Writing::No,
        };
        let mut rebuilt = 0;
        let active = if persistent {
            let job = dir.clone();
            let found = off.helper.run(&off.ring, move || recover(&job, start, end)).await?;
            rebuilt = found.rebuilt;
            for (base, end, checkpoint) in found.finished {
                state.segments.push_back(Segment { base, end, index: Held::File });
                if checkpoint {
                    state.checkpointed = base;
                }
            }
            for (slot, &end) in found.known.ends.iter().enumerate() {
                let begin = found.starts[slot];
                state.partitions.push(Partition { open: false, start: begin, last: 0 });
                // Where exactly it begins is of no use before the first segment can go.
                state.needed.set(slot, if begin < end { start } else { u64::MAX });
            }
            state.known = found.known;
            state.checkpoint_due = found.active.base > 0 && !found.active.checkpoint;
            if found.active.checkpoint {
                state.checkpointed = found.active.base;
            }
            found.active
        } else {
            Part::new(start, std::iter::empty())
        };
        state.segments.push_back(Segment {
            base: active.base,
            end: active.base,
            index: Held::Memory(Arc::new(active)),
        });
        Ok(Self {
            log,
            dir,
            epoch: recovery.epoch,
            persistent,
            state: RefCell::new(state),
            loaded: RefCell::default(),
            cut: RefCell::new(recovery.cut),
            rebuilt: Cell::new(rebuilt),
            scratch: RefCell::default(),
        })
    }

    /// Opens a partition of the group.
    pub(crate) fn open_partition(&self, partition: LogId) -> Result<Recovery, OpenError> {
        let state = &mut *self.state.borrow_mut();
        let slot = match state.known.slot(partition.0) {
            Some(slot) => slot,
            None if state.partitions.len() >= PARTITIONS_MAX || partition.of_whole().is_some() => {
                let what = format!(
                    "a group holds at most {PARTITIONS_MAX} partitions: choose --layout group:<n> with fewer in each"
                );
                return Err(failed("open", &self.dir, io::Error::new(io::ErrorKind::InvalidInput, what)));
            }
            None => {
                let slot = state.known.learn(partition.0, 0);
                state.partitions.push(Partition::default());
                state.active().learn(slot, 0);
                slot
            }
        };
        let was = std::mem::replace(&mut state.partitions[slot].open, true);
        assert!(!was, "{partition} is opened once in an engine's life");
        let (start, end) = (Offset(state.partitions[slot].start), Offset(state.known.ends[slot]));
        let marks = Marks { start, durable: end, placed: end, end };
        Ok(Recovery { marks, epoch: self.epoch, cut: self.cut.take() })
    }

    pub(crate) fn marks(&self, partition: LogId, shared: Marks) -> Marks {
        let state = self.state.borrow();
        let Some(slot) = state.slot(partition) else { return Marks::default() };
        Marks {
            start: Offset(state.partitions[slot].start),
            durable: Offset(state.reached(slot, shared.durable.0)),
            placed: Offset(state.reached(slot, shared.placed.0)),
            end: Offset(state.known.ends[slot]),
        }
    }

    /// Appends batches of a partition: a frame before each, and one append to the shared log.
    pub(crate) fn append<E: LogEngine>(
        &self,
        inner: &E,
        segment_bytes: u64,
        partition: LogId,
        batches: &[Batch<'_>],
    ) -> Result<Appended, AppendError> {
        let state = &mut *self.state.borrow_mut();
        let slot = state.slot(partition).ok_or(AppendError::NotOpen(partition))?;
        let base = state.known.ends[slot];
        let bytes: u64 = batches.iter().map(Batch::stored_bytes).sum();
        if bytes > segment_bytes {
            return Err(AppendError::TooLarge { bytes, bytes_max: segment_bytes });
        }
        if batches.is_empty() {
            let segment = Offset(state.active().base);
            return Ok(Appended { base: Offset(base), end: Offset(base), segment });
        }
        if state.checkpoint_due {
            self.append_checkpoint(inner, state)?;
        }
        let scratch = &mut *self.scratch.borrow_mut();
        scratch.heads.clear();
        let mut offset = base;
        for batch in batches {
            scratch.heads.push(frame(batch.bytes(), partition.0, Offset(offset), self.epoch));
            offset += u64::from(batch.records());
        }
        let mut entries: Vec<Batch<'_>> = std::mem::take(&mut scratch.entries);
        let rest = FRAME_HEAD_BYTES - FRAME_BYTES;
        entries
            .extend(scratch.heads.iter().zip(batches).map(|(head, batch)| Batch::framed(head, &batch.bytes()[rest..])));
        let appended = inner.append(self.log, &entries);
        scratch.entries = emptied(entries);
        let appended = appended?;

        state.roll_to(appended.segment.0, self.persistent);
        let mut placed = Placed { offset: base, end: base, position: appended.base.0, bytes: 0 };
        if state.needed.get(slot) == u64::MAX {
            state.needed.set(slot, placed.position);
        }
        for batch in batches {
            let bytes = FRAME_BYTES as u64 + batch.stored_bytes();
            placed.offset = placed.end;
            placed.end += u64::from(batch.records());
            placed.bytes = bytes as u32;
            state.active().push(slot, batch.records(), placed);
            placed.position += bytes;
        }
        debug_assert_eq!(placed.position, appended.end.0, "an entry takes as many offsets as it has bytes");
        state.known.ends[slot] = placed.end;
        state.partitions[slot].last = appended.end.0;
        if state.checkpoint_due {
            // Refused, it is due before the next append.
            let _ = self.append_checkpoint(inner, state);
        }
        Ok(Appended { base: Offset(base), end: Offset(placed.end), segment: appended.segment })
    }

    /// Bytes that have to fit the shared log for an append of `bytes`: with frames, and with the checkpoint that goes before it.
    pub(crate) fn bytes_for(&self, bytes: u64) -> u64 {
        let state = self.state.borrow();
        let ends = state.known.partitions.len();
        let checkpoint = if state.checkpoint_due { FRAME_BYTES + checkpoint::bytes_max(ends) } else { 0 };
        bytes + FRAMES_ROOM_BYTES + checkpoint as u64
    }

    /// Writes into the shared log where each partition ends.
    fn append_checkpoint<E: LogEngine>(&self, inner: &E, state: &mut State) -> Result<(), AppendError> {
        let ends = state.known.partitions.iter().copied().zip(state.known.ends.iter().copied());
        let batch = checkpoint::encode(ends);
        let head = frame(&batch, CHECKPOINT, Offset(0), self.epoch);
        let entry = Batch::framed(&head, &batch[FRAME_HEAD_BYTES - FRAME_BYTES..]);
        let appended = inner.append(self.log, &[entry])?;
        state.roll_to(appended.segment.0, self.persistent);
        state.active().end = appended.end.0;
        state.active().checkpoint = true;
        state.checkpoint = (appended.end.0, appended.segment.0);
        state.checkpoint_due = false;
        Ok(())
    }

    /// The shared log is durable up to `durable`: finished segments before it get the files of their indexes, one after the other.
    pub(crate) fn write_finished(self: &Rc<Self>, off: &Off, durable: u64) {
        if !self.persistent {
            return;
        }
        let (part, partitions) = {
            let state = &mut *self.state.borrow_mut();
            let (after, segment) = state.checkpoint;
            if after <= durable {
                state.checkpointed = state.checkpointed.max(segment);
            }
            let finished = state.segments.iter().rev().skip(1).map_while(Segment::part);
            let Some(part) = finished.last().filter(|part| part.end <= durable && state.writing == Writing::No) else {
                return;
            };
            let part = part.clone();
            state.writing = Writing::Yes;
            (part, state.known.partitions.clone())
        };
        let (base, dir) = (part.base, self.dir.clone());
        let written = off.helper.run(&off.ring, move || index::write(&dir, &part, &partitions).is_ok());
        let group = self.clone();
        spawn_local(async move {
            let written = written.await;
            let state = &mut *group.state.borrow_mut();
            state.writing = if written { Writing::No } else { Writing::Failed };
            // It may have been given up meanwhile; the next open then removes the file.
            if let Some(segment) = state.segments.iter_mut().find(|segment| written && segment.base == base) {
                segment.index = Held::File;
            }
        });
    }
}

/// The memory of a list whose elements borrowed something that ends now.
fn emptied(mut entries: Vec<Batch<'_>>) -> Vec<Batch<'static>> {
    entries.clear();
    // Nothing is mapped; the standard library collects such an iterator in place.
    entries.into_iter().map(|_| unreachable!("the list is empty")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_costs_a_few_words() {
        assert!(size_of::<Partition>() <= 24);
    }

    #[test]
    fn an_emptied_list_keeps_its_memory() {
        let bytes = vec![0; 61];
        let entries: Vec<Batch<'_>> = (0..50).map(|_| Batch::verified(&bytes, 1)).collect();
        let (at, capacity) = (entries.as_ptr() as usize, entries.capacity());
        let again = emptied(entries);
        assert_eq!((again.as_ptr() as usize, again.capacity(), again.len()), (at, capacity, 0));
    }
}
