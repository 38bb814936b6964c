//! What a node says of itself when it has stopped.

use crate::{attest::Observed, live::ShardStats};
use log_api::CounterSnapshot;

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
    /// Calls of `sendfile`, those that found the socket full among them.
    pub sendfile_calls: u64,
    /// Bytes that left by `send` from memory.
    pub send_bytes: u64,
    /// Bytes of files that were not in memory and were read through the ring before they were sent.
    pub cold_bytes: u64,
    /// Bytes that the send path copied itself: file ranges read into a block to be sent from there.
    pub send_copied_bytes: u64,
    /// Chunks sent.
    pub chunks: u64,
    /// Consumers accepted.
    pub consumers_accepted: u64,
    /// Consumers refused because there were too many, or because their request was wrong.
    pub consumers_refused: u64,
    /// Times that a consumer went on at the log's start because its place had been trimmed.
    pub consumers_trimmed: u64,
    /// Consumers ended by an engine that could not read.
    pub consumers_failed: u64,
    /// Commits asked for on behalf of producers, each over one flush group.
    pub commits: u64,
    /// Messages that those commits covered; divided by `commits`, the size of a group.
    pub commit_messages: u64,
    /// The most messages that one commit covered.
    pub commit_messages_max: u64,
    /// Commits of the `interval` durability's timer.
    pub interval_commits: u64,
    /// Entries of the way back to the producer.
    pub acks: u64,
    /// Batches refused.
    pub refused_batches: u64,
    /// Batches answered as poisoned.
    pub poisoned_batches: u64,
    /// Times an append had to wait because the engine was busy.
    pub busy_waits: u64,
    /// Times an append or a commit had to wait because the disk was full.
    pub full_waits: u64,
    /// Times that the intake stopped because the producer did not take its acknowledgements.
    pub ack_waits: u64,
    /// Batches that were published and not taken when the shard stopped; never acknowledged.
    pub left_batches: u64,
    /// Batches taken and neither acknowledged nor refused when the shard stopped.
    pub unacknowledged_batches: u64,
    /// Times that retention moved the start of a log.
    pub trims: u64,
    /// System calls made on the shard by the ring and the engine.
    pub system_calls: u64,
    /// Nanoseconds that each stage took on the shard's thread, in the order of [`log_api::Stage::ALL`]; empty if they were not measured.
    pub stages: Vec<(&'static str, u64)>,
    /// The first failure, in words.
    pub failure: Option<String>,
    /// What the system shows of the shard's files.
    pub observed: Observed,
    /// What proves the engine that was really used, in words, from `observed` and the counts.
    pub attestation: Vec<String>,
}

/// What the node did.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// Each shard, in order.
    pub shards: Vec<ShardReport>,
}
