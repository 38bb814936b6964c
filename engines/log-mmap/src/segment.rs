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

    fn furnish(&self, path: &Path, bytes: u64, haste: &Haste) -> io::Result<()> {
        if self.durable {
            return write_zeros(path, bytes, haste);
        }
        // Clean pages of the page cache, which the kernel may have back: making them writable takes half of the time that is left otherwise.
        let (_, mapping) = self.map(path, bytes, 0)?;
        mapping.bring_in(|begun| haste.rest(begun))
    }

    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle> {
        self.open_slowly(path, bytes, &Haste::default())
    }

    fn open_slowly(&self, path: &Path, bytes: u64, haste: &Haste) -> io::Result<Self::Handle> {
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
        if self.durable {
            // Populating would read them in, in pages of up to 2 MiB, and each flush writes whole pages.
            let file = File::options().write(true).open(path)?;
            zeros_in_cache(&file, filled..bytes)?;
        }
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
    let mut at = 0;
    while at < bytes {
        let begun = Instant::now();
        let slice = at..bytes.min(at + ZERO_SLICE_BYTES);
        zeros_in_cache(&file, slice.clone())?;
        at = slice.end;
        write_and_wait(&file, slice)?;
        haste.rest(begun);
    }
    file.sync_all()
}

/// Zeros through the page cache, in pages of the size that a log that flushes is kept in: the kernel keeps what one call writes in one page,
/// and a flush writes whole pages.
fn zeros_in_cache(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = [0; FLUSHED_PAGE_BYTES as usize];
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at - at % FLUSHED_PAGE_BYTES + FLUSHED_PAGE_BYTES);
        let piece = usize::try_from(end - at).expect("at most a page");
        file.write_all_at(&zeros[..piece], at)?;
        at = end;
    }
    Ok(())
}

/// Bytes of the pages that a log that flushes is kept in.
const FLUSHED_PAGE_BYTES: u64 = 16 << 10;

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
    /// Lets go of an old segment's memory. What is returned is to be done on the helper: unmapping 128 MiB takes milliseconds. While a reader
    /// holds the mapping it stays: else that reader would unmap it, on the shard.
    pub(crate) fn forget(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        self.mapping.as_ref().filter(|mapping| Rc::strong_count(mapping) == 1)?;
        let mapping = Rc::try_unwrap(self.mapping.take()?).ok()?;
        let file = self.file.ring().file().try_clone().ok();
        Some(move || {
            drop(mapping);
            // Only a hint: a page that stays does no harm.
            let _ = file.map(|file| rustix::fs::fadvise(&file, 0, None, Advice::DontNeed));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that this thread had read from a device; `None` from a kernel that does not count them.
    fn read_bytes() -> Option<u64> {
        let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
        counts.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
    }

    #[test]
    fn a_mapping_that_a_reader_holds_is_not_let_go() {
        shard_ring::block_on(shard_ring::ExecutorConfig::default(), |ring| async move {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 16).unwrap();
            let mapping = Mapping::new(&file, 1 << 16, 0).unwrap();
            let mut live = Live::written(&ring, (file, mapping));
            let held = live.mapping.clone();
            assert!(live.forget().is_none() && live.mapping.is_some());
            drop(held);
            assert!(live.forget().is_some() && live.mapping.is_none());
        })
        .unwrap();
    }

    #[test]
    fn a_blank_of_a_log_that_does_not_flush_has_its_pages_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = File::create_new(&path).unwrap();
        let bytes = 4 << 20;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
        let medium = Mapped { durable: false };
        medium.furnish(&path, bytes, &Haste::default()).unwrap();
        let (_, mapping) = medium.map(&path, bytes, 0).unwrap();
        assert!((0..4).all(|mib| mapping.resident(mib << 20..(mib + 1) << 20)));
    }

    #[test]
    fn the_pages_behind_the_end_of_a_durable_log_are_made_and_not_read_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (bytes, filled) = (4 << 20, 5_000);
        std::fs::write(&path, vec![7; filled].into_iter().chain(vec![0; bytes - filled]).collect::<Vec<u8>>()).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let Some(before) = read_bytes() else { return eprintln!("skipped: the kernel does not count what is read") };
        if Mapping::new(&file, bytes, filled).unwrap().resident(0..1) {
            return eprintln!("skipped: a file system whose pages are nowhere but in memory");
        }
        let (_, mapping) = Mapped { durable: true }.resume(&path, bytes as u64, filled as u64).unwrap();
        let read = read_bytes().expect("it counted before") - before;
        assert!(read <= 128 << 10, "{read} bytes were read");
        assert_eq!(mapping.bytes(0..filled), vec![7; filled]);
        assert!(mapping.resident(0..1 << 20));
        drop(mapping);
        let whole = std::fs::read(&path).unwrap();
        assert!(whole.len() == bytes && whole[filled..].iter().all(|&byte| byte == 0));
    }
}
