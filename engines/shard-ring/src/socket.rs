//! Sockets on the ring: accept, send, sendfile, close.

use crate::{
    Buffer, Event, Op, Ring,
    kernel::Pinned,
    op::check,
    prepared::{Message, Prepared},
    table::{Held, Kind},
};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{Shutdown, shutdown, sockopt::set_tcp_nodelay},
};
use std::{
    cell::Cell,
    fmt,
    fs::File,
    future::poll_fn,
    io,
    net::TcpListener,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

/// Bytes of one sendfile(2) call: about 0.1 ms of copying page references, between two turns of the shard.
const SENDFILE_BYTES_MAX: u64 = 512 << 10;

/// A connected stream socket on the ring. Clones are the same socket. It has at most one receive and one writer at a
/// time, because what two writers send would mix. The last clone to go closes it; [`Ring::close`] does so in order.
#[derive(Clone)]
pub struct RingSocket(Rc<Inner>);

struct Inner {
    descriptor: OwnedFd,
    closing: Cell<bool>,
    receiving: Cell<bool>,
    writing: Cell<bool>,
    /// Operations that the kernel has not completed.
    operations: Cell<u32>,
    /// Notified when there is none left.
    quiet: Event,
}

impl RingSocket {
    pub(crate) fn raw(&self) -> RawFd {
        self.0.descriptor.as_raw_fd()
    }

    pub(crate) fn is(&self, other: &RingSocket) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.get()
    }

    pub(crate) fn is_receiving(&self) -> bool {
        self.0.receiving.get()
    }

    pub(crate) fn set_receiving(&self, receiving: bool) {
        self.0.receiving.set(receiving);
    }

    pub(crate) fn set_writing(&self, writing: bool) {
        self.0.writing.set(writing);
    }

    /// An operation begins.
    pub(crate) fn begin(&self, kind: &Kind) {
        self.0.operations.set(self.0.operations.get() + 1);
        if matches!(kind, Kind::Send) {
            assert!(!self.0.writing.replace(true), "a second writer");
        }
    }

    /// The kernel is done with an operation.
    pub(crate) fn end(&self) {
        self.0.operations.set(self.0.operations.get() - 1);
        if self.0.operations.get() == 0 {
            self.0.quiet.notify_all();
        }
    }

    /// Whether somebody may begin to write.
    fn may_write(&self) -> io::Result<()> {
        match (self.0.closing.get(), self.0.writing.get()) {
            (true, _) => Err(io::ErrorKind::NotConnected.into()),
            (false, true) => Err(io::ErrorKind::ResourceBusy.into()),
            (false, false) => Ok(()),
        }
    }
}

impl AsFd for RingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

impl fmt::Debug for RingSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RingSocket({}, {} operations)", self.raw(), self.0.operations.get())
    }
}

impl Ring {
    /// Takes a connected stream socket: non-blocking, which sendfile(2) needs, and without Nagle's delay if it is TCP.
    ///
    /// # Errors
    /// What fcntl(2) answers.
    pub fn adopt_socket(&self, socket: impl Into<OwnedFd>) -> io::Result<RingSocket> {
        let descriptor: OwnedFd = socket.into();
        self.counters().system_calls.add(3);
        fcntl_setfl(&descriptor, fcntl_getfl(&descriptor)? | OFlags::NONBLOCK)?;
        // A Unix socket has no such option, and needs none.
        let _ = set_tcp_nodelay(&descriptor, true);
        Ok(RingSocket(Rc::new(Inner {
            descriptor,
            closing: Cell::new(false),
            receiving: Cell::new(false),
            writing: Cell::new(false),
            operations: Cell::new(0),
            quiet: Event::new(),
        })))
    }

    /// Accepts one connection: hand it to [`adopt_socket`](Ring::adopt_socket). Dropping the future cancels it; a
    /// connection that it had accepted by then is closed.
    pub fn accept(&self, listener: &Rc<TcpListener>) -> Op<OwnedFd> {
        self.core().start(Prepared::accept(listener))
    }

    /// Sends; resolves to the bytes sent, which may be fewer than given.
    ///
    /// # Errors
    /// The system's; `ResourceBusy` while another send or sendfile is under way on this socket, a dropped one included.
    pub fn send(&self, socket: &RingSocket, bytes: impl Into<Buffer>) -> Op<u32> {
        match socket.may_write() {
            Ok(()) => self.core().start(Prepared::send(socket, bytes.into(), 0, false)),
            Err(error) => Op::failed(error),
        }
    }

    /// Sends all of it, in one operation if the connection holds: the kernel goes on after a short send.
    ///
    /// # Errors
    /// As [`send`](Ring::send). Some of the bytes may be sent then.
    pub async fn send_all(&self, socket: &RingSocket, bytes: impl Into<Buffer>) -> io::Result<()> {
        let mut buffer = bytes.into();
        let (all, mut sent) = (buffer.len(), 0);
        while sent < all {
            socket.may_write()?;
            let mut op: Op<u32> = self.core().start(Prepared::send(socket, buffer, sent, true));
            let (result, held) = poll_fn(|context| op.poll_raw(context)).await?;
            sent += sent_some(result)?;
            let Held::Buffer(back) = held else { unreachable!("a send owns its buffer") };
            buffer = back;
        }
        Ok(())
    }

    /// Sends several buffers as one message, at most the first 1,024 that are not empty; resolves to the bytes sent.
    ///
    /// # Errors
    /// As [`send`](Ring::send).
    pub fn send_vectored(&self, socket: &RingSocket, parts: Vec<Buffer>) -> Op<u32> {
        match socket.may_write() {
            Ok(()) => self.core().start(Prepared::send_vectored(socket, self.message(), parts, 0, false)),
            Err(error) => Op::failed(error),
        }
    }

    /// Sends all of several buffers, in as few operations as possible.
    ///
    /// # Errors
    /// As [`send`](Ring::send). Some of the bytes may be sent then.
    pub async fn send_all_vectored(&self, socket: &RingSocket, mut parts: Vec<Buffer>) -> io::Result<()> {
        let (all, mut sent) = (parts.iter().map(Buffer::len).sum::<usize>(), 0);
        while sent < all {
            socket.may_write()?;
            let prepared = Prepared::send_vectored(socket, self.message(), parts, sent, true);
            let mut op: Op<u32> = self.core().start(prepared);
            let (result, held) = poll_fn(|context| op.poll_raw(context)).await?;
            let Held::Message(mut message) = held else { unreachable!("a gathered send owns its message") };
            parts = message.with(Message::take_parts);
            self.keep(Held::Message(message));
            sent += sent_some(result)?;
        }
        Ok(())
    }

    fn message(&self) -> Pinned<Message> {
        self.core().messages.borrow_mut().pop().unwrap_or_else(|| Pinned::new(Message::empty()))
    }

    /// Resolves when the socket can be written, or has failed: the next write says which.
    ///
    /// # Errors
    /// The system's.
    pub async fn writable(&self, socket: &RingSocket) -> io::Result<()> {
        if socket.is_closing() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let op: Op<u32> = self.core().start(Prepared::writable(socket));
        op.await.map(drop)
    }

    /// Sends a range of a file by sendfile(2): the pages go by reference, and **stay referenced until the peer has read
    /// them**, long after this resolves; the file's bytes there must not change as long. At most 512 KiB a call, with
    /// other tasks in between; waits until the socket can be written. Pages that are not in the page cache are read in
    /// the call, and block the shard: send those another way. Resolves to the bytes sent: all of the range.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the file ends before the range; `ResourceBusy` as for [`send`](Ring::send).
    /// Some of the bytes may be sent then.
    pub async fn sendfile(&self, socket: &RingSocket, file: &File, range: Range<u64>) -> io::Result<u64> {
        socket.may_write()?;
        socket.set_writing(true);
        let _writing = Writing(socket);
        let counters = self.counters();
        let mut at = range.start;
        while at < range.end {
            if socket.is_closing() || self.core().is_closing() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let bytes = (range.end - at).min(SENDFILE_BYTES_MAX);
            self.core().count(&counters.sendfile_calls);
            match rustix::fs::sendfile(socket, file, Some(&mut at), bytes as usize) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => {
                    counters.sendfile_bytes.add(sent as u64);
                    if at < range.end {
                        crate::yield_now().await;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => self.writable(socket).await?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(range.end - range.start)
    }

    /// Closes in order: cancels what is in flight on the socket, awaits that, and closes it, so that the peer sees the
    /// end of the stream. What was sent before still reaches the peer. Other handles of the socket fail from now on.
    pub async fn close(&self, socket: RingSocket) {
        socket.0.closing.set(true);
        self.core().end_starved(Some(&socket));
        loop {
            let quiet = socket.0.quiet.wait();
            if socket.0.operations.get() == 0 {
                break;
            }
            self.core().cancel_on(&socket);
            quiet.await;
        }
        if Rc::strong_count(&socket.0) > 1 {
            // The descriptor stays open until the last handle goes; the stream ends now. It may have ended already.
            self.counters().system_calls.add(1);
            let _ = shutdown(&socket, Shutdown::Both);
        }
    }
}

fn sent_some(result: i32) -> io::Result<usize> {
    match check(result)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => Ok(sent as usize),
    }
}

/// The socket has a writer until this is dropped.
struct Writing<'a>(&'a RingSocket);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.set_writing(false);
    }
}
