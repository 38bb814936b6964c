//! One io_uring ring a shard, inside a glommio executor, for files and sockets alike.
//!
//! glommio schedules the shard's tasks; the bytes move on a ring of the shard's own. What a turn's tasks push, files
//! and sockets together, one `io_uring_enter` submits. Nothing polls: with nothing in flight the executor sleeps on a
//! plain waker, else on the ring's eventfd.
//!
//! What lives here:
//! - [`Ring`]: the operations. A slot of the ring owns the buffer of its operation until the kernel's completion, so a
//!   dropped future never frees memory that the kernel still uses;
//! - [`Slab`], [`Block`], [`Slice`]: page-aligned, append-only memory that may be registered with the ring;
//! - [`RingFile`], [`RingSocket`], [`Receive`]: descriptors on the ring;
//! - [`spawn_executor`], [`block_on`], [`spawn_local`], [`sleep`], [`yield_now`]: all that others need of the executor;
//! - [`Event`], [`doorbell()`], [`Helper`]: waking up tasks, shards, and doing what would block off the shard.
//!
//! What never does: log formats, segments, engines, protocols, policies of when to flush or how much to send. The ring
//! checks nothing but the system's answer; what a short count means is its caller's affair.

mod doorbell_protocol;

pub use doorbell_protocol::Latch;

#[cfg(not(loom))]
mod buffer;
#[cfg(not(loom))]
mod core;
#[cfg(not(loom))]
mod counters;
#[cfg(not(loom))]
mod doorbell;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod executor;
#[cfg(not(loom))]
mod file;
#[cfg(not(loom))]
mod helper;
#[cfg(not(loom))]
mod kernel;
#[cfg(not(loom))]
mod op;
#[cfg(not(loom))]
mod prepared;
#[cfg(not(loom))]
mod provided;
#[cfg(not(loom))]
mod pump;
#[cfg(not(loom))]
mod receive;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod slab;
#[cfg(not(loom))]
mod socket;
#[cfg(not(loom))]
mod table;
#[cfg(not(loom))]
mod tasks;

#[cfg(not(loom))]
pub use {
    buffer::{Buffer, StableBytes},
    counters::{Count, RingCounters},
    doorbell::{Bell, Doorbell, doorbell},
    event::{Event, Wait},
    executor::{ExecutorConfig, ExecutorHandle, attempt, block_on, sleep, spawn_executor, spawn_local, yield_now},
    file::{RingFile, Sync},
    helper::Helper,
    op::{Op, Outcome},
    receive::{Receive, Received},
    ring::{Ring, RingConfig},
    slab::{Block, Slab, Slice},
    socket::RingSocket,
};
