//! One log: appends into the gather buffer or straight into the page cache, room.

use crate::{Shared, commit, gather::Run};
use log_api::{AppendError, Appended, Batch, Counters, LogId, Marks, Offset, OpenError, Recovery};
use log_segment::{DiskLog, Hold, Medium, Place, Reuse, SegmentFile};
use shard_ring::Ring;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
};

/// An append of this many bytes or more is not gathered but written at once, from where it lies (but see [`SLOW_OF_BYTES`]): the call costs less
/// than the copy.
const WRITE_THROUGH_BYTES: u64 = 64 << 10;

/// It is gathered where the kernel's copy would be a slow one for more than this part of it: that copy loses 0.3 ns a byte (`log_format::copy`),
/// and one more costs some 0.04.
const SLOW_OF_BYTES: u64 = 8;

/// Batches of such an append: two pieces each, on the stack.
pub(crate) const WRITE_THROUGH_BATCHES_MAX: usize = 32;

pub(crate) struct Log {
    pub(crate) disk: Rc<DiskLog<Buffered>>,
    pub(crate) shared: Rc<Shared>,
    /// Appended and not yet handed to the kernel, in order.
    pub(crate) staged: RefCell<VecDeque<Run>>,
    /// Everything before it was handed to the kernel.
    pub(crate) written: Cell<Place>,
}

/// The shard's hold on a segment: nothing but a file.
pub(crate) struct Buffered(SegmentFile);

/// Opens prepared segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open;

impl Medium for Open {
    type Handle = File;
    type Kept = ();

    fn open(&self, path: &Path, _bytes: u64) -> io::Result<File> {
        File::options().read(true).write(true).open(path)
    }

    /// The page in which the log ends comes into memory here, not by the first write to it.
    fn resume(&self, path: &Path, bytes: u64, filled: u64) -> io::Result<File> {
        let file = self.open(path, bytes)?;
        file.read_at(&mut [0], filled.saturating_sub(1))?;
        Ok(file)
    }
}

impl Hold for Buffered {
    type Medium = Open;

    fn finished(ring: &Ring, file: File) -> Self {
        Self(SegmentFile::new(ring, file))
    }

    fn written(ring: &Ring, file: File) -> Self {
        Self(SegmentFile::new(ring, file))
    }

    fn file(&self) -> &SegmentFile {
        &self.0
    }

    fn reuse(self, durable: bool) -> Reuse<()> {
        match (self.0.may_be_sent(), durable) {
            (false, _) => Reuse::AsIs(()),
            (true, true) => Reuse::Blocks,
            // Space that was never written takes the same writes, and no zeros.
            (true, false) => Reuse::Not,
        }
    }
}

impl Log {
    pub(crate) async fn open(shared: &Rc<Shared>, id: LogId) -> Result<(Self, Recovery), OpenError> {
        let (disk, recovery) = DiskLog::open(&shared.host, id, Open).await?;
        let written = Cell::new(disk.mark());
        Ok((Self { disk, shared: shared.clone(), staged: RefCell::default(), written }, recovery))
    }

    pub(crate) fn append(self: &Rc<Self>, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        if self.disk.poison.is_set() {
            return Err(AppendError::Poisoned);
        }
        let bytes: u64 = batches.iter().map(Batch::stored_bytes).sum();
        let config = &self.shared.host.config;
        let counters = &self.shared.host.counters;
        let most = self.largest_append();
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, bytes_max: most });
        }
        if !self.fits(bytes) {
            Counters::add(&counters.busy, 1);
            return Err(AppendError::Busy);
        }
        if self.disk.segments.borrow().room() < bytes {
            self.disk.roll()?;
        }
        // A write that is not flushed with its own commit would have to be found again by the flush.
        let through = !config.durable
            && bytes >= WRITE_THROUGH_BYTES
            && batches.len() <= WRITE_THROUGH_BATCHES_MAX
            && !self.copies_slowly(batches, bytes);
        if through {
            commit::write_staged(self);
            commit::write_through(self, batches, bytes)?;
        }
        let mut segments = self.disk.segments.borrow_mut();
        let base = segments.end();
        let (segment, mut at) = (segments.active().base(), segments.active().bytes());
        if !through {
            self.shared.gather.step(at, bytes);
        }
        for batch in batches {
            if !through {
                let mut staged = self.staged.borrow_mut();
                self.shared.gather.copy(batch, segments.end(), self.disk.epoch, segment, at, &mut staged);
            }
            at += batch.stored_bytes();
            segments.append(batch.records(), batch.stored_bytes());
        }
        let end = segments.end();
        drop(segments);
        if through {
            commit::written_through(self, segment, at - bytes..at);
        } else {
            self.shared.staged_bytes.set(self.shared.staged_bytes.get() + bytes);
            Counters::add(&counters.copied_bytes, bytes);
        }
        Counters::add(&counters.appended_batches, batches.len() as u64);
        Counters::add(&counters.appended_bytes, bytes);
        Ok(Appended { base, end, segment })
    }

    /// Whether the kernel's copy of `batches`, `bytes` in all, from where they lie to where the log ends would be a slow one for so much of them
    /// that a copy of all of them costs less.
    fn copies_slowly(&self, batches: &[Batch<'_>], bytes: u64) -> bool {
        let mut end = self.disk.segments.borrow().active().bytes();
        let slow = batches.iter().filter(|batch| {
            end += batch.stored_bytes();
            log_format::is_slow(end as usize, batch.bytes().as_ptr_range().end.addr())
        });
        slow.map(Batch::stored_bytes).sum::<u64>() > bytes / SLOW_OF_BYTES
    }

    fn largest_append(&self) -> u64 {
        let config = &self.shared.host.config;
        config.segment_bytes.min(config.inflight_bytes_max)
    }

    /// Bounded are the bytes that are not written yet, those that are dirty, and in a durable log those that are not durable.
    fn fits(&self, bytes: u64) -> bool {
        let shared = &self.shared;
        shared.staged_bytes.get() + bytes <= shared.host.config.inflight_bytes_max
            && shared.gather.room() as u64 >= bytes
            && self.disk.tail_fits(bytes)
            && shared.host.pace.has_room()
    }

    pub(crate) async fn room(self: &Rc<Self>, bytes: u64) {
        // More can never be appended at once.
        let bytes = bytes.min(self.largest_append());
        let host = &self.shared.host;
        host.pace.room().await;
        let ready = || {
            let ready = self.fits(bytes) || self.disk.poison.is_set();
            // A caller that never commits durably would wait for ever: in a durable log what is not durable is bounded too.
            if !ready && host.config.durable && !self.disk.is_flushing() {
                self.disk.flush(self.written.get());
            }
            ready
        };
        host.turns.wait(&host.progress, ready).await;
        self.disk.next_segment(bytes).await;
    }

    pub(crate) fn placed(&self) -> Offset {
        self.written.get().offset()
    }

    pub(crate) fn marks(&self) -> Marks {
        self.disk.marks(self.placed())
    }
}
