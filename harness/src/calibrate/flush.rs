//! A bare flush: the floor of every durable acknowledgement.

use super::{ceilings::Sample, clock, place::Place};
use crate::cost::flush::{WARM_UP, once};
use std::{fs::File, io, time::Duration};

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
            once(&flush.0)?;
        }
        Ok(flush)
    }

    /// Overwrites of 4 KiB, each followed by fdatasync, for `window`.
    ///
    /// # Errors
    /// A flush fails.
    pub fn measure(&self, window: Duration) -> io::Result<Sample> {
        let (per_s, p50_ns) = clock::operations(window, || once(&self.0))?;
        Ok(Sample { per_s, p50_ns: Some(p50_ns) })
    }
}
