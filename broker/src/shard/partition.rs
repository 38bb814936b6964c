//! One partition: what was taken and not yet answered, how far readers may go, and who reads.

use crate::intake::{Ack, Outcome};
use log_api::{LogId, Offset};
use shard_ring::Event;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

/// Batches taken one after the other that have the same answer coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) batches: u32,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Taken {
    pub(super) fn add(&mut self, more: Taken) {
        self.batches += more.batches;
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

/// [`Taken`] batches that wait for their answer.
struct Waiting {
    /// The log's end after them: what the mark must reach.
    end: Offset,
    taken: Taken,
    /// Decided already when it is not [`Outcome::Kept`]; then it only waits for those before it.
    outcome: Outcome,
}

/// What waits, oldest first. The first stands in the partition itself: with one commit in flight and many partitions it is mostly the only
/// one, and elsewhere it would be memory that no cache holds.
struct Line {
    first: Option<Waiting>,
    others: VecDeque<Waiting>,
}

impl Line {
    fn new() -> Self {
        Self { first: None, others: VecDeque::with_capacity(OTHERS) }
    }

    fn first(&self) -> Option<&Waiting> {
        self.first.as_ref()
    }

    fn last_mut(&mut self) -> Option<&mut Waiting> {
        self.others.back_mut().or(self.first.as_mut())
    }

    fn push(&mut self, waiting: Waiting) {
        match &self.first {
            None => self.first = Some(waiting),
            Some(_) => self.others.push_back(waiting),
        }
    }

    fn pop(&mut self) {
        self.first = self.others.pop_front();
    }

    fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.first.iter().chain(&self.others)
    }
}

/// Where a consumer stands; retention does not pass it lightly.
#[derive(Clone, Debug)]
pub(crate) struct Position(Rc<Cell<Offset>>);

impl Position {
    pub(crate) fn get(&self) -> Offset {
        self.0.get()
    }

    pub(crate) fn set(&self, offset: Offset) {
        self.0.set(offset);
    }
}

/// Entries behind the first for which a partition has room at once. One commit in flight needs one.
const OTHERS: usize = 3;

pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) log: LogId,
    /// Index of its flush group on the shard.
    pub(super) group: usize,
    /// The log's end, as the last append left it.
    pub(super) end: Cell<Offset>,
    /// The end when its last commit was submitted.
    pub(super) submitted: Cell<Offset>,
    /// It is on the list of its group.
    pub(super) listed: Cell<bool>,
    /// A commit of its group failed for good.
    pub(super) poisoned: Cell<bool>,
    waiting: RefCell<Line>,
    commit_point: Cell<Offset>,
    moved: Event,
    readers: RefCell<Vec<Position>>,
}

impl Partition {
    /// A partition whose log holds what was kept before `end`.
    pub(super) fn new(number: u32, log: LogId, group: usize, end: Offset) -> Self {
        Self {
            number,
            log,
            group,
            end: Cell::new(end),
            submitted: Cell::new(end),
            listed: Cell::new(false),
            poisoned: Cell::new(false),
            waiting: RefCell::new(Line::new()),
            commit_point: Cell::new(end),
            moved: Event::new(),
            readers: RefCell::new(Vec::new()),
        }
    }

    /// Remembers batches that are to be answered with `outcome`, when everything before them is answered and, if they are kept,
    /// when the mark reaches `end`. What no commit has been submitted for yet is one entry: the memory is bounded by
    /// the commits in flight, not by the batches.
    pub(super) fn wait(&self, taken: Taken, outcome: Outcome) {
        let end = self.end.get();
        let mut waiting = self.waiting.borrow_mut();
        match waiting.last_mut() {
            Some(last) if last.outcome == outcome && (outcome != Outcome::Kept || last.end > self.submitted.get()) => {
                last.taken.add(taken);
                last.end = end;
            }
            _ => waiting.push(Waiting { end, taken, outcome }),
        }
    }

    /// Takes off what can be answered when everything before `mark` is kept, oldest first.
    fn answer(&self, mark: Offset) -> Option<(Taken, Outcome)> {
        let mut waiting = self.waiting.borrow_mut();
        let mut answer: Option<(Taken, Outcome)> = None;
        while let Some(first) = waiting.first() {
            let outcome = match first.outcome {
                Outcome::Kept if first.end <= mark => Outcome::Kept,
                Outcome::Kept if self.poisoned.get() => Outcome::Poisoned,
                Outcome::Kept => break,
                decided => decided,
            };
            match &mut answer {
                Some((taken, same)) if *same == outcome => taken.add(first.taken),
                Some(_) => break,
                None => answer = Some((first.taken, outcome)),
            }
            waiting.pop();
        }
        answer
    }

    /// The log's mark stands at `mark`: answers through `each` what that decides, and lets readers come up to it. Only what a
    /// commit was submitted for counts, even where the engine places at once: the policy decides when a batch is answered.
    pub(super) fn settle(&self, mark: Offset, mut each: impl FnMut(Taken, Outcome)) {
        let mark = mark.min(self.submitted.get());
        while let Some((taken, outcome)) = self.answer(mark) {
            each(taken, outcome);
        }
        if mark > self.commit_point.get() {
            self.commit_point.set(mark);
            if !self.readers.borrow().is_empty() {
                self.moved.notify_all();
            }
        }
    }

    /// Batches taken and not answered.
    pub(super) fn unanswered(&self) -> u64 {
        self.waiting.borrow().iter().map(|entry| u64::from(entry.taken.batches)).sum()
    }

    /// Where readers stop.
    pub(crate) fn commit_point(&self) -> Offset {
        self.commit_point.get()
    }

    /// Notified when the commit point has moved, if a reader is [attached](Self::attach).
    pub(crate) fn moved(&self) -> &Event {
        &self.moved
    }

    /// A reader that starts at `from`. It is forgotten when the value given is [`Self::detach`]ed.
    pub(crate) fn attach(&self, from: Offset) -> Position {
        let position = Position(Rc::new(Cell::new(from)));
        self.readers.borrow_mut().push(position.clone());
        position
    }

    pub(crate) fn detach(&self, position: &Position) {
        self.readers.borrow_mut().retain(|other| !Rc::ptr_eq(&other.0, &position.0));
    }

    /// The offset of the reader that is furthest behind.
    pub(super) fn slowest(&self) -> Option<Offset> {
        self.readers.borrow().iter().map(Position::get).min()
    }
}

/// An acknowledgement of `taken`.
pub(super) fn ack(partition: u32, taken: Taken, outcome: Outcome, at_ns: u64) -> Ack {
    Ack { partition, batches: taken.batches, at_ns, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Taken {
        Taken { batches: 1, messages: 1, bytes: 100 }
    }

    fn append(partition: &Partition) {
        partition.end.set(partition.end.get().plus(1));
        partition.wait(one(), Outcome::Kept);
    }

    fn settled(partition: &Partition, mark: u64) -> Vec<(u32, Outcome)> {
        let mut answers = Vec::new();
        partition.settle(Offset(mark), |taken, outcome| answers.push((taken.batches, outcome)));
        answers
    }

    #[test]
    fn a_batch_is_answered_when_the_mark_reaches_it_and_its_commit_was_submitted() {
        let partition = Partition::new(0, LogId(0), 0, Offset(0));
        append(&partition);
        append(&partition);
        assert_eq!(settled(&partition, 2), [], "placed, but no commit was submitted");
        partition.submitted.set(Offset(2));
        append(&partition);
        assert_eq!(settled(&partition, 1), [], "an entry is answered as a whole");
        assert_eq!(partition.commit_point(), Offset(1));
        assert_eq!(settled(&partition, 3), [(2, Outcome::Kept)]);
        assert_eq!(partition.commit_point(), Offset(2));
        partition.submitted.set(Offset(3));
        assert_eq!(settled(&partition, 3), [(1, Outcome::Kept)]);
        assert_eq!(partition.unanswered(), 0);
    }

    #[test]
    fn a_refused_batch_is_answered_in_its_place() {
        let partition = Partition::new(0, LogId(0), 0, Offset(7));
        append(&partition);
        partition.wait(one(), Outcome::Refused);
        append(&partition);
        assert_eq!(settled(&partition, 7), []);
        partition.submitted.set(Offset(9));
        assert_eq!(settled(&partition, 8), [(1, Outcome::Kept), (1, Outcome::Refused)]);
        partition.wait(one(), Outcome::Refused);
        assert_eq!(settled(&partition, 9), [(1, Outcome::Kept), (1, Outcome::Refused)]);
    }

    #[test]
    fn poison_answers_what_the_mark_did_not_reach() {
        let partition = Partition::new(0, LogId(0), 0, Offset(0));
        append(&partition);
        partition.submitted.set(Offset(1));
        append(&partition);
        partition.submitted.set(Offset(2));
        partition.wait(one(), Outcome::Poisoned);
        partition.poisoned.set(true);
        assert_eq!(settled(&partition, 1), [(1, Outcome::Kept), (2, Outcome::Poisoned)]);
        assert_eq!(partition.commit_point(), Offset(1), "readers never pass the mark");
    }

    #[test]
    fn waiting_for_one_commit_takes_one_entry_whatever_it_carries() {
        let partition = Partition::new(0, LogId(0), 0, Offset(0));
        (0..10_000).for_each(|_| append(&partition));
        assert_eq!(partition.waiting.borrow().iter().count(), 1);
        assert_eq!(partition.unanswered(), 10_000);
    }
}
