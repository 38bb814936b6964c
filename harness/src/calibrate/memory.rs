//! What the processor does without the kernel: copying and checksumming.

use super::{ceilings::Sample, clock};
use log_segment::Aligned;
use memmap2::{Advice, MmapMut};
use std::{io, time::Duration};

/// Bytes that copies go to: more than the caches of one core hold.
const TO_BYTES: usize = 64 << 20;

/// Memory to copy from and to.
pub struct Memory {
    from: MmapMut,
    to: MmapMut,
}

impl Memory {
    /// Maps and touches it.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> io::Result<Self> {
        let mut memory = Self { from: MmapMut::map_anon(super::BLOCK_BYTES_MAX)?, to: MmapMut::map_anon(TO_BYTES)? };
        noise(&mut memory.from);
        memory.to.fill(1);
        Ok(memory)
    }

    /// Copies of `block` bytes from the cache to memory beyond it, for `window`.
    pub fn copy(&mut self, block: usize, window: Duration) -> Sample {
        let (from, to) = (&self.from[..block], &mut self.to);
        let mut at = 0;
        let per_s = clock::rate(window, block as u64, || {
            to[at..at + block].copy_from_slice(from);
            at = if at + 2 * block > TO_BYTES { 0 } else { at + block };
        });
        Sample { per_s, p50_ns: None }
    }

    /// Checksums of `block` bytes in the cache, for `window`.
    pub fn crc32c(&self, block: usize, window: Duration) -> Sample {
        let from = &self.from[..block];
        let per_s = clock::rate(window, block as u64, || {
            std::hint::black_box(log_format::crc32c(std::hint::black_box(from)));
        });
        Sample { per_s, p50_ns: None }
    }
}

/// Has the machine's host hand out `bytes` of memory again, and frees it at once: what the kernel allocates next is that. A guest that reports
/// its free pages loses them after a few seconds, and the first touch then costs milliseconds a mebibyte (here 2.5, ten times a durable write).
pub(super) fn warm(bytes: usize) {
    // Without memory to warm, the measurement is what it is.
    let Ok(mut memory) = MmapMut::map_anon(bytes) else { return };
    memory.advise(Advice::HugePage).ok();
    memory.fill(1);
}

/// Noise in memory as the engines' own: large pages where there are any, so that a large block is few pieces.
pub(super) fn noise_in_large_pages(bytes: usize) -> io::Result<Aligned> {
    let mut memory = Aligned::new(bytes)?;
    noise(memory.bytes_mut());
    Ok(memory)
}

/// Fills memory with bytes that no device can make smaller.
pub(super) fn noise(bytes: &mut [u8]) {
    use rand::{Rng, SeedableRng};
    rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(1111).fill_bytes(bytes);
}
