//! Closed-loop producers through a broker's shard: how many acknowledgements fit into the time of one bare flush.

use super::{Bench, EngineCase, Found, Pair, appends::Encoded, in_process::sample, row::Goal};
use crate::calibrate::{Case, loopback::pin};
use crate::run::results::Scratch;
use anyhow::{Context, ensure};
use broker::{EngineKind, Node, NodeConfig, Outcome, Producer, Stop};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Producers, each with one message under way.
const PRODUCERS: u64 = 64;
/// Acknowledgements that one raw flush latency must hold.
const GOAL: f64 = 28.0;
/// Until the first segments are prepared.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Length of a window.
const WINDOW: Duration = Duration::from_millis(500);
/// How long the last acknowledgements of a window may take.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) fn cases() -> Vec<EngineCase> {
    EngineKind::DISK.map(case).into()
}

fn case(engine: EngineKind) -> EngineCase {
    EngineCase {
        name: "durable, 64 closed-loop producers".to_owned(),
        engine,
        unit: "/s",
        ceiling: Case::Flush.to_string(),
        goal: Goal::AtLeast(GOAL),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| measure(bench, engine)),
    }
}

fn measure(bench: &mut Bench<'_>, engine: EngineKind) -> anyhow::Result<Found> {
    let name = format!(".highwater-calibrate-node-{}", std::process::id());
    let folder = Scratch::fresh(bench.place.dir().join(name))?;
    let peer = bench.placement.generator;
    let config = NodeConfig {
        cpus: bench.placement.shards.clone(),
        helper_cpus: peer.into_iter().collect(),
        retention_bytes: Some(512 << 20),
        ..NodeConfig::new(engine, folder.path())
    };
    let mut node = Node::start(config).context("start a shard")?;
    let mut producer = node.shards()[0].producer.take().context("a node's producer is there to be taken")?;
    thread::sleep(SETTLE);
    let mut found = Found::default();
    let mut acknowledged = 0;
    for _ in 0..bench.rounds {
        if bench.interrupts.any() {
            return Ok(Found::default());
        }
        let lab = bench.lab.as_mut().context("the instruments were lost by a case that failed")?;
        let before = sample(lab, Case::Flush)?;
        let window = thread::scope(|scope| {
            let window = scope.spawn(|| {
                pin(peer).context("run on the peer's core")?;
                closed_loop(&mut producer)
            });
            window.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let (acks, took) = window?;
        let after = sample(lab, Case::Flush)?;
        acknowledged += acks;
        found.pairs.push(Pair { figure: acks as f64 / took.as_secs_f64(), ceiling: (before + after) / 2.0 });
    }
    let report = node.stop(Stop { drain: Duration::ZERO, close: true }).context("stop the shard")?;
    let flushes: u64 = report.shards.iter().map(|shard| shard.engine.flushes).sum();
    ensure!(
        acknowledged <= flushes * PRODUCERS,
        "{acknowledged} acknowledgements of {PRODUCERS} producers after {flushes} flushes: some had none to cover them"
    );
    found.binds.push(format!("{:.1} messages a flush", acknowledged as f64 / flushes.max(1) as f64));
    Ok(found)
}

/// Keeps [`PRODUCERS`] messages under way for a window and takes in the last: how many were acknowledged, in which time.
fn closed_loop(producer: &mut Producer) -> anyhow::Result<(u64, Duration)> {
    let encoded = Encoded::new(1, 1 << 10);
    let begun = Instant::now();
    let (mut under_way, mut acknowledged, mut refused) = (0, 0, 0);
    loop {
        let took = begun.elapsed();
        while under_way < PRODUCERS && took < WINDOW {
            let Some(place) = producer.reserve(encoded.bytes().len()) else { break };
            place.copy_from_slice(encoded.bytes());
            producer.publish(0, 1);
            under_way += 1;
        }
        producer.flush();
        producer.acks(|ack| {
            under_way -= u64::from(ack.batches);
            acknowledged += u64::from(ack.batches);
            refused += u64::from(ack.batches) * u64::from(ack.outcome != Outcome::Kept);
        });
        ensure!(refused == 0, "{refused} messages were not kept");
        if took >= WINDOW && under_way == 0 {
            return Ok((acknowledged, took));
        }
        ensure!(took < WINDOW + DRAIN, "{under_way} messages were not acknowledged within {} s", DRAIN.as_secs());
        std::hint::spin_loop();
    }
}
