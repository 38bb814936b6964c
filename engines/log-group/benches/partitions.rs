//! What partitions cost: the same durable appends to one partition, to ten thousand that share a log, and to some that have logs of their own.
//!
//! `cargo bench -p log-group --bench partitions`. Each case is sampled five times, the cases one after the other in each round, so that what the
//! device does meanwhile meets all of them; the table shows medians, and each as a share of one partition in a group. The logs lie in
//! `target/tmp`, or in `HIGHWATER_TEST_DIR`.

use log_api::{Batch, EngineConfig, Level, LogEngine, LogId, OpenError};
use log_format::Template;
use log_group::{Grouping, LogGroup, inner_config};
use log_testkit::directory;
use shard_ring::{ExecutorConfig, Ring, block_on};
use std::time::{Duration, Instant};

const SAMPLES: usize = 5;
const SAMPLE: Duration = Duration::from_millis(1200);

/// Batches of one commit: 64 producers, each with one message of 1 KB on its way.
const BATCHES_A_COMMIT: u32 = 64;
const VALUE_BYTES: usize = 1024;

/// Partitions with logs of their own: each has three segments of a mebibyte, so ten thousand would not fit most disks.
const OWN_LOGS: u32 = 256;

/// Messages a second, and flushes for each thousand of them.
type Figure = (f64, f64);

async fn run<E: LogEngine>(engine: E, partitions: u32) -> Result<Figure, OpenError> {
    for partition in 0..partitions {
        engine.open(LogId(partition)).await?;
    }
    let template = Template::new(1, VALUE_BYTES);
    let mut batch = vec![0; template.bytes()];
    template.write(&mut batch);
    let before = engine.counters().snapshot();
    let (started, mut appended) = (Instant::now(), 0u32);
    while started.elapsed() < SAMPLE {
        let mut groups = Vec::new();
        for _ in 0..BATCHES_A_COMMIT {
            // A prime, so that neighbours in time are not neighbours in number.
            let partition = LogId((u64::from(appended) * 7_919 % u64::from(partitions)) as u32);
            while engine.append(partition, &[Batch::verified(&batch, 1)]).is_err() {
                engine.commit(&groups, Level::Durable).await.expect("a commit");
                engine.room(partition, batch.len() as u64).await;
            }
            appended += 1;
            let group = engine.group(partition);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        engine.commit(&groups, Level::Durable).await.expect("a commit");
    }
    let seconds = started.elapsed().as_secs_f64();
    let spent = engine.counters().snapshot().since(&before);
    engine.close().await.expect("a clean end");
    Ok((f64::from(appended) / seconds, spent.flushes as f64 * 1e3 / f64::from(appended)))
}

/// The cases of one engine: what a sample gives, by name.
macro_rules! cases {
    ($engine:ty, $segment_bytes:expr) => {{
        let sample = |partitions: u32, grouped: bool| {
            let dir = directory();
            let config = EngineConfig {
                segment_bytes: if grouped {
                    $segment_bytes
                } else {
                    ($segment_bytes / u64::from(partitions)).max(1 << 20)
                },
                ..EngineConfig::new(dir.path())
            };
            block_on(ExecutorConfig::default(), move |ring: Ring| async move {
                if grouped {
                    let inner = <$engine>::new(&ring, inner_config(&config, &<$engine as LogEngine>::CAPABILITIES))
                        .await
                        .expect("an engine");
                    let engine = LogGroup::new(&ring, inner, config, Grouping::all()).expect("a group");
                    run(engine, partitions).await
                } else {
                    run(<$engine>::new(&ring, config).await.expect("an engine"), partitions).await
                }
            })
            .expect("a shard")
            .expect("logs that open")
        };
        let cases = [
            ("group", 1, true),
            ("group", 100, true),
            ("group", 10_000, true),
            ("partition", 1, false),
            ("partition", OWN_LOGS, false),
        ];
        let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); cases.len()];
        for _ in 0..SAMPLES {
            for (case, figures) in cases.iter().zip(&mut figures) {
                figures.push(sample(case.1, case.2));
            }
        }
        let name = <$engine as LogEngine>::CAPABILITIES.name;
        let medians: Vec<Figure> = figures.iter_mut().map(|figures| median(figures)).collect();
        for ((layout, partitions, _), median) in cases.iter().zip(&medians) {
            println!(
                "{name:<10} {layout:<10} {partitions:>10} {:>12.0} {:>8.0} % {:>12.1}",
                median.0,
                100.0 * median.0 / medians[0].0,
                median.1
            );
        }
    }};
}

fn median(figures: &mut [Figure]) -> Figure {
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    figures[figures.len() / 2]
}

fn main() {
    println!(
        "{:<10} {:<10} {:>10} {:>12} {:>10} {:>12}",
        "engine", "layout", "partitions", "messages/s", "of one", "flushes/1000"
    );
    cases!(log_direct::Direct, 64 << 20);
    cases!(log_mmap::Mmap, 64 << 20);
    cases!(log_pagecache::PageCache, 64 << 20);
}
