//! A signal that the kernel loses costs a heartbeat, not the operation. Linux 6.18 loses those of completions that come
//! from writes to an eventfd, all but the first; on a kernel that loses none this test passes too.
#![cfg(not(loom))]

use rustix::event::{EventfdFlags, eventfd};
use shard_ring::block_on;
use std::{sync::Arc, thread};

#[test]
fn the_heartbeat_finds_what_was_not_signalled() {
    block_on(Default::default(), |ring| async move {
        let event = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let (go, gone) = std::sync::mpsc::channel();
        let other = event.clone();
        let writer = thread::spawn(move || {
            while gone.recv().is_ok() {
                rustix::io::write(&*other, &1_u64.to_ne_bytes()).unwrap();
            }
        });
        for _ in 0..5 {
            let readable = ring.poll(&*event, 1);
            // Armed and asleep: the completion comes from the other thread's write.
            let sleeps = ring.counters().sleeps.get();
            let (ring, go) = (ring.clone(), go.clone());
            shard_ring::spawn_local(async move {
                while ring.counters().sleeps.get() == sleeps {
                    futures_lite::future::yield_now().await;
                }
                go.send(()).unwrap();
            });
            assert_eq!(readable.await.unwrap() & 1, 1);
            rustix::io::read(&*event, &mut [0; 8]).unwrap();
        }
        drop(go);
        writer.join().unwrap();
        println!("{} completions without a signal", ring.counters().unsignalled.get());
    })
    .unwrap();
}
