//! What a random sequence is made of.

use crate::Shape;
use log_api::{Level, ReadKind, SendPath};
use proptest::{collection::vec, prelude::*, strategy::Union};
use std::ops::RangeInclusive;

/// Operations of a sequence.
const OPERATIONS: usize = 50;

/// One step. Places in a log are fractions of its length (65,536ths), so that they stay meaningful while a sequence shrinks.
#[derive(Clone, Debug)]
pub enum Operation {
    /// One append of these batches.
    Append {
        /// Which of the two logs.
        log: usize,
        /// The batches.
        shapes: Vec<Shape>,
    },
    /// A commit of one log or of both, awaited.
    Commit {
        /// Which logs.
        logs: Vec<usize>,
        /// How far.
        level: Level,
    },
    /// A commit that is begun and goes on while other things happen.
    Begin {
        /// Which log.
        log: usize,
        /// How far.
        level: Level,
    },
    /// The end of all commits that were begun.
    AwaitAll,
    /// The begun commits' futures are dropped.
    Abandon,
    /// Reads from somewhere to somewhere.
    Read {
        /// Which log.
        log: usize,
        /// From where.
        from: u16,
        /// Until where, between there and the placed mark.
        until: u16,
        /// Bytes of each read.
        bytes_max: u64,
        /// How.
        kind: ReadKind,
    },
    /// A chunk is read and kept; its bytes must stay until it is released.
    Hold {
        /// Which log.
        log: usize,
        /// From where.
        from: u16,
    },
    /// Held chunks are compared and dropped.
    Release,
    /// A trim up to somewhere.
    Trim {
        /// Which log.
        log: usize,
        /// Up to where.
        before: u16,
    },
    /// The engine is closed, and the directory opened again.
    Close,
    /// The engine is dropped, and the directory opened again.
    Crash,
}

/// A sequence and the configuration that it runs under.
#[derive(Clone, Debug)]
pub struct Case {
    /// Of the payload.
    pub seed: u64,
    /// See [`log_api::EngineConfig`].
    pub durable: bool,
    /// See [`log_api::EngineConfig`].
    pub send: SendPath,
    /// See [`log_api::EngineConfig`].
    pub inflight_bytes_max: u64,
    /// See [`log_api::EngineConfig`].
    pub index_interval_bytes: u64,
    /// See [`log_api::EngineConfig`].
    pub tail_cache_bytes: u64,
    /// What happens, in order.
    pub operations: Vec<Operation>,
}

impl Case {
    /// The part of a sequence whose outcome the contract fixes: everything is placed before a crash. Without engines that keep
    /// their logs there are no reopens.
    #[must_use]
    pub fn comparable(&self, all_keep: bool) -> Self {
        let mut operations = Vec::new();
        for operation in &self.operations {
            match operation {
                Operation::Close | Operation::Crash if !all_keep => {}
                Operation::Crash => {
                    operations.push(Operation::Commit { logs: vec![0, 1], level: Level::Placed });
                    operations.push(Operation::Crash);
                }
                other => operations.push(other.clone()),
            }
        }
        Self { operations, ..self.clone() }
    }
}

/// Small batches find what is wrong in blocks, large ones what is wrong in segments: `large` sequences fill one in a few appends.
fn shape(large: bool) -> Union<BoxedStrategy<Shape>> {
    let [tens, hundreds] = if large { [6, 9] } else { [2, 1] };
    let of = |records: RangeInclusive<u32>, value_bytes: RangeInclusive<u32>| {
        (records, value_bytes).prop_map(|(records, value_bytes)| Shape { records, value_bytes }).boxed()
    };
    Union::new_weighted(vec![
        (8, of(1..=8, 0..=300)),
        (4, of(1..=4, 500..=5000)),
        (tens, of(1..=1, 30_000..=120_000)),
        (hundreds, of(1..=1, 200_000..=600_000)),
    ])
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Placed), Just(Level::Durable)]
}

/// Mostly the first log, so that it gets long enough to be interesting.
fn log() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0usize), 1 => Just(1usize)]
}

/// A place in a log, in 65,536ths: the ends are where things happen.
fn place() -> impl Strategy<Value = u16> {
    prop_oneof![2 => any::<u16>(), 1 => Just(0), 1 => Just(u16::MAX)]
}

fn operation(weights: &[u32; 8], large: bool) -> Union<BoxedStrategy<Operation>> {
    let kind = prop_oneof![Just(ReadKind::Hot), Just(ReadKind::Scan)];
    let bytes_max = prop_oneof![Just(1u64), 100..20_000u64, Just(1 << 20)];
    let logs = prop_oneof![2 => Just(vec![0]), 1 => Just(vec![1]), 2 => Just(vec![0, 1])];
    let [append, commit, begin, read, hold, trim, close, crash] = *weights;
    let choices = [
        (append, (log(), vec(shape(large), 1..4)).prop_map(|(log, shapes)| Operation::Append { log, shapes }).boxed()),
        (commit, (logs, level()).prop_map(|(logs, level)| Operation::Commit { logs, level }).boxed()),
        (begin, (log(), level()).prop_map(|(log, level)| Operation::Begin { log, level }).boxed()),
        (1 + begin / 4, Just(Operation::AwaitAll).boxed()),
        (1 + begin / 8, Just(Operation::Abandon).boxed()),
        (
            read,
            (log(), place(), place(), bytes_max, kind)
                .prop_map(|(log, from, until, bytes_max, kind)| Operation::Read { log, from, until, bytes_max, kind })
                .boxed(),
        ),
        (hold, (log(), place()).prop_map(|(log, from)| Operation::Hold { log, from }).boxed()),
        (1 + hold / 4, Just(Operation::Release).boxed()),
        (trim, (log(), place()).prop_map(|(log, before)| Operation::Trim { log, before }).boxed()),
        (close, Just(Operation::Close).boxed()),
        (crash, Just(Operation::Crash).boxed()),
    ];
    Union::new_weighted(choices.into_iter().filter(|(weight, _)| *weight > 0).collect())
}

/// A sequence of [`OPERATIONS`] operations, with weights drawn first.
pub(super) fn case(seed: u64) -> impl Strategy<Value = Case> {
    // An operation is off, ordinary or heavy; appends are never off.
    let weight = |ordinary: u32| prop_oneof![1 => Just(0), 3 => Just(ordinary), 1 => Just(4 * ordinary)];
    let weights = (
        prop_oneof![Just(20u32), Just(40u32)],
        weight(12),
        weight(8),
        weight(8),
        weight(6),
        weight(6),
        weight(1),
        weight(1),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h]);
    let told = (
        prop_oneof![3 => Just(true), 1 => Just(false)],
        prop_oneof![Just(SendPath::Copy), Just(SendPath::Sendfile)],
        prop_oneof![Just(1u64 << 20), Just(2 << 20), Just(4 << 20)],
        prop_oneof![Just(512u64), Just(4096), Just(65_536)],
        prop_oneof![Just(256u64 << 10), Just(4 << 20)],
    );
    let operations =
        (weights, any::<bool>()).prop_flat_map(|(weights, large)| vec(operation(&weights, large), OPERATIONS));
    (told, operations).prop_map(move |(told, operations)| Case {
        seed,
        durable: told.0,
        send: told.1,
        inflight_bytes_max: told.2,
        index_interval_bytes: told.3,
        tail_cache_bytes: told.4,
        operations,
    })
}
