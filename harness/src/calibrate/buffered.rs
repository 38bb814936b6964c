//! Writing through the page cache by system calls.

use super::{
    case::Pages,
    ceilings::Sample,
    clock,
    memory::noise,
    place::{Place, allocate, bring_in},
};
use memmap2::MmapMut;
use rustix::{
    fs::Advice,
    io::{ReadWriteFlags, pwritev2},
};
use std::{
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// Bytes of the segment that is not flushed.
pub const PLAIN_BYTES: u64 = 256 << 20;
/// Bytes of the segment that is flushed at each write.
pub const DURABLE_BYTES: u64 = 128 << 20;

/// A segment that is written without flushes.
pub struct Buffered {
    plain: File,
    from: MmapMut,
}

impl Buffered {
    /// Makes it.
    ///
    /// # Errors
    /// No space, no memory.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let mut from = MmapMut::map_anon(super::BLOCK_BYTES_MAX)?;
        noise(&mut from);
        let plain = place.allocated("buffered", PLAIN_BYTES)?;
        Ok(Self { plain, from })
    }

    /// `pwrite` of blocks in order. Fresh pages: once through a segment that was just allocated, or for `window` if that is shorter.
    ///
    /// # Errors
    /// A write fails.
    pub fn write(&self, block: usize, pages: Pages, window: Duration) -> io::Result<Sample> {
        match pages {
            Pages::Fresh => {
                // Cutting it drops its dirty pages: nothing of it is ever written back.
                allocate(&self.plain, PLAIN_BYTES)?;
            }
            Pages::Hot => bring_in(&self.plain, &self.from, PLAIN_BYTES)?,
        }
        let from = &self.from[..block];
        let begun = Instant::now();
        let mut at = 0;
        let mut written = 0;
        while begun.elapsed() < window {
            if at + block as u64 > PLAIN_BYTES {
                if pages == Pages::Fresh {
                    break;
                }
                at = 0;
            }
            self.plain.write_all_at(from, at)?;
            at += block as u64;
            written += block as u64;
        }
        let per_s = written as f64 / begun.elapsed().as_secs_f64();
        if pages == Pages::Fresh {
            // Dirty pages of a ceiling are not for the next measurement to have written back.
            self.plain.set_len(0)?;
        }
        Ok(Sample { per_s, p50_ns: None })
    }
}

/// A segment whose every write is flushed.
pub struct Durable {
    file: File,
    from: MmapMut,
}

impl Durable {
    /// Makes it.
    ///
    /// # Errors
    /// No space, no memory.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let mut from = MmapMut::map_anon(super::BLOCK_BYTES_MAX)?;
        noise(&mut from);
        Ok(Self { file: place.zeroed("durable", DURABLE_BYTES)?, from })
    }

    /// `pwritev2` with RWF_DSYNC of blocks in order over zeros, their pages not in the page cache, as a log meets them.
    ///
    /// # Errors
    /// A write fails.
    pub fn write(&mut self, block: usize, window: Duration) -> io::Result<Sample> {
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?;
        let from = &self.from[..block];
        let mut at = 0;
        let (operations_per_s, p50_ns) = clock::operations(window, || {
            let written = pwritev2(&self.file, &[IoSlice::new(from)], at, ReadWriteFlags::DSYNC)?;
            at = if at + 2 * block as u64 > DURABLE_BYTES { 0 } else { at + block as u64 };
            if written == block { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        })?;
        Ok(Sample { per_s: operations_per_s * block as f64, p50_ns: Some(p50_ns) })
    }
}
