//! Notification between tasks of one shard.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A notification for any number of waiters on the same shard.
///
/// [`notify_all`](Event::notify_all) ends every wait that was *created* before it: a caller that creates the wait, then
/// checks its condition, then awaits cannot miss a notification. Nothing is remembered for waits created later. No
/// allocation once the list of wakers has grown to the largest number of waiters. Clones are the same event.
///
/// ```
/// # shard_ring::block_on(Default::default(), |_ring| async {
/// let event = shard_ring::Event::new();
/// let wait = event.wait(); // before the condition is checked
/// event.notify_all();
/// wait.await;
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Event(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Raised by each notification.
    generation: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
    /// The list that is being woken, kept for its memory.
    waking: RefCell<Vec<Waker>>,
}

impl Event {
    /// An event that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves at the next [`notify_all`](Event::notify_all).
    pub fn wait(&self) -> Wait {
        Wait { event: self.clone(), since: self.0.generation.get() }
    }

    /// Ends all waits created so far.
    pub fn notify_all(&self) {
        self.0.generation.set(self.0.generation.get() + 1);
        if self.0.wakers.borrow().is_empty() {
            return;
        }
        let mut waking = self.0.waking.take();
        std::mem::swap(&mut waking, &mut *self.0.wakers.borrow_mut());
        waking.drain(..).for_each(Waker::wake);
        // A waker may notify in turn; keep the larger of the two lists.
        let mut kept = self.0.waking.borrow_mut();
        if kept.capacity() < waking.capacity() {
            *kept = waking;
        }
    }
}

/// The future of [`Event::wait`].
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct Wait {
    event: Event,
    since: u64,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let inner = &self.event.0;
        if inner.generation.get() != self.since {
            return Poll::Ready(());
        }
        let mut wakers = inner.wakers.borrow_mut();
        // A task that polls again (it waits for several things at once) stands in the list already.
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_wait_created_before_the_notification_ends_and_a_later_one_does_not() {
        let event = Event::new();
        let before = event.wait();
        event.notify_all();
        let after = event.wait();
        assert_eq!(block_on(poll_once(before)), Some(()));
        assert_eq!(block_on(poll_once(after)), None);
    }

    #[test]
    fn polling_again_does_not_grow_the_list() {
        let event = Event::new();
        let mut wait = event.wait();
        block_on(async {
            for _ in 0..10 {
                assert_eq!(poll_once(&mut wait).await, None);
            }
        });
        assert_eq!(event.0.wakers.borrow().len(), 1);
    }
}
