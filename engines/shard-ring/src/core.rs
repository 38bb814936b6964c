//! What a ring consists of, and what becomes of a completion.

use crate::{
    Count, Event, RingConfig, RingCounters,
    kernel::{Completion, Entered, FIXED_FILES_MAX, Kernel, Pinned, Submission, returned},
    op::Op,
    prepared::{Message, Prepared},
    provided::Provided,
    pump::Pump,
    receive::Stream,
    table::{Held, Id, Kind, Released, State, Table, Target},
};
use io_uring::{cqueue, types::Timespec};
use rustix::event::{EventfdFlags, eventfd};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

/// `user_data` of a cancellation: its own completion means nothing, that of the operation cancelled does.
const CANCELLATION: u64 = u64::MAX;
/// `user_data` of the poll that bells end.
const BELL: u64 = u64::MAX - 1;

/// A ring's state. Fields are dropped in this order: the kernel's side before the memory that it was given.
pub(crate) struct Core {
    kernel: RefCell<Kernel>,
    pub(crate) provided: Provided,
    table: RefCell<Table>,
    /// Entries that found the submission queue full.
    backlog: RefCell<VecDeque<Submission>>,
    completions: RefCell<Vec<Completion>>,
    /// After so many bytes a receive ends and is armed again; 0: the kernel cannot do that.
    pub(crate) receive_bytes_max: Cell<u32>,
    /// Receives that wait for a provided buffer.
    pub(crate) starved: RefCell<VecDeque<Rc<Stream>>>,
    /// Free places in the kernel's table of fixed files.
    fixed_files: RefCell<Vec<u32>>,
    /// Kept for their memory.
    pub(crate) messages: RefCell<Vec<Pinned<Message>>>,
    pub(crate) times: RefCell<Vec<Pinned<Timespec>>>,
    /// Completions to come: operations pushed or in the kernel, cancellations included; not those in line.
    outstanding: Cell<usize>,
    /// No operation is taken any more.
    closing: Cell<bool>,
    /// Notified when nothing is outstanding any more.
    drained: Event,
    /// Where helpers' results arrive.
    pub(crate) deliveries: std::cell::OnceCell<Rc<crate::helper::Deliveries>>,
    pub(crate) pump: Pump,
    /// The eventfd that bells ring.
    pub(crate) signal: Arc<OwnedFd>,
    /// A poll of `signal` that completes at each ring is with the kernel, or on its way there.
    hears: Cell<bool>,
    /// Waits at doorbells.
    listening: Cell<usize>,
    /// Notified when a bell has rung.
    pub(crate) signalled: Event,
    /// The clock is read around each enter.
    pub(crate) times_enters: Cell<bool>,
    pub(crate) counters: RingCounters,
}

impl Core {
    /// A ring of this thread.
    pub(crate) fn new(config: &RingConfig) -> io::Result<Rc<Self>> {
        if config.entries == 0 || config.slots == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a ring needs at least one entry and one slot"));
        }
        // Room for a completion of each operation that takes a slot, and for as many of sockets.
        let completions = (config.slots * 2).max(config.entries * 4).next_power_of_two();
        let kernel = Kernel::new(config.entries, completions, &config.worker_cpus)?;
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let provided = Provided::new(&kernel, config.provided_buffers, config.provided_buffer_bytes)?;
        let places = if kernel.has_fixed_files() { FIXED_FILES_MAX } else { 0 };
        let core = Self {
            kernel: RefCell::new(kernel),
            receive_bytes_max: Cell::new(provided.arrival_bytes_max()),
            provided,
            table: RefCell::new(Table::new(config.slots)),
            backlog: RefCell::new(VecDeque::with_capacity(config.entries as usize)),
            completions: RefCell::new(Vec::with_capacity(completions as usize)),
            starved: RefCell::default(),
            fixed_files: RefCell::new((0..places).rev().collect()),
            messages: RefCell::default(),
            times: RefCell::default(),
            outstanding: Cell::new(0),
            closing: Cell::new(false),
            drained: Event::new(),
            deliveries: std::cell::OnceCell::new(),
            pump: Pump::default(),
            signal: Arc::new(signal),
            hears: Cell::new(false),
            listening: Cell::new(0),
            signalled: Event::new(),
            times_enters: Cell::new(false),
            counters: RingCounters::default(),
        };
        // io_uring_setup, eventfd, and five registrations.
        core.counters.system_calls.add(7);
        Ok(Rc::new(core))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.get()
    }

    /// Whether the signal may come: a completion, or a bell.
    pub(crate) fn awaits_signal(&self) -> bool {
        self.outstanding.get() > 0 || self.listening.get() > 0
    }

    /// Takes an operation in: it is pushed now, or waits in line for a slot.
    pub(crate) fn start<T>(self: &Rc<Self>, prepared: Prepared) -> Op<T> {
        match self.submit(prepared) {
            Some(id) => Op::running(self.clone(), id),
            None => Op::failed(io::Error::new(io::ErrorKind::BrokenPipe, "the ring is shutting down")),
        }
    }

    /// As `start`, for an operation without a future of its own. `None`: the ring is shutting down.
    pub(crate) fn submit(&self, prepared: Prepared) -> Option<Id> {
        if let Target::Socket(socket) = &prepared.target {
            socket.begin(&prepared.kind);
        }
        if self.closing.get() {
            let Prepared { held, target, kind, .. } = prepared;
            self.let_go(Released { held, target, kind }, -libc::ECANCELED);
            return None;
        }
        let (id, submission) = self.table.borrow_mut().insert(prepared);
        match submission {
            Some(submission) => self.push(submission),
            None => self.counters.slot_waits.add(1),
        }
        Some(id)
    }

    /// Asks the kernel to end an operation early.
    pub(crate) fn cancel(&self, id: Id) {
        self.push(Submission::cancel(id.user_data(), CANCELLATION));
    }

    /// Asks the kernel to end all operations on a socket early.
    pub(crate) fn cancel_on(&self, socket: &crate::RingSocket) {
        self.push(Submission::cancel_on(socket.raw(), CANCELLATION));
    }

    /// Somebody waits at a doorbell from now on.
    pub(crate) fn begin_listening(&self) {
        self.listening.set(self.listening.get() + 1);
        if self.hears.replace(true) {
            self.pump.kick();
        } else {
            self.put(Submission::poll_all(self.signal.as_raw_fd(), BELL));
        }
    }

    /// One of those who wait at doorbells waits no more.
    pub(crate) fn end_listening(&self) {
        self.listening.set(self.listening.get() - 1);
    }

    fn push(&self, submission: Submission) {
        self.outstanding.set(self.outstanding.get() + 1);
        self.put(submission);
    }

    fn put(&self, submission: Submission) {
        let mut backlog = self.backlog.borrow_mut();
        if !backlog.is_empty() || !self.kernel.borrow_mut().push(&submission) {
            self.counters.queue_waits.add(1);
            backlog.push_back(submission);
        }
        self.pump.kick();
    }

    /// One enter: submits all that was pushed, runs what the kernel deferred, and completes. `sleep`: not before
    /// something has completed.
    pub(crate) fn turn(&self, sleep: bool) {
        let mut completions = self.completions.take();
        {
            let mut kernel = self.kernel.borrow_mut();
            let mut backlog = self.backlog.borrow_mut();
            while let Some(submission) = backlog.front() {
                if !kernel.push(submission) {
                    break;
                }
                backlog.pop_front();
            }
            if kernel.overflowed() {
                self.counters.overflows.add(1);
            }
            if self.times_enters.get() {
                // A sleep is no work: what is timed is an enter of its own.
                let start = Instant::now();
                self.enter(&mut kernel, false);
                self.counters.enter_ns.add(start.elapsed().as_nanos() as u64);
                kernel.reap(&mut completions);
            }
            if !self.times_enters.get() || (sleep && completions.is_empty()) {
                self.counters.sleeps.add(u64::from(sleep));
                self.enter(&mut kernel, sleep);
                kernel.reap(&mut completions);
            }
        }
        self.counters.completions.add(completions.len() as u64);
        completions.drain(..).for_each(|completion| self.complete(completion));
        self.completions.replace(completions);
        while let Some(submission) = { self.table.borrow_mut().promote() } {
            self.push(submission);
        }
        if self.outstanding.get() == 0 {
            self.drained.notify_all();
        }
    }

    fn enter(&self, kernel: &mut Kernel, sleep: bool) {
        self.count(&self.counters.enters);
        // What is left are errors of this code (a closed or foreign ring, a bad flag), never of the load.
        match kernel.enter(sleep).expect("io_uring_enter on the shard's own ring") {
            Entered::Submitted(entries) => self.counters.entries.add(entries as u64),
            Entered::Again | Entered::Busy => self.counters.enter_retries.add(1),
        }
    }

    /// Whether an enter would bring completions.
    pub(crate) fn has_arrivals(&self) -> bool {
        self.kernel.borrow_mut().has_arrivals()
    }

    /// Whether entries wait for the next enter.
    pub(crate) fn has_unsubmitted(&self) -> bool {
        self.kernel.borrow_mut().unsubmitted() > 0 || !self.backlog.borrow().is_empty()
    }

    fn complete(&self, Completion { user_data, result, flags }: Completion) {
        let more = cqueue::more(flags);
        if user_data == BELL {
            // The kernel ends such a poll when the completion queue is full. The new one completes at once if a bell
            // has rung meanwhile.
            if !more {
                self.put(Submission::poll_all(self.signal.as_raw_fd(), BELL));
            }
            self.signalled.notify_all();
            return;
        }
        if !more {
            self.outstanding.set(self.outstanding.get() - 1);
        }
        if user_data == CANCELLATION {
            return;
        }
        let id = Id::from_user_data(user_data);
        let mut table = self.table.borrow_mut();
        let record = table.record(id);
        if let Kind::Receive(stream) = &record.kind {
            let stream = stream.clone();
            let released = (!more).then(|| {
                table.finish(id, result);
                table.release(id)
            });
            drop(table);
            stream.arrived(self, result, cqueue::buffer_select(flags));
            if let Some(released) = released {
                self.let_go(released, result);
                stream.ended(self, result);
            }
            return;
        }
        assert!(!more, "only a receive completes more than once");
        let (waker, orphan) = (record.waker.take(), record.orphan);
        table.finish(id, result);
        if orphan {
            let released = table.release(id);
            drop(table);
            self.let_go(released, result);
        } else {
            // What the operation owned goes at once, but for what its future takes back; the future may not be polled
            // for long.
            let record = table.record(id);
            let target = std::mem::replace(&mut record.target, Target::Nothing);
            match &record.kind {
                Kind::Read => {
                    let Held::Block(block) = std::mem::replace(&mut record.held, Held::Nothing) else {
                        unreachable!("a read owns a block")
                    };
                    (record.kind, record.held) = (Kind::Finite, Held::Nothing);
                    drop(table);
                    block.end_fill(result.max(0) as usize);
                    drop(block);
                }
                Kind::Send => {
                    record.kind = Kind::Finite;
                    drop(table);
                    self.sent(&target, result);
                }
                _ => {
                    if matches!(record.held, Held::Slice { .. }) {
                        let held = std::mem::replace(&mut record.held, Held::Nothing);
                        drop(table);
                        drop(held);
                    } else {
                        drop(table);
                    }
                }
            }
            if let Target::Socket(socket) = &target {
                socket.end();
            }
            drop(target);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn sent(&self, target: &Target, result: i32) {
        self.counters.send_bytes.add(result.max(0) as u64);
        if let Target::Socket(socket) = target {
            socket.set_writing(false);
        }
    }

    /// Gives up what an operation owned that nobody asks about any more. `result`: the kernel's answer.
    fn let_go(&self, Released { held, target, kind }: Released, result: i32) {
        match (kind, held) {
            (Kind::Read, Held::Block(block)) => block.end_fill(result.max(0) as usize),
            (Kind::Accept, _) if result >= 0 => drop(returned(result)),
            (Kind::Send, held) => {
                self.sent(&target, result);
                self.keep(held);
            }
            (_, held) => self.keep(held),
        }
        if let Target::Socket(socket) = &target {
            socket.end();
        }
    }

    /// Puts what can be reused aside.
    pub(crate) fn keep(&self, held: Held) {
        match held {
            Held::Message(mut message) => {
                drop(message.with(Message::take_parts));
                self.messages.borrow_mut().push(message);
            }
            Held::Time(time) => self.times.borrow_mut().push(time),
            Held::Nothing | Held::Slice { .. } | Held::Block(_) | Held::Buffer(_) => {}
        }
    }

    /// The result of an operation, with what it still owns, if it has completed; else `waker` is woken when it has.
    pub(crate) fn result(&self, id: Id, waker: &std::task::Waker) -> Option<(i32, Held)> {
        let mut table = self.table.borrow_mut();
        let record = table.record(id);
        if let State::Done(result) = record.state {
            let released = table.release(id);
            return Some((result, released.held));
        }
        match &mut record.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        None
    }

    /// The operation's future is gone.
    pub(crate) fn abandon(&self, id: Id) {
        let mut table = self.table.borrow_mut();
        let record = table.record(id);
        if let State::Done(result) = record.state {
            let released = table.release(id);
            drop(table);
            return self.let_go(released, result);
        }
        record.orphan = true;
        record.waker = None;
        let cancel = matches!(record.kind, Kind::Endless | Kind::Accept);
        drop(table);
        self.counters.orphans.add(1);
        if cancel {
            self.cancel(id);
        }
    }

    /// Operations that hold a slot, and operations in line for one.
    pub(crate) fn slots(&self) -> (u32, usize) {
        let table = self.table.borrow();
        (table.slots_used(), table.waiting())
    }

    /// Ends the ring's life: nothing new is taken, what may never end is cancelled, the rest is awaited.
    pub(crate) async fn drain(&self) {
        self.closing.set(true);
        self.end_starved(None);
        self.signalled.notify_all();
        let mut place = 0;
        while let Some(id) = { self.table.borrow().next_to_cancel(place) } {
            self.cancel(id);
            place = id.place + 1;
        }
        loop {
            let drained = self.drained.wait();
            if self.outstanding.get() == 0 && self.slots() == (0, 0) {
                break;
            }
            drained.await;
        }
    }

    /// Registers a slab's blocks with the kernel; how many.
    pub(crate) fn register_slab(&self, slab: &crate::Slab) -> usize {
        let (calls, blocks) = self.kernel.borrow_mut().register_slab(slab);
        self.counters.system_calls.add(calls);
        blocks
    }

    /// A place in the table of fixed files, if there is one left.
    pub(crate) fn fix_file(&self, file: &std::fs::File) -> Option<u32> {
        let place = self.fixed_files.borrow_mut().pop()?;
        self.counters.system_calls.add(1);
        let fixed = self.kernel.borrow().set_fixed(place, Some(file));
        if fixed.is_err() {
            self.fixed_files.borrow_mut().push(place);
        }
        fixed.ok().map(|()| place)
    }

    /// Gives a place in the table of fixed files back.
    pub(crate) fn unfix_file(&self, place: u32) {
        self.counters.system_calls.add(1);
        // If this fails, the place stays taken and the file open until the ring is gone.
        if self.kernel.borrow().set_fixed(place, None).is_ok() {
            self.fixed_files.borrow_mut().push(place);
        }
    }

    /// Counts one system call, under its own name too.
    pub(crate) fn count(&self, name: &Count) {
        name.add(1);
        self.counters.system_calls.add(1);
    }
}
