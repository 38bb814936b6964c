//! The segments of one log in memory.

use crate::SparseIndex;
use crate::{ActiveSegment, Boundary, LogConfig, Plan, PreparedFile, SealedSegment};
use log_api::{Lease, Offset, Read};
use std::path::PathBuf;

/// One segment, with the engine's handle to it.
#[derive(Debug)]
pub struct Segment<F> {
    base: Offset,
    end: Offset,
    bytes: u64,
    capacity: u64,
    index: SparseIndex,
    /// What the engine reads and writes it by.
    pub handle: F,
}
impl<F> Segment<F> {
    /// First offset.
    pub fn base(&self) -> Offset {
        self.base
    }
    /// Offset after the last record appended.
    pub fn end(&self) -> Offset {
        self.end
    }
    /// Bytes of batches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Bytes that the file was prepared for.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
    /// Its boundaries.
    pub fn index(&self) -> &SparseIndex {
        &self.index
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
    pub(crate) index: SparseIndex,
}

/// Segments that were given up. Give them to [`crate::Keeper::trim`].
#[derive(Debug)]
pub struct Dead {
    /// The log's start after the trim.
    pub start: Offset,
    /// Files without a lease, oldest first.
    pub(crate) paths: Vec<PathBuf>,
}

/// The segments of one log, oldest first; the last is the active one. Plain data: no I/O, no waiting. In the steady state nothing
/// here allocates.
#[derive(Debug)]
pub struct Segments<F> {
    f: Vec<Segment<F>>,
}
#[allow(unused_variables)]
impl<F> Segments<F> {
    /// The segments that recovery found, each with the engine's handle.
    #[must_use]
    pub fn new(config: &LogConfig, sealed: Vec<(SealedSegment, F)>, active: (ActiveSegment, F)) -> Self {
        todo!()
    }
    /// The first offset that can be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        todo!()
    }
    /// Where the next append starts.
    #[must_use]
    pub fn end(&self) -> Offset {
        todo!()
    }
    /// The segment being written.
    #[must_use]
    pub fn active(&self) -> &Segment<F> {
        todo!()
    }
    /// Bytes that still fit the active segment.
    #[must_use]
    pub fn room(&self) -> u64 {
        todo!()
    }
    /// The segment that starts at `base`.
    #[must_use]
    pub fn get(&self, base: Offset) -> Option<&Segment<F>> {
        todo!()
    }
    /// The same, to exchange its handle.
    pub fn get_mut(&mut self, base: Offset) -> Option<&mut Segment<F>> {
        todo!()
    }
    /// All segments, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment<F>> {
        self.f.iter()
    }
    /// Notes that one batch now follows the last one in the active segment.
    ///
    /// # Panics
    /// If it does not fit: the engine rolls first.
    pub fn append(&mut self, records: u32, bytes: u64) -> Boundary {
        todo!()
    }
    /// Goes on in a prepared segment: it becomes the active one and starts at the log's end.
    pub fn roll(&mut self, file: PreparedFile, handle: F) {
        todo!()
    }
    /// Remembers the log's end as a boundary to which a read may go: call it when a commit takes everything appended so far.
    pub fn mark(&mut self) -> Boundary {
        todo!()
    }
    /// Plans a read without touching data. `None`: there is nothing between `from` and `until`.
    ///
    /// # Panics
    /// If `from` lies outside `start..=end`: the engine answers that with `OutOfRange`.
    #[must_use]
    pub fn plan(&self, read: &Read) -> Option<Plan> {
        todo!()
    }
    /// Keeps a segment's file from being unlinked (or recycled) as long as the lease or a clone of it lives.
    #[must_use]
    pub fn lease(&self, base: Offset) -> Option<Lease> {
        todo!()
    }
    /// The oldest finished segment that was not sealed yet and whose bytes all lie before `placed`. Each is returned once.
    pub fn take_sealable(&mut self, placed: Offset) -> Option<SealJob> {
        todo!()
    }
    /// Gives up whole segments all of whose records lie before `before`, never the active one. Their handles are dropped here.
    pub fn trim(&mut self, before: Offset) -> Dead {
        todo!()
    }
    /// All segments that are not sealed, the active one included: for a clean close.
    pub fn finish(&mut self) -> Vec<SealJob> {
        todo!()
    }
}
