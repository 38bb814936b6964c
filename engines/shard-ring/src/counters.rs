//! What a ring did, counted.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one ring since its creation. They belong to the shard's thread; read them there.
        #[derive(Debug, Default)]
        pub struct RingCounters { $($(#[$doc])* pub $name: Count,)* }

        impl RingCounters {
            /// Each counter with its name, in a fixed order.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Entries that enters handed to the kernel: operations, cancellations, re-armed receives.
    entries,
    /// Calls of `io_uring_enter`.
    enters,
    /// Nanoseconds in those calls, while [`Ring::time_enters`](crate::Ring::time_enters) says so.
    enter_ns,
    /// Completions taken from the ring.
    completions,
    /// Enters that were to sleep until something completes.
    sleeps,
    /// Operations whose future was dropped before their completion came.
    orphans,
    /// Operations that found no free slot, and waited for one in line.
    slot_waits,
    /// Entries that found the submission queue full, and waited for the next enter.
    queue_waits,
    /// Completions that the kernel had to keep back because the completion queue was full: enters that it refused with
    /// `EBUSY`.
    overflows,
    /// Enters that the system interrupted or put off (`EINTR`, `EAGAIN`): tried again in the next turn.
    enter_retries,
    /// Calls of sendfile(2), those answered with `EAGAIN` included.
    sendfile_calls,
    /// Bytes sent by sendfile(2).
    sendfile_bytes,
    /// Bytes sent by send operations.
    send_bytes,
    /// Bytes received.
    received_bytes,
    /// Multishot receives armed, the first time included.
    receives_armed,
    /// Multishot receives that ended because no provided buffer was left (`ENOBUFS`).
    buffer_waits,
    /// System calls made by this crate on the shard: enters, sendfile, registrations, socket options. Closing a
    /// descriptor is not in here, nor are those of glommio (about nine when nothing is in flight any more); bells are rung by other threads.
    system_calls,
}

/// A counter of a single thread.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }
}
