//! What the machine took from the generator: time in which its core ran something else, or nothing at all because the host of a shared
//! machine ran another guest.
//!
//! The generator never blocks while something is due, so wall-clock time that its processor clock does not know was taken from it. What
//! it takes is read only after a turn that was long, because reading the processor clock is a system call.

use super::{cells::histogram, clock::now_ns};
use hdrhistogram::Histogram;

/// A turn that took as long may have been interrupted: it is then asked how much of it the thread ran. A turn's own work is bounded well
/// below (64 batches and a few hundred kilobytes of what consumers received).
const LONG_NS: u64 = 50_000;

/// Time taken from one thread, by gap.
#[derive(Clone, Debug)]
pub struct Taken {
    wall_ns: u64,
    cpu_ns: u64,
    begun_ns: u64,
    slept_ns: u64,
    until_ns: u64,
    gaps: Histogram<u64>,
}

impl Taken {
    /// Begins to watch the calling thread.
    #[must_use]
    pub fn begin() -> Self {
        let wall_ns = now_ns();
        let cpu_ns = thread_cpu_ns();
        Self { wall_ns, cpu_ns, begun_ns: wall_ns, slept_ns: 0, until_ns: wall_ns, gaps: histogram() }
    }

    /// A turn went from `from_ns` to `to_ns` of CLOCK_MONOTONIC, and the thread never wanted to sleep in it. Returns what was taken of it.
    pub fn turn(&mut self, from_ns: u64, to_ns: u64) -> u64 {
        self.until_ns = to_ns;
        if to_ns - from_ns < LONG_NS {
            return 0;
        }
        self.look(from_ns, to_ns, thread_cpu_ns())
    }

    /// `cpu_ns` is the thread's processor clock at `to_ns`. What was taken in short turns since the last look is small change and counted
    /// with this one, which it cannot make longer than it was.
    fn look(&mut self, from_ns: u64, to_ns: u64, cpu_ns: u64) -> u64 {
        let taken = (to_ns - self.wall_ns).saturating_sub(cpu_ns - self.cpu_ns).min(to_ns - from_ns);
        (self.wall_ns, self.cpu_ns) = (to_ns, cpu_ns);
        if taken > 0 {
            self.gaps.saturating_record(taken);
        }
        taken
    }

    /// The thread slept from `from_ns` to `to_ns` because it wanted to.
    pub fn slept(&mut self, from_ns: u64, to_ns: u64) {
        self.slept_ns += to_ns - from_ns;
        (self.wall_ns, self.cpu_ns, self.until_ns) = (to_ns, thread_cpu_ns(), to_ns);
    }

    fn awake_ns(&self) -> u64 {
        self.until_ns - self.begun_ns - self.slept_ns
    }

    /// Share of the time awake that was taken.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.gaps.iter_recorded().map(|gap| gap.value_iterated_to() as f64 * gap.count_at_value() as f64).sum::<f64>()
            / self.awake_ns().max(1) as f64
    }

    /// The longest gap, nanoseconds.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        if self.gaps.is_empty() { 0 } else { self.gaps.max() }
    }

    /// The lateness that all but `share` of the messages would have kept within if the generator's own work took no time: what arrives
    /// evenly over a gap of `g` is late by up to `g`, so the share of messages later than `x` is the sum of `g - x` over all longer gaps,
    /// by the time watched. Nanoseconds.
    #[must_use]
    pub fn lateness_ns(&self, share: f64) -> u64 {
        let allowed = share * self.awake_ns() as f64;
        let later_than = |x: u64| -> f64 {
            let longer = self.gaps.iter_recorded().filter(|gap| gap.value_iterated_to() > x);
            longer.map(|gap| (gap.value_iterated_to() - x) as f64 * gap.count_at_value() as f64).sum()
        };
        let (mut within, mut beyond) = (0, self.longest_ns());
        while within < beyond {
            let middle = within.midpoint(beyond);
            if later_than(middle) <= allowed { beyond = middle } else { within = middle + 1 }
        }
        beyond
    }
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn watched(gaps: &[u64], awake_ns: u64) -> Taken {
        let mut taken =
            Taken { wall_ns: 0, cpu_ns: 0, begun_ns: 0, slept_ns: 0, until_ns: awake_ns, gaps: histogram() };
        for gap in gaps {
            let from = taken.wall_ns;
            // The turn took 100 us of its own.
            taken.look(from, from + gap + 100_000, taken.cpu_ns + 100_000);
        }
        taken
    }

    #[test]
    fn what_a_turn_ran_was_not_taken_from_it() {
        let taken = watched(&[0, 3 * MS, 5 * MS], 1_000 * MS);
        assert_eq!(taken.gaps.len(), 2);
        assert!((taken.share() - 0.008).abs() < 0.0001, "{}", taken.share());
        assert!(taken.longest_ns().abs_diff(5 * MS) < 10_000);
    }

    #[test]
    fn the_machines_own_lateness_is_the_tail_of_the_gaps() {
        assert_eq!(watched(&[], 1_000 * MS).lateness_ns(0.001), 0);
        // Two gaps of 3 ms in a second: 0.1 % of the messages, those of 1 ms, were more than 2.5 ms late.
        let taken = watched(&[3 * MS, 3 * MS], 1_000 * MS);
        assert!(taken.lateness_ns(0.001).abs_diff(2_500_000) < 10_000, "{}", taken.lateness_ns(0.001));
        // Gaps that make up less than the share do not show in it.
        assert_eq!(taken.lateness_ns(0.01), 0);
    }

    #[test]
    fn small_change_makes_no_turn_longer_than_it_was() {
        let mut taken = watched(&[], 1_000 * MS);
        taken.look(9 * MS, 10 * MS, 2 * MS);
        assert!(taken.longest_ns() <= MS + 10_000);
    }

    #[test]
    fn a_thread_that_spins_has_nearly_all_of_its_time_and_sleep_is_not_taken() {
        let mut taken = Taken::begin();
        let from = now_ns();
        std::thread::yield_now();
        let to = now_ns();
        taken.slept(from, to);
        assert_eq!((taken.slept_ns, taken.longest_ns()), (to - from, 0));
    }
}
