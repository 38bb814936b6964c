//! The ring as the kernel shows it: pushing, entering, reaping, registering. `unsafe` lives here because the kernel is
//! handed raw pointers and descriptors.

use crate::Slab;
use io_uring::{IoUring, opcode, squeue, types};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// Registered buffers: one a slab.
const SLABS_MAX: u32 = 64;
/// Places in the table of fixed files.
pub(crate) const FIXED_FILES_MAX: u32 = 1024;
/// The kernel takes at most this much as one registered buffer.
const REGISTERED_BYTES_MAX: usize = 1 << 30;
/// `IORING_ENTER_GETEVENTS`: run deferred completions.
const GETEVENTS: u32 = 1;

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// How an enter went.
pub(crate) enum Entered {
    /// So many entries were submitted.
    Submitted(usize),
    /// Interrupted, or no memory right now.
    Again,
    /// The completion queue has to be emptied first.
    Busy,
}

/// The io_uring instance, and what is registered with it.
pub(crate) struct Kernel {
    uring: IoUring,
    /// Whether the table of fixed files exists.
    fixed_files: bool,
    slabs: Option<u32>,
}

impl Kernel {
    /// A ring of this thread: only it may submit, and completions are run when it enters.
    pub(crate) fn new(entries: u32, completions: u32, worker_cpus: &[usize]) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(completions)
            .build(entries)?;
        if !worker_cpus.is_empty() {
            uring.submitter().register_iowq_aff(&cpu_set(worker_cpus)?)?;
        }
        // Both tables only save time; without them operations name descriptors and addresses.
        let fixed_files = uring.submitter().register_files_sparse(FIXED_FILES_MAX).is_ok();
        let slabs = uring.submitter().register_buffers_sparse(SLABS_MAX).is_ok().then_some(0);
        Ok(Self { uring, fixed_files, slabs })
    }

    pub(crate) fn has_fixed_files(&self) -> bool {
        self.fixed_files
    }

    /// Puts an entry into the submission queue. `false`: the queue is full.
    pub(crate) fn push(&mut self, entry: &Submission) -> bool {
        // SAFETY: a `Submission` comes from `Prepared`, which moved what the entry points to into the slot, or from
        // `Submission::cancel`, which points to nothing.
        unsafe { self.uring.submission().push(&entry.0).is_ok() }
    }

    /// Entries pushed and not yet submitted.
    pub(crate) fn unsubmitted(&mut self) -> usize {
        self.uring.submission().len()
    }

    /// Whether completions wait in the kernel because the completion queue was full.
    pub(crate) fn overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Whether completions wait to be run or reaped. No system call.
    pub(crate) fn has_arrivals(&mut self) -> bool {
        let submissions = self.uring.submission();
        let deferred = submissions.taskrun() || submissions.cq_overflow();
        drop(submissions);
        deferred || !self.uring.completion().is_empty()
    }

    /// Submits what was pushed and runs deferred completions. `sleep`: until there is one.
    pub(crate) fn enter(&mut self, sleep: bool) -> io::Result<Entered> {
        let pushed = self.unsubmitted() as u32;
        let wanted = u32::from(sleep);
        // SAFETY: no argument but the flag; the entries are valid by `push`.
        let entered = unsafe { self.uring.submitter().enter::<libc::sigset_t>(pushed, wanted, GETEVENTS, None) };
        match entered {
            Ok(submitted) => Ok(Entered::Submitted(submitted)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => Ok(Entered::Again),
                Some(libc::EBUSY) => Ok(Entered::Busy),
                _ => Err(error),
            },
        }
    }

    /// Takes all completions.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.uring.completion().map(|completion| Completion {
            user_data: completion.user_data(),
            result: completion.result(),
            flags: completion.flags(),
        }));
    }

    /// Puts a file into the fixed table at `place`, or takes it out.
    pub(crate) fn set_fixed(&self, place: u32, file: Option<&File>) -> io::Result<()> {
        let descriptor: RawFd = file.map_or(-1, |file| file.as_raw_fd());
        self.uring.submitter().register_files_update(place, &[descriptor]).map(drop)
    }

    /// Registers as many of the slab's blocks, from the first, as the limit of locked memory allows. How many calls,
    /// and blocks.
    pub(crate) fn register_slab(&mut self, slab: &Slab) -> (u64, usize) {
        let Some(buffer) = self.slabs.filter(|used| *used < SLABS_MAX && !slab.is_registered()) else { return (0, 0) };
        let mut blocks = slab.blocks().min(REGISTERED_BYTES_MAX / slab.block_bytes());
        let mut calls = 0;
        while blocks > 0 {
            let whole = [libc::iovec { iov_base: slab.base().cast(), iov_len: blocks * slab.block_bytes() }];
            calls += 1;
            // SAFETY: the range is the slab's mapping. The kernel pins the pages, so they outlive even an unmapped
            // slab; an operation's slot holds its block, and with it the slab.
            match unsafe { self.uring.submitter().register_buffers_update(buffer, &whole, None) } {
                Ok(_) => {
                    slab.set_registered(buffer as u16, blocks as u32);
                    self.slabs = Some(buffer + 1);
                    break;
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => blocks /= 2,
                Err(_) => blocks = 0,
            }
        }
        (calls, blocks)
    }

    /// Hands a ring of provided buffers to the kernel, as group `group`.
    ///
    /// # Safety
    /// `ring` must be a page-aligned array of `entries` buffer entries that outlives this value.
    pub(crate) unsafe fn provide(&self, ring: *const types::BufRingEntry, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: by this function's own contract.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(ring as u64, entries, group, 0) }
    }
}

/// An entry that may be pushed: what it points to is owned by its slot.
pub(crate) struct Submission(squeue::Entry);

impl Submission {
    /// For `Prepared` alone, which moves what the entry points to into the slot in the same breath.
    pub(crate) fn of(entry: squeue::Entry, user_data: u64) -> Self {
        Self(entry.user_data(user_data))
    }

    /// Completes each time that the descriptor becomes readable, until the completion queue is full.
    pub(crate) fn poll_all(descriptor: RawFd, user_data: u64) -> Self {
        let poll = opcode::PollAdd::new(types::Fd(descriptor), libc::POLLIN as u32).multi(true);
        Self(poll.build().user_data(user_data))
    }

    /// Cancels the operation `target`.
    pub(crate) fn cancel(target: u64, user_data: u64) -> Self {
        Self(opcode::AsyncCancel::new(target).build().user_data(user_data))
    }

    /// Cancels all operations on a descriptor.
    pub(crate) fn cancel_on(descriptor: RawFd, user_data: u64) -> Self {
        let all = types::CancelBuilder::fd(types::Fd(descriptor)).all();
        Self(opcode::AsyncCancel2::new(all).build().user_data(user_data))
    }
}

/// Lets a multishot receive end after `bytes_max` bytes (`optlen` of its entry, since Linux 6.17; older ones answer
/// `EINVAL`).
pub(crate) fn limit_receive(entry: &mut squeue::Entry, bytes_max: u32) {
    /// `file_index`, `optlen` and others share these four bytes of `struct io_uring_sqe`.
    const OPTLEN: usize = 44;
    const { assert!(size_of::<squeue::Entry>() == 64, "an entry is a struct io_uring_sqe") };
    // SAFETY: `Entry` is one `struct io_uring_sqe` (repr(C)) of 64 plain bytes, aligned to 8; the field is a u32 within
    // it.
    unsafe { std::ptr::from_mut(entry).cast::<u8>().add(OPTLEN).cast::<u32>().write(bytes_max) };
}

/// A descriptor that an operation returned.
pub(crate) fn returned(descriptor: i32) -> OwnedFd {
    assert!(descriptor >= 0, "an error is no descriptor");
    // SAFETY: the kernel has just made it as the result of this operation, and nobody else has seen it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn cpu_set(cpus: &[usize]) -> io::Result<libc::cpu_set_t> {
    if let Some(cpu) = cpus.iter().find(|cpu| **cpu >= libc::CPU_SETSIZE as usize) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such core: {cpu}")));
    }
    // SAFETY: a bit set for which all zeros is the empty set; the indexes are within it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        Ok(set)
    }
}

/// A value at an address that stays the same while its handle moves: what entries point to besides buffers.
pub(crate) struct Pinned<T>(std::ptr::NonNull<T>);

impl<T> Pinned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::ptr::NonNull::from(Box::leak(Box::new(value))))
    }

    pub(crate) fn pointer(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Changes the value. Not for one that a submitted entry points to.
    pub(crate) fn with<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the value of `new`, and the only handle is borrowed for writing.
        change(unsafe { self.0.as_mut() })
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the box of `new`, freed once: the slot gave this handle up, so the kernel is done with it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
