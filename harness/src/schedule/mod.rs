//! The schedule: every arrival of a run, fixed before it begins, as a pure function of a resolved profile and a seed.
//!
//! What lives here: intended arrival times, partitions and sizes ([`Schedule`]), and the hash that names a schedule in
//! the manifest ([`hash`]). What never does: clocks, sending, anything that depends on how
//! an engine fares.

mod hash;
mod modulate;
mod random;
mod sizes;
mod split;
mod times;

pub use hash::hash;
pub use split::Split;

use crate::profile::Resolved;

/// One intended arrival: a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Nanoseconds from the beginning of the run. Never falls from one arrival to the next.
    pub at_ns: u64,
    /// Index of the phase that holds `at_ns`.
    pub phase: u16,
    /// Where to, below [`Resolved::partitions`].
    pub partition: u32,
    /// Bytes of the value of each message of the batch.
    pub bytes: u32,
    /// Messages of the batch.
    pub messages: u32,
}

/// The arrivals of a schedule in order, drawn one by one: no arrival is stored.
///
/// Times follow the curve by time rescaling: gaps drawn for a process of rate 1 are stretched through the inverse of the
/// curve's integral, which every piece has exactly ([`crate::profile::Piece::inverse`]). Thinning would need no inverse, but
/// throws away draws wherever the rate is under its maximum (nine of ten in the night's tail), and a deterministic process
/// cannot be thinned. Times, bursts, partitions and sizes draw from four streams of xoshiro256++ that never overlap, so
/// that changing one law leaves the others' draws as they were.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: times::Times,
    partitions: split::Partitioner,
    sizes: sizes::Sizes,
    split: Split,
    messages: u32,
}

impl Schedule {
    /// The arrivals of `resolved` (under its seed) that belong to `split`. A split draws the whole schedule and keeps its
    /// part, so that parts add up to the whole whatever their number.
    #[must_use]
    pub fn new(resolved: &Resolved, split: Split) -> Self {
        let [times, bursts, partitions, sizes] = random::streams(resolved.seed);
        Self {
            times: times::Times::new(resolved, times, bursts),
            partitions: split::Partitioner::new(resolved.partitions, resolved.skew, partitions),
            sizes: sizes::Sizes::new(resolved.messages.bytes, sizes),
            split,
            messages: resolved.messages.batch,
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let (at_ns, phase) = self.times.next()?;
            let partition = self.partitions.draw();
            let bytes = self.sizes.draw();
            if self.split.holds(partition) {
                return Some(Arrival { at_ns, phase, partition, bytes, messages: self.messages });
            }
        }
    }
}
