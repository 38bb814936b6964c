//! The roll to the next segment: is it seen in the tail of the latencies?

use super::{
    Bench, EngineCase, Found, Pair,
    appends::Encoded,
    in_process::{self, Log, Measurement, timed},
    row::Goal,
};
use crate::calibrate::lab::Lab;
use broker::EngineKind;
use log_api::{EngineConfig, Level, LogEngine};
use shard_ring::yield_now;
use std::time::{Duration, Instant};

/// Bytes of a segment: at a few hundred MB/s it lasts several times [`NEAR`].
const SEGMENT_BYTES: u64 = 16 << 20;
/// Rolls of a window: enough appends near them for a p99 where each takes half a millisecond.
const ROLLS: u64 = 24;
/// Bytes of a batch.
const BATCH_BYTES: usize = 32 << 10;
/// An append is near a roll when it begins or ends within this of it.
const NEAR: Duration = Duration::from_millis(10);
/// Samples that a p99 needs.
const SAMPLES_MIN: usize = 500;

pub(super) fn cases() -> Vec<EngineCase> {
    EngineKind::DISK.map(case).into()
}

fn case(engine: EngineKind) -> EngineCase {
    EngineCase {
        name: "durable, p99 within 10 ms of a roll".to_owned(),
        engine,
        unit: "ns",
        ceiling: "p99 of the rest".to_owned(),
        goal: Goal::AtMost(2.0),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            let configure = |config| EngineConfig { segment_bytes: SEGMENT_BYTES, ..config };
            in_process::run(bench, engine, configure, Rolls)
        }),
    }
}

/// An append with its commit.
#[derive(Clone, Copy, Debug)]
struct Append {
    begun: Instant,
    took: Duration,
}

struct Rolls;

impl Measurement for Rolls {
    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, _lab: &mut Lab) -> anyhow::Result<Pair> {
        let (played, _) = timed(play(log)).await;
        let (appends, rolls) = played?;
        compare(&appends, &rolls)
    }
}

/// Appends and commits, one after the other, over [`ROLLS`] rolls and on for as long as an append can be near one.
async fn play<E: LogEngine>(log: &Log<E>) -> anyhow::Result<(Vec<Append>, Vec<Instant>)> {
    let encoded = Encoded::new(1, BATCH_BYTES);
    let (mut appends, mut rolls) = (Vec::new(), Vec::new());
    let mut seen = log.engine.counters().rolls.get();
    loop {
        let begun = Instant::now();
        log.append(encoded.batch(), Level::Durable).await?;
        let now = log.engine.counters().rolls.get();
        if now != seen {
            rolls.push(Instant::now());
            seen = now;
        }
        log.commit(Level::Durable).await?;
        appends.push(Append { begun, took: begun.elapsed() });
        if rolls.len() as u64 > ROLLS || (rolls.len() as u64 == ROLLS && rolls[rolls.len() - 1].elapsed() > 2 * NEAR) {
            return Ok((appends, rolls));
        }
        yield_now().await;
    }
}

/// The p99 of appends near a roll, and of the others.
fn compare(appends: &[Append], rolls: &[Instant]) -> anyhow::Result<Pair> {
    let is_near = |append: &Append| {
        let end = append.begun + append.took;
        rolls.iter().any(|roll| append.begun <= *roll + NEAR && end + NEAR >= *roll)
    };
    let (near, rest): (Vec<Append>, Vec<Append>) = appends.iter().copied().partition(is_near);
    anyhow::ensure!(
        near.len() >= SAMPLES_MIN && rest.len() >= SAMPLES_MIN,
        "{} appends near a roll and {} others: a p99 needs {SAMPLES_MIN} of each",
        near.len(),
        rest.len()
    );
    Ok(Pair { figure: p99_ns(&near), ceiling: p99_ns(&rest) })
}

fn p99_ns(appends: &[Append]) -> f64 {
    let mut sorted: Vec<Duration> = appends.iter().map(|append| append.took).collect();
    sorted.sort_unstable();
    sorted[sorted.len() * 99 / 100].as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn appends_near_a_roll_are_told_from_the_rest() {
        let start = Instant::now();
        let roll = start + 100_000 * US;
        // One each 100 us; those within 10 ms of the roll take 3 ms, and one that begins before reaches into it.
        let append = |n: u32| {
            let begun = start + n * 100 * US;
            let near = begun + 3_000 * US + NEAR >= roll && begun <= roll + NEAR;
            Append { begun, took: if near { 3_000 * US } else { 200 * US } }
        };
        let appends: Vec<Append> = (0..10_000).map(append).collect();
        let many: Vec<Append> = appends.iter().cycle().take(40_000).copied().collect();
        let pair = compare(&many, &[roll]).unwrap();
        assert_eq!((pair.figure, pair.ceiling), (3e6, 2e5));
        assert!(compare(&appends, &[]).unwrap_err().to_string().contains("0 appends near a roll"));
    }
}
