//! The core: shards, each of which owns its partitions, its ring and its engine, and shares nothing on the data path.
//!
//! What lives here: the words of the command line ([`config`]), the one choice of an engine ([`engine`]), the way batches
//! come in from a producer's thread ([`intake`]), append, group commit and acknowledgement (`shard`), the send path
//! (`send`), the consumers' connections (`consumer`), and the node that starts and stops shards ([`node`]). What never
//! does: how an engine keeps bytes, a wire protocol, a schedule, a recorder.

pub mod config;
pub mod engine;
pub mod intake;
pub mod node;

pub use config::{CommitPolicy, ConfigError, Durability};
pub use engine::EngineKind;
pub use intake::{Ack, Outcome, Producer};
pub use node::{
    Node, NodeConfig, NodeError, NodeReport, ShardHandle, ShardReport, ShardState, ShardStats, StatsHandle, Stop,
};
