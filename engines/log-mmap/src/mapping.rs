//! A segment file in memory. The only file of this crate with `unsafe`.
//!
//! A mapping is append-only: bytes below `filled` never change again, so that readers may hold slices of them while more is
//! appended behind. Nothing below the file's end is ever truncated while it is mapped: touching a page past the end of its file is
//! SIGBUS, and so is a page whose reading fails, which is why cold pages are not read through here (see [`Mapping::resident`]).

use memmap2::{Advice, MmapOptions, MmapRaw};
use std::{cell::Cell, fs::File, io, ops::Range, os::fd::AsRawFd, slice, time::Instant};

/// How much is prepared at a time, in large pages: the mapping's lock is held for one slice, not for a whole segment.
const LARGE_SLICE_BYTES: usize = 2 << 20;

/// The same in small pages, each of which takes a fault: the scheduler lets a thread inside a call run on for its 3 ms, whoever waits for
/// the core, which may be the kernel's worker that flushes a commit.
const SLICE_BYTES: usize = 256 << 10;

const PAGE_BYTES: usize = 4096;

/// A writable, shared mapping of a whole segment file.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
    large_pages: bool,
    /// What lies past `filled` are the bytes of an earlier life, not zeros.
    renewed: bool,
    filled: Cell<usize>,
    appending: Cell<bool>,
}

impl Mapping {
    /// Maps the first `bytes` of `file`, which must be that long, of which `filled` are log already.
    pub(crate) fn new(file: &File, bytes: usize, filled: usize) -> io::Result<Self> {
        assert!(filled <= bytes, "a log of {filled} bytes in a mapping of {bytes}");
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        Ok(Self { map, large_pages: false, renewed: false, filled: Cell::new(filled), appending: Cell::new(false) })
    }

    /// Asks for pages of 2 MiB, where the file system can keep a file in them: they are populated in two thirds of the time, and a byte
    /// written to one makes all of it dirty.
    pub(crate) fn prefer_large_pages(&mut self) {
        // Only a preference: small ones serve.
        self.large_pages = self.map.advise(Advice::HugePage).is_ok();
    }

    /// Begins a new life: nothing of what is there counts any more. Nobody else has the mapping, so nobody holds bytes of it.
    pub(crate) fn renew(&mut self) {
        self.renewed = true;
        self.filled.set(0);
    }

    /// Whether large pages were asked for.
    pub(crate) fn has_large_pages(&self) -> bool {
        self.large_pages
    }

    /// Takes the pages of a range out of the page table, not out of the page cache, in one call and with one interrupt to each other core that
    /// runs this process. A flush does the same to each page one by one. Who reads them again, or appends behind them, takes a short fault.
    pub(crate) fn release(&self, range: Range<usize>) {
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        let bytes = range.end.next_multiple_of(PAGE_BYTES).min(self.map.len()) - start;
        // SAFETY: the address is page-aligned and inside the mapping, which is a shared one of a file: dropping its page-table entries changes
        // no byte, and the next access finds the same page.
        let released = unsafe { libc::madvise(self.map.as_mut_ptr().add(start).cast(), bytes, libc::MADV_DONTNEED) };
        debug_assert_eq!(released, 0, "a range of the mapping");
    }

    /// Makes the pages from the log's end on present and writable, in slices, so that no append faults; `after` is told when each slice was
    /// begun. Called off the shard. Every page is dirty afterwards: flushes name the range that they are about.
    pub(crate) fn populate(&self, after: impl FnMut(Instant)) -> io::Result<()> {
        self.advise(Advice::PopulateWrite, after)
    }

    /// The same, but present only, and as clean as they were.
    pub(crate) fn bring_in(&self, after: impl FnMut(Instant)) -> io::Result<()> {
        self.advise(Advice::PopulateRead, after)
    }

    fn advise(&self, advice: Advice, mut after: impl FnMut(Instant)) -> io::Result<()> {
        let slice_bytes = if self.large_pages { LARGE_SLICE_BYTES } else { SLICE_BYTES };
        let mut at = self.filled.get() / slice_bytes * slice_bytes;
        while at < self.map.len() {
            let begun = Instant::now();
            let bytes = slice_bytes.min(self.map.len() - at);
            self.map.advise_range(advice, at, bytes)?;
            after(begun);
            at += bytes;
        }
        Ok(())
    }

    /// Bytes of the mapping.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Appends `bytes` bytes that `fill` writes in place. The place is all that `fill` sees.
    pub(crate) fn append_with(&self, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let at = self.filled.get();
        assert!(bytes <= self.map.len() - at, "{bytes} bytes do not fit behind {at} of {}", self.map.len());
        assert!(!self.appending.replace(true), "an append inside an append");
        // SAFETY: `at..at + bytes` lies inside the mapping and past `filled`, so no slice handed out by `bytes` covers it while `fill` runs;
        // `appending` keeps `fill` from getting the same place a second time, and the mapping is not Sync.
        let place = unsafe { slice::from_raw_parts_mut(self.map.as_mut_ptr().add(at), bytes) };
        fill(place);
        self.clear_rest_of_page(at, at + bytes);
        self.filled.set(at + bytes);
        self.appending.set(false);
    }

    /// Of the page in which the log now ends, when it has come into a new one: recovery takes anything but zeros there for a torn append.
    fn clear_rest_of_page(&self, begin: usize, end: usize) {
        let rest = end.next_multiple_of(PAGE_BYTES).min(self.map.len()) - end;
        let is_new = begin.is_multiple_of(PAGE_BYTES) || begin / PAGE_BYTES < end / PAGE_BYTES;
        if self.renewed && is_new {
            // SAFETY: `end..end + rest` lies inside the mapping and past what is filled: no slice that was handed out covers it.
            unsafe { self.map.as_mut_ptr().add(end).write_bytes(0, rest) };
        }
    }

    /// Log bytes in place.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.filled.get(), "{range:?} is not filled");
        // SAFETY: the range is inside the mapping and below `filled`, where nothing is written any more. The file is ours alone (the data
        // directory is locked) and is never cut below its filled length while mapped.
        unsafe { slice::from_raw_parts(self.map.as_ptr().add(range.start), range.len()) }
    }

    /// Whether every page of the range is in the page cache now, so that reading it here will not wait for the device (and a failing
    /// device cannot kill the process). One system call.
    pub(crate) fn resident(&self, range: Range<usize>) -> bool {
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        let bytes = range.end.min(self.map.len()) - start;
        let mut pages = [0_u8; RESIDENT_PAGES_MAX];
        let count = bytes.div_ceil(PAGE_BYTES);
        if count > pages.len() {
            return false;
        }
        // SAFETY: the address is page-aligned and inside the mapping, and `pages` has a byte for each page asked about.
        let outcome = unsafe { libc::mincore(self.map.as_mut_ptr().add(start).cast(), bytes, pages.as_mut_ptr()) };
        outcome == 0 && pages[..count].iter().all(|page| page & 1 == 1)
    }
}

/// Writes the dirty pages of a range to the device and waits for that: sync_file_range(2). Makes nothing durable.
pub(crate) fn write_and_wait(file: &File, range: Range<u64>) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let number = |byte: u64| libc::off64_t::try_from(byte).map_err(io::Error::other);
    // SAFETY: a system call on an open descriptor that touches no memory of ours.
    let outcome = unsafe {
        libc::sync_file_range(file.as_raw_fd(), number(range.start)?, number(range.end - range.start)?, flags)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Pages that one [`Mapping::resident`] can ask about: a read of 1 MiB that begins inside a page.
const RESIDENT_PAGES_MAX: usize = 257;

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(bytes: usize) -> Mapping {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        Mapping::new(&file, bytes, 0).unwrap()
    }

    #[test]
    fn slices_stay_as_they_were_while_more_is_appended() {
        let mapping = mapped(8192);
        mapping.append_with(3, |place| place.copy_from_slice(b"one"));
        let held = mapping.bytes(0..3);
        mapping.append_with(3, |place| place.copy_from_slice(b"two"));
        assert_eq!(held, b"one");
        assert_eq!(mapping.bytes(0..6), b"onetwo");
    }

    #[test]
    #[should_panic(expected = "is not filled")]
    fn unfilled_bytes_are_not_readable() {
        mapped(4096).bytes(0..1);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn an_append_past_the_end_is_refused() {
        mapped(4096).append_with(4097, |_| ());
    }

    #[test]
    fn populated_pages_are_resident() {
        let mapping = mapped(1 << 20);
        mapping.populate(|_| ()).unwrap();
        assert!(mapping.resident(0..1 << 20));
        assert!(mapping.resident(4000..1 << 20));
    }
}
