//! Each file operation does what its system call does; `_all` goes on after short counts.
#![cfg(not(loom))]

use shard_ring::{Slab, Sync, block_on};
use std::{fs::File, io::Read};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = File::options().read(true).write(true).open(file.path()).unwrap();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(64 << 10, 8).unwrap();
        let registered = ring.register_slab(&slab);
        let file = ring.adopt(opened);
        assert!(file.is_fixed());
        ring.fallocate(&file, 0, 0..1 << 20).await.unwrap();
        assert_eq!(file.file().metadata().unwrap().len(), 1 << 20);

        let block = slab.take().unwrap();
        assert_eq!(block.is_registered(), registered > 7);
        block.append(&pattern(10_000));
        assert_eq!(ring.write(&file, block.slice(0..10_000), 4_096, Sync::Dsync).await.unwrap(), 10_000);
        block.pad_to(4_096);
        assert_eq!(block.filled(), 12_288);
        ring.write_all(&file, block.slice(0..12_288), 40_960, Sync::None).await.unwrap();
        ring.fsync(&file, true).await.unwrap();
        ring.fsync(&file, false).await.unwrap();
        ring.sync_file_range(&file, 0..1 << 20, 2).await.unwrap();

        let back = slab.take().unwrap();
        back.append(b"before");
        assert_eq!(ring.read(&file, back.clone(), 10_000, 4_096).await.unwrap(), 10_000);
        assert_eq!(back.filled(), 10_006);
        assert_eq!(back.slice(0..6).as_ref(), b"before");
        assert_eq!(back.slice(6..10_006).as_ref(), pattern(10_000));
        assert_eq!(back.slice(6..10_006).slice(5..9).as_ref(), &pattern(10)[5..9]);
        ring.nop().await.unwrap();
    })
    .unwrap();
    let mut bytes = Vec::new();
    File::open(file.path()).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes[4_096..14_096], pattern(10_000));
    assert_eq!(bytes[40_960..50_960], pattern(10_000));
}

#[test]
fn read_all_stops_at_the_end_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pattern(5_000)).unwrap();
    let opened = file.reopen().unwrap();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(16 << 10, 1).unwrap();
        let file = ring.adopt(opened);
        let block = slab.take().unwrap();
        assert_eq!(ring.read_all(&file, &block, 16_000, 0).await.unwrap(), 5_000);
        assert_eq!(block.slice(0..5_000).as_ref(), pattern(5_000));
        assert_eq!(ring.read_all(&file, &block, 1_000, 5_000).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_pipe_makes_reads_and_writes_short_and_the_all_forms_whole() {
    const BYTES: usize = 1 << 20;
    let (reader, writer) = std::io::pipe().unwrap();
    block_on(Default::default(), move |ring| async move {
        // A pipe holds 64 KiB: one write of 1 MiB waits for the other side, one read brings at most what is there.
        let slab = Slab::new(BYTES, 2).unwrap();
        let (reader, writer) = (
            ring.adopt(File::from(std::os::fd::OwnedFd::from(reader))),
            ring.adopt(File::from(std::os::fd::OwnedFd::from(writer))),
        );
        let (from, to) = (slab.take().unwrap(), slab.take().unwrap());
        from.append(&pattern(BYTES));
        let short = ring.write(&writer, from.slice(0..10), 0, Sync::None);
        assert_eq!(short.await.unwrap(), 10);
        assert_eq!(ring.read(&reader, to.clone(), 1_000, 0).await.unwrap(), 10, "a read brings what is there");
        let writing = {
            let (ring, from) = (ring.clone(), from.slice(10..BYTES));
            async move { ring.write_all(&writer, from, 0, Sync::None).await.unwrap() }
        };
        shard_ring::spawn_local(writing);
        assert_eq!(ring.read_all(&reader, &to, (BYTES - 10) as u32, 0).await.unwrap(), (BYTES - 10) as u32);
        assert!(to.slice(0..BYTES).as_ref() == from.slice(0..BYTES).as_ref(), "the bytes are the same, in order");
    })
    .unwrap();
}

#[test]
fn errors_are_the_systems_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = File::open(file.path()).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(4_096, 2).unwrap();
        let (file, full) = (ring.adopt(opened), ring.adopt(full));
        let block = slab.take().unwrap();
        block.append(b"x");
        let error = ring.write_all(&file, block.slice(0..1), 0, Sync::None).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9), "EBADF: opened for reading only");
        let error = ring.write(&full, block.slice(0..1), 0, Sync::None).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(28), "ENOSPC");
        let error = ring.read(&full, slab.take().unwrap(), 10, 0).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9), "EBADF: opened for writing only");
        assert_eq!(slab.free_blocks(), 1, "the block of the failed read came back");
    })
    .unwrap();
}
