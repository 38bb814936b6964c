//! Batches that can be made again from where they stand: seed, log and base offset fix every byte, so that a checker needs no
//! copy of what was written.

use log_api::{Batch, Epoch, LogId, Offset};
use log_format::BatchBuilder;

/// How large a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Records, at least one.
    pub records: u32,
    /// Bytes of each record's value.
    pub value_bytes: u32,
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence that belongs to a place in a log.
    #[must_use]
    pub fn at(seed: u64, log: LogId, offset: Offset) -> Self {
        let mut numbers = Self(seed ^ u64::from(log.0).rotate_left(48));
        let mixed = numbers.draw() ^ offset.0;
        Self(mixed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// A batch as a producer sends it: valid, with nonsense where the log is to put offset and epoch.
#[must_use]
pub fn batch(seed: u64, log: LogId, base: Offset, shape: Shape) -> Vec<u8> {
    let mut numbers = Numbers::at(seed, log, base);
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    let mut value = vec![0; shape.value_bytes as usize];
    for record in 0..shape.records {
        for piece in value.chunks_mut(8) {
            piece.copy_from_slice(&numbers.draw().to_le_bytes()[..piece.len()]);
        }
        builder.push(i64::from(record), None, Some(&value));
    }
    let mut bytes = builder.finish();
    bytes[0..8].copy_from_slice(&numbers.draw().to_be_bytes());
    bytes[12..16].copy_from_slice(&numbers.draw().to_be_bytes()[..4]);
    bytes
}

/// The batch that stands at `base` in a log whose shapes are drawn too: mostly small, now and then tens of kilobytes, so that
/// segments roll.
#[must_use]
pub fn drawn_batch(seed: u64, log: LogId, base: Offset) -> (Vec<u8>, Shape) {
    let mut numbers = Numbers::at(!seed, log, base);
    let records = 1 + numbers.below(8) as u32;
    let value_bytes = match numbers.below(16) {
        0 => 4096 + numbers.below(8192),
        1..=3 => 1024 + numbers.below(1024),
        _ => numbers.below(300),
    } as u32;
    let shape = Shape { records, value_bytes };
    (batch(seed, log, base, shape), shape)
}

/// What the log makes of a batch.
///
/// # Panics
/// If the bytes are shorter than a header.
#[must_use]
pub fn assigned(mut bytes: Vec<u8>, base: Offset, epoch: Epoch) -> Vec<u8> {
    log_format::assign(&mut bytes, base, epoch);
    bytes
}

/// The view of a batch that an engine takes.
///
/// # Panics
/// If it is not one valid batch.
#[must_use]
pub fn verified(bytes: &[u8]) -> Batch<'_> {
    log_format::verify(bytes).expect("the testkit makes valid batches").for_append()
}
