//! The shard's executor.
use crate::{Ring, RingConfig};
use std::{future::Future, io, time::Duration};
/// Where and how an executor runs.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Name of the thread.
    pub name: String,
    /// The core to pin to.
    pub cpu: Option<usize>,
    /// The ring.
    pub ring: RingConfig,
}
impl Default for ExecutorConfig { fn default() -> Self { Self { name: "shard".into(), cpu: None, ring: RingConfig::default() } } }
/// A running executor.
pub struct ExecutorHandle<T> { thread: std::thread::JoinHandle<T> }
impl<T> ExecutorHandle<T> {
    /// Waits for the end. `Err` is the payload of a panic.
    pub fn join(self) -> std::thread::Result<T> { self.thread.join() }
}
#[allow(unused_variables)]
/// Starts a thread.
pub fn spawn_executor<T: Send + 'static, F: Future<Output = T> + 'static>(config: ExecutorConfig, body: impl FnOnce(Ring) -> F + Send + 'static) -> io::Result<ExecutorHandle<T>> { todo!() }
/// Spawn and join; panics of the body go on here.
///
/// # Errors
/// If the thread, the executor or the ring cannot be made.
pub fn block_on<T: Send + 'static, F: Future<Output = T> + 'static>(config: ExecutorConfig, body: impl FnOnce(Ring) -> F + Send + 'static) -> io::Result<T> {
    spawn_executor(config, body)?.join().or_else(|payload| std::panic::resume_unwind(payload))
}
#[allow(unused_variables)]
/// Detached task.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) { todo!() }
/// Lets the shard's other tasks run.
pub async fn yield_now() { futures_lite::future::yield_now().await }
/// Sleeps.
pub async fn sleep(_duration: Duration) { todo!() }
