//! Where a shard's time goes: what each stage of an append and of a read costs. Off until it is switched on, and then a branch a stage.
//!
//! Times are of CLOCK_MONOTONIC on the shard's thread. Reading the clock twice adds about 40 ns to a stage each time, so figures are to
//! be compared with each other, not with those of a run without.

use std::{cell::Cell, time::Instant};

/// A stage of a message's way through a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A batch that came in is checked: its checksum, above all.
    Verify,
    /// An append: the one copy into the engine's memory or mapping, and the note of where the batch lies.
    Append,
    /// A commit is submitted and completed, without the wait in between; what a page-cache engine writes by itself is in here.
    Commit,
    /// The ring's system call: what the kernel does of reads, writes and sends when it is entered.
    Enter,
    /// Producers are answered.
    Acknowledge,
    /// A read for a consumer is located and pinned, without the wait for the device.
    Read,
    /// A chunk is handed to its socket; `sendfile` is in here, what goes by the ring is in [`Stage::Enter`].
    Send,
}

impl Stage {
    /// All of them, in the order of a message's way.
    pub const ALL: [Self; 7] =
        [Self::Verify, Self::Append, Self::Commit, Self::Enter, Self::Acknowledge, Self::Read, Self::Send];

    /// Its name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Append => "append",
            Self::Commit => "commit",
            Self::Enter => "enter",
            Self::Acknowledge => "acknowledge",
            Self::Read => "read",
            Self::Send => "send",
        }
    }
}

/// Time spent in each stage since it was switched on.
#[derive(Debug, Default)]
pub struct Stages {
    on: Cell<bool>,
    ns: [Cell<u64>; Stage::ALL.len()],
}

impl Stages {
    /// Begins to measure.
    pub fn switch_on(&self) {
        self.on.set(true);
    }

    /// Whether it measures.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Runs `work` as a part of `stage`.
    #[inline]
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        if !self.on.get() {
            return work();
        }
        let start = Instant::now();
        let result = work();
        self.add(stage, start.elapsed().as_nanos() as u64);
        result
    }

    fn add(&self, stage: Stage, ns: u64) {
        let spent = &self.ns[stage as usize];
        spent.set(spent.get() + ns);
    }

    /// Nanoseconds of each stage, in the order of [`Stage::ALL`]; `None` if it was never switched on.
    #[must_use]
    pub fn spent(&self) -> Option<[u64; Stage::ALL.len()]> {
        self.on.get().then(|| std::array::from_fn(|stage| self.ns[stage].get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_all_is_that_of_the_places() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place, "{}", stage.name());
        }
    }

    #[test]
    fn it_counts_only_while_it_is_on_and_each_stage_for_itself() {
        let stages = Stages::default();
        assert_eq!(stages.time(Stage::Append, || 7), 7);
        assert_eq!(stages.spent(), None);
        stages.switch_on();
        stages.add(Stage::Verify, 5);
        stages.time(Stage::Append, || while Instant::now().elapsed().is_zero() {});
        let spent = stages.spent().expect("it is on");
        assert_eq!(spent[Stage::Verify as usize], 5);
        assert!(spent[Stage::Append as usize] > 0);
        assert_eq!(spent[Stage::Read as usize], 0);
    }
}
