//! Append and commit at `none` (placed) and `durable`, and a cold sequential read: what the mechanism does here, without broker and sockets.
//!
//! `cargo bench -p log-direct --bench append`. The logs lie in `target/tmp`, or in `HIGHWATER_TEST_DIR`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_api::{EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind};
use log_direct::Direct;
use log_format::Template;
use log_testkit::directory;
use std::time::{Duration, Instant};

const LOG: LogId = LogId(0);

/// Batches of this many bytes, about: the template adds 61 bytes and a few a record.
const BATCH_BYTES: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// Bytes that a cold read goes through.
const COLD_BYTES: u64 = 256 << 20;

async fn engine(ring: &shard_ring::Ring, dir: &std::path::Path, tail_cache_bytes: u64) -> Direct {
    let config = EngineConfig { tail_cache_bytes, ..EngineConfig::new(dir) };
    let engine = Direct::new(ring, config).await.expect("an engine in a fresh directory");
    engine.open(LOG).await.expect("a new log");
    engine
}

async fn append(engine: &Direct, batch: &[u8]) {
    let batch = log_api::Batch::verified(batch, 1);
    while engine.append(LOG, &[batch]).is_err() {
        engine.commit(&[engine.group(LOG)], Level::Placed).await.expect("a commit");
        engine.room(LOG, batch.bytes().len() as u64).await;
        let done = engine.marks(LOG).durable;
        engine.trim(LOG, done).await.expect("a trim");
    }
}

/// Time of `iterations` appends, each committed alone.
fn appends(bytes: usize, level: Level, iterations: u64) -> Duration {
    let dir = directory();
    let path = dir.path().to_path_buf();
    shard_ring::block_on(shard_ring::ExecutorConfig::default(), move |ring| async move {
        let template = Template::new(1, bytes);
        let mut batch = vec![0; template.bytes()];
        template.write(&mut batch);
        let engine = engine(&ring, &path, 8 << 20).await;
        let start = Instant::now();
        for _ in 0..iterations {
            append(&engine, &batch).await;
            engine.commit(&[engine.group(LOG)], level).await.expect("a commit");
        }
        let took = start.elapsed();
        engine.close().await.expect("a clean end");
        took
    })
    .expect("a shard")
}

/// Time of reading a cold log once through, for each iteration.
fn cold_reads(iterations: u64) -> Duration {
    let dir = directory();
    let path = dir.path().to_path_buf();
    shard_ring::block_on(shard_ring::ExecutorConfig::default(), move |ring| async move {
        let template = Template::new(64, 1 << 10);
        let mut batch = vec![0; template.bytes()];
        template.write(&mut batch);
        let engine = engine(&ring, &path, 0).await;
        while engine.counters().appended_bytes.get() < COLD_BYTES {
            let views = [log_api::Batch::verified(&batch, 64)];
            if engine.append(LOG, &views).is_err() {
                engine.commit(&[engine.group(LOG)], Level::Placed).await.expect("a commit");
                engine.room(LOG, batch.len() as u64).await;
            }
        }
        engine.commit(&[engine.group(LOG)], Level::Durable).await.expect("a commit");
        let until = engine.marks(LOG).placed;
        let start = Instant::now();
        for _ in 0..iterations {
            let mut from = Offset(0);
            while from < until {
                let read = Read { from, until, bytes_max: 512 << 10, kind: ReadKind::Scan };
                from = engine.read(LOG, read).await.expect("a read").next;
            }
        }
        let took = start.elapsed();
        engine.close().await.expect("a clean end");
        took
    })
    .expect("a shard")
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("direct");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, level) in [("none", Level::Placed), ("durable", Level::Durable)] {
        for bytes in BATCH_BYTES {
            group.throughput(Throughput::Bytes(bytes as u64));
            let id = BenchmarkId::new(format!("append+commit/{name}"), format!("{}KiB", bytes >> 10));
            group.bench_function(id, |bencher| bencher.iter_custom(|iterations| appends(bytes, level, iterations)));
        }
    }
    group.throughput(Throughput::Bytes(COLD_BYTES));
    group.bench_function("read/cold sequential", |bencher| bencher.iter_custom(cold_reads));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
