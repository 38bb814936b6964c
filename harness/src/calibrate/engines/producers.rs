//! Closed-loop producers through a broker's shard: how many acknowledgements fit into the time of one bare flush.

use super::{Bench, EngineCase, Found, Pair, in_process::sample, row::Goal, through_shard::Loaded};
use crate::calibrate::Case;
use anyhow::{Context, ensure};
use broker::{EngineKind, NodeConfig};

/// Producers, each with one message under way.
pub(super) const PRODUCERS: u64 = 64;
/// Acknowledgements that one raw flush latency must hold.
const GOAL: f64 = 28.0;

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
    let told = |config| NodeConfig { retention_bytes: Some(512 << 20), ..config };
    let mut shard = Loaded::start(bench, engine, "producers", told)?;
    Loaded::settle();
    let mut found = Found::default();
    for _ in 0..bench.rounds {
        if bench.interrupts.any() {
            return Ok(Found::default());
        }
        let lab = bench.lab.as_mut().context("the instruments were lost by a case that failed")?;
        let before = sample(lab, Case::Flush)?;
        let figure = shard.window(PRODUCERS)?;
        let after = sample(lab, Case::Flush)?;
        found.pairs.push(Pair { figure, ceiling: (before + after) / 2.0 });
    }
    let life = shard.stop()?;
    ensure!(
        life.acknowledged <= life.flushes * PRODUCERS,
        "{} acknowledgements of {PRODUCERS} producers after {} flushes: some had none to cover them",
        life.acknowledged,
        life.flushes
    );
    found.binds.push(format!("{:.1} messages a flush", life.messages_a_flush()));
    Ok(found)
}
