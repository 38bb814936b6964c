//! Counts that every engine keeps. Plain cells: an engine never leaves its shard.

use crate::Stages;
use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counts since the engine was made. They only grow.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Cell<u64>,)+
            /// What the stages of the shard cost: the engine's own, and those of whoever drives it.
            pub stages: Stages,
        }

        /// The values of [`Counters`] at one moment.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct CounterSnapshot { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// The values now.
            #[must_use]
            pub fn snapshot(&self) -> CounterSnapshot {
                CounterSnapshot { $($name: self.$name.get(),)+ }
            }
        }

        impl CounterSnapshot {
            /// Each count with its name, in the order of declaration.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }

            /// What was counted after `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

counters! {
    /// Batches appended.
    appended_batches,
    /// Bytes appended.
    appended_bytes,
    /// Bytes that the engine's own code copied, on the way in and on the way out.
    copied_bytes,
    /// Bytes handed to the kernel or the mapping for the log's segments: payload, padding and rewritten tail blocks.
    written_bytes,
    /// Write operations, by system call or by ring.
    writes,
    /// Flushes asked for: fsync, fdatasync or a write with RWF_DSYNC.
    flushes,
    /// System calls made on the shard by the engine itself; entries of the ring are counted by the ring.
    system_calls,
    /// Commits that had to wait for a tail block still in flight.
    tail_waits,
    /// Segments begun.
    rolls,
    /// Rolls for which the next segment was not ready in time, so that appends had to wait.
    rolls_waited,
    /// Bytes written to prepare segments ahead (zero-filling); not payload.
    prepared_bytes,
    /// Segments made ready by filling a new file with zeros.
    segments_zeroed,
    /// Segments made ready from one that had been given up, whose bytes are overwritten as they are.
    segments_recycled,
    /// Reads answered from memory that the engine holds: mapping, tail cache, read-ahead.
    read_hits,
    /// Reads that had to ask the device.
    read_misses,
    /// Bytes read from the device.
    read_bytes,
    /// Times an append was told to wait for room.
    busy,
    /// Logs that several partitions share.
    shared_logs,
    /// Partitions that were opened in them.
    shared_log_partitions,
    /// Indexes of finished segments of shared logs that were missing or wrong and were made again from the log.
    shared_log_indexes_rebuilt,
}

impl Counters {
    /// Adds `n` to a count.
    pub fn add(count: &Cell<u64>, n: u64) {
        count.set(count.get() + n);
    }
}
