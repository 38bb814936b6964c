//! Appending and committing in a window: the workload of most cases.

use super::{
    Bench, EngineCase, Found, Pair,
    in_process::{self, Log, Measurement, sample, sample_for, timed},
    row::Goal,
};
use crate::{
    calibrate::{
        Case,
        case::{Sync, block},
        ceilings::median,
        lab::Lab,
        memory::warm,
    },
    cost::threads::Threads,
};
use broker::EngineKind;
use log_api::{Batch, EngineConfig, Level, LogEngine};
use log_format::Template;
use log_segment::Pace;
use shard_ring::{Event, sleep, spawn_local, yield_now};
use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

/// Length of an engine's window.
pub(super) const WINDOW: Duration = Duration::from_millis(500);
/// Before a burst, twice: segments that the last one finished are sealed after a second; and trims are done a second later. Both are flushes, which
/// take a while, and no processor.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Then, until the helpers rest: they have used less than one part in a hundred of a core for so long.
const REST: Duration = Duration::from_millis(250);
const REST_SHARE: f64 = 0.01;
/// Looks until it is no use to wait any longer.
const REST_LOOKS: u32 = 80;
/// A burst ends with so much of what an engine lets be dirty: it measures how bytes get into memory, and neither the wait for the device
/// to take them nor the kernel's own brake, which comes a third above the engines' budget.
const BURST_OF_BUDGET: f64 = 0.9;
/// Rolls before a log that overwrites is measured: the segments that it begins with, and those that it keeps, have been gone through, and the
/// next ones are segments that were given up.
const ROLLS_UNTIL_STEADY: u64 = 12;
/// Batches that fill it until then.
const FILL_BYTES: usize = 64 << 10;
/// A task that computes for long lets others run after this long.
const YIELD_AFTER: Duration = Duration::from_micros(500);

/// What is appended, and how it is committed.
#[derive(Clone, Copy, Debug)]
pub struct Appends {
    /// Records of a batch.
    pub records: u32,
    /// Bytes of a record's value.
    pub value_bytes: usize,
    /// Level of the commits.
    pub level: Level,
    /// Commits on the device at once ([`log_api::Capabilities::commits_in_flight`]). Where they may wait (several at once, or durable ones) one
    /// task more gathers the next group meanwhile, as a shard does.
    pub inflight: u32,
    /// Bytes that a task appends before it commits; at least a batch.
    pub gather_bytes: u64,
    /// Each batch is verified before it is appended, as a shard does.
    pub verify: bool,
    /// A window begins with nothing dirty and everything prepared, and ends before the engine's dirty budget does.
    pub burst: bool,
}

/// An encoded batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    records: u32,
}

impl Encoded {
    /// A batch of `records` values of `value_bytes`.
    #[must_use]
    pub fn new(records: u32, value_bytes: usize) -> Self {
        let template = Template::new(records, value_bytes);
        let mut bytes = vec![0; template.bytes()];
        template.write(&mut bytes);
        crate::calibrate::memory::noise(&mut bytes[template.value(0)]);
        template.seal(&mut bytes);
        Self { bytes, records }
    }

    /// For an engine.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::verified(&self.bytes, self.records)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Appends {
    /// Bytes of a batch of so many values.
    #[must_use]
    pub fn batch_bytes(records: u32, value_bytes: usize) -> u64 {
        Template::new(records, value_bytes).bytes() as u64
    }

    /// One batch of the workload.
    #[must_use]
    pub fn encoded(&self) -> Encoded {
        Encoded::new(self.records, self.value_bytes)
    }

    /// What the engine is configured with.
    #[must_use]
    pub fn configure(&self, config: EngineConfig) -> EngineConfig {
        EngineConfig { durable: self.level == Level::Durable, ..config }
    }

    /// Appends for a window: bytes a second, counted when all are committed.
    ///
    /// # Errors
    /// The engine fails.
    pub async fn window<E: LogEngine>(&self, log: &Log<E>, encoded: &Rc<Encoded>) -> anyhow::Result<f64> {
        self.window_of(log, encoded, WINDOW, self.bytes_max()).await
    }

    /// The same for so long, or of about so many bytes.
    ///
    /// # Errors
    /// The engine fails.
    pub async fn window_of<E: LogEngine>(
        &self,
        log: &Log<E>,
        encoded: &Rc<Encoded>,
        window: Duration,
        bytes_max: u64,
    ) -> anyhow::Result<f64> {
        let end = End { at: Instant::now() + window, bytes: bytes_max };
        let (bytes, took) = timed(self.append(log, encoded, end)).await;
        Ok(bytes? as f64 / took.as_secs_f64())
    }

    /// Bytes after which a window ends.
    fn bytes_max(&self) -> u64 {
        if self.burst { (Pace::for_this_machine().budget() as f64 * BURST_OF_BUDGET) as u64 } else { u64::MAX }
    }

    /// Brings the log to where it overwrites segments that it gave up.
    ///
    /// # Errors
    /// The engine fails.
    pub(super) async fn fill<E: LogEngine>(&self, log: &Log<E>) -> anyhow::Result<()> {
        let encoded = Encoded::new(1, FILL_BYTES);
        while log.engine.counters().rolls.get() < ROLLS_UNTIL_STEADY {
            log.append(encoded.batch(), self.level).await?;
        }
        log.commit(self.level).await
    }

    /// Nothing is dirty, nothing on its way to the device, and as much prepared as the engine keeps ready when it has the time.
    ///
    /// # Errors
    /// The engine fails.
    pub(super) async fn calm<E: LogEngine>(&self, log: &Log<E>) -> anyhow::Result<()> {
        log.commit(Level::Durable).await?;
        sleep(SETTLE).await;
        log.trim_again().await?;
        sleep(SETTLE).await;
        for _ in 0..REST_LOOKS {
            let before = Threads::sample();
            sleep(REST).await;
            let used = Threads::sample().since(&before).helpers.cpu_ns;
            if (used as f64) < REST_SHARE * REST.as_nanos() as f64 {
                break;
            }
        }
        Ok(())
    }

    /// A task more than commits may be in flight.
    fn gathers_ahead(&self) -> bool {
        self.inflight > 1 || self.level == Level::Durable
    }

    async fn append<E: LogEngine>(&self, log: &Log<E>, encoded: &Rc<Encoded>, end: End) -> anyhow::Result<u64> {
        let inflight = E::CAPABILITIES.commits_in_flight(self.inflight);
        let count = inflight + u32::from(self.gathers_ahead());
        let tasks = Rc::new(Tasks {
            left: Cell::new(count),
            may_commit: Cell::new(inflight),
            committed: Event::new(),
            bytes: Cell::new(0),
            failed: RefCell::new(None),
            ended: Event::new(),
        });
        // Each task takes its share.
        let end = End { bytes: end.bytes / u64::from(count), ..end };
        for _ in 0..count {
            let (of, log, encoded, tasks) = (*self, log.clone(), encoded.clone(), tasks.clone());
            spawn_local(async move {
                match of.task(&log, &encoded, &tasks, end).await {
                    Ok(bytes) => tasks.bytes.set(tasks.bytes.get() + bytes),
                    Err(error) => drop(tasks.failed.replace(Some(error))),
                }
                // The engine goes before the last one says so: it will be closed.
                drop(log);
                tasks.left.set(tasks.left.get() - 1);
                tasks.ended.notify_all();
            });
        }
        loop {
            let ended = tasks.ended.wait();
            if tasks.left.get() == 0 {
                break;
            }
            ended.await;
        }
        tasks.failed.take().map_or(Ok(tasks.bytes.get()), Err)
    }

    async fn task<E: LogEngine>(
        &self,
        log: &Log<E>,
        encoded: &Encoded,
        tasks: &Tasks,
        end: End,
    ) -> anyhow::Result<u64> {
        let (mut bytes, mut yielded) = (0, Instant::now());
        loop {
            let mut gathered = 0;
            while gathered < self.gather_bytes {
                if self.verify {
                    log_format::verify(encoded.bytes())?;
                }
                log.append(encoded.batch(), self.level).await?;
                gathered += encoded.bytes().len() as u64;
            }
            tasks.turn().await;
            let committed = log.commit(self.level).await;
            tasks.done();
            committed?;
            bytes += gathered;
            if self.gathers_ahead() {
                // Who waits for its turn sends its group off before this task gathers the next.
                yield_now().await;
                yielded = Instant::now();
            }
            let now = Instant::now();
            if now >= end.at || bytes >= end.bytes {
                return Ok(bytes);
            }
            if now - yielded >= YIELD_AFTER {
                yield_now().await;
                yielded = Instant::now();
            }
        }
    }
}

/// When a task ends.
#[derive(Clone, Copy)]
struct End {
    at: Instant,
    bytes: u64,
}

/// The tasks of a window.
struct Tasks {
    left: Cell<u32>,
    /// Commits that may still begin.
    may_commit: Cell<u32>,
    committed: Event,
    bytes: Cell<u64>,
    failed: RefCell<Option<anyhow::Error>>,
    ended: Event,
}

impl Tasks {
    /// Waits until a commit may begin.
    async fn turn(&self) {
        loop {
            let committed = self.committed.wait();
            if self.may_commit.get() > 0 {
                return self.may_commit.set(self.may_commit.get() - 1);
            }
            committed.await;
        }
    }

    /// A commit has ended.
    fn done(&self) {
        self.may_commit.set(self.may_commit.get() + 1);
        self.committed.notify_all();
    }
}

/// Appends beside a ceiling.
struct Against {
    appends: Appends,
    ceiling: Case,
    /// The log overwrites segments that it gave up, as the ceiling overwrites its file, and as each log does that has come to its retention.
    overwrites: bool,
    /// Shares of the same ceiling where each write is copied first into as much memory as the engine's.
    of_staged: Vec<f64>,
}

impl Against {
    /// The ceiling is sampled for as long as a window, both after a rest: a device that lends a burst of writes before it goes at its own pace
    /// lends it to both. Flushes leave nothing to lend.
    fn may_be_lent(&self) -> bool {
        self.overwrites && self.appends.level != Level::Durable
    }

    /// What an engine that stages what it appends, and keeps it for readers, could reach: a ceiling's few blocks stay in the processor's cache.
    async fn staged<E: LogEngine>(&self, log: &Log<E>, lab: &Lab) -> anyhow::Result<Option<f64>> {
        let Case::DirectWrite { block_bytes, depth, sync: Sync::None } = self.ceiling else { return Ok(None) };
        self.appends.calm(log).await?;
        lab.write_staged(block_bytes, depth, WINDOW, self.staging_bytes()).map(Some)
    }

    fn staging_bytes(&self) -> u64 {
        let config = self.appends.configure(EngineConfig::new(PathBuf::new()));
        config.inflight_bytes_max + config.tail_cache_bytes
    }

    fn sample(&self, lab: &mut Lab) -> anyhow::Result<f64> {
        if self.may_be_lent() { sample_for(lab, self.ceiling, WINDOW) } else { sample(lab, self.ceiling) }
    }
}

impl Measurement for Against {
    async fn prepare<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<()> {
        if !self.overwrites {
            return Ok(());
        }
        self.appends.fill(log).await
    }

    fn settle(&self) -> Duration {
        let zeros = self.appends.level == Level::Durable && !self.overwrites;
        if zeros { in_process::SETTLE_DURABLE } else { in_process::SETTLE }
    }

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, lab: &mut Lab) -> anyhow::Result<Pair> {
        let encoded = Rc::new(self.appends.encoded());
        let calms = self.appends.burst || self.may_be_lent();
        if calms {
            self.appends.calm(log).await?;
        }
        let before = self.sample(lab)?;
        if self.may_be_lent() {
            self.appends.calm(log).await?;
        }
        if self.appends.burst {
            warm(usize::try_from(self.appends.bytes_max()).unwrap_or(usize::MAX));
        }
        let figure = self.appends.window(log, &encoded).await?;
        if calms {
            self.appends.calm(log).await?;
        }
        let after = self.sample(lab)?;
        self.of_staged.extend(self.staged(log, lab).await?.map(|staged| figure / staged));
        Ok(Pair { figure, ceiling: (before + after) / 2.0 })
    }

    fn binds(&self) -> Option<String> {
        let (share, staging) = (median(&self.of_staged)?, block(self.staging_bytes()));
        Some(format!("{share:.2} of the same loop where it copies what it writes first, through {staging} of memory"))
    }
}

/// A case that appends, held to `ceiling`.
pub(super) fn case(name: String, engine: EngineKind, appends: Appends, ceiling: Case, least: f64) -> EngineCase {
    against(name, engine, appends, ceiling, false, least)
}

/// The same of a log that overwrites segments that it gave up.
pub(super) fn overwriting(name: String, engine: EngineKind, appends: Appends, ceiling: Case, least: f64) -> EngineCase {
    against(name, engine, appends, ceiling, true, least)
}

fn against(
    name: String,
    engine: EngineKind,
    appends: Appends,
    ceiling: Case,
    overwrites: bool,
    least: f64,
) -> EngineCase {
    EngineCase {
        name,
        engine,
        unit: "B/s",
        ceiling: ceiling.to_string(),
        goal: Goal::AtLeast(least),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            let against = Against { appends, ceiling, overwrites, of_staged: Vec::new() };
            in_process::run(bench, engine, |config| appends.configure(config), against)
        }),
    }
}
