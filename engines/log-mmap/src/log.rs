//! One log: appends, rolls, trims, close.

use crate::{
    Shared, flush,
    mapping::{Mapping, Populate},
    segment::{Live, Mapped, map},
};
use log_api::{
    AppendError, Appended, Batch, CommitError, Counters, Epoch, LogId, Marks, Offset, OpenError, Recovery, TrimError,
};
use log_segment::{Files, Flights, Keeper, LogConfig, Poison, Preparer, Recovered, Segments, Turns, recover};
use shard_ring::{Event, spawn_local};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    path::{Path, PathBuf},
    rc::Rc,
};

pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) shared: Rc<Shared>,
    pub(crate) segments: RefCell<Segments<Live>>,
    pub(crate) keeper: Keeper,
    preparer: Preparer<Mapped>,
    epoch: Epoch,
    /// Everything before it survives a power cut.
    pub(crate) durable: Cell<Offset>,
    pub(crate) flights: RefCell<Flights>,
    /// A flush or a seal came back.
    pub(crate) progress: Event,
    pub(crate) poison: Poison,
    seals_running: Cell<u32>,
    turns: Turns,
}

/// Recovery and the opening of all its files, in one job off the shard.
struct Opened {
    recovered: Recovered,
    sealed: Vec<File>,
    active: (File, Mapping),
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
    let active = &recovered.active;
    let mapped = map(&active.path, active.capacity, active.bytes, Some(Populate::Read)).map_err(fail(&active.path))?;
    Ok(Opened { sealed, active: mapped, recovered })
}

impl Log {
    pub(crate) async fn open(shared: &Rc<Shared>, log: LogId) -> Result<(Self, Recovery), OpenError> {
        let config = LogConfig::new(&shared.config, &shared.data, log);
        let job = config.clone();
        let opened = shared.helper.run(&shared.ring, move || open_files(&job)).await?;
        let recovered = opened.recovered;
        let recovery = recovered.summary();
        let sealed = recovered
            .sealed
            .into_iter()
            .zip(opened.sealed)
            .map(|(segment, file)| (segment, Live::new(&shared.ring, file, None)))
            .collect();
        let (file, mapping) = opened.active;
        let active = (recovered.active, Live::new(&shared.ring, file, Some(mapping)));
        // A flush writes every dirty page, so pages of a log that flushes must not be dirty before they hold anything.
        let medium = Mapped { populate: if config.durable { Populate::Read } else { Populate::Write } };
        let preparer =
            Preparer::new(&shared.ring, &shared.helper, &shared.data, &config, medium, recovered.next_number);
        preparer.start();
        Counters::add(&shared.counters.prepared_bytes, recovered.prepared_bytes);
        let log = Self {
            id: log,
            segments: RefCell::new(Segments::new(&config, sealed, active)),
            keeper: Keeper::new(&shared.ring, &shared.helper, &shared.data, &config, recovered.marks.start),
            preparer,
            epoch: recovered.epoch,
            durable: Cell::new(recovered.marks.durable),
            flights: RefCell::default(),
            progress: Event::new(),
            poison: Poison::default(),
            seals_running: Cell::new(0),
            turns: Turns::default(),
            shared: shared.clone(),
        };
        Ok((log, recovery))
    }

    pub(crate) fn append(self: &Rc<Self>, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        if self.poison.is_set() {
            return Err(AppendError::Poisoned);
        }
        let bytes: u64 = batches.iter().map(|batch| batch.bytes().len() as u64).sum();
        let most = self.largest_append();
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, bytes_max: most });
        }
        if !self.fits(bytes) {
            Counters::add(&self.shared.counters.busy, 1);
            return Err(AppendError::Busy);
        }
        if self.segments.borrow().room() < bytes {
            self.roll()?;
        }
        let mut segments = self.segments.borrow_mut();
        let base = segments.end();
        let mapping = segments.active().handle.mapping.clone().expect("the active segment is mapped");
        for batch in batches {
            let offset = segments.end();
            mapping.append_with(batch.bytes().len(), |place| {
                place.copy_from_slice(batch.bytes());
                log_format::assign(place, offset, self.epoch);
            });
            segments.append(batch.records(), batch.bytes().len() as u64);
        }
        let counters = &self.shared.counters;
        Counters::add(&counters.appended_batches, batches.len() as u64);
        for count in [&counters.appended_bytes, &counters.copied_bytes, &counters.written_bytes] {
            Counters::add(count, bytes);
        }
        Ok(Appended { base, end: segments.end() })
    }

    /// Goes on in the next segment, which stands ready, or says why it does not.
    fn roll(self: &Rc<Self>) -> Result<(), AppendError> {
        let counters = &self.shared.counters;
        let Some(next) = self.preparer.take() else {
            if self.preparer.is_full() {
                return Err(AppendError::Full);
            }
            Counters::add(&counters.rolls_waited, 1);
            Counters::add(&counters.busy, 1);
            return Err(AppendError::Busy);
        };
        let (file, mapping) = next.handle;
        let mut segments = self.segments.borrow_mut();
        self.keeper.adopt(&next.file, segments.end());
        segments.roll(next.file, Live::new(&self.shared.ring, file, Some(mapping)));
        Counters::add(&counters.rolls, 1);
        counters.prepared_bytes.set(counters.prepared_bytes.get().max(self.preparer.prepared_bytes()));
        let end = segments.end();
        let job = segments.take_sealable(end);
        self.unmap_old(&mut segments);
        drop(segments);
        if let Some(job) = job {
            self.seals_running.set(self.seals_running.get() + 1);
            let (base, end) = (job.base, job.end);
            // Flushed through the ring first: the helper's own flush then finds nothing to wait for, and the next segment is not kept waiting.
            let flush =
                self.segments.borrow().get(base).map(|old| self.shared.ring.fsync(old.handle.file.ring(), true));
            Counters::add(&counters.flushes, 1);
            // A trim meanwhile gives the segment up, but leaves its file until it is sealed.
            let lease = self.segments.borrow().lease(base);
            let log = self.clone();
            spawn_local(async move {
                if let Some(flush) = flush
                    && let Err(error) = flush.await
                {
                    // Not sealed: recovery takes a sealed segment for durable.
                    log.poison.set(format!("flushing: {error}"), &log.progress);
                } else {
                    match log.keeper.seal(job, log.durable.get()).await {
                        Ok(()) => log.flushed(base, end),
                        Err(error) => log.poison.set(format!("sealing a segment: {error}"), &log.progress),
                    }
                }
                drop(lease);
                log.seals_running.set(log.seals_running.get() - 1);
                log.progress.notify_all();
            });
        }
        Ok(())
    }

    /// A sealed segment has been flushed; the mark follows if nothing before it is missing.
    fn flushed(&self, base: Offset, end: Offset) {
        if base <= self.durable.get() && !self.poison.is_set() {
            self.durable.set(self.durable.get().max(end));
        }
    }

    /// Old segments leave the address space: what reads them goes by the ring. Unmapping 128 MiB takes milliseconds, so the helper does it,
    /// unless a reader still holds the mapping.
    fn unmap_old(&self, segments: &mut Segments<Live>) {
        let kept = 1 + usize::try_from(self.shared.config.tail_cache_bytes / self.shared.config.segment_bytes)
            .unwrap_or(usize::MAX)
            .max(1);
        let old: Vec<Offset> =
            segments.iter().rev().skip(kept).take_while(|s| s.handle.mapping.is_some()).map(|s| s.base()).collect();
        for base in old {
            let mapping = segments.get_mut(base).and_then(|segment| segment.handle.mapping.take());
            if let Some(Ok(mapping)) = mapping.map(Rc::try_unwrap) {
                let unmapping = self.shared.helper.run(&self.shared.ring, move || drop(mapping));
                spawn_local(unmapping);
            }
        }
    }

    fn largest_append(&self) -> u64 {
        let config = &self.shared.config;
        if config.durable { config.segment_bytes.min(config.inflight_bytes_max) } else { config.segment_bytes }
    }

    /// In a durable log, what is not durable yet stays under the bound by which recovery tells a torn tail from damage.
    fn fits(&self, bytes: u64) -> bool {
        let config = &self.shared.config;
        !config.durable || self.segments.borrow().bytes_after(self.durable.get()) + bytes <= config.inflight_bytes_max
    }

    pub(crate) async fn room(self: &Rc<Self>, bytes: u64) {
        let ready = || {
            let ready = self.fits(bytes) || self.poison.is_set();
            // A caller that never commits durably would wait for ever: the bound is of what is not durable.
            if !ready && self.flights.borrow().is_empty() {
                flush::submit(self);
            }
            ready
        };
        self.turns.wait(&self.progress, ready).await;
        if self.segments.borrow().room() < bytes && !self.preparer.is_ready() {
            self.preparer.room().await;
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        let segments = self.segments.borrow();
        Marks { start: segments.start(), durable: self.durable.get(), placed: segments.end(), end: segments.end() }
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        self.segments
            .borrow()
            .iter()
            .filter_map(|segment| segment.handle.mapping.as_ref())
            .map(|mapping| mapping.len())
            .sum()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.shared.data.log_dir(self.id)
    }

    pub(crate) async fn trim(&self, before: Offset) -> Result<Offset, TrimError> {
        // A log does not start beyond what is durable.
        let dead = self.segments.borrow_mut().trim(before.min(self.durable.get()));
        let start = dead.start;
        self.keeper.trim(dead).await?;
        Ok(start)
    }

    /// Flushes and seals everything. No flush is running any more when the files are trimmed.
    pub(crate) async fn close(self: &Rc<Self>) -> Result<(), CommitError> {
        loop {
            let progress = self.progress.wait();
            self.poison.check()?;
            if self.flights.borrow().is_empty() && self.seals_running.get() == 0 {
                break;
            }
            progress.await;
        }
        // Segments given up earlier whose last reader has gone since.
        self.trim(Offset(0)).await.map_err(|error| CommitError::Poisoned { what: error.to_string() })?;
        let jobs = self.segments.borrow_mut().finish();
        let marks = Marks { durable: self.segments.borrow().end(), ..self.marks() };
        self.keeper
            .close(jobs, marks)
            .await
            .map_err(|error| CommitError::Poisoned { what: format!("closing: {error}") })?;
        self.durable.set(marks.durable);
        Ok(())
    }
}
