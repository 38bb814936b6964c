//! A segment as this engine holds it: its file on the ring, and its mapping as long as it is young.

use crate::mapping::{Mapping, write_and_wait};
use log_segment::{Haste, Hold, Medium, Reuse, SegmentFile};
use rustix::fs::Advice;
use shard_ring::Ring;
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path, rc::Rc, thread, time::Instant};

/// Opens prepared segments on the helper: maps and populates them there, so that no append pays for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    /// The log flushes what it appends.
    pub(crate) durable: bool,
}

impl Medium for Mapped {
    type Handle = (File, Mapping);
    /// Its pages are in memory as long as it is mapped.
    type Kept = Mapping;

    /// Through the page cache, where zeros written past it would have to be read back.
    const WRITES_BLOCKS: bool = true;

    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle> {
        self.open_slowly(path, bytes, &Haste::default())
    }

    fn open_slowly(&self, path: &Path, bytes: u64, haste: &Haste) -> io::Result<Self::Handle> {
        if self.durable {
            write_zeros(path, bytes, haste)?;
        }
        let (file, mapping) = self.map(path, bytes, 0)?;
        mapping.populate(|begun| haste.rest(begun))?;
        Ok((file, mapping))
    }

    fn renew(&self, path: &Path, _bytes: u64, mut mapping: Mapping) -> io::Result<Self::Handle> {
        let file = File::options().read(true).write(true).open(path)?;
        mapping.renew();
        mapping.populate(|_| thread::yield_now())?;
        Ok((file, mapping))
    }

    fn resume(&self, path: &Path, bytes: u64, filled: u64) -> io::Result<Self::Handle> {
        let (file, mapping) = self.map(path, bytes, filled)?;
        mapping.populate(|_| ())?;
        Ok((file, mapping))
    }
}

impl Mapped {
    fn map(&self, path: &Path, bytes: u64, filled: u64) -> io::Result<(File, Mapping)> {
        let file = File::options().read(true).write(true).open(path)?;
        let size = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
        let mut mapping = Mapping::new(&file, size(bytes)?, size(filled)?)?;
        if !self.durable {
            // A flush writes whole pages: large ones are for logs that do not flush each commit.
            mapping.prefer_large_pages();
        }
        Ok((file, mapping))
    }
}

/// Makes the blocks of a segment written ones: overwriting them then changes nothing but their bytes, and a flush commits nothing to the
/// journal. Before the file is mapped: what a flush does to a mapped page interrupts every core that runs the process.
fn write_zeros(path: &Path, bytes: u64, haste: &Haste) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let zeros = [0; FLUSHED_PAGE_BYTES];
    let mut at = 0;
    while at < bytes {
        let begun = Instant::now();
        let slice = at..bytes.min(at + ZERO_SLICE_BYTES);
        while at < slice.end {
            // The kernel keeps what one call writes in one page, and a flush writes whole pages.
            let piece = zeros.len().min(usize::try_from(slice.end - at).unwrap_or(zeros.len()));
            file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        write_and_wait(&file, slice)?;
        haste.rest(begun);
    }
    file.sync_all()
}

/// Bytes of the pages that a log that flushes is kept in.
const FLUSHED_PAGE_BYTES: usize = 16 << 10;

/// Bytes of zeros on the device at once.
const ZERO_SLICE_BYTES: u64 = 1 << 20;

/// The shard's hold on a segment.
pub(crate) struct Live {
    pub(crate) file: SegmentFile,
    /// `None` for a segment that is old: it was unmapped on purpose, and is read through the ring.
    pub(crate) mapping: Option<Rc<Mapping>>,
}

impl Hold for Live {
    type Medium = Mapped;

    fn finished(ring: &Ring, file: File) -> Self {
        Self { file: SegmentFile::new(ring, file), mapping: None }
    }

    fn written(ring: &Ring, (file, mapping): (File, Mapping)) -> Self {
        Self { file: SegmentFile::new(ring, file), mapping: Some(Rc::new(mapping)) }
    }

    fn file(&self) -> &SegmentFile {
        &self.file
    }

    fn reuse(self, durable: bool) -> Reuse<Mapping> {
        if self.file.may_be_sent() {
            return Reuse::Not;
        }
        match self.mapping.map(Rc::try_unwrap) {
            Some(Ok(mapping)) => Reuse::AsIs(mapping),
            // A reader holds bytes of it.
            Some(Err(_)) => Reuse::Not,
            // Populating it would read it from the device; a log that does not flush can have space that was never written instead.
            None if durable => Reuse::Blocks,
            None => Reuse::Not,
        }
    }

    fn before_flush(&self, range: &Range<u64>) {
        if let Some(mapping) = self.mapping.as_ref().filter(|mapping| !mapping.has_large_pages()) {
            let byte = |position: u64| usize::try_from(position).expect("a mapped segment fits the address space");
            mapping.release(byte(range.start)..byte(range.end));
        }
    }
}

impl Live {
    /// Lets go of an old segment's memory. What is returned is to be done on the helper: unmapping 128 MiB takes milliseconds. A reader that
    /// still holds the mapping keeps its pages.
    pub(crate) fn forget(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let mapping = Rc::try_unwrap(self.mapping.take()?).ok()?;
        let file = self.file.ring().file().try_clone().ok();
        Some(move || {
            drop(mapping);
            // Only a hint: a page that stays does no harm.
            let _ = file.map(|file| rustix::fs::fadvise(&file, 0, None, Advice::DontNeed));
        })
    }
}
