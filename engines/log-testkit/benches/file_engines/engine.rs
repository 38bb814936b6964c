//! The engines doing the same: appends and commits through the contract, on a pinned shard, in a fresh directory.

use log_api::{AppendError, Batch, CounterSnapshot, EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind};
use log_testkit::{EngineUnderTest, directory};
use shard_ring::{Event, ExecutorConfig, Ring, RingConfig, block_on, sleep, spawn_local, yield_now};
use std::{
    cell::Cell,
    future::Future,
    hint::black_box,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const LOG: LogId = LogId(0);

/// Where helper threads and the kernel's workers run.
pub(crate) static HELPER_CPU: AtomicUsize = AtomicUsize::new(1);

/// What an engine prepares when it opens is done after this long.
const SETTLE: Duration = Duration::from_millis(1500);

/// How a run is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) batches: Arc<Vec<Vec<u8>>>,
    pub(crate) records: u32,
    pub(crate) level: Level,
    pub(crate) segment_bytes: u64,
}

/// What a run did.
pub(crate) struct Ran {
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) counters: CounterSnapshot,
}

impl Setup {
    fn run<E: EngineUnderTest, T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        body: impl FnOnce(Rc<E::Engine>, Self) -> F + Send + 'static,
    ) -> T {
        let dir = directory();
        let path = dir.path().to_path_buf();
        let setup = self.clone();
        let ring = RingConfig { worker_cpus: vec![HELPER_CPU.load(Ordering::Relaxed)], ..RingConfig::default() };
        let executor = ExecutorConfig { cpu: Some(0), ring, ..ExecutorConfig::default() };
        let shard = move |ring: Ring| async move {
            let config = EngineConfig {
                durable: setup.level == Level::Durable,
                segment_bytes: setup.segment_bytes,
                helper_cpus: vec![HELPER_CPU.load(Ordering::Relaxed)],
                ..EngineConfig::new(path)
            };
            let engine = Rc::new(E::start(&ring, config).await.expect("an engine in a fresh directory"));
            engine.open(LOG).await.expect("a new log");
            sleep(SETTLE).await;
            crate::raw::warm();
            let result = body(engine.clone(), setup).await;
            let engine = Rc::into_inner(engine).expect("the tasks of the run have ended");
            engine.close().await.expect("a clean end");
            result
        };
        block_on(executor, shard).expect("a shard")
    }

    /// Appends `bytes` bytes; a commit each `gather` bytes. `check`: each batch is verified first, as the shard does.
    pub(crate) fn appends<E: EngineUnderTest>(&self, bytes: u64, gather: u64, check: bool) -> Ran {
        self.run::<E, _, _>(move |engine, setup| async move {
            let before = engine.counters().snapshot();
            let started = Instant::now();
            let (mut appended, mut staged, mut turn) = (0, 0, 0);
            for batch in setup.batches.iter().cycle() {
                if appended >= bytes {
                    break;
                }
                if check {
                    log_format::verify(batch).expect("a batch");
                }
                append(&*engine, batch, &setup).await;
                appended += batch.len() as u64;
                staged += batch.len() as u64;
                if staged >= gather {
                    engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                    turn += staged;
                    staged = 0;
                    if turn >= 1 << 20 {
                        turn = 0;
                        yield_now().await;
                    }
                }
            }
            engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
            let took = started.elapsed();
            Ran { bytes: appended, took, counters: engine.counters().snapshot().since(&before) }
        })
    }

    /// Appends for as long as `lasts`, keeping a few segments.
    pub(crate) fn sustained<E: EngineUnderTest>(&self, lasts: Duration) -> Ran {
        const KEPT_BYTES: u64 = 8 << 30;
        self.run::<E, _, _>(move |engine, setup| async move {
            let before = engine.counters().snapshot();
            let kept = KEPT_BYTES / setup.batches[0].len() as u64 * u64::from(setup.records);
            let started = Instant::now();
            let (mut appended, mut rolls) = (0, 0);
            for batch in setup.batches.iter().cycle() {
                if started.elapsed() >= lasts {
                    break;
                }
                append(&*engine, batch, &setup).await;
                engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                appended += batch.len() as u64;
                if appended % (1 << 20) < batch.len() as u64 {
                    yield_now().await;
                }
                if engine.counters().rolls.get() > rolls {
                    rolls = engine.counters().rolls.get();
                    let end = engine.marks(LOG).end;
                    engine.trim(LOG, Offset(end.0.saturating_sub(kept))).await.expect("a trim");
                }
            }
            let took = started.elapsed();
            Ran { bytes: appended, took, counters: engine.counters().snapshot().since(&before) }
        })
    }

    /// `count` appends, each committed alone, `depth` at a time.
    pub(crate) fn commits<E: EngineUnderTest>(&self, depth: u64, count: u64) -> Ran {
        self.run::<E, _, _>(move |engine, setup| async move {
            let before = engine.counters().snapshot();
            let (left, lanes, ended) = (Rc::new(Cell::new(count)), Rc::new(Cell::new(depth)), Event::new());
            let started = Instant::now();
            for _ in 0..depth {
                let (engine, setup, left, lanes, ended) =
                    (engine.clone(), setup.clone(), left.clone(), lanes.clone(), ended.clone());
                spawn_local(async move {
                    while left.get() > 0 {
                        left.set(left.get() - 1);
                        let batch = &setup.batches[(left.get() % setup.batches.len() as u64) as usize];
                        append(&*engine, batch, &setup).await;
                        engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                    }
                    drop(engine);
                    lanes.set(lanes.get() - 1);
                    ended.notify_all();
                });
            }
            loop {
                let wait = ended.wait();
                if lanes.get() == 0 {
                    break;
                }
                wait.await;
            }
            let took = started.elapsed();
            let bytes = count * setup.batches[0].len() as u64;
            Ran { bytes, took, counters: engine.counters().snapshot().since(&before) }
        })
    }

    /// Reads the last `bytes` bytes of a log in pieces of `piece`, checksumming every byte, once the log holds them.
    pub(crate) fn tail<E: EngineUnderTest>(&self, bytes: u64, piece: u64) -> Ran {
        self.run::<E, _, _>(move |engine, setup| async move {
            let mut appended = 0;
            for batch in setup.batches.iter().cycle() {
                if appended + batch.len() as u64 > bytes {
                    break;
                }
                append(&*engine, batch, &setup).await;
                engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                appended += batch.len() as u64;
            }
            let before = engine.counters().snapshot();
            let until = engine.marks(LOG).placed;
            let started = Instant::now();
            let mut from = Offset(0);
            let mut read = 0;
            while from < until {
                let ask = Read { from, until, bytes_max: piece, kind: ReadKind::Hot };
                let chunk = engine.read(LOG, ask).await.expect("a read");
                assert!(chunk.next > from, "a read that gets nowhere");
                from = chunk.next;
                for piece in &chunk.pieces {
                    let log_api::Piece::Pin(pin) = piece else { panic!("bytes in place were asked for") };
                    read += pin.as_ref().len() as u64;
                    black_box(log_format::crc32c(pin.as_ref()));
                }
            }
            let took = started.elapsed();
            assert_eq!(read, appended, "every byte was read");
            Ran { bytes: read, took, counters: engine.counters().snapshot().since(&before) }
        })
    }

    /// Appends and commits one batch every `every` until `rolls` segments are full: microseconds of each, and of those within 10 ms of a
    /// roll.
    pub(crate) fn rolls<E: EngineUnderTest>(&self, every: Duration, rolls: u64) -> (Vec<u32>, Vec<u32>) {
        const NEAR: Duration = Duration::from_millis(10);
        self.run::<E, _, _>(move |engine, setup| async move {
            let mut commits: Vec<(Instant, Duration)> = Vec::with_capacity(1 << 20);
            let mut rolled: Vec<Instant> = Vec::new();
            let mut due = Instant::now();
            for batch in setup.batches.iter().cycle() {
                if rolled.len() as u64 >= rolls {
                    break;
                }
                while Instant::now() < due {
                    yield_now().await;
                }
                let begun = Instant::now();
                due = (due + every).max(begun);
                append(&*engine, batch, &setup).await;
                engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                commits.push((begun, begun.elapsed()));
                if engine.counters().rolls.get() > rolled.len() as u64 {
                    rolled.push(begun);
                    let end = engine.marks(LOG).durable;
                    engine.trim(LOG, Offset(end.0.saturating_sub(1))).await.expect("a trim");
                }
            }
            let near = |at: Instant| rolled.iter().any(|roll| at.max(*roll).duration_since(at.min(*roll)) <= NEAR);
            let micros = |took: Duration| u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
            let (close, rest): (Vec<_>, Vec<_>) = commits.into_iter().partition(|(at, _)| near(*at));
            let times = |list: Vec<(Instant, Duration)>| list.into_iter().map(|(_, took)| micros(took)).collect();
            (times(close), times(rest))
        })
    }
}

async fn append<E: LogEngine>(engine: &E, batch: &[u8], setup: &Setup) {
    loop {
        match engine.append(LOG, &[Batch::verified(batch, setup.records)]) {
            Ok(_) => return,
            Err(AppendError::Busy) => {
                engine.commit(&[engine.group(LOG)], setup.level).await.expect("a commit");
                engine.room(LOG, batch.len() as u64).await;
            }
            Err(error) => panic!("an append: {error}"),
        }
    }
}
