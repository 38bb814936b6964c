//! One log: appends, rolls, trims, close.

use crate::{Shared, commit, gather::Run};
use log_api::{
    AppendError, Appended, Batch, CommitError, Counters, Epoch, LogId, Marks, Offset, OpenError, Recovery, TrimError,
};
use log_segment::{
    Files, Flights, Keeper, LogConfig, Medium, Poison, Preparer, Recovered, SegmentFile, Segments, recover,
};
use shard_ring::{Event, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) shared: Rc<Shared>,
    pub(crate) segments: RefCell<Segments<SegmentFile>>,
    pub(crate) keeper: Keeper,
    preparer: Preparer<Buffered>,
    epoch: Epoch,
    /// Appended and not yet handed to the kernel, in order.
    pub(crate) staged: RefCell<VecDeque<Run>>,
    pub(crate) placed: Cell<Offset>,
    pub(crate) durable: Cell<Offset>,
    /// Everything before it was taken by a commit.
    pub(crate) submitted: Cell<Offset>,
    /// Everything before it was written with RWF_DSYNC or is covered by a flush that was submitted.
    pub(crate) covered: Cell<Offset>,
    /// Commits on their way to the placed mark, and those of them that move the durable mark too.
    pub(crate) placing: RefCell<Flights>,
    pub(crate) syncing: RefCell<Flights>,
    pub(crate) poison: Poison,
    /// A commit or a seal came back.
    pub(crate) progress: Event,
    seals_running: Cell<u32>,
}

/// Opens prepared segments: nothing but a file.
#[derive(Clone, Copy, Debug)]
struct Buffered;

impl Medium for Buffered {
    type Handle = File;

    fn open(&self, path: &Path, _bytes: u64) -> io::Result<File> {
        File::options().read(true).write(true).open(path)
    }
}

/// Recovery and the opening of all its files, in one job off the shard.
struct Opened {
    recovered: Recovered,
    sealed: Vec<File>,
    active: File,
}

fn open_files(config: &LogConfig) -> Result<Opened, OpenError> {
    let recovered = recover(config, &Files::new())?;
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action: "open", path, source }
    };
    let sealed = recovered
        .sealed
        .iter()
        .map(|segment| File::open(&segment.path).map_err(fail(&segment.path)))
        .collect::<Result<_, _>>()?;
    let active =
        Buffered.open(&recovered.active.path, recovered.active.capacity).map_err(fail(&recovered.active.path))?;
    Ok(Opened { sealed, active, recovered })
}

impl Log {
    pub(crate) async fn open(shared: &Rc<Shared>, id: LogId) -> Result<(Self, Recovery), OpenError> {
        let config = LogConfig::new(&shared.config, &shared.data, id);
        let job = config.clone();
        let opened = shared.helper.run(&shared.ring, move || open_files(&job)).await?;
        let recovered = opened.recovered;
        let recovery = recovered.summary();
        let ring = &shared.ring;
        let sealed = recovered
            .sealed
            .into_iter()
            .zip(opened.sealed)
            .map(|(segment, file)| (segment, SegmentFile::new(ring, file)));
        let active = (recovered.active, SegmentFile::new(ring, opened.active));
        let preparer = Preparer::new(ring, &shared.helper, &shared.data, &config, Buffered, recovered.next_number);
        preparer.start();
        Counters::add(&shared.counters.prepared_bytes, recovered.prepared_bytes);
        let log = Self {
            id,
            segments: RefCell::new(Segments::new(&config, sealed.collect(), active)),
            keeper: Keeper::new(ring, &shared.helper, &shared.data, &config, recovered.marks.start),
            preparer,
            epoch: recovered.epoch,
            staged: RefCell::default(),
            placed: Cell::new(recovered.marks.placed),
            durable: Cell::new(recovered.marks.durable),
            submitted: Cell::new(recovered.marks.end),
            covered: Cell::new(recovered.marks.durable),
            placing: RefCell::default(),
            syncing: RefCell::default(),
            poison: Poison::default(),
            progress: Event::new(),
            seals_running: Cell::new(0),
            shared: shared.clone(),
        };
        Ok((log, recovery))
    }

    pub(crate) fn append(&self, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        if self.poison.is_set() {
            return Err(AppendError::Poisoned);
        }
        let bytes: u64 = batches.iter().map(|batch| batch.bytes().len() as u64).sum();
        let shared = &self.shared;
        let most = shared.config.segment_bytes.min(shared.config.inflight_bytes_max);
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, bytes_max: most });
        }
        if !self.fits(bytes) {
            Counters::add(&shared.counters.busy, 1);
            return Err(AppendError::Busy);
        }
        if self.segments.borrow().room() < bytes {
            self.roll()?;
        }
        let mut segments = self.segments.borrow_mut();
        let mut staged = self.staged.borrow_mut();
        let base = segments.end();
        let (segment, mut at) = (segments.active().base(), segments.active().bytes());
        for batch in batches {
            shared.gather.copy(batch, segments.end(), self.epoch, segment, at, &mut staged);
            at += batch.bytes().len() as u64;
            segments.append(batch.records(), batch.bytes().len() as u64);
        }
        shared.inflight.set(shared.inflight.get() + bytes);
        Counters::add(&shared.counters.appended_batches, batches.len() as u64);
        Counters::add(&shared.counters.appended_bytes, bytes);
        Counters::add(&shared.counters.copied_bytes, bytes);
        Ok(Appended { base, end: segments.end() })
    }

    /// Bounded are the bytes that are not written yet; and in a durable log those that are not durable yet, by which recovery tells a torn
    /// tail from damage.
    fn fits(&self, bytes: u64) -> bool {
        let shared = &self.shared;
        let most = shared.config.inflight_bytes_max;
        let tail = || self.segments.borrow().bytes_after(self.durable.get());
        shared.inflight.get() + bytes <= most
            && shared.gather.room() as u64 >= bytes
            && (!shared.config.durable || tail() + bytes <= most)
    }

    /// Goes on in the next segment, which stands ready, or says why it does not.
    fn roll(&self) -> Result<(), AppendError> {
        let counters = &self.shared.counters;
        let Some(next) = self.preparer.take() else {
            if self.preparer.is_full() {
                return Err(AppendError::Full);
            }
            Counters::add(&counters.rolls_waited, 1);
            Counters::add(&counters.busy, 1);
            return Err(AppendError::Busy);
        };
        let mut segments = self.segments.borrow_mut();
        self.keeper.adopt(&next.file, segments.end());
        segments.roll(next.file, SegmentFile::new(&self.shared.ring, next.handle));
        Counters::add(&counters.rolls, 1);
        counters.prepared_bytes.set(counters.prepared_bytes.get().max(self.preparer.prepared_bytes()));
        Ok(())
    }

    pub(crate) async fn room(self: &Rc<Self>, bytes: u64) {
        let shared = &self.shared;
        let ready = || {
            let ready = self.fits(bytes) || self.poison.is_set();
            // A caller that never commits durably would wait for ever: in a durable log what is not durable is bounded too.
            if !ready && shared.config.durable && self.syncing.borrow().is_empty() {
                commit::cover(self);
            }
            ready
        };
        shared.turns.wait(&shared.progress, ready).await;
        if self.segments.borrow().room() < bytes && !self.preparer.is_ready() {
            self.preparer.room().await;
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        let segments = self.segments.borrow();
        Marks { start: segments.start(), durable: self.durable.get(), placed: self.placed.get(), end: segments.end() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.shared.data.log_dir(self.id)
    }

    pub(crate) fn fail(&self, what: String) {
        self.poison.set(what, &self.progress);
        self.shared.progress.notify_all();
    }

    /// Seals segments all of whose bytes have been written.
    pub(crate) fn seal_finished(self: &Rc<Self>) {
        loop {
            let sealable = self.segments.borrow_mut().take_sealable(self.placed.get());
            let Some(job) = sealable else { break };
            self.seals_running.set(self.seals_running.get() + 1);
            let (base, end) = (job.base, job.end);
            // Flushed through the ring first: the helper's own flush then finds nothing to wait for, and the next segment is not kept waiting.
            let flush = self.segments.borrow().get(base).map(|old| self.shared.ring.fsync(old.handle.ring(), true));
            Counters::add(&self.shared.counters.flushes, 1);
            // A trim meanwhile gives the segment up, but leaves its file until it is sealed.
            let lease = self.segments.borrow().lease(base);
            let log = self.clone();
            spawn_local(async move {
                if let Some(flush) = flush
                    && let Err(error) = flush.await
                {
                    // Not sealed: recovery takes a sealed segment for durable.
                    log.fail(format!("flushing: {error}"));
                } else {
                    match log.keeper.seal(job, log.durable.get()).await {
                        Ok(()) => log.flushed(base, end),
                        Err(error) => log.fail(format!("sealing a segment: {error}")),
                    }
                }
                drop(lease);
                log.seals_running.set(log.seals_running.get() - 1);
                log.progress.notify_all();
            });
        }
    }

    /// A sealed segment has been flushed; the mark follows if nothing before it is missing.
    fn flushed(&self, base: Offset, end: Offset) {
        if base <= self.durable.get() && !self.poison.is_set() {
            self.durable.set(self.durable.get().max(end));
        }
    }

    pub(crate) async fn trim(&self, before: Offset) -> Result<Offset, TrimError> {
        // A log does not start beyond what is durable.
        let dead = self.segments.borrow_mut().trim(before.min(self.durable.get()));
        let start = dead.start;
        self.keeper.trim(dead).await?;
        Ok(start)
    }

    /// Flushes and seals everything. Everything appended has been written, and no write is running, when the files are trimmed.
    pub(crate) async fn close(&self) -> Result<(), CommitError> {
        loop {
            let progress = self.progress.wait();
            self.poison.check()?;
            if self.placing.borrow().is_empty() && self.seals_running.get() == 0 {
                break;
            }
            progress.await;
        }
        // Segments given up earlier whose last reader has gone since.
        self.trim(Offset(0)).await.map_err(|error| CommitError::Poisoned { what: error.to_string() })?;
        let jobs = self.segments.borrow_mut().finish();
        let end = self.segments.borrow().end();
        let marks = Marks { durable: end, placed: end, ..self.marks() };
        self.keeper
            .close(jobs, marks)
            .await
            .map_err(|error| CommitError::Poisoned { what: format!("closing: {error}") })?;
        self.durable.set(end);
        Ok(())
    }
}
