//! Live numbers: what a shard shows to other threads while it runs. The shard alone writes them, plain stores; whoever reads
//! them may see one count a little ahead of another.

use crate::intake::Gauge;
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

/// How a shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardState {
    /// It takes what comes.
    #[default]
    Running,
    /// The disk is full: it waits for room and acknowledges nothing new.
    Full,
    /// A log is poisoned: its messages are answered with [`crate::Outcome::Poisoned`].
    Poisoned,
    /// Stopped.
    Stopped,
}

const STATES: [ShardState; 4] = [ShardState::Running, ShardState::Full, ShardState::Poisoned, ShardState::Stopped];

macro_rules! live {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Live numbers of a shard. Counts only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardStats {
            /// How it is.
            pub state: ShardState,
            /// Bytes in the intake that the shard has not taken, now.
            pub backlog_bytes: u64,
            $($(#[$doc])* pub $name: u64,)+
        }

        /// The shard's side.
        #[derive(Default)]
        pub(crate) struct Live {
            state: AtomicU8,
            gauge: Option<Gauge>,
            $(pub(crate) $name: Number,)+
        }

        impl Live {
            pub(crate) fn stats(&self) -> ShardStats {
                ShardStats {
                    state: STATES[usize::from(self.state.load(Ordering::Relaxed))],
                    backlog_bytes: self.gauge.as_ref().map_or(0, Gauge::backlog_bytes),
                    $($name: self.$name.0.load(Ordering::Relaxed),)+
                }
            }
        }
    };
}

live! {
    /// Records acknowledged as kept.
    acked_messages,
    /// Batches acknowledged as kept.
    acked_batches,
    /// Their bytes.
    acked_bytes,
    /// Records appended.
    appended_messages,
    /// Bytes appended.
    appended_bytes,
    /// Commits done, over all flush groups.
    commits,
    /// Consumers connected now.
    consumers,
    /// Bytes sent to consumers.
    sent_bytes,
    /// Records that retention gave up.
    trimmed_messages,
}

/// A number that one thread writes and any may read.
#[derive(Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    /// Only the shard's thread may call this: a load and a store, not one operation.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// See [`Self::add`].
    pub(crate) fn sub(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Live {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { gauge: Some(gauge), ..Self::default() }
    }

    pub(crate) fn state(&self) -> ShardState {
        STATES[usize::from(self.state.load(Ordering::Relaxed))]
    }

    pub(crate) fn set_state(&self, state: ShardState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// Reads live numbers, from any thread, also while the node is being stopped and after.
#[derive(Clone)]
pub struct StatsHandle(pub(crate) Arc<[Arc<Live>]>);

impl StatsHandle {
    /// The numbers of each shard now, in the order of shards.
    #[must_use]
    pub fn stats(&self) -> Vec<ShardStats> {
        self.0.iter().map(|live| live.stats()).collect()
    }
}
