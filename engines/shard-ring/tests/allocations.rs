//! Operations allocate nothing once the ring has grown to its load.
#![cfg(not(loom))]

use shard_ring::{Event, Ring, Slab, Sync, block_on, spawn_local, yield_now};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    rc::Rc,
    time::Instant,
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
///
/// A sleep of the executor costs glommio about a dozen allocations, and a heartbeat a few; they come by the
/// millisecond, not by the operation. A task that always yields keeps the executor from sleeping; what is left is one
/// turn of glommio's reactor every 100 ms.
async fn count(ring: &Ring, mut round: impl AsyncFnMut(u64)) {
    let done = Rc::new(Cell::new(false));
    let also_done = done.clone();
    spawn_local(async move {
        while !also_done.get() {
            yield_now().await;
        }
    });
    for number in 0..ROUNDS {
        round(number).await;
    }
    let (started, before, beats) = (Instant::now(), ALLOCATIONS.get(), ring.counters().heartbeats.get());
    let completions = ring.counters().completions.get();
    for number in 0..ROUNDS {
        round(number).await;
    }
    let allocations = ALLOCATIONS.get() - before;
    done.set(true);
    let beats = ring.counters().heartbeats.get() - beats;
    let reactor_turns = started.elapsed().as_millis() as u64 / 100 + 1;
    let completions = ring.counters().completions.get() - completions;
    println!(
        "{completions} completions: {allocations} allocations, {beats} heartbeats, {reactor_turns} turns of the reactor"
    );
    let glommios_own = 15 * (beats + reactor_turns);
    assert!(completions >= ROUNDS, "the rounds do nothing");
    assert!(allocations <= glommios_own, "{allocations} allocations, {glommios_own} may be glommio's own");
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
