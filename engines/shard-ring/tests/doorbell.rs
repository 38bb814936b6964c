//! A doorbell wakes a sleeping shard, costs a system call only then, and remembers a ring that came early.
#![cfg(not(loom))]

use futures_lite::future::poll_once;
use shard_ring::{block_on, doorbell, yield_now};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

#[test]
fn everything_published_before_a_ring_is_seen() {
    const RINGERS: u64 = 2;
    const RINGS: u64 = 20_000;
    let (bell, mut doorbell) = doorbell();
    let published = Arc::new(AtomicU64::new(0));
    let ringers: Vec<_> = (0..RINGERS)
        .map(|_| {
            let (bell, published) = (bell.clone(), published.clone());
            thread::spawn(move || {
                (0..RINGS)
                    .filter(|_| {
                        published.fetch_add(1, Ordering::Relaxed);
                        bell.ring()
                    })
                    .count() as u64
            })
        })
        .collect();
    let waits = block_on(Default::default(), move |ring| async move {
        let mut waits = 0;
        while published.load(Ordering::Relaxed) < RINGERS * RINGS {
            doorbell.wait(&ring).await.unwrap();
            waits += 1;
        }
        waits
    })
    .unwrap();
    let delivered: u64 = ringers.into_iter().map(|ringer| ringer.join().unwrap()).sum();
    assert!(delivered <= waits, "{delivered} wake-ups for {waits} waits");
}

#[test]
fn a_ring_before_the_wait_is_remembered_once() {
    block_on(Default::default(), |ring| async move {
        let (bell, mut doorbell) = doorbell();
        assert!(!bell.ring() && !bell.ring(), "nobody sleeps: no system call");
        assert!(poll_once(doorbell.wait(&ring)).await.is_some());
        assert!(poll_once(doorbell.wait(&ring)).await.is_none(), "two rings before one wait are one");
    })
    .unwrap();
}

#[test]
fn a_dropped_wait_loses_no_ring() {
    block_on(Default::default(), |ring| async move {
        let (bell, mut doorbell) = doorbell();
        for _ in 0..100 {
            assert!(poll_once(doorbell.wait(&ring)).await.is_none());
            yield_now().await;
            assert!(!bell.ring(), "nobody sleeps: no system call");
            doorbell.wait(&ring).await.unwrap();
        }
        assert!(poll_once(doorbell.wait(&ring)).await.is_none(), "each ring ends one wait");
    })
    .unwrap();
}

#[test]
fn a_wait_dropped_after_the_ring_loses_it_neither() {
    block_on(Default::default(), |ring| async move {
        let (bell, mut doorbell) = doorbell();
        for _ in 0..100 {
            {
                let mut wait = std::pin::pin!(doorbell.wait(&ring));
                assert!(poll_once(wait.as_mut()).await.is_none());
                yield_now().await;
                assert!(bell.ring(), "the shard sleeps at the doorbell");
            }
            doorbell.wait(&ring).await.unwrap();
            // The dropped wait's wake-up stands in the signal still; it ends no wait.
            assert!(poll_once(doorbell.wait(&ring)).await.is_none());
        }
    })
    .unwrap();
}

#[test]
fn the_shards_end_ends_the_wait() {
    let (_bell, mut doorbell) = doorbell();
    block_on(Default::default(), |ring| async move {
        let waiting = ring.clone();
        shard_ring::spawn_local(async move { doorbell.wait(&waiting).await.unwrap() });
        ring.nop().await.unwrap();
    })
    .unwrap();
}
