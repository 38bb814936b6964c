//! Provided buffers: memory from which the kernel picks a buffer for each arrival, so that no buffer is tied to an idle
//! connection. `unsafe` lives here because the kernel writes into these buffers.

use crate::kernel::Kernel;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::{
    cell::Cell,
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

/// The ring's only group of provided buffers.
pub(crate) const GROUP: u16 = 1;

/// The buffers, and the queue in which they are handed to the kernel.
pub(crate) struct Provided {
    queue: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    each: u32,
    tail: Cell<u16>,
    /// Buffers that are ours to read at the moment.
    held: Cell<u16>,
}

impl Provided {
    /// Registers `count` buffers (a power of two) of `each` bytes, and hands all of them to the kernel.
    pub(crate) fn new(kernel: &Kernel, count: u16, each: u32) -> io::Result<Self> {
        if !count.is_power_of_two() || count > 1 << 15 || each == 0 {
            let what = format!(
                "{count} provided buffers of {each} bytes: want a power of two up to 32768, of at least one byte"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let provided = Self {
            queue: map(queue_bytes(count))?.cast(),
            memory: map(usize::from(count) * each as usize)?,
            count,
            each,
            tail: Cell::new(0),
            held: Cell::new(count),
        };
        // SAFETY: a page-aligned mapping of `count` entries; `Provided` stands behind the `Kernel` in the structure
        // that owns both, so it is dropped after it.
        unsafe { kernel.provide(provided.queue.as_ptr(), count, GROUP)? };
        (0..count).for_each(|buffer| provided.give_back(buffer));
        Ok(provided)
    }

    /// Arrivals of one connection that may wait at once, so that it cannot take all buffers.
    pub(crate) fn arrivals_max(&self) -> usize {
        usize::from(self.count / 8).max(4)
    }

    /// Bytes of as many full buffers.
    pub(crate) fn arrival_bytes_max(&self) -> u32 {
        (self.arrivals_max() as u32).saturating_mul(self.each)
    }

    /// Whether the kernel has none left.
    pub(crate) fn all_held(&self) -> bool {
        self.held.get() == self.count
    }

    /// A completion named this buffer: it is ours until `give_back`.
    pub(crate) fn take(&self) {
        assert!(self.held.get() < self.count, "more buffers taken than there are");
        self.held.set(self.held.get() + 1);
    }

    /// What the kernel wrote. Only for a buffer that was taken, with the length that its completion said, and not to be
    /// held beyond `give_back`: `Received`, the one caller, is made from a completion and gives the buffer back when it
    /// is dropped.
    pub(crate) fn bytes(&self, buffer: u16, bytes: u32) -> &[u8] {
        assert!(buffer < self.count && bytes <= self.each, "a completion outside the provided buffers");
        // SAFETY: within the mapping by the assertion, which holds initialised bytes; nobody writes to a buffer that
        // was taken.
        unsafe { std::slice::from_raw_parts(self.address(buffer), bytes as usize) }
    }

    /// Hands a taken buffer back to the kernel.
    pub(crate) fn give_back(&self, buffer: u16) {
        assert!(buffer < self.count && self.held.get() > 0, "a buffer is given back twice");
        self.held.set(self.held.get() - 1);
        let tail = self.tail.get();
        // SAFETY: the index is masked to the queue's length. The kernel reads an entry only below the published tail,
        // so this one is ours; the fields are written one by one, because the first entry shares its memory with the
        // tail.
        unsafe {
            let entry = &mut *self.queue.as_ptr().add(usize::from(tail & (self.count - 1)));
            entry.set_addr(self.address(buffer) as u64);
            entry.set_len(self.each);
            entry.set_bid(buffer);
        }
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the queue's address is that of its first entry, where the kernel keeps the tail; both sides access it
        // atomically.
        unsafe { &*BufRingEntry::tail(self.queue.as_ptr()).cast::<AtomicU16>() }
            .store(self.tail.get(), Ordering::Release);
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        // SAFETY: callers have checked the number, so the address lies in the mapping.
        unsafe { self.memory.as_ptr().add(usize::from(buffer) * self.each as usize) }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: both mappings are ours, and the ring that used them is closed.
        let unmapped = unsafe {
            munmap(self.queue.as_ptr().cast(), queue_bytes(self.count))
                .and(munmap(self.memory.as_ptr().cast(), usize::from(self.count) * self.each as usize))
        };
        debug_assert!(unmapped.is_ok(), "munmap of a whole mapping");
    }
}

fn queue_bytes(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}

fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh private mapping at an address of the kernel's choice.
    let address = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::POPULATE,
        )?
    };
    Ok(NonNull::new(address.cast()).expect("mmap never answers null without MAP_FIXED"))
}
