//! Page-aligned, append-only blocks in one mapping.
//!
//! A block only grows: bytes below `filled` never change until its last handle is gone. So the kernel and readers may
//! hold slices of it while more is appended behind them. `unsafe` lives here because the handles share one raw mapping.

use crate::Event;
use std::{
    cell::{Cell, RefCell},
    fmt, io,
    ops::Range,
    ptr::NonNull,
    rc::Rc,
};

/// Bytes of a huge page on x86-64, and on aarch64 with small pages of 4 KiB. Where they are larger, there are none for a slab.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Blocks of one size. Clones are the same slab; the mapping goes with the last handle.
#[derive(Clone)]
pub struct Slab(Rc<Mapping>);

struct Mapping {
    /// All that was mapped, and how much.
    start: NonNull<u8>,
    mapped: usize,
    /// The first block.
    base: NonNull<u8>,
    block_bytes: usize,
    blocks: Box<[State]>,
    free: RefCell<Vec<u32>>,
    /// Index of the ring's registered buffer, and how many blocks from the first it covers.
    registered: Cell<Option<(u16, u32)>>,
    freed: Event,
}

#[derive(Default)]
struct State {
    handles: Cell<u32>,
    filled: Cell<usize>,
    /// Somebody is writing behind `filled`: a closure of `append_with`, or the kernel.
    filling: Cell<bool>,
}

impl Slab {
    /// Maps `blocks` blocks of `block_bytes` (a multiple of the page size of 4,096 bytes), all pages populated; huge ones where they fit and
    /// the system lends them (an operation from one is a single segment for the device, and 1 MiB in small pages more than one takes).
    ///
    /// # Errors
    /// `InvalidInput` for a size that is zero or no multiple of 4,096; else what mmap(2) answers.
    pub fn new(block_bytes: usize, blocks: usize) -> io::Result<Self> {
        let total = block_bytes.checked_mul(blocks).filter(|total| *total > 0 && block_bytes.is_multiple_of(4096));
        let (Some(total), Ok(blocks)) = (total, u32::try_from(blocks)) else {
            let what = format!(
                "a slab of {blocks} blocks of {block_bytes} bytes: want at least one, of a multiple of 4096 bytes"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let aligned_for_huge = if total >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { 0 };
        let mapped = total + aligned_for_huge;
        // SAFETY: a fresh private mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), mapped, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        let start = NonNull::new(start.cast::<u8>()).expect("mmap never answers null without MAP_FIXED");
        let skipped = if aligned_for_huge > 0 { start.as_ptr().align_offset(HUGE_PAGE_BYTES) } else { 0 };
        // SAFETY: at most a huge page into the mapping, which is one longer than the blocks.
        let base = unsafe { start.add(skipped) };
        let mapping = Mapping {
            start,
            mapped,
            base,
            block_bytes,
            blocks: (0..blocks).map(|_| State::default()).collect(),
            free: RefCell::new((0..blocks).rev().collect()),
            registered: Cell::new(None),
            freed: Event::new(),
        };
        // SAFETY: the blocks' part of the mapping, of which nobody has an address yet.
        unsafe {
            if aligned_for_huge > 0 {
                // A wish: without huge pages small ones do.
                let _ = madvise(base.as_ptr().cast(), total, Advice::LinuxHugepage);
            }
            madvise(base.as_ptr().cast(), total, Advice::LinuxPopulateWrite)?;
        }
        Ok(Self(Rc::new(mapping)))
    }

    /// An empty block, or `None` when all are taken.
    pub fn take(&self) -> Option<Block> {
        let index = self.0.free.borrow_mut().pop()?;
        let state = &self.0.blocks[index as usize];
        assert!(state.handles.get() == 0 && state.filled.get() == 0 && !state.filling.get(), "a free block is in use");
        state.handles.set(1);
        Some(Block { slab: self.0.clone(), index })
    }

    /// Blocks that [`take`](Slab::take) can still give.
    pub fn free_blocks(&self) -> usize {
        self.0.free.borrow().len()
    }

    /// Blocks of the slab, free or taken.
    pub fn blocks(&self) -> usize {
        self.0.blocks.len()
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.0.block_bytes
    }

    /// Whether the block is one of this slab's.
    pub fn owns(&self, block: &Block) -> bool {
        Rc::ptr_eq(&self.0, &block.slab)
    }

    /// Notified each time a block comes back.
    pub fn freed(&self) -> &Event {
        &self.0.freed
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }

    pub(crate) fn set_registered(&self, buffer: u16, blocks: u32) {
        self.0.registered.set(Some((buffer, blocks)));
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.0.registered.get().is_some()
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Slab({} of {} blocks of {} bytes free)",
            self.free_blocks(),
            self.blocks(),
            self.block_bytes()
        )
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, and no block is left: each holds the slab.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "munmap of a whole mapping");
    }
}

/// A handle of an append-only block. Clones are the same block; the last one to go gives it back to the slab. No
/// allocation.
pub struct Block {
    slab: Rc<Mapping>,
    index: u32,
}

impl Block {
    fn state(&self) -> &State {
        &self.slab.blocks[self.index as usize]
    }

    pub(crate) fn base(&self) -> *mut u8 {
        // SAFETY: the index is below the slab's number of blocks, so the address lies in the mapping.
        unsafe { self.slab.base.as_ptr().add(self.index as usize * self.slab.block_bytes) }
    }

    /// Bytes that fit in the block.
    pub fn capacity(&self) -> usize {
        self.slab.block_bytes
    }

    /// Bytes appended so far. They never change while a handle lives.
    pub fn filled(&self) -> usize {
        self.state().filled.get()
    }

    /// Bytes that can still be appended.
    pub fn room(&self) -> usize {
        self.capacity() - self.filled()
    }

    /// Appends `len` bytes that `fill` writes. Its slice shows what an earlier user of the block left there: write all
    /// of it.
    ///
    /// # Panics
    /// If `len` is more than [`room`](Block::room), or somebody fills the block already: a read on the ring, or `fill`
    /// itself.
    pub fn append_with<T>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        let place = self.begin_fill(len);
        let _end = EndFill(self);
        // SAFETY: the range lies in the mapping and is initialised (the kernel's zeros, or older bytes). Nobody reads
        // behind `filled`, and `filling` keeps every other writer out until `_end` is dropped.
        let filled = fill(unsafe { std::slice::from_raw_parts_mut(place, len) });
        self.state().filled.set(self.filled() + len);
        filled
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Panics
    /// As [`append_with`](Block::append_with).
    pub fn append(&self, bytes: &[u8]) {
        self.append_with(bytes.len(), |place| place.copy_from_slice(bytes));
    }

    /// Appends zeros until `filled` is a multiple of `align`.
    ///
    /// # Panics
    /// If `align` is zero, and as [`append_with`](Block::append_with).
    pub fn pad_to(&self, align: usize) {
        let padding = self.filled().next_multiple_of(align) - self.filled();
        self.append_with(padding, |place| place.fill(0));
    }

    /// A part of what was appended.
    ///
    /// # Panics
    /// If the range ends behind [`filled`](Block::filled), or before it starts.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(
            range.start <= range.end && range.end <= self.filled(),
            "slice {range:?} of {} filled bytes",
            self.filled()
        );
        Slice { block: self.clone(), start: range.start, end: range.end }
    }

    /// Whether both are handles of the same block.
    pub fn is(&self, other: &Block) -> bool {
        Rc::ptr_eq(&self.slab, &other.slab) && self.index == other.index
    }

    /// Which block of its slab it is, from 0.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Whether the ring can use the block without mapping its pages for each operation.
    pub fn is_registered(&self) -> bool {
        self.registered().is_some()
    }

    /// The ring's number of the registered buffer in which this block lies.
    pub(crate) fn registered(&self) -> Option<u16> {
        self.slab.registered.get().filter(|(_, blocks)| self.index < *blocks).map(|(buffer, _)| buffer)
    }

    /// Locks the block's unfilled part for one writer. Ended by `end_fill`.
    pub(crate) fn begin_fill(&self, len: usize) -> *mut u8 {
        let state = self.state();
        assert!(len <= self.room(), "{len} bytes into a block with room for {}", self.room());
        assert!(!state.filling.replace(true), "the block is being filled already");
        // SAFETY: `filled` is at most the block's size: the address lies in the block, or one behind its end.
        unsafe { self.base().add(state.filled.get()) }
    }

    /// The writer of `begin_fill` has written `bytes`.
    pub(crate) fn end_fill(&self, bytes: usize) {
        let state = self.state();
        assert!(state.filling.replace(false) && bytes <= self.room(), "{bytes} bytes were never asked for");
        state.filled.set(state.filled.get() + bytes);
    }
}

/// Unlocks the block even if the closure panics.
struct EndFill<'a>(&'a Block);

impl Drop for EndFill<'_> {
    fn drop(&mut self) {
        self.0.state().filling.set(false);
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let handles = &self.state().handles;
        handles.set(handles.get().checked_add(1).expect("fewer than 2^32 handles of a block"));
        Self { slab: self.slab.clone(), index: self.index }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let state = self.state();
        state.handles.set(state.handles.get() - 1);
        if state.handles.get() == 0 {
            state.filled.set(0);
            self.slab.free.borrow_mut().push(self.index);
            self.slab.freed.notify_all();
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Block({}, {} of {} bytes)", self.index, self.filled(), self.capacity())
    }
}

/// Bytes of a block that were appended, and so never change. Holds the block.
#[derive(Clone)]
pub struct Slice {
    block: Block,
    start: usize,
    end: usize,
}

impl Slice {
    /// The block that the bytes lie in.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Where they lie in it.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Bytes in the slice.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of the slice, by positions within the slice.
    ///
    /// # Panics
    /// If the range is not within the slice.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {} bytes", self.len());
        Slice { block: self.block.clone(), start: self.start + range.start, end: self.start + range.end }
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range was below `filled` when the slice was made, `filled` never shrinks while a handle lives,
        // and nobody writes below it.
        unsafe { std::slice::from_raw_parts(self.block.base().add(self.start), self.len()) }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Slice({:?} of block {})", self.range(), self.block.index)
    }
}
