//! A node: shards on their processors, started together and stopped in order.

use crate::{
    config::{CommitPolicy, Durability},
    engine::EngineKind,
    intake::Producer,
};
use log_api::{CounterSnapshot, OpenError, Recovery, SendPath};
use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

/// What a node is told. See [`NodeConfig::new`] for the defaults.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The engine of every shard.
    pub engine: EngineKind,
    /// When messages are acknowledged.
    pub durability: Durability,
    /// How appends are gathered.
    pub commit: CommitPolicy,
    /// How the log reaches a socket; `None`: the engine's natural path.
    pub send: Option<SendPath>,
    /// Where the logs lie: `dir` itself with one shard, `dir/shard-<n>` with several.
    pub dir: PathBuf,
    /// Shards. Partition `p` lives on shard `p % shards`.
    pub shards: u32,
    /// Processors of the shards, one each, from the first on again when there are fewer; empty: wherever the process may run.
    pub cpus: Vec<usize>,
    /// Processors of the engines' helper threads and the ring's workers; empty: wherever the process may run.
    pub helper_cpus: Vec<usize>,
    /// Partitions over all shards.
    pub partitions: u32,
    /// Bytes of a segment file; a multiple of 1 MiB.
    pub segment_bytes: u64,
    /// Bytes on a shard that may be appended and not yet written.
    pub inflight_bytes_max: u64,
    /// Bytes of log between two index entries.
    pub index_interval_bytes: u64,
    /// Bytes of recent log that an engine without the page cache keeps for tail readers, on a shard.
    pub tail_cache_bytes: u64,
    /// Bytes that each log keeps, to within a segment; `None`: everything. A log goes up to twice this for a consumer that is behind.
    pub retention_bytes: Option<u64>,
    /// Bytes between a producer and a shard; a power of two of at least 64 KiB.
    pub intake_bytes: usize,
    /// How long a shard without work looks at its intake before it sleeps.
    pub intake_poll: Duration,
    /// Consumer connections of a shard; more are closed at once.
    pub consumers_max: u32,
    /// Bytes of one read for a consumer, 4 KiB to 1 MiB.
    pub read_bytes_max: u64,
}

impl NodeConfig {
    /// One shard and one partition of `engine` in `dir`: durable, `inflight:1`, segments of 128 MiB, everything kept, 8 MiB of intake,
    /// 64 consumers, reads of 1 MiB.
    #[must_use]
    pub fn new(engine: EngineKind, dir: impl Into<PathBuf>) -> Self {
        Self {
            engine,
            durability: Durability::Durable,
            commit: CommitPolicy::Inflight(1),
            send: None,
            dir: dir.into(),
            shards: 1,
            cpus: Vec::new(),
            helper_cpus: Vec::new(),
            partitions: 1,
            segment_bytes: 128 << 20,
            inflight_bytes_max: 16 << 20,
            index_interval_bytes: 4096,
            tail_cache_bytes: 64 << 20,
            retention_bytes: None,
            intake_bytes: 8 << 20,
            intake_poll: Duration::from_micros(20),
            consumers_max: 64,
            read_bytes_max: 1 << 20,
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A value of the configuration that cannot be.
    #[error("{key}: {what}")]
    Config {
        /// The field.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The engine cannot run here.
    #[error("engine {engine} is unavailable: {why}")]
    Unavailable {
        /// Which.
        engine: EngineKind,
        /// Why, with what to change.
        why: String,
    },
    /// A log could not be opened: in use, damaged, no room, or a failed file operation.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread, a ring or a socket could not be made.
    #[error("{action}: {source}")]
    Io {
        /// What was done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A shard ended by a panic.
    #[error("shard {shard} panicked: {what}")]
    Panicked {
        /// Which.
        shard: u32,
        /// Its message.
        what: String,
    },
}

/// What a user of the node holds of one shard.
pub struct ShardHandle {
    /// Which.
    pub shard: u32,
    /// Where its consumers connect.
    pub address: SocketAddr,
    /// The way in. `None` after it was taken.
    pub producer: Option<Producer>,
    /// Its partitions, and what their opening found.
    pub recovered: Vec<(u32, Recovery)>,
}

/// How to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// How long consumers have to receive everything up to the commit point before their connections are closed.
    pub drain: Duration,
    /// Close the engines' logs cleanly; otherwise they are left as a crash leaves them.
    pub close: bool,
}

impl Default for Stop {
    /// Five seconds for consumers, logs closed.
    fn default() -> Self {
        Self { drain: Duration::from_secs(5), close: true }
    }
}

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

/// Live numbers of a shard. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// How it is.
    pub state: ShardState,
    /// Records acknowledged as kept.
    pub acked_messages: u64,
    /// Batches acknowledged as kept.
    pub acked_batches: u64,
    /// Their bytes.
    pub acked_bytes: u64,
    /// Records appended.
    pub appended_messages: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Commits done, over all flush groups.
    pub commits: u64,
    /// Bytes in the intake that the shard has not taken, now.
    pub backlog_bytes: u64,
    /// Consumers connected now.
    pub consumers: u64,
    /// Bytes sent to consumers.
    pub sent_bytes: u64,
}

/// Reads live numbers, from any thread, also while the node is being stopped.
#[derive(Clone)]
pub struct StatsHandle {
    _private: (),
}

impl StatsHandle {
    /// The numbers of each shard now, in the order of shards.
    #[must_use]
    pub fn stats(&self) -> Vec<ShardStats> {
        todo!()
    }
}

/// What one shard did.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// Which.
    pub shard: u32,
    /// The last live numbers.
    pub stats: ShardStats,
    /// The engine's counts.
    pub engine: CounterSnapshot,
    /// The ring's counts, by name.
    pub ring: Vec<(&'static str, u64)>,
    /// Bytes that left by `sendfile`.
    pub sendfile_bytes: u64,
    /// Calls of `sendfile`.
    pub sendfile_calls: u64,
    /// Bytes that left by `send` from memory.
    pub send_bytes: u64,
    /// Bytes that were read from the device before they could be sent.
    pub cold_bytes: u64,
    /// Consumers accepted, refused, and moved to the log's start because it was trimmed.
    pub consumers_accepted: u64,
    /// Consumers refused because there were too many, or because their request was wrong.
    pub consumers_refused: u64,
    /// Consumers whose place had been trimmed, and who went on at the log's start.
    pub consumers_trimmed: u64,
    /// Commits that covered at least one batch of a producer.
    pub commits: u64,
    /// Messages that those commits covered; over `commits`, the size of a flush group.
    pub commit_messages: u64,
    /// The most messages that one commit covered.
    pub commit_messages_max: u64,
    /// Entries in the way back to the producer.
    pub acks: u64,
    /// Batches refused.
    pub refused_batches: u64,
    /// Batches answered as poisoned.
    pub poisoned_batches: u64,
    /// Times an append had to wait because the engine was busy.
    pub busy_waits: u64,
    /// Times an append or a commit had to wait because the disk was full.
    pub full_waits: u64,
    /// Batches left in the intake at the stop, never acknowledged.
    pub left_batches: u64,
    /// Segments' worth of log given up by retention: bytes.
    pub trimmed_bytes: u64,
    /// Times that the heartbeat rescued a parked executor.
    pub rescues: u64,
    /// System calls made on the shard: by the ring, the engine and the core.
    pub system_calls: u64,
    /// First failure of the engine, in words.
    pub failure: Option<String>,
    /// What proves the engine that was really used, in words.
    pub attestation: Vec<String>,
}

/// What the node did.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// Each shard, in order.
    pub shards: Vec<ShardReport>,
}

/// Running shards. Dropping it stops them without draining and leaves the logs as a crash leaves them.
pub struct Node {
    _private: (),
}

impl Node {
    /// Starts the shards and returns when all their logs are open and their consumers' ports listen.
    pub fn start(_config: NodeConfig) -> Result<Self, NodeError> {
        todo!()
    }

    /// The shards, in order; take the producers out of them.
    pub fn shards(&mut self) -> &mut [ShardHandle] {
        todo!()
    }

    /// The send path that is used.
    #[must_use]
    pub fn send_path(&self) -> SendPath {
        todo!()
    }

    /// A handle for live numbers.
    #[must_use]
    pub fn stats(&self) -> StatsHandle {
        todo!()
    }

    /// Stops in order: the intake is emptied, commits are awaited, consumers receive the rest, the engines are closed. Call it when the
    /// producers have flushed their last; what they publish later is not taken.
    pub fn stop(self, _how: Stop) -> Result<NodeReport, NodeError> {
        todo!()
    }
}
