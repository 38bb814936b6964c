//! The generator's own bare ring: receives on sockets, and the one place where it sleeps.
//!
//! A receive owns its socket and its buffer until it completes: [`Sockets`] keeps both, hands out bytes only while no receive is
//! in flight, and drains before it drops.

use super::clock::now_ns;
use io_uring::{IoUring, opcode, types};
use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

/// IORING_ENTER_GETEVENTS (io_uring_enter(2)): run deferred work and look for completions.
const GET_EVENTS: u32 = 1;
/// Entries of the submission ring: one receive a socket, submitted in one go up to this many.
const ENTRIES: u32 = 256;

/// One socket and what was received from it and not yet taken.
struct Socket {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
    armed: bool,
}

/// A completed receive.
#[derive(Debug)]
pub struct Completed {
    /// Whose.
    pub socket: usize,
    /// Bytes that came; 0 when the other side has closed.
    pub result: io::Result<usize>,
    /// When it was seen, CLOCK_MONOTONIC.
    pub at_ns: u64,
}

/// Sockets on a ring. Not `Send`: the ring belongs to the thread that made it.
pub struct Sockets {
    ring: IoUring,
    sockets: Vec<Socket>,
    /// Completed and not yet asked for.
    completed: VecDeque<Completed>,
    armed: usize,
    enters: u64,
    received_bytes: u64,
}

impl Sockets {
    /// A ring without sockets.
    ///
    /// # Errors
    /// The system refuses a ring.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(4 * ENTRIES)
            .build(ENTRIES)?;
        Ok(Self { ring, sockets: Vec::new(), completed: VecDeque::new(), armed: 0, enters: 0, received_bytes: 0 })
    }

    /// Adds a connected socket with a buffer of its own; returns its number.
    pub fn add(&mut self, stream: TcpStream, buffer_bytes: usize) -> usize {
        self.sockets.push(Socket { stream, buffer: vec![0; buffer_bytes].into(), filled: 0, armed: false });
        self.sockets.len() - 1
    }

    /// Puts another connection in a socket's place; what was received and not taken is forgotten.
    ///
    /// # Panics
    /// While a receive is in flight.
    pub fn replace(&mut self, socket: usize, stream: TcpStream) {
        let slot = &mut self.sockets[socket];
        assert!(!slot.armed, "a receive owns the socket");
        slot.stream = stream;
        slot.filled = 0;
    }

    /// Asks for more bytes behind those not yet taken. Submitted at the next turn.
    ///
    /// # Errors
    /// The ring's queue is full and cannot be submitted.
    ///
    /// # Panics
    /// While a receive is in flight, or when the buffer is full: a batch does not fit it.
    pub fn arm(&mut self, socket: usize) -> io::Result<()> {
        let slot = &mut self.sockets[socket];
        assert!(!slot.armed, "one receive a socket");
        let room = &mut slot.buffer[slot.filled..];
        assert!(!room.is_empty(), "a batch is larger than the receive buffer");
        let fd = types::Fd(slot.stream.as_raw_fd());
        let entry = opcode::Recv::new(fd, room.as_mut_ptr(), room.len() as u32).build().user_data(socket as u64);
        slot.armed = true;
        self.armed += 1;
        loop {
            // SAFETY: the buffer is on the heap, lives as long as its socket, and is neither read, written nor freed while `armed` is set;
            // `drop` waits until nothing is armed.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
            self.enters += 1;
        }
    }

    /// Submits what was armed and collects completions, without waiting. Makes no system call when nothing is there to do.
    ///
    /// # Errors
    /// The ring fails.
    pub fn turn(&mut self) -> io::Result<()> {
        let submission = self.ring.submission();
        let (queued, work) = (submission.len() as u32, submission.taskrun());
        drop(submission);
        if queued > 0 || work {
            self.enters += 1;
            // SAFETY: no argument is passed, so there is nothing that must outlive the call.
            let entered = unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) };
            tolerate(entered.map(|_| ()))?;
        }
        self.collect();
        Ok(())
    }

    /// Submits what was armed and sleeps until something completes or the time is over.
    ///
    /// # Errors
    /// The ring fails.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let limit = types::Timespec::from(at_most);
        let arguments = types::SubmitArgs::new().timespec(&limit);
        self.enters += 1;
        tolerate(self.ring.submitter().submit_with_args(1, &arguments).map(|_| ()))?;
        self.collect();
        Ok(())
    }

    fn collect(&mut self) {
        let mut at_ns = 0;
        for entry in self.ring.completion() {
            if at_ns == 0 {
                at_ns = now_ns();
            }
            let socket = entry.user_data() as usize;
            let slot = &mut self.sockets[socket];
            slot.armed = false;
            self.armed -= 1;
            let result = match entry.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                bytes => Ok(bytes as usize),
            };
            if let Ok(bytes) = result {
                slot.filled += bytes;
                self.received_bytes += bytes as u64;
            }
            self.completed.push_back(Completed { socket, result, at_ns });
        }
    }

    /// The oldest completion that was not yet asked for.
    pub fn next_completed(&mut self) -> Option<Completed> {
        self.completed.pop_front()
    }

    /// What was received and not yet taken.
    ///
    /// # Panics
    /// While a receive is in flight.
    #[must_use]
    pub fn bytes(&self, socket: usize) -> &[u8] {
        let slot = &self.sockets[socket];
        assert!(!slot.armed, "a receive owns the buffer");
        &slot.buffer[..slot.filled]
    }

    /// Forgets the first `taken` bytes; the rest moves to the front.
    ///
    /// # Panics
    /// While a receive is in flight.
    pub fn take(&mut self, socket: usize, taken: usize) {
        let slot = &mut self.sockets[socket];
        assert!(!slot.armed, "a receive owns the buffer");
        slot.buffer.copy_within(taken..slot.filled, 0);
        slot.filled -= taken;
    }

    /// Sockets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// No sockets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// System calls made for the ring.
    #[must_use]
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// Bytes received.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

/// Interrupted, timed out, or busy with completions that are collected next: not failures.
fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => {
            Ok(())
        }
        other => other,
    }
}

impl Drop for Sockets {
    /// Ends every receive by shutting its socket down and waits for it: the kernel may write into a buffer until then.
    fn drop(&mut self) {
        for slot in self.sockets.iter().filter(|slot| slot.armed) {
            // An error means that it is no longer connected, which completes the receive as well.
            slot.stream.shutdown(Shutdown::Both).ok();
        }
        while self.armed > 0 {
            if self.wait(Duration::from_millis(100)).is_err() {
                // Without the ring nothing says when the kernel is done: better to lose the buffers than to free them.
                std::mem::forget(std::mem::take(&mut self.sockets));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, net::TcpListener};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn next(sockets: &mut Sockets) -> Completed {
        loop {
            if let Some(completed) = sockets.next_completed() {
                return completed;
            }
            sockets.wait(Duration::from_secs(1)).unwrap();
        }
    }

    #[test]
    fn bytes_arrive_behind_those_not_taken() {
        let mut sockets = Sockets::new().unwrap();
        let (client, mut server) = pair();
        let socket = sockets.add(client, 16);
        server.write_all(b"abcdef").unwrap();
        sockets.arm(socket).unwrap();
        assert_eq!(next(&mut sockets).result.unwrap(), 6);
        sockets.take(socket, 4);
        server.write_all(b"gh").unwrap();
        sockets.arm(socket).unwrap();
        assert_eq!(next(&mut sockets).result.unwrap(), 2);
        assert_eq!(sockets.bytes(socket), b"efgh");
        assert_eq!(sockets.received_bytes(), 8);
    }

    #[test]
    fn the_other_sides_end_is_a_receive_of_nothing() {
        let mut sockets = Sockets::new().unwrap();
        let (client, server) = pair();
        let socket = sockets.add(client, 16);
        sockets.arm(socket).unwrap();
        sockets.turn().unwrap();
        drop(server);
        assert_eq!(next(&mut sockets).result.unwrap(), 0);
        let (client, mut server) = pair();
        sockets.replace(socket, client);
        server.write_all(b"x").unwrap();
        sockets.arm(socket).unwrap();
        assert_eq!(next(&mut sockets).result.unwrap(), 1);
    }

    #[test]
    fn dropping_waits_for_receives_in_flight() {
        let mut sockets = Sockets::new().unwrap();
        let (client, server) = pair();
        let socket = sockets.add(client, 16);
        sockets.arm(socket).unwrap();
        sockets.turn().unwrap();
        drop(sockets);
        drop(server);
    }

    #[test]
    fn a_wait_ends_by_time_and_an_idle_turn_makes_no_call() {
        let mut sockets = Sockets::new().unwrap();
        sockets.wait(Duration::from_millis(1)).unwrap();
        let enters = sockets.enters();
        sockets.turn().unwrap();
        assert_eq!(sockets.enters(), enters);
    }
}
