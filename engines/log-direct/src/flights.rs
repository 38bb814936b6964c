//! The commits of one log that are on their way, as bookkeeping alone: which page may be written when, which flush covers what, and how
//! far the marks may move. What never lives here: files, operations, waiting. `commit.rs` carries out what is decided here.
//!
//! A **flight** is what one commit dispatched. Several are in the air at once; they land in any order, and the marks move in order.
//!
//! A **tail page** is a page of the file that is being written and will be written again, because the log ended inside it. Two writes of one
//! page are never in the air together: the later one waits, as an image, for the earlier. A newer image of the same page replaces one that
//! still waits, because it holds its bytes too.
//!
//! With others in the air (one where nobody waits for a flush, else two) the next one is likely to follow soon, and would begin in that page
//! again. Then the tail page is **held** back, and goes out with the flight that follows, in one write instead of two; it goes alone when the
//! rest of its own flight has landed and nothing has followed. With pages of 8 bytes, and commits `aaaaaaaaaaaa`, `bbbbbb`, `cccccccccc` while others are in the air:
//!
//! ```text
//! commit a writes |aaaaaaaa|              and holds |aaaa....|
//! commit b writes          |aaaabbbb|     and holds          |bb......|
//! commit c writes                   |bbcccccc|  and holds             |cccc....|
//! ```

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
    /// Its first page and its last, while they wait as images, or are in the air as such or with a later flight.
    deferred: [Option<Place>; 2],
    /// A flush after its last write has been asked for.
    flushing: bool,
    /// A flush submitted after its last write has succeeded.
    flushed: bool,
    /// It has been counted as placed.
    placed: bool,
}

impl Flight {
    fn written(&self) -> bool {
        self.writes == 0 && self.deferred == [None; 2]
    }

    /// The page, as it was when this flight was launched or later, has been written.
    fn arrived(&mut self, page: Place) {
        self.deferred.iter_mut().filter(|deferred| **deferred == Some(page)).for_each(|deferred| *deferred = None);
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
    /// Its first page is the tail page that earlier flights held back.
    takes_over: Option<Place>,
    tail: Option<Place>,
}

/// A page of the file inside which the log ended.
#[derive(Debug)]
struct TailPage {
    page: Place,
    place: Whereabouts,
    waiting: Option<Image>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Air,
    /// Held back; due when the writes of this flight have landed.
    Held(u64),
}

/// So many flights in the air, and more: the next one is taken to follow before they have landed. With fewer, a commit would wait longer for
/// the one after it than for a write of its own.
const HOLDS_FROM: usize = 2;

/// The same where nobody waits for a flush: a write is short then, and one of a single page takes as long as one of many.
const HOLDS_FROM_PLACED: usize = 1;

#[derive(Debug)]
struct Image {
    page: Slice,
    sync: bool,
    upto: u64,
}

impl Image {
    fn write(self, page: Place) -> Write {
        let (carries, tail) = (Carries::Image { upto: self.upto }, Some(page));
        let (segment, at) = (page.segment, page.position);
        Write { segment, at, pages: self.page, sync: self.sync, carries, takes_over: None, tail }
    }
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
        let mut flight = Flight {
            end,
            bytes,
            promise,
            writes: 0,
            deferred: [None; 2],
            flushing: false,
            flushed: false,
            placed: false,
        };
        let holds_from = if level == Level::Durable { HOLDS_FROM } else { HOLDS_FROM_PLACED };
        let holds = self.queue.iter().filter(|flight| !flight.written()).nth(holds_from - 1).is_some();
        staging.dispatch(|outgoing| self.plan(&mut flight, number, outgoing, holds, writes));
        match promise {
            Promise::Placed => self.plain_last = number,
            Promise::Flush => self.flush_last = number,
            Promise::Writes => {}
        }
        let launched = Launched { waits_for_tail: flight.deferred[0].is_some() };
        self.queue.push_back(flight);
        launched
    }

    fn plan(&mut self, flight: &mut Flight, number: u64, outgoing: Outgoing, holds: bool, writes: &mut Vec<Write>) {
        let Outgoing { segment, mut at, mut pages, shares_first_page, ends_inside_page } = outgoing;
        let mut sync = flight.promise == Promise::Writes;
        if !sync {
            match self.unsynced.iter_mut().find(|(name, _)| *name == segment) {
                Some((_, last)) => *last = number,
                None => self.unsynced.push((segment, number)),
            }
        }
        let first = Place { segment, position: at };
        let shared = self.tails.iter().position(|tail| shares_first_page && tail.page == first);
        let mut takes_over = None;
        if let Some(index) = shared {
            let tail = &mut self.tails[index];
            let image_sync = sync || tail.waiting.as_ref().is_some_and(|image| image.sync);
            let in_air = tail.place == Whereabouts::Air;
            if in_air || (pages.len() == PAGE && ends_inside_page) {
                let (page, rest) = split_first_page(&pages);
                tail.waiting = Some(Image { page, sync: image_sync, upto: number });
                assert!(flight.deferred[0].is_none(), "only the first extent of a commit begins inside a page");
                flight.deferred[0] = Some(first);
                let Some(rest) = rest else { return };
                pages = rest;
                at += PAGE_BYTES;
            } else {
                self.tails.swap_remove(index);
                (takes_over, sync) = (Some(first), image_sync);
            }
        }
        let last = Place { segment, position: at + pages.len() as u64 - PAGE_BYTES };
        let goes_on = ends_inside_page && segment == flight.end.place.segment;
        let mut tail = ends_inside_page.then_some(last);
        if holds && goes_on && pages.len() > PAGE {
            let page = pages.slice(pages.len() - PAGE..pages.len());
            pages = pages.slice(0..pages.len() - PAGE);
            let waiting = Some(Image { page, sync, upto: number });
            self.tails.push(TailPage { page: last, place: Whereabouts::Held(number), waiting });
            flight.deferred[1] = Some(last);
            tail = None;
        } else if ends_inside_page {
            self.tails.push(TailPage { page: last, place: Whereabouts::Air, waiting: None });
        }
        flight.writes += 1;
        writes.push(Write { segment, at, pages, sync, carries: Carries::Flight(number), takes_over, tail });
    }

    /// A write has succeeded in full. Returns the image of its tail page that waited for it.
    pub(crate) fn written(&mut self, write: &Write) -> Option<Write> {
        let (upto, page) = match write.carries {
            Carries::Flight(number) => {
                self.queue[(number - self.first) as usize].writes -= 1;
                (number, write.takes_over)
            }
            Carries::Image { upto } => (upto, write.tail),
        };
        if let Some(page) = page {
            let waited = (upto + 1 - self.first) as usize;
            self.queue.range_mut(..waited).for_each(|flight| flight.arrived(page));
        }
        let page = write.tail?;
        let index = self.tails.iter().position(|tail| tail.page == page).expect("a page in the air is listed");
        match self.tails[index].waiting.take() {
            Some(image) => Some(image.write(page)),
            None => {
                self.tails.swap_remove(index);
                None
            }
        }
    }

    /// A tail page is held, although everything else of its flight has landed.
    pub(crate) fn has_due(&self) -> bool {
        self.tails.iter().any(|tail| self.is_due(tail))
    }

    /// The write of such a page.
    pub(crate) fn release(&mut self) -> Option<Write> {
        let due = self.tails.iter().position(|tail| self.is_due(tail))?;
        let held = &mut self.tails[due];
        held.place = Whereabouts::Air;
        let image = held.waiting.take().expect("a page that is held has an image");
        Some(image.write(held.page))
    }

    fn is_due(&self, tail: &TailPage) -> bool {
        matches!(tail.place, Whereabouts::Held(number) if self.queue[(number - self.first) as usize].writes == 0)
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

    /// A commit is on its way that makes everything before it durable.
    pub(crate) fn is_flushing(&self) -> bool {
        self.queue.iter().any(|flight| flight.promise != Promise::Placed)
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
mod model;
