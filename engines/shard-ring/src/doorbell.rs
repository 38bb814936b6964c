//! Waking a shard from another thread.
use crate::Ring;
use std::io;
/// The ringing side.
#[derive(Clone, Debug)]
pub struct Bell {}
impl Bell {
    /// Wakes the shard if it sleeps at this doorbell. Publish the work first.
    pub fn ring(&self) { todo!() }
}
/// The shard's side.
#[derive(Debug)]
pub struct Doorbell {}
#[allow(unused_variables)]
impl Doorbell {
    /// Waits until `found` finds work, which is looked for before and after the sleep is announced.
    ///
    /// # Errors
    /// What the ring answers to the wait.
    pub async fn wait_until<T>(&mut self, ring: &Ring, found: impl FnMut() -> Option<T>) -> io::Result<T> { todo!() }
}
/// A bell and its doorbell.
///
/// # Errors
/// What eventfd(2) answers.
pub fn doorbell() -> io::Result<(Bell, Doorbell)> { todo!() }
