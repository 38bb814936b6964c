//! An idle shard does nothing: without anything in flight it never enters the kernel; with an armed receive only the
//! heartbeat looks.
#![cfg(not(loom))]

use rustix::thread::{Pid, gettid};
use shard_ring::{Ring, block_on};
use std::{
    fs,
    future::{pending, poll_fn},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, mpsc},
    task::{Poll, Waker},
    thread,
    time::Instant,
};

/// Leaves the executor alone until `over`: woken from another thread, not by a timer or a descriptor of its own.
async fn idle(mut over: impl FnMut() -> bool + Send + 'static) {
    let woken = Arc::new(Mutex::new((false, None::<Waker>)));
    let other = woken.clone();
    let thread = thread::spawn(move || {
        while !over() {
            thread::yield_now();
        }
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
    thread.join().expect("it only looks");
}

/// Says when a thread of this process has gone to sleep so many times more.
fn sleeps_more(thread: Pid, times: u64) -> impl FnMut() -> bool + Send {
    let path = format!("/proc/self/task/{}/status", thread.as_raw_nonzero());
    let sleeps = move || {
        let status = fs::read_to_string(&path).expect("a thread of this process");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
    };
    let before = sleeps();
    move || sleeps() >= before + times
}

/// A shard with an idle connection, which its heartbeat wakes from time to time: a clock that this test need not wind.
fn beating_shard() -> Pid {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        block_on(Default::default(), |ring| async move {
            let (_peer, socket) = UnixStream::pair().expect("a pair of sockets");
            let socket = ring.adopt_socket(socket).expect("a socket of the ring");
            let _arrivals = ring.receive(&socket);
            tell.send(gettid()).expect("somebody waits for it");
            pending::<()>().await;
        })
    });
    told.recv().expect("the shard starts")
}

fn counts(ring: &Ring) -> (u64, u64, u64) {
    (ring.counters().enters.get(), ring.counters().heartbeats.get(), ring.counters().system_calls.get())
}

#[test]
fn nothing_in_flight_costs_nothing() {
    block_on(Default::default(), |ring| async move {
        ring.nop().await.unwrap();
        let clock = beating_shard();
        idle(sleeps_more(clock, 10)).await; // the heartbeat comes to rest
        let before = counts(&ring);
        idle(sleeps_more(clock, 5)).await;
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
        idle(sleeps_more(gettid(), 5)).await;
        let (before, started) = (counts(&ring), Instant::now());
        idle(sleeps_more(gettid(), 5)).await;
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
