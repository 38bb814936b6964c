//! Whether the next commit waits for those whom the last one answered.
//!
//! A producer with a bounded number of messages under way sends again when it is answered. Answers go out one after the other, so the first of
//! them are back before the last is sent; a commit that left at once would take those few along, and all the others would wait for the one after.
//! The device then works for halves of what is under way. So a commit waits for as many messages as were answered, as long as they keep coming
//! in. Where that was in vain (producers that keep to a schedule, or are far away) it is tried more and more rarely.
//!
//! What never lives here: waiting (`commit.rs`).

use std::{cell::Cell, time::Duration};

/// Turns of the shard's tasks without an arrival, after which no more are waited for: a few microseconds, in which a producer that looks for
/// its answers has long sent.
pub(super) const IDLE_TURNS_MAX: u32 = 16;

/// After so many times in vain in a row it is tried no more rarely.
const MISSES_MAX: u32 = 6;

/// What one flush group has learned.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Times in vain in a row.
    misses: Cell<u32>,
    /// Commits that do not wait before it is tried again.
    pause: Cell<u32>,
}

impl Gather {
    /// Whether the next commit waits.
    pub(super) fn tries(&self) -> bool {
        let pause = self.pause.get();
        self.pause.set(pause.saturating_sub(1));
        pause == 0
    }

    /// A commit took `commit` and answered `answered` messages; of these `came` have come again within `waited`. That is worth it if it was at
    /// least half of them, in at most half of the time that they would have waited for a commit without them.
    pub(super) fn learn(&self, answered: u64, came: u64, commit: Duration, waited: Duration) {
        if 2 * came >= answered && 2 * waited <= commit {
            self.misses.set(0);
        } else {
            self.misses.set((self.misses.get() + 1).min(MISSES_MAX));
            self.pause.set(1 << self.misses.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(100);
    const SOON: Duration = Duration::from_micros(50);

    /// Commits until it is tried again.
    fn pause(gather: &Gather) -> usize {
        (0..).take_while(|_| !gather.tries()).count()
    }

    #[test]
    fn it_is_tried_as_long_as_half_come_in_half_the_time() {
        let gather = Gather::default();
        for came in [64, 32] {
            assert!(gather.tries());
            gather.learn(64, came, COMMIT, SOON);
        }
        assert!(gather.tries());
        gather.learn(64, 31, COMMIT, SOON);
        assert_eq!(pause(&gather), 2);
        gather.learn(64, 64, COMMIT, SOON + Duration::from_nanos(1));
        assert_eq!(pause(&gather), 4, "all came, but too late");
    }

    #[test]
    fn in_vain_it_is_tried_more_rarely_and_once_of_use_each_time() {
        let gather = Gather::default();
        let pauses: Vec<usize> = (0..8)
            .map(|_| {
                gather.learn(10, 0, COMMIT, SOON);
                pause(&gather)
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64, 64]);
        gather.learn(10, 10, COMMIT, SOON);
        assert_eq!(pause(&gather), 0);
        gather.learn(10, 0, COMMIT, SOON);
        assert_eq!(pause(&gather), 2);
    }
}
