//! The two-sided protocol of the doorbell, without a descriptor in it: small enough for loom.
//!
//! One atomic word says where the listener is. Both sides change it only by read-modify-write, so that all changes
//! stand in one order: either the ringer finds the listener asleep and delivers a wake-up, or the listener finds that
//! it was rung and does not go to sleep. A ring is remembered until the next wait, so work that was published before it
//! is never missed.

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

    /// Listener: begins to wait. `false`: it was rung since the last wait, and must not sleep. `true`: the next ring
    /// delivers a wake-up; then ask [`woken`](Latch::woken).
    #[must_use = "whether to sleep"]
    pub fn begin_wait(&self) -> bool {
        match self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(found) => {
                debug_assert_eq!(found, RUNG, "two listeners");
                self.0.swap(AWAKE, Ordering::AcqRel);
                false
            }
        }
    }

    /// Listener, after a wake-up: whether the wait is over. `false`: the wake-up belonged to an earlier wait that was
    /// given up; sleep on. `true`: what was published before the ring is visible.
    pub fn woken(&self) -> bool {
        self.0.compare_exchange(RUNG, AWAKE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Listener: gives the wait up. A ring that came first is remembered, and its wake-up may still be on its way.
    pub fn give_up(&self) {
        // On failure there was a ring, or no wait.
        let _ = self.0.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}
