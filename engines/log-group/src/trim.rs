//! Giving up: a segment of the shared log goes when all partitions have passed it, or when the whole log is told to.

use crate::{
    group::{Group, Held, Off, Segment},
    index::entries_path,
};
use log_api::{LogEngine, LogId, Offset, ReadError, TrimError};
use std::{fs, io, rc::Rc};

impl Group {
    /// Gives up what no partition needs any more, `partition` nothing before `before`; returns the partition's start.
    pub(crate) async fn trim<E: LogEngine>(
        self: &Rc<Self>,
        off: &Off,
        inner: &E,
        partition: LogId,
        before: Offset,
    ) -> Result<Offset, TrimError> {
        let slot = self.state.borrow().slot(partition).ok_or(TrimError::NotOpen(partition))?;
        let needed = self.needed_from(off, slot, partition, before.0).await?;
        {
            // The last word counts: a wish that could not be granted then is not granted later against a smaller one.
            self.state.borrow_mut().needed.set(slot, needed);
        }
        let lowest = self.state.borrow().needed.lowest();
        self.trim_whole(off, inner, Offset(lowest)).await?;
        Ok(Offset(self.state.borrow().partitions[slot].start))
    }

    /// Gives up what lies before byte `before` of the shared log, whoever needs it; returns the byte at which the log starts.
    pub(crate) async fn trim_whole<E: LogEngine>(
        self: &Rc<Self>,
        off: &Off,
        inner: &E,
        before: Offset,
    ) -> Result<Offset, TrimError> {
        self.write_finished(off, inner.marks(self.log).durable.0);
        let limit = before.0.min(self.state.borrow().checkpointed).min(i64::MAX as u64);
        let start = inner.trim(self.log, Offset(limit)).await?;
        self.starts_at(off, start.0).await.map_err(as_io)?;
        Ok(start)
    }

    /// The segment from which on a partition needs the shared log, if it needs nothing before `before`.
    async fn needed_from(&self, off: &Off, slot: usize, partition: LogId, before: u64) -> Result<u64, TrimError> {
        {
            let state = self.state.borrow();
            if before >= state.known.ends[slot] {
                return Ok(u64::MAX);
            }
            if before <= state.partitions[slot].start {
                return Ok(state.start);
            }
            for part in state.segments.iter().rev().map_while(Segment::part) {
                if part.before(slot).is_some_and(|end| end <= before) {
                    return Ok(part.base);
                }
            }
        }
        let index = self.locate(off, partition.0, before).await.map_err(as_io)?;
        Ok(index.map_or(0, |index| index.base))
    }

    /// The shared log starts at byte `start` now: what lay before is forgotten, and partitions start where they stood there. Whoever calls
    /// it meanwhile, a reader who was overtaken by the trim, returns no earlier than the partitions have their starts.
    pub(crate) async fn starts_at(&self, off: &Off, start: u64) -> Result<(), ReadError> {
        let first = {
            let state = self.state.borrow();
            if start <= state.start {
                return Ok(());
            }
            let begins = state.segments.iter().find(|segment| segment.base >= start);
            let first = begins.or(state.segments.back()).expect("there is always a segment being written");
            first.part().is_none().then_some((first.base, first.end))
        };
        let index = match first {
            Some(file) => Some(self.load(off, file).await?),
            None => None,
        };
        let gone = {
            let state = &mut *self.state.borrow_mut();
            if start <= state.start {
                return Ok(());
            }
            state.start = start;
            let mut gone = Vec::new();
            while state.segments.len() > 1 && state.segments[0].base < start {
                let segment = state.segments.pop_front().expect("there are two");
                if matches!(segment.index, Held::File) {
                    gone.push(entries_path(&self.dir, segment.base));
                }
            }
            self.loaded.borrow_mut().retain(|index| index.base >= start);
            if let Some(index) = index {
                for span in index.spans() {
                    if let Some(slot) = state.known.slot(span.partition) {
                        let start = &mut state.partitions[slot].start;
                        *start = span.before.max(*start);
                    }
                }
            } else if let Some(part) = state.segments[0].part().cloned() {
                for (slot, partition) in state.partitions.iter_mut().enumerate() {
                    partition.start = part.before(slot).unwrap_or(0).max(partition.start);
                }
            }
            // Whoever was not asked needs nothing before the start either: else it would hold up those who are asked from now on.
            for (slot, partition) in state.partitions.iter().enumerate() {
                if state.needed.get(slot) < start {
                    let holds = partition.start < state.known.ends[slot];
                    state.needed.set(slot, if holds { start } else { u64::MAX });
                }
            }
            gone
        };
        if !gone.is_empty() {
            let unlinked = off.helper.run(&off.ring, move || {
                // What stays behind is removed by the next open.
                gone.iter().for_each(|path| drop(fs::remove_file(path)));
            });
            unlinked.await;
        }
        Ok(())
    }
}

fn as_io(error: ReadError) -> TrimError {
    TrimError::Io(match error {
        ReadError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}
