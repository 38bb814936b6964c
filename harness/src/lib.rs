//! The harness behind the `highwater` binary: replays a peak-traffic profile against log engines, open loop, and reports what
//! each of them did and at what cost.
//!
//! What lives here: profiles and their schedule, the generator loop with its recorders and consumers, the child process that
//! runs one engine, the parent that probes, orders and collects, the accounting of costs, the result files, the table, the
//! report. What never does: anything that runs on a shard's core (that is `broker`), any engine by name beyond its flag.

pub mod calibrate;
pub mod child;
pub mod cli;
pub mod config;
pub mod cost;
pub mod inspect;
pub mod list;
pub mod load;
pub mod profile;
pub mod report;
pub mod run;
pub mod schedule;
pub mod show;
pub mod summary;
pub mod table;
