//! Waking a shard from another thread: one write(2), and only if the shard listens asleep.
//!
//! All bells of a ring ring one eventfd, which the ring polls for good from the first wait on: a wait costs the shard no operation
//! of its own.

use crate::{Ring, core::Core, doorbell_protocol::Latch};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
};

/// The ringing side, for any number of threads.
#[derive(Clone)]
pub struct Bell(Arc<Shared>);

struct Shared {
    latch: Latch,
    /// The eventfd of the listener's ring; known since its first wait.
    signal: OnceLock<Arc<OwnedFd>>,
}

/// The shard's side. It may be made anywhere, and moved to its shard.
pub struct Doorbell(Arc<Shared>);

/// A bell and its doorbell.
pub fn doorbell() -> (Bell, Doorbell) {
    let shared = Arc::new(Shared { latch: Latch::new(), signal: OnceLock::new() });
    (Bell(shared.clone()), Doorbell(shared))
}

impl Bell {
    /// Wakes the shard if it sleeps at the doorbell, and is remembered until its next wait else. Publish the work
    /// first: who returns from [`Doorbell::wait`] sees it. Returns whether a system call was made.
    pub fn ring(&self) -> bool {
        let asleep = self.0.latch.ring();
        if asleep {
            let signal = self.0.signal.get().expect("a listener leaves its signal before it sleeps");
            // The one way to fail is a counter at its limit, and then the signal stands anyway.
            let _ = rustix::io::write(signal, &1_u64.to_ne_bytes());
        }
        asleep
    }
}

impl Doorbell {
    /// Resolves when the bell was rung since the last wait resolved: at once, if that has happened already. Look for
    /// *all* work after each wait, since many rings may end one wait. Safe to drop.
    ///
    /// # Errors
    /// `BrokenPipe` when the ring shuts down.
    ///
    /// # Panics
    /// If an earlier wait was on another ring.
    pub async fn wait(&mut self, ring: &Ring) -> io::Result<()> {
        let Shared { latch, signal } = &*self.0;
        let core = ring.core();
        let known = signal.get_or_init(|| core.signal.clone());
        assert!(Arc::ptr_eq(known, &core.signal), "a doorbell belongs to the ring of its first wait");
        if !latch.begin_wait() {
            return Ok(());
        }
        let _listening = Listening::begin(latch, core);
        loop {
            let signalled = core.signalled.wait();
            if latch.woken() {
                return Ok(());
            }
            if core.is_closing() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            signalled.await;
        }
    }
}

/// While this lives, the ring awaits the signal. Gives the wait up when it is dropped before the wait is over.
struct Listening<'a> {
    latch: &'a Latch,
    core: &'a Core,
}

impl<'a> Listening<'a> {
    fn begin(latch: &'a Latch, core: &'a Core) -> Self {
        core.begin_listening();
        Self { latch, core }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.core.end_listening();
        self.latch.give_up();
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bell({:?})", self.0.latch)
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Doorbell({:?})", self.0.latch)
    }
}
