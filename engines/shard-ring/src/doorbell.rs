//! Waking a shard from another thread: one write(2), and only if the shard sleeps.

use crate::{Ring, doorbell_protocol::Latch};
use rustix::event::{EventfdFlags, eventfd};
use std::{fmt, io, os::fd::OwnedFd, sync::Arc};

/// The ringing side, for any number of threads.
#[derive(Clone)]
pub struct Bell(Arc<Shared>);

struct Shared {
    latch: Latch,
    /// Rung only when the listener sleeps. Blocking, so that the ring arms a poll for the listener's read.
    signal: Arc<OwnedFd>,
}

/// The shard's side. It may be made anywhere, and moved to its shard.
pub struct Doorbell(Arc<Shared>);

/// A bell and its doorbell.
///
/// # Errors
/// What eventfd(2) answers.
pub fn doorbell() -> io::Result<(Bell, Doorbell)> {
    let signal = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let shared = Arc::new(Shared { latch: Latch::new(), signal });
    Ok((Bell(shared.clone()), Doorbell(shared)))
}

impl Bell {
    /// Wakes the shard if it sleeps at the doorbell, and is remembered until its next wait else. Publish the work first: who returns from
    /// [`Doorbell::wait`] sees it. Returns whether a system call was made.
    pub fn ring(&self) -> bool {
        let asleep = self.0.latch.ring();
        if asleep {
            // A counter that goes from 0 to 1 never blocks; nothing else can fail on an open eventfd.
            rustix::io::write(&self.0.signal, &1_u64.to_ne_bytes()).expect("an eventfd takes a 1");
        }
        asleep
    }
}

impl Doorbell {
    /// Resolves when the bell was rung since the last wait resolved: at once, if that has happened already. Look for *all* work after
    /// each wait, since many rings may end one wait. Safe to drop.
    ///
    /// # Errors
    /// What the ring answers, `BrokenPipe` or `ECANCELED` when it shuts down.
    pub async fn wait(&mut self, ring: &Ring) -> io::Result<()> {
        let Shared { latch, signal } = &*self.0;
        if !latch.begin_wait() {
            return Ok(());
        }
        let _waiting = Waiting(latch);
        loop {
            ring.await_signal(signal).await?;
            if latch.woken() {
                return Ok(());
            }
        }
    }
}

/// Gives the wait up when it is dropped or fails.
struct Waiting<'a>(&'a Latch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.give_up();
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
