//! Waking a shard from another thread: one write(2), and only if the shard sleeps.

use crate::{Op, Ring, doorbell_protocol::Latch};
use rustix::event::{EventfdFlags, eventfd};
use std::{fmt, io, os::fd::OwnedFd, rc::Rc, sync::Arc};

/// The ringing side, for any number of threads.
#[derive(Clone)]
pub struct Bell(Arc<Shared>);

struct Shared {
    latch: Latch,
    /// Rung only when the listener sleeps. Blocking, so that the ring arms a poll for the listener's read.
    signal: OwnedFd,
}

/// The shard's side.
pub struct Doorbell {
    shared: Arc<Shared>,
    /// The listener's own descriptor of the same eventfd.
    signal: Rc<OwnedFd>,
    /// The wait that is under way; kept when its future is dropped.
    asleep: Option<Op<u32>>,
}

/// A bell and its doorbell.
///
/// # Errors
/// What eventfd(2) answers.
pub fn doorbell() -> io::Result<(Bell, Doorbell)> {
    let signal = eventfd(0, EventfdFlags::CLOEXEC)?;
    let listening = Rc::new(signal.try_clone()?);
    let shared = Arc::new(Shared { latch: Latch::new(), signal });
    Ok((Bell(shared.clone()), Doorbell { shared, signal: listening, asleep: None }))
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
    /// each wait, since many rings may end one wait. Safe to drop. Always on the same ring.
    ///
    /// # Errors
    /// What the ring answers, `BrokenPipe` or `ECANCELED` when it shuts down.
    pub async fn wait(&mut self, ring: &Ring) -> io::Result<()> {
        if self.asleep.is_none() {
            if !self.shared.latch.begin_wait() {
                return Ok(());
            }
            self.asleep = Some(ring.await_signal(&self.signal));
        }
        let Some(asleep) = &mut self.asleep else { unreachable!("a wait is under way") };
        let signalled = asleep.await;
        self.asleep = None;
        self.shared.latch.woken();
        signalled.map(drop)
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bell({:?})", self.0.latch)
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Doorbell({:?})", self.shared.latch)
    }
}
