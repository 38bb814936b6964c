//! Encodes batches: framing from a template, payload from a pool, a stamp, a checksum.
//!
//! A batch is made on a desk that stays in the first-level cache, and then copied to its place. The place was last read by the shard's
//! core: a checksum over it would wait for every line to come over from there, where stores alone do not wait. Made in place, the checksum
//! took 15 to 33 % of the generator's core at 600,000 messages a second; on the desk 6 %.

use super::stamp::{STAMP_BYTES, Stamp};
use log_format::Template;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::{collections::HashMap, ops::Range};

/// Bytes of the pool at least: small enough to stay in a second-level cache. The engines never see it, so it flatters none of them.
const POOL_BYTES_MIN: usize = 512 << 10;
/// The random and the constant share of the payload alternate in blocks of this size.
const BLOCK_BYTES: usize = 64;
/// Payloads begin at multiples of this in the pool.
const STEP_BYTES: usize = 64;
/// What the compressible share of a payload consists of.
const FILLER: &[u8] = b"the high-water mark ";
/// Batches of one size have one shape; a law of sizes has at most as many as there are sizes, and they are kept up to this many.
const SHAPES_MAX: usize = 1 << 16;

/// Framing of batches of one size.
#[derive(Debug)]
struct Shape {
    template: Template,
    /// The template's bytes.
    framing: Vec<u8>,
}

impl Shape {
    fn new(messages: u32, value_bytes: usize) -> Self {
        let template = Template::new(messages, value_bytes);
        let mut framing = vec![0; template.bytes()];
        template.write(&mut framing);
        Self { template, framing }
    }
}

/// Encodes the batches of a run.
#[derive(Debug)]
pub struct Encoder {
    pool: Vec<u8>,
    /// Where a batch is made before it is copied to its place.
    desk: Vec<u8>,
    steps: u64,
    shapes: HashMap<(u32, u32), usize>,
    known: Vec<Shape>,
    last: (u32, u32, usize),
    run: u32,
    /// Added to an intended arrival gives milliseconds since 1970, the batch's timestamp.
    epoch_ms: i64,
}

/// What a batch carries.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Messages.
    pub messages: u32,
    /// Bytes of each message's value.
    pub value_bytes: u32,
    /// Number of the batch in the run: it chooses the payload.
    pub number: u64,
    /// Sequence of the first message in its partition.
    pub sequence: u64,
    /// CLOCK_MONOTONIC.
    pub intended_ns: u64,
    /// Phase of the intended arrival.
    pub phase: u16,
}

/// A shape that was looked up: valid for the encoder that gave it.
#[derive(Clone, Copy, Debug)]
pub struct ShapeId(usize);

impl Encoder {
    /// An encoder whose payloads follow from `seed`. `entropy` is the share of random bytes, 0 to 1; `value_bytes_max` the largest value;
    /// `run` marks the stamps.
    #[must_use]
    pub fn new(seed: u64, entropy: f64, value_bytes_max: usize, run: u32) -> Self {
        let bytes = POOL_BYTES_MIN.max(2 * value_bytes_max).next_multiple_of(STEP_BYTES);
        let steps = ((bytes - value_bytes_max) / STEP_BYTES).max(1) as u64;
        let epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let epoch_ms = epoch.as_millis() as i64 - (super::clock::now_ns() / 1_000_000) as i64;
        Self {
            pool: pool(seed, entropy, bytes),
            desk: Vec::new(),
            steps,
            shapes: HashMap::new(),
            known: Vec::new(),
            last: (0, 0, 0),
            run,
            epoch_ms,
        }
    }

    /// The shape of batches of `messages` values of `value_bytes` each.
    ///
    /// # Panics
    /// When a value is too small for a stamp: refused before the run.
    pub fn shape(&mut self, messages: u32, value_bytes: u32) -> ShapeId {
        if (self.last.0, self.last.1) == (messages, value_bytes) {
            return ShapeId(self.last.2);
        }
        assert!(value_bytes as usize >= STAMP_BYTES, "a message holds a stamp");
        if self.known.len() == SHAPES_MAX {
            self.known.clear();
            self.shapes.clear();
        }
        let known = &mut self.known;
        let index = *self.shapes.entry((messages, value_bytes)).or_insert_with(|| {
            known.push(Shape::new(messages, value_bytes as usize));
            known.len() - 1
        });
        self.last = (messages, value_bytes, index);
        ShapeId(index)
    }

    /// Bytes of a batch of this shape.
    #[must_use]
    pub fn bytes(&self, shape: ShapeId) -> usize {
        self.known[shape.0].framing.len()
    }

    /// Writes a whole batch. A payload byte is copied twice: to the desk and to `place`.
    ///
    /// # Panics
    /// When `place` is not exactly [`Self::bytes`] long.
    pub fn encode(&mut self, shape: ShapeId, place: &mut [u8], content: &Content) {
        let mut into = std::mem::take(&mut self.desk);
        into.resize(place.len(), 0);
        self.write(shape, &mut into, content);
        place.copy_from_slice(&into);
        self.desk = into;
    }

    fn write(&self, shape: ShapeId, into: &mut [u8], content: &Content) {
        let Shape { template, framing } = &self.known[shape.0];
        assert_eq!(into.len(), framing.len(), "the place was reserved for this shape");
        let mut framed = 0;
        for message in 0..content.messages {
            let value = template.value(message);
            into[framed..value.start].copy_from_slice(&framing[framed..value.start]);
            framed = value.end;
            let payload = self.payload(content.number, message, value.len());
            into[value].copy_from_slice(&self.pool[payload]);
        }
        into[framed..].copy_from_slice(&framing[framed..]);
        let stamp = Stamp {
            sequence: content.sequence,
            intended_ns: content.intended_ns,
            run: self.run,
            phase: u32::from(content.phase),
        };
        stamp.write(&mut into[template.value(0)]);
        template.set_timestamp(into, self.epoch_ms + (content.intended_ns / 1_000_000) as i64);
        template.seal(into);
    }

    /// Where the payload of a message lies: spread over the pool by a Weyl sequence, so that neighbours differ.
    fn payload(&self, number: u64, message: u32, bytes: usize) -> Range<usize> {
        let mixed = number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(message).wrapping_mul(0xd1b5_4a32_d192_ed03));
        // The high half times the number of steps: a modulo without a division (Lemire, 2016).
        let step = ((mixed >> 32) * self.steps) >> 32;
        let start = step as usize * STEP_BYTES;
        start..start + bytes
    }
}

fn pool(seed: u64, entropy: f64, bytes: usize) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x7061_796c_6f61_6400);
    let mut pool: Vec<u8> = FILLER.iter().copied().cycle().take(bytes).collect();
    let random_bytes = (entropy.clamp(0.0, 1.0) * BLOCK_BYTES as f64).round() as usize;
    for block in pool.chunks_mut(BLOCK_BYTES) {
        let length = random_bytes.min(block.len());
        random.fill(&mut block[..length]);
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(messages: u32, value_bytes: u32, number: u64) -> Content {
        Content { messages, value_bytes, number, sequence: number * 10, intended_ns: 5_000_000_123, phase: 2 }
    }

    fn encoded(encoder: &mut Encoder, content: &Content) -> Vec<u8> {
        let shape = encoder.shape(content.messages, content.value_bytes);
        let mut bytes = vec![0xee; encoder.bytes(shape)];
        encoder.encode(shape, &mut bytes, content);
        bytes
    }

    #[test]
    fn every_batch_is_valid_stamped_and_unlike_the_others() {
        let mut encoder = Encoder::new(1, 1.0, 1_024, 9);
        let mut seen = std::collections::HashSet::new();
        for number in 0..200 {
            let (messages, bytes) = [(1, 1_024), (1, 24), (100, 100), (7, 333)][number as usize % 4];
            let batch_bytes = encoded(&mut encoder, &content(messages, bytes, number));
            let batch = log_format::verify(&batch_bytes).unwrap();
            assert_eq!(batch.records(), messages);
            let records: Vec<_> = log_format::records(&batch).unwrap().map(Result::unwrap).collect();
            assert!(records.iter().all(|record| record.value.unwrap().len() == bytes as usize));
            let stamp = Stamp::read(records[0].value.unwrap()).unwrap();
            assert_eq!(stamp, Stamp { sequence: number * 10, intended_ns: 5_000_000_123, run: 9, phase: 2 });
            assert!(seen.insert(batch_bytes));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let of = |seed| {
            let mut encoder = Encoder { epoch_ms: 0, ..Encoder::new(seed, 0.5, 2_000, 1) };
            (0..20).map(|number| encoded(&mut encoder, &content(3, 500, number))).collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn entropy_is_the_share_of_random_bytes() {
        let distinct = |entropy| {
            let pool = pool(3, entropy, 64 * 1_024);
            // Bytes that are not where the filler has them: 255 of 256 random bytes.
            let filler = FILLER.iter().copied().cycle();
            pool.iter().zip(filler).filter(|(byte, filler)| **byte != *filler).count() as f64 / pool.len() as f64
        };
        for entropy in [0.0, 0.25, 0.5, 1.0] {
            assert!((distinct(entropy) - entropy).abs() < 0.01, "{entropy}: {}", distinct(entropy));
        }
    }

    #[test]
    fn a_value_as_large_as_the_pool_still_fits() {
        let mut encoder = Encoder::new(1, 1.0, 3 << 20, 1);
        assert!(log_format::verify(&encoded(&mut encoder, &content(1, 3 << 20, 12))).is_ok());
    }
}
