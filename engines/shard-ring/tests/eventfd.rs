//! Polls of other threads' eventfds resolve: Linux 6.18 loses their signals where a ring signals its own completions by an
//! eventfd, so this ring has none.
#![cfg(not(loom))]

use rustix::event::{EventfdFlags, eventfd};
use shard_ring::block_on;
use std::{sync::Arc, thread};

#[test]
fn a_poll_resolves_while_the_shard_sleeps() {
    block_on(Default::default(), |ring| async move {
        let event = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let (go, gone) = std::sync::mpsc::channel();
        let other = event.clone();
        let writer = thread::spawn(move || {
            while gone.recv().is_ok() {
                rustix::io::write(&*other, &1_u64.to_ne_bytes()).unwrap();
            }
        });
        for _ in 0..100 {
            let readable = ring.poll(&*event, 1);
            go.send(()).unwrap();
            assert_eq!(readable.await.unwrap() & 1, 1);
            rustix::io::read(&*event, &mut [0; 8]).unwrap();
        }
        drop(go);
        writer.join().unwrap();
    })
    .unwrap();
}
