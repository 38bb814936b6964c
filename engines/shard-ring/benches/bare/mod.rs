//! An echo server and the fastest client that we can write, each a plain loop on a bare ring without a runtime: what
//! the shard's ring is measured against, and with.

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::{
    net::TcpStream,
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// Bytes of a request.
pub(crate) const REQUEST_BYTES: usize = 1_100;
/// Bytes of an answer.
pub(crate) const ANSWER_BYTES: usize = 60;
/// Requests of one connection that a server answers with one send.
pub(crate) const ANSWERS_MAX: usize = 64;
/// The group of provided buffers.
const GROUP: u16 = 1;
/// In `user_data`: this is a send; else it is a receive. The rest is the connection's number.
const SEND: u64 = 1 << 32;

static ANSWERS: [u8; ANSWER_BYTES * ANSWERS_MAX] = [7; ANSWER_BYTES * ANSWERS_MAX];
static REQUEST: [u8; REQUEST_BYTES] = [9; REQUEST_BYTES];

/// A ring with provided buffers. The buffers live as long as the process: a benchmark makes few of them.
struct Bare {
    uring: IoUring,
    memory: *mut u8,
    queue: *mut types::BufRingEntry,
    entries: u16,
    each: usize,
    tail: u16,
}

impl Bare {
    fn new(entries: u16, each: usize) -> Self {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(4_096)
            .build(1_024)
            .expect("a ring");
        let map = |bytes| {
            use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
            let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::POPULATE);
            // SAFETY: a fresh private mapping.
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, rights, flags) }.expect("memory")
        };
        let queue = map(usize::from(entries) * size_of::<types::BufRingEntry>()).cast();
        let memory = map(usize::from(entries) * each).cast();
        // SAFETY: the mapping is never undone.
        unsafe { uring.submitter().register_buf_ring_with_flags(queue as u64, entries, GROUP, 0) }.expect("buffers");
        let mut bare = Bare { uring, memory, queue, entries, each, tail: 0 };
        (0..entries).for_each(|buffer| bare.give_back(buffer));
        bare
    }

    fn give_back(&mut self, buffer: u16) {
        // SAFETY: the index is masked to the queue, the buffer number comes from it; the tail stands in the first
        // entry.
        unsafe {
            let entry = &mut *self.queue.add(usize::from(self.tail & (self.entries - 1)));
            entry.set_addr(self.memory.add(usize::from(buffer) * self.each) as u64);
            entry.set_len(self.each as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            (*types::BufRingEntry::tail(self.queue).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: entries point to statics only, and name descriptors that stay open.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit().expect("a submission");
        }
    }

    fn receive(&mut self, socket: RawFd, number: usize) {
        self.push(opcode::RecvMulti::new(types::Fd(socket), GROUP).build().user_data(number as u64));
    }

    fn send(&mut self, socket: RawFd, number: usize, bytes: &'static [u8]) {
        let entry = opcode::Send::new(types::Fd(socket), bytes.as_ptr(), bytes.len() as u32);
        self.push(entry.build().user_data(SEND | number as u64));
    }

    /// Submits, waits for a completion for at most 50 ms, and takes what has come.
    fn turn(&mut self, into: &mut Vec<(u64, i32, u32)>) {
        let limit = types::Timespec::new().nsec(50_000_000);
        let _ = self.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&limit));
        into.extend(self.uring.completion().map(|done| (done.user_data(), done.result(), done.flags())));
    }

    /// A receive's completion: the bytes that came, after giving the buffer back and arming again if need be.
    fn received(&mut self, socket: RawFd, number: usize, result: i32, flags: u32) -> usize {
        if let Some(buffer) = cqueue::buffer_select(flags) {
            self.give_back(buffer);
        }
        if !cqueue::more(flags) && (result > 0 || result == -libc::ENOBUFS) {
            self.receive(socket, number);
        }
        result.max(0) as usize
    }
}

/// Answers until all peers have gone.
pub(crate) fn serve(sockets: Vec<TcpStream>) {
    #[derive(Clone, Default)]
    struct Connection {
        received: usize,
        owed: usize,
        sending: usize,
    }
    let mut bare = Bare::new(256, 16 << 10);
    let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let mut connections = vec![Connection::default(); sockets.len()];
    for (number, socket) in descriptors.iter().enumerate() {
        bare.receive(*socket, number);
    }
    let (mut open, mut batch) = (sockets.len(), Vec::new());
    while open > 0 {
        bare.turn(&mut batch);
        for (user_data, result, flags) in batch.drain(..) {
            let number = (user_data & !SEND) as usize;
            let connection = &mut connections[number];
            if user_data & SEND != 0 {
                connection.sending -= result.max(0) as usize;
                assert!(result < 0 || connection.sending == 0, "answers this small are sent whole");
                connection.sending = 0;
            } else {
                connection.received += bare.received(descriptors[number], number, result, flags);
                connection.owed += connection.received / REQUEST_BYTES;
                connection.received %= REQUEST_BYTES;
                open -= usize::from(result == 0 || (result < 0 && result != -libc::ENOBUFS));
            }
            if connection.sending == 0 && connection.owed > 0 {
                let answers = connection.owed.min(ANSWERS_MAX);
                connection.owed -= answers;
                connection.sending = answers * ANSWER_BYTES;
                bare.send(descriptors[number], number, &ANSWERS[..answers * ANSWER_BYTES]);
            }
        }
    }
}

/// Asks on each socket, the next request when the answer has come; answers a second.
pub(crate) fn ask(sockets: Vec<TcpStream>, warm_up: Duration, measured: Duration) -> f64 {
    let mut bare = Bare::new(1_024, 4_096);
    let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    for (number, socket) in descriptors.iter().enumerate() {
        bare.receive(*socket, number);
        bare.send(*socket, number, &REQUEST);
    }
    let mut received = vec![0; sockets.len()];
    let (mut batch, mut answers) = (Vec::new(), 0_u64);
    let begun = Instant::now();
    let mut started = None;
    loop {
        bare.turn(&mut batch);
        let elapsed = begun.elapsed();
        if started.is_none() && elapsed > warm_up {
            (started, answers) = (Some(Instant::now()), 0);
        }
        if elapsed > warm_up + measured {
            break;
        }
        for (user_data, result, flags) in batch.drain(..) {
            let number = (user_data & !SEND) as usize;
            if user_data & SEND != 0 {
                assert_eq!(result as usize, REQUEST_BYTES, "requests this small are sent whole");
                continue;
            }
            received[number] += bare.received(descriptors[number], number, result, flags);
            while received[number] >= ANSWER_BYTES {
                received[number] -= ANSWER_BYTES;
                answers += 1;
                bare.send(descriptors[number], number, &REQUEST);
            }
        }
    }
    answers as f64 / started.expect("measured longer than warmed up").elapsed().as_secs_f64()
}
