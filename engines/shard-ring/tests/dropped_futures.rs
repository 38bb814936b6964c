//! A dropped future frees nothing that the kernel uses: its slot owns the buffer until the completion, and then comes
//! back.
#![cfg(not(loom))]

use shard_ring::{ExecutorConfig, RingConfig, Slab, Sync, block_on, sleep, yield_now};
use std::{fs::File, io::Write, net::TcpListener, os::fd::OwnedFd, rc::Rc, time::Duration};

#[test]
fn a_dropped_read_keeps_its_block_until_the_completion() {
    let config = ExecutorConfig { ring: RingConfig { slots: 1, ..Default::default() }, ..Default::default() };
    let (reader, mut writer) = std::io::pipe().unwrap();
    block_on(config, move |ring| async move {
        let slab = Slab::new(4_096, 1).unwrap();
        let reader = ring.adopt(File::from(OwnedFd::from(reader)));
        let read = ring.read(&reader, slab.take().unwrap(), 100, 0);
        let behind = ring.nop();
        yield_now().await; // submitted
        drop(read);
        yield_now().await;
        assert_eq!(slab.free_blocks(), 0, "the kernel may still write to the block");
        assert_eq!(ring.in_flight(), (1, 1), "the orphan holds the only slot, the next operation waits for it");
        assert_eq!(ring.counters().orphans.get(), 1);

        let freed = slab.freed().wait();
        writer.write_all(b"arrives after nobody wants it").unwrap();
        behind.await.unwrap();
        freed.await;
        assert_eq!(slab.free_blocks(), 1);
        assert_eq!(ring.in_flight(), (0, 0));
        assert_eq!(slab.take().unwrap().filled(), 0, "a block starts empty, whatever an orphan read into it");
    })
    .unwrap();
}

#[test]
fn a_dropped_read_counts_for_a_block_that_others_hold() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(4_096, 1).unwrap();
        let reader = ring.adopt(File::from(OwnedFd::from(reader)));
        let block = slab.take().unwrap();
        drop(ring.read(&reader, block.clone(), 100, 0));
        writer.write_all(b"abc").unwrap();
        while block.filled() == 0 {
            yield_now().await;
        }
        assert_eq!(block.slice(0..3).as_ref(), b"abc");
    })
    .unwrap();
}

#[test]
fn a_dropped_write_is_still_done() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = file.reopen().unwrap();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(4_096, 1).unwrap();
        let file = ring.adopt(opened);
        let block = slab.take().unwrap();
        block.append(b"written");
        drop(ring.write(&file, block.slice(0..7), 0, Sync::None));
    })
    .unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"written", "the executor's end has awaited it");
}

#[test]
fn what_may_never_end_is_cancelled_by_the_drop() {
    block_on(Default::default(), move |ring| async move {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        drop(ring.accept(&listener));
        drop(ring.poll(&listener, 1));
        futures_lite::future::poll_once(sleep(Duration::from_secs(3_600))).await;
        // Six entries: three operations and their cancellations. All completions come without a connection ever being
        // made.
        while ring.counters().completions.get() < 6 {
            yield_now().await;
        }
        assert_eq!(ring.counters().orphans.get(), 3);
        assert_eq!(Rc::strong_count(&listener), 1, "the accept has let go of the listener");
    })
    .unwrap();
}

#[test]
fn an_operation_dropped_in_line_runs_all_the_same() {
    let config = ExecutorConfig { ring: RingConfig { slots: 1, ..Default::default() }, ..Default::default() };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = file.reopen().unwrap();
    block_on(config, move |ring| async move {
        let slab = Slab::new(4_096, 2).unwrap();
        let (reader, file) = (ring.adopt(File::from(OwnedFd::from(reader))), ring.adopt(opened));
        let first = ring.read(&reader, slab.take().unwrap(), 1, 0);
        let block = slab.take().unwrap();
        block.append(b"in line");
        drop(ring.write(&file, block.slice(0..7), 0, Sync::None));
        writer.write_all(b"x").unwrap();
        first.await.unwrap();
    })
    .unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"in line");
}
