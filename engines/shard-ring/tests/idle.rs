//! An idle shard does nothing: without anything in flight it never enters the kernel; with an armed receive only the
//! heartbeat looks.
#![cfg(not(loom))]

use shard_ring::{Ring, block_on};
use std::{
    future::poll_fn,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// Leaves the executor alone for `duration`: woken from another thread, not by a timer or a descriptor of its own.
async fn idle(duration: Duration) {
    let woken = Arc::new(Mutex::new((false, None::<Waker>)));
    let other = woken.clone();
    let thread = thread::spawn(move || {
        thread::sleep(duration);
        let mut woken = other.lock().expect("nobody panics with it");
        woken.0 = true;
        if let Some(waker) = woken.1.take() {
            waker.wake();
        }
    });
    poll_fn(|context| {
        let mut woken = woken.lock().expect("nobody panics with it");
        woken.1 = Some(context.waker().clone());
        if woken.0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    thread.join().expect("it only sleeps");
}

fn counts(ring: &Ring) -> (u64, u64, u64) {
    (ring.counters().enters.get(), ring.counters().heartbeats.get(), ring.counters().system_calls.get())
}

#[test]
fn nothing_in_flight_costs_nothing() {
    block_on(Default::default(), |ring| async move {
        ring.nop().await.unwrap();
        idle(Duration::from_millis(100)).await; // the heartbeat comes to rest
        let before = counts(&ring);
        idle(Duration::from_millis(300)).await;
        assert_eq!(counts(&ring), before, "enters, heartbeats, system calls");
        ring.nop().await.unwrap(); // and it goes on
    })
    .unwrap();
}

#[test]
fn an_idle_connection_costs_no_more_than_the_heartbeat() {
    block_on(Default::default(), |ring| async move {
        let (_peer, socket) = UnixStream::pair().unwrap();
        let socket = ring.adopt_socket(socket).unwrap();
        let _arrivals = ring.receive(&socket);
        idle(Duration::from_millis(50)).await;
        let (before, started) = (counts(&ring), Instant::now());
        idle(Duration::from_millis(300)).await;
        let (after, beats_max) = (counts(&ring), started.elapsed().as_millis() as u64 / 10 + 2);
        let beats = after.1 - before.1;
        assert!(after.0 - before.0 <= 2 * beats + 2, "{} enters, at most two a heartbeat", after.0 - before.0);
        assert!(after.2 - before.2 <= 2 * beats + 2, "{} system calls", after.2 - before.2);
        assert!(after.1 - before.1 <= beats_max, "{} heartbeats, at most {beats_max}", after.1 - before.1);
        assert!(after.1 > before.1, "it beats");
        assert_eq!(ring.counters().rescues.get(), 0, "sleeping is no stall");
    })
    .unwrap();
}
