//! An engine on a shard's executor, without broker and sockets: opened in a fresh folder, left until its first segments are prepared, then
//! measured in windows that alternate with samples of its ceiling on the same core.

use super::{Bench, Found, Pair};
use crate::calibrate::{Case, lab::Lab, memory::warm};
use crate::run::results::Scratch;
use anyhow::Context;
use broker::{EngineKind, engine::EngineUser};
use log_api::{
    AppendError, Batch, Chunk, CounterSnapshot, EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind,
};
use rustix::time::{ClockId, clock_gettime};
use shard_ring::{ExecutorConfig, Ring, RingConfig, sleep, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

/// The log that is written and read.
pub const LOG: LogId = LogId(0);
/// From opening to measuring: segments are being prepared until then, and a case must not measure that.
pub(super) const SETTLE: Duration = Duration::from_millis(1_500);
/// The same for a log that flushes: the zeros of four segments are written at leisure, which takes some 4 s here.
pub(super) const SETTLE_DURABLE: Duration = Duration::from_secs(5);
/// Between two windows: the helper catches up with what the last one used.
const PAUSE: Duration = Duration::from_millis(300);
/// About what an engine on the page cache takes in a window.
const WARM_BYTES: usize = 1 << 30;
/// A core that was busier than this binds.
const CORE_BINDS: f64 = 0.9;
/// Bytes written for a payload byte that are worth a sentence.
const WRITTEN_WORTH_SAYING: f64 = 1.03;

/// What is measured of an engine, in pairs with its ceiling.
pub trait Measurement: Send + 'static {
    /// Whole segments that the log keeps behind the one being written.
    const KEPT_SEGMENTS: usize = 4;

    /// How long the engine is left to settle.
    fn settle(&self) -> Duration {
        SETTLE
    }

    /// Before the engine is left to settle: filling a log to read, say.
    fn prepare<E: LogEngine>(&mut self, _log: &Log<E>) -> impl Future<Output = anyhow::Result<()>> {
        async { Ok(()) }
    }

    /// One window of the engine beside its ceiling.
    fn pair<E: LogEngine>(&mut self, log: &Log<E>, lab: &mut Lab) -> impl Future<Output = anyhow::Result<Pair>>;

    /// What it has found out itself of what binds.
    fn binds(&self) -> Option<String> {
        None
    }
}

/// A log of an engine that is being measured.
pub struct Log<E> {
    /// The engine.
    pub engine: Rc<E>,
    /// Offsets at which segments ended, oldest first.
    rolled: Rc<RefCell<VecDeque<Offset>>>,
    rolls: Rc<Cell<u64>>,
    kept_segments: usize,
    /// What need not be kept any more.
    given_up: Rc<Cell<Offset>>,
    /// A trim failed.
    failed: Rc<Cell<Option<anyhow::Error>>>,
}

impl<E> Clone for Log<E> {
    /// Another handle of the same log.
    fn clone(&self) -> Self {
        let (engine, rolled, rolls) = (self.engine.clone(), self.rolled.clone(), self.rolls.clone());
        let (given_up, failed) = (self.given_up.clone(), self.failed.clone());
        Self { engine, rolled, rolls, kept_segments: self.kept_segments, given_up, failed }
    }
}

impl<E: LogEngine> Log<E> {
    fn new(engine: E, kept_segments: usize) -> Self {
        Self {
            engine: Rc::new(engine),
            rolled: Rc::default(),
            rolls: Rc::default(),
            kept_segments,
            given_up: Rc::default(),
            failed: Rc::default(),
        }
    }

    /// Appends a batch; commits what is there and waits for room if need be.
    ///
    /// # Errors
    /// The disk is full, or the engine fails.
    pub async fn append(&self, batch: Batch<'_>, level: Level) -> anyhow::Result<()> {
        loop {
            match self.engine.append(LOG, &[batch]) {
                Ok(_) => return Ok(()),
                Err(AppendError::Busy) => {
                    self.commit(level).await?;
                    self.engine.room(LOG, batch.bytes().len() as u64).await;
                }
                Err(error) => return Err(error).context("append"),
            }
        }
    }

    /// Reads the log once through: bytes. `each` gets every chunk.
    ///
    /// # Errors
    /// The engine fails, or a read gets nowhere.
    pub async fn read_through(&self, kind: ReadKind, mut each: impl FnMut(Chunk<E::Pin>)) -> anyhow::Result<u64> {
        let marks = self.engine.marks(LOG);
        let (mut from, mut bytes) = (marks.start, 0);
        while from < marks.placed {
            let read = Read { from, until: marks.placed, bytes_max: 1 << 20, kind };
            let chunk = self.engine.read(LOG, read).await?;
            anyhow::ensure!(chunk.next > from, "a read that gets nowhere at offset {}", from.0);
            (from, bytes) = (chunk.next, bytes + chunk.bytes);
            each(chunk);
        }
        Ok(bytes)
    }

    /// Commits, and has old segments given up, which nobody waits for, as in a shard.
    ///
    /// # Errors
    /// The engine fails, or an earlier trim has.
    pub async fn commit(&self, level: Level) -> anyhow::Result<()> {
        self.failed.take().map_or(Ok(()), Err)?;
        self.engine.commit(&[self.engine.group(LOG)], level).await.context("commit")?;
        let rolls = self.engine.counters().rolls.get();
        if rolls == self.rolls.replace(rolls) {
            return Ok(());
        }
        self.rolled.borrow_mut().push_back(self.engine.marks(LOG).placed);
        let many = self.rolled.borrow().len() > self.kept_segments;
        let before = if many { self.rolled.borrow_mut().pop_front() } else { None };
        if let Some(before) = before {
            self.given_up.set(before);
            let (engine, failed) = (self.engine.clone(), self.failed.clone());
            spawn_local(async move {
                if let Err(error) = engine.trim(LOG, before).await {
                    failed.set(Some(anyhow::Error::new(error).context("trim")));
                }
            });
        }
        Ok(())
    }

    /// Asks again for what old segments the engine did not give up when it was asked, as a shard does.
    ///
    /// # Errors
    /// The engine fails.
    pub async fn trim_again(&self) -> anyhow::Result<()> {
        self.engine.trim(LOG, self.given_up.get()).await.map(drop).context("trim")
    }
}

/// Measures an engine with the configuration that `configure` makes of the default for its folder.
///
/// # Errors
/// The engine cannot be made or fails; the ceiling fails.
pub fn run<M: Measurement>(
    bench: &mut Bench<'_>,
    engine: EngineKind,
    configure: impl FnOnce(EngineConfig) -> EngineConfig,
    measurement: M,
) -> anyhow::Result<Found> {
    let folder = Scratch::fresh(folder(bench, engine))?;
    let helper_cpus: Vec<usize> = bench.placement.generator.into_iter().collect();
    let config = configure(EngineConfig { helper_cpus: helper_cpus.clone(), ..EngineConfig::new(folder.path()) });
    let executor = ExecutorConfig {
        name: "shard-0".to_owned(),
        cpu: bench.placement.shards.first().copied(),
        ring: RingConfig { worker_cpus: helper_cpus, ..RingConfig::default() },
    };
    let lab = bench.lab.take().context("the instruments were lost by a case that failed")?;
    let (rounds, interrupts) = (bench.rounds, bench.interrupts.clone());
    let stop = move || interrupts.any();
    let session = Session { lab, rounds, measurement, stop: Box::new(stop) };
    let body = move |ring: Ring| async move { engine.with(&ring, config, session).await };
    let ended = shard_ring::block_on(executor, body).context("start a shard's executor")?;
    let (found, lab) = ended.with_context(|| format!("open {engine}"))?;
    bench.lab = Some(lab);
    found
}

/// Where an engine's logs lie while it is measured.
fn folder(bench: &Bench<'_>, engine: EngineKind) -> PathBuf {
    bench.place.dir().join(format!(".highwater-calibrate-{engine}-{}", std::process::id()))
}

struct Session<M> {
    lab: Lab,
    rounds: u32,
    measurement: M,
    stop: Box<dyn Fn() -> bool + Send>,
}

impl<M: Measurement> EngineUser for Session<M> {
    type Output = (anyhow::Result<Found>, Lab);

    async fn with<E: LogEngine>(mut self, _ring: &Ring, engine: E) -> Self::Output {
        let log = Log::new(engine, M::KEPT_SEGMENTS);
        let found = self.measure(&log).await;
        // A task that ended with an error may still hold the engine: then it is left as a crash leaves it, and its folder goes.
        let closed = match Rc::try_unwrap(log.engine) {
            Ok(engine) => engine.close().await.context("close"),
            Err(_) => Ok(()),
        };
        (found.and_then(|found| closed.map(|()| found)), self.lab)
    }
}

impl<M: Measurement> Session<M> {
    async fn measure<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<Found> {
        log.engine.open(LOG).await.context("open a log")?;
        self.measurement.prepare(log).await?;
        sleep(self.measurement.settle()).await;
        let mut found = Found::default();
        let mut used = Used::default();
        for _ in 0..self.rounds {
            if (self.stop)() {
                return Ok(Found::default());
            }
            warm(WARM_BYTES);
            let before = Used::now(log);
            found.pairs.push(self.measurement.pair(log, &mut self.lab).await?);
            used.add(&before, &Used::now(log));
            sleep(PAUSE).await;
        }
        found.binds = self.measurement.binds().into_iter().chain(used.binds()).collect();
        Ok(found)
    }
}

/// What the engine's windows used. Ceilings are measured on the same thread; their own time is taken out by [`timed`].
#[derive(Default)]
struct Used {
    counts: CounterSnapshot,
    rolls_waited: u64,
    busy: u64,
    tail_waits: u64,
    written: u64,
    appended: u64,
    window: Window,
}

/// Wall and processor time of a shard's thread.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    time_s: f64,
    cpu_s: f64,
}

thread_local! {
    /// Windows of engines on this thread, added up by [`timed`].
    static WINDOWS: Cell<Window> = const { Cell::new(Window { time_s: 0.0, cpu_s: 0.0 }) };
}

fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs a window of the engine: what it returns and the time it took.
pub async fn timed<T>(window: impl Future<Output = T>) -> (T, Duration) {
    let (begun, cpu_s) = (Instant::now(), thread_cpu_s());
    let done = window.await;
    let took = begun.elapsed();
    let sum = WINDOWS.get();
    let cpu_s = sum.cpu_s + thread_cpu_s() - cpu_s;
    WINDOWS.set(Window { time_s: sum.time_s + took.as_secs_f64(), cpu_s });
    (done, took)
}

impl Used {
    fn now<E: LogEngine>(log: &Log<E>) -> Self {
        Self { counts: log.engine.counters().snapshot(), window: WINDOWS.get(), ..Self::default() }
    }

    fn add(&mut self, before: &Self, after: &Self) {
        let counts = after.counts.since(&before.counts);
        self.rolls_waited += counts.rolls_waited;
        self.busy += counts.busy;
        self.tail_waits += counts.tail_waits;
        self.written += counts.written_bytes;
        self.appended += counts.appended_bytes;
        self.window.time_s += after.window.time_s - before.window.time_s;
        self.window.cpu_s += after.window.cpu_s - before.window.cpu_s;
    }

    /// What binds, most likely first.
    fn binds(&self) -> Vec<String> {
        let mut binds = Vec::new();
        let core = self.window.cpu_s / self.window.time_s.max(f64::MIN_POSITIVE);
        if core > CORE_BINDS {
            binds.push(format!("the shard's core: {:.0} % busy", core * 100.0));
        }
        if self.rolls_waited > 0 {
            binds.push(format!("{} rolls waited for the next segment to be prepared", self.rolls_waited));
        }
        let written = self.written as f64 / self.appended.max(1) as f64;
        if written > WRITTEN_WORTH_SAYING {
            binds.push(format!("{written:.2} bytes written for each byte appended: rewritten tail blocks and padding"));
        }
        if self.tail_waits > 0 {
            binds.push(format!("{} commits waited for a tail block in flight", self.tail_waits));
        }
        if core <= CORE_BINDS {
            binds.push(format!("waiting: the shard's core was {:.0} % busy", core * 100.0));
        }
        binds
    }
}

/// A sample of a ceiling.
///
/// # Errors
/// The ceiling fails.
pub fn sample(lab: &mut Lab, case: Case) -> anyhow::Result<f64> {
    Ok(lab.measure(case).with_context(|| format!("measure {case}"))?.per_s)
}

/// A sample of a ceiling of the device over so long.
///
/// # Errors
/// The ceiling fails.
pub fn sample_for(lab: &mut Lab, case: Case, window: Duration) -> anyhow::Result<f64> {
    Ok(lab.measure_for(case, window).with_context(|| format!("measure {case}"))?.per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(cpu_s: f64, rolls_waited: u64, written: u64) -> Used {
        Used { window: Window { time_s: 2.0, cpu_s }, rolls_waited, written, appended: 100, ..Used::default() }
    }

    #[test]
    fn what_binds_is_told_from_the_windows_own_counts() {
        assert_eq!(used(1.96, 0, 100).binds(), ["the shard's core: 98 % busy"]);
        let waited = used(0.5, 3, 125).binds();
        assert!(waited[0].starts_with("3 rolls waited") && waited[1].starts_with("1.25 bytes written"), "{waited:?}");
        assert_eq!(used(0.5, 0, 100).binds(), ["waiting: the shard's core was 25 % busy"]);
    }
}
