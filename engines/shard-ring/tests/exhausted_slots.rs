//! More operations than slots: they wait in line, first come first served. More than the submission queue holds: the
//! same.
#![cfg(not(loom))]

use shard_ring::{ExecutorConfig, RingConfig, Slab, Sync, block_on, spawn_local};
use std::{
    cell::RefCell,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    rc::Rc,
};

fn config(entries: u32, slots: u32) -> ExecutorConfig {
    ExecutorConfig { ring: RingConfig { entries, slots, ..Default::default() }, ..Default::default() }
}

#[test]
fn operations_beyond_the_slots_run_in_the_order_of_their_calls() {
    const WRITES: u8 = 100;
    let (stopper, mut release) = std::io::pipe().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    block_on(config(256, 1), move |ring| async move {
        let slab = Slab::new(4_096, 2).unwrap();
        let (stopper, writer) =
            (ring.adopt(File::from(OwnedFd::from(stopper))), ring.adopt(File::from(OwnedFd::from(writer))));
        let first = ring.read(&stopper, slab.take().unwrap(), 1, 0);
        let block = slab.take().unwrap();
        block.append(&(0..WRITES).collect::<Vec<u8>>());
        let finished = Rc::new(RefCell::new(Vec::new()));
        for at in 0..usize::from(WRITES) {
            let write = ring.write(&writer, block.slice(at..at + 1), 0, Sync::None);
            let finished = finished.clone();
            spawn_local(async move {
                assert_eq!(write.await.unwrap(), 1);
                finished.borrow_mut().push(at);
            });
        }
        assert_eq!(ring.in_flight(), (1, usize::from(WRITES)));
        assert_eq!(ring.counters().slot_waits.get(), u64::from(WRITES));
        release.write_all(b"x").unwrap();
        first.await.unwrap();
        ring.nop().await.unwrap(); // the last in line
        assert_eq!(ring.in_flight(), (0, 0));
        shard_ring::yield_now().await;
        assert_eq!(*finished.borrow(), (0..usize::from(WRITES)).collect::<Vec<_>>());
    })
    .unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, (0..WRITES).collect::<Vec<u8>>());
}

#[test]
fn a_full_submission_queue_is_no_error() {
    block_on(config(2, 64), |ring| async move {
        let ops: Vec<_> = (0..1_000).map(|_| ring.nop()).collect();
        for op in ops {
            op.await.unwrap();
        }
        assert!(ring.counters().queue_waits.get() > 0, "1,000 entries do not fit into a queue of 2");
        assert!(ring.counters().slot_waits.get() >= 900, "64 slots");
        assert_eq!(ring.counters().entries.get(), 1_000);
        assert_eq!(ring.counters().completions.get(), 1_000);
    })
    .unwrap();
}

#[test]
fn what_takes_no_slot_does_not_wait_for_one() {
    let (stopper, mut release) = std::io::pipe().unwrap();
    block_on(config(16, 1), move |ring| async move {
        let slab = Slab::new(4_096, 1).unwrap();
        let stopper = ring.adopt(File::from(OwnedFd::from(stopper)));
        let first = ring.read(&stopper, slab.take().unwrap(), 1, 0);
        shard_ring::sleep(std::time::Duration::from_millis(1)).await;
        release.write_all(b"x").unwrap();
        first.await.unwrap();
    })
    .unwrap();
}
