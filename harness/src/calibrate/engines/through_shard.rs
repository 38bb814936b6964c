//! A broker's shard under load from a thread on the peer's core: messages of 1 KB, each a batch, so many under way at a time.

use super::{Bench, appends::Encoded, in_process::SETTLE_DURABLE};
use crate::{calibrate::loopback::pin, run::results::Scratch};
use anyhow::{Context, ensure};
use broker::{EngineKind, Node, NodeConfig, Outcome, Producer, Stop};
use log_api::CounterSnapshot;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Bytes of a message's value.
const MESSAGE_BYTES: usize = 1 << 10;
/// Length of a window.
const WINDOW: Duration = Duration::from_millis(500);
/// How long the last acknowledgements of a window may take.
const DRAIN: Duration = Duration::from_secs(10);
/// Neighbours in time are not neighbours in number: a prime, by which the partitions are gone through.
const STRIDE: u32 = 7_919;

/// A shard and its producer.
pub struct Loaded {
    node: Node,
    producer: Producer,
    peer: Option<usize>,
    partitions: u32,
    next: u32,
    acknowledged: u64,
    /// After the node: its logs are closed before they go.
    _folder: Scratch,
}

impl Loaded {
    /// Starts one with the configuration that `configure` makes of the default, in a folder with `name` in its name.
    ///
    /// # Errors
    /// The folder cannot be made, or the shard not started.
    pub fn start(
        bench: &Bench<'_>,
        engine: EngineKind,
        name: &str,
        configure: impl FnOnce(NodeConfig) -> NodeConfig,
    ) -> anyhow::Result<Self> {
        let name = format!(".highwater-calibrate-{name}-{}", std::process::id());
        let folder = Scratch::fresh(bench.place.dir().join(name))?;
        let peer = bench.placement.generator;
        let config = configure(NodeConfig {
            cpus: bench.placement.shards.clone(),
            helper_cpus: peer.into_iter().collect(),
            ..NodeConfig::new(engine, folder.path())
        });
        let partitions = config.partitions;
        let mut node = Node::start(config).context("start a shard")?;
        let producer = node.shards()[0].producer.take().context("a node's producer is there to be taken")?;
        Ok(Self { node, producer, peer, partitions, next: 0, acknowledged: 0, _folder: folder })
    }

    /// Waits until segments are prepared.
    pub fn settle() {
        thread::sleep(SETTLE_DURABLE);
    }

    /// Keeps at most so many messages under way for a window and takes in the last: how many were acknowledged a second.
    ///
    /// # Errors
    /// A message is refused, or not acknowledged in time.
    pub fn window(&mut self, under_way_max: u64) -> anyhow::Result<f64> {
        let peer = self.peer;
        thread::scope(|scope| {
            let window = scope.spawn(|| {
                pin(peer).context("run on the peer's core")?;
                self.load(under_way_max)
            });
            window.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Has it take in at least so many bytes, as fast as it goes.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn fill(&mut self, bytes: u64) -> anyhow::Result<()> {
        let message = Encoded::new(1, MESSAGE_BYTES).bytes().len() as u64;
        let until = self.acknowledged + bytes.div_ceil(message);
        while self.acknowledged < until {
            self.window(u64::MAX)?;
        }
        Ok(())
    }

    fn load(&mut self, under_way_max: u64) -> anyhow::Result<f64> {
        let encoded = Encoded::new(1, MESSAGE_BYTES);
        let begun = Instant::now();
        let (mut under_way, mut acknowledged, mut refused) = (0, 0, 0);
        loop {
            let took = begun.elapsed();
            while under_way < under_way_max && took < WINDOW {
                let Some(place) = self.producer.reserve(encoded.bytes().len()) else { break };
                place.copy_from_slice(encoded.bytes());
                self.producer.publish(self.next, 1);
                self.next = (self.next + STRIDE) % self.partitions;
                under_way += 1;
            }
            self.producer.flush();
            self.producer.acks(|ack| {
                under_way -= u64::from(ack.batches);
                acknowledged += u64::from(ack.batches);
                refused += u64::from(ack.batches) * u64::from(ack.outcome != Outcome::Kept);
            });
            ensure!(refused == 0, "{refused} messages were not kept");
            if took >= WINDOW && under_way == 0 {
                self.acknowledged += acknowledged;
                return Ok(acknowledged as f64 / took.as_secs_f64());
            }
            ensure!(took < WINDOW + DRAIN, "{under_way} messages were not acknowledged within {} s", DRAIN.as_secs());
            std::hint::spin_loop();
        }
    }

    /// Stops it: what it did in its life.
    ///
    /// # Errors
    /// The shard failed.
    pub fn stop(self) -> anyhow::Result<Life> {
        let report = self.node.stop(Stop { drain: Duration::ZERO, close: true }).context("stop the shard")?;
        let sum = |of: fn(&CounterSnapshot) -> u64| report.shards.iter().map(|shard| of(&shard.engine)).sum();
        Ok(Life {
            acknowledged: self.acknowledged,
            flushes: sum(|engine| engine.flushes),
            zeroed: sum(|engine| engine.segments_zeroed),
            recycled: sum(|engine| engine.segments_recycled),
        })
    }
}

/// What a shard did in its life.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Flushes asked for.
    pub flushes: u64,
    /// New segments.
    pub zeroed: u64,
    /// Segments overwritten that had been given up.
    pub recycled: u64,
}

impl Life {
    /// Messages that a flush covered.
    #[must_use]
    pub fn messages_a_flush(&self) -> f64 {
        self.acknowledged as f64 / self.flushes.max(1) as f64
    }
}
