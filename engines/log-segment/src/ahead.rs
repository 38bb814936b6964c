//! How far ahead of need segments are prepared, and how fast.

use crate::Pace;
use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that the logs of an engine keep prepared beyond one segment each: half a second of writing at 1 GB/s.
const AHEAD_BYTES_MAX: u64 = 512 << 20;

/// Segments that one log keeps prepared at most.
const SEGMENTS_MAX: u64 = 4;

/// Bytes that the logs of an engine keep made after rolls that had to wait, if the dirty budget is not less: no burst through the page cache is
/// longer.
const MADE_BYTES_MAX: u64 = 4 << 30;

/// Segments that one log keeps made at most.
const MADE_MAX: u64 = 32;

/// A preparation that nobody waits for rests for this many times as long as it has worked, so that it takes a quarter of the device and of the
/// helper's core.
const RESTS: u32 = 3;

/// Shared by the preparers of an engine: the fewer logs, the further ahead each of them is.
#[derive(Clone, Debug)]
pub struct Ahead {
    logs: Rc<Cell<u64>>,
    made_bytes_max: u64,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { logs: Rc::default(), made_bytes_max: Pace::for_this_machine().budget().min(MADE_BYTES_MAX) }
    }
}

impl Ahead {
    /// With another bound.
    #[cfg(test)]
    pub(crate) fn of_at_most(made_bytes_max: u64) -> Self {
        Self { logs: Rc::default(), made_bytes_max }
    }

    /// One more log prepares segments.
    pub(crate) fn join(&self) {
        self.logs.set(self.logs.get() + 1);
    }

    /// Segments that each log keeps ready.
    pub(crate) fn segments(&self, segment_bytes: u64) -> usize {
        let each = AHEAD_BYTES_MAX / self.logs.get().max(1);
        usize::try_from((each / segment_bytes.max(1)).clamp(1, SEGMENTS_MAX)).expect("a small number")
    }

    /// Segments that each log keeps made at most, after rolls that had to wait.
    pub(crate) fn segments_max(&self, segment_bytes: u64) -> usize {
        let each = self.made_bytes_max / self.logs.get().max(1);
        let most = usize::try_from((each / segment_bytes.max(1)).min(MADE_MAX)).expect("a small number");
        most.max(self.segments(segment_bytes))
    }
}

/// Makes a preparation rest between its slices, until somebody needs the segment. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Haste(Arc<AtomicBool>);

impl Haste {
    /// How much longer a preparation takes with its rests.
    pub(crate) const STRETCH: u32 = RESTS + 1;

    /// Whether somebody waits, or soon will: nothing stands ready.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A slice was begun at `begun` and has ended: rests, or at least lets others have the core. On the helper.
    pub fn rest(&self, begun: Instant) {
        if self.is_set() {
            thread::yield_now();
        } else {
            thread::sleep((begun.elapsed() * RESTS).min(Duration::from_millis(20)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_logs_are_far_ahead_and_many_one_segment_each() {
        let ahead = Ahead::of_at_most(2600 << 20);
        ahead.join();
        assert_eq!(
            (ahead.segments_max(128 << 20), ahead.segments_max(1 << 20), ahead.segments_max(8 << 30)),
            (20, 32, 1)
        );
        assert_eq!(ahead.segments(128 << 20), 4);
        assert_eq!(ahead.segments(1 << 20), 4);
        assert_eq!(ahead.segments(1 << 30), 1);
        (1..3).for_each(|_| ahead.join());
        assert_eq!(ahead.segments(128 << 20), 1);
    }
}
