//! A run of whole batches on its way from the device, and in memory: submitted as aligned reads, verified once when they are there, then
//! sliced. What never lives here: which runs to read (`cursor.rs`), the tail cache.

use crate::{PAGE_BYTES, memory::Memory};
use log_api::{Counters, Damage, Framing, Lease, Offset, ReadError};
use log_format::{ENTRY_HEADER_BYTES_MAX, Entry, entry_header_bytes, peek_entry};
use log_segment::Boundary;
use shard_ring::{Block, Op, Ring, RingFile, Slice};
use std::{collections::VecDeque, io, path::Path};

/// Whole batches of one segment, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) segment: Offset,
    pub(crate) start: Boundary,
    pub(crate) end: Boundary,
}

impl Stretch {
    /// The pages that hold it.
    fn pages(&self) -> std::ops::Range<u64> {
        let (start, end) = (self.start.position, self.end.position);
        start - start % PAGE_BYTES..end.next_multiple_of(PAGE_BYTES)
    }

    /// Operations that reading it takes.
    pub(crate) fn operations(&self, block_bytes: usize) -> usize {
        let pages = self.pages();
        ((pages.end - pages.start) as usize).div_ceil(block_bytes)
    }

    /// Submits the reads, all at once.
    pub(crate) fn submit(
        self,
        framing: Framing,
        ring: &Ring,
        memory: &Memory,
        file: &RingFile,
        lease: Lease,
    ) -> io::Result<Pending> {
        let mut reads = VecDeque::with_capacity(self.operations(memory.reading.block_bytes()));
        let pages = self.pages();
        let mut at = pages.start;
        while at < pages.end {
            let bytes = (pages.end - at).min(memory.reading.block_bytes() as u64) as u32;
            let block = memory.reading_block(bytes as usize)?;
            let op = ring.read(file, block.clone(), bytes, at);
            reads.push_back(PartRead { at, bytes, block, op });
            at += u64::from(bytes);
        }
        Ok(Pending { stretch: self, framing, file: file.clone(), reads, _lease: lease })
    }
}

/// One read operation.
struct PartRead {
    at: u64,
    bytes: u32,
    block: Block,
    op: Op<u32>,
}

/// A run with the kernel. Dropping it leaves the reads running; their blocks come back by themselves.
pub(crate) struct Pending {
    stretch: Stretch,
    framing: Framing,
    file: RingFile,
    reads: VecDeque<PartRead>,
    /// The file is not made another segment of as long as this is waited for.
    _lease: Lease,
}

impl Pending {
    /// Where it starts.
    pub(crate) fn stretch(&self) -> Stretch {
        self.stretch
    }

    /// Waits for the bytes, and verifies each batch. `path` is the segment's, for the message.
    pub(crate) async fn finish(mut self, ring: &Ring, path: &Path, counters: &Counters) -> Result<Run, ReadError> {
        let mut parts = Vec::with_capacity(self.reads.len());
        while let Some(PartRead { at, bytes, block, mut op }) = self.reads.pop_front() {
            // The segment may end inside its last page.
            let needed = (self.stretch.end.position - at).min(u64::from(bytes)) as usize;
            loop {
                let count = op.await?;
                Counters::add(&counters.read_bytes, u64::from(count));
                if block.filled() >= needed {
                    break;
                }
                if count == 0 || !block.filled().is_multiple_of(PAGE_BYTES as usize) {
                    let what = format!("the file ends here, and the log at byte {}", self.stretch.end.position);
                    let position = at + block.filled() as u64;
                    return Err(Damage { segment: path.to_path_buf(), position, what }.into());
                }
                op = ring.read(&self.file, block.clone(), bytes - block.filled() as u32, at + block.filled() as u64);
            }
            let before = self.stretch.start.position.saturating_sub(at) as usize;
            parts.push(Part { at: at + before as u64, slice: block.slice(before..needed) });
        }
        let run = Run { stretch: self.stretch, parts };
        run.verify(self.framing).map_err(|(position, what)| Damage { segment: path.to_path_buf(), position, what })?;
        Ok(run)
    }
}

/// A run in memory; every batch has been verified.
#[derive(Debug)]
pub(crate) struct Run {
    stretch: Stretch,
    /// Together the bytes of the stretch.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// Position in the segment.
    at: u64,
    slice: Slice,
}

impl Run {
    /// Where it lies.
    pub(crate) fn stretch(&self) -> Stretch {
        self.stretch
    }

    /// The slices that are the bytes `from..to` of the segment.
    pub(crate) fn slices(&self, from: u64, to: u64) -> Vec<Slice> {
        let mut slices = Vec::with_capacity(self.parts.len());
        self.each(from, to, |slice| slices.push(slice));
        slices
    }

    fn each(&self, from: u64, to: u64, mut each: impl FnMut(Slice)) {
        debug_assert!(self.stretch.start.position <= from && to <= self.stretch.end.position);
        let first = self.parts.partition_point(|part| part.at + part.slice.len() as u64 <= from);
        for part in self.parts[first..].iter().take_while(|part| part.at < to) {
            let start = from.saturating_sub(part.at) as usize;
            let end = ((to - part.at) as usize).min(part.slice.len());
            each(part.slice.slice(start..end));
        }
    }

    /// The entry that starts at `position`; None when there is none in the run.
    pub(crate) fn entry(&self, framing: Framing, position: u64) -> Option<Entry> {
        let mut bytes = [0; ENTRY_HEADER_BYTES_MAX];
        let bytes = &mut bytes[..entry_header_bytes(framing)];
        let end = position + bytes.len() as u64;
        if end > self.stretch.end.position {
            return None;
        }
        let mut done = 0;
        self.each(position, end, |slice| {
            bytes[done..done + slice.len()].copy_from_slice(slice.as_ref());
            done += slice.len();
        });
        peek_entry(framing, bytes).ok().flatten()
    }

    /// Checks each entry: place, length, checksum. The error is the position and what is wrong there.
    fn verify(&self, framing: Framing) -> Result<(), (u64, String)> {
        let Boundary { mut offset, mut position } = self.stretch.start;
        let end = self.stretch.end;
        while position < end.position {
            let damage = |what: String| (position, what);
            let entry = self.entry(framing, position).ok_or_else(|| damage("no batch starts here".to_owned()))?;
            let next = position + entry.bytes;
            if entry.offset != Some(offset) {
                let found = entry.offset.unwrap_or(Offset(u64::MAX));
                return Err(damage(format!("base offset {found} where {offset} belongs")));
            }
            if next > end.position {
                return Err(damage(format!("a batch of {} bytes reaches beyond the next", entry.bytes)));
            }
            let computed = self.checksum(position + entry.checksummed_from, next);
            if computed != entry.crc {
                return Err(damage(format!("checksum {:08x} is stored, the bytes have {computed:08x}", entry.crc)));
            }
            offset = offset.plus(entry.takes);
            position = next;
        }
        if offset == end.offset {
            Ok(())
        } else {
            Err((position, format!("offset {offset} where {} belongs", end.offset)))
        }
    }

    fn checksum(&self, from: u64, to: u64) -> u32 {
        let index = self.parts.partition_point(|part| part.at + part.slice.len() as u64 <= from);
        let whole = &self.parts[index];
        if to <= whole.at + whole.slice.len() as u64 {
            let start = (from - whole.at) as usize;
            let bytes: &[u8] = whole.slice.as_ref();
            return log_format::crc32c(&bytes[start..start + (to - from) as usize]);
        }
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        self.each(from, to, |slice| digest.update(slice.as_ref()));
        digest.finalize() as u32
    }
}
