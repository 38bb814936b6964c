//! Every engine's appends and reads, without broker and sockets: what the mechanism does here.
//!
//! `cargo bench -p log-testkit --bench engines [-- <engine>/...]`. The logs lie in `target/tmp`, or in `HIGHWATER_TEST_DIR`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_api::{Batch, EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind};
use log_format::Template;
use log_testkit::{EngineUnderTest, directory, under_test};
use shard_ring::{ExecutorConfig, ExecutorHandle, Ring, block_on, sleep, spawn_executor};
use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

under_test!(Direct: log_direct::Direct);
under_test!(Memory: log_memory::Memory);
under_test!(Mmap: log_mmap::Mmap);
under_test!(PageCache: log_pagecache::PageCache);

const LOG: LogId = LogId(0);

/// Batches of this many bytes, about: the template adds 61 bytes and a few a record.
const BATCH_BYTES: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// Bytes that a read goes through: they stay in the page cache, if the engine uses it.
const READ_BYTES: u64 = 128 << 20;

async fn start<E: EngineUnderTest>(ring: &Ring, dir: &Path, level: Level, tail_cache_bytes: u64) -> E::Engine {
    let config = EngineConfig { tail_cache_bytes, durable: level == Level::Durable, ..EngineConfig::new(dir) };
    let engine = E::start(ring, config).await.expect("an engine in a fresh directory");
    engine.open(LOG).await.expect("a new log");
    engine
}

fn encoded(value_bytes: usize) -> Vec<u8> {
    let template = Template::new(1, value_bytes);
    let mut batch = vec![0; template.bytes()];
    template.write(&mut batch);
    batch
}

async fn append<E: LogEngine>(engine: &E, batch: &[u8], level: Level) {
    while engine.append(LOG, &[Batch::verified(batch, 1)]).is_err() {
        engine.commit(&[engine.group(LOG)], level).await.expect("a commit");
        engine.trim(LOG, engine.marks(LOG).durable).await.expect("a trim");
        engine.room(LOG, batch.len() as u64).await;
    }
}

/// An engine on a shard of its own that appends and commits batches one at a time, as often as it is asked to.
///
/// It lives through all samples of a benchmark, and is left alone for [`SETTLE`] first: an engine that has just been opened
/// still prepares its next segment, and what is measured then is the preparation.
struct Appender {
    iterations: mpsc::Sender<u64>,
    took: mpsc::Receiver<Duration>,
    shard: ExecutorHandle<()>,
    _dir: tempfile::TempDir,
}

const SETTLE: Duration = Duration::from_secs(1);

impl Appender {
    fn start<E: EngineUnderTest>(bytes: usize, level: Level) -> Self {
        let (iterations, asked) = mpsc::channel();
        let (answer, took) = mpsc::channel();
        let dir = directory();
        let path = dir.path().to_path_buf();
        let body = move |ring: Ring| async move {
            let batch = encoded(bytes);
            let engine = start::<E>(&ring, &path, level, 8 << 20).await;
            sleep(SETTLE).await;
            // Nothing is in flight between two samples, so the shard may as well block.
            while let Ok(iterations) = asked.recv() {
                let started = Instant::now();
                for _ in 0..iterations {
                    append(&engine, &batch, level).await;
                    engine.commit(&[engine.group(LOG)], level).await.expect("a commit");
                }
                if answer.send(started.elapsed()).is_err() {
                    break;
                }
            }
            engine.close().await.expect("a clean end");
        };
        let shard = spawn_executor(ExecutorConfig::default(), body).expect("a shard");
        Self { iterations, took, shard, _dir: dir }
    }

    fn time(&self, iterations: u64) -> Duration {
        self.iterations.send(iterations).expect("the shard waits");
        self.took.recv().expect("the shard answers")
    }

    fn end(self) {
        drop(self.iterations);
        self.shard.join().expect("a shard without panic");
    }
}

/// Time of reading a log once through, for each iteration.
fn reads<E: EngineUnderTest>(kind: ReadKind, iterations: u64) -> Duration {
    let dir = directory();
    let path = dir.path().to_path_buf();
    let body = move |ring: Ring| async move {
        let batch = encoded(64 << 10);
        let tail_cache_bytes = if kind == ReadKind::Hot { 2 * READ_BYTES } else { 0 };
        let engine = start::<E>(&ring, &path, Level::Durable, tail_cache_bytes).await;
        while engine.counters().appended_bytes.get() < READ_BYTES {
            append(&engine, &batch, Level::Durable).await;
        }
        engine.commit(&[engine.group(LOG)], Level::Durable).await.expect("a commit");
        let until = engine.marks(LOG).placed;
        let started = Instant::now();
        for _ in 0..iterations {
            let mut from = engine.marks(LOG).start;
            while from < until {
                let read = Read { from, until, bytes_max: 512 << 10, kind };
                let next: Offset = engine.read(LOG, read).await.expect("a read").next;
                assert!(next > from, "a read that gets nowhere");
                from = next;
            }
        }
        let took = started.elapsed();
        engine.close().await.expect("a clean end");
        took
    };
    block_on(ExecutorConfig::default(), body).expect("a shard")
}

fn engine<E: EngineUnderTest>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(E::NAME);
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, level) in [("none", Level::Placed), ("durable", Level::Durable)] {
        for bytes in BATCH_BYTES {
            group.throughput(Throughput::Bytes(bytes as u64));
            let id = BenchmarkId::new(format!("append+commit/{name}"), format!("{}KiB", bytes >> 10));
            let mut appender = None;
            group.bench_function(id, |bencher| {
                let appender = appender.get_or_insert_with(|| Appender::start::<E>(bytes, level));
                bencher.iter_custom(|iterations| appender.time(iterations));
            });
            if let Some(appender) = appender {
                appender.end();
            }
        }
    }
    group.throughput(Throughput::Bytes(READ_BYTES));
    for (name, kind) in [("read/tail", ReadKind::Hot), ("read/scan", ReadKind::Scan)] {
        group.bench_function(name, |bencher| bencher.iter_custom(|iterations| reads::<E>(kind, iterations)));
    }
    group.finish();
}

criterion_group!(benches, engine::<Memory>, engine::<Mmap>, engine::<PageCache>, engine::<Direct>);
criterion_main!(benches);
