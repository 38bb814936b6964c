//! Write-back at a steady pace, and a bound on what is dirty.
//!
//! Above a share of memory the kernel puts a writer to sleep inside its write (`balance_dirty_pages`), which here would be the whole shard.
//! So write-back is started through the ring for each few MiB as they are written, and when a budget of bytes is still dirty the commit
//! waits instead, and then the appends.

use crate::log::Log;
use log_api::Offset;
use shard_ring::{Event, spawn_local};
use std::{
    cell::{Cell, RefCell},
    fs,
    ops::Range,
    rc::Rc,
};

/// Bytes whose write-back is started together: enough for large requests, small against the budget.
const PACE_BYTES: u64 = 8 << 20;

/// The budget on a machine whose limits cannot be read.
const BUDGET_BYTES_DEFAULT: u64 = 256 << 20;

/// `SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER`: start write-back of the range and wait for it. Makes nothing durable.
const WRITE_AND_WAIT: u32 =
    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

/// The dirty bytes of an engine.
pub(crate) struct Pace {
    budget: u64,
    /// Bytes written and not yet written back, as far as this engine knows.
    dirty: Cell<u64>,
    /// Ranges written whose write-back was not started yet, one a log.
    pending: RefCell<Vec<Pending>>,
    cleaned: Event,
    waits: Cell<u64>,
}

struct Pending {
    log: u32,
    segment: Offset,
    /// May span bytes that a flushing commit wrote, which are not dirty.
    range: Range<u64>,
    /// Bytes of the range that were counted as dirty.
    dirty: u64,
}

impl Pace {
    /// A budget of three quarters of where the kernel begins to throttle: half-way between its background limit and its hard limit.
    pub(crate) fn for_this_machine() -> Self {
        Self {
            budget: kernel_throttle_bytes().map_or(BUDGET_BYTES_DEFAULT, |bytes| bytes / 4 * 3),
            dirty: Cell::new(0),
            pending: RefCell::default(),
            cleaned: Event::new(),
            waits: Cell::new(0),
        }
    }

    /// Bytes.
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Times that a commit had to wait for write-back.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// Waits until the budget has room.
    pub(crate) async fn room(&self) {
        if self.dirty.get() >= self.budget {
            self.waits.set(self.waits.get() + 1);
        }
        loop {
            let cleaned = self.cleaned.wait();
            if self.dirty.get() < self.budget {
                return;
            }
            cleaned.await;
        }
    }

    /// Bytes of a segment were written without a flush. A log that flushes needs no pace: each flush writes back what is dirty.
    pub(crate) fn note(&self, log: &Rc<Log>, segment: Offset, range: Range<u64>) {
        if log.shared.config.durable {
            return;
        }
        self.dirty.set(self.dirty.get() + (range.end - range.start));
        let mut pending = self.pending.borrow_mut();
        let begun = |bytes| Pending { log: log.id.0, segment, range: range.clone(), dirty: bytes };
        let bytes = range.end - range.start;
        let Some(entry) = pending.iter_mut().find(|entry| entry.log == log.id.0) else {
            pending.push(begun(bytes));
            return;
        };
        if entry.segment == segment {
            entry.range.end = range.end;
            entry.dirty += bytes;
        } else {
            write_back(log, std::mem::replace(entry, begun(bytes)));
        }
        if entry.dirty >= PACE_BYTES {
            let next = Pending { range: range.end..range.end, ..begun(0) };
            write_back(log, std::mem::replace(entry, next));
        }
    }
}

fn write_back(log: &Rc<Log>, Pending { segment, range, dirty, .. }: Pending) {
    let file = log.segments.borrow().get(segment).map(|segment| segment.handle.ring().clone());
    let log = log.clone();
    // A segment that was trimmed meanwhile has nothing to write back any more.
    let writing = file.filter(|_| dirty > 0).map(|file| log.shared.ring.sync_file_range(&file, range, WRITE_AND_WAIT));
    spawn_local(async move {
        if let Some(Err(error)) = match writing {
            Some(writing) => Some(writing.await),
            None => None,
        } {
            // It took the error that a flush would have reported.
            log.fail(format!("write-back: {error}"));
        }
        let pace = &log.shared.pace;
        pace.dirty.set(pace.dirty.get() - dirty);
        pace.cleaned.notify_all();
    });
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
