//! Memory that O_DIRECT accepts.

/// The alignment of memory, offset and length for O_DIRECT that every device here accepts, and the block that an engine rewrites.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// A buffer that starts on a block boundary and is a whole number of blocks long.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// At least `bytes` zeros.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(BLOCK_BYTES);
        let memory = vec![0; bytes + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "a byte pointer can be aligned");
        Self { memory, start }
    }

    pub(crate) fn len(&self) -> usize {
        self.memory.len() - BLOCK_BYTES
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len()]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.start..self.start + self.len();
        &mut self.memory[range]
    }
}
