//! The sparse index: some batch boundaries of a segment, about one each few KiB.

use log_api::Offset;

/// A place between two batches (or before the first, or after the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary {
    /// Base offset of the batch that starts here.
    pub offset: Offset,
    /// Byte of the segment.
    pub position: u64,
}

/// Batch boundaries of one segment, the first always its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseIndex {
    interval_bytes: u64,
    entries: Vec<Boundary>,
}
#[allow(unused_variables)]
impl SparseIndex {
    /// The index of an empty segment, with memory for all the entries that `segment_bytes` can need.
    #[must_use]
    pub fn new(base: Offset, interval_bytes: u64, segment_bytes: u64) -> Self {
        todo!()
    }
    /// A batch starts at `at`: keeps it if the last entry lies an interval or more before it.
    pub fn note(&mut self, at: Boundary) {
        todo!()
    }
    /// The last entry at or before `offset`; the segment's start if `offset` lies before it.
    #[must_use]
    pub fn at_or_before_offset(&self, offset: Offset) -> Boundary {
        todo!()
    }
    /// The last entry at or before `position`.
    #[must_use]
    pub fn at_or_before_position(&self, position: u64) -> Boundary {
        todo!()
    }
    /// The first entry after `offset`.
    #[must_use]
    pub fn after_offset(&self, offset: Offset) -> Option<Boundary> {
        todo!()
    }
    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Boundary] {
        &self.entries
    }
}
