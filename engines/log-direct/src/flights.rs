//! The commits of one log that are on their way, as bookkeeping alone: which page may be written when, which flush covers what, and how
//! far the marks may move. What never lives here: files, operations, waiting. `commit.rs` carries out what is decided here.
//!
//! A **flight** is what one commit dispatched. Several are in the air at once; they land in any order, and the marks move in order.
//!
//! A **tail page** is a page of the file that is being written and will be written again, because the log ended inside it. Two writes of one
//! page are never in the air together: the later one waits, as an image, for the earlier. A newer image of the same page replaces one that
//! still waits, because it holds its bytes too.

use crate::{
    PAGE, PAGE_BYTES,
    staging::{Outgoing, Place, Staging},
};
use log_api::{Level, Offset};
use shard_ring::Slice;
use std::collections::VecDeque;

/// An end, of a flight for instance, in both ways of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) offset: Offset,
}

/// How the bytes of a flight become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Not at all.
    Placed,
    /// Each of its writes is synchronous, and so was everything before it.
    Writes,
    /// By a flush after them, because bytes before them were written without.
    Flush,
}

#[derive(Debug)]
struct Flight {
    end: Mark,
    /// Bytes of log that it carries, taken off the budget when they have been written.
    bytes: u64,
    promise: Promise,
    /// Its own writes in the air.
    writes: u32,
    /// Its first page waits as an image, or is in the air as one.
    deferred: Option<Place>,
    /// A flush after its last write has been asked for.
    flushing: bool,
    /// A flush submitted after its last write has succeeded.
    flushed: bool,
    /// It has been counted as placed.
    placed: bool,
}

impl Flight {
    fn written(&self) -> bool {
        self.writes == 0 && self.deferred.is_none()
    }

    fn durable(&self) -> bool {
        self.flushed || (self.promise == Promise::Writes && self.written())
    }
}

/// Whose write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// Pages of this flight.
    Flight(u64),
    /// The image of a tail page, with the bytes of all flights up to this one that wait for it.
    Image { upto: u64 },
}

/// A write to submit now.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) segment: u64,
    /// Position in the segment; a multiple of the page, as is the length of `pages`.
    pub(crate) at: u64,
    pub(crate) pages: Slice,
    /// With RWF_DSYNC.
    pub(crate) sync: bool,
    carries: Carries,
    tail: Option<Place>,
}

/// A page of the file in the air, inside which the log ended.
#[derive(Debug)]
struct TailPage {
    page: Place,
    waiting: Option<Image>,
}

#[derive(Debug)]
struct Image {
    page: Slice,
    sync: bool,
    upto: u64,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launched {
    /// It begins in a page that is still in the air.
    pub(crate) waits_for_tail: bool,
}

/// The flights of one log.
#[derive(Debug)]
pub(crate) struct Flights {
    queue: VecDeque<Flight>,
    /// Number of the first flight in the queue. They count from 1.
    first: u64,
    tails: Vec<TailPage>,
    /// Segments with bytes that no flush has covered, and the last flight that wrote some.
    unsynced: Vec<(u64, u64)>,
    /// The last flight with unsynchronised writes, and the last that ends in a flush.
    plain_last: u64,
    flush_last: u64,
    placed: Mark,
    durable: Mark,
}

impl Flights {
    /// Nothing in the air; everything before `end` is durable.
    pub(crate) fn new(end: Mark) -> Self {
        Self {
            queue: VecDeque::new(),
            first: 1,
            tails: Vec::new(),
            unsynced: Vec::new(),
            plain_last: 0,
            flush_last: 0,
            placed: end,
            durable: end,
        }
    }

    /// Everything before it has been written.
    pub(crate) fn placed(&self) -> Mark {
        self.placed
    }

    /// Everything before it has been written and flushed.
    pub(crate) fn durable(&self) -> Mark {
        self.durable
    }

    /// Whether bringing everything before `end` to `level` takes anything that is not in the air yet. `end` is where the log ends.
    pub(crate) fn must_launch(&self, staging: &Staging, level: Level) -> bool {
        staging.has_undispatched() || (level == Level::Durable && self.plain_last > self.flush_last)
    }

    /// Takes everything staged, `bytes` of log that end at `end`, and says what to write now.
    pub(crate) fn launch(
        &mut self,
        level: Level,
        staging: &mut Staging,
        end: Mark,
        bytes: u64,
        writes: &mut Vec<Write>,
    ) -> Launched {
        let number = self.first + self.queue.len() as u64;
        let promise = match level {
            Level::Placed => Promise::Placed,
            Level::Durable if self.plain_last > self.flush_last => Promise::Flush,
            Level::Durable => Promise::Writes,
        };
        let mut flight =
            Flight { end, bytes, promise, writes: 0, deferred: None, flushing: false, flushed: false, placed: false };
        staging.dispatch(|outgoing| self.plan(&mut flight, number, outgoing, writes));
        match promise {
            Promise::Placed => self.plain_last = number,
            Promise::Flush => self.flush_last = number,
            Promise::Writes => {}
        }
        let launched = Launched { waits_for_tail: flight.deferred.is_some() };
        self.queue.push_back(flight);
        launched
    }

    fn plan(&mut self, flight: &mut Flight, number: u64, outgoing: Outgoing, writes: &mut Vec<Write>) {
        let Outgoing { segment, mut at, mut pages, shares_first_page, ends_inside_page } = outgoing;
        let sync = flight.promise == Promise::Writes;
        if !sync {
            match self.unsynced.iter_mut().find(|(name, _)| *name == segment) {
                Some((_, last)) => *last = number,
                None => self.unsynced.push((segment, number)),
            }
        }
        if shares_first_page {
            let first = Place { segment, position: at };
            if let Some(tail) = self.tails.iter_mut().find(|tail| tail.page == first) {
                let (page, rest) = split_first_page(&pages);
                let replaced_sync = tail.waiting.as_ref().is_some_and(|image| image.sync);
                tail.waiting = Some(Image { page, sync: sync || replaced_sync, upto: number });
                assert!(flight.deferred.is_none(), "only the first extent of a commit begins inside a page");
                flight.deferred = Some(first);
                let Some(rest) = rest else { return };
                pages = rest;
                at += PAGE_BYTES;
            }
        }
        let last = Place { segment, position: at + pages.len() as u64 - PAGE_BYTES };
        let tail = ends_inside_page.then_some(last);
        if let Some(page) = tail {
            self.tails.push(TailPage { page, waiting: None });
        }
        flight.writes += 1;
        writes.push(Write { segment, at, pages, sync, carries: Carries::Flight(number), tail });
    }

    /// A write has succeeded in full. Returns the write that waited for it, if one did.
    pub(crate) fn written(&mut self, write: &Write) -> Option<Write> {
        match write.carries {
            Carries::Flight(number) => {
                let index = (number - self.first) as usize;
                self.queue[index].writes -= 1;
            }
            Carries::Image { upto } => {
                let waited = (upto + 1 - self.first) as usize;
                for flight in self.queue.range_mut(..waited).filter(|flight| flight.deferred == write.tail) {
                    flight.deferred = None;
                }
            }
        }
        let page = write.tail?;
        let index = self.tails.iter().position(|tail| tail.page == page).expect("a page in the air is listed");
        let Some(Image { page: pages, sync, upto }) = self.tails[index].waiting.take() else {
            self.tails.swap_remove(index);
            return None;
        };
        Some(Write {
            segment: page.segment,
            at: page.position,
            pages,
            sync,
            carries: Carries::Image { upto },
            tail: Some(page),
        })
    }

    /// Moves the marks as far as they go. Returns the bytes of log that have been written now, for the budget.
    pub(crate) fn settle(&mut self) -> u64 {
        let mut landed = 0;
        for flight in self.queue.iter_mut() {
            if !flight.written() {
                break;
            }
            if !flight.placed {
                flight.placed = true;
                landed += flight.bytes;
                self.placed = flight.end;
            }
        }
        while let Some(flight) = self.queue.front().filter(|flight| flight.placed) {
            match (flight.durable(), flight.promise) {
                (true, _) => self.durable = self.durable.max(flight.end),
                // A later flight's flush will speak for it.
                (false, Promise::Placed) => {}
                (false, _) => break,
            }
            self.queue.pop_front();
            self.first += 1;
        }
        landed
    }

    /// The flight whose flush can be submitted now, since everything up to its end has been written; it is then taken as submitted. It
    /// speaks for earlier flights whose flush was not submitted yet.
    pub(crate) fn flush_due(&mut self) -> Option<u64> {
        let placed = self.queue.iter().take_while(|flight| flight.placed).count();
        let index = self.queue.range(..placed).rposition(|flight| flight.promise == Promise::Flush)?;
        if self.queue[index].flushing {
            return None;
        }
        self.queue.range_mut(..=index).for_each(|flight| flight.flushing = true);
        Some(self.first + index as u64)
    }

    /// Segments that a flush has to cover, oldest first.
    pub(crate) fn unsynced(&self) -> impl Iterator<Item = u64> {
        self.unsynced.iter().map(|(segment, _)| *segment)
    }

    /// The flush of this flight has succeeded, on all segments that were unsynced when it was submitted.
    pub(crate) fn flushed(&mut self, number: u64) {
        let covered = (number + 1).saturating_sub(self.first) as usize;
        self.queue.range_mut(..covered).for_each(|flight| flight.flushed = true);
        self.unsynced.retain(|(_, last)| *last > number);
    }

    /// The segment that ends at `end` has been flushed after its last write: durable, if everything before it is.
    pub(crate) fn sealed(&mut self, end: Mark) {
        self.unsynced.retain(|(name, _)| *name != end.place.segment);
        if self.durable.offset.0 >= end.place.segment {
            self.durable = self.durable.max(end);
        }
    }
}

fn split_first_page(pages: &Slice) -> (Slice, Option<Slice>) {
    let rest = (pages.len() > PAGE).then(|| pages.slice(PAGE..pages.len()));
    (pages.slice(0..PAGE), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shard_ring::{Block, Slab};
    use std::collections::BTreeMap;

    const BLOCK_BYTES: usize = 4 * PAGE;

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Commit(Level),
        /// Let one of the operations in the air land.
        Land(prop::sample::Index),
        Roll,
        /// Flush the oldest segment that was left behind, if it has been written.
        Seal,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1..300usize).prop_map(Step::Append),
            2 => (1..2 * BLOCK_BYTES).prop_map(Step::Append),
            6 => Just(Step::Commit(Level::Durable)),
            3 => Just(Step::Commit(Level::Placed)),
            12 => any::<prop::sample::Index>().prop_map(Step::Land),
            1 => Just(Step::Roll),
            1 => Just(Step::Seal),
        ]
    }

    enum Air {
        Write(Write),
        Flush { number: u64, segments: Vec<u64>, covers: BTreeMap<u64, Vec<u8>> },
    }

    /// A device with a volatile cache: `cache` is what reads see, `stable` what a power cut leaves.
    #[derive(Default)]
    struct Device {
        cache: BTreeMap<u64, Vec<u8>>,
        stable: BTreeMap<u64, Vec<u8>>,
        air: Vec<Air>,
    }

    impl Device {
        fn submit(&mut self, write: Write) {
            for other in &self.air {
                if let Air::Write(other) = other {
                    let apart = other.segment != write.segment
                        || other.at + other.pages.len() as u64 <= write.at
                        || write.at + write.pages.len() as u64 <= other.at;
                    assert!(apart, "two writes of one page in the air");
                }
            }
            self.air.push(Air::Write(write));
        }

        fn put(files: &mut BTreeMap<u64, Vec<u8>>, write: &Write) {
            let file = files.entry(write.segment).or_default();
            let (at, pages) = (write.at as usize, write.pages.as_ref());
            file.resize((at + pages.len()).max(file.len()), 0);
            file[at..at + pages.len()].copy_from_slice(pages);
        }
    }

    struct World {
        slab: Slab,
        staging: Staging,
        flights: Flights,
        device: Device,
        log: BTreeMap<u64, Vec<u8>>,
        offset: u64,
        staged: u64,
        outstanding: u64,
        finished: VecDeque<Mark>,
    }

    impl World {
        fn new() -> Self {
            let start = Place { segment: 0, position: 0 };
            Self {
                slab: Slab::new(BLOCK_BYTES, 300).unwrap(),
                staging: Staging::new(start, &[]),
                flights: Flights::new(Mark { place: start, offset: Offset(0) }),
                device: Device::default(),
                log: BTreeMap::from([(0, Vec::new())]),
                offset: 0,
                staged: 0,
                outstanding: 0,
                finished: VecDeque::new(),
            }
        }

        fn append(&mut self, bytes: usize) -> bool {
            let needed = self.staging.blocks_needed(bytes as u64, BLOCK_BYTES, false);
            let mut blocks: Vec<Block> = (0..needed).map_while(|_| self.slab.take()).collect();
            if blocks.len() < needed {
                return false;
            }
            self.offset += 1;
            let payload: Vec<u8> = (0..bytes).map(|i| (self.offset as usize * 31 + i * 7) as u8 | 1).collect();
            self.staging.append(&payload, 0, &mut blocks);
            self.log.get_mut(&self.staging.end().segment).unwrap().extend_from_slice(&payload);
            self.staged += bytes as u64;
            self.outstanding += bytes as u64;
            true
        }

        fn commit(&mut self, level: Level) {
            if !self.flights.must_launch(&self.staging, level) {
                return;
            }
            let end = Mark { place: self.staging.end(), offset: Offset(self.offset) };
            let mut writes = Vec::new();
            self.flights.launch(level, &mut self.staging, end, self.staged, &mut writes);
            self.staged = 0;
            writes.into_iter().for_each(|write| self.device.submit(write));
            self.settle();
        }

        fn land(&mut self, which: usize) {
            match self.device.air.swap_remove(which) {
                Air::Write(write) => {
                    Device::put(&mut self.device.cache, &write);
                    if write.sync {
                        Device::put(&mut self.device.stable, &write);
                    }
                    if let Some(next) = self.flights.written(&write) {
                        self.device.submit(next);
                    }
                }
                // A flush covers what had been written when it was submitted, and nothing else.
                Air::Flush { number, segments, covers } => {
                    for segment in segments {
                        let Some(then) = covers.get(&segment) else { continue };
                        let stable = self.device.stable.entry(segment).or_default();
                        stable.resize(then.len().max(stable.len()), 0);
                        for (page, new) in then.chunks(PAGE).enumerate() {
                            let old = &mut stable[page * PAGE..page * PAGE + new.len()];
                            // A synchronous write may have brought a newer image of the page meanwhile: pages only gain bytes.
                            old.iter_mut().zip(new).for_each(|(old, new)| *old = (*old).max(*new));
                        }
                    }
                    self.flights.flushed(number);
                }
            }
            self.settle();
        }

        fn settle(&mut self) {
            let before = (self.flights.placed().place, self.flights.durable().place);
            self.outstanding -= self.flights.settle();
            while let Some(number) = self.flights.flush_due() {
                let segments: Vec<u64> = self.flights.unsynced().collect();
                self.device.air.push(Air::Flush { number, segments, covers: self.device.cache.clone() });
            }
            let (placed, durable) = (self.flights.placed().place, self.flights.durable().place);
            assert!(before.0 <= placed && before.1 <= durable && durable <= placed && placed <= self.staging.end());
            self.holds(&self.device.cache, placed, "placed");
            self.holds(&self.device.stable, durable, "durable");
        }

        fn holds(&self, files: &BTreeMap<u64, Vec<u8>>, upto: Place, mark: &str) {
            for (segment, bytes) in self.log.range(..=upto.segment) {
                let bytes = if *segment == upto.segment { &bytes[..upto.position as usize] } else { &bytes[..] };
                let file = files.get(segment).map_or(&[][..], |file| &file[..]);
                assert!(
                    file.len() >= bytes.len() && file[..bytes.len()] == *bytes,
                    "{mark} goes beyond the device in segment {segment}"
                );
            }
        }

        fn roll(&mut self) {
            if self.staging.end().position == 0 {
                return;
            }
            let end = Mark { place: self.staging.end(), offset: Offset(self.offset) };
            self.finished.push_back(end);
            // Segments are named by their first offset.
            self.staging.roll(self.offset);
            self.log.insert(self.offset, Vec::new());
        }

        fn seal(&mut self) {
            let placed = self.flights.placed().offset;
            if let Some(end) = self.finished.pop_front_if(|end| end.offset <= placed) {
                let written = self.device.cache[&end.place.segment].clone();
                self.device.stable.insert(end.place.segment, written);
                self.flights.sealed(end);
                self.settle();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Operations land in any order; at each moment the device holds what the marks promise, after a power cut too, and no page is
        /// written twice at once.
        #[test]
        fn the_marks_never_promise_what_the_device_does_not_hold(steps in prop::collection::vec(step(), 1..150)) {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Append(bytes) => if !world.append(bytes) { break },
                    Step::Commit(level) => world.commit(level),
                    Step::Land(which) => if !world.device.air.is_empty() { world.land(which.index(world.device.air.len())) },
                    Step::Roll => world.roll(),
                    Step::Seal => world.seal(),
                }
            }
            world.commit(Level::Durable);
            while !world.device.air.is_empty() {
                world.land(0);
            }
            prop_assert_eq!(world.flights.durable().offset, Offset(world.offset));
            prop_assert_eq!(world.outstanding, 0);
            prop_assert_eq!(world.flights.queue.len(), 0);
            prop_assert!(world.flights.tails.is_empty());
            prop_assert_eq!(world.flights.unsynced().count(), 0);
        }
    }

    #[test]
    fn a_sealed_segment_is_durable_without_a_commit_and_not_before_what_precedes_it() {
        let mut world = World::new();
        for _ in 0..2 {
            world.append(10);
            world.commit(Level::Placed);
            world.land(0);
            world.roll();
        }
        let second = world.finished.pop_back().unwrap();
        world.flights.sealed(second);
        assert_eq!(world.flights.durable().offset, Offset(0), "the first segment is not flushed");
        world.seal();
        assert_eq!(world.flights.durable().offset, Offset(1));
    }

    #[test]
    fn a_small_commit_is_one_write_and_its_page_waits_for_the_one_before() {
        let mut world = World::new();
        world.append(100);
        world.commit(Level::Durable);
        assert_eq!(world.device.air.len(), 1);
        world.append(100);
        world.append(2 * PAGE);
        world.commit(Level::Durable);
        assert_eq!(world.device.air.len(), 2, "the pages behind the shared one go at once");
        for _ in 0..3 {
            world.append(10);
            world.commit(Level::Durable);
        }
        assert_eq!(world.device.air.len(), 2, "images of the second tail page wait");
        world.land(1);
        assert_eq!(world.device.air.len(), 2, "one image for three commits");
        assert_eq!(world.flights.placed().offset, Offset(0), "the first write is still in the air");
        world.land(1);
        world.land(0);
        assert_eq!(world.flights.durable().offset, Offset(1));
        world.land(0);
        assert_eq!(world.flights.durable().offset, Offset(6));
        assert!(world.device.air.is_empty());
    }

    #[test]
    fn one_flush_speaks_for_all_that_was_placed_before_it_and_synchronous_writes_need_none() {
        let mut world = World::new();
        world.append(10);
        world.commit(Level::Placed);
        world.append(10);
        world.commit(Level::Durable);
        world.append(10);
        world.commit(Level::Durable);
        while world.device.air.iter().any(|air| matches!(air, Air::Write(_))) {
            world.land(world.device.air.iter().position(|air| matches!(air, Air::Write(_))).unwrap());
        }
        assert_eq!(world.device.air.len(), 1, "one flush, of the second commit");
        assert_eq!((world.flights.placed().offset, world.flights.durable().offset), (Offset(3), Offset(0)));
        world.land(0);
        assert_eq!(world.flights.durable().offset, Offset(3));
    }
}
