//! Write-back at a steady pace, and a bound on what is dirty.
//!
//! Above a share of memory the kernel puts a writer to sleep inside its write or its page fault (`balance_dirty_pages`), which here would be
//! the whole shard. So write-back is started through the ring, a few MiB at a time, once half of a budget is dirty; and when all of it
//! is, the appends wait instead. A burst that is shorter leaves the device to others.

use log_api::{LogId, Offset};
use shard_ring::{Event, Ring, RingFile, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs, io,
    ops::Range,
    rc::Rc,
};

/// Bytes whose write-back is started together: enough for large requests, small against the budget.
const PACE_BYTES: u64 = 8 << 20;

/// Write-back ends on a multiple of this: the largest page that a file system keeps a file in. One that is written back while it is being
/// filled is written twice, and under a mapping takes another fault.
const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// The budget on a machine whose limits cannot be read.
const BUDGET_BYTES_DEFAULT: u64 = 256 << 20;

/// `SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER`: start write-back of the range and wait for it. Makes nothing durable.
const WRITE_AND_WAIT: u32 =
    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

/// The dirty bytes of an engine's logs.
pub struct Pace {
    budget: u64,
    /// Bytes written and not yet written back, as far as this engine knows.
    dirty: Rc<Cell<u64>>,
    /// Bytes of them that are being written back.
    cleaning: Rc<Cell<u64>>,
    /// The range that each log is writing.
    pending: RefCell<Vec<Pending>>,
    /// Ranges whose write-back was not started yet, oldest first.
    due: RefCell<VecDeque<Pending>>,
    pressed: Event,
    cleaned: Event,
    waits: Cell<u64>,
}

struct Pending {
    log: LogId,
    segment: Offset,
    file: RingFile,
    /// May span bytes that a flushing commit wrote, which are not dirty.
    range: Range<u64>,
    /// Bytes of the range that were counted as dirty.
    dirty: u64,
    /// Who is told of a failure.
    failed: Box<dyn FnOnce(io::Error)>,
}

impl Pace {
    /// A budget of three quarters of where the kernel begins to throttle: half-way between its background limit and its hard limit.
    #[must_use]
    pub fn for_this_machine() -> Self {
        Self {
            budget: kernel_throttle_bytes().map_or(BUDGET_BYTES_DEFAULT, |bytes| bytes / 4 * 3),
            dirty: Rc::default(),
            cleaning: Rc::default(),
            pending: RefCell::default(),
            due: RefCell::default(),
            pressed: Event::new(),
            cleaned: Event::new(),
            waits: Cell::new(0),
        }
    }

    /// Bytes.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Times that somebody had to wait for write-back.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// Whether more may be written now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.dirty.get() < self.budget
    }

    /// Waits until more may be written.
    pub async fn room(&self) {
        if !self.has_room() {
            self.waits.set(self.waits.get() + 1);
        }
        loop {
            let cleaned = self.cleaned.wait();
            if self.has_room() {
                return;
            }
            cleaned.await;
        }
    }

    /// Bytes of a segment were written and not flushed. `failed` gets the error of a write-back that this call starts: it took what a flush
    /// would have reported, and is final.
    pub fn note(
        &self,
        ring: &Ring,
        log: LogId,
        segment: Offset,
        file: &RingFile,
        range: Range<u64>,
        failed: impl FnOnce(io::Error) + 'static,
    ) {
        let bytes = range.end - range.start;
        self.dirty.set(self.dirty.get() + bytes);
        let mut pending = self.pending.borrow_mut();
        let begun = |range, dirty| Pending { log, segment, file: file.clone(), range, dirty, failed: Box::new(failed) };
        match pending.iter_mut().find(|entry| entry.log == log) {
            None => pending.push(begun(range, bytes)),
            Some(entry) if entry.segment != segment => {
                let finished = std::mem::replace(entry, begun(range, bytes));
                self.due.borrow_mut().push_back(finished);
            }
            Some(entry) => {
                entry.range.end = range.end;
                entry.dirty += bytes;
                let end = range.end / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
                if end >= entry.range.start + PACE_BYTES {
                    let rest = begun(end..range.end, entry.dirty.min(range.end - end));
                    let mut full = std::mem::replace(entry, rest);
                    full.dirty -= entry.dirty;
                    full.range.end = end;
                    self.due.borrow_mut().push_back(full);
                }
            }
        }
        drop(pending);
        self.write_back(ring);
    }

    /// A segment was flushed as a whole: nothing of it is dirty, and nothing is left of it to be written back.
    pub fn flushed(&self, log: LogId, segment: Offset) {
        let mut clean = 0;
        let mut stays = |entry: &Pending| {
            let stays = entry.log != log || entry.segment != segment;
            clean += if stays { 0 } else { entry.dirty };
            stays
        };
        self.due.borrow_mut().retain(&mut stays);
        self.pending.borrow_mut().retain(stays);
        if clean > 0 {
            self.dirty.set(self.dirty.get() - clean);
            self.cleaned.notify_all();
        }
    }

    /// Notified when write-back has to start: what waits to be flushed may as well be.
    #[must_use]
    pub fn pressed(&self) -> &Event {
        &self.pressed
    }

    /// After it no more than half of the budget is dirty without being written back, so that whoever waits for room is woken. Many logs hold
    /// that much in ranges that are being written and are none of them worth it yet; then the largest goes as it is.
    fn write_back(&self, ring: &Ring) {
        while self.dirty.get() - self.cleaning.get() > self.budget / 2 {
            let due = self.due.borrow_mut().pop_front();
            let Some(range) = due.or_else(|| self.largest_pending()) else { break };
            self.pressed.notify_all();
            self.start(ring, range);
        }
    }

    fn largest_pending(&self) -> Option<Pending> {
        let mut pending = self.pending.borrow_mut();
        let (place, _) = pending.iter().enumerate().max_by_key(|(_, entry)| entry.dirty)?;
        Some(pending.swap_remove(place))
    }

    fn start(&self, ring: &Ring, pending: Pending) {
        let Pending { file, range, dirty, failed, .. } = pending;
        let (total, cleaning, cleaned) = (self.dirty.clone(), self.cleaning.clone(), self.cleaned.clone());
        cleaning.set(cleaning.get() + dirty);
        let writing = (dirty > 0).then(|| ring.sync_file_range(&file, range, WRITE_AND_WAIT));
        spawn_local(async move {
            if let Some(writing) = writing
                && let Err(error) = writing.await
            {
                failed(error);
            }
            total.set(total.get() - dirty);
            cleaning.set(cleaning.get() - dirty);
            cleaned.notify_all();
        });
    }
}

/// Dirty bytes at which the kernel begins to slow writers down (mm/page-writeback.c, `domain_dirty_limits`: the mean of background and
/// hard limit), from the sysctls and the memory available now.
fn kernel_throttle_bytes() -> Option<u64> {
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/vm/{name}")).ok()?.trim().parse::<u64>().ok();
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let available = line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10;
    let limit = |bytes: &str, ratio: &str| match sysctl(bytes) {
        Some(set) if set > 0 => Some(set),
        _ => Some(available / 100 * sysctl(ratio)?),
    };
    let hard = limit("dirty_bytes", "dirty_ratio")?;
    let background = limit("dirty_background_bytes", "dirty_background_ratio")?;
    Some((hard + background.min(hard)) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_was_flushed_is_neither_dirty_nor_left_to_be_written_back() {
        shard_ring::block_on(shard_ring::ExecutorConfig::default(), |ring| async move {
            let file = ring.adopt(tempfile::tempfile().unwrap());
            let pace = Pace { budget: 1 << 30, ..Pace::for_this_machine() };
            let note = |segment, range| pace.note(&ring, LogId(0), Offset(segment), &file, range, |_| ());
            note(0, 0..20 * MIB);
            note(0, 20 * MIB..31 * MIB);
            note(9, 0..5 * MIB);
            assert_eq!(
                (pace.dirty.get(), pace.due.borrow().len()),
                (36 * MIB, 2),
                "far from the budget nothing starts"
            );
            pace.flushed(LogId(1), Offset(0));
            assert_eq!(pace.dirty.get(), 36 * MIB, "another log");
            pace.flushed(LogId(0), Offset(0));
            assert_eq!((pace.dirty.get(), pace.due.borrow().len()), (5 * MIB, 0));
            pace.flushed(LogId(0), Offset(9));
            assert_eq!((pace.dirty.get(), pace.pending.borrow().len()), (0, 0));
        })
        .unwrap();
    }

    #[test]
    fn many_logs_that_each_write_little_do_not_use_up_the_budget_for_ever() {
        shard_ring::block_on(shard_ring::ExecutorConfig::default(), |ring| async move {
            let file = ring.adopt(tempfile::tempfile().unwrap());
            let pace = Pace { budget: MIB, ..Pace::for_this_machine() };
            for log in 0..40 {
                pace.note(&ring, LogId(log), Offset(0), &file, 0..64 << 10, |_| ());
            }
            let waiting = pace.dirty.get() - pace.cleaning.get();
            assert!(waiting <= MIB / 2, "{waiting} bytes wait for a log to write more");
            assert!(!pace.has_room());
            pace.room().await;
            assert!(pace.has_room());
        })
        .unwrap();
    }
}
