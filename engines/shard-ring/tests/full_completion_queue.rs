//! A completion queue that is too small loses nothing.
#![cfg(not(loom))]

use rustix::event::{EventfdFlags, eventfd};
use shard_ring::{ExecutorConfig, RingConfig, block_on, spawn_local, yield_now};
use std::{cell::Cell, rc::Rc};

#[test]
fn completions_beyond_the_queue_come_later_and_are_counted() {
    const POLLS: u32 = 200;
    let ring = RingConfig { entries: 1, slots: 1, ..Default::default() }; // a completion queue of 4
    block_on(ExecutorConfig { ring, ..Default::default() }, |ring| async move {
        let event = Rc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let over = Rc::new(Cell::new(0));
        for _ in 0..POLLS {
            let (ring, event, over) = (ring.clone(), event.clone(), over.clone());
            spawn_local(async move {
                assert_eq!(ring.poll(&*event, 1).await.unwrap() & 1, 1);
                over.set(over.get() + 1);
            });
        }
        while ring.counters().entries.get() < u64::from(POLLS) {
            yield_now().await;
        }
        // All are submitted; now all complete at once.
        rustix::io::write(&*event, &1_u64.to_ne_bytes()).unwrap();
        while over.get() < POLLS {
            yield_now().await;
        }
        assert!(ring.counters().overflows.get() > 0, "the test did not fill the queue");
    })
    .unwrap();
}
