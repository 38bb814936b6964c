//! The engine's own memory: one slab for staging and tail cache, one for reading, so that no scan can take an append's block; the budget of
//! bytes in flight; and who holds how many blocks from outside. What never lives here: logs, files.

use crate::PAGE;
use log_api::{Counters, EngineConfig};
use shard_ring::{Block, Event, Ring, Slab, Slice};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

/// Bytes of a block, and so of a write or read operation, at most: beyond it the device gains nothing, and one operation delays the rest.
pub(crate) const OPERATION_BYTES_MAX: usize = 1 << 20;

/// Below it a large commit would become too many operations.
const BLOCK_BYTES_MIN: usize = 64 << 10;

/// Each log holds a block of its own while it has bytes to write: small configurations get smaller blocks, so that there are this many.
const STAGING_BLOCKS_MIN: usize = 64;

/// Blocks beyond what budget and tail cache hold: partly filled ones. Where commits leave more of each block empty, the tail cache has less; and
/// without one, appends wait a little earlier.
const STAGING_BLOCKS_SPARE: usize = 8;

/// Blocks of the read slab: two who scan, with eight runs ahead, the one that they read and one that is being sent; and a quarter for demand
/// reads. Where more scan, each has less ahead.
pub(crate) const READING_BLOCKS: usize = 32;

/// Bytes of a block of the read slab, at most.
const READING_BLOCK_BYTES_MAX: usize = 512 << 10;

/// Free read blocks that read-ahead leaves to others.
pub(crate) const READING_BLOCKS_RESERVED: usize = READING_BLOCKS / 4;

/// The slabs and the budget.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) staging: Slab,
    pub(crate) reading: Slab,
    pub(crate) staging_registered: usize,
    pub(crate) reading_registered: usize,
    /// Who holds blocks of the staging slab from outside, and of the read slab.
    staging_pins: Rc<Ledger>,
    reading_pins: Rc<Ledger>,
    /// Blocks of staging that pins leave to appends.
    blocks_for_appends: usize,
    /// Bytes of log appended and not yet written, over all logs.
    pub(crate) unwritten: Cell<u64>,
    unwritten_max: u64,
    /// Bytes of log in extents, over all logs.
    pub(crate) held: Cell<u64>,
    cached_max: u64,
    /// Counts appends: the clock by which extents of several logs are forgotten.
    clock: Cell<u64>,
    /// Bytes in flight have been written.
    pub(crate) eased: Event,
    /// Fresh blocks on their way into a log; empty between two calls, kept for its memory.
    pub(crate) fresh: RefCell<Vec<Block>>,
}

impl Memory {
    /// Maps the slabs, and registers with the ring what the limit of locked memory allows.
    pub(crate) fn new(ring: &Ring, config: &EngineConfig) -> io::Result<Self> {
        let wanted = (config.inflight_bytes_max + config.tail_cache_bytes) as usize;
        // No more than the rest together.
        let reading = Slab::new(block_bytes(wanted / READING_BLOCKS, READING_BLOCK_BYTES_MAX), READING_BLOCKS)?;
        let block_bytes = block_bytes(wanted / STAGING_BLOCKS_MIN, OPERATION_BYTES_MAX);
        let blocks = wanted.div_ceil(block_bytes).max(STAGING_BLOCKS_MIN) + STAGING_BLOCKS_SPARE;
        let staging = Slab::new(block_bytes, blocks)?;
        // Reading first: it is the smaller one, and its blocks are used all the time, while the tail cache's rest.
        let reading_registered = ring.register_slab(&reading);
        let staging_registered = ring.register_slab(&staging);
        let blocks_for_appends = (config.inflight_bytes_max as usize).div_ceil(block_bytes) + STAGING_BLOCKS_SPARE;
        Ok(Self {
            staging_registered,
            reading_registered,
            staging_pins: Ledger::new(blocks, blocks.saturating_sub(blocks_for_appends).max(1)),
            reading_pins: Ledger::new(READING_BLOCKS, READING_BLOCKS - READING_BLOCKS_RESERVED),
            staging,
            reading,
            blocks_for_appends,
            unwritten: Cell::new(0),
            unwritten_max: config.inflight_bytes_max,
            held: Cell::new(0),
            cached_max: config.tail_cache_bytes,
            clock: Cell::new(0),
            eased: Event::new(),
            fresh: RefCell::new(Vec::with_capacity(blocks)),
        })
    }

    /// Whether the budget allows `bytes` more. A batch larger than the whole budget is let through alone.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        let unwritten = self.unwritten.get();
        unwritten == 0 || unwritten + bytes <= self.unwritten_max
    }

    /// Appends so far.
    pub(crate) fn clock(&self) -> u64 {
        self.clock.get()
    }

    /// The time of an append.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// The logs hold more written bytes than the tail cache may.
    pub(crate) fn cache_overflows(&self) -> bool {
        self.held.get().saturating_sub(self.unwritten.get()) > self.cached_max
    }

    /// Adds to a sum over all logs.
    pub(crate) fn add(sum: &Cell<u64>, bytes: u64) {
        sum.set(sum.get() + bytes);
    }

    /// Takes from a sum over all logs.
    pub(crate) fn subtract(sum: &Cell<u64>, bytes: u64) {
        sum.set(sum.get().checked_sub(bytes).expect("only what was added is taken off"));
    }

    /// Puts `needed` empty staging blocks into `fresh`, if so many are free. An append that is larger than the budget gets memory of its own.
    pub(crate) fn take_staging(&self, needed: usize) -> bool {
        let mut fresh = self.fresh.borrow_mut();
        debug_assert!(fresh.is_empty());
        if needed > self.blocks_for_appends {
            let Ok(own) = Slab::new(self.staging.block_bytes(), needed) else { return false };
            fresh.extend((0..needed).map(|_| own.take().expect("a new slab's blocks are free")));
            return true;
        }
        if self.staging.free_blocks() < needed {
            return false;
        }
        fresh.extend((0..needed).map(|_| self.staging.take().expect("so many are free")));
        true
    }

    /// An empty block for reading `bytes`. When the slab has none, memory for this read alone: a slow consumer must not stop another, and each
    /// read's bytes are bounded.
    pub(crate) fn reading_block(&self, bytes: usize) -> io::Result<Block> {
        debug_assert!(bytes <= self.reading.block_bytes());
        match self.reading.take() {
            Some(block) => Ok(block),
            None => Ok(Slab::new(bytes.next_multiple_of(PAGE), 1)?.take().expect("a new slab's only block is free")),
        }
    }

    /// Pins slices of the tail cache, in place as long as few enough blocks are held from outside, else copied.
    pub(crate) fn pin_staged(&self, slices: Vec<Slice>, counters: &Counters) -> Vec<Pin> {
        self.staging_pins.pin(&self.staging, slices, counters)
    }

    /// The same for blocks of reads.
    pub(crate) fn pin_read(&self, slices: Vec<Slice>, counters: &Counters) -> Vec<Pin> {
        self.reading_pins.pin(&self.reading, slices, counters)
    }
}

fn block_bytes(wanted: usize, max: usize) -> usize {
    match wanted.checked_ilog2() {
        Some(power) => (1 << power).clamp(BLOCK_BYTES_MIN, max),
        None => BLOCK_BYTES_MIN,
    }
}

/// Bytes of a read: in place, or a copy when a stalled reader could otherwise starve appends of blocks.
#[derive(Clone, Debug)]
pub struct Pin(Held);

#[derive(Clone, Debug)]
enum Held {
    Place { slice: Slice, _hold: Rc<Hold> },
    Copy(Rc<[u8]>),
}

impl Pin {
    /// The slab's slice, when the bytes are in place: memory that may be registered with the ring.
    #[must_use]
    pub fn slice(&self) -> Option<&Slice> {
        match &self.0 {
            Held::Place { slice, .. } => Some(slice),
            Held::Copy(_) => None,
        }
    }
}

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Held::Place { slice, .. } => slice.as_ref(),
            Held::Copy(bytes) => bytes,
        }
    }
}

/// Which blocks of a slab pins hold.
#[derive(Debug)]
struct Ledger {
    /// Holds a block.
    holds: RefCell<Vec<u32>>,
    /// Blocks with a hold.
    held: Cell<usize>,
    held_max: usize,
}

/// The blocks of one chunk.
#[derive(Debug)]
struct Hold {
    ledger: Rc<Ledger>,
    blocks: Vec<usize>,
}

impl Ledger {
    fn new(blocks: usize, held_max: usize) -> Rc<Self> {
        Rc::new(Self { holds: RefCell::new(vec![0; blocks]), held: Cell::new(0), held_max })
    }

    fn pin(self: &Rc<Self>, slab: &Slab, slices: Vec<Slice>, counters: &Counters) -> Vec<Pin> {
        let hold = self.hold(slab, &slices);
        let pin = |slice: Slice| match &hold {
            Some(hold) => Pin(Held::Place { slice, _hold: hold.clone() }),
            None => {
                Counters::add(&counters.copied_bytes, slice.len() as u64);
                Pin(Held::Copy(Rc::from(slice.as_ref())))
            }
        };
        slices.into_iter().map(pin).collect()
    }

    /// None: too many blocks would be held. Blocks of no slab but their own are nobody's loss, and not counted.
    fn hold(self: &Rc<Self>, slab: &Slab, slices: &[Slice]) -> Option<Rc<Hold>> {
        let blocks = slices.iter().map(Slice::block).filter(|block| slab.owns(block));
        let mut blocks: Vec<usize> = blocks.map(Block::index).collect();
        blocks.dedup();
        let mut holds = self.holds.borrow_mut();
        let new = blocks.iter().filter(|block| holds[**block] == 0).count();
        if self.held.get() + new > self.held_max {
            return None;
        }
        blocks.iter().for_each(|block| holds[*block] += 1);
        self.held.set(self.held.get() + new);
        Some(Rc::new(Hold { ledger: self.clone(), blocks }))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.ledger.holds.borrow_mut();
        for block in &self.blocks {
            holds[*block] -= 1;
            if holds[*block] == 0 {
                self.ledger.held.set(self.ledger.held.get() - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(slab: &Slab) -> Vec<Slice> {
        let block = slab.take().unwrap();
        block.append(&[7; 100]);
        vec![block.slice(0..50), block.slice(50..100)]
    }

    #[test]
    fn pins_beyond_the_bound_are_copies_and_the_bound_counts_blocks_not_pins() {
        let slab = Slab::new(PAGE, 4).unwrap();
        let (ledger, counters) = (Ledger::new(4, 1), Counters::default());
        let first = slices(&slab);
        let pins = ledger.pin(&slab, first.clone(), &counters);
        let again = ledger.pin(&slab, first, &counters);
        assert!(pins.iter().chain(&again).all(|pin| pin.slice().is_some()), "the same block twice is one block");
        let copies = ledger.pin(&slab, slices(&slab), &counters);
        assert!(copies.iter().all(|pin| pin.slice().is_none() && pin.as_ref() == [7; 50]));
        assert_eq!(counters.copied_bytes.get(), 100);
        assert_eq!(slab.free_blocks(), 3, "a copy holds no block");
        drop(pins);
        drop(again);
        assert_eq!(slab.free_blocks(), 4);
        assert!(ledger.pin(&slab, slices(&slab), &counters)[0].slice().is_some());
    }

    #[test]
    fn blocks_shrink_with_the_configuration_and_never_beyond_an_operation() {
        assert_eq!(block_bytes((80 << 20) / STAGING_BLOCKS_MIN, OPERATION_BYTES_MAX), 1 << 20);
        assert_eq!(block_bytes(1 << 30, OPERATION_BYTES_MAX), OPERATION_BYTES_MAX);
        assert_eq!(block_bytes(0, OPERATION_BYTES_MAX), BLOCK_BYTES_MIN);
        assert_eq!(block_bytes(200_000, OPERATION_BYTES_MAX), 128 << 10);
    }
}
