//! What the engines on the page cache share: one log's opening, rolling, flushing, sealing, trimming and closing. What differs, and is
//! the engine's own: how bytes get into a segment and out again.

use crate::{
    Ahead, Boundary, DataDir, Files, Flights, Keeper, Loader, LogConfig, Medium, Pace, Poison, Preparation, Preparer,
    Recovered, Reuse, SealJob, SegmentFile, Segments, Turns, flushed, recover,
};
use futures_lite::future::or;
use log_api::{
    AppendError, CommitError, Counters, EngineConfig, Epoch, Level, LogId, Marks, Offset, OpenError, ReadError,
    Recovery, TrimError,
};
use shard_ring::{Event, Helper, Op, Ring, RingFile, sleep, spawn_local};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    rc::{Rc, Weak},
    time::Duration,
};

/// How long a finished segment of a log that does not flush waits at most before it is flushed and sealed.
pub const SEAL_LINGER: Duration = Duration::from_secs(1);

/// Bytes of a block that reads by the ring come in.
const READ_BLOCK_BYTES: usize = 1 << 20;

/// Reads by the ring in memory at once, over all logs of the shard; more wait for a block.
const READ_BLOCKS_MAX: usize = 8;

/// The helpers give way to the shard and the generator.
const HELPER_NICE: i32 = 5;

/// What the logs of an engine share.
pub struct Host {
    /// The shard's ring.
    pub ring: Ring,
    /// What the engine was told.
    pub config: EngineConfig,
    /// What it counts.
    pub counters: Counters,
    /// Reads of what is not in memory.
    pub loader: Loader,
    /// What may be dirty.
    pub pace: Pace,
    /// Something moved in some log: a wait for room may have ended.
    pub progress: Event,
    /// Those who wait for room.
    pub turns: Turns,
    data: DataDir,
    /// Recovers, seals, renames, unlinks.
    keeping: Rc<Helper>,
    /// Prepares segments: a flush of a finished segment does not keep the next one waiting.
    preparing: Rc<Helper>,
    ahead: Ahead,
}

impl Host {
    /// Takes the directory and starts the helper threads, `hw-<name>` and `hw-next`.
    ///
    /// # Errors
    /// [`OpenError::Held`] if another process has the directory; `Io` if it cannot be made, or memory or a thread is refused.
    pub fn new(name: &str, ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        let fail = |action| {
            let path = config.dir.clone();
            move |source| OpenError::Io { action, path, source }
        };
        let data = DataDir::open(&config.dir)?;
        let helper = |name: &str| {
            let started = Helper::start(name, &config.helper_cpus, HELPER_NICE);
            started.map(Rc::new).map_err(fail("start a helper thread for"))
        };
        let (keeping, preparing) = (helper(name)?, helper("next")?);
        let loader = Loader::new(ring, READ_BLOCK_BYTES, READ_BLOCKS_MAX).map_err(fail("get memory for reads of"))?;
        Ok(Self {
            ring: ring.clone(),
            counters: Counters::default(),
            loader,
            pace: Pace::for_this_machine(),
            progress: Event::new(),
            turns: Turns::default(),
            data,
            keeping,
            preparing,
            ahead: Ahead::default(),
            config,
        })
    }

    /// Has the keeping helper do something that nobody waits for.
    pub fn detached(&self, job: impl FnOnce() + Send + 'static) {
        spawn_local(self.keeping.run(&self.ring, job));
    }
}

/// How an engine holds a segment on the shard.
pub trait Hold: Sized + 'static {
    /// How it opens one that it will write.
    type Medium: Medium;

    /// A finished segment that recovery found, open for reading.
    fn finished(ring: &Ring, file: File) -> Self;

    /// One that is being written.
    fn written(ring: &Ring, handle: <Self::Medium as Medium>::Handle) -> Self;

    /// Its file.
    fn file(&self) -> &SegmentFile;

    /// What it is good for when it has been given up, in a log that is written for durable acknowledgement or not.
    fn reuse(self, durable: bool) -> Reuse<<Self::Medium as Medium>::Kept>;

    /// A flush of the range is about to be submitted.
    fn before_flush(&self, _range: &Range<u64>) {}
}

/// A place at which a commit took the log's end.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// First offset of its segment.
    pub segment: Offset,
    /// Where in it.
    pub boundary: Boundary,
}

impl Place {
    /// Everything before it has been appended.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.boundary.offset
    }
}

/// One log.
pub struct DiskLog<H: Hold> {
    /// Which.
    pub id: LogId,
    /// What the engine's logs share.
    pub host: Rc<Host>,
    /// Its segments.
    pub segments: RefCell<Segments<H>>,
    /// The incarnation.
    pub epoch: Epoch,
    /// The first failure.
    pub poison: Poison,
    /// A flush or a seal came back.
    pub progress: Event,
    durable: Cell<Offset>,
    /// Everything before it is covered by a flush that was submitted.
    covered: Cell<Place>,
    flushes: RefCell<Flights>,
    /// Segments being sealed. The durable mark follows them in order.
    seals: RefCell<Flights>,
    closing: Cell<bool>,
    closes: Event,
    /// The log's start has moved.
    trimmed: Event,
    keeper: Keeper,
    preparer: Preparer<H::Medium>,
    /// What the counters know of preparing.
    counted: Cell<Preparation>,
}

/// Recovery and the opening of all its files, in one job off the shard.
struct Opened<T> {
    recovered: Recovered,
    sealed: Vec<File>,
    active: T,
}

fn open_files<M: Medium>(config: &LogConfig, medium: &M) -> Result<Opened<M::Handle>, OpenError> {
    let recovered = recover(config, &Files::new())?;
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action: "open", path, source }
    };
    let open = |path: &PathBuf| File::open(path).map_err(fail(path));
    let sealed = recovered.sealed.iter().map(|segment| open(&segment.path)).collect::<Result<_, _>>()?;
    let active = &recovered.active;
    let handle = medium.resume(&active.path, active.capacity, active.bytes).map_err(fail(&active.path))?;
    Ok(Opened { sealed, active: handle, recovered })
}

impl<H: Hold> DiskLog<H> {
    /// Recovers a log, or makes it.
    ///
    /// # Errors
    /// As [`recover`].
    pub async fn open(host: &Rc<Host>, id: LogId, medium: H::Medium) -> Result<(Rc<Self>, Recovery), OpenError> {
        let config = LogConfig::new(&host.config, &host.data, id);
        let (job, opener) = (config.clone(), medium.clone());
        let opened = host.keeping.run(&host.ring, move || open_files(&job, &opener)).await?;
        let recovered = opened.recovered;
        let recovery = recovered.summary();
        let ring = &host.ring;
        let sealed = recovered.sealed.into_iter().zip(opened.sealed);
        let sealed: Vec<_> = sealed.map(|(segment, file)| (segment, H::finished(ring, file))).collect();
        let end = Place { segment: recovered.active.base, boundary: recovered.active.end_boundary() };
        let active = (recovered.active, H::written(ring, opened.active));
        sealed.iter().map(|(_, handle): &(_, H)| handle).chain([&active.1]).for_each(|handle| handle.file().inherit());
        let preparer =
            Preparer::new(ring, &host.preparing, &host.data, &config, medium, recovered.next_number, Some(&host.ahead));
        preparer.start();
        Counters::add(&host.counters.prepared_bytes, recovered.prepared_bytes);
        let log = Self {
            id,
            segments: RefCell::new(Segments::new(&config, sealed, active)),
            epoch: recovered.epoch,
            poison: Poison::default(),
            progress: Event::new(),
            durable: Cell::new(recovered.marks.durable),
            covered: Cell::new(end),
            flushes: RefCell::default(),
            seals: RefCell::default(),
            closing: Cell::new(false),
            closes: Event::new(),
            trimmed: Event::new(),
            keeper: Keeper::new(ring, &host.keeping, &host.data, &config, recovered.marks.start),
            preparer,
            counted: Cell::default(),
            host: host.clone(),
        };
        Ok((Rc::new(log), recovery))
    }

    /// The log's folder.
    pub fn dir(&self) -> PathBuf {
        self.host.data.log_dir(self.id)
    }

    /// How far the log has come, if everything before `placed` is placed.
    pub fn marks(&self, placed: Offset) -> Marks {
        let segments = self.segments.borrow();
        Marks { start: segments.start(), durable: self.durable.get(), placed, end: segments.end() }
    }

    /// What a read from `asked` answers when that lies outside the log, or in a segment that was given up since the read was planned.
    pub fn out_of_range(&self, asked: Offset) -> ReadError {
        let segments = self.segments.borrow();
        ReadError::OutOfRange { asked, start: segments.start(), end: segments.end() }
    }

    /// Everything before it survives a power cut.
    pub fn durable(&self) -> Offset {
        self.durable.get()
    }

    /// A write, a flush or a write-back failed: nothing is acknowledged from now on.
    pub fn fail(&self, what: String) {
        self.poison.set(what, &self.progress);
        self.host.progress.notify_all();
    }

    /// A job that nobody waits for has failed: the file system is failing, and nothing more is acknowledged.
    fn check_keeper(&self) {
        if let Some(what) = self.keeper.failure() {
            self.fail(what);
        }
    }

    /// Wakes those who wait for this log, or for room in any.
    pub fn moved(&self) {
        self.progress.notify_all();
        self.host.progress.notify_all();
    }

    /// Takes everything appended so far into a commit.
    pub fn mark(&self) -> Place {
        let mut segments = self.segments.borrow_mut();
        let boundary = segments.mark();
        Place { segment: segments.active().base(), boundary }
    }

    /// In a durable log, what is not durable yet stays under the bound by which recovery tells a torn tail from damage.
    pub fn tail_fits(&self, bytes: u64) -> bool {
        let config = &self.host.config;
        !config.durable || self.segments.borrow().bytes_after(self.durable.get()) + bytes <= config.inflight_bytes_max
    }

    /// Goes on in the next segment, which stands ready, or says why it does not.
    ///
    /// # Errors
    /// `Busy` or `Full`; `Poisoned` when no segment can be made for another reason.
    pub fn roll(&self) -> Result<(), AppendError> {
        let counters = &self.host.counters;
        let Some(next) = self.preparer.take() else {
            if self.preparer.is_full() {
                return Err(AppendError::Full);
            }
            if let Some(what) = self.preparer.gave_up() {
                self.fail(format!("making the next segment: {what}"));
                return Err(AppendError::Poisoned);
            }
            Counters::add(&counters.rolls_waited, 1);
            Counters::add(&counters.busy, 1);
            return Err(AppendError::Busy);
        };
        let mut segments = self.segments.borrow_mut();
        self.keeper.adopt(&next.file, segments.end());
        segments.roll(next.file, H::written(&self.host.ring, next.handle));
        Counters::add(&counters.rolls, 1);
        self.count_preparation();
        Ok(())
    }

    /// Adds what preparing has cost since the last roll.
    fn count_preparation(&self) {
        let (now, counters) = (self.preparer.preparation(), &self.host.counters);
        let Preparation { bytes, zeroed, recycled } = self.counted.replace(now);
        Counters::add(&counters.prepared_bytes, now.bytes - bytes);
        Counters::add(&counters.segments_zeroed, now.zeroed - zeroed);
        Counters::add(&counters.segments_recycled, now.recycled - recycled);
    }

    /// After [`Self::roll`] had no segment, or when `bytes` do not fit the active one: waits for the next, or until it is worth trying again.
    pub async fn next_segment(&self, bytes: u64) {
        if self.segments.borrow().room() < bytes && !self.preparer.is_ready() {
            self.preparer.room().await;
        }
    }

    /// A flush is on its way.
    pub fn is_flushing(&self) -> bool {
        !self.flushes.borrow().is_empty()
    }

    /// Submits a flush of what lies before `to`, all of it written, and after what earlier ones cover; of nothing else: pages further on may
    /// be dirty and empty. Returns at once.
    ///
    /// The error of a page is reported to one flush of its file, whichever looks first; so the durable mark passes a flush only after all
    /// earlier ones came back well, and any failure is the end.
    pub fn flush(self: &Rc<Self>, to: Place) {
        let from = self.covered.get();
        if from.offset() >= to.offset() || self.poison.is_set() {
            return;
        }
        self.covered.set(to);
        let flushes: Vec<Op<()>> = {
            let segments = self.segments.borrow();
            let after = segments.iter().rev().take_while(|segment| segment.end() > from.offset());
            let covered = after.filter(|segment| segment.base() < to.offset());
            let submit = |segment: &crate::Segment<H>| {
                let position = |place: &Place| (place.segment == segment.base()).then_some(place.boundary.position);
                let range = position(&from).unwrap_or(0)..position(&to).unwrap_or(segment.bytes());
                segment.handle.before_flush(&range);
                self.host.ring.fsync_range(segment.handle.file().ring(), range, true)
            };
            covered.map(submit).collect()
        };
        Counters::add(&self.host.counters.flushes, flushes.len() as u64);
        let number = self.flushes.borrow_mut().begin(to.offset());
        let log = self.clone();
        spawn_local(async move {
            flushed(flushes, |error| log.fail(format!("flushing: {error}"))).await;
            log.check_keeper();
            // A flight that failed has landed too: nothing waits for it, and the poison keeps the mark where it is.
            let reached = log.flushes.borrow_mut().land(number);
            if let Some(reached) = reached.filter(|_| !log.poison.is_set()) {
                log.durable.set(log.durable.get().max(reached));
                log.keeper.note_durable(log.marks(reached));
            }
            log.moved();
        });
    }

    /// Waits until everything before `target`, which is placed already, is at `level`.
    ///
    /// # Errors
    /// `Poisoned`.
    pub async fn reach(&self, level: Level, target: Offset) -> Result<(), CommitError> {
        match level {
            Level::Placed => self.poison.check(),
            Level::Durable => self.reach_durable(target).await,
        }
    }

    async fn reach_durable(&self, target: Offset) -> Result<(), CommitError> {
        loop {
            let progress = self.progress.wait();
            self.poison.check()?;
            if self.durable.get() >= target {
                return Ok(());
            }
            progress.await;
        }
    }

    /// Bytes of a segment were written and will not be flushed soon.
    pub fn wrote(self: &Rc<Self>, segment: Offset, range: Range<u64>) {
        if self.host.config.durable {
            return;
        }
        let file = {
            let segments = self.segments.borrow();
            let segment = segments.get(segment).expect("a segment that is being written is not trimmed");
            segment.handle.file().ring().clone()
        };
        let log = Rc::downgrade(self);
        self.host.pace.note(&self.host.ring, self.id, segment, &file, range, move |error| {
            if let Some(log) = log.upgrade() {
                log.fail(format!("write-back: {error}"));
            }
        });
    }

    /// Seals the segments all of whose bytes lie before `placed`. Each is flushed through the ring first: the keeper's own flush then finds
    /// nothing to wait for.
    pub fn seal_finished(self: &Rc<Self>, placed: Offset) {
        loop {
            let sealable = self.segments.borrow_mut().take_sealable(placed);
            let Some(job) = sealable else { break };
            let number = self.seals.borrow_mut().begin(job.end);
            // A trim meanwhile gives the segment up, but leaves its file until it is sealed.
            let (file, bytes, lease) = {
                let segments = self.segments.borrow();
                let segment = segments.get(job.base).expect("a segment to seal is there");
                (segment.handle.file().ring().clone(), segment.bytes(), segments.lease(job.base))
            };
            let hurry = self.host.config.durable || self.closing.get();
            let (pressed, closes) = (self.host.pace.pressed().wait(), self.closes.wait());
            // A dropped engine does not wait for what only waits itself.
            let log = Rc::downgrade(self);
            let given_up = Self::given_up(log.clone(), job.end);
            spawn_local(async move {
                // Nobody waits for a finished segment of a log that does not flush: it leaves the device to others for a while, unless what is
                // dirty has to be written anyway, or a trim wants the file's space back.
                if !hurry {
                    or(or(pressed, closes), or(given_up, sleep(SEAL_LINGER))).await;
                }
                if let Some(log) = log.upgrade() {
                    log.seal(job, file, bytes, number).await;
                }
                drop(lease);
            });
        }
    }

    /// Ends when a trim has given up everything before `end`, or the log is gone.
    async fn given_up(log: Weak<Self>, end: Offset) {
        loop {
            let Some(log) = log.upgrade() else { return };
            let trimmed = log.trimmed.wait();
            if log.segments.borrow().start() >= end {
                return;
            }
            drop(log);
            trimmed.await;
        }
    }

    async fn seal(&self, job: SealJob, file: RingFile, bytes: u64, number: u64) {
        Counters::add(&self.host.counters.flushes, 1);
        // Only what was written: past it, pages of a mapping are dirty and will be cut off.
        let flushed = self.host.ring.fsync_range(&file, 0..bytes, true).await;
        let sealed = match flushed {
            Ok(()) => {
                self.host.pace.flushed(self.id, job.base);
                self.keeper.seal(job, self.durable.get()).await.map_err(|error| format!("sealing a segment: {error}"))
            }
            // Not sealed: recovery takes a sealed segment for durable.
            Err(error) => Err(format!("flushing: {error}")),
        };
        if let Err(what) = sealed {
            self.fail(what);
        }
        let reached = self.seals.borrow_mut().land(number);
        if let Some(reached) = reached.filter(|_| !self.poison.is_set()) {
            self.durable.set(self.durable.get().max(reached));
        }
        self.moved();
    }

    /// Gives up whole segments before `before`; returns the new start.
    ///
    /// # Errors
    /// What the system said.
    pub async fn trim(&self, before: Offset) -> Result<Offset, TrimError> {
        // A log does not start beyond what is durable.
        let dead = self.segments.borrow_mut().trim(before.min(self.durable.get()));
        let start = dead.start;
        self.trimmed.notify_all();
        let durable = self.host.config.durable;
        self.preparer.trim(&self.keeper, dead, move |handle: H| handle.reuse(durable)).await?;
        Ok(start)
    }

    /// Flushes and seals everything, all of which has been written. No flush is running any more when the files are trimmed.
    ///
    /// # Errors
    /// `Poisoned`.
    pub async fn close(&self) -> Result<(), CommitError> {
        self.closing.set(true);
        self.closes.notify_all();
        loop {
            let progress = self.progress.wait();
            self.check_keeper();
            self.poison.check()?;
            if !self.is_flushing() && self.seals.borrow().is_empty() {
                break;
            }
            progress.await;
        }
        self.preparer.stop().await;
        // Segments given up earlier whose last reader has gone since.
        self.trim(Offset(0)).await.map_err(|error| CommitError::Poisoned { what: error.to_string() })?;
        let jobs = self.segments.borrow_mut().finish();
        let end = self.segments.borrow().end();
        let marks = Marks { durable: end, ..self.marks(end) };
        self.keeper
            .close(jobs, marks)
            .await
            .map_err(|error| CommitError::Poisoned { what: format!("closing: {error}") })?;
        self.durable.set(end);
        Ok(())
    }
}

/// The open logs of an engine.
pub struct Logs<L>(RefCell<Vec<Option<Rc<L>>>>);

impl<L> Default for Logs<L> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<L> Logs<L> {
    /// One of them.
    pub fn get(&self, log: LogId) -> Option<Rc<L>> {
        self.0.borrow().get(log.0 as usize)?.clone()
    }

    /// Several: `None` if one is not open.
    pub fn all(&self, ids: impl Iterator<Item = LogId>) -> Option<Vec<Rc<L>>> {
        ids.map(|id| self.get(id)).collect()
    }

    /// Adds one.
    ///
    /// # Panics
    /// If it is open.
    pub fn insert(&self, id: LogId, log: L) {
        let mut logs = self.0.borrow_mut();
        let index = id.0 as usize;
        if logs.len() <= index {
            logs.resize_with(index + 1, || None);
        }
        assert!(logs[index].replace(Rc::new(log)).is_none(), "{id} is opened once in an engine's life");
    }

    /// All of them, in order.
    pub fn list(&self) -> Vec<Rc<L>> {
        self.0.borrow().iter().flatten().cloned().collect()
    }

    /// Takes all of them out.
    pub fn take(&self) -> Vec<Rc<L>> {
        self.0.take().into_iter().flatten().collect()
    }
}
