//! What a shard and a node promise, against engines in memory and a gate that holds commits back.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is the test failing")]

mod back_pressure;
mod cold;
mod consumers;
mod disk_engines;
mod gate;
mod group_commit;
mod groups;
mod memlock;
mod node;
mod outcomes;
mod retention;
mod support;
