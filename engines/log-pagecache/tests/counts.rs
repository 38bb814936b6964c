//! What the mechanism costs, in counts: segments filled with zeros, segments used again, reads that the shard had to wait for.

use log_api::{Appended, EngineConfig, Level, LogEngine, LogId, Offset, Piece, Read, ReadKind, SendPath};
use log_pagecache::PageCache;
use log_testkit::{Pen, config, directory, in_shard, shape};
use shard_ring::Ring;
use std::{
    fs::File,
    io::Read as _,
    os::unix::{fs::MetadataExt, net::UnixStream},
    rc::Rc,
};

const LOG: LogId = LogId(3);

async fn start(ring: &Ring, config: EngineConfig) -> (PageCache, Pen) {
    let engine = PageCache::new(ring, config).await.expect("an engine in a fresh directory");
    let recovery = engine.open(LOG).await.expect("a new log");
    (engine, Pen::new(11, LOG, recovery.epoch))
}

/// Bytes that this thread had read from a device.
fn read_bytes() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").expect("a kernel with task I/O accounting");
    let line = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.expect("a count of bytes read").parse().expect("a number")
}

#[test]
fn a_commit_that_ends_inside_a_page_does_not_have_the_shard_read_that_page() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let before = read_bytes();
        for _ in 0..100 {
            pen.append(&engine, &[shape(1, 5000)]).await;
            pen.commit(&engine, Level::Durable).await;
        }
        assert_eq!(read_bytes() - before, 0);
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn segments_given_up_are_the_next_ones_and_only_the_first_are_filled_with_zeros() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        while engine.counters().rolls.get() < 20 {
            pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Durable).await;
            engine.trim(LOG, engine.marks(LOG).durable).await.unwrap();
        }
        let spent = engine.counters().snapshot();
        assert!(spent.segments_recycled >= 8, "{} segments were recycled", spent.segments_recycled);
        assert!(spent.segments_zeroed <= 12, "{} segments were filled with zeros", spent.segments_zeroed);
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

/// A range of a segment on its way to a receiver who has not looked yet.
struct Sent {
    inode: u64,
    segment: Offset,
    _file: Rc<File>,
    to: UnixStream,
    bytes: Vec<u8>,
}

#[test]
fn pages_that_were_sent_by_reference_are_not_overwritten_through_the_page_cache() {
    let dir = directory();
    let config = EngineConfig { send: SendPath::Sendfile, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let mut sent: Vec<Sent> = Vec::new();
        let mut used_again = 0;
        while engine.counters().rolls.get() < 12 {
            let Appended { base, segment, .. } = pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Durable).await;
            let until = engine.marks(LOG).placed;
            let read = Read { from: base, until, bytes_max: 1 << 20, kind: ReadKind::Hot };
            let chunk = engine.read(LOG, read).await.unwrap();
            let [Piece::File(part)] = &chunk.pieces[..] else { panic!("a range of a file") };
            let inode = part.file.metadata().unwrap().ino();
            used_again += u32::from(sent.iter().any(|sent| sent.inode == inode && sent.segment != segment));
            if sent.iter().all(|sent| sent.inode != inode) {
                let (from, to) = UnixStream::pair().unwrap();
                let mut at = part.range.start;
                while at < part.range.end {
                    let left = (part.range.end - at) as usize;
                    assert!(rustix::fs::sendfile(&from, &part.file, Some(&mut at), left).unwrap() > 0);
                }
                let bytes = pen.batches.last().unwrap().bytes.clone();
                // The file stays open, so that no other gets its number.
                sent.push(Sent { inode, segment, _file: part.file.clone(), to, bytes });
            }
            drop(chunk);
            engine.trim(LOG, engine.marks(LOG).durable).await.unwrap();
        }
        let spent = engine.counters().snapshot();
        assert_eq!(spent.segments_recycled, 0, "every segment was read");
        assert!(spent.segments_zeroed >= 10, "{} segments were filled with zeros", spent.segments_zeroed);
        assert!(used_again > 0, "no file of which something was sent was written again");
        for Sent { segment, mut to, bytes, .. } in sent {
            let mut received = vec![0; bytes.len()];
            to.read_exact(&mut received).unwrap();
            assert!(received == bytes, "what was sent of the segment at {segment} changed on its way");
        }
        engine.close().await.unwrap();
    });
}
