//! A ring of frames: one thread writes, one reads, and a frame always lies in one piece. This file holds the `unsafe` of the
//! broker: two threads own disjoint parts of one piece of memory, and the two cursors say which.
//!
//! Positions only grow; a position modulo the capacity is a place in memory. `head <= tail <= head + capacity`: the reader owns
//! `head..tail`, the writer the rest. A frame that would cross the end of the memory starts at its beginning instead, behind a
//! header that says so.

use super::sync::{Arc, AtomicU64, Ordering, Padded};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
    slice,
};

/// Frames start on multiples of this, so that a header always fits before the end of the memory.
const ALIGN: usize = 16;
/// Length, partition, records and a reserved word, four bytes each.
const HEADER: usize = 16;
/// The length in a header that says: go on at the beginning of the memory.
const SKIP: u32 = u32::MAX;
/// The smallest ring; in the model it is soon full.
const CAPACITY_MIN: usize = if cfg!(loom) { 128 } else { 1024 };
/// The largest ring: lengths in headers have four bytes.
const CAPACITY_MAX: usize = 1 << 30;

/// Memory of two threads. Which part belongs to whom is the cursors' affair.
struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    /// Loom watches these instead of the bytes, one for each [`ALIGN`] of them.
    #[cfg(loom)]
    watched: Vec<loom::cell::UnsafeCell<()>>,
}

// SAFETY: the memory is plain bytes without a thread of their own.
unsafe impl Send for Memory {}
// SAFETY: all access is through `bytes` and `bytes_mut`, whose callers own the range that they name.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(capacity: usize) -> Self {
        let layout = Layout::from_size_align(capacity, 4096).expect("a capacity of at most 1 GiB is a layout");
        // SAFETY: the layout is not empty: a capacity is at least `CAPACITY_MIN`.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let memory = Self {
            base,
            layout,
            #[cfg(loom)]
            watched: (0..capacity / ALIGN).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        };
        // Touch each page now: a first fault on the way costs more than a message.
        for page in (0..capacity).step_by(4096) {
            // SAFETY: nobody else has this memory yet, and the write is inside it. Volatile, or it would be left out.
            unsafe { memory.base.add(page).write_volatile(0) };
        }
        memory
    }

    /// Tells loom that the range is being read, or that it is being written.
    #[cfg(loom)]
    fn watch(&self, at: usize, len: usize, write: bool) {
        for cell in &self.watched[at / ALIGN..(at + len).div_ceil(ALIGN)] {
            if write { cell.with_mut(|_| ()) } else { cell.with(|_| ()) }
        }
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn watch(&self, _at: usize, _len: usize, _write: bool) {}

    /// # Safety
    /// `at..at + len` lies inside the memory and nobody writes it while the slice lives.
    #[inline]
    unsafe fn bytes(&self, at: usize, len: usize) -> &[u8] {
        debug_assert!(at + len <= self.layout.size());
        self.watch(at, len, false);
        // SAFETY: inside the allocation and initialised (zeroed at first); the caller answers for writers.
        unsafe { slice::from_raw_parts(self.base.add(at).as_ptr(), len) }
    }

    /// # Safety
    /// `at..at + len` lies inside the memory and nobody else reads or writes it while the slice lives.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the cursors give each thread a part of its own")]
    unsafe fn bytes_mut(&self, at: usize, len: usize) -> &mut [u8] {
        debug_assert!(at + len <= self.layout.size());
        self.watch(at, len, true);
        // SAFETY: inside the allocation and initialised; the caller answers for it being the only one.
        unsafe { slice::from_raw_parts_mut(self.base.add(at).as_ptr(), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the last owner is gone, so no slice lives.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

struct Shared {
    /// Where the reader has given room back to. Written by the reader.
    head: Padded<AtomicU64>,
    /// Where the frames that can be seen end. Written by the writer.
    tail: Padded<AtomicU64>,
    memory: Memory,
    capacity: usize,
}

/// How full the ring is, from any thread.
#[derive(Clone)]
pub struct Gauge(Arc<Shared>);

impl Gauge {
    /// Bytes visible to the shard and not given back, headers and padding with them.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        let head = self.0.head.0.load(Ordering::Relaxed);
        self.0.tail.0.load(Ordering::Relaxed).saturating_sub(head)
    }
}

/// A reservation: its frame starts at `start`, behind `skip` bytes that are left out.
struct Reserved {
    start: u64,
    skip: usize,
    len: usize,
}

/// The writing end.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Where the next frame goes.
    tail: u64,
    /// What the reader can see.
    visible: u64,
    /// The last `head` that was looked at.
    head_seen: u64,
    reserved: Option<Reserved>,
}

/// The reading end.
pub(super) struct Reader {
    shared: Arc<Shared>,
    head: u64,
    /// The last `tail` that was looked at.
    tail_seen: u64,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The partition that the producer named.
    pub partition: u32,
    /// The records that the producer counted.
    pub records: u32,
    /// One batch.
    pub bytes: &'a [u8],
}

/// Walks over frames without giving their room back.
pub struct Frames<'a> {
    reader: &'a Reader,
    at: u64,
}

/// A ring of `capacity` bytes: a power of two.
pub(super) fn ring(capacity: usize) -> (Writer, Reader, Gauge) {
    assert!(capacity.is_power_of_two() && (CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity), "an intake's capacity");
    let shared = Arc::new(Shared {
        head: Padded(AtomicU64::new(0)),
        tail: Padded(AtomicU64::new(0)),
        memory: Memory::new(capacity),
        capacity,
    });
    let writer = Writer { shared: shared.clone(), tail: 0, visible: 0, head_seen: 0, reserved: None };
    (writer, Reader { shared: shared.clone(), head: 0, tail_seen: 0 }, Gauge(shared))
}

/// Bytes that a frame of `len` bytes takes.
fn taken(len: usize) -> usize {
    HEADER + len.next_multiple_of(ALIGN)
}

fn word(header: &[u8], index: usize) -> u32 {
    let bytes: [u8; 4] = header[index * 4..][..4].try_into().expect("four bytes are four bytes");
    u32::from_ne_bytes(bytes)
}

impl Writer {
    /// The longest frame: at most half of the memory, or one might never find room in one piece.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.shared.capacity / 2 - HEADER
    }

    /// Bytes written since the last [`Self::show`].
    pub(super) fn hidden_bytes(&self) -> u64 {
        self.tail - self.visible
    }

    /// Where a frame of `len` bytes would start and end, and what would be left out before it.
    #[inline]
    fn place(&self, len: usize) -> (u64, u64, usize) {
        let capacity = self.shared.capacity;
        let at = self.tail as usize & (capacity - 1);
        let need = taken(len);
        let skip = if need > capacity - at { capacity - at } else { 0 };
        let start = self.tail + skip as u64;
        (start, start + need as u64, skip)
    }

    /// Whether there is room for a frame of `len` bytes; not while the reader has not given enough back.
    #[inline]
    pub(super) fn fits(&mut self, len: usize) -> bool {
        assert!(len <= self.frame_bytes_max(), "a batch of {len} bytes is larger than half of the intake");
        let (_, end, _) = self.place(len);
        let capacity = self.shared.capacity as u64;
        if end - self.head_seen > capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        }
        end - self.head_seen <= capacity
    }

    /// The place of a frame of `len` bytes.
    ///
    /// # Panics
    /// When it does not fit: see [`Self::fits`].
    #[inline]
    pub(super) fn reserve(&mut self, len: usize) -> &mut [u8] {
        let (start, end, skip) = self.place(len);
        assert!(end - self.head_seen <= self.shared.capacity as u64, "room is asked for before it is used");
        self.reserved = Some(Reserved { start, skip, len });
        let at = (start as usize & (self.shared.capacity - 1)) + HEADER;
        // SAFETY: `tail..end` is the writer's: it ends at most a capacity beyond `head`, behind which the reader no longer
        // looks (acquired in `fits`), and begins where the reader's part ends. The frame lies in one piece by the choice of
        // `skip`. The slice borrows `self`, so there is one at a time, and none while `commit` or `show` runs.
        unsafe { self.shared.memory.bytes_mut(at, len) }
    }

    /// Ends the frame that was reserved last.
    ///
    /// # Panics
    /// When nothing is reserved.
    #[inline]
    pub(super) fn commit(&mut self, partition: u32, records: u32) {
        let Reserved { start, skip, len } = self.reserved.take().expect("a frame is reserved before it is published");
        let capacity = self.shared.capacity;
        if skip > 0 {
            let at = self.tail as usize & (capacity - 1);
            // SAFETY: the skipped bytes are the writer's as the whole reservation is; they are at least one header, because
            // frames start on multiples of it.
            let header = unsafe { self.shared.memory.bytes_mut(at, HEADER) };
            header[..4].copy_from_slice(&SKIP.to_ne_bytes());
        }
        let at = start as usize & (capacity - 1);
        // SAFETY: the header of the reservation, the writer's; the slice that `reserve` gave out borrowed `self` and is gone.
        let header = unsafe { self.shared.memory.bytes_mut(at, HEADER) };
        header[..4].copy_from_slice(&(len as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&partition.to_ne_bytes());
        header[8..12].copy_from_slice(&records.to_ne_bytes());
        self.tail = start + taken(len) as u64;
    }

    /// Makes what was committed visible; says whether there was anything.
    #[inline]
    pub(super) fn show(&mut self) -> bool {
        let news = self.visible != self.tail;
        if news {
            self.visible = self.tail;
            self.shared.tail.0.store(self.tail, Ordering::Release);
        }
        news
    }
}

impl Reader {
    /// Looks for new frames; says whether there are any at all.
    #[inline]
    pub(super) fn look(&mut self) -> bool {
        if self.tail_seen == self.head {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.tail_seen != self.head
    }

    /// Frames that were seen, from the oldest on.
    pub(super) fn frames(&self) -> Frames<'_> {
        Frames { reader: self, at: self.head }
    }

    /// Gives the room of all frames before `to` back.
    pub(super) fn advance(&mut self, to: u64) {
        assert!((self.head..=self.tail_seen).contains(&to), "only frames that were seen can be given back");
        #[cfg(loom)]
        for at in (self.head..to).step_by(ALIGN) {
            self.shared.memory.watch(at as usize & (self.shared.capacity - 1), ALIGN, false);
        }
        if to != self.head {
            self.head = to;
            self.shared.head.0.store(to, Ordering::Release);
        }
    }
}

impl Frames<'_> {
    /// Where the next frame starts: what [`super::Intake::advance`] takes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let shared = &*self.reader.shared;
        loop {
            if self.at == self.reader.tail_seen {
                return None;
            }
            let at = self.at as usize & (shared.capacity - 1);
            // SAFETY: `head..tail_seen` is the reader's until `advance`, which needs the reader mutably; a whole header lies
            // here, because frames start on multiples of its length.
            let header = unsafe { shared.memory.bytes(at, HEADER) };
            let len = word(header, 0);
            if len == SKIP {
                self.at += (shared.capacity - at) as u64;
                continue;
            }
            // SAFETY: as above: the writer wrote this length with a frame of this length behind it, in one piece, before it
            // made either visible.
            let bytes = unsafe { shared.memory.bytes(at + HEADER, len as usize) };
            self.at += taken(len as usize) as u64;
            return Some(Frame { partition: word(header, 1), records: word(header, 2), bytes });
        }
    }
}
