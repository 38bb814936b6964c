//! A thread for what would block the shard.
use crate::Ring;
use std::{future::Future, io};
/// A helper thread.
pub struct Helper {}
#[allow(unused_variables)]
impl Helper {
    /// Starts the thread `hw-<name>` on `cpus` (empty: where its parent may run) with a nice value.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(name: &str, cpus: &[usize], nice: i32) -> io::Result<Helper> { todo!() }
    /// Runs `job` after all jobs given before it.
    pub fn run<T: Send + 'static>(&self, ring: &Ring, job: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static { async { todo!() } }
}
