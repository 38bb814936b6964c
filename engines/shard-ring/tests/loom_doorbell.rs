//! The doorbell under every order of events: no wake-up is lost, none is delivered twice for one wait.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shard-ring --test loom_doorbell --release`
#![cfg(loom)]

use loom::{
    sync::{
        Arc, Notify,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use shard_ring::Latch;

struct Model {
    latch: Latch,
    /// Stands for the eventfd: remembers a wake-up that comes before the sleep. Loom reports a sleeper that nobody
    /// wakes as a deadlock.
    signal: Notify,
    published: AtomicUsize,
    delivered: AtomicUsize,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            latch: Latch::new(),
            signal: Notify::new(),
            published: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
        })
    }

    fn publish_and_ring(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
        if self.latch.ring() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
            self.signal.notify();
        }
    }

    /// As `Doorbell::wait`. Whether it slept.
    fn wait(&self) -> bool {
        if !self.latch.begin_wait() {
            return false;
        }
        loop {
            self.signal.wait();
            if self.latch.woken() {
                return true;
            }
        }
    }
}

#[test]
fn all_work_of_two_ringers_is_seen() {
    // Three threads: without the bound the model takes half a minute, and passes too.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let model = Model::new();
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                thread::spawn(move || model.publish_and_ring())
            })
            .collect();
        let mut sleeps = 0;
        while model.published.load(Ordering::Relaxed) < 2 {
            sleeps += usize::from(model.wait());
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
        assert!(model.delivered.load(Ordering::Relaxed) <= sleeps + 1, "one wake-up a sleep");
    });
}

#[test]
fn the_work_before_a_ring_is_visible_after_the_wait() {
    loom::model(|| {
        let model = Model::new();
        let ringer = model.clone();
        let ringer = thread::spawn(move || ringer.publish_and_ring());
        model.wait();
        assert_eq!(model.published.load(Ordering::Relaxed), 1, "woken before the work was visible");
        ringer.join().unwrap();
    });
}

#[test]
fn a_wait_that_is_given_up_loses_nothing() {
    loom::model(|| {
        let model = Model::new();
        let ringer = model.clone();
        let ringer = thread::spawn(move || {
            ringer.publish_and_ring();
            ringer.publish_and_ring();
        });
        if model.latch.begin_wait() {
            model.latch.give_up();
        }
        while model.published.load(Ordering::Relaxed) < 2 {
            model.wait();
        }
        ringer.join().unwrap();
    });
}
