//! How many segments a log keeps made: more after rolls that had to wait, fewer again once they are not used.

use std::cell::Cell;

/// One log's. Only counts: the segments are [`crate::Preparer`]'s.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// 0: as many as without rolls that waited.
    target: Cell<usize>,
    /// The fewest that were made at any moment of the period.
    fewest: Cell<usize>,
}

impl Reach {
    /// Segments to keep made, at least `usual`.
    pub(crate) fn target(&self, usual: usize) -> usize {
        self.target.get().max(usual)
    }

    /// A roll had to wait: a burst outran the making of segments, and the next one finds as many as there may be, `most`.
    pub(crate) fn waited(&self, usual: usize, most: usize) {
        self.fewest.set(0);
        self.target.set(most.max(usual));
    }

    /// So many are left.
    pub(crate) fn took(&self, left: usize) {
        self.fewest.set(self.fewest.get().min(left));
    }

    /// A period has ended, with `made` segments: half as many from now on, if half were not needed in it.
    pub(crate) fn period(&self, made: usize) {
        if 2 * self.fewest.get() >= self.target.get() {
            self.target.set(self.target.get() / 2);
        }
        self.fewest.set(made);
    }

    /// As many as without rolls that waited.
    pub(crate) fn reset(&self) {
        self.target.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_raises_it_to_the_bound_and_periods_in_which_half_were_enough_halve_it() {
        let reach = Reach::default();
        let targets = |count: usize, step: &dyn Fn()| -> Vec<usize> {
            (0..count)
                .map(|_| {
                    step();
                    reach.target(4)
                })
                .collect()
        };
        assert_eq!(reach.target(4), 4);
        assert_eq!(targets(2, &|| reach.waited(4, 21)), [21, 21]);
        assert_eq!(targets(1, &|| reach.period(21)), [21], "in this one a roll waited");
        reach.took(11);
        reach.took(20);
        assert_eq!(targets(1, &|| reach.period(21)), [10], "11 were left at the least");
        reach.took(4);
        assert_eq!(targets(1, &|| reach.period(10)), [10], "6 of 10 were needed");
        assert_eq!(targets(4, &|| reach.period(10)), [5, 4, 4, 4]);
        assert_eq!(targets(1, &|| reach.waited(4, 21)), [21], "and again");
        assert_eq!(targets(1, &|| reach.waited(4, 1)), [4], "never less than without");
        reach.reset();
        assert_eq!(reach.target(4), 4);
    }
}
