//! Commits: what was gathered goes out in one `pwritev2`, or in one write with RWF_DSYNC.

use crate::{gather::Run, log::Log};
use log_api::{CommitError, Counters, Level, Offset};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use shard_ring::{Op, RingFile, Slice, Sync, spawn_local};
use std::{
    fs::File,
    io::{self, IoSlice},
    rc::Rc,
};

/// Pieces that one `pwritev2` takes; more go in a further call. With one log there are as many as there are blocks.
const PIECES_MAX: usize = 64;

/// Runs that are written with RWF_DSYNC, each with a flush of its own; more are written together and flushed once.
const DSYNC_RUNS_MAX: usize = 2;

/// Brings what was appended to `logs` to `level`. All writes and flushes are submitted before the first wait (but for the wait for the
/// dirty budget, which comes before anything is taken); they run on when the future is dropped.
pub(crate) async fn commit(logs: &[Rc<Log>], level: Level) -> Result<(), CommitError> {
    if let Some(log) = logs.first().filter(|log| !log.shared.config.durable) {
        log.shared.pace.room().await;
    }
    // A poisoned log does not keep the others from their commit.
    let targets: Vec<Offset> = logs.iter().map(|log| submit(log, level)).collect();
    for (log, target) in logs.iter().zip(targets) {
        reached(log, target, level).await?;
    }
    Ok(())
}

/// Takes what is staged and sends it on its way; returns the log's end.
fn submit(log: &Rc<Log>, level: Level) -> Offset {
    let target = log.segments.borrow_mut().mark().offset;
    if log.poison.is_set() {
        return target;
    }
    let from = log.submitted.replace(target);
    let mut runs: Vec<Run> = log.staged.borrow_mut().drain(..).collect();
    log.shared.gather.retire_full();
    // Every byte since the last flush is here: RWF_DSYNC covers them all.
    let whole = log.covered.get() == from && runs.len() <= DSYNC_RUNS_MAX;
    if level == Level::Durable && whole && !runs.is_empty() {
        log.covered.set(target);
        write_durable(log, runs, target);
        return target;
    }
    if !runs.is_empty() {
        write(log, &mut runs, target);
    }
    if level == Level::Durable {
        cover(log);
    }
    target
}

/// Flushes what was handed to the page cache and is not covered by a flush yet.
pub(crate) fn cover(log: &Rc<Log>) {
    let target = log.submitted.get();
    if log.covered.replace(target) != target {
        flush(log, target);
    }
}

/// Hands the runs to the page cache here and now: a copy in memory, as long as the dirty budget holds.
fn write(log: &Rc<Log>, runs: &mut [Run], target: Offset) {
    let number = log.placing.borrow_mut().begin(target);
    for segment in runs.chunk_by(|a, b| a.segment == b.segment) {
        for pieces in segment.chunks(PIECES_MAX) {
            if let Err(error) = write_pieces(log, pieces) {
                log.fail(format!("writing: {error}"));
                return;
            }
        }
        let last = segment.last().expect("a chunk is not empty");
        log.shared.pace.note(log, last.segment, segment[0].at..last.at + last.bytes());
    }
    written(log, runs);
    place(log, number);
}

fn write_pieces(log: &Log, pieces: &[Run]) -> io::Result<()> {
    let file = file_of(log, pieces[0].segment);
    let counters = &log.shared.counters;
    let total: u64 = pieces.iter().map(Run::bytes).sum();
    let mut done = 0;
    while done < total {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let held: [Option<Slice>; PIECES_MAX] = remaining(pieces, done);
        let count =
            held.iter().flatten().zip(&mut slices).map(|(slice, place)| *place = IoSlice::new(slice.as_ref())).count();
        Counters::add(&counters.writes, 1);
        Counters::add(&counters.system_calls, 1);
        done += put(file.file(), &slices[..count], pieces[0].at + done)?;
    }
    Counters::add(&counters.written_bytes, total);
    Ok(())
}

/// What is left of the pieces after `done` bytes.
fn remaining(pieces: &[Run], done: u64) -> [Option<Slice>; PIECES_MAX] {
    let mut left = [const { None }; PIECES_MAX];
    let mut skip = usize::try_from(done).expect("bytes in memory");
    for (piece, place) in pieces
        .iter()
        .filter(|piece| {
            let whole = skip >= piece.range.len();
            if whole {
                skip -= piece.range.len();
            }
            !whole
        })
        .zip(&mut left)
    {
        *place = Some(piece.block.slice(piece.range.clone()));
    }
    if let Some(first) = left[0].take() {
        left[0] = Some(first.slice(skip..first.len()));
    }
    left
}

fn put(file: &File, slices: &[IoSlice<'_>], at: u64) -> io::Result<u64> {
    loop {
        match pwritev2(file, slices, at, ReadWriteFlags::empty()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => return Ok(bytes as u64),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes with RWF_DSYNC through the ring, in a kernel worker: the shard goes on gathering meanwhile.
fn write_durable(log: &Rc<Log>, runs: Vec<Run>, target: Offset) {
    let numbers = (log.placing.borrow_mut().begin(target), log.syncing.borrow_mut().begin(target));
    let ring = &log.shared.ring;
    let counters = &log.shared.counters;
    let writes: Vec<(Op<u32>, RingFile, Run)> = runs
        .into_iter()
        .map(|run| {
            let file = file_of(log, run.segment);
            Counters::add(&counters.written_bytes, run.bytes());
            (ring.write(&file, run.block.slice(run.range.clone()), run.at, Sync::Dsync), file, run)
        })
        .collect();
    Counters::add(&counters.writes, writes.len() as u64);
    Counters::add(&counters.flushes, writes.len() as u64);
    let log = log.clone();
    spawn_local(async move {
        let mut runs = Vec::with_capacity(writes.len());
        for (write, file, run) in writes {
            if let Err(error) = finish(&log, write, &file, &run).await {
                log.fail(format!("writing: {error}"));
            }
            runs.push(run);
        }
        written(&log, &runs);
        place(&log, numbers.0);
        sync(&log, numbers.1);
    });
}

/// Awaits a write; goes on with what a short one left over.
async fn finish(log: &Log, write: Op<u32>, file: &RingFile, run: &Run) -> io::Result<()> {
    let done = write.await?;
    if u64::from(done) < run.bytes() {
        let rest = run.block.slice(run.range.start + done as usize..run.range.end);
        Counters::add(&log.shared.counters.flushes, 1);
        log.shared.ring.write_all(file, rest, run.at + u64::from(done), Sync::Dsync).await?;
    }
    Ok(())
}

/// An fdatasync of each segment that holds bytes not yet durable.
fn flush(log: &Rc<Log>, target: Offset) {
    let number = log.syncing.borrow_mut().begin(target);
    let durable = log.durable.get();
    let flushes: Vec<Op<()>> = {
        let segments = log.segments.borrow();
        let unflushed = segments.iter().rev().take_while(|segment| segment.end() > durable);
        unflushed.map(|segment| log.shared.ring.fsync(segment.handle.ring(), true)).collect()
    };
    Counters::add(&log.shared.counters.flushes, flushes.len() as u64);
    let log = log.clone();
    spawn_local(async move {
        for flush in flushes {
            if let Err(error) = flush.await {
                log.fail(format!("flushing: {error}"));
            }
        }
        sync(&log, number);
    });
}

/// The bytes of these runs are no longer in flight.
fn written(log: &Log, runs: &[Run]) {
    let bytes: u64 = runs.iter().map(Run::bytes).sum();
    log.shared.inflight.set(log.shared.inflight.get() - bytes);
}

/// A commit has reached the page cache. A failed one too leaves the line, but the poison keeps the mark where it is.
fn place(log: &Rc<Log>, number: u64) {
    let reached = log.placing.borrow_mut().land(number);
    if let Some(reached) = reached.filter(|_| !log.poison.is_set()) {
        log.placed.set(log.placed.get().max(reached));
        log.seal_finished();
    }
    log.progress.notify_all();
    log.shared.progress.notify_all();
}

/// A commit is on stable storage.
fn sync(log: &Log, number: u64) {
    let reached = log.syncing.borrow_mut().land(number);
    if let Some(reached) = reached.filter(|_| !log.poison.is_set()) {
        log.durable.set(log.durable.get().max(reached));
        log.keeper.note_durable(log.marks());
    }
    log.progress.notify_all();
    log.shared.progress.notify_all();
}

fn file_of(log: &Log, segment: Offset) -> RingFile {
    let segments = log.segments.borrow();
    segments.get(segment).expect("a segment with bytes in flight is not trimmed").handle.ring().clone()
}

async fn reached(log: &Log, target: Offset, level: Level) -> Result<(), CommitError> {
    loop {
        let progress = log.progress.wait();
        log.poison.check()?;
        let mark = match level {
            Level::Placed => log.placed.get(),
            Level::Durable => log.durable.get(),
        };
        if mark >= target {
            return Ok(());
        }
        progress.await;
    }
}
