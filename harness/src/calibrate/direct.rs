//! The device by O_DIRECT: a zero-filled file, overwritten and read in a ring.

use super::{
    ceilings::Sample,
    disk_ring::{self, Loop, Operation},
    memory::noise_in_large_pages,
    place::{Place, reopen_direct},
};
use anyhow::Context;
use log_segment::Aligned;
use std::{fs::File, io, os::unix::fs::FileExt, time::Duration};

/// Bytes of the file.
pub const BYTES: u64 = 256 << 20;
/// Share of the window that goes before it, uncounted.
const WARM_UP_SHARE: u32 = 10;

/// The file and the buffers.
pub struct Direct {
    file: File,
    memory: Aligned,
}

impl Direct {
    /// Makes the file.
    ///
    /// # Errors
    /// No space, no memory, no O_DIRECT.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let file = reopen_direct(&place.zeroed("direct", BYTES)?)?;
        let depth_max = super::case::DEPTHS.into_iter().max().unwrap_or(1) as usize;
        let memory = noise_in_large_pages(depth_max * super::BLOCK_BYTES_MAX)?;
        // Reads of zeros that nobody ever wrote over may never reach a device.
        for at in (0..BYTES).step_by(memory.bytes().len()) {
            file.write_all_at(memory.bytes(), at).context("overwrite the file that is read")?;
        }
        Ok(Self { file, memory })
    }

    /// Operations of `block` bytes, `depth` in flight, for `window`.
    ///
    /// # Errors
    /// As [`disk_ring::run`].
    pub fn measure(&mut self, operation: Operation, block: u64, depth: u32, window: Duration) -> io::Result<Sample> {
        disk_ring::run(&self.file, self.memory.bytes_mut(), &over_the_file(operation, block, depth, window))
    }

    /// Writes of the same kind, each copied first to one block after the other of `staging_bytes`.
    ///
    /// # Errors
    /// No memory, and as [`disk_ring::run`].
    pub fn write_staged(&self, block: u64, depth: u32, window: Duration, staging_bytes: u64) -> io::Result<Sample> {
        let of = Loop { staged: true, ..over_the_file(Operation::Write, block, depth, window) };
        let mut memory = noise_in_large_pages((staging_bytes + block) as usize)?;
        disk_ring::run(&self.file, memory.bytes_mut(), &of)
    }
}

fn over_the_file(operation: Operation, block: u64, depth: u32, window: Duration) -> Loop {
    Loop {
        operation,
        block_bytes: block as usize,
        depth: depth as usize,
        span_bytes: BYTES,
        staged: false,
        warm_up: window / WARM_UP_SHARE,
        window,
    }
}
