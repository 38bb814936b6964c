//! What a wake-up carries costs no allocations: the same few for one batch and for hundreds.
#![cfg(not(loom))]

use broker::{
    CommitPolicy, Producer, Stop,
    shard::{Shard, ShardConfig},
};
use log_api::{EngineConfig, LogEngine};
use log_format::Template;
use log_memory::{Memory, Null};
use shard_ring::{ExecutorConfig, Ring, yield_now};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::TcpListener,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Publishes, and turns the executor until everything is acknowledged; how many allocations that took.
async fn wake_up(producer: &mut Producer, template: &Template, batches: u32) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..batches {
        let place = producer.reserve(template.bytes()).expect("the intake holds what a test publishes");
        template.write(place);
        template.seal(place);
        producer.publish(0, 1);
    }
    producer.flush();
    let mut acked = 0;
    while acked < batches {
        producer.acks(|ack| acked += ack.batches);
        yield_now().await;
    }
    ALLOCATIONS.with(Cell::get) - before
}

async fn measure<E: LogEngine>(ring: Ring, engine: E, commit: CommitPolicy) {
    let template = Template::new(1, 100);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let config = ShardConfig { commit, ..ShardConfig::new(vec![0]) };
    let (shard, mut producer, _) =
        Shard::start(&ring, engine, config, 1 << 20, listener).await.expect("these engines open anywhere");
    for _ in 0..20 {
        wake_up(&mut producer, &template, 1000).await;
    }
    let (mut one, mut thousand) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        one.push(wake_up(&mut producer, &template, 1).await);
        thousand.push(wake_up(&mut producer, &template, 1000).await);
    }
    // A list somewhere may grow once more; the typical wake-up may not.
    one.sort_unstable();
    thousand.sort_unstable();
    assert!(one[10] <= 4, "{one:?}");
    assert!(thousand[10] <= 8, "a thousand batches: {thousand:?}, one: {one:?}");
    shard.stop(Stop::default()).await;
}

#[test]
fn a_wake_up_allocates_a_bounded_number_of_times_whatever_it_carries() {
    for commit in [CommitPolicy::Inflight(1), CommitPolicy::Inflight(4)] {
        shard_ring::block_on(ExecutorConfig::default(), move |ring| async move {
            let engine = Null::new(&ring, EngineConfig::new("")).await.unwrap();
            measure(ring, engine, commit).await;
        })
        .unwrap();
    }
    shard_ring::block_on(ExecutorConfig::default(), |ring| async move {
        let engine = Memory::new(&ring, EngineConfig::new("")).await.unwrap();
        measure(ring, engine, CommitPolicy::Inflight(1)).await;
    })
    .unwrap();
}
