//! Memory that O_DIRECT accepts.

use memmap2::{Advice, MmapMut};
use std::io;

/// The alignment of memory, offset and length for O_DIRECT that every device here accepts, and the block that an engine rewrites.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Bytes of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Buffers that are at least so long lie in a huge page where the system lends one: 1 MiB in small pages is more pieces than a device takes
/// at once, and some devices are slow to walk them. A virtual disk may even keep what was first written in small pieces in small pieces: read
/// and overwritten at half the rate for good (ARCHITECTURE, "Who first writes a block decides how fast it stays").
const HUGE_FROM_BYTES: usize = 1 << 20;

/// A buffer that starts on a block boundary and is a whole number of blocks long.
#[derive(Debug)]
pub struct Aligned {
    memory: MmapMut,
    start: usize,
    bytes: usize,
}

impl Aligned {
    /// At least `bytes` zeros.
    ///
    /// # Errors
    /// No memory.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(BLOCK_BYTES);
        if bytes < HUGE_FROM_BYTES {
            return Ok(Self { memory: MmapMut::map_anon(bytes)?, start: 0, bytes });
        }
        let mut memory = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE_BYTES) + HUGE_PAGE_BYTES)?;
        let start = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // A wish: without huge pages small ones do.
        let _ = memory.advise_range(Advice::HugePage, start, bytes.next_multiple_of(HUGE_PAGE_BYTES));
        // Who only reads what nobody wrote gets small pages of zeros.
        memory[start..start + bytes].iter_mut().step_by(BLOCK_BYTES).for_each(|byte| *byte = 0);
        Ok(Self { memory, start, bytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }

    /// Its bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_whole_blocks_of_zeros_on_a_block_boundary() {
        for bytes in [0, 1, 4096, 4097, (1 << 20) - 1, 1 << 20, (2 << 20) + 1, 5 << 20] {
            let mut buffer = Aligned::new(bytes).unwrap();
            assert_eq!(buffer.len(), bytes.max(1).next_multiple_of(BLOCK_BYTES));
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
            buffer.bytes_mut().fill(7);
            assert!(buffer.bytes().iter().all(|byte| *byte == 7));
        }
    }
}
