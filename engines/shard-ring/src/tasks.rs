//! The local tasks of an executor: known by number, so that they can be ended before the ring is drained.

use crate::{Event, Ring};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

thread_local! {
    static CURRENT: RefCell<Option<LocalTasks>> = const { RefCell::new(None) };
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// Uses the local tasks of this thread's executor.
pub(crate) fn current<T>(with: impl FnOnce(&LocalTasks) -> T) -> T {
    CURRENT.with_borrow(|tasks| {
        with(tasks.as_ref().expect("call this on a thread of spawn_executor, while its body runs"))
    })
}

/// Raised by one at the beginning and at the end of each poll of a task of this thread, the pump's own not among them: glommio polls a
/// new task at once, within the poll of the one that spawned it.
pub(crate) fn polls() -> u64 {
    POLLS.get()
}

/// Polls a task, and counts that.
pub(crate) fn counted<T>(mut task: impl Future<Output = T> + Unpin) -> impl Future<Output = T> {
    poll_fn(move |context| {
        POLLS.set(POLLS.get() + 1);
        let polled = Pin::new(&mut task).poll(context);
        POLLS.set(POLLS.get() + 1);
        polled
    })
}

/// Clones are the same tasks.
#[derive(Clone)]
pub(crate) struct LocalTasks(Rc<Inner>);

struct Inner {
    ring: Ring,
    ending: Cell<bool>,
    running: Cell<usize>,
    /// A place for each task: how to reach it.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    payload: RefCell<Option<Box<dyn Any + Send>>>,
    /// A task has panicked, or ended while all are ending.
    changed: Event,
}

impl LocalTasks {
    /// Makes them this thread's.
    pub(crate) fn enter(ring: Ring) -> Self {
        let tasks = Self(Rc::new(Inner {
            ring,
            ending: Cell::new(false),
            running: Cell::new(0),
            wakers: RefCell::default(),
            free: RefCell::default(),
            payload: RefCell::new(None),
            changed: Event::new(),
        }));
        CURRENT.set(Some(tasks.clone()));
        tasks
    }

    pub(crate) fn ring(&self) -> Ring {
        self.0.ring.clone()
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let place = self.0.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.0.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        self.0.running.set(self.0.running.get() + 1);
        let task = LocalTask { future: Some(Box::pin(future)), end: End { tasks: self.clone(), place } };
        glommio::spawn_local(counted(task)).detach();
    }

    /// Resolves to the payload of the first task that panics.
    pub(crate) async fn panicked<T>(&self) -> Result<T, Box<dyn Any + Send>> {
        loop {
            let changed = self.0.changed.wait();
            if let Some(payload) = self.0.payload.take() {
                return Err(payload);
            }
            changed.await;
        }
    }

    /// Drops all tasks, and takes this thread's executor away from `current`.
    pub(crate) async fn end(self) {
        self.0.ending.set(true);
        loop {
            let changed = self.0.changed.wait();
            // Tasks may start others while they end.
            let wakers: Vec<Waker> = self.0.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
            wakers.into_iter().for_each(Waker::wake);
            if self.0.running.get() == 0 {
                break;
            }
            changed.await;
        }
        CURRENT.take();
    }
}

struct LocalTask<F> {
    /// Gone when it has ended.
    future: Option<Pin<Box<F>>>,
    end: End,
}

impl<F: Future<Output = ()>> Future for LocalTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let inner = self.end.tasks.0.clone();
        if inner.ending.get() {
            self.future = None;
            return Poll::Ready(());
        }
        let place = self.end.place;
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        // A task's wakers stay good for its life: one note is enough.
        inner.wakers.borrow_mut()[place].get_or_insert_with(|| context.waker().clone());
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                self.future = None;
                Poll::Ready(())
            }
            Err(payload) => {
                self.future = None;
                inner.payload.borrow_mut().get_or_insert(payload);
                inner.changed.notify_all();
                Poll::Ready(())
            }
        }
    }
}

/// Gives a task's place back, however the task ends.
struct End {
    tasks: LocalTasks,
    place: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        let inner = &self.tasks.0;
        inner.wakers.borrow_mut()[self.place] = None;
        inner.free.borrow_mut().push(self.place);
        inner.running.set(inner.running.get() - 1);
        if inner.ending.get() {
            inner.changed.notify_all();
        }
    }
}
