//! The model: a log is a list of batches, and three marks that only move forward.

use crate::Found;
use log_api::{Epoch, Level, LogId, Marks, Offset, Recovery};

/// One log as it must be.
#[derive(Clone, Debug)]
pub(super) struct LogModel {
    pub(super) log: LogId,
    /// All batches that were appended and are not known to be lost, from the beginning of the log.
    pub(super) batches: Vec<Found>,
    /// What must at least be placed, and durable; what was last seen as start.
    pub(super) floor: Marks,
    /// Incarnation of the next append.
    pub(super) epoch: Epoch,
    /// The end that the last awaited commit covered: with every engine the same.
    pub(super) awaited: Offset,
    /// Whether a trim was ever asked for.
    pub(super) trimmed: bool,
    /// Whether chunks were held when the last incarnation ended: they keep their segments.
    pub(super) held: bool,
}

impl LogModel {
    pub(super) fn new(log: LogId) -> Self {
        Self {
            log,
            batches: Vec::new(),
            floor: Marks::default(),
            epoch: Epoch(0),
            awaited: Offset(0),
            trimmed: false,
            held: false,
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |batch| batch.end)
    }

    fn is_boundary(&self, offset: Offset) -> bool {
        offset == Offset(0) || self.batches.iter().any(|batch| batch.end == offset)
    }

    /// Marks as an engine reports them must be in order, between batches, never behind what is known; then they are what is known.
    /// An engine that cannot be read has no batches for a mark to lie between.
    pub(super) fn observe(&mut self, marks: Marks, readable: bool) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{}: {what}: {marks:?}, at least {:?}", self.log, self.floor));
        let Marks { start, durable, placed, end } = marks;
        if end != self.end() {
            return wrong(&format!("the end is not {}", self.end()));
        }
        if !(start <= durable && durable <= placed && placed <= end) {
            return wrong("marks out of order");
        }
        if start < self.floor.start || durable < self.floor.durable || placed < self.floor.placed {
            return wrong("a mark went back");
        }
        if readable && ![start, durable, placed].into_iter().all(|mark| self.is_boundary(mark)) {
            return wrong("a mark inside a batch");
        }
        self.floor = marks;
        Ok(())
    }

    /// A commit of everything up to `end` succeeded.
    pub(super) fn committed(&mut self, end: Offset, level: Level) {
        self.floor.placed = self.floor.placed.max(end);
        if level == Level::Durable {
            self.floor.durable = self.floor.durable.max(end);
        }
    }

    /// What an open found must be a prefix that contains what was placed; everything appended after a close. A log that nothing
    /// keeps is empty.
    pub(super) fn reopened(&mut self, recovery: &Recovery, keeps: bool, closed: bool) -> Result<(), String> {
        if !keeps {
            *self = Self::new(self.log);
        }
        let Marks { start, durable, placed, end } = recovery.marks;
        let wrong =
            |what: &str| Err(format!("{}: after an open: {what}: {recovery:?}, before it {:?}", self.log, self.floor));
        if end < self.floor.placed || end > self.end() || !self.is_boundary(end) {
            return wrong(&format!("the end of {}", self.end()));
        }
        if closed && end != self.end() {
            return wrong("a close lost what was appended");
        }
        if closed && recovery.cut.is_some() {
            return wrong("a closed log has no torn tail");
        }
        if durable != end || placed != end {
            return wrong("what is kept is not durable");
        }
        // A trim may still have been on its way when the process stopped; it never takes more than it said.
        if start > self.floor.start || !self.is_boundary(start) || (closed && !self.held && start != self.floor.start) {
            return wrong("the start");
        }
        if keeps && recovery.epoch <= self.epoch {
            return wrong(&format!("the epoch did not rise from {}", self.epoch));
        }
        self.batches.retain(|batch| batch.end <= end);
        self.epoch = recovery.epoch;
        self.floor = recovery.marks;
        self.awaited = end;
        Ok(())
    }

    /// The batches that a read of this range must give: from the one that holds `from` to the last that ends at or before `until`.
    pub(super) fn expected(&self, from: Offset, until: Offset) -> &[Found] {
        let first = self.batches.partition_point(|batch| batch.end <= from);
        let last = self.batches.partition_point(|batch| batch.end <= until);
        &self.batches[first..last.max(first)]
    }

    /// An offset `place` 65,536ths of the way from `from` to `to`.
    pub(super) fn between(from: Offset, to: Offset, place: u16) -> Offset {
        let way = to.0.saturating_sub(from.0);
        Offset(from.0 + way * u64::from(place) / u64::from(u16::MAX))
    }
}
