//! The future of one operation.
use crate::ring::Ring;
use std::{future::Future, io, marker::PhantomData, pin::Pin, task::{Context, Poll}};
/// The result of an operation: `io::Result<T>`. Submitted when made; dropping it leaves the operation running.
#[must_use = "the operation runs on, but its result is lost"]
pub struct Op<T> { ring: Ring, of: PhantomData<T> }
impl<T> Future for Op<T> {
    type Output = io::Result<T>;
    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<T>> { let _ = &self.ring; todo!() }
}
