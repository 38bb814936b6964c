//! First come, first served.

use shard_ring::Event;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

/// A line in which those wait who were told that there is no room. A place in it is given up when its future is dropped.
#[derive(Debug, Default)]
pub struct Turns {
    line: RefCell<VecDeque<u64>>,
    next: Cell<u64>,
    moved: Event,
}

struct Place<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.line.borrow_mut().retain(|number| *number != self.number);
        self.turns.moved.notify_all();
    }
}

impl Turns {
    /// Waits behind those who came earlier, then for `ready`, which is asked again after each notification of `progress`.
    pub async fn wait(&self, progress: &Event, ready: impl Fn() -> bool) {
        let number = self.next.get();
        self.next.set(number + 1);
        self.line.borrow_mut().push_back(number);
        let _place = Place { turns: self, number };
        loop {
            let moved = self.moved.wait();
            if self.line.borrow().front() == Some(&number) {
                break;
            }
            moved.await;
        }
        loop {
            let progressed = progress.wait();
            if ready() {
                break;
            }
            progressed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn those_who_came_first_go_first_and_a_dropped_wait_leaves_the_line() {
        let (turns, progress, open) = (Turns::default(), Event::new(), Cell::new(false));
        block_on(async {
            let mut first = Box::pin(turns.wait(&progress, || open.get()));
            let mut second = pin!(turns.wait(&progress, || true));
            assert_eq!(poll_once(&mut first).await, None);
            assert_eq!(poll_once(&mut second).await, None, "it is ready, but not its turn");
            drop(first);
            assert_eq!(poll_once(&mut second).await, Some(()));
        });
    }
}
