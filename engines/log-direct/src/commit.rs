//! Carries out what `flights.rs` decides: submits writes and flushes, awaits them in tasks of their own, moves the marks, seals what has been
//! left behind, poisons at the first failure. A commit's future only waits for the marks, so dropping it abandons nothing.

use crate::{
    PAGE,
    flights::{Mark, Write},
    log::{Log, State},
    memory::Memory,
    staging::Place,
};
use futures_lite::future::or;
use log_api::{CommitError, Counters, Level, Offset};
use log_segment::{SEAL_LINGER, SealJob, flushed, segment_path};
use shard_ring::{Op, RingFile, Sync, Wait, sleep, spawn_local};
use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::Poll,
    time::Instant,
};

/// A commit of at least so many bytes of log enters at once: a system call is little beside it, and the device need not wait until those who
/// run beside it have copied theirs.
const ENTER_FROM_BYTES: u64 = 64 << 10;

/// A write with the kernel.
struct InAir {
    write: Write,
    /// Bytes of it that earlier operations have written: short writes are gone on with.
    done: usize,
    op: Op<u32>,
}

impl Log {
    /// Submits what it takes to bring everything appended so far to `level`. Returns the end of what was appended.
    pub(crate) fn launch(self: &Rc<Self>, level: Level) -> Result<Offset, CommitError> {
        let (target, at_once) = {
            let state = &mut *self.state.borrow_mut();
            // Of all logs: many that commit a little in one round are one enter.
            let idles = self.shared.is_quiet();
            if let Some(what) = &state.poisoned {
                return Err(CommitError::Poisoned { what: what.clone() });
            }
            let offset = state.segments.end();
            if !state.flights.must_launch(&state.staging, level) {
                return Ok(offset);
            }
            let end = Mark { place: state.staging.end(), offset };
            let bytes = std::mem::take(&mut state.staged);
            let mut writes = Vec::with_capacity(state.staging.undispatched());
            let launched = state.flights.launch(level, &mut state.staging, end, bytes, &mut writes);
            state.segments.mark();
            Counters::add(&self.shared.counters.tail_waits, u64::from(launched.waits_for_tail));
            if !writes.is_empty() {
                let air = writes.into_iter().map(|write| self.submit(state, write, 0)).collect();
                self.shared.spawn(land(self.clone(), air));
            }
            (offset, (idles && level == Level::Durable) || bytes >= ENTER_FROM_BYTES)
        };
        // The device would idle until all who may run have run: with one commit in flight that is its whole pause.
        if at_once {
            self.shared.ring.submit();
        }
        self.settle();
        Ok(target)
    }

    fn submit(&self, state: &State, write: Write, done: usize) -> InAir {
        let segment = state.segments.get(Offset(write.segment)).expect("a segment with bytes to write is not given up");
        let (sync, counters) = (if write.sync { Sync::Dsync } else { Sync::None }, &self.shared.counters);
        let rest = write.pages.slice(done..write.pages.len());
        Counters::add(&counters.writes, 1);
        Counters::add(&counters.flushes, u64::from(write.sync));
        Counters::add(&counters.written_bytes, rest.len() as u64);
        let op = self.shared.ring.write(&segment.handle, rest, write.at + done as u64, sync);
        InAir { write, done, op }
    }

    /// One operation has come back. Returns the operation that follows from it.
    fn landed(&self, landed: InAir, result: io::Result<u32>) -> Option<InAir> {
        let state = &mut *self.state.borrow_mut();
        if state.poisoned.is_some() {
            return None;
        }
        let InAir { write, done, .. } = landed;
        let failure = match result {
            Ok(count) if done + count as usize == write.pages.len() => {
                return state.flights.written(&write).map(|next| self.submit(state, next, 0));
            }
            // Direct I/O goes on at a page: what a short write left inside one is written again.
            Ok(count) if count as usize >= PAGE => {
                let done = done + (count as usize & !(PAGE - 1));
                return Some(self.submit(state, write, done));
            }
            Ok(count) => format!("only {count} bytes were written"),
            Err(error) => error.to_string(),
        };
        let path = segment_path(&self.config.dir, Offset(write.segment));
        self.poison(state, format!("write {} at byte {}: {failure}", path.display(), write.at + done as u64));
        None
    }

    /// The tail page that was held for a commit that has not come.
    fn release(&self) -> Option<InAir> {
        let state = &mut *self.state.borrow_mut();
        if state.poisoned.is_some() {
            return None;
        }
        state.flights.release().map(|write| self.submit(state, write, 0))
    }

    fn has_due(&self) -> bool {
        let state = self.state.borrow();
        state.poisoned.is_none() && state.flights.has_due()
    }

    /// Moves the marks, and starts what their new place allows.
    fn settle(self: &Rc<Self>) {
        let shared = &self.shared;
        let lingers = !self.config.durable && self.preparer.may_linger();
        {
            let state = &mut *self.state.borrow_mut();
            if let Some(what) = self.keeper.failure() {
                self.poison(state, what);
            }
            if state.poisoned.is_none() {
                let durable_before = state.flights.durable();
                let written = state.flights.settle();
                state.unwritten -= written;
                Memory::subtract(&shared.memory.unwritten, written);
                while let Some(number) = state.flights.flush_due() {
                    let files = state.flights.unsynced().filter_map(|segment| state.segments.get(Offset(segment)));
                    let flushes: Vec<_> = files.map(|segment| shared.ring.fsync(&segment.handle, true)).collect();
                    Counters::add(&shared.counters.flushes, flushes.len() as u64);
                    shared.spawn(flush(self.clone(), number, flushes));
                }
                let durable = state.flights.durable();
                while let Some(job) = state.segments.take_sealable(state.flights.placed().offset) {
                    state.finished.push_back((job, Instant::now() + SEAL_LINGER));
                }
                if durable != durable_before {
                    let start = state.segments.start();
                    let (placed, end) = (state.flights.placed().offset, state.segments.end());
                    self.keeper.note_durable(log_api::Marks { start, durable: durable.offset, placed, end });
                }
            }
        }
        if !lingers {
            // Acknowledgements wait for nothing else; or segments run short, and come back only when they are durable.
            self.seal_finished();
        } else if self.next_due().is_some() && !self.sealing.replace(true) {
            // Not one of those that `close` waits for, nor one that keeps a dropped engine.
            spawn_local(seal_when_due(Rc::downgrade(self), self.preparer.hurried()));
        }
        shared.trim_cache();
        self.moved.notify_all();
        shared.memory.eased.notify_all();
    }

    /// Nothing more is acknowledged. What was not written is given up, and its memory with it.
    pub(crate) fn poison(&self, state: &mut State, what: String) {
        if state.poisoned.is_some() {
            return;
        }
        state.poisoned = Some(what);
        state.staged = 0;
        Memory::subtract(&self.shared.memory.unwritten, std::mem::take(&mut state.unwritten));
        Memory::subtract(&self.shared.memory.held, state.staging.abandon());
    }

    /// Waits until everything before `target` has reached `level`.
    pub(crate) async fn reach(&self, level: Level, target: Offset) -> Result<(), CommitError> {
        loop {
            let moved = self.moved.wait();
            {
                let state = self.state.borrow();
                let mark = match level {
                    Level::Placed => state.flights.placed(),
                    Level::Durable => state.flights.durable(),
                };
                if mark.offset >= target {
                    return Ok(());
                }
                if let Some(what) = &state.poisoned {
                    return Err(CommitError::Poisoned { what: what.clone() });
                }
            }
            moved.await;
        }
    }

    /// The oldest finished segment that waits to be sealed, and that nobody has given up meanwhile.
    fn next_finished(&self) -> Option<SealJob> {
        let state = &mut *self.state.borrow_mut();
        if state.poisoned.is_some() {
            state.finished.clear();
        }
        while let Some((job, _)) = state.finished.pop_front() {
            if state.segments.get(job.base).is_some() {
                return Some(job);
            }
        }
        None
    }

    /// Seals all of them. A task is polled as it is spawned: the helper may have answered by then, and the seal goes on to the state.
    fn seal_finished(self: &Rc<Self>) {
        while let Some(job) = self.next_finished() {
            self.shared.spawn(seal(self.clone(), job));
        }
    }

    /// When the oldest of them is due.
    fn next_due(&self) -> Option<Instant> {
        self.state.borrow().finished.front().map(|(_, due)| *due)
    }

    /// Nothing has failed, also of what nobody waited for.
    pub(crate) fn is_sound(&self) -> Result<(), CommitError> {
        let failed = self.state.borrow().poisoned.clone().or_else(|| self.keeper.failure());
        failed.map_or(Ok(()), |what| Err(CommitError::Poisoned { what }))
    }

    /// The clean end of a log that is not poisoned: its segments sealed, its marks written.
    pub(crate) async fn finish(self: &Rc<Self>) -> Result<(), CommitError> {
        let target = self.launch(Level::Durable)?;
        self.reach(Level::Durable, target).await?;
        self.seal_finished();
        let (jobs, marks) = {
            let state = &mut *self.state.borrow_mut();
            let (start, durable) = (state.segments.start(), state.flights.durable().offset);
            (state.segments.finish(), log_api::Marks { start, durable, placed: durable, end: durable })
        };
        self.preparer.stop().await;
        self.keeper.close(jobs, marks).await.map_err(|error| {
            let what = format!("close {}: {error}", self.config.dir.display());
            self.poison(&mut self.state.borrow_mut(), what.clone());
            CommitError::Poisoned { what }
        })
    }
}

/// Awaits the writes of one commit, and those that waited for them, in the order in which they come back.
async fn land(log: Rc<Log>, mut air: Vec<InAir>) {
    while !air.is_empty() {
        let (index, result) = poll_fn(|context| {
            for (index, flying) in air.iter_mut().enumerate() {
                if let Poll::Ready(result) = Pin::new(&mut flying.op).poll(context) {
                    return Poll::Ready((index, result));
                }
            }
            Poll::Pending
        })
        .await;
        let landed = air.swap_remove(index);
        air.extend(log.landed(landed, result));
        log.settle();
        if air.is_empty() && log.has_due() {
            // Those who were acknowledged just now may append and commit first, and take the page along.
            let_others_run().await;
            air.extend(log.release());
        }
    }
}

/// Goes to the end of the line of the shard's tasks once.
async fn let_others_run() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Awaits the flush of a commit: all of its files, or none of it counts.
async fn flush(log: Rc<Log>, number: u64, flushes: Vec<Op<()>>) {
    let failed = |error: io::Error| {
        log.poison(&mut log.state.borrow_mut(), format!("flush {}: {error}", log.config.dir.display()));
    };
    flushed(flushes, failed).await;
    {
        let state = &mut *log.state.borrow_mut();
        if state.poisoned.is_none() {
            state.flights.flushed(number);
        }
    }
    log.settle();
}

/// Seals the finished segments of a log that does not flush, each when it is due, or all when segments run short. Else nobody waits for them: a
/// burst has the device for itself.
async fn seal_when_due(log: Weak<Log>, mut hurried: Wait) {
    loop {
        let due = log.upgrade().and_then(|log| {
            let due = log.next_due();
            log.sealing.set(due.is_some());
            due
        });
        let Some(due) = due else { return };
        let in_time = async {
            sleep(due.saturating_duration_since(Instant::now())).await;
            false
        };
        let in_a_hurry = async {
            (&mut hurried).await;
            true
        };
        let hurries = or(in_a_hurry, in_time).await;
        let Some(log) = log.upgrade() else { return };
        if hurries {
            hurried = log.preparer.hurried();
            log.seal_finished();
        }
        // A close may have taken some, or all.
        if log.next_due().is_some_and(|due| due <= Instant::now())
            && let Some(job) = log.next_finished()
        {
            log.shared.clone().spawn(seal(log, job));
        }
    }
}

/// Trims a segment that will not be written any more to its length, off the shard. The last write to it has completed.
async fn seal(log: Rc<Log>, job: SealJob) {
    let (base, durable_before) = (job.base, log.state.borrow().flights.durable().offset);
    let end = Mark { place: Place { segment: base.0, position: job.bytes }, offset: job.end };
    let sealed = log.keeper.seal(job, durable_before).await;
    {
        let state = &mut *log.state.borrow_mut();
        match sealed {
            Ok(()) => state.flights.sealed(end),
            Err(error) => {
                log.poison(state, format!("seal {}: {error}", segment_path(&log.config.dir, base).display()));
            }
        }
    }
    log.settle();
}

/// Whether O_DIRECT stands in the flags of an open segment.
pub(crate) fn is_direct(file: &RingFile) -> bool {
    rustix::fs::fcntl_getfl(file.file()).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::DIRECT))
}

#[cfg(test)]
mod tests {
    use crate::Direct;
    use log_api::{AppendError, CommitError, Level, LogEngine, LogId};
    use log_testkit::{Pen, config, directory, in_shard, shape};
    use shard_ring::Ring;
    use std::{fs::File, path::Path};

    const LOGS: [LogId; 2] = [LogId(0), LogId(1)];

    /// Lets the log's operations meet another file: one that fails them.
    fn replace_active(engine: &Direct, ring: &Ring, path: &Path, write: bool) {
        let log = engine.log(LOGS[0]).unwrap();
        let mut state = log.state.borrow_mut();
        let base = state.segments.active().base();
        let file = File::options().read(true).write(write).open(path).unwrap();
        state.segments.get_mut(base).unwrap().handle = ring.adopt(file);
    }

    async fn two_logs(ring: &Ring, dir: &Path) -> (Direct, [Pen; 2]) {
        let engine = Direct::new(ring, config(dir)).await.unwrap();
        let mut pens = Vec::new();
        for log in LOGS {
            let recovery = engine.open(log).await.unwrap();
            pens.push(Pen::new(5, log, recovery.epoch));
        }
        for pen in &mut pens {
            pen.append(&engine, &[shape(3, 1000)]).await;
            pen.commit(&engine, Level::Durable).await;
        }
        (engine, pens.try_into().unwrap())
    }

    /// `level` fails on the first log: what then holds of both.
    async fn poisoned_alone(engine: Direct, [mut failing, mut other]: [Pen; 2], level: Level, word: &str) {
        let before = engine.marks(LOGS[0]).durable;
        failing.try_append(&engine, &[shape(1, 500)]).unwrap();
        other.try_append(&engine, &[shape(1, 500)]).unwrap();
        let groups = LOGS.map(|log| engine.group(log));
        let Err(CommitError::Poisoned { what }) = engine.commit(&groups, level).await else {
            panic!("the commit of a log that cannot be written")
        };
        assert!(what.contains(word), "{what}");
        assert_eq!(engine.marks(LOGS[0]).durable, before, "nothing is acknowledged above a failure");
        assert_eq!(failing.try_append(&engine, &[shape(1, 500)]), Err(AppendError::Poisoned));
        let again = engine.commit(&groups[..1], Level::Placed).await;
        assert_eq!(again, Err(CommitError::Poisoned { what }), "the first failure, for good");
        other.commit(&engine, level).await;
        other.check(&engine).await;
        assert_eq!(engine.shared.memory.unwritten.get(), 0, "a poisoned log takes no part of the budget");
        assert!(engine.close().await.is_err());
    }

    #[test]
    fn a_failed_write_poisons_its_log_alone() {
        let dir = directory();
        let path = dir.path().to_path_buf();
        in_shard(|ring| async move {
            let (engine, pens) = two_logs(&ring, &path).await;
            let segment = path.join("00000/00000000000000000000.log");
            replace_active(&engine, &ring, &segment, false);
            poisoned_alone(engine, pens, Level::Placed, "00000000000000000000.log at byte 0: Bad file descriptor")
                .await;
        });
    }

    #[test]
    fn a_failed_flush_poisons_although_the_writes_succeeded() {
        let dir = directory();
        let path = dir.path().to_path_buf();
        in_shard(|ring| async move {
            let (engine, mut pens) = two_logs(&ring, &path).await;
            // It takes every write, and refuses to be flushed.
            replace_active(&engine, &ring, Path::new("/dev/null"), true);
            pens[0].try_append(&engine, &[shape(1, 500)]).unwrap();
            pens[0].commit(&engine, Level::Placed).await;
            poisoned_alone(engine, pens, Level::Durable, "flush").await;
        });
    }
}
