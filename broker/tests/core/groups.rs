//! Partitions that share a log, through the node: each keeps its own offsets and consumers, one flush serves all, and a quiet one does not keep
//! what the others wrote.

use crate::support::{batch, fill, numbers, publish, read, receive, subscribe};
use broker::{EngineKind, Layout, Node, NodeConfig, Producer, Stop, consumer::Request};
use log_api::{Availability, Offset, ReadKind};
use log_format::{CHECKPOINT, FRAME_BYTES, peek_frame};
use std::{
    io::Write,
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

const PARTITIONS: u32 = 50;

fn config(engine: EngineKind, dir: &Path) -> NodeConfig {
    NodeConfig {
        segment_bytes: 1 << 20,
        layout: Layout::Group(None),
        partitions: PARTITIONS,
        ..NodeConfig::new(engine, dir)
    }
}

fn available(dir: &Path) -> Vec<EngineKind> {
    EngineKind::DISK.into_iter().filter(|kind| kind.availability(dir) == Availability::Available).collect()
}

/// One batch of two records to each partition, the batches of all of them between each other; returns when all are acknowledged.
fn spread(producer: &mut Producer, rounds: std::ops::Range<u64>) {
    let mut left = (rounds.end - rounds.start) * u64::from(PARTITIONS);
    for round in rounds {
        for partition in 0..PARTITIONS {
            while !publish(producer, partition, &batch(2 * round, 2, 700), 2) {
                producer.acks(|ack| left -= u64::from(ack.batches));
                std::thread::yield_now();
            }
        }
    }
    producer.flush();
    while left > 0 {
        producer.acks(|ack| left -= u64::from(ack.batches));
        std::thread::yield_now();
    }
}

#[test]
fn partitions_of_a_shard_share_a_log_that_goes_from_engine_to_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engines = available(dir.path());
    let mut rounds = 0;
    for engine in engines.iter().chain(&engines) {
        let mut node = Node::start(config(*engine, dir.path())).unwrap();
        let handle = &mut node.shards()[0];
        assert!(handle.recovered.iter().all(|(_, recovery)| recovery.marks.end == Offset(2 * rounds)), "{engine}");
        let (mut producer, address) = (handle.producer.take().unwrap(), handle.address);
        spread(&mut producer, rounds..rounds + 40);
        rounds += 40;
        for (partition, kind) in [(0, ReadKind::Hot), (7, ReadKind::Scan), (PARTITIONS - 1, ReadKind::Scan)] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(&Request { partition, kind, from: Offset(0) }.encode()).unwrap();
            let received = numbers(&receive(&mut stream, 0, 2 * rounds), 0);
            assert_eq!(received, (0..2 * rounds).collect::<Vec<_>>(), "{engine}, partition {partition}");
        }
        let report = node.stop(Stop::default()).unwrap().shards.remove(0);
        assert_eq!(report.failure, None);
        let (commits, flushes, rolls) = (report.commits, report.engine.flushes, report.engine.rolls);
        assert!(
            report.attestation.iter().any(|words| words.starts_with("layout: 50 partitions in 1 shared logs,")),
            "{:?}",
            report.attestation
        );
        // A write or two a commit, and a few at each roll; with logs of their own there would be a flush a partition.
        assert!(flushes <= 4 * commits + 8 * rolls + 8, "{engine}: {flushes} flushes for {commits} commits");
    }
    let folders = std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 1, "one log");
}

/// Follows all that a group shares until each partition has come to `end`: every frame where the one before ended, every batch the next of
/// its partition.
fn follow(stream: &mut TcpStream, from: Offset, mut next: Vec<u64>, end: u64) -> Offset {
    let (mut bytes, mut at, mut place) = (Vec::new(), 0, from);
    let mut buffer = vec![0; 64 << 10];
    while next.iter().any(|next| *next < end) {
        let more = read(stream, &mut buffer).unwrap();
        assert!(more > 0, "the stream ended at {place}");
        bytes.extend_from_slice(&buffer[..more]);
        while let Some(frame) = peek_frame(&bytes[at..]).unwrap() {
            let Some(entry) = bytes.get(at..at + frame.total_bytes() as usize) else { break };
            assert_eq!(frame.sequence, Some(place));
            if frame.partition != CHECKPOINT {
                let first = &mut next[frame.partition as usize];
                assert_eq!(
                    numbers(&entry[FRAME_BYTES..], *first),
                    [*first, *first + 1],
                    "partition {}",
                    frame.partition
                );
                *first += 2;
            }
            at += entry.len();
            place = place.plus(entry.len() as u64);
        }
    }
    assert_eq!(at, bytes.len(), "nothing after the commit point");
    place
}

#[test]
fn one_consumer_follows_all_that_a_group_shares() {
    for (engine, send) in available(tempfile::tempdir().unwrap().path()).into_iter().flat_map(|engine| {
        let paths = engine.capabilities().send_paths.iter();
        paths.map(move |send| (engine, *send))
    }) {
        let dir = tempfile::tempdir().unwrap();
        let config = NodeConfig { send: Some(send), ..config(engine, dir.path()) };
        let mut came_to = Offset(0);
        for round in 0..2 {
            let mut node = Node::start(config.clone()).unwrap();
            let handle = &mut node.shards()[0];
            let shared = handle.shared.remove(0);
            assert_eq!(shared.marks.end, came_to, "{engine} by {send}");
            assert_eq!(shared.partitions, (0..PARTITIONS).collect::<Vec<_>>());
            let connect = |from| {
                let mut stream = TcpStream::connect(handle.address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                let request = Request { partition: shared.number, kind: ReadKind::Hot, from };
                stream.write_all(&request.encode()).unwrap();
                stream
            };
            let mut tail = connect(shared.marks.end);
            spread(handle.producer.as_mut().unwrap(), round * 40..(round + 1) * 40);
            let seen = vec![round * 80; PARTITIONS as usize];
            let end = follow(&mut tail, shared.marks.end, seen, (round + 1) * 80);
            let whole = follow(&mut connect(Offset(0)), Offset(0), vec![0; PARTITIONS as usize], (round + 1) * 80);
            assert_eq!(whole, end, "{engine} by {send}: from the beginning it is the same log");
            drop(tail);
            let report = node.stop(Stop::default()).unwrap().shards.remove(0);
            assert_eq!((report.failure, report.consumers_failed), (None, 0));
            came_to = end;
        }
    }
}

#[test]
fn another_layout_and_too_large_a_group_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let Some(&engine) = available(dir.path()).first() else { return };
    Node::start(config(engine, dir.path())).unwrap().stop(Stop::default()).unwrap();
    for (layout, said) in [
        (Layout::Partition, "was made with --layout group, not with --layout partition"),
        (Layout::Group(Some(10)), "was made with --layout group, not with --layout group:10"),
    ] {
        let error = Node::start(NodeConfig { layout, ..config(engine, dir.path()) }).err().expect("another layout");
        assert!(error.to_string().ends_with(said), "{error}");
    }
    let error = Node::start(NodeConfig { partitions: 16_385, ..config(engine, dir.path()) }).err().expect("too many");
    assert_eq!(
        error.to_string(),
        "layout: 16385 partitions in one group, 16384 at most: write group:<n> for smaller groups"
    );
    let several = NodeConfig { layout: Layout::Group(Some(20)), ..config(engine, &dir.path().join("several")) };
    Node::start(several).unwrap().stop(Stop::default()).unwrap();
    let folders =
        std::fs::read_dir(dir.path().join("several")).unwrap().flatten().filter(|e| e.path().is_dir()).count();
    assert_eq!(folders, 3, "fifty partitions in groups of twenty");
}

#[test]
fn a_quiet_partition_does_not_keep_what_the_others_wrote() {
    for engine in available(tempfile::tempdir().unwrap().path()) {
        let dir = tempfile::tempdir().unwrap();
        let two = NodeConfig { partitions: 2, retention_bytes: Some(3 << 19), ..config(engine, dir.path()) };
        let mut node = Node::start(two.clone()).unwrap();
        let mut producer = node.shards()[0].producer.take().unwrap();
        assert!(publish(&mut producer, 1, &batch(0, 1, 1000), 1));
        producer.flush();
        let mut kept = 0;
        while kept == 0 {
            producer.acks(|ack| kept += ack.batches);
            std::thread::yield_now();
        }
        fill(&mut producer, 0..15_000, 1000);
        let on_disk = || -> u64 {
            let files = std::fs::read_dir(dir.path().join("00000")).unwrap().flatten();
            let segments = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
            segments.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
        };
        let waiting = Instant::now();
        while on_disk() > 8 << 20 && waiting.elapsed() < Duration::from_secs(30) {
            std::thread::yield_now();
        }
        assert!(on_disk() <= 8 << 20, "{engine}: {} bytes are kept, 3 MiB were to be", on_disk());
        let address = node.shards()[0].address;
        let mut tail = subscribe(address, Offset(14_500), ReadKind::Hot);
        assert!(!receive(&mut tail, 14_500, 15_000).is_empty());
        node.stop(Stop::default()).unwrap();
        let mut again = Node::start(two).unwrap();
        let ends: Vec<Offset> = again.shards()[0].recovered.iter().map(|(_, recovery)| recovery.marks.end).collect();
        assert!(ends[1] == Offset(1) && ends[0] >= Offset(15_000), "{engine}: {ends:?}");
        again.stop(Stop::default()).unwrap();
    }
}

#[test]
fn what_a_reader_of_one_partition_has_not_read_stays_up_to_twice_what_should() {
    let each = 24 << 20;
    let told = NodeConfig { partitions: 2, retention_bytes: Some(each), ..config(EngineKind::Memory, Path::new("")) };
    let mut node = Node::start(told).unwrap();
    let (mut producer, address) = (node.shards()[0].producer.take().unwrap(), node.shards()[0].address);
    // It is sent what the socket takes, at most 32 MiB, and reads nothing yet.
    let mut slow = subscribe(address, Offset(0), ReadKind::Hot);
    while node.stats().stats()[0].consumers == 0 {
        std::thread::yield_now();
    }
    // Without it the first half would go.
    let count = 4 * each / 8192;
    fill(&mut producer, 0..count, 8000);
    assert_eq!(numbers(&receive(&mut slow, 0, count), 0).len() as u64, count);
    drop(slow);
    // Nobody is waited for any more.
    while node.stats().stats()[0].consumers > 0 {
        std::thread::yield_now();
    }
    fill(&mut producer, count..count + 2000, 8000);
    let report = node.stop(Stop::default()).unwrap();
    let trimmed = report.shards[0].stats.trimmed_messages;
    let kept = (count + 2000 - trimmed) * batch(0, 1, 8000).len() as u64;
    assert!((2 * each..2 * each + (8 << 20)).contains(&kept), "{kept} bytes are kept");
}
