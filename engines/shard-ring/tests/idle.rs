//! An idle shard does nothing: whatever it waits for, it enters the kernel once and sleeps.
#![cfg(not(loom))]

use shard_ring::{Ring, block_on, doorbell, sleep};
use std::{net::TcpListener, os::unix::net::UnixStream, rc::Rc, thread, time::Duration};

/// Leaves the shard alone while another wakes up so many times.
async fn idle(ring: &Ring, wakes: usize) {
    let (bell, mut doorbell) = doorbell();
    let clock = thread::spawn(move || {
        block_on(Default::default(), move |_| async move {
            for _ in 0..wakes {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .expect("the other shard runs to its end");
        bell.ring();
    });
    doorbell.wait(ring).await.expect("the ring lives");
    clock.join().expect("the other shard runs to its end");
}

fn counts(ring: &Ring) -> (u64, u64, u64) {
    (ring.counters().enters.get(), ring.counters().sleeps.get(), ring.counters().system_calls.get())
}

#[test]
fn a_shard_that_only_listens_sleeps_in_one_enter() {
    block_on(Default::default(), |ring| async move {
        ring.nop().await.unwrap();
        idle(&ring, 1).await;
        let (enters, sleeps, calls) = counts(&ring);
        idle(&ring, 50).await;
        assert_eq!(counts(&ring), (enters + 1, sleeps + 1, calls + 1), "enters, sleeps, system calls");
        ring.nop().await.unwrap(); // and it goes on
    })
    .unwrap();
}

#[test]
fn idle_connections_and_listeners_cost_nothing() {
    block_on(Default::default(), |ring| async move {
        let pairs: Vec<_> = (0..10).map(|_| UnixStream::pair().unwrap()).collect();
        let sockets: Vec<_> =
            pairs.iter().map(|(_, socket)| ring.adopt_socket(socket.try_clone().unwrap()).unwrap()).collect();
        let _arrivals: Vec<_> = sockets.iter().map(|socket| ring.receive(socket)).collect();
        let _accept = ring.accept(&Rc::new(TcpListener::bind("127.0.0.1:0").unwrap()));
        idle(&ring, 1).await;
        let (enters, sleeps, calls) = counts(&ring);
        idle(&ring, 50).await;
        assert_eq!(counts(&ring), (enters + 1, sleeps + 1, calls + 1), "enters, sleeps, system calls");
    })
    .unwrap();
}

#[test]
fn submitting_enters_at_once_and_only_for_what_was_pushed() {
    block_on(Default::default(), |ring| async move {
        let enters = || ring.counters().enters.get();
        ring.nop().await.unwrap();
        let before = enters();
        ring.submit();
        let nop = ring.nop();
        assert_eq!(enters(), before, "nothing was pushed, or nobody was in a hurry");
        ring.submit();
        assert_eq!(enters(), before + 1);
        ring.submit();
        assert_eq!(enters(), before + 1, "once is enough");
        nop.await.unwrap();
    })
    .unwrap();
}

#[test]
fn an_operation_alone_is_one_system_call() {
    block_on(Default::default(), |ring| async move {
        ring.nop().await.unwrap();
        let (enters, sleeps, calls) = counts(&ring);
        for _ in 0..100 {
            ring.nop().await.unwrap();
        }
        assert_eq!(counts(&ring), (enters + 100, sleeps + 100, calls + 100), "enters, sleeps, system calls");
    })
    .unwrap();
}
