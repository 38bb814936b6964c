//! A completion queue that is too small loses nothing.
#![cfg(not(loom))]

use shard_ring::{ExecutorConfig, RingConfig, block_on, spawn_local};
use std::{cell::Cell, rc::Rc, time::Duration};

#[test]
fn completions_beyond_the_queue_come_later_and_are_counted() {
    const SLEEPS: u32 = 200;
    let ring = RingConfig { entries: 1, slots: 1, ..Default::default() }; // a completion queue of 4
    block_on(ExecutorConfig { ring, ..Default::default() }, |ring| async move {
        let over = Rc::new(Cell::new(0));
        for _ in 0..SLEEPS {
            let over = over.clone();
            spawn_local(async move {
                shard_ring::sleep(Duration::from_millis(5)).await;
                over.set(over.get() + 1);
            });
        }
        // All are submitted, then all fall due while nobody looks.
        while ring.counters().entries.get() < u64::from(SLEEPS) {
            shard_ring::yield_now().await;
        }
        std::thread::sleep(Duration::from_millis(20));
        while over.get() < SLEEPS {
            shard_ring::sleep(Duration::from_millis(1)).await;
        }
        assert!(ring.counters().overflows.get() > 0, "the test did not fill the queue");
    })
    .unwrap();
}
