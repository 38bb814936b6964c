//! Both ends of loopback connections, each a plain loop on a bare ring without a runtime: the fastest server and the fastest client
//! that we can write, for a ceiling is no higher than its client. `unsafe` lives here because the kernel is handed addresses.

use super::{ceilings::Sample, clock::Latencies};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use memmap2::MmapMut;
use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// Bytes of a request.
pub const REQUEST_BYTES: usize = 1_100;
/// Bytes of an answer.
pub const ANSWER_BYTES: usize = 60;
/// Requests of one connection that a server answers with one send.
pub const ANSWERS_MAX: usize = 64;
/// The group of provided buffers.
const GROUP: u16 = 1;
/// In `user_data`: this is a send; else it is a receive. The rest is the connection's number.
const SEND: u64 = 1 << 32;
/// The longest sleep of a turn.
const TURN_MAX: Duration = Duration::from_millis(50);
/// The peer is gone: what ends a loop, and no failure of it.
const GONE: [i32; 3] = [libc::EPIPE, libc::ECONNRESET, libc::ECANCELED];

static ANSWERS: [u8; ANSWER_BYTES * ANSWERS_MAX] = [7; ANSWER_BYTES * ANSWERS_MAX];
static REQUEST: [u8; REQUEST_BYTES] = [9; REQUEST_BYTES];

/// A completion.
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// A ring with provided buffers, and the connections on it. The ring goes first, and only when no receive is armed.
struct Bare {
    uring: IoUring,
    queue: MmapMut,
    memory: MmapMut,
    entries: u16,
    each: usize,
    tail: u16,
    sockets: Vec<TcpStream>,
    /// Receives and sends that have not ended.
    inflight: usize,
}

impl Bare {
    /// `entries` buffers (a power of two) of `each` bytes.
    fn new(sockets: Vec<TcpStream>, entries: u16, each: usize) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4_096);
        let uring = builder.build(1_024)?;
        let mut queue = MmapMut::map_anon(usize::from(entries) * size_of::<types::BufRingEntry>())?;
        let mut memory = MmapMut::map_anon(usize::from(entries) * each)?;
        memory.fill(0);
        // SAFETY: the queue is page-aligned, as long as `entries` entries, and goes after the ring.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(queue.as_mut_ptr() as u64, entries, GROUP, 0)?;
        }
        let mut bare = Self { uring, queue, memory, entries, each, tail: 0, sockets, inflight: 0 };
        (0..entries).for_each(|buffer| bare.give_back(buffer));
        Ok(bare)
    }

    fn give_back(&mut self, buffer: u16) {
        let place = self.memory[usize::from(buffer) * self.each..].as_mut_ptr();
        let queue: *mut types::BufRingEntry = self.queue.as_mut_ptr().cast();
        // SAFETY: the index is masked to the queue; the tail stands in the first entry.
        unsafe {
            let entry = &mut *queue.add(usize::from(self.tail & (self.entries - 1)));
            entry.set_addr(place as u64);
            entry.set_len(self.each as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            (*types::BufRingEntry::tail(queue).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }

    fn descriptor(&self, number: usize) -> types::Fd {
        types::Fd(self.sockets[number].as_raw_fd())
    }

    /// The entry points to nothing, to a static, or to memory that its caller keeps until its completion.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: by the line above; the descriptor is of a socket that this value owns.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.uring.submit()?;
        }
        self.inflight += 1;
        Ok(())
    }

    fn arm(&mut self, number: usize) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(self.descriptor(number), GROUP).build().user_data(number as u64);
        self.push(&entry)
    }

    fn send(&mut self, number: usize, bytes: &'static [u8]) -> io::Result<()> {
        let entry = opcode::Send::new(self.descriptor(number), bytes.as_ptr(), bytes.len() as u32);
        self.push(&entry.flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build().user_data(SEND | number as u64))
    }

    /// Submits, waits for a completion for a while, and takes what has come.
    fn turn(&mut self, into: &mut Vec<Completion>) -> io::Result<()> {
        let limit = types::Timespec::from(TURN_MAX);
        match self.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&limit)) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                return Err(error);
            }
            _ => {}
        }
        let already = into.len();
        into.extend(self.uring.completion().map(|done| Completion {
            user_data: done.user_data(),
            result: done.result(),
            flags: done.flags(),
        }));
        self.inflight -= into[already..].iter().filter(|done| !cqueue::more(done.flags)).count();
        Ok(())
    }

    /// A receive's completion: the bytes that came, after giving the buffer back and arming again if need be. `None`: the end.
    fn received(&mut self, number: usize, done: &Completion) -> io::Result<Option<usize>> {
        if let Some(buffer) = cqueue::buffer_select(done.flags) {
            self.give_back(buffer);
        }
        let starved = done.result == -libc::ENOBUFS;
        if !starved && done.result <= 0 {
            return if done.result == 0 || GONE.contains(&-done.result) { Ok(None) } else { Err(error(done.result)) };
        }
        if !cqueue::more(done.flags) {
            self.arm(number)?;
        }
        Ok(Some(done.result.max(0) as usize))
    }
}

impl Drop for Bare {
    /// Ends every operation by shutting the sockets down, and waits for that: the kernel may use the buffers until then.
    fn drop(&mut self) {
        for socket in &self.sockets {
            // An error means that it is no longer connected, which ends the receive as well.
            socket.shutdown(Shutdown::Both).ok();
        }
        let mut batch = Vec::new();
        while self.inflight > 0 {
            batch.clear();
            if self.turn(&mut batch).is_err() {
                // Without the ring nothing says when the kernel is done: better to lose the memory than to free it.
                for memory in [&mut self.queue, &mut self.memory] {
                    if let Ok(empty) = MmapMut::map_anon(1) {
                        std::mem::forget(std::mem::replace(memory, empty));
                    }
                }
                return;
            }
        }
    }
}

fn error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}

/// What comes in a window after a warm-up. A machine may pause for longer than both, so the window is as long after its own start as
/// it is meant to be, and stays open until something has come.
struct Counted {
    warm: Instant,
    window: Duration,
    from: Option<Instant>,
    count: u64,
}

impl Counted {
    fn new(warm_up: Duration, window: Duration) -> Self {
        Self { warm: Instant::now() + warm_up, window, from: None, count: 0 }
    }

    /// The rate a second, once the window is over. To be asked before what came with a turn is counted.
    fn finished(&mut self, now: Instant) -> Option<f64> {
        match self.from {
            None if now > self.warm => (self.from, self.count) = (Some(now), 0),
            Some(from) if self.count > 0 && now - from > self.window => {
                return Some(self.count as f64 / (now - from).as_secs_f64());
            }
            _ => {}
        }
        None
    }
}

/// Answers until all peers have gone.
///
/// # Errors
/// There is no ring, or a connection fails.
pub fn serve(sockets: Vec<TcpStream>) -> io::Result<()> {
    #[derive(Clone, Default)]
    struct Connection {
        received: usize,
        owed: usize,
        sending: bool,
    }
    let mut open = sockets.len();
    let mut connections = vec![Connection::default(); open];
    let mut bare = Bare::new(sockets, 256, 16 << 10)?;
    (0..open).try_for_each(|number| bare.arm(number))?;
    let mut batch = Vec::new();
    while open > 0 {
        bare.turn(&mut batch)?;
        for done in batch.drain(..) {
            let number = (done.user_data & !SEND) as usize;
            let connection = &mut connections[number];
            if done.user_data & SEND != 0 {
                connection.sending = false;
                if done.result < 0 {
                    // The receive will tell that the peer is gone.
                    connection.owed = 0;
                }
            } else {
                match bare.received(number, &done)? {
                    Some(bytes) => connection.received += bytes,
                    None => open -= 1,
                }
                connection.owed += connection.received / REQUEST_BYTES;
                connection.received %= REQUEST_BYTES;
            }
            if !connection.sending && connection.owed > 0 {
                let answers = connection.owed.min(ANSWERS_MAX);
                connection.owed -= answers;
                connection.sending = true;
                bare.send(number, &ANSWERS[..answers * ANSWER_BYTES])?;
            }
        }
    }
    Ok(())
}

/// Asks on each socket, the next request when the answer has come: answers a second, and over one connection their latency.
///
/// # Errors
/// There is no ring, or a connection fails.
pub fn ask(sockets: Vec<TcpStream>, warm_up: Duration, window: Duration) -> io::Result<Sample> {
    let connections = sockets.len();
    let mut bare = Bare::new(sockets, 1_024, 4_096)?;
    for number in 0..connections {
        bare.arm(number)?;
        bare.send(number, &REQUEST)?;
    }
    let mut received = vec![0; connections];
    let (mut batch, mut latencies) = (Vec::new(), Latencies::default());
    let (mut answers, mut last) = (Counted::new(warm_up, window), Instant::now());
    loop {
        bare.turn(&mut batch)?;
        let now = Instant::now();
        if let Some(per_s) = answers.finished(now) {
            return Ok(Sample { per_s, p50_ns: latencies.median_ns().filter(|_| connections == 1) });
        }
        for done in batch.drain(..) {
            let number = (done.user_data & !SEND) as usize;
            if done.user_data & SEND != 0 {
                if done.result < 0 {
                    return Err(error(done.result));
                }
                continue;
            }
            received[number] += bare.received(number, &done)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            while received[number] >= ANSWER_BYTES {
                received[number] -= ANSWER_BYTES;
                answers.count += 1;
                latencies.record(now - last);
                last = now;
                bare.send(number, &REQUEST)?;
            }
        }
    }
}

/// Receives whatever comes, copied into buffers of 64 KiB: bytes a second.
///
/// # Errors
/// There is no ring, the connection fails or ends.
pub fn receive(socket: TcpStream, warm_up: Duration, window: Duration) -> io::Result<f64> {
    let mut bare = Bare::new(vec![socket], 64, 64 << 10)?;
    bare.arm(0)?;
    let (mut batch, mut bytes) = (Vec::new(), Counted::new(warm_up, window));
    loop {
        bare.turn(&mut batch)?;
        if let Some(per_s) = bytes.finished(Instant::now()) {
            return Ok(per_s);
        }
        for done in batch.drain(..) {
            bytes.count += bare.received(0, &done)?.ok_or(io::ErrorKind::UnexpectedEof)? as u64;
        }
    }
}

/// Receives `wanted` bytes, copied into buffers of 64 KiB: bytes a second.
///
/// # Errors
/// There is no ring, the connection fails or ends.
pub fn receive_bytes(socket: TcpStream, wanted: u64) -> io::Result<f64> {
    let mut bare = Bare::new(vec![socket], 64, 64 << 10)?;
    let begun = Instant::now();
    bare.arm(0)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < wanted {
        bare.turn(&mut batch)?;
        for done in batch.drain(..) {
            bytes += bare.received(0, &done)?.ok_or(io::ErrorKind::UnexpectedEof)? as u64;
        }
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

/// Sends `memory` over and over, a block of at most `block_bytes` at a time, until the peer has gone; with `zero_copy` as a registered buffer
/// by SEND_ZC.
///
/// # Errors
/// There is no ring, too little memory may be locked, or the connection fails.
pub fn send(socket: &TcpStream, memory: &[u8], block_bytes: usize, zero_copy: bool) -> io::Result<()> {
    let mut uring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8)?;
    let descriptor: RawFd = socket.as_raw_fd();
    if zero_copy {
        let whole = [libc::iovec { iov_base: memory.as_ptr().cast_mut().cast(), iov_len: memory.len() }];
        // SAFETY: the memory is borrowed until after the ring is gone, and the kernel only reads it.
        unsafe { uring.submitter().register_buffers(&whole) }?;
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
    let mut blocks = memory.chunks(block_bytes).cycle();
    let entry = |block: &[u8]| {
        let (address, bytes) = (block.as_ptr(), block.len() as u32);
        if zero_copy {
            opcode::SendZc::new(types::Fd(descriptor), address, bytes).buf_index(Some(0)).flags(flags).build()
        } else {
            opcode::Send::new(types::Fd(descriptor), address, bytes).flags(flags).build()
        }
    };
    // Sends and notifications that have not come back.
    let (mut inflight, mut gone, mut failed) = (0_usize, false, None);
    loop {
        if !gone && inflight == 0 {
            let next = entry(blocks.next().expect("there is memory to send"));
            // SAFETY: the memory outlives the operation: this function does not return while one is in flight.
            unsafe { uring.submission().push(&next) }.expect("an empty ring of eight entries takes one");
            inflight += 1;
        }
        if inflight == 0 {
            return failed.map_or(Ok(()), Err);
        }
        match uring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
        for done in uring.completion() {
            inflight -= 1;
            // A zero-copy send has a second completion, when the memory is free again. The next send waits for it: one in flight.
            inflight += usize::from(cqueue::more(done.flags()));
            if done.result() < 0 && !cqueue::notif(done.flags()) {
                gone = true;
                failed = (!GONE.contains(&-done.result())).then(|| error(done.result()));
            }
        }
    }
}
