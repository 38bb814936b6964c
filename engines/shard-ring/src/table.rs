//! The operations of a ring: who waits for them, and what they own.

use crate::{
    Block, Buffer, RingFile, Slice,
    kernel::{Pinned, Submission},
    prepared::{Message, Prepared},
    receive::Stream,
    socket::RingSocket,
};
use io_uring::types::Timespec;
use std::{collections::VecDeque, net::TcpListener, rc::Rc, task::Waker};

/// What the kernel reads or writes during an operation.
pub(crate) enum Held {
    Nothing,
    Slice { _slice: Slice },
    Block(Block),
    Buffer(Buffer),
    Message(Pinned<Message>),
    Time(Pinned<Timespec>),
}

/// The descriptor that an operation names: open until the completion.
pub(crate) enum Target {
    Nothing,
    File { _file: RingFile },
    Socket(RingSocket),
    Listener { _listener: Rc<TcpListener> },
}

/// What a completion means.
pub(crate) enum Kind {
    /// Ends by itself.
    Finite,
    /// Ends by itself; the bytes read belong to the block held.
    Read,
    /// May never end by itself: cancelled when its future is dropped.
    Endless,
    /// As `Endless`; the result is a descriptor.
    Accept,
    /// The socket's one writer. May wait for a slow peer for ever, but is not cancelled when its future is dropped.
    Send,
    /// Many completions.
    Receive(Rc<Stream>),
}

impl Kind {
    /// Whether it takes one of the slots. The others are bounded by their sockets and tasks, and may last: if they took
    /// slots, a thousand quiet connections would stop the shard's writes.
    pub(crate) fn takes_slot(&self) -> bool {
        matches!(self, Kind::Finite | Kind::Read)
    }

    /// Whether a drain has to cancel it.
    pub(crate) fn must_be_cancelled(&self) -> bool {
        !self.takes_slot()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    /// Waits for a slot.
    Waiting,
    /// Pushed, or in the kernel.
    Running,
    /// Completed with this result; its future has not asked yet.
    Done(i32),
}

pub(crate) struct Record {
    generation: u32,
    pub(crate) state: State,
    /// The future was dropped.
    pub(crate) orphan: bool,
    pub(crate) waker: Option<Waker>,
    pub(crate) held: Held,
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    waiting: Option<Submission>,
}

/// What a record let go of. Dropped by the caller, when the table is no longer borrowed: the drop of a file or a socket
/// uses the ring.
pub(crate) struct Released {
    pub(crate) held: Held,
    pub(crate) target: Target,
    pub(crate) kind: Kind,
}

/// A running operation's name. The generation tells it from an earlier one at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) place: u32,
    generation: u32,
}

impl Id {
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    pub(crate) fn from_user_data(user_data: u64) -> Self {
        Self { place: user_data as u32, generation: (user_data >> 32) as u32 }
    }
}

/// Records grow to the most operations that were ever outstanding, and are reused. Of those that take a slot at most
/// `slots_max` are with the kernel; the rest wait in line.
pub(crate) struct Table {
    records: Vec<Record>,
    free: Vec<u32>,
    waiting: VecDeque<u32>,
    slots_max: u32,
    slots_used: u32,
}

impl Table {
    pub(crate) fn new(slots_max: u32) -> Self {
        assert!(slots_max > 0, "a ring without slots");
        let prepared = slots_max as usize;
        Self {
            records: Vec::with_capacity(prepared),
            free: Vec::with_capacity(prepared),
            waiting: VecDeque::with_capacity(prepared),
            slots_max,
            slots_used: 0,
        }
    }

    /// Takes an operation in. `Some`: it has its slot, push this. `None`: it waits in line.
    pub(crate) fn insert(&mut self, prepared: Prepared) -> (Id, Option<Submission>) {
        let Prepared { entry, held, target, kind } = prepared;
        let place = self.free.pop().unwrap_or_else(|| {
            let place = u32::try_from(self.records.len()).expect("fewer than 2^32 operations");
            self.records.push(Record {
                generation: 0,
                state: State::Free,
                orphan: false,
                waker: None,
                held: Held::Nothing,
                target: Target::Nothing,
                kind: Kind::Finite,
                waiting: None,
            });
            place
        });
        let takes_slot = kind.takes_slot();
        let record = &mut self.records[place as usize];
        assert_eq!(record.state, State::Free, "a free place is in use");
        let id = Id { place, generation: record.generation };
        let submission = Submission::of(entry, id.user_data());
        (record.held, record.target, record.kind, record.orphan) = (held, target, kind, false);
        if takes_slot && (self.slots_used == self.slots_max || !self.waiting.is_empty()) {
            record.state = State::Waiting;
            record.waiting = Some(submission);
            self.waiting.push_back(place);
            return (id, None);
        }
        record.state = State::Running;
        self.slots_used += u32::from(takes_slot);
        (id, Some(submission))
    }

    /// The next operation in line, if a slot is free for it.
    pub(crate) fn promote(&mut self) -> Option<Submission> {
        if self.slots_used == self.slots_max {
            return None;
        }
        let record = &mut self.records[self.waiting.pop_front()? as usize];
        assert_eq!(record.state, State::Waiting, "in line without waiting");
        record.state = State::Running;
        self.slots_used += 1;
        Some(record.waiting.take().expect("a waiting record has its entry"))
    }

    pub(crate) fn record(&mut self, id: Id) -> &mut Record {
        let record = &mut self.records[id.place as usize];
        assert!(record.generation == id.generation && record.state != State::Free, "an operation that is over");
        record
    }

    /// The kernel is done with the operation: its slot is free.
    pub(crate) fn finish(&mut self, id: Id, result: i32) {
        let record = self.record(id);
        assert_eq!(record.state, State::Running, "a completion of an operation that is not running");
        record.state = State::Done(result);
        let takes_slot = record.kind.takes_slot();
        self.slots_used -= u32::from(takes_slot);
    }

    /// Frees the place of a finished operation.
    pub(crate) fn release(&mut self, id: Id) -> Released {
        let record = self.record(id);
        assert!(matches!(record.state, State::Done(_)), "the kernel may still use what the operation owns");
        record.state = State::Free;
        record.generation = record.generation.wrapping_add(1);
        record.waker = None;
        let released = Released {
            held: std::mem::replace(&mut record.held, Held::Nothing),
            target: std::mem::replace(&mut record.target, Target::Nothing),
            kind: std::mem::replace(&mut record.kind, Kind::Finite),
        };
        self.free.push(id.place);
        released
    }

    /// The next operation, from `place` on, that a drain has to cancel.
    pub(crate) fn next_to_cancel(&self, place: u32) -> Option<Id> {
        let records = self.records.iter().enumerate().skip(place as usize);
        let mut endless =
            records.filter(|(_, record)| record.state == State::Running && record.kind.must_be_cancelled());
        endless.next().map(|(place, record)| Id { place: place as u32, generation: record.generation })
    }

    /// Operations that take a slot and are with the kernel.
    pub(crate) fn slots_used(&self) -> u32 {
        self.slots_used
    }

    /// Operations in line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
