//! The shard's executor: a thread with a glommio executor and a ring. All that others need of either.

use crate::{
    Ring, RingConfig,
    tasks::{LocalTasks, counted, current},
};
use futures_lite::{FutureExt, future};
use glommio::{LocalExecutorBuilder, Placement};
use std::{
    any::Any,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What glommio registers with its own rings for storage I/O. Ours goes through the shard's ring; this is the least it
/// takes.
const GLOMMIO_IO_BYTES: usize = 64 << 10;
/// Never, as far as a shard is concerned. When this timer fires between glommio's I/O poll and its tasks, 0.12.0 sleeps with
/// runnable tasks (glommio/glommio#53); and nothing of ours needs it, since tasks yield by budgets of their own.
const PREEMPT_TIMER: Duration = Duration::from_hours(24);

/// Where and how an executor runs.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The thread's name; the kernel keeps 15 bytes of it.
    pub name: String,
    /// The core to pin the thread to; `None`: not pinned.
    pub cpu: Option<usize>,
    /// What the shard's ring is made of.
    pub ring: RingConfig,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self { name: "shard".to_owned(), cpu: None, ring: RingConfig::default() }
    }
}

/// A running executor.
pub struct ExecutorHandle<T> {
    thread: thread::JoinHandle<Result<T, Payload>>,
}

type Payload = Box<dyn Any + Send>;

impl<T> ExecutorHandle<T> {
    /// Waits for the end of the executor.
    ///
    /// # Errors
    /// The payload of the panic, if the body or a local task has panicked.
    pub fn join(self) -> thread::Result<T> {
        self.thread.join().flatten()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

impl<T> fmt::Debug for ExecutorHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExecutorHandle({:?})", self.thread.thread().name())
    }
}

/// Starts a thread with an executor and a ring, and runs `body` there.
///
/// When the body ends, or it or a local task panics, the executor ends in order: local tasks are dropped, operations
/// that may never end are cancelled, the rest is awaited, and only then the ring goes. A file operation that never
/// completes therefore keeps the thread.
///
/// # Errors
/// If the thread cannot be started or pinned, or the executor or the ring cannot be made (too little locked memory, an
/// old kernel).
pub fn spawn_executor<T, F>(
    config: ExecutorConfig,
    body: impl FnOnce(Ring) -> F + Send + 'static,
) -> io::Result<ExecutorHandle<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (started, start) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(config.name.clone()).spawn(move || {
        let placement = config.cpu.map_or(Placement::Unbound, Placement::Fixed);
        let builder = LocalExecutorBuilder::new(placement)
            .name(&config.name)
            .io_memory(GLOMMIO_IO_BYTES)
            .preempt_timer(PREEMPT_TIMER);
        let executor = match builder.make() {
            Ok(executor) => executor,
            Err(error) => return fail(&started, in_words(io::Error::other(error.to_string()))),
        };
        executor.run(counted(Box::pin(async move {
            match Ring::start(&config.ring) {
                Ok((ring, pump)) => {
                    // The other side waits for this; if it is gone, nobody wants the result, but the body runs all the
                    // same.
                    let _ = started.send(Ok(()));
                    let local = LocalTasks::enter(ring.clone());
                    let body = body(ring.clone());
                    let result = future::or(AssertUnwindSafe(body).catch_unwind(), local.panicked()).await;
                    local.end().await;
                    ring.shut_down(pump).await;
                    result
                }
                Err(error) => fail(&started, in_words(error)),
            }
        })))
    })?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("the executor's thread ended before it began")))?;
    Ok(ExecutorHandle { thread })
}

/// Whether an executor and its ring can be made here and now, found out by making them.
///
/// # Errors
/// As [`spawn_executor`].
pub fn attempt() -> io::Result<()> {
    block_on(ExecutorConfig::default(), |_| future::ready(()))
}

/// A ring takes locked memory of an ordinary user, and glommio asks for 512 KiB before it tries: both refusals say what to change.
fn in_words(error: io::Error) -> io::Error {
    let text = error.to_string();
    let out_of_memory = io::Error::from_raw_os_error(libc::ENOMEM).to_string();
    if !text.contains("MemLockLimit") && !text.contains(&out_of_memory) {
        return error;
    }
    let limit = match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(bytes) => format!("locked memory (memlock) is limited to {} KiB, ", bytes >> 10),
        None => String::new(),
    };
    let what = format!("{limit}too little for a shard's rings: raise RLIMIT_MEMLOCK (ulimit -l) to 8 MiB");
    io::Error::new(io::ErrorKind::OutOfMemory, what)
}

fn fail<T>(started: &mpsc::SyncSender<io::Result<()>>, error: io::Error) -> Result<T, Payload> {
    let _ = started.send(Err(error));
    Err(Box::new("the executor could not be started"))
}

/// Runs `body` on an executor of its own and waits for it: for tests and tools. A panic goes on in the caller.
///
/// # Errors
/// As [`spawn_executor`].
pub fn block_on<T, F>(config: ExecutorConfig, body: impl FnOnce(Ring) -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    spawn_executor(config, body)?.join().or_else(|payload| resume_unwind(payload))
}

/// Starts a task on this thread's executor. It is dropped when the executor's body ends; if it panics, so does the
/// executor.
///
/// # Panics
/// If this thread has no executor of [`spawn_executor`].
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    current(|tasks| tasks.clone()).spawn(future);
}

/// Lets the shard's other runnable tasks run first, and the ring see to its completions: one enter a turn, if there is something
/// to submit or to complete. A task that computes for long calls this every few hundred microseconds. Not for waiting: it keeps the
/// core busy.
pub async fn yield_now() {
    future::yield_now().await;
}

/// Resolves after `duration`, on the shard's ring: accurate to its turns, whatever glommio does. Ends early when the
/// executor ends.
///
/// # Panics
/// As [`spawn_local`].
pub async fn sleep(duration: Duration) {
    let ring = current(LocalTasks::ring);
    ring.timeout(duration).await;
}
