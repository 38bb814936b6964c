//! Ten thousand partitions that share a log, beside one partition with a log of its own: the same messages through the same shard, from as many
//! producers as in [`super::producers`], or as many as the shard takes.

use super::{Bench, EngineCase, Found, Pair, producers::PRODUCERS, row::Goal, through_shard::Loaded};
use crate::cost::threads::Threads;
use broker::{EngineKind, Layout, NodeConfig};
use std::time::Instant;

/// Partitions of the group.
const PARTITIONS: u32 = 10_000;
/// Share of one partition's rate that they must reach.
const GOAL: f64 = 0.7;
/// Bytes that each of the two logs keeps.
const KEPT_BYTES: u64 = 512 << 20;
/// Bytes after which each of them overwrites segments that it gave up, as a log does for most of its life: what it keeps, and the eight segments
/// that are new in between.
const FILLED_BYTES: u64 = KEPT_BYTES + 8 * (128 << 20);
/// The intake is always full: what does not fit there waits with the producer.
const FLOOD: u64 = u64::MAX;

pub(super) fn cases() -> Vec<EngineCase> {
    let loads = [("durable, 10,000 partitions", PRODUCERS), ("durable, 10,000 partitions, flood", FLOOD)];
    loads
        .into_iter()
        .flat_map(|(name, under_way)| EngineKind::DISK.map(|engine| case(name, engine, under_way)))
        .collect()
}

fn case(name: &str, engine: EngineKind, under_way_max: u64) -> EngineCase {
    EngineCase {
        name: name.to_owned(),
        engine,
        unit: "msg/s",
        ceiling: "one partition with a log of its own".to_owned(),
        goal: Goal::AtLeast(GOAL),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| measure(bench, engine, under_way_max)),
    }
}

fn measure(bench: &mut Bench<'_>, engine: EngineKind, under_way_max: u64) -> anyhow::Result<Found> {
    let start = |name, layout, partitions| {
        Loaded::start(bench, engine, name, |config| NodeConfig {
            layout,
            partitions,
            retention_bytes: Some(KEPT_BYTES / u64::from(partitions)),
            ..config
        })
    };
    let mut one = start("one", Layout::Partition, 1)?;
    let mut many = start("many", Layout::Group(None), PARTITIONS)?;
    for log in [&mut one, &mut many] {
        if bench.interrupts.any() {
            return Ok(Found::default());
        }
        log.fill(FILLED_BYTES)?;
    }
    Loaded::settle();
    let mut found = Found::default();
    let (mut busy_s, mut took_s) = (0.0, 0.0);
    for _ in 0..bench.rounds {
        if bench.interrupts.any() {
            return Ok(Found::default());
        }
        let ceiling = one.window(under_way_max)?;
        let (before, begun) = (Threads::sample(), Instant::now());
        let figure = many.window(under_way_max)?;
        busy_s += Threads::sample().since(&before).shards.cpu_ns as f64 / 1e9;
        took_s += begun.elapsed().as_secs_f64();
        found.pairs.push(Pair { figure, ceiling });
    }
    let (one, many) = (one.stop()?, many.stop()?);
    found.binds.push(format!("the shard's core: {:.0} % busy", 100.0 * busy_s / took_s));
    found.binds.push(format!(
        "{:.1} messages a flush, {:.1} with one partition; {} segments new and {} used again",
        many.messages_a_flush(),
        one.messages_a_flush(),
        many.zeroed,
        many.recycled
    ));
    Ok(found)
}
