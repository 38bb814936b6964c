//! Operations allocate nothing once the ring has grown to its load.
#![cfg(not(loom))]

use shard_ring::{Event, Slab, Sync, block_on};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs::File,
};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

// SAFETY: everything is the system allocator's; the counter is a thread-local without a destructor, and allocates nothing.
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

const WRITES: u64 = 2_000;

#[test]
fn writes_reads_and_flushes_allocate_nothing_but_glommios_sleeps() {
    let opened = tempfile::tempfile().unwrap();
    block_on(Default::default(), |ring| async move {
        let slab = Slab::new(16 << 10, 4).unwrap();
        ring.register_slab(&slab);
        let file = ring.adopt(opened);
        let block = slab.take().unwrap();
        block.append(&[1; 16 << 10]);
        let event = Event::new();
        let round = async |at: u64| {
            let write = ring.write(&file, block.slice(0..16 << 10), at * 4_096, Sync::None);
            let into = slab.take().unwrap();
            let nop = ring.nop();
            write.await.unwrap();
            nop.await.unwrap();
            ring.read_all(&file, &into, 100, at * 4_096).await.unwrap();
            event.notify_all();
            if at % 100 == 0 {
                ring.fsync(&file, true).await.unwrap();
            }
        };
        for at in 0..WRITES {
            round(at % 64).await; // grows what has to grow
        }
        let (before, sleeps, beats) = (allocations(), ring.counters().sleeps.get(), ring.counters().heartbeats.get());
        for at in 0..WRITES {
            round(at % 64).await;
        }
        let allocated = allocations() - before;
        let sleeps = ring.counters().sleeps.get() - sleeps;
        let beats = ring.counters().heartbeats.get() - beats;
        println!("{WRITES} rounds: {allocated} allocations, {sleeps} sleeps, {beats} heartbeats");
    })
    .unwrap();
}

#[test]
fn nothing_at_all_is_allocated_while_the_ring_does_not_sleep() {
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    block_on(Default::default(), |ring| async move {
        let slab = Slab::new(16 << 10, 2).unwrap();
        let file = ring.adopt(null);
        let block = slab.take().unwrap();
        block.append(&[1; 16 << 10]);
        let round = async || {
            ring.write(&file, block.slice(0..16 << 10), 0, Sync::None).await.unwrap();
            ring.nop().await.unwrap();
        };
        for _ in 0..WRITES {
            round().await;
        }
        let (before, sleeps) = (allocations(), ring.counters().sleeps.get());
        for _ in 0..WRITES {
            round().await;
        }
        println!(
            "{WRITES} rounds: {} allocations, {} sleeps",
            allocations() - before,
            ring.counters().sleeps.get() - sleeps
        );
    })
    .unwrap();
}
