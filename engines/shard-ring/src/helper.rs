//! A thread for what would block the shard: directory flushes, preparing files, recovery.

use crate::{Bell, Doorbell, Event, Ring, doorbell, spawn_local};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::{
    any::Any,
    cell::Cell,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// A thread that does jobs one after the other, in the order in which they were given.
///
/// Dropping the helper finishes the jobs that were given and then joins the thread: it blocks for as long.
pub struct Helper {
    /// Gone when the helper is being dropped: that ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;
type Finished<T> = Arc<Mutex<Option<Result<T, Box<dyn Any + Send>>>>>;

impl Helper {
    /// Starts the thread `hw-<name>` (the kernel keeps 15 bytes) on the cores `cpus` (empty: where its parent may run)
    /// with the nice value `nice`.
    ///
    /// # Errors
    /// If the thread cannot be started, or may not have those cores or that nice value.
    pub fn start(name: &str, cpus: &[usize], nice: i32) -> io::Result<Helper> {
        let mut set = CpuSet::new();
        for cpu in cpus {
            if *cpu >= CpuSet::MAX_CPU {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such core: {cpu}")));
            }
            set.set(*cpu);
        }
        let placed = !cpus.is_empty();
        let (jobs, received) = mpsc::channel::<Job>();
        let (started, start) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("hw-{name}")).spawn(move || {
            let placed = if placed { sched_setaffinity(None, &set) } else { Ok(()) };
            // For Linux a nice value is the thread's own.
            let settled = placed.and_then(|()| match nice {
                0 => Ok(()),
                nice => rustix::process::setpriority_process(None, nice),
            });
            let settled = settled.map_err(io::Error::from);
            let goes_on = settled.is_ok();
            let _ = started.send(settled);
            if goes_on {
                received.into_iter().for_each(|job| job());
            }
        })?;
        start.recv().unwrap_or_else(|_| Err(io::Error::other("the helper's thread ended before it began")))?;
        Ok(Helper { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has the thread do `job` after all jobs given before. Given at the call, not when the future is awaited; dropping
    /// the future takes nothing back. Results come to the shard through one doorbell of its ring.
    ///
    /// # Panics
    /// The future panics with the job's payload, if the job panics.
    pub fn run<T: Send + 'static>(
        &self,
        ring: &Ring,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let deliveries = Deliveries::of(ring);
        deliveries.given.set(deliveries.given.get() + 1);
        deliveries.wanted.notify_all();
        let result: Finished<T> = Arc::default();
        let (finished, count, bell) = (result.clone(), deliveries.finished.clone(), deliveries.bell.clone());
        let job: Job = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            *finished.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            drop(finished);
            count.fetch_add(1, Ordering::Release);
            bell.ring();
        });
        let jobs = self.jobs.as_ref().expect("a helper has its queue until it is dropped");
        jobs.send(job).expect("the thread takes jobs until the helper is dropped");
        async move {
            loop {
                let arrived = deliveries.arrived.wait();
                let finished = result.lock().unwrap_or_else(PoisonError::into_inner).take();
                match finished {
                    Some(Ok(value)) => return value,
                    Some(Err(payload)) => resume_unwind(payload),
                    None => arrived.await,
                }
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Jobs catch their panics, so the thread has none.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Helper({:?})", self.thread.as_ref().and_then(|thread| thread.thread().name()))
    }
}

/// How the results of all helpers reach the shard: one doorbell a ring, listened at while any job is out.
pub(crate) struct Deliveries {
    bell: Bell,
    given: Cell<u64>,
    finished: Arc<AtomicU64>,
    /// A job was given.
    wanted: Event,
    /// Some job has finished.
    arrived: Event,
}

impl Deliveries {
    /// Those of a ring, made when its first job is given.
    fn of(ring: &Ring) -> Rc<Self> {
        let deliveries = ring.core().deliveries.get_or_init(|| {
            let (bell, doorbell) = doorbell();
            let deliveries = Rc::new(Self {
                bell,
                given: Cell::new(0),
                finished: Arc::default(),
                wanted: Event::new(),
                arrived: Event::new(),
            });
            spawn_local(deliveries.clone().deliver(doorbell, ring.clone()));
            deliveries
        });
        deliveries.clone()
    }

    async fn deliver(self: Rc<Self>, mut doorbell: Doorbell, ring: Ring) {
        loop {
            let wanted = self.wanted.wait();
            let all_finished = self.finished.load(Ordering::Acquire) == self.given.get();
            // After the count was read, so that nobody is left whose job it includes.
            self.arrived.notify_all();
            if all_finished {
                wanted.await;
            } else if doorbell.wait(&ring).await.is_err() {
                // The ring shuts down, and with it all that could wait for a result.
                break;
            }
        }
    }
}
