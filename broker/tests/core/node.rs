//! A node starts all of its shards or none, and says why not.

use crate::support::{batch, publish};
use broker::{EngineKind, Node, NodeConfig, NodeError, ShardState, Stop};
use log_api::SendPath;
use std::time::Duration;

fn refused(change: impl FnOnce(&mut NodeConfig)) -> String {
    let mut config = NodeConfig::new(EngineKind::Memory, "");
    change(&mut config);
    match Node::start(config) {
        Ok(_) => panic!("a node that cannot be was started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_value_that_cannot_be_is_named() {
    assert!(refused(|config| config.shards = 0).starts_with("shards: 0"));
    assert!(refused(|config| config.partitions = 0).starts_with("partitions: 0"));
    assert!(refused(|config| config.segment_bytes = (1 << 20) + 1).starts_with("segment_bytes: 1048577"));
    assert!(refused(|config| config.intake_bytes = 100_000).starts_with("intake_bytes: 100000"));
    assert!(refused(|config| config.inflight_bytes_max = 1).starts_with("inflight_bytes_max: 1 "));
    assert!(refused(|config| config.read_bytes_max = 0).starts_with("read_bytes_max: 0"));
    assert!(refused(|config| config.retention_bytes = Some(0)).starts_with("retention_bytes: 0"));
    let error = refused(|config| config.send = Some(SendPath::Sendfile));
    assert_eq!(error, "engine memory is unavailable: it cannot send by sendfile; it can by copy");
}

#[test]
fn partitions_are_dealt_out_and_each_shard_answers_for_its_own() {
    let config = NodeConfig { shards: 2, partitions: 5, ..NodeConfig::new(EngineKind::Memory, "") };
    let mut node = Node::start(config).unwrap();
    let mut partitions = Vec::new();
    for handle in node.shards() {
        let own: Vec<u32> = handle.recovered.iter().map(|(partition, _)| *partition).collect();
        let mut producer = handle.producer.take().unwrap();
        let bytes = batch(0, 3, 100);
        for &partition in &own {
            assert!(publish(&mut producer, partition, &bytes, 3));
        }
        producer.flush();
        let mut acked = Vec::new();
        while acked.len() < own.len() {
            producer.acks(|ack| acked.push(ack.partition));
            std::thread::yield_now();
        }
        acked.sort_unstable();
        assert_eq!(acked, own);
        partitions.push(own);
    }
    assert_eq!(partitions, [vec![0, 2, 4], vec![1, 3]]);
    let stats = node.stats();
    let report = node.stop(Stop::default()).unwrap();
    let acked: Vec<u64> = report.shards.iter().map(|shard| shard.stats.acked_messages).collect();
    assert_eq!(acked, [9, 6]);
    assert!(report.shards.iter().zip(0..).all(|(report, shard)| report.shard == shard));
    assert!(stats.stats().iter().all(|shard| shard.state == ShardState::Stopped), "a handle outlives the node");
}

#[test]
fn an_acknowledgement_carries_the_time_at_which_it_was_given() {
    let mut node = Node::start(NodeConfig::new(EngineKind::Null, "")).unwrap();
    let mut producer = node.shards()[0].producer.take().unwrap();
    let clock = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    };
    let before = clock();
    assert!(publish(&mut producer, 0, &batch(0, 1, 100), 1));
    producer.flush();
    let mut at_ns = 0;
    while at_ns == 0 {
        producer.acks(|ack| at_ns = ack.at_ns);
        std::thread::yield_now();
    }
    assert!((before..=clock()).contains(&at_ns));
    node.stop(Stop::default()).unwrap();
}

#[test]
fn a_node_that_is_dropped_ends_its_threads() {
    let mut node = Node::start(NodeConfig::new(EngineKind::Memory, "")).unwrap();
    let (stats, producer) = (node.stats(), node.shards()[0].producer.take());
    drop(node);
    assert_eq!(stats.stats()[0].state, ShardState::Stopped);
    drop(producer);
}

#[test]
fn a_shard_without_a_producer_stops() {
    let mut node = Node::start(NodeConfig::new(EngineKind::Memory, "")).unwrap();
    drop(node.shards()[0].producer.take());
    let report = node.stop(Stop { drain: Duration::from_secs(60), close: true }).unwrap();
    assert_eq!(report.shards[0].left_batches, 0);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut config = NodeConfig::new(EngineKind::PageCache, file.join("data"));
    config.segment_bytes = 1 << 20;
    let error = Node::start(config).err().expect("a file is no directory");
    assert!(matches!(error, NodeError::Io { action: "make the data directory", .. }), "{error}");
}
