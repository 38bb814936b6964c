//! Commits on their way, and the first failure of a log. Plain state of the shard: no I/O.

use log_api::{CommitError, Offset};
use shard_ring::Event;
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::Poll,
};

/// Commits that were submitted and have not come back, oldest first. Completions may come in any order; the mark moves in the order of
/// submission, so what is acknowledged never has a hole in it.
#[derive(Debug, Default)]
pub struct Flights {
    queue: VecDeque<Flight>,
    begun: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    target: Offset,
    landed: bool,
}

impl Flights {
    /// A commit was submitted that reaches to `target`; returns its number.
    pub fn begin(&mut self, target: Offset) -> u64 {
        let number = self.begun;
        self.begun += 1;
        self.queue.push_back(Flight { number, target, landed: false });
        number
    }

    /// The commit came back well. Returns how far the mark may move now, if it may.
    pub fn land(&mut self, number: u64) -> Option<Offset> {
        if let Some(flight) = self.queue.iter_mut().find(|flight| flight.number == number) {
            flight.landed = true;
        }
        let mut reached = None;
        while let Some(flight) = self.queue.front().filter(|flight| flight.landed) {
            reached = reached.max(Some(flight.target));
            self.queue.pop_front();
        }
        reached
    }

    /// Nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Commits on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

/// Waits for flushes that were submitted together, and tells of each failure when it comes, whatever the others do: the error of a page is
/// reported to one flush of its file, and an earlier commit's flush of that file may come back well right after it.
pub async fn flushed<F>(mut flushes: Vec<F>, mut failed: impl FnMut(io::Error))
where
    F: Future<Output = io::Result<()>> + Unpin,
{
    poll_fn(|context| {
        flushes.retain_mut(|flush| match Pin::new(flush).poll(context) {
            Poll::Ready(outcome) => {
                outcome.unwrap_or_else(&mut failed);
                false
            }
            Poll::Pending => true,
        });
        if flushes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The first failed write or flush of a log. It is final: nothing is acknowledged after it until the log is opened again, and no flush
/// is tried a second time, since a second fsync after a failed one says OK with the data lost.
#[derive(Debug, Default)]
pub struct Poison(RefCell<Option<String>>);

impl Poison {
    /// Notes a failure and wakes those who wait for progress. Only the first is kept.
    pub fn set(&self, what: impl Into<String>, progress: &Event) {
        self.0.borrow_mut().get_or_insert_with(|| what.into());
        progress.notify_all();
    }

    /// Whether there was a failure.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// What every commit answers after a failure.
    ///
    /// # Errors
    /// [`CommitError::Poisoned`] with the first failure.
    pub fn check(&self) -> Result<(), CommitError> {
        match &*self.0.borrow() {
            Some(what) => Err(CommitError::Poisoned { what: what.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_moves_in_the_order_of_submission() {
        let mut flights = Flights::default();
        let numbers: Vec<u64> = [10, 20, 30].map(|target| flights.begin(Offset(target))).to_vec();
        assert_eq!(flights.land(numbers[1]), None);
        assert_eq!(flights.land(numbers[0]), Some(Offset(20)));
        assert_eq!(flights.land(numbers[2]), Some(Offset(30)));
        assert!(flights.is_empty());
    }

    #[test]
    fn a_failure_is_told_while_a_flush_before_it_has_not_come_back() {
        use futures_lite::future::{block_on, pending, poll_once};
        type Flush = Pin<Box<dyn Future<Output = io::Result<()>>>>;
        let flushes: Vec<Flush> = vec![Box::pin(pending()), Box::pin(async { Err(io::Error::other("lost")) })];
        let told = RefCell::new(Vec::new());
        let waiting = flushed(flushes, |error| told.borrow_mut().push(error.to_string()));
        assert_eq!(block_on(poll_once(waiting)), None);
        assert_eq!(told.take(), ["lost"]);
    }

    #[test]
    fn the_first_failure_is_kept() {
        let (poison, event) = (Poison::default(), Event::new());
        assert_eq!(poison.check(), Ok(()));
        poison.set("first", &event);
        poison.set("second", &event);
        assert_eq!(poison.check(), Err(CommitError::Poisoned { what: "first".into() }));
    }
}
