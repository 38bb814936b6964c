//! The ring: what it is made of, and the operations that are about no file or socket.

use crate::{Op, RingCounters, Slab, core::Core, pump, table::Held};
use crate::{kernel::Pinned, prepared::Prepared};
use io_uring::types::Timespec;
use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    time::Duration,
};

/// A shard's ring. Clones are the same ring; it belongs to the thread of its executor.
///
/// # Slots
/// Each operation has a slot that owns what the kernel uses (buffer and descriptor) until the completion, whatever
/// becomes of the future. Of the operations that end by themselves (reads, writes, flushes) at most
/// [`RingConfig::slots`] are with the kernel; more wait in line, first come first served: that is the back-pressure.
/// Operations that may last (accept, poll, sleep, send, receive) take none of these slots: a socket has at most one
/// send and one receive, a task awaits its own.
///
/// # Turns
/// Operations are pushed when they are made. A pump task enters the kernel once for all that a turn's tasks pushed, and
/// when no task is runnable any more the shard sleeps in that enter, until something completes or a bell rings: one
/// system call a turn. While anything is in flight or listened for, glommio neither polls nor sleeps; it only runs tasks.
/// With nothing in flight it sleeps by itself.
///
/// # Wakers
/// So a waker that is used on another thread wakes its task only when something completes. What comes from other
/// threads comes by a [`doorbell()`](crate::doorbell()) or a [`Helper`](crate::Helper).
#[derive(Clone)]
pub struct Ring(Rc<Core>);

/// What a ring is made of.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Entries of the submission queue: what one enter submits at most.
    pub entries: u32,
    /// Reads, writes and flushes that are with the kernel at once; more wait in line.
    pub slots: u32,
    /// Buffers for receives, a power of two. All connections share them.
    pub provided_buffers: u16,
    /// Bytes of one such buffer: 64 KiB and more for large requests, or each arrives in many completions.
    pub provided_buffer_bytes: u32,
    /// The cores of the ring's kernel workers (buffered writes, flushes); empty: where the shard's thread may run.
    pub worker_cpus: Vec<usize>,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            entries: 256,
            slots: 1024,
            provided_buffers: 256,
            provided_buffer_bytes: 16 << 10,
            worker_cpus: Vec::new(),
        }
    }
}

impl Ring {
    /// Makes the ring and starts its pump, on the executor of this thread.
    pub(crate) fn start(config: &RingConfig) -> io::Result<(Self, glommio::Task<()>)> {
        let core = Core::new(config)?;
        let pump = glommio::spawn_local(pump::run(core.clone()));
        Ok((Self(core), pump))
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.0
    }

    /// Awaits or cancels all that is in flight, then ends the pump.
    pub(crate) async fn shut_down(self, pump: glommio::Task<()>) {
        self.0.drain().await;
        self.0.pump.stop();
        pump.await;
    }

    /// From now on the clock is read around each enter of the ring: two reads a turn, about 40 ns.
    pub fn time_enters(&self) {
        self.0.times_enters.set(true);
    }

    /// What the ring has done so far.
    pub fn counters(&self) -> &RingCounters {
        &self.0.counters
    }

    /// Reads, writes and flushes that are with the kernel, and those in line for a slot.
    pub fn in_flight(&self) -> (u32, usize) {
        self.0.slots()
    }

    /// Registers as many of the slab's blocks, from the first, as the limit of locked memory allows, and says how many:
    /// 0 is possible, and only slower. A slab is registered once.
    pub fn register_slab(&self, slab: &Slab) -> usize {
        self.0.register_slab(slab)
    }

    /// Enters at once with all that was pushed, instead of at the end of the round of the shard's tasks: for an operation that a device idles
    /// for.
    pub fn submit(&self) {
        if self.core().has_unsubmitted() {
            self.core().turn(false);
        }
    }

    /// Waits for events of poll(2) on a descriptor; resolves to the events that came. Keep the descriptor open
    /// meanwhile.
    pub fn poll(&self, descriptor: &impl AsFd, events: u32) -> Op<u32> {
        self.0.start(Prepared::poll(descriptor.as_fd().as_raw_fd(), events))
    }

    /// Does nothing, through the kernel.
    pub fn nop(&self) -> Op<()> {
        self.0.start(Prepared::nop())
    }

    /// Resolves when `duration` is over.
    pub(crate) async fn timeout(&self, duration: Duration) {
        let time = Timespec::from(duration);
        let mut kept = self.0.times.borrow_mut().pop().unwrap_or_else(|| Pinned::new(Timespec::new()));
        kept.with(|kept| *kept = time);
        // The kernel answers ETIME; anything else (the ring shuts down) ends the sleep early.
        let _ended: io::Result<()> = self.0.start(Prepared::timeout(kept)).await;
    }

    /// Gives back what a finished operation owned.
    pub(crate) fn keep(&self, held: Held) {
        self.0.keep(held);
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slots, waiting) = self.in_flight();
        write!(formatter, "Ring({} outstanding, {slots} slots used, {waiting} in line)", self.0.outstanding())
    }
}
