//! The two-sided protocol of the doorbell, without a descriptor in it: small enough for loom.
//!
//! The sleeper announces that it goes to sleep, *then* looks once more for work; the ringer publishes work, *then* looks whether
//! the sleeper sleeps. Each side's store is followed by a load of what the other side stored, so both need a sequentially
//! consistent fence between the two: without it both may read the old value, and the sleeper sleeps with work waiting.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether the sleeping side needs a wake-up.
#[derive(Debug)]
pub struct Asleep(AtomicBool);

impl Asleep {
    /// Awake.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Sleeper: announce sleep. The caller must look for work once more after this, and only then sleep.
    pub fn announce(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Sleeper: take the announcement back. `false`: a ringer has claimed it already, and its wake-up has come or is coming.
    pub fn withdraw(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    /// Ringer, after publishing work: whether this caller must deliver a wake-up. Of many ringers exactly one is told so per sleep.
    pub fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

impl Default for Asleep {
    fn default() -> Self {
        Self::new()
    }
}
