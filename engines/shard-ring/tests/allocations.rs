//! Operations allocate nothing once the ring has grown to its load.
#![cfg(not(loom))]

use shard_ring::{Event, Ring, Slab, Sync, block_on};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; the counter is a thread-local without a destructor, and allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` with this layout, that is from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROUNDS: u64 = 2_000;

/// Runs `round` until everything has grown to its size, then counts what it allocates.
async fn count(ring: &Ring, mut round: impl AsyncFnMut(u64)) {
    for number in 0..ROUNDS {
        round(number).await;
    }
    let (before, completions) = (ALLOCATIONS.get(), ring.counters().completions.get());
    for number in 0..ROUNDS {
        round(number).await;
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(ring.counters().completions.get() - completions >= ROUNDS, "the rounds do nothing");
    assert_eq!(allocations, 0, "allocations in {ROUNDS} rounds");
}

#[test]
fn reads_writes_and_flushes_allocate_nothing() {
    let opened = tempfile::tempfile().unwrap();
    block_on(Default::default(), |ring| async move {
        let slab = Slab::new(16 << 10, 4).unwrap();
        ring.register_slab(&slab);
        let file = ring.adopt(opened);
        let block = slab.take().unwrap();
        block.append(&[1; 16 << 10]);
        let event = Event::new();
        count(&ring, async |number| {
            let at = number % 64 * 4_096;
            let write = ring.write(&file, block.slice(0..16 << 10), at, Sync::None);
            let (nop, notified) = (ring.nop(), event.wait());
            write.await.unwrap();
            nop.await.unwrap();
            let into = slab.take().unwrap();
            assert_eq!(ring.read_all(&file, &into, 100, at).await.unwrap(), 100);
            event.notify_all();
            notified.await;
            if number.is_multiple_of(500) {
                ring.fsync(&file, true).await.unwrap();
            }
        })
        .await;
    })
    .unwrap();
}

#[test]
fn sends_and_receives_allocate_nothing() {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    block_on(Default::default(), |ring| async move {
        let slab = Slab::new(16 << 10, 1).unwrap();
        let block = slab.take().unwrap();
        block.append(&[1; 1_000]);
        let (here, there) = (ring.adopt_socket(here).unwrap(), ring.adopt_socket(there).unwrap());
        let mut arrivals = ring.receive(&there);
        count(&ring, async |_| {
            ring.send_all(&here, block.slice(0..1_000)).await.unwrap();
            assert_eq!(arrivals.next().await.unwrap().unwrap().len(), 1_000);
        })
        .await;
    })
    .unwrap();
}

#[test]
fn short_sleeps_allocate_nothing() {
    block_on(Default::default(), |ring| async move {
        count(&ring, async |_| shard_ring::sleep(std::time::Duration::from_nanos(1)).await).await;
    })
    .unwrap();
}
