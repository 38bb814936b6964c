//! A bare flush: the floor of every durable acknowledgement.

use super::{ceilings::Sample, clock, place::Place};
use std::{fs::File, io, os::unix::fs::FileExt, time::Duration};

const BLOCK_BYTES: usize = 4096;
/// The first flushes also write the file's metadata: not measured.
const WARM_UP: usize = 5;

/// A file of one block.
pub struct Flush(File);

impl Flush {
    /// Makes it and flushes it a few times.
    ///
    /// # Errors
    /// No space.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let flush = Self(place.file("flush")?);
        for _ in 0..WARM_UP {
            flush.once()?;
        }
        Ok(flush)
    }

    fn once(&self) -> io::Result<()> {
        self.0.write_all_at(&[0x5a; BLOCK_BYTES], 0)?;
        self.0.sync_data()
    }

    /// Overwrites of 4 KiB, each followed by fdatasync, for `window`.
    ///
    /// # Errors
    /// A flush fails.
    pub fn measure(&self, window: Duration) -> io::Result<Sample> {
        let (per_s, p50_ns) = clock::operations(window, || self.once())?;
        Ok(Sample { per_s, p50_ns: Some(p50_ns) })
    }
}
