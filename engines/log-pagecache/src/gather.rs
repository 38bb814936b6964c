//! The gather buffer: what was appended and not yet handed to the kernel. One copy of each byte is made here; the kernel makes the
//! second, into the page cache, by design of this mechanism.
//!
//! The logs of a shard share the blocks, so that memory does not grow with their number.

use log_api::{Batch, Epoch, Offset};
use log_format::SLOW_DISTANCES;
use shard_ring::{Block, Slab};
use std::{cell::RefCell, collections::VecDeque, io, ops::Range};

/// Blocks of append-only memory, filled one after the other.
pub(crate) struct Gather {
    blocks: Slab,
    current: RefCell<Option<Block>>,
}

/// Bytes that lie together, in memory and in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Byte of the segment.
    pub(crate) at: u64,
    pub(crate) block: Block,
    pub(crate) range: Range<usize>,
}

impl Run {
    pub(crate) fn bytes(&self) -> u64 {
        self.range.len() as u64
    }

    fn is_followed_by(&self, other: &Run) -> bool {
        self.segment == other.segment
            && self.at + self.bytes() == other.at
            && self.range.end == other.range.start
            && self.block.is(&other.block)
    }
}

impl Gather {
    pub(crate) fn new(block_bytes: usize, blocks: usize) -> io::Result<Self> {
        Ok(Self { blocks: Slab::new(block_bytes, blocks)?, current: RefCell::new(None) })
    }

    /// Bytes that can be copied in now.
    pub(crate) fn room(&self) -> usize {
        let current = self.current.borrow().as_ref().map_or(0, |block| block.capacity() - block.filled());
        current + self.blocks.free_blocks() * self.blocks.block_bytes()
    }

    /// Before `bytes` are copied in that will lie at `at` of a segment: steps over a few bytes of the block if the kernel's copy from there would
    /// be a slow one, as long as there is room for all of it.
    pub(crate) fn step(&self, at: u64, bytes: u64) {
        let current = self.current.borrow();
        let Some(block) = current.as_ref().filter(|block| log_format::is_slow(at as usize, block.filled())) else {
            return;
        };
        let left = (block.room() + self.blocks.free_blocks() * self.blocks.block_bytes()) as u64;
        if block.room() > SLOW_DISTANCES && left >= bytes + SLOW_DISTANCES as u64 {
            block.append_with(SLOW_DISTANCES, |place| place.fill(0));
        }
    }

    /// Copies a batch in with its offset and epoch, as runs behind `runs`. The caller has seen that there is [`Gather::room`].
    pub(crate) fn copy(
        &self,
        batch: &Batch<'_>,
        offset: Offset,
        epoch: Epoch,
        segment: Offset,
        at: u64,
        runs: &mut VecDeque<Run>,
    ) {
        let entry = log_format::place_entry(batch, offset, epoch);
        self.put(entry.head(), segment, at, runs);
        self.put(entry.rest(), segment, at + entry.head().len() as u64, runs);
    }

    fn put(&self, mut bytes: &[u8], segment: Offset, mut at: u64, runs: &mut VecDeque<Run>) {
        let mut current = self.current.borrow_mut();
        while !bytes.is_empty() {
            let block = match &*current {
                Some(block) if block.filled() < block.capacity() => block,
                _ => current.insert(self.blocks.take().expect("there is room")),
            };
            let start = block.filled();
            let (now, later) = bytes.split_at(bytes.len().min(block.capacity() - start));
            block.append_with(now.len(), |place| log_format::copy(place, now));
            let run = Run { segment, at, block: block.clone(), range: start..start + now.len() };
            at += now.len() as u64;
            bytes = later;
            match runs.back_mut() {
                Some(last) if last.is_followed_by(&run) => last.range.end = run.range.end,
                _ => runs.push_back(run),
            }
        }
    }

    /// Lets go of the block being filled, so that its memory comes back when its bytes are written.
    pub(crate) fn retire_full(&self) {
        self.current.borrow_mut().take_if(|block| block.filled() == block.capacity());
    }
}
