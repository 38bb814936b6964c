//! Latencies by cell of the time axis. A run may have a hundred thousand cells and records into one or two of them at a time: those are
//! open histograms, and all others are packed into as many bytes as their samples need. Nothing is rounded by it: a sample stays in its
//! bucket.

use hdrhistogram::{Counter, Histogram};

/// Latencies are kept to 64 ns below 131 us, and to three digits above.
const LOWEST_NS: u64 = 100;
/// The longest latency that is told from longer ones: one hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;
/// Bits of a latency below the grain of its histogram: 64 ns, the largest power of two that is not above [`LOWEST_NS`].
const GRAIN_BITS: u32 = LOWEST_NS.ilog2();

/// Cells that are open at a time, of 110 KB each. Messages of two cells alternate where these meet, and shards and partitions that are
/// behind are so by different times.
const OPEN_MAX: usize = 32;

/// Bytes of a bucket in a packed cell: its distance from the one before, and its count, mostly a byte each.
const PACKED_BUCKET_BYTES: u64 = 3;
/// Buckets that the samples of a cell fall into at most, as far as memory is planned: latencies over four octaves.
const PACKED_BUCKETS_MAX: u64 = 4 << 10;

/// An empty histogram of latencies.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    empty()
}

fn empty<C: Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("the bounds are constants in order")
}

/// Counts of an open cell are 32 bits: it would need 4 billion messages of one latency to overflow.
struct Open {
    slot: usize,
    histogram: Histogram<u32>,
}

/// Latencies by slot; see [`super::axis::Cell::slot`].
pub struct Cells {
    packed: Vec<Option<Box<[u8]>>>,
    open: Vec<Open>,
    /// Which of `open` was recorded into last.
    current: usize,
}

impl Cells {
    /// No samples, in so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { packed: vec![None; slots], open: Vec::new(), current: 0 }
    }

    /// Adds `messages` of one latency.
    pub fn record(&mut self, slot: usize, latency_ns: u64, messages: u32) {
        if self.open.get(self.current).is_none_or(|open| open.slot != slot) {
            self.open(slot);
        }
        self.open[self.current].histogram.saturating_record_n(latency_ns, messages);
    }

    /// Makes a slot the current one. When there is no place for another, the oldest is packed.
    fn open(&mut self, slot: usize) {
        if let Some(found) = self.open.iter().position(|open| open.slot == slot) {
            self.current = found;
            return;
        }
        if self.open.len() < OPEN_MAX {
            self.open.push(Open { slot, histogram: empty() });
            self.current = self.open.len() - 1;
            return;
        }
        let oldest = (0..OPEN_MAX).min_by_key(|open| self.open[*open].slot).expect("some are open");
        let Open { slot: packed, histogram } = &mut self.open[oldest];
        // A cell that was opened again after it had been packed.
        if let Some(earlier) = self.packed[*packed].take() {
            unpack(&earlier, |latency_ns, count| {
                histogram.saturating_record_n(latency_ns, u32::try_from(count).unwrap_or(u32::MAX));
            });
        }
        self.packed[*packed] = Some(pack(histogram));
        histogram.reset();
        *packed = slot;
        self.current = oldest;
    }

    /// Tells each bucket of a slot that has samples: a latency in it, and their number. A bucket may come twice.
    pub fn each(&self, slot: usize, mut each: impl FnMut(u64, u64)) {
        if let Some(packed) = &self.packed[slot] {
            unpack(packed, &mut each);
        }
        for open in self.open.iter().filter(|open| open.slot == slot) {
            for bucket in open.histogram.iter_recorded() {
                each(bucket.value_iterated_to(), u64::from(bucket.count_at_value()));
            }
        }
    }

    /// Adds the samples of a slot to a sum.
    pub fn add_to(&self, slot: usize, sum: &mut Histogram<u64>) {
        self.each(slot, |latency_ns, count| sum.saturating_record_n(latency_ns, count));
    }

    /// Bytes that the samples of a run may take: `messages` of them in so many cells.
    #[must_use]
    pub fn bytes_max(cells: u64, messages: u64) -> u64 {
        let slot_bytes = size_of::<Option<Box<[u8]>>>() as u64;
        let buckets = messages.min(cells.saturating_mul(PACKED_BUCKETS_MAX));
        cells.saturating_mul(slot_bytes).saturating_add(buckets.saturating_mul(PACKED_BUCKET_BYTES))
    }
}

/// The buckets that have samples, in order: each its distance from the one before in grains, and its count.
fn pack(histogram: &Histogram<u32>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let mut before = 0;
    for bucket in histogram.iter_recorded() {
        let grains = bucket.value_iterated_to() >> GRAIN_BITS;
        put(&mut bytes, grains - before);
        put(&mut bytes, u64::from(bucket.count_at_value()));
        before = grains;
    }
    bytes.into()
}

fn unpack(mut bytes: &[u8], mut each: impl FnMut(u64, u64)) {
    let mut grains = 0;
    while !bytes.is_empty() {
        grains += take(&mut bytes);
        let count = take(&mut bytes);
        each(grains << GRAIN_BITS, count);
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    while let [byte, rest @ ..] = *bytes {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOTS: usize = OPEN_MAX + 5;

    proptest! {
        /// Whatever the order of cells: the same samples as in one histogram a cell.
        #[test]
        fn packing_loses_and_moves_no_sample(
            samples in prop::collection::vec((0..SLOTS, 0..2 * HIGHEST_NS, 1..300u32), 0..300),
            small in prop::collection::vec((0..SLOTS, 0..400_000u64, 1..3u32), 0..300),
        ) {
            let mut cells = Cells::new(SLOTS);
            let mut whole = vec![histogram(); SLOTS];
            for (slot, latency_ns, messages) in samples.into_iter().chain(small) {
                cells.record(slot, latency_ns, messages);
                whole[slot].saturating_record_n(latency_ns, u64::from(messages));
            }
            for (slot, wanted) in whole.iter().enumerate() {
                let mut sum = histogram();
                cells.add_to(slot, &mut sum);
                prop_assert_eq!(&sum, wanted);
            }
        }
    }

    #[test]
    fn few_cells_are_open_and_the_others_take_what_their_samples_need() {
        const MESSAGES: u64 = 300;
        let mut cells = Cells::new(1_000);
        for slot in 0..1_000 {
            for message in 0..MESSAGES {
                cells.record(slot, 800_000 + message * 3_000, 1);
            }
        }
        assert_eq!(cells.open.len(), OPEN_MAX);
        let packed: u64 = cells.packed.iter().flatten().map(|bytes| bytes.len() as u64).sum();
        let planned = Cells::bytes_max(1_000, 1_000 * MESSAGES);
        assert!(packed + 1_000 * 16 <= planned, "{packed} of {planned} bytes");
    }
}
