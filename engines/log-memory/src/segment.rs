//! Where the reference model keeps bytes: segments of fixed blocks, and the pool that the blocks come from and go back to. What it
//! never does: know marks, levels or logs.

use log_api::{Batch, Epoch, Framing, Offset, Piece};
use log_format::{ENTRY_HEADER_BYTES_MAX, HEADER_BYTES, entry_header_bytes, peek_entry, place_entry};
use shard_ring::{Block, Slab, Slice};
use std::cell::RefCell;

/// Bytes of a block. Segments are a whole number of them, so a batch may lie across two.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Blocks made one at a time as they are needed, never more than a bound, and used again when their last pin is gone.
#[derive(Debug)]
pub(crate) struct Pool {
    /// A slab of one block each, so that memory grows by a block.
    slabs: RefCell<Vec<Slab>>,
    blocks_max: usize,
}

impl Pool {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let blocks_max = usize::try_from(bytes_max / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        Self { slabs: RefCell::default(), blocks_max }
    }

    /// Whether `blocks` can be taken now, making what is missing. A system without memory is as full as the bound.
    pub(crate) fn has(&self, blocks: usize) -> bool {
        let mut slabs = self.slabs.borrow_mut();
        let mut free = slabs.iter().filter(|slab| slab.free_blocks() > 0).take(blocks).count();
        while free < blocks && slabs.len() < self.blocks_max {
            let Ok(slab) = Slab::new(BLOCK_BYTES, 1) else { return false };
            slabs.push(slab);
            free += 1;
        }
        free >= blocks
    }

    /// A block that [`Pool::has`] has promised.
    fn take(&self) -> Block {
        let slabs = self.slabs.borrow();
        slabs.iter().find_map(Slab::take).expect("asked for after Pool::has, on one thread")
    }
}

/// Where a batch starts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    base: Offset,
    position: u64,
}

/// A run of whole batches, the last of which was appended to or is still open.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    blocks: Vec<Block>,
    /// The first batch, then one at least `index_interval_bytes` after the entry before.
    index: Vec<Entry>,
    index_interval_bytes: u64,
    framing: Framing,
}

/// A place in a segment at which a batch starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

impl Segment {
    /// An empty segment. All that it will need besides its blocks is allocated here, so that an append allocates nothing.
    pub(crate) fn new(base: Offset, framing: Framing, segment_bytes: u64, index_interval_bytes: u64) -> Self {
        let blocks = segment_bytes.div_ceil(BLOCK_BYTES as u64) as usize;
        // Each entry but the first stands for that many bytes, and for a batch of at least a header.
        let entries = 1 + segment_bytes / index_interval_bytes.max(HEADER_BYTES as u64);
        Self {
            base,
            end: base,
            bytes: 0,
            blocks: Vec::with_capacity(blocks),
            index: Vec::with_capacity(entries as usize),
            index_interval_bytes,
            framing,
        }
    }

    /// Blocks that `bytes` more need.
    pub(crate) fn blocks_missing(&self, bytes: u64) -> usize {
        (self.bytes + bytes).div_ceil(BLOCK_BYTES as u64) as usize - self.blocks.len()
    }

    /// Copies a batch behind the last one, with its offset and epoch; returns the bytes copied. The pool has the missing blocks.
    pub(crate) fn append(&mut self, batch: &Batch<'_>, epoch: Epoch, pool: &Pool) -> u64 {
        let bytes = batch.stored_bytes();
        let entry = place_entry(batch, self.end, epoch);
        let due = self.index.last().is_none_or(|last| self.bytes - last.position >= self.index_interval_bytes);
        if due {
            self.index.push(Entry { base: self.end, position: self.bytes });
        }
        let mut copied = bytes;
        match self.blocks.last() {
            Some(block) if block.room() as u64 >= bytes => {
                block.append_with(bytes as usize, |place| entry.copy_to(place));
            }
            _ => {
                // Across blocks: the head was put together beside them, because it may lie across two itself.
                copied += entry.head().len() as u64;
                self.copy(entry.head(), pool);
                self.copy(entry.rest(), pool);
            }
        }
        self.bytes += bytes;
        self.end = self.end.plus(u64::from(batch.records()));
        copied
    }

    fn copy(&mut self, mut bytes: &[u8], pool: &Pool) {
        while !bytes.is_empty() {
            if self.blocks.last().is_none_or(|block| block.room() == 0) {
                self.blocks.push(pool.take());
            }
            let block = self.blocks.last().expect("just pushed");
            let (now, later) = bytes.split_at(bytes.len().min(block.room()));
            block.append(now);
            bytes = later;
        }
    }

    /// The batch that holds `offset`, which lies in the segment.
    pub(crate) fn find(&self, offset: Offset) -> Place {
        assert!(self.base <= offset && offset < self.end, "{offset} is outside {}..{}", self.base, self.end);
        let after = self.index.partition_point(|entry| entry.base <= offset);
        let mut place = self.place(self.index[after - 1].position).expect("an entry stands at a batch");
        while place.end <= offset {
            place = self.next(&place).expect("a later batch holds the offset");
        }
        place
    }

    /// The batch after `place`.
    pub(crate) fn next(&self, place: &Place) -> Option<Place> {
        self.place(place.position + place.bytes)
    }

    fn place(&self, position: u64) -> Option<Place> {
        if position == self.bytes {
            return None;
        }
        let mut header = [0; ENTRY_HEADER_BYTES_MAX];
        let header = &mut header[..entry_header_bytes(self.framing)];
        let mut filled = 0;
        self.pieces(position, header.len() as u64, |slice| {
            header[filled..filled + slice.len()].copy_from_slice(slice.as_ref());
            filled += slice.len();
        });
        let entry = peek_entry(self.framing, header).ok().flatten().expect("only verified batches are appended");
        let base = entry.offset.expect("the engine assigned the offset");
        Some(Place { base, end: base.plus(entry.takes), position, bytes: entry.bytes })
    }

    /// `bytes` from `position` on, as pins.
    pub(crate) fn pins(&self, position: u64, bytes: u64) -> Vec<Piece<Slice>> {
        let mut pieces = Vec::new();
        self.pieces(position, bytes, |slice| pieces.push(Piece::Pin(slice)));
        pieces
    }

    fn pieces(&self, position: u64, bytes: u64, mut visit: impl FnMut(Slice)) {
        let (mut at, end) = (position as usize, (position + bytes) as usize);
        assert!(end as u64 <= self.bytes, "{position} + {bytes} is past {}", self.bytes);
        while at < end {
            let block = &self.blocks[at / BLOCK_BYTES];
            let from = at % BLOCK_BYTES;
            let to = BLOCK_BYTES.min(from + end - at);
            visit(block.slice(from..to));
            at += to - from;
        }
    }
}
