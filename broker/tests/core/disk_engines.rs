//! The disk engines behind the core: what is acknowledged is received byte for byte, found again by any other of them, and the
//! engine that ran is the one that was asked for. Where a machine cannot run one, the test says so and goes on.

use crate::support::{fill, numbers, receive, subscribe};
use broker::{CommitPolicy, Durability, EngineKind, Node, NodeConfig, NodeError, ShardReport, Stop};
use log_api::{Availability, Offset, OpenError, ReadKind, SendPath};
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn config(engine: EngineKind, dir: &Path) -> NodeConfig {
    NodeConfig { segment_bytes: 1 << 20, ..NodeConfig::new(engine, dir) }
}

/// The disk engines that can run in `dir`.
fn available(dir: &Path) -> Vec<EngineKind> {
    let can = |kind: &EngineKind| match kind.availability(dir) {
        Availability::Available => true,
        Availability::Unavailable(why) => {
            eprintln!("{kind} is not tested: {why}");
            false
        }
    };
    EngineKind::DISK.into_iter().filter(can).collect()
}

/// Publishes `from..to`, with a tail consumer from the start and a late one; returns the bytes of the whole log.
fn round(config: NodeConfig, from: u64, to: u64) -> (Vec<u8>, ShardReport) {
    let mut node = Node::start(config).unwrap();
    let handle = &mut node.shards()[0];
    let (mut producer, address) = (handle.producer.take().unwrap(), handle.address);
    assert_eq!(handle.recovered[0].1.marks.end, Offset(from));
    let mut tail = subscribe(address, Offset(0), ReadKind::Hot);
    let reader = std::thread::spawn(move || receive(&mut tail, 0, to));
    fill(&mut producer, from..to, 1000);
    let received = reader.join().unwrap();
    assert_eq!(numbers(&received, 0), (0..to).collect::<Vec<_>>());
    let mut late = subscribe(address, Offset(0), ReadKind::Scan);
    assert_eq!(receive(&mut late, 0, to), received);
    let report = node.stop(Stop::default()).unwrap().shards.remove(0);
    assert_eq!((report.stats.acked_messages, report.failure.clone()), (to - from, None), "{report:?}");
    assert_eq!(report.stats.sent_bytes, 2 * received.len() as u64);
    (received, report)
}

#[test]
fn a_log_goes_from_engine_to_engine() {
    for durability in [Durability::Durable, Durability::None, Durability::Interval(Duration::from_millis(5))] {
        let dir = tempfile::tempdir().unwrap();
        let (mut end, mut before) = (0, Vec::new());
        let engines = available(dir.path());
        for engine in engines.iter().chain(&engines) {
            let config = NodeConfig { durability, ..config(*engine, dir.path()) };
            let (bytes, report) = round(config, end, end + 3000);
            assert!(bytes.starts_with(&before), "{engine} keeps what others wrote");
            assert!(report.engine.rolls > 0);
            (end, before) = (end + 3000, bytes);
            eprintln!("{engine} {durability}: {:#?}", report.attestation);
            let observed = report.observed;
            match engine {
                EngineKind::Direct => {
                    assert!(observed.direct_descriptors > 0);
                    assert_eq!((report.sendfile_bytes, observed.mappings), (0, 0));
                }
                EngineKind::Mmap => {
                    assert!(observed.mapped_bytes >= 1 << 20);
                    assert!(observed.direct_descriptors <= 1, "a segment may be in preparation");
                    assert!(report.sendfile_bytes > 0);
                }
                _ => {
                    assert!(observed.direct_descriptors <= 1, "a segment may be in preparation");
                    assert_eq!(observed.mappings, 0);
                    assert_eq!(report.sendfile_bytes, report.stats.sent_bytes);
                }
            }
            let flushed = report.engine.flushes > 0;
            assert!(flushed || durability == Durability::None, "{engine} flushes under {durability}");
        }
    }
}

#[test]
fn every_policy_and_both_send_paths_carry_the_log() {
    for engine in EngineKind::DISK {
        let policies =
            [CommitPolicy::Inflight(8), CommitPolicy::Linger(Duration::from_micros(300)), CommitPolicy::Each];
        for (commit, send) in policies.into_iter().zip([SendPath::Copy, SendPath::Sendfile, SendPath::Copy]) {
            let dir = tempfile::tempdir().unwrap();
            if !available(dir.path()).contains(&engine) {
                continue;
            }
            let send = engine.capabilities().send_paths.contains(&send).then_some(send);
            let config = NodeConfig { commit, send, ..config(engine, dir.path()) };
            let (bytes, report) = round(config, 0, 500);
            if send == Some(SendPath::Copy) {
                assert_eq!((report.sendfile_bytes, report.send_bytes), (0, 2 * bytes.len() as u64), "{engine}");
            }
            if commit == CommitPolicy::Each {
                assert_eq!((report.commits, report.commit_messages_max), (500, 1), "{engine}");
            }
        }
    }
}

#[test]
fn a_directory_has_one_node_at_a_time_and_keeps_its_number_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    for engine in available(dir.path()) {
        let first = Node::start(config(engine, dir.path())).unwrap();
        let error = Node::start(config(engine, dir.path())).err().expect("the directory is held");
        assert!(matches!(error, NodeError::Open(OpenError::Held(_))), "{error}");
        first.stop(Stop::default()).unwrap();
        let two = NodeConfig { shards: 2, partitions: 2, ..config(engine, dir.path()) };
        let error = Node::start(two).err().expect("it was made with one shard").to_string();
        assert!(error.contains("was made with 1 shards, not with 2"), "{error}");
    }
}

#[test]
fn several_shards_have_a_directory_each() {
    let dir = tempfile::tempdir().unwrap();
    for engine in available(dir.path()) {
        let config = NodeConfig { shards: 2, partitions: 3, ..config(engine, &dir.path().join(engine.name())) };
        let mut node = Node::start(config.clone()).unwrap();
        let own: Vec<usize> = node.shards().iter().map(|handle| handle.recovered.len()).collect();
        assert_eq!(own, [2, 1]);
        node.stop(Stop::default()).unwrap();
        Node::start(config).unwrap().stop(Stop::default()).unwrap();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_node_was_dropped() {
    for engine in EngineKind::DISK {
        let dir = tempfile::tempdir().unwrap();
        if !available(dir.path()).contains(&engine) {
            continue;
        }
        let mut node = Node::start(config(engine, dir.path())).unwrap();
        let mut producer = node.shards()[0].producer.take().unwrap();
        fill(&mut producer, 0..1500, 1000);
        drop(node);
        let mut again = Node::start(config(engine, dir.path())).unwrap();
        let handle = &again.shards()[0];
        assert_eq!(handle.recovered[0].1.marks.end, Offset(1500), "{engine}");
        let mut all = subscribe(handle.address, Offset(0), ReadKind::Scan);
        assert_eq!(numbers(&receive(&mut all, 0, 1500), 0).len(), 1500);
        again.stop(Stop::default()).unwrap();
    }
}

#[test]
fn retention_bounds_a_log_on_disk() {
    for engine in EngineKind::DISK {
        let dir = tempfile::tempdir().unwrap();
        if !available(dir.path()).contains(&engine) {
            continue;
        }
        let retention = NodeConfig { retention_bytes: Some(3 << 20), ..config(engine, dir.path()) };
        let mut node = Node::start(retention).unwrap();
        let mut producer = node.shards()[0].producer.take().unwrap();
        fill(&mut producer, 0..15_000, 1000);
        // What can be given up depends on how far the engine's helper has come with finishing segments.
        let kept = || (15_000 - node.stats().stats()[0].trimmed_messages) * 1000;
        let waiting = Instant::now();
        while kept() > 6 << 20 && waiting.elapsed() < Duration::from_secs(30) {
            std::thread::yield_now();
        }
        assert!((3 << 20..=6 << 20).contains(&kept()), "{engine} keeps {} bytes", kept());
        node.stop(Stop::default()).unwrap();
        let segments = std::fs::read_dir(dir.path().join("00000")).unwrap();
        let on_disk: u64 = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= 8 << 20, "{engine}: {on_disk} bytes on disk");
    }
}
