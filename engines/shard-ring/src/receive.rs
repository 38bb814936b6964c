//! Multishot receives: one entry, a completion for each arrival, each in a provided buffer.

use crate::{Ring, RingSocket, core::Core, prepared::Prepared, provided::GROUP, table::Id};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    ops::Deref,
    rc::Rc,
    task::{Poll, Waker},
};

/// A socket's running receive. Dropping it cancels it, and what has arrived and was not taken is lost.
pub struct Receive {
    core: Rc<Core>,
    /// `Err`: the socket has a receive already.
    stream: Result<Rc<Stream>, io::ErrorKind>,
}

/// What the completions of a receive find.
pub(crate) struct Stream {
    socket: RingSocket,
    arrivals: RefCell<VecDeque<Arrival>>,
    armed: Cell<Option<Id>>,
    /// Why it is not armed, or is about to be not.
    rest: Cell<Rest>,
    waker: RefCell<Option<Waker>>,
    abandoned: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It is armed, or will be at once.
    No,
    /// Its consumer is behind.
    Full,
    /// The kernel had no buffer.
    Starved,
    /// The peer has ended the stream.
    Eof,
    /// It failed with this error number; `ECANCELED`: closed on our side.
    Failed(i32),
}

#[derive(Clone, Copy)]
struct Arrival {
    buffer: u16,
    bytes: u32,
}

impl Stream {
    pub(crate) fn socket(&self) -> &RingSocket {
        &self.socket
    }

    fn arm(self: &Rc<Self>, core: &Core) {
        assert!(self.armed.get().is_none(), "a receive is armed twice");
        if self.socket.is_closing() {
            return self.rest.set(Rest::Failed(libc::ECANCELED));
        }
        self.rest.set(Rest::No);
        match core.submit(Prepared::receive(self, GROUP, core.receive_bytes_max.get())) {
            Some(id) => {
                core.counters.receives_armed.add(1);
                self.armed.set(Some(id));
            }
            None => self.rest.set(Rest::Failed(libc::ECANCELED)),
        }
    }

    /// A completion.
    pub(crate) fn arrived(&self, core: &Core, result: i32, buffer: Option<u16>) {
        if let Some(buffer) = buffer {
            core.provided.take();
            if result > 0 && !self.abandoned.get() {
                core.counters.received_bytes.add(result as u64);
                self.arrivals.borrow_mut().push_back(Arrival { buffer, bytes: result as u32 });
            } else {
                core.give_back(buffer);
            }
        }
        if result > 0 && self.rest.get() == Rest::No && self.arrivals.borrow().len() >= core.provided.arrivals_max() {
            self.rest.set(Rest::Full);
            if let Some(id) = self.armed.get() {
                core.cancel(id);
            }
        }
        self.wake();
    }

    /// The last completion: the kernel has let go of the receive.
    pub(crate) fn ended(self: &Rc<Self>, core: &Core, result: i32) {
        self.armed.set(None);
        if self.abandoned.get() {
            return self.socket.set_receiving(false);
        }
        match -result {
            0 => self.rest.set(Rest::Eof),
            _ if self.socket.is_closing() => self.rest.set(Rest::Failed(libc::ECANCELED)),
            libc::ENOBUFS => {
                core.counters.buffer_waits.add(1);
                if core.provided.all_held() {
                    self.rest.set(Rest::Starved);
                    core.starved.borrow_mut().push_back(self.clone());
                } else {
                    self.arm_unless_full(core);
                }
            }
            libc::ECANCELED if self.rest.get() == Rest::Full => self.arm_unless_full(core),
            libc::EINTR | libc::EAGAIN => self.arm_unless_full(core),
            // A kernel before 6.17 knows no limit: do without, and rely on the cancellation alone.
            libc::EINVAL if core.receive_bytes_max.take() > 0 => self.arm_unless_full(core),
            // Data in the last completion: the limit, or a reason of the kernel's own.
            _ if result > 0 => self.arm_unless_full(core),
            error => self.rest.set(Rest::Failed(error)),
        }
        self.wake();
    }

    /// Arms again, or leaves that to the consumer if it is behind.
    fn arm_unless_full(self: &Rc<Self>, core: &Core) {
        if self.arrivals.borrow().len() > core.provided.arrivals_max() / 2 {
            self.rest.set(Rest::Full);
        } else {
            self.arm(core);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Core {
    /// A provided buffer is free again.
    pub(crate) fn give_back(&self, buffer: u16) {
        self.provided.give_back(buffer);
        let starved = self.starved.borrow_mut().pop_front();
        if let Some(stream) = starved {
            stream.arm(self);
        }
    }

    /// Takes a receive out of the line for buffers.
    fn let_starve(&self, stream: &Rc<Stream>) {
        self.starved.borrow_mut().retain(|starved| !Rc::ptr_eq(starved, stream));
    }

    /// The socket is being closed, or the ring shuts down: ends receives that have no completion to come.
    pub(crate) fn end_starved(&self, socket: Option<&RingSocket>) {
        let mut starved = self.starved.take();
        starved.retain(|stream| {
            let ends = socket.is_none_or(|socket| socket.is(&stream.socket));
            if ends {
                stream.rest.set(Rest::Failed(libc::ECANCELED));
                stream.wake();
            }
            !ends
        });
        self.starved.borrow_mut().append(&mut starved);
    }
}

impl Ring {
    /// Starts to receive. The kernel picks a provided buffer for each arrival; one that finds none arms itself again
    /// when one comes back. A socket has one receive at a time: the first `next` of a second one fails with
    /// `ResourceBusy`.
    ///
    /// A consumer that is behind by an eighth of the ring's buffers (but at least four arrivals) stops its receive
    /// until it has taken half of them; then the socket's own buffer fills, and the peer waits. Two limits hold that:
    /// the kernel itself ends a receive after as many bytes as fit into so many buffers (since Linux 6.17), for it
    /// cannot be cancelled while data keeps coming; and a cancellation stops one with many small arrivals. So one
    /// connection holds at most about twice that.
    pub fn receive(&self, socket: &RingSocket) -> Receive {
        let core = self.core().clone();
        if socket.is_closing() {
            return Receive { core, stream: Err(io::ErrorKind::NotConnected) };
        }
        if socket.is_receiving() {
            return Receive { core, stream: Err(io::ErrorKind::ResourceBusy) };
        }
        socket.set_receiving(true);
        let stream = Rc::new(Stream {
            socket: socket.clone(),
            arrivals: RefCell::default(),
            armed: Cell::new(None),
            rest: Cell::new(Rest::No),
            waker: RefCell::new(None),
            abandoned: Cell::new(false),
        });
        stream.arm(&core);
        Receive { core, stream: Ok(stream) }
    }
}

impl Receive {
    /// The next bytes to have arrived: as many as one completion brought. `None`: the peer has ended its stream. Take
    /// what is a part of a request out of the buffer at once, and drop it: the buffers are few, and shared by all
    /// connections.
    ///
    /// # Errors
    /// The system's error, after what arrived before it; `ECANCELED` after the socket was closed on this side.
    pub async fn next(&mut self) -> io::Result<Option<Received>> {
        let stream = self.stream.as_ref().map_err(|kind| io::Error::from(*kind))?;
        poll_fn(|context| {
            let arrival = stream.arrivals.borrow_mut().pop_front();
            if let Some(Arrival { buffer, bytes }) = arrival {
                let behind = stream.rest.get() == Rest::Full && stream.armed.get().is_none();
                if behind && stream.arrivals.borrow().len() <= self.core.provided.arrivals_max() / 2 {
                    stream.arm(&self.core);
                }
                return Poll::Ready(Ok(Some(Received { core: self.core.clone(), buffer, bytes })));
            }
            match stream.rest.get() {
                Rest::Eof => Poll::Ready(Ok(None)),
                Rest::Failed(error) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                Rest::No | Rest::Full | Rest::Starved => {
                    *stream.waker.borrow_mut() = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        let Ok(stream) = &self.stream else { return };
        stream.abandoned.set(true);
        let arrivals = stream.arrivals.take();
        match stream.armed.get() {
            Some(id) => self.core.cancel(id),
            None => {
                self.core.let_starve(stream);
                stream.socket.set_receiving(false);
            }
        }
        arrivals.iter().for_each(|arrival| self.core.give_back(arrival.buffer));
    }
}

impl fmt::Debug for Receive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Ok(stream) => {
                write!(formatter, "Receive({} arrivals, {:?})", stream.arrivals.borrow().len(), stream.rest.get())
            }
            Err(kind) => write!(formatter, "Receive({kind})"),
        }
    }
}

/// Bytes that have arrived, where the kernel put them. The buffer goes back to the kernel on drop.
pub struct Received {
    core: Rc<Core>,
    buffer: u16,
    bytes: u32,
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.core.provided.bytes(self.buffer, self.bytes)
    }
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.core.give_back(self.buffer);
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Received({} bytes)", self.bytes)
    }
}
