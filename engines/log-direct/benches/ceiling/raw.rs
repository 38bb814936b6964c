//! The ceiling: a bare io_uring loop over a file filled with zeros, with a registered file, registered buffers and deferred task
//! running, and nothing else. What the device takes and gives through this interface at a block size and a depth.

use io_uring::{IoUring, opcode, types};
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
    ptr::NonNull,
    time::{Duration, Instant},
};

/// Bytes of the file: more than a device cache of a few segments, and the loop begins anew at its end.
const FILE_BYTES: u64 = 1 << 30;
const HUGE_PAGE: usize = 2 << 20;

/// What the loop does at each place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Write,
    /// With RWF_DSYNC.
    WriteDurably,
    Read,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) bytes_a_second: f64,
    /// Mean time of one operation, in seconds.
    pub(crate) latency: f64,
}

pub(crate) struct Raw {
    file: File,
}

impl Raw {
    /// Makes the file; every byte has been written.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join("raw");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES)?;
        let mut zeros = Memory::new(1 << 20);
        for at in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(zeros.bytes(), at)?;
        }
        file.sync_all()?;
        Ok(Self { file })
    }

    /// Goes through the file in order, `depth` operations of `block` bytes always in flight, for about `time`; from or into `spread` bytes of
    /// memory besides those in flight, in turns (0: the least, which stays in the processor's caches).
    pub(crate) fn run(
        &self,
        work: Work,
        block: usize,
        depth: usize,
        spread: usize,
        time: Duration,
    ) -> io::Result<Rate> {
        let mut ring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(64)?;
        let turns = 1 + spread / (block * depth);
        let mut memory = Memory::new(block * depth * turns);
        memory.bytes().fill(0x5a);
        let pointer = memory.bytes().as_mut_ptr();
        let vectors: Vec<libc::iovec> = (0..depth * turns)
            // SAFETY: within the allocation.
            .map(|slot| libc::iovec { iov_base: unsafe { pointer.add(slot * block) }.cast(), iov_len: block })
            .collect();
        // SAFETY: the memory outlives the ring: it is dropped after the last completion.
        unsafe { ring.submitter().register_buffers(&vectors)? };
        ring.submitter().register_files(&[self.file.as_raw_fd()])?;
        let (mut at, mut in_flight, mut begun, mut done) = (0, 0, 0, 0_u64);
        let mut free: Vec<usize> = (0..depth).collect();
        let started = Instant::now();
        let mut began = vec![started; depth];
        let mut waited = Duration::ZERO;
        loop {
            while let Some(slot) = free.pop_if(|_| started.elapsed() < time) {
                let buffer = slot + depth * (begun / depth % turns);
                let entry = operation(work, &vectors[buffer], buffer as u16, at).user_data(slot as u64);
                // SAFETY: the buffer is the slot's alone until its completion.
                unsafe { ring.submission().push(&entry).expect("no more entries than the depth") };
                began[slot] = Instant::now();
                at = (at + block as u64) % (FILE_BYTES - FILE_BYTES % block as u64);
                (in_flight, begun) = (in_flight + 1, begun + 1);
            }
            if in_flight == 0 {
                break;
            }
            ring.submit_and_wait(1)?;
            for completion in ring.completion() {
                if completion.result() != block as i32 {
                    return Err(io::Error::other(format!(
                        "{work:?} of {block} bytes answered {}",
                        completion.result()
                    )));
                }
                let slot = completion.user_data() as usize;
                waited += began[slot].elapsed();
                free.push(slot);
                (in_flight, done) = (in_flight - 1, done + 1);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Rate { bytes_a_second: (done * block as u64) as f64 / seconds, latency: waited.as_secs_f64() / done as f64 })
    }
}

fn operation(work: Work, vector: &libc::iovec, buffer: u16, at: u64) -> io_uring::squeue::Entry {
    let (file, address, bytes) = (types::Fixed(0), vector.iov_base.cast::<u8>(), vector.iov_len as u32);
    match work {
        Work::Read => opcode::ReadFixed::new(file, address, bytes, buffer).offset(at).build(),
        Work::Write => opcode::WriteFixed::new(file, address, bytes, buffer).offset(at).build(),
        Work::WriteDurably => {
            opcode::WriteFixed::new(file, address, bytes, buffer).offset(at).rw_flags(libc::RWF_DSYNC).build()
        }
    }
}

/// Memory in huge pages, where the system lends them: a block is then one segment for the device.
struct Memory {
    pointer: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.next_multiple_of(HUGE_PAGE), HUGE_PAGE).expect("a page's alignment");
        // SAFETY: no layout of size zero is asked for; whole pages of it are advised, then every byte is written.
        unsafe {
            let Some(pointer) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let _ = rustix::mm::madvise(pointer.as_ptr().cast(), layout.size(), rustix::mm::Advice::LinuxHugepage);
            pointer.as_ptr().write_bytes(0, layout.size());
            Self { pointer, layout }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the allocation, borrowed as this value is.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.pointer.as_ptr(), self.layout) };
    }
}
