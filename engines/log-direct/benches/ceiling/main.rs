//! How far the engine is from the device: each case runs beside a bare io_uring loop on a file in the same directory, in turns, five
//! times; the median of each and their ratio are printed.
//!
//! `cargo bench -p log-direct --bench ceiling [-- WORD...]` runs the cases whose names contain one of the words. The files lie in
//! `target/tmp`, or in `HIGHWATER_TEST_DIR`; they need 3 GiB.

mod load;
mod raw;

use load::{LOG, Load, batch_of};
use log_api::{CounterSnapshot, EngineConfig, Level, LogEngine, Read, ReadKind};
use log_direct::Direct;
use log_mmap::Mmap;
use log_testkit::directory;
use raw::{Raw, Work};
use shard_ring::{ExecutorConfig, Ring, block_on, sleep};
use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

/// One measurement of either side.
const SAMPLE: Duration = Duration::from_millis(700);
const SAMPLES: usize = 5;
/// After an open the next segment is made ready; it would be measured too.
const SETTLES_IN: Duration = Duration::from_millis(1500);

/// A log in memory is more than what is in flight; blocks that have left the processor's caches cost the device's driver more.
const TAIL_CACHE_BYTES: usize = 8 << 20;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn config(dir: &std::path::Path, level: Level) -> EngineConfig {
    EngineConfig {
        durable: level == Level::Durable,
        tail_cache_bytes: TAIL_CACHE_BYTES as u64,
        helper_cpus: vec![1],
        ..EngineConfig::new(dir)
    }
}

/// Runs on a shard that is pinned to the first core, in a fresh directory.
fn on_shard<F: Future<Output = ()> + 'static>(body: impl FnOnce(Ring, PathBuf) -> F + Send + 'static) {
    let dir = directory();
    let path = dir.path().to_path_buf();
    let executor = ExecutorConfig { cpu: Some(0), ..ExecutorConfig::default() };
    block_on(executor, move |ring| body(ring, path)).expect("a shard");
}

async fn direct(ring: &Ring, config: EngineConfig) -> Direct {
    let engine = Direct::new(ring, config).await.expect("an engine in a fresh directory");
    engine.open(LOG).await.expect("a new log");
    sleep(SETTLES_IN).await;
    engine
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn say(case: &str, unit: &str, engine: &mut [f64], ceiling: &mut [f64], what: &str) {
    let spread = |samples: &[f64]| format!("{:.0}-{:.0}", samples[0], samples[samples.len() - 1]);
    let (mine, raw) = (median(engine), median(ceiling));
    let ratio = mine / raw;
    println!(
        "{case:<34} {mine:>9.0} ({}) {unit}   {what} {raw:>9.0} ({})   ratio {ratio:.2}",
        spread(engine),
        spread(ceiling)
    );
}

fn costs(spent: &CounterSnapshot) {
    println!(
        "{:36}writes {} flushes {} tail waits {} bytes {:.3} rolls {} waited {} prepared {} MiB",
        "",
        spent.writes,
        spent.flushes,
        spent.tail_waits,
        spent.written_bytes as f64 / spent.appended_bytes.max(1) as f64,
        spent.rolls,
        spent.rolls_waited,
        spent.prepared_bytes >> 20
    );
}

/// Batches of about `bytes`, each a commit of its own, `depth` in flight, against the same blocks at the same depth.
fn pipelined(name: String, level: Level, bytes: usize, depth: usize) {
    on_shard(move |ring, dir| async move {
        let raw = Raw::new(&dir).expect("a file for the loop");
        let mut load = Load::new(direct(&ring, config(&dir, level)).await, level, depth, true);
        // Not a multiple of a page: no log's batches are.
        let batch = batch_of(bytes - 100);
        load.pour(&batch, 1, SAMPLE).await;
        let before = load.engine.counters().snapshot();
        let (mut mine, mut ceiling, mut spread) = (Vec::new(), Vec::new(), Vec::new());
        let work = if level == Level::Durable { Work::WriteDurably } else { Work::Write };
        for _ in 0..SAMPLES {
            ceiling.push(raw.run(work, bytes, depth, 0, SAMPLE).expect("the loop").bytes_a_second / 1e6);
            spread.push(raw.run(work, bytes, depth, TAIL_CACHE_BYTES, SAMPLE).expect("the loop").bytes_a_second / 1e6);
            mine.push(load.pour(&batch, 1, SAMPLE).await / 1e6);
        }
        say(&name, "MB/s", &mut mine, &mut ceiling, "raw");
        say("", "MB/s", &mut mine, &mut spread, "raw from as much memory");
        costs(&load.engine.counters().snapshot().since(&before));
        load.end().await;
    });
}

/// Producers that wait for each acknowledgement, one message of 1 KB at a time, behind `depth` commits in flight: messages a second times
/// the latency of a bare flush.
fn producers(count: usize, depth: usize) {
    on_shard(move |ring, dir| async move {
        let raw = Raw::new(&dir).expect("a file for the loop");
        let mut load = Load::new(direct(&ring, config(&dir, Level::Durable)).await, Level::Durable, depth, true);
        let batch = batch_of(1000);
        let (mut mine, mut latency) = (Vec::new(), Vec::new());
        let before = load.engine.counters().snapshot();
        for _ in 0..SAMPLES {
            latency.push(raw.run(Work::WriteDurably, 4 * KIB, 1, 0, SAMPLE).expect("the loop").latency * 1e6);
            // All whose acknowledgement has come append again; each commit takes what has come meanwhile.
            let (started, mut acknowledged) = (Instant::now(), 0);
            let share = count.div_ceil(depth);
            while started.elapsed() < SAMPLE {
                load.may_commit().await;
                for _ in 0..share {
                    load.append(&batch).await;
                }
                load.commit().await;
                acknowledged += share;
            }
            load.settle().await;
            mine.push(acknowledged as f64 / started.elapsed().as_secs_f64());
        }
        let spent = load.engine.counters().snapshot().since(&before);
        let (rate, flush) = (median(&mut mine), median(&mut latency));
        println!(
            "{:<34} {rate:>9.0} acks/s   bare flush {flush:.0} us   {:.1} acks a flush latency   {:.1} messages a flush",
            format!("producers/{count}/inflight:{depth}"),
            rate * flush / 1e6,
            spent.appended_batches as f64 / spent.flushes as f64
        );
        load.end().await;
    });
}

/// A cold log read through in order, against reads of the same blocks.
fn scan() {
    const LOG_BYTES: u64 = 1 << 30;
    on_shard(move |ring, dir| async move {
        let raw = Raw::new(&dir).expect("a file for the loop");
        let config = EngineConfig { tail_cache_bytes: 0, ..config(&dir, Level::Placed) };
        let mut load = Load::new(direct(&ring, config).await, Level::Placed, 4, false);
        let batch = batch_of(100 * KIB);
        while load.engine.counters().appended_bytes.get() < LOG_BYTES {
            load.pour(&batch, MIB, Duration::from_millis(20)).await;
        }
        sleep(SETTLES_IN).await;
        let (mut mine, mut ceiling, mut deep) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            ceiling.push(raw.run(Work::Read, 512 * KIB, 4, 0, SAMPLE).expect("the loop").bytes_a_second / 1e6);
            deep.push(raw.run(Work::Read, MIB, 8, 0, SAMPLE).expect("the loop").bytes_a_second / 1e6);
            let marks = load.engine.marks(LOG);
            let (started, mut from, mut bytes) = (Instant::now(), marks.start, 0);
            while from < marks.placed {
                let read = Read { from, until: marks.placed, bytes_max: 512 << 10, kind: ReadKind::Scan };
                let chunk = load.engine.read(LOG, read).await.expect("a read");
                (from, bytes) = (chunk.next, bytes + chunk.bytes);
            }
            mine.push(bytes as f64 / started.elapsed().as_secs_f64() / 1e6);
        }
        say("scan/512KiB", "MB/s", &mut mine, &mut ceiling, "raw at depth 4");
        say("scan/512KiB", "MB/s", &mut mine, &mut deep, "raw 1 MiB at depth 8");
        load.end().await;
    });
}

/// Batches of 64 KiB, one commit at a time: acknowledgements within 10 ms of a roll against the others.
fn rolls(level: Level, name: &str) {
    const ROLLS: u64 = 64;
    const NEAR: Duration = Duration::from_millis(10);
    let name = name.to_owned();
    on_shard(move |ring, dir| async move {
        let config = EngineConfig { segment_bytes: 32 << 20, ..config(&dir, level) };
        let mut load = Load::new(direct(&ring, config).await, level, 1, true);
        let batch = batch_of(64 * KIB - 100);
        load.pour(&batch, 1, SAMPLE).await;
        let before = load.engine.counters().snapshot();
        let (mut acknowledged, mut rolled) = (Vec::new(), Vec::new());
        let mut known = before.rolls;
        while known < before.rolls + ROLLS {
            let started = Instant::now();
            load.append(&batch).await;
            load.commit().await;
            load.settle().await;
            acknowledged.push((Instant::now(), started.elapsed()));
            let now = load.engine.counters().rolls.get();
            if now > known {
                known = now;
                rolled.push(started);
            }
        }
        let near = |at: &Instant| {
            let after = rolled.partition_point(|roll| roll <= at);
            let before = after.checked_sub(1).is_some_and(|index| *at - rolled[index] < NEAR);
            before || rolled.get(after).is_some_and(|roll| *roll - *at < NEAR)
        };
        let (mut close, mut rest): (Vec<_>, Vec<_>) = acknowledged.iter().partition(|(at, _)| near(at));
        let p99 = |samples: &mut Vec<&(Instant, Duration)>| {
            samples.sort_unstable_by_key(|(_, latency)| *latency);
            (
                samples[samples.len() * 99 / 100].1.as_secs_f64() * 1e6,
                samples.last().expect("some").1.as_secs_f64() * 1e6,
            )
        };
        let (counted, (at_rolls, worst), (elsewhere, worst_elsewhere)) = (close.len(), p99(&mut close), p99(&mut rest));
        println!(
            "{:<34} p99 {at_rolls:.0} us near {} rolls ({counted} of {}), {elsewhere:.0} us elsewhere   ratio {:.2}   (worst {worst:.0}, {worst_elsewhere:.0})",
            format!("roll/{name}"),
            rolled.len(),
            acknowledged.len(),
            at_rolls / elsewhere
        );
        costs(&load.engine.counters().snapshot().since(&before));
        load.end().await;
    });
}

/// Messages of 1 KB, each a batch of its own, not flushed: the rate against that of the mapping, which one copy brings into the kernel.
fn small_messages() {
    on_shard(move |ring, dir| async move {
        let config = |name: &str| config(&dir.join(name), Level::Placed);
        let mut mine = Load::new(direct(&ring, config("direct")).await, Level::Placed, 4, true);
        let mapping = Mmap::new(&ring, config("mmap")).await.expect("an engine in a fresh directory");
        mapping.open(LOG).await.expect("a new log");
        sleep(SETTLES_IN).await;
        let mut mapping = Load::new(mapping, Level::Placed, 4, true);
        let batch = batch_of(1000);
        mine.pour(&batch, MIB, SAMPLE).await;
        mapping.pour(&batch, MIB, SAMPLE).await;
        let before = mine.engine.counters().snapshot();
        let (mut rates, mut others) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            rates.push(mine.pour(&batch, MIB, SAMPLE).await / 1e6);
            others.push(mapping.pour(&batch, MIB, SAMPLE).await / 1e6);
        }
        say("messages/1KB/none", "MB/s", &mut rates, &mut others, "mmap");
        costs(&mine.engine.counters().snapshot().since(&before));
        mine.end().await;
        mapping.end().await;
    });
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    for (bytes, label) in [(64 * KIB, "64KiB"), (MIB, "1MiB")] {
        for depth in [1, 8] {
            let name = format!("none/{label}/depth {depth}");
            if wanted(&name) {
                pipelined(name, Level::Placed, bytes, depth);
            }
        }
    }
    for (bytes, label) in [(16 * KIB, "16KiB"), (64 * KIB, "64KiB"), (256 * KIB, "256KiB")] {
        for depth in [1, 4, 8] {
            let name = format!("durable/{label}/depth {depth}");
            if wanted(&name) {
                pipelined(name, Level::Durable, bytes, depth);
            }
        }
    }
    for (count, depth) in [(8, 1), (64, 1), (64, 2), (256, 1)] {
        if wanted(&format!("producers/{count}/inflight:{depth}")) {
            producers(count, depth);
        }
    }
    if wanted("scan") {
        scan();
    }
    for (level, name) in [(Level::Durable, "durable"), (Level::Placed, "none")] {
        if wanted(&format!("roll/{name}")) {
            rolls(level, name);
        }
    }
    if wanted("messages") {
        small_messages();
    }
}
