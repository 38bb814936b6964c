//! Commits: what was gathered goes out in one `pwritev2` on the shard, a copy in memory; a flush of exactly that range follows through the
//! ring, in a kernel worker.

use crate::{
    gather::Run,
    log::{Log, WRITE_THROUGH_BATCHES_MAX},
};
use log_api::{AppendError, Batch, CommitError, Counters, Level, Offset};
use log_segment::Hold;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use shard_ring::{RingFile, Slice};
use std::{
    fs::File,
    io::{self, IoSlice},
    ops::Range,
    rc::Rc,
};

/// Pieces that one `pwritev2` takes; more go in a further call. With one log there are as many as there are blocks.
const PIECES_MAX: usize = 64;

/// Bytes of a page of the page cache, and of a file system's block.
const PAGE_BYTES: u64 = 4096;

/// Brings what was appended to `logs` to `level`. All writes and flushes are submitted before the first wait (but for the wait for the
/// dirty budget, which comes before anything is taken); they run on when the future is dropped.
pub(crate) async fn commit(logs: &[Rc<Log>], level: Level) -> Result<(), CommitError> {
    if let Some(log) = logs.first().filter(|log| !log.shared.host.config.durable) {
        log.shared.host.pace.room().await;
    }
    // A poisoned log does not keep the others from their commit.
    let submit = |log: &Rc<Log>| {
        let target = log.disk.mark();
        write_staged(log);
        if level == Level::Durable {
            log.disk.flush(log.written.get());
        }
        target.offset()
    };
    let targets: Vec<Offset> = logs.iter().map(submit).collect();
    for (log, target) in logs.iter().zip(targets) {
        log.disk.reach(level, target).await?;
    }
    Ok(())
}

/// Hands what is staged to the page cache here and now: a copy in memory, as long as the dirty budget holds.
pub(crate) fn write_staged(log: &Rc<Log>) {
    if log.disk.poison.is_set() {
        return;
    }
    let mut staged = log.staged.borrow_mut();
    if staged.is_empty() {
        return;
    }
    let runs: &[Run] = staged.make_contiguous();
    for segment in runs.chunk_by(|a, b| a.segment == b.segment) {
        for pieces in segment.chunks(PIECES_MAX) {
            if let Err(error) = write_pieces(log, pieces) {
                log.disk.fail(format!("writing: {error}"));
                return;
            }
        }
        let last = segment.last().expect("a chunk is not empty");
        log.disk.wrote(last.segment, segment[0].at..last.at + last.bytes());
    }
    let bytes: u64 = runs.iter().map(Run::bytes).sum();
    staged.clear();
    drop(staged);
    let shared = &log.shared;
    shared.staged_bytes.set(shared.staged_bytes.get() - bytes);
    shared.gather.retire_full();
    placed(log);
}

/// Everything appended has been handed to the kernel.
fn placed(log: &Rc<Log>) {
    log.written.set(log.disk.mark());
    log.disk.seal_finished(log.placed());
    log.disk.moved();
}

fn write_pieces(log: &Log, pieces: &[Run]) -> io::Result<()> {
    let file = file_of(log, pieces[0].segment);
    let counters = &log.shared.host.counters;
    let bytes: u64 = pieces.iter().map(Run::bytes).sum();
    let padding = padding(log, pieces[0].segment, pieces[0].at + bytes);
    let mut done = 0;
    // What is left of the padding alone is not worth another call.
    while done < bytes {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX + 1];
        let held: [Option<Slice>; PIECES_MAX] = remaining(pieces, done);
        let count =
            held.iter().flatten().zip(&mut slices).map(|(slice, place)| *place = IoSlice::new(slice.as_ref())).count();
        slices[count] = IoSlice::new(padding);
        Counters::add(&counters.writes, 1);
        Counters::add(&counters.system_calls, 1);
        done += put(file.file(), &slices[..=count], pieces[0].at + done)?;
    }
    Counters::add(&counters.written_bytes, done);
    Ok(())
}

/// Zeros from the log's end at `end` to the end of its page. A page that is written in part and is not in the page cache is first read from
/// the device, by the shard; one that is written whole is not, and the next write finds it there.
fn padding(log: &Log, segment: Offset, end: u64) -> &'static [u8] {
    static ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
    let segments = log.disk.segments.borrow();
    let capacity = segments.get(segment).map_or(end, log_segment::Segment::capacity);
    let bytes = end.next_multiple_of(PAGE_BYTES).min(capacity.max(end)) - end;
    &ZEROS[..usize::try_from(bytes).expect("less than a page")]
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

/// Writes batches from the caller's memory behind the active segment's end, with their offsets and the epoch; they are noted as appended
/// afterwards. Nothing is staged.
pub(crate) fn write_through(log: &Rc<Log>, batches: &[Batch<'_>], bytes: u64) -> Result<(), AppendError> {
    assert!(batches.len() <= WRITE_THROUGH_BATCHES_MAX, "the caller counts");
    if log.disk.poison.is_set() {
        return Err(AppendError::Poisoned);
    }
    let (segment, file, at, mut offset) = {
        let segments = log.disk.segments.borrow();
        let active = segments.active();
        (active.base(), active.handle.file().ring().clone(), active.bytes(), segments.end())
    };
    let mut entries = [const { None }; WRITE_THROUGH_BATCHES_MAX];
    for (batch, entry) in batches.iter().zip(&mut entries) {
        *entry = Some(log_format::place_entry(batch, offset, log.disk.epoch));
        offset = offset.plus(u64::from(batch.records()));
    }
    let padding = padding(log, segment, at + bytes);
    let mut slices = [IoSlice::new(&[]); 2 * WRITE_THROUGH_BATCHES_MAX + 1];
    for (entry, place) in entries.iter().flatten().zip(slices.chunks_exact_mut(2)) {
        place[0] = IoSlice::new(entry.head());
        place[1] = IoSlice::new(entry.rest());
    }
    slices[2 * batches.len()] = IoSlice::new(padding);
    let counters = &log.shared.host.counters;
    let mut left = &mut slices[..=2 * batches.len()];
    let mut done = 0;
    while done < bytes {
        Counters::add(&counters.writes, 1);
        Counters::add(&counters.system_calls, 1);
        match put(file.file(), left, at + done) {
            Ok(written) => {
                IoSlice::advance_slices(&mut left, usize::try_from(written).expect("bytes in memory"));
                done += written;
            }
            Err(error) => {
                log.disk.fail(format!("writing: {error}"));
                return Err(AppendError::Poisoned);
            }
        }
    }
    Counters::add(&counters.written_bytes, done);
    Ok(())
}

/// What was written through has been noted as appended.
pub(crate) fn written_through(log: &Rc<Log>, segment: Offset, range: Range<u64>) {
    log.disk.wrote(segment, range);
    placed(log);
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

fn file_of(log: &Log, segment: Offset) -> RingFile {
    let segments = log.disk.segments.borrow();
    let segment = segments.get(segment).expect("a segment with bytes in flight is not trimmed");
    segment.handle.file().ring().clone()
}
