//! A log keeps what it should, and gives the rest up; a reader that is behind is waited for, up to a bound.

use crate::support::{Hand, batch, engine_config, on_a_shard, publish, settle, until};
use broker::{Durability, shard::ShardConfig};
use log_api::LogEngine;
use log_memory::Memory;
use shard_ring::Ring;

const MIB: u64 = 1 << 20;

async fn fill(hand: &mut Hand<impl LogEngine>, bytes: u64) {
    let message = batch(0, 1, 4000);
    for _ in 0..bytes / message.len() as u64 {
        let (producer, mut done) = (&mut hand.producer, false);
        until("there is room", || {
            done = done || publish(producer, 0, &message, 1);
            producer.acks(|_| ());
            done
        })
        .await;
    }
    hand.producer.flush();
    until("all is taken", || hand.producer.backlog_bytes() == 0).await;
    settle().await;
}

async fn start(ring: &Ring, retention_bytes: Option<u64>) -> Hand<Memory> {
    let engine = Memory::new(ring, engine_config()).await.unwrap();
    let config = ShardConfig { retention_bytes, durability: Durability::None, ..ShardConfig::new(vec![0]) };
    Hand::start(ring, engine, config).await
}

#[test]
fn a_log_keeps_its_retention_to_within_two_segments() {
    on_a_shard(|ring| async move {
        let mut hand = start(&ring, Some(4 * MIB)).await;
        fill(&mut hand, 20 * MIB).await;
        let appended = hand.shard.stats().appended_messages;
        let report = hand.stop().await;
        let kept = (appended - report.stats.trimmed_messages) * 4000;
        assert!((4 * MIB..=6 * MIB).contains(&kept), "{kept} bytes are kept");
        assert!(report.trims > 5);
    });
}

#[test]
fn without_a_retention_everything_is_kept() {
    on_a_shard(|ring| async move {
        let mut hand = start(&ring, None).await;
        fill(&mut hand, 5 * MIB).await;
        assert_eq!(hand.stop().await.stats.trimmed_messages, 0);
    });
}
