//! The core: shards, each of which owns its partitions, its ring and its engine, and shares nothing on the data path.
//!
//! What lives here: the words of the command line ([`config`]), the one choice of an engine ([`engine`]), the way batches
//! come in from a producer's thread ([`intake`]), append, group commit, acknowledgement and retention ([`shard`]), the send
//! path ([`send`]), the consumers' connections ([`consumer`]), and the node that starts and stops shards ([`node`]). What never
//! does: how an engine keeps bytes, a wire protocol, a schedule, a recorder.
//!
//! Under `cfg(loom)` only the intake is built: the one thing here that two threads share.

#![cfg_attr(loom, allow(missing_docs, unreachable_pub))]

pub mod intake;

#[cfg(not(loom))]
mod attest;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod consumer;
#[cfg(not(loom))]
pub mod engine;
#[cfg(not(loom))]
mod live;
#[cfg(not(loom))]
pub mod node;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
pub mod send;
#[cfg(not(loom))]
pub mod shard;
#[cfg(not(loom))]
mod stages;

pub use intake::{Ack, Outcome, Producer};
/// Bytes that a batch of a group's own has for each of its partitions.
#[cfg(not(loom))]
pub use log_group::CHECKPOINT_END_BYTES;
#[cfg(not(loom))]
pub use {
    attest::Observed,
    config::{CommitPolicy, ConfigError, Durability, GROUP_PARTITIONS_MAX, Layout},
    engine::EngineKind,
    live::{ShardState, ShardStats, StatsHandle},
    node::{Node, NodeConfig, NodeError, ShardHandle, Stop},
    report::{NodeReport, ShardReport},
};
