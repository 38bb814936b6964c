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
        if block.room() > SLOW_DISTANCES && self.room() as u64 >= bytes + SLOW_DISTANCES as u64 {
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

// Nothing is stepped over on other processors.
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    const BLOCK_BYTES: usize = 8192;

    fn runs(gather: &Gather, at: u64, bytes: &[u8]) -> VecDeque<Run> {
        let mut runs = VecDeque::new();
        gather.put(bytes, Offset(0), at, &mut runs);
        runs
    }

    /// Where the bytes end up in their block, after a first 100.
    fn after_a_step(at: u64, bytes: &[u8]) -> Range<usize> {
        let gather = Gather::new(BLOCK_BYTES, 2).unwrap();
        runs(&gather, 0, &[1; 100]);
        gather.step(at, bytes.len() as u64);
        let runs = runs(&gather, at, bytes);
        assert_eq!(runs[0].block.slice(runs[0].range.clone()).as_ref(), &bytes[..runs[0].range.len()]);
        runs[0].range.clone()
    }

    #[test]
    fn a_source_at_a_slow_distance_moves_and_no_other_does() {
        let moved = 100 + SLOW_DISTANCES;
        for at in [101, 131, 4_096 + 116] {
            assert_eq!(after_a_step(at, &[7; 50]), moved..moved + 50, "at {at}");
            assert!(!log_format::is_slow(at as usize, moved));
        }
        for at in [100, 99, 132, 4_096 + 100, 0] {
            assert_eq!(after_a_step(at, &[7; 50]), 100..150, "at {at}");
        }
    }

    #[test]
    fn a_step_takes_no_room_that_is_needed() {
        let left = 2 * BLOCK_BYTES - 100;
        assert_eq!(after_a_step(101, &vec![7; left]).start, 100, "all of the room is needed");
        assert_eq!(after_a_step(101, &vec![7; left - SLOW_DISTANCES + 1]).start, 100, "one byte too few");
        assert_eq!(after_a_step(101, &vec![7; left - SLOW_DISTANCES]).start, 100 + SLOW_DISTANCES);
        let gather = Gather::new(BLOCK_BYTES, 2).unwrap();
        runs(&gather, 0, &[1; BLOCK_BYTES - SLOW_DISTANCES]);
        let room = gather.room();
        gather.step(BLOCK_BYTES as u64 - 16, 50);
        assert_eq!(gather.room(), room, "the rest of a block is not stepped over whole");
    }

    #[test]
    fn what_is_not_together_in_memory_is_another_run() {
        let gather = Gather::new(BLOCK_BYTES, 2).unwrap();
        let mut runs = VecDeque::new();
        gather.put(&[1; 100], Offset(0), 5_000, &mut runs);
        gather.put(&[2; 100], Offset(0), 5_100, &mut runs);
        assert_eq!(runs.len(), 1);
        // The block stands at 200, the log at 4,096 + 204 elsewhere.
        gather.step(4_300, 10);
        gather.put(&[3; 10], Offset(0), 4_300, &mut runs);
        gather.put(&[4; 10], Offset(0), 4_310, &mut runs);
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[1].at, runs[1].range.clone()), (4_300, 232..252));
    }
}
