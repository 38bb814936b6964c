//! Sockets on the ring.
use std::{io, ops::Deref, os::fd::{AsFd, BorrowedFd, OwnedFd}, rc::Rc};
/// A socket.
#[derive(Clone, Debug)]
pub struct RingSocket(Rc<OwnedFd>);
impl AsFd for RingSocket { fn as_fd(&self) -> BorrowedFd<'_> { self.0.as_fd() } }
/// A running receive.
pub struct Receive {}
impl Receive {
    /// The next bytes; `None` at the end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<Received>> { todo!() }
}
/// Received bytes; gives its buffer back on drop.
pub struct Received {}
impl Deref for Received { type Target = [u8]; fn deref(&self) -> &[u8] { todo!() } }
