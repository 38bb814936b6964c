//! What a log holds in memory: its extents, oldest first. An extent is a run of a slab block that mirrors a run of a segment, both beginning
//! on a page. The same memory is staging (until dispatched), the buffer of the write (while in flight) and tail cache (afterwards).
//!
//! A dispatched extent never changes. When one ends inside a page of the file, the next begins on a fresh page of the slab with a copy of that
//! page's bytes, so that it can be written whole again. With pages of 8 bytes, and batches `aaaaaa`, commit, `bbbb`, commit:
//!
//! ```text
//! file    |aaaaaabb|bb......|
//! slab    |aaaaaa00|aaaaaabb|bb000000|
//!         '-extent-'------extent-----'     the second one is fresh from byte 6 of the file
//! ```
//!
//! What never lives here: files, operations, offsets of records.

use crate::{PAGE, PAGE_BYTES};
use shard_ring::{Block, Slice};
use std::{collections::VecDeque, ops::Range};

/// A byte of the log: a segment (by its first offset) and a position in it. Later bytes compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) position: u64,
}

/// A run of one slab block that mirrors a run of one segment.
#[derive(Debug)]
struct Extent {
    block: Block,
    /// First byte of the run in the block; a multiple of the page.
    at: usize,
    segment: u64,
    /// Position in the segment of that byte; a multiple of the page.
    start: u64,
    /// First position that the extent before does not hold.
    fresh: u64,
    /// Position after the last valid byte.
    end: u64,
    /// When it was begun, on the engine's clock of appends: the age by which extents of several logs are forgotten.
    born: u64,
}

impl Extent {
    fn slice(&self, range: Range<u64>) -> Slice {
        debug_assert!(self.start <= range.start && range.end <= self.end);
        let at = |position: u64| self.at + (position - self.start) as usize;
        self.block.slice(at(range.start)..at(range.end))
    }

    fn end_place(&self) -> Place {
        Place { segment: self.segment, position: self.end }
    }
}

/// Extents for which there is memory after a dispatch, so that appends allocate none.
const EXTENTS_SPARE: usize = 64;

/// A commit of no more than this part of a block is kept in one, if it is as large as the one before: in two blocks it is two writes, and where
/// each is synchronous, two flushes. So less than this part of a block is left empty.
const WHOLE_OF_BLOCK: usize = 3;

/// One extent on its way out: whole pages, the last one padded with zeros.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) segment: u64,
    /// Position in the segment of the first byte of `pages`; a multiple of the page.
    pub(crate) at: u64,
    pub(crate) pages: Slice,
    /// The first page also holds bytes that an earlier extent has written or is writing.
    pub(crate) shares_first_page: bool,
    /// The last page will be written again when the log goes on.
    pub(crate) ends_inside_page: bool,
}

/// The extents of one log, and the page in which it ends.
#[derive(Debug)]
pub(crate) struct Staging {
    extents: VecDeque<Extent>,
    /// Extents at the front that have been dispatched.
    dispatched: usize,
    /// The last extent may still grow.
    open: bool,
    /// The block in which the next extent begins when it has a page left.
    current: Option<Block>,
    /// Where the next byte goes.
    end: Place,
    /// Bytes of the page in which the log ends, valid when no extent holds them.
    tail: Box<[u8]>,
    /// Bytes that the extents hold, each once.
    bytes: u64,
}

impl Staging {
    /// A log that ends at `end`, in a page that begins with `tail` (empty when `end` lies between two pages).
    pub(crate) fn new(end: Place, tail: &[u8]) -> Self {
        assert_eq!(tail.len() as u64, end.position % PAGE_BYTES, "the bytes before the end, in its page");
        let mut page = vec![0; PAGE].into_boxed_slice();
        page[..tail.len()].copy_from_slice(tail);
        Self {
            extents: VecDeque::with_capacity(EXTENTS_SPARE),
            dispatched: 0,
            open: false,
            current: None,
            end,
            tail: page,
            bytes: 0,
        }
    }

    /// Where the next byte goes.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    /// Something waits to be dispatched.
    pub(crate) fn has_undispatched(&self) -> bool {
        self.dispatched < self.extents.len()
    }

    /// Fresh blocks that appending `bytes` (at least 1) takes; `rolls`: at the start of another segment.
    pub(crate) fn blocks_needed(&self, bytes: u64, block_bytes: usize, rolls: bool) -> usize {
        let partial = if rolls { 0 } else { (self.end.position % PAGE_BYTES) as usize };
        let goes_on = self.open && !rolls;
        let room = match &self.current {
            Some(block) if goes_on => block.room(),
            // Another extent begins on a page, and repeats what its page holds already.
            Some(block) => (block.capacity() - block.filled().next_multiple_of(PAGE)).saturating_sub(partial),
            None => 0,
        };
        let beyond = (bytes as usize).saturating_sub(room);
        if beyond == 0 {
            return 0;
        }
        // A block that is filled to its end leaves the log between two pages: nothing to repeat.
        let repeated = if room == 0 { partial } else { 0 };
        (beyond + repeated).div_ceil(block_bytes)
    }

    /// Appends bytes at the time `now`, taking fresh blocks where the current one ends. Returns the bytes copied: these, and at most one
    /// page repeated.
    pub(crate) fn append(&mut self, mut bytes: &[u8], now: u64, fresh_blocks: &mut Vec<Block>) -> u64 {
        let mut copied = bytes.len() as u64;
        while !bytes.is_empty() {
            if !self.open {
                copied += self.begin(now, fresh_blocks);
            }
            let extent = self.extents.back_mut().expect("an open extent is the last");
            let room = extent.block.room();
            let (fitting, rest) = bytes.split_at(room.min(bytes.len()));
            extent.block.append_with(fitting.len(), |place| log_format::copy(place, fitting));
            extent.end += fitting.len() as u64;
            self.end.position += fitting.len() as u64;
            self.bytes += fitting.len() as u64;
            self.open = fitting.len() < room;
            debug_assert!(self.open || self.end.position.is_multiple_of(PAGE_BYTES), "blocks end on pages");
            bytes = rest;
        }
        copied
    }

    /// Begins an extent where the log ends; returns the bytes of the shared page that it repeats.
    fn begin(&mut self, now: u64, fresh_blocks: &mut Vec<Block>) -> u64 {
        let block = match &self.current {
            Some(block) if block.room() >= PAGE => block.clone(),
            _ => fresh_blocks.pop().expect("the caller took as many blocks as blocks_needed said"),
        };
        let partial = self.end.position % PAGE_BYTES;
        let at = block.filled();
        debug_assert!(at.is_multiple_of(PAGE), "a closed extent is padded to a page");
        if partial > 0 {
            match self.extents.back() {
                Some(last) => block.append(last.slice(last.end - partial..last.end).as_ref()),
                None => block.append(&self.tail[..partial as usize]),
            }
        }
        self.current = Some(block.clone());
        let Place { segment, position } = self.end;
        let start = position - partial;
        self.extents.push_back(Extent { block, at, segment, start, fresh: position, end: position, born: now });
        self.open = true;
        partial
    }

    /// Pads the last extent to a page; nothing is added to it any more.
    fn close(&mut self) {
        if let (true, Some(extent)) = (self.open, self.extents.back()) {
            extent.block.pad_to(PAGE);
        }
        self.open = false;
    }

    /// The log goes on at the start of another segment.
    pub(crate) fn roll(&mut self, segment: u64) {
        assert!(segment > self.end.segment, "segments are named by growing offsets");
        self.close();
        self.end = Place { segment, position: 0 };
    }

    /// Hands out everything that was not handed out before, oldest first. Where the block has no room for as much again, the log goes on in
    /// another one.
    pub(crate) fn dispatch(&mut self, mut each: impl FnMut(Outgoing)) {
        self.close();
        let mut sent = 0;
        for extent in self.extents.range(self.dispatched..) {
            let padded = (extent.end - extent.start).next_multiple_of(PAGE_BYTES) as usize;
            sent += padded;
            each(Outgoing {
                segment: extent.segment,
                at: extent.start,
                pages: extent.block.slice(extent.at..extent.at + padded),
                shares_first_page: extent.fresh > extent.start,
                ends_inside_page: !extent.end.is_multiple_of(PAGE_BYTES),
            });
        }
        self.dispatched = self.extents.len();
        let splits = |block: &Block| block.room() < sent && sent <= block.capacity() / WHOLE_OF_BLOCK;
        if self.current.as_ref().is_some_and(splits) {
            self.current = None;
        }
        if self.extents.capacity() - self.extents.len() < EXTENTS_SPARE {
            self.extents.reserve(self.extents.len().max(EXTENTS_SPARE));
        }
    }

    /// Extents that `dispatch` would hand out.
    pub(crate) fn undispatched(&self) -> usize {
        self.extents.len() - self.dispatched
    }

    /// When the oldest extent was begun, if all of it lies before `written` and so may be forgotten.
    pub(crate) fn oldest(&self, written: Place) -> Option<u64> {
        let extent = self.extents.front().filter(|_| self.dispatched > 0)?;
        (extent.end_place() <= written).then_some(extent.born)
    }

    /// Forgets the oldest extents that lie in one block and before `written`. Their memory is free when no pin holds it and no newer
    /// extent lies in the block. Returns the bytes of log no longer held; 0: there was nothing to forget.
    pub(crate) fn evict(&mut self, written: Place) -> u64 {
        let before = self.bytes;
        let mut block: Option<Block> = None;
        while self.oldest(written).is_some() {
            let extent = self.extents.front().expect("it has an age");
            if block.as_ref().is_some_and(|block| !block.is(&extent.block)) {
                break;
            }
            let extent = self.extents.pop_front().expect("it was just looked at");
            self.dispatched -= 1;
            self.bytes -= extent.end - extent.fresh;
            if self.extents.is_empty() && extent.segment == self.end.segment {
                let partial = extent.end % PAGE_BYTES;
                self.tail[..partial as usize].copy_from_slice(extent.slice(extent.end - partial..extent.end).as_ref());
            }
            block = Some(extent.block);
        }
        before - self.bytes
    }

    /// Forgets everything: the log goes on no more. Returns the bytes of log no longer held.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.extents.clear();
        self.dispatched = 0;
        self.open = false;
        self.current = None;
        std::mem::take(&mut self.bytes)
    }

    /// Gives up the block in which the next extent would begin, if no extent is in it.
    pub(crate) fn release(&mut self) -> bool {
        self.extents.is_empty() && self.current.take().is_some()
    }

    /// Whether the byte is held.
    pub(crate) fn holds(&self, place: Place) -> bool {
        self.find(place).is_some()
    }

    fn find(&self, place: Place) -> Option<usize> {
        let index = self.extents.partition_point(|extent| extent.end_place() <= place);
        let extent = self.extents.get(index)?;
        (extent.segment == place.segment && extent.start <= place.position).then_some(index)
    }

    /// Bytes from `from` on that lie in the first `pieces` slices; 0 when the byte is not held.
    pub(crate) fn reach(&self, from: Place, pieces: usize) -> u64 {
        let Some(first) = self.find(from) else { return 0 };
        let last = self.extents.range(first..).take(pieces).take_while(|extent| extent.segment == from.segment).last();
        last.map_or(0, |extent| extent.end - from.position)
    }

    /// The slices that together are `bytes` positions from `from` on, in order; false, and nothing, when they are not all held.
    pub(crate) fn slices(&self, from: Place, bytes: u64, mut each: impl FnMut(Slice)) -> bool {
        let to = from.position + bytes;
        let Some(first) = self.find(from) else { return false };
        let complete = self
            .extents
            .range(first..)
            .take_while(|extent| extent.segment == from.segment)
            .any(|extent| extent.end >= to);
        if !complete {
            return false;
        }
        let mut position = from.position;
        for extent in self.extents.range(first..) {
            if position >= to {
                break;
            }
            let end = extent.end.min(to);
            each(extent.slice(position..end));
            position = end;
        }
        true
    }

    /// Copies the bytes from `from` on; false when they are not all held.
    pub(crate) fn copy(&self, from: Place, into: &mut [u8]) -> bool {
        let mut done = 0;
        self.slices(from, into.len() as u64, |slice| {
            let bytes: &[u8] = slice.as_ref();
            into[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shard_ring::Slab;
    use std::collections::BTreeMap;

    /// Two pages and two pages leave a page over that two more do not fit in.
    const BLOCK_BYTES: usize = 7 * PAGE;

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Dispatch,
        Evict(usize),
        Roll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..3 * BLOCK_BYTES).prop_map(Step::Append),
            4 => (1..200usize).prop_map(Step::Append),
            1 => Just(Step::Append(PAGE)),
            6 => Just(Step::Dispatch),
            3 => (1..6usize).prop_map(Step::Evict),
            1 => Just(Step::Roll),
        ]
    }

    /// The log as one vector a segment, and the device as pages written over each other.
    #[derive(Default)]
    struct Model {
        log: BTreeMap<u64, Vec<u8>>,
        device: BTreeMap<u64, Vec<u8>>,
        sent: Vec<(Slice, Vec<u8>)>,
    }

    impl Model {
        fn dispatch(&mut self, staging: &mut Staging) {
            staging.dispatch(|outgoing| {
                let pages: &[u8] = outgoing.pages.as_ref();
                assert!(
                    outgoing.at.is_multiple_of(PAGE_BYTES) && pages.len().is_multiple_of(PAGE) && !pages.is_empty()
                );
                assert_eq!(pages.as_ptr() as usize % PAGE, 0);
                let file = self.device.entry(outgoing.segment).or_default();
                let (at, end) = (outgoing.at as usize, outgoing.at as usize + pages.len());
                assert!(file.len() >= at, "a hole in the file");
                if outgoing.shares_first_page {
                    assert!(file.len() > at, "the shared page was written before");
                }
                file.resize(end.max(file.len()), 0);
                file[at..end].copy_from_slice(pages);
                self.sent.push((outgoing.pages.clone(), pages.to_vec()));
            });
            for (segment, bytes) in &self.log {
                let file = self.device.get(segment).map_or(&[][..], |file| &file[..]);
                assert_eq!(&file[..bytes.len()], &bytes[..], "segment {segment}");
                assert_eq!(file.len(), bytes.len().next_multiple_of(PAGE), "segment {segment}");
            }
        }

        fn check(&self, staging: &Staging) {
            for (pages, then) in &self.sent {
                assert_eq!(pages.as_ref(), &then[..], "a dispatched extent has changed");
            }
            for (&segment, bytes) in &self.log {
                for position in (0..bytes.len()).step_by(777) {
                    let place = Place { segment, position: position as u64 };
                    if staging.holds(place) {
                        let mut copy = vec![0; (bytes.len() - position).min(BLOCK_BYTES + 5)];
                        assert!(staging.copy(place, &mut copy), "held from {position} on");
                        assert_eq!(copy, bytes[position..position + copy.len()]);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_appends_and_commits_reproduce_the_stream_and_change_nothing_dispatched(
            begun in 0..2 * PAGE,
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let slab = Slab::new(BLOCK_BYTES, 400).unwrap();
            let before: Vec<u8> = (0..begun).map(|i| i as u8 | 1).collect();
            let mut model = Model::default();
            model.device.insert(0, before.clone());
            model.device.get_mut(&0).unwrap().resize(begun.next_multiple_of(PAGE), 0);
            let mut staging = Staging::new(Place { segment: 0, position: begun as u64 }, &before[begun - begun % PAGE..]);
            model.log.insert(0, before);
            let mut counter = 0_u64;
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        let payload: Vec<u8> = (0..bytes).map(|_| { counter = counter.wrapping_mul(6364136223846793005).wrapping_add(1); (counter >> 56) as u8 | 1 }).collect();
                        let needed = staging.blocks_needed(bytes as u64, BLOCK_BYTES, false);
                        let mut blocks: Vec<Block> = (0..needed).map_while(|_| slab.take()).collect();
                        if blocks.len() < needed {
                            break;
                        }
                        let copied = staging.append(&payload, 0, &mut blocks);
                        prop_assert!(blocks.is_empty(), "blocks_needed said {needed}, {} too many", blocks.len());
                        prop_assert!(copied >= bytes as u64 && copied < bytes as u64 + PAGE_BYTES);
                        model.log.get_mut(&staging.end().segment).unwrap().extend_from_slice(&payload);
                    }
                    Step::Dispatch => model.dispatch(&mut staging),
                    Step::Evict(times) => {
                        for _ in 0..times {
                            let undispatched = staging.undispatched();
                            staging.evict(staging.end());
                            prop_assert_eq!(staging.undispatched(), undispatched, "only dispatched extents go");
                        }
                        if times > 4 {
                            staging.release();
                        }
                    }
                    Step::Roll => {
                        let next = staging.end().segment + 1;
                        let needed = staging.blocks_needed(PAGE_BYTES, BLOCK_BYTES, true);
                        staging.roll(next);
                        prop_assert_eq!(staging.blocks_needed(PAGE_BYTES, BLOCK_BYTES, false), needed);
                        model.log.insert(next, Vec::new());
                    }
                }
                model.check(&staging);
            }
            model.dispatch(&mut staging);
            model.check(&staging);
        }
    }

    #[test]
    fn a_dispatch_inside_a_page_costs_one_copied_page_at_most_and_one_on_a_page_costs_none() {
        let slab = Slab::new(BLOCK_BYTES, 2).unwrap();
        let mut blocks = vec![slab.take().unwrap()];
        let mut staging = Staging::new(Place { segment: 0, position: 0 }, &[]);
        assert_eq!(staging.append(&[7; PAGE], 0, &mut blocks), PAGE_BYTES);
        staging.dispatch(|_| {});
        assert_eq!(staging.append(&[8; 100], 0, &mut blocks), 100);
        staging.dispatch(|_| {});
        assert_eq!(staging.append(&[9; 50], 0, &mut blocks), 150, "the 100 bytes of the open page are repeated");
    }

    #[test]
    fn a_dispatch_goes_on_in_another_block_where_as_much_again_has_no_room() {
        let writes_and_blocks = |bytes: usize| {
            let slab = Slab::new(14 * PAGE, 8).unwrap();
            let mut staging = Staging::new(Place { segment: 0, position: 0 }, &[]);
            let mut sent = Vec::new();
            for _ in 0..6 {
                let needed = staging.blocks_needed(bytes as u64, 14 * PAGE, false);
                let mut blocks = (0..needed).map(|_| slab.take().unwrap()).collect();
                staging.append(&vec![7; bytes], 0, &mut blocks);
                staging.dispatch(|outgoing| sent.push(outgoing));
            }
            (sent.len(), 8 - slab.free_blocks())
        };
        assert_eq!(writes_and_blocks(4 * PAGE), (6, 2), "a block holds three, and two pages stay empty");
        assert_eq!(writes_and_blocks(3 * PAGE + 1), (6, 2), "each is four pages with what it repeats");
        assert_eq!(writes_and_blocks(5 * PAGE), (8, 3), "larger ones go on from block to block");
    }

    #[test]
    fn what_is_not_written_is_never_forgotten() {
        let slab = Slab::new(BLOCK_BYTES, 2).unwrap();
        let mut blocks = vec![slab.take().unwrap()];
        let mut staging = Staging::new(Place { segment: 0, position: 0 }, &[]);
        staging.append(&[7; 100], 0, &mut blocks);
        assert_eq!(staging.evict(staging.end()), 0, "not dispatched");
        staging.dispatch(|_| {});
        assert_eq!(staging.evict(Place { segment: 0, position: 99 }), 0, "dispatched, not written");
        assert_eq!(staging.evict(Place { segment: 0, position: 100 }), 100);
        assert_eq!(slab.free_blocks(), 1);
        assert!(staging.release());
        assert_eq!(slab.free_blocks(), 2);
    }
}
