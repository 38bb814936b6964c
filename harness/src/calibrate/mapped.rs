//! Writing through a shared mapping whose pages were populated ahead: what the mmap engine does without flushes. `unsafe` lives here
//! because the bytes of a mapping are those of its file.

use super::{ceilings::Sample, clock, memory::noise, place::Place};
use memmap2::{Advice, MmapMut};
use std::{io, time::Duration};

/// Bytes of the mapping.
pub const BYTES: u64 = 128 << 20;
/// Populated at a time, as the engine does.
const POPULATE_BYTES: usize = 2 << 20;
/// The smallest page.
const PAGE_BYTES: usize = 4096;

/// A populated mapping of an allocated file.
pub struct Mapped {
    map: MmapMut,
    from: MmapMut,
}

impl Mapped {
    /// Makes the file and brings its pages in.
    ///
    /// # Errors
    /// No space, no memory, or a kernel before 5.14.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let file = place.allocated("mapped", BYTES)?;
        let mut from = MmapMut::map_anon(super::BLOCK_BYTES_MAX)?;
        noise(&mut from);
        // SAFETY: the file has no name and this process alone has it open, so nobody else changes or truncates it.
        let map = unsafe { MmapMut::map_mut(&file) }?;
        populate(&map)?;
        Ok(Self { map, from })
    }

    /// Copies blocks into the mapping, each checksummed first if `crc`, for `window`.
    ///
    /// # Errors
    /// No memory.
    pub fn write(&mut self, block: usize, crc: bool, window: Duration) -> io::Result<Sample> {
        // The kernel may have written the pages back meanwhile, whoever made others dirty: then each of them would cost a fault.
        populate(&self.map)?;
        let (from, to) = (&self.from[..block], &mut self.map);
        // The machine's host may have taken back what lay idle: populating does not touch it.
        to.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        let mut at = 0;
        let per_s = clock::rate(window, block as u64, || {
            if crc {
                std::hint::black_box(log_format::crc32c(std::hint::black_box(from)));
            }
            to[at..at + block].copy_from_slice(from);
            at = if at + 2 * block > to.len() { 0 } else { at + block };
        });
        Ok(Sample { per_s, p50_ns: None })
    }
}

fn populate(map: &MmapMut) -> io::Result<()> {
    (0..map.len())
        .step_by(POPULATE_BYTES)
        .try_for_each(|at| map.advise_range(Advice::PopulateWrite, at, POPULATE_BYTES.min(map.len() - at)))
}
