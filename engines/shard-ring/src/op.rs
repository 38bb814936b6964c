//! The future of one operation.

use crate::{
    core::Core,
    kernel::returned,
    table::{Held, Id},
};
use std::{
    fmt,
    future::Future,
    io,
    marker::PhantomData,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// One operation on the ring: resolves to an `io::Result<T>`, the system's answer.
///
/// The operation is submitted when it is made, not when it is awaited; entries are pushed in the order of the calls.
/// Dropping the future does not take a read, a write, a flush or a send back: its slot goes on owning what the kernel
/// uses, until the completion. Dropping one that may never end by itself (accept, poll, sleep) cancels it.
///
/// # Errors
/// What the kernel answers; `BrokenPipe` if the ring is shutting down.
#[must_use = "the operation runs, but its result is lost"]
pub struct Op<T> {
    state: Running,
    result: PhantomData<fn() -> T>,
}

enum Running {
    Ring(Rc<Core>, Id),
    Failed(Option<io::Error>),
    Over,
}

impl<T> Op<T> {
    pub(crate) fn running(core: Rc<Core>, id: Id) -> Self {
        Self { state: Running::Ring(core, id), result: PhantomData }
    }

    pub(crate) fn failed(error: io::Error) -> Self {
        Self { state: Running::Failed(Some(error)), result: PhantomData }
    }

    /// The kernel's number, with what the operation owned, if that is of use to somebody.
    pub(crate) fn poll_raw(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(i32, Held)>> {
        match &mut self.state {
            Running::Ring(core, id) => {
                let Some((result, held)) = core.result(*id, context.waker()) else { return Poll::Pending };
                self.state = Running::Over;
                Poll::Ready(Ok((result, held)))
            }
            Running::Failed(error) => {
                let error = error.take().expect("an operation is polled after its end");
                self.state = Running::Over;
                Poll::Ready(Err(error))
            }
            Running::Over => panic!("an operation is polled after its end"),
        }
    }
}

impl<T: Outcome> Future for Op<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let core = match &self.state {
            Running::Ring(core, _) => Some(core.clone()),
            _ => None,
        };
        let (result, held) = ready!(self.poll_raw(context))?;
        if let Some(core) = core {
            core.keep(held);
        }
        Poll::Ready(check(result).map(T::from_count))
    }
}

impl<T> Drop for Op<T> {
    fn drop(&mut self) {
        if let Running::Ring(core, id) = &self.state {
            core.abandon(*id);
        }
    }
}

impl<T> fmt::Debug for Op<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Running::Ring(_, id) => write!(formatter, "Op({}, running)", id.place),
            Running::Failed(error) => write!(formatter, "Op(failed: {error:?})"),
            Running::Over => write!(formatter, "Op(over)"),
        }
    }
}

/// A kernel's answer: a count, or an error number below zero.
pub(crate) fn check(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// What an operation's count means. Sealed: the crate's own types only.
pub trait Outcome: private::Sealed {
    #[doc(hidden)]
    fn from_count(count: u32) -> Self;
}

impl Outcome for u32 {
    fn from_count(count: u32) -> Self {
        count
    }
}

impl Outcome for () {
    fn from_count(_: u32) -> Self {}
}

impl Outcome for OwnedFd {
    fn from_count(count: u32) -> Self {
        returned(count as i32)
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for () {}
    impl Sealed for std::os::fd::OwnedFd {}
}
