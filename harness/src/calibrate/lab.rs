//! Everything that cases are measured with, made once.

use super::{
    buffered::{self, Buffered, Durable},
    case::{Case, Pages, Path, Sync},
    ceilings::Sample,
    direct::{self, Direct},
    disk_ring::Operation,
    flush::Flush,
    loopback::{self, Loopback},
    mapped::{self, Mapped},
    memory::{Memory, warm},
    place::Place,
};
use crate::config::Placement;
use anyhow::Context;
use std::time::Duration;

/// What all files together take on the disk.
pub const DISK_BYTES: u64 =
    direct::BYTES + buffered::PLAIN_BYTES + buffered::DURABLE_BYTES + mapped::BYTES + loopback::FILE_BYTES;

/// What fio needs for itself beside a [`Disk`].
pub const DEVICE_BYTES: u64 = direct::BYTES;

/// How long a sample takes where only the processor works.
const PROCESSOR_WINDOW: Duration = Duration::from_millis(25);
/// How long a sample takes on the device.
const DEVICE_WINDOW: Duration = Duration::from_millis(100);
/// How long a sample takes on loopback.
const LOOPBACK_WINDOW: Duration = Duration::from_millis(150);

/// At least what a sample of any case allocates in the kernel.
const WARM_BYTES: usize = buffered::PLAIN_BYTES as usize;

/// Whether the kernel allocates memory for each byte of a case: for the page cache, or for a socket.
fn allocates(case: Case) -> bool {
    match case {
        Case::BufferedWrite { pages: Pages::Fresh, .. }
        | Case::BufferedDsync { .. }
        | Case::Transfer { path: Path::Send | Path::SendZc, .. } => true,
        Case::MemoryCopy { .. }
        | Case::Crc32c { .. }
        | Case::MappedWrite { .. }
        | Case::BufferedWrite { pages: Pages::Hot, .. }
        | Case::DirectWrite { .. }
        | Case::DirectRead { .. }
        | Case::Flush
        | Case::Echo { .. }
        // References to pages that are there; what is warmed would only push them out of the processor's cache.
        | Case::Transfer { path: Path::Sendfile, .. } => false,
    }
}

/// The instruments of the cases that wait for the device.
pub struct Disk {
    direct: Direct,
    durable: Durable,
}

impl Disk {
    /// Makes the files.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        Ok(Self { direct: Direct::new(place)?, durable: Durable::new(place)? })
    }

    /// One sample of a case of [`Case::of_the_device`].
    ///
    /// # Errors
    /// The system fails an operation; the case is another.
    pub fn measure(&mut self, case: Case, window: Duration) -> anyhow::Result<Sample> {
        let sample = match case {
            Case::BufferedDsync { block_bytes } => self.durable.write(block_bytes as usize, window),
            Case::DirectWrite { block_bytes, depth, sync } => {
                let operation = if sync == Sync::Dsync { Operation::WriteDsync } else { Operation::Write };
                self.direct.measure(operation, block_bytes, depth, window)
            }
            Case::DirectRead { block_bytes, depth } => self.direct.measure(Operation::Read, block_bytes, depth, window),
            _ => anyhow::bail!("{case} is not measured on the device"),
        };
        Ok(sample?)
    }
}

/// The instruments of all cases.
pub struct Lab {
    memory: Memory,
    mapped: Mapped,
    buffered: Buffered,
    disk: Disk,
    flush: Flush,
    loopback: Loopback,
}

impl Lab {
    /// Makes the files. Called, and used, on the shard's core.
    ///
    /// # Errors
    /// A file cannot be made, or there is no memory.
    pub fn new(place: &Place, placement: &Placement) -> anyhow::Result<Self> {
        Ok(Self {
            memory: Memory::new().context("memory to copy")?,
            mapped: Mapped::new(place)?,
            buffered: Buffered::new(place)?,
            disk: Disk::new(place)?,
            flush: Flush::new(place)?,
            loopback: Loopback::new(place, placement)?,
        })
    }

    /// Sends all of `memory` once over a loopback connection, from outside the processor's cache if it is larger: bytes a second.
    ///
    /// # Errors
    /// The system fails an operation.
    pub fn send_through(&self, memory: &[u8], block_bytes: usize) -> anyhow::Result<f64> {
        warm(WARM_BYTES);
        self.loopback.send_through(memory, block_bytes)
    }

    /// Direct writes without flushes, each copied first to one block after the other of `staging_bytes`, for `window`: bytes a second. What is left
    /// of the device where what is written comes from memory instead of the processor's cache.
    ///
    /// # Errors
    /// The system fails an operation.
    pub fn write_staged(
        &self,
        block_bytes: u64,
        depth: u32,
        window: Duration,
        staging_bytes: u64,
    ) -> anyhow::Result<f64> {
        Ok(self.disk.direct.write_staged(block_bytes, depth, window, staging_bytes)?.per_s)
    }

    /// One sample of a case.
    ///
    /// # Errors
    /// The system fails an operation.
    pub fn measure(&mut self, case: Case) -> anyhow::Result<Sample> {
        self.measure_for(case, DEVICE_WINDOW)
    }

    /// The same, where the device works for so long.
    ///
    /// # Errors
    /// The system fails an operation.
    pub fn measure_for(&mut self, case: Case, window: Duration) -> anyhow::Result<Sample> {
        if allocates(case) {
            warm(WARM_BYTES);
        }
        let sample = match case {
            Case::MemoryCopy { block_bytes } => self.memory.copy(block_bytes as usize, PROCESSOR_WINDOW),
            Case::Crc32c { block_bytes } => self.memory.crc32c(block_bytes as usize, PROCESSOR_WINDOW),
            Case::MappedWrite { block_bytes, crc } => self.mapped.write(block_bytes as usize, crc, PROCESSOR_WINDOW)?,
            Case::BufferedWrite { block_bytes, pages: Pages::Fresh } => {
                self.buffered.write(block_bytes as usize, Pages::Fresh, window)?
            }
            Case::BufferedWrite { block_bytes, pages: Pages::Hot } => {
                self.buffered.write(block_bytes as usize, Pages::Hot, PROCESSOR_WINDOW)?
            }
            Case::BufferedDsync { .. } | Case::DirectWrite { .. } | Case::DirectRead { .. } => {
                self.disk.measure(case, window)?
            }
            Case::Flush => self.flush.measure(window)?,
            Case::Echo { connections } => self.loopback.echo(connections, LOOPBACK_WINDOW)?,
            Case::Transfer { path, .. } => self.loopback.transfer(path, LOOPBACK_WINDOW)?,
        };
        Ok(sample)
    }
}
