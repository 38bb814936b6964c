//! What a wake-up carries costs no allocations: the same few for one batch and for hundreds.
#![cfg(not(loom))]

use broker::{
    CommitPolicy, EngineKind, Producer, Stop,
    engine::EngineUser,
    shard::{Shard, ShardConfig},
};
use log_api::{Availability, EngineConfig, LogEngine};
use log_format::Template;
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

/// Measures the wake-ups of a shard with an engine: whoever makes it hands it over.
struct WakeUps {
    commit: CommitPolicy,
    /// At most so many allocations for one batch, and for a thousand.
    most: (u64, u64),
    what: String,
}

impl EngineUser for WakeUps {
    type Output = ();

    async fn with<E: LogEngine>(self, ring: &Ring, engine: E) {
        let template = Template::new(1, 100);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let config = ShardConfig { commit: self.commit, ..ShardConfig::new(vec![0]) };
        let (shard, mut producer, _) =
            Shard::start(ring, engine, config, 1 << 20, listener).await.expect("an empty directory opens");
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
        assert!(one[10] <= self.most.0, "{}: one batch: {one:?}", self.what);
        assert!(thousand[10] <= self.most.1, "{}: a thousand batches: {thousand:?}, one: {one:?}", self.what);
        shard.stop(Stop::default()).await;
    }
}

fn measure(engine: EngineKind, durable: bool, commit: CommitPolicy, most: (u64, u64)) {
    let dir = tempfile::tempdir().expect("a directory");
    if let Availability::Unavailable(why) = engine.availability(dir.path()) {
        return eprintln!("skipped: {engine}: {why}");
    }
    shard_ring::block_on(ExecutorConfig::default(), move |ring| async move {
        let config = EngineConfig { durable, segment_bytes: 16 << 20, ..EngineConfig::new(dir.path()) };
        let what = format!("{engine}, durable {durable}, commit {commit}");
        engine.with(&ring, config, WakeUps { commit, most, what }).await.expect("an engine");
    })
    .expect("an executor");
}

#[test]
fn a_wake_up_allocates_a_bounded_number_of_times_whatever_it_carries() {
    for commit in [CommitPolicy::Inflight(1), CommitPolicy::Inflight(4)] {
        measure(EngineKind::Null, false, commit, (4, 8));
        measure(EngineKind::Memory, false, commit, (4, 8));
        for engine in EngineKind::DISK {
            for durable in [false, true] {
                measure(engine, durable, commit, (8, 16));
            }
        }
    }
}
