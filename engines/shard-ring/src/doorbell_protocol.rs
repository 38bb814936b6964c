//! The two-sided protocol of the doorbell, without a descriptor in it: small enough for loom.
//!
//! One atomic word says where the listener is. Both sides change it only by read-modify-write, so that all changes stand in one order: either
//! the ringer finds the listener asleep and delivers a wake-up, or the listener finds that it was rung and does not go to sleep. A
//! ring is remembered until the next wait, so work that was published before it is never missed.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

/// The listener runs, and has not been rung since its last wait.
const AWAKE: u8 = 0;
/// The listener sleeps, or is about to: the next ring must deliver a wake-up.
const ASLEEP: u8 = 1;
/// Rung since the last wait.
const RUNG: u8 = 2;

/// The word that ringers and the one listener share.
#[derive(Debug)]
pub struct Latch(AtomicU8);

impl Latch {
    /// A listener that runs.
    pub fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Ringer, after publishing work. `true`: this caller, and no other, must deliver the wake-up.
    #[must_use = "the listener may sleep for ever"]
    pub fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// Listener: begins to wait. `false`: it was rung since the last wait, and must not sleep. `true`: a wake-up will be delivered
    /// exactly once; after it call [`woken`](Latch::woken).
    #[must_use = "whether to sleep"]
    pub fn begin_wait(&self) -> bool {
        match self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(found) => {
                debug_assert_eq!(found, RUNG, "two listeners");
                self.woken();
                false
            }
        }
    }

    /// Listener: the wake-up has come. Sees all work published before any ring up to now.
    pub fn woken(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}
