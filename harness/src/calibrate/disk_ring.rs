//! A plain loop on a bare ring without a runtime: direct writes and reads in order, one file, registered, from registered buffers. What
//! the device does when nothing stands between it and the kernel. `unsafe` lives here because the kernel is handed addresses.

use super::{ceilings::Sample, clock::Latencies};
use io_uring::{IoUring, opcode, squeue, types};
use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// What each operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write.
    Write,
    /// Write with RWF_DSYNC.
    WriteDsync,
    /// Read.
    Read,
}

/// A loop to run.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// What.
    pub operation: Operation,
    /// Bytes of one.
    pub block_bytes: usize,
    /// How many are in flight.
    pub depth: usize,
    /// Bytes of the file; after its end the loop goes on at its start.
    pub span_bytes: u64,
    /// What is written is copied first, to one block of the memory after the other, as an engine stages it that keeps its tail for readers. Else
    /// each in flight has a block of its own, which stays in the processor's cache.
    pub staged: bool,
    /// Not counted at the start.
    pub warm_up: Duration,
    /// Counted.
    pub window: Duration,
}

/// A running loop. The ring goes before the buffers, and only when nothing is in flight.
struct Running<'a> {
    uring: IoUring,
    of: &'a Loop,
    buffers: &'a mut [u8],
    /// Blocks registered, from the first: fewer than were wanted where too little memory may be locked. Operations may share some: what they write is
    /// the same.
    slots: usize,
    at: u64,
    inflight: usize,
    failed: Option<io::Error>,
}

/// Runs a loop over `file`, which is open with O_DIRECT, with buffers in `memory`: at least a block for each in flight, and one more to copy from
/// where it is staged.
///
/// # Errors
/// There is no ring, or an operation fails or comes back short.
pub fn run(file: &File, memory: &mut [u8], of: &Loop) -> io::Result<Sample> {
    let blocks = memory.len() / of.block_bytes;
    assert!(of.depth + usize::from(of.staged) <= blocks && of.block_bytes as u64 <= of.span_bytes, "{of:?}");
    let uring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(of.depth as u32)?;
    uring.submitter().register_files(&[file.as_raw_fd()])?;
    let slots = register(&uring, memory, of.block_bytes, if of.staged { blocks - 1 } else { of.depth })?;
    let mut running = Running { uring, of, buffers: memory, slots, at: 0, inflight: 0, failed: None };
    let sample = running.measure();
    running.drain();
    sample
}

/// Registers `slots` blocks, or fewer.
fn register(uring: &IoUring, memory: &mut [u8], block_bytes: usize, mut slots: usize) -> io::Result<usize> {
    loop {
        let whole = [libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: slots * block_bytes }];
        // SAFETY: the range lies in `memory`, which is borrowed until the ring is gone.
        match unsafe { uring.submitter().register_buffers(&whole) } {
            Ok(()) => return Ok(slots),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && slots > 1 => slots /= 2,
            Err(error) => return Err(error),
        }
    }
}

impl Running<'_> {
    fn measure(&mut self) -> io::Result<Sample> {
        let mut latencies = Latencies::default();
        let mut done = 0_u64;
        let begun = Instant::now();
        let mut counted_from = None;
        let mut last = begun;
        (0..self.of.depth).for_each(|slot| self.push(slot));
        loop {
            self.uring.submit_and_wait(1)?;
            let landed = self.reap();
            let now = Instant::now();
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            match counted_from {
                None if now - begun >= self.of.warm_up => counted_from = Some(now),
                None => {}
                Some(from) => {
                    done += landed;
                    if self.of.depth == 1 {
                        latencies.record(now - last);
                    }
                    if now - from >= self.of.window {
                        let per_s = (done * self.of.block_bytes as u64) as f64 / (now - from).as_secs_f64();
                        return Ok(Sample { per_s, p50_ns: latencies.median_ns() });
                    }
                }
            }
            last = now;
        }
    }

    fn push(&mut self, slot: usize) {
        let bytes = self.of.block_bytes;
        let at = self.at;
        let block = if self.of.staged { at as usize / bytes } else { slot } % self.slots;
        if self.of.staged {
            let (staging, from) = self.buffers.split_at_mut(self.buffers.len() - bytes);
            staging[block * bytes..][..bytes].copy_from_slice(from);
        }
        self.at = if at + 2 * bytes as u64 > self.of.span_bytes { 0 } else { at + bytes as u64 };
        // Offsets stay below the buffers' end: slots are fewer than were registered.
        let buffer = self.buffers[block * bytes..].as_mut_ptr();
        let entry = entry(self.of.operation, buffer, bytes as u32, at).user_data(slot as u64);
        // SAFETY: the buffer is registered and stays mapped until `drain` has seen the completion.
        unsafe { self.uring.submission().push(&entry) }.expect("as many entries as are in flight");
        self.inflight += 1;
        // The device has it while the next one is copied.
        if self.of.staged
            && let Err(error) = self.uring.submit()
        {
            self.failed = Some(error);
        }
    }

    /// Takes what has completed and sends the same slots off again; how many.
    fn reap(&mut self) -> u64 {
        let mut landed = 0;
        loop {
            let Some(completion) = self.uring.completion().next() else { return landed };
            self.inflight -= 1;
            landed += 1;
            match completion.result() {
                code if code < 0 => self.failed = Some(io::Error::from_raw_os_error(-code)),
                bytes if bytes as usize != self.of.block_bytes => {
                    self.failed =
                        Some(io::Error::other(format!("{bytes} bytes where {} were asked for", self.of.block_bytes)));
                }
                _ if self.failed.is_none() => self.push(completion.user_data() as usize),
                _ => {}
            }
        }
    }

    /// Waits for what is in flight.
    fn drain(&mut self) {
        self.failed.get_or_insert_with(|| io::Error::other("done"));
        while self.inflight > 0 {
            match self.uring.submit_and_wait(1) {
                Err(error) if error.raw_os_error() != Some(libc::EINTR) => break,
                _ => _ = self.reap(),
            }
        }
    }
}

fn entry(operation: Operation, buffer: *mut u8, bytes: u32, at: u64) -> squeue::Entry {
    let file = types::Fixed(0);
    match operation {
        Operation::Read => opcode::ReadFixed::new(file, buffer, bytes, 0).offset(at).build(),
        Operation::Write => opcode::WriteFixed::new(file, buffer, bytes, 0).offset(at).build(),
        Operation::WriteDsync => {
            opcode::WriteFixed::new(file, buffer, bytes, 0).offset(at).rw_flags(libc::RWF_DSYNC).build()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::place::{Place, reopen_direct, tests::on_disk};
    use memmap2::MmapMut;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_loop_goes_round_its_file_and_reads_what_was_written() {
        let dir = on_disk();
        let place = Place::new(dir.path(), 1 << 20).unwrap();
        let file = place.zeroed("ring", 1 << 20).unwrap();
        let direct = reopen_direct(&file).unwrap();
        let mut memory = MmapMut::map_anon(4 << 16).unwrap();
        memory.fill(7);
        let of = Loop {
            operation: Operation::Write,
            block_bytes: 64 << 10,
            depth: 4,
            span_bytes: 1 << 20,
            staged: false,
            warm_up: Duration::ZERO,
            window: Duration::from_millis(30),
        };
        assert!(run(&direct, &mut memory, &of).unwrap().per_s > 0.0);
        let mut bytes = vec![0; 1 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..64 << 10].iter().all(|byte| *byte == 7));
        // The last block is what is copied.
        memory[3 << 16..].fill(9);
        assert!(run(&direct, &mut memory, &Loop { staged: true, depth: 2, ..of }).unwrap().per_s > 0.0);
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..64 << 10].iter().all(|byte| *byte == 9) && memory[..3 << 16].iter().all(|byte| *byte == 9));
        memory.fill(7);
        let lone = Loop { operation: Operation::WriteDsync, depth: 1, ..of };
        assert!(run(&direct, &mut memory, &lone).unwrap().p50_ns.is_some());
        memory.fill(0);
        let read = Loop { operation: Operation::Read, ..lone };
        run(&direct, &mut memory, &read).unwrap();
        assert!(memory[..64 << 10].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn an_operation_that_fails_is_an_error_and_nothing_stays_in_flight() {
        let dir = on_disk();
        let place = Place::new(dir.path(), 1 << 20).unwrap();
        let file = place.zeroed("ring", 64 << 10).unwrap();
        let direct = reopen_direct(&file).unwrap();
        let mut memory = MmapMut::map_anon(64 << 10).unwrap();
        // Reads behind the end of the file come back short.
        let of = Loop {
            operation: Operation::Read,
            block_bytes: 4096,
            depth: 8,
            span_bytes: 1 << 20,
            staged: false,
            warm_up: Duration::ZERO,
            window: Duration::from_secs(60),
        };
        assert!(run(&direct, &mut memory, &of).unwrap_err().to_string().contains("0 bytes where 4096"));
    }
}
