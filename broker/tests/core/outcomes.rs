//! Every batch gets an answer, in its partition's order: kept, refused, or poisoned.

use crate::{
    gate::{Gated, Refusal},
    support::{Hand, batch, engine_config, on_a_shard, publish, settle, until},
};
use broker::{CommitPolicy, Outcome, ShardState, shard::ShardConfig};
use log_api::CommitError;

#[test]
fn a_damaged_batch_is_refused_in_its_place() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0, 1])).await;
        let good = batch(0, 1, 100);
        for flip in [None, Some(80), None] {
            let mut bytes = good.clone();
            if let Some(at) = flip {
                bytes[at as usize] ^= 1;
            }
            assert!(publish(&mut hand.producer, 0, &bytes, 1));
        }
        hand.producer.flush();
        settle().await;
        assert_eq!(hand.acks(), [], "the refused one waits for the first");
        gate.open();
        settle().await;
        let (kept, refused) = ((0, 1, Outcome::Kept), (0, 1, Outcome::Refused));
        assert_eq!(hand.acks(), [kept, refused, kept]);
        let report = hand.stop().await;
        assert_eq!((report.refused_batches, report.engine.appended_batches), (1, 2));
    });
}

/// A batch with a flipped byte stays refused when the run before it has to wait and both are looked at again.
#[test]
fn a_damaged_batch_is_refused_after_a_wait_for_a_commit() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        let config = ShardConfig { commit: CommitPolicy::Each, ..ShardConfig::new(vec![0]) };
        let mut hand = Hand::start(&ring, engine, config).await;
        let good = batch(0, 1, 100);
        for flip in [None, None, Some(80), None] {
            let mut bytes = good.clone();
            if let Some(at) = flip {
                bytes[at as usize] ^= 1;
            }
            assert!(publish(&mut hand.producer, 0, &bytes, 1));
        }
        hand.producer.flush();
        let acks = hand.acked(4).await;
        assert_eq!((acks[&(0, Outcome::Kept)], acks.get(&(0, Outcome::Refused))), (3, Some(&1)));
        let report = hand.stop().await;
        assert_eq!((report.refused_batches, report.engine.appended_batches), (1, 3));
    });
}

#[test]
fn what_is_no_batch_is_refused_after_a_wait_for_room() {
    on_a_shard(|ring| async move {
        for refusal in [Refusal::Busy, Refusal::Full] {
            let (engine, gate) = Gated::new(&ring, engine_config()).await;
            gate.open();
            gate.refusals.set(Some((2, refusal)));
            let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0])).await;
            let good = batch(0, 1, 100);
            let mut flipped = good.clone();
            flipped[80] ^= 1;
            for bytes in [&good, &flipped, &good, &good[..10], &good] {
                assert!(publish(&mut hand.producer, 0, bytes, 1));
            }
            hand.producer.flush();
            let acks = hand.acked(5).await;
            assert_eq!((acks[&(0, Outcome::Kept)], acks.get(&(0, Outcome::Refused))), (3, Some(&2)));
            assert_eq!(hand.stop().await.engine.appended_batches, 3);
        }
    });
}

#[test]
fn what_a_producer_says_wrongly_is_refused() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![1])).await;
        let good = batch(0, 2, 100);
        assert!(publish(&mut hand.producer, 1, &good, 3), "three records, of which two are there");
        assert!(publish(&mut hand.producer, 0, &good, 2), "a partition of another shard");
        assert!(publish(&mut hand.producer, u32::MAX, &good, 2), "a partition of nobody");
        assert!(publish(&mut hand.producer, 1, &good[..good.len() - 1], 2), "cut off");
        assert!(publish(&mut hand.producer, 1, &[], 0), "nothing");
        hand.producer.flush();
        let acks = hand.acked(5).await;
        assert_eq!(acks[&(1, Outcome::Refused)], 3);
        assert_eq!((acks[&(0, Outcome::Refused)], acks[&(u32::MAX, Outcome::Refused)]), (1, 1));
        assert_eq!(hand.stop().await.engine.appended_batches, 0);
    });
}

#[test]
fn a_failed_flush_poisons_what_waits_and_what_comes() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let config = ShardConfig { commit: CommitPolicy::Inflight(2), ..ShardConfig::new(vec![0]) };
        let mut hand = Hand::start(&ring, engine, config).await;
        hand.publish(0, 1);
        settle().await;
        gate.pass(1);
        settle().await;
        assert_eq!(hand.acks(), [(0, 1, Outcome::Kept)]);
        hand.publish(0, 2);
        settle().await;
        hand.publish(0, 3);
        settle().await;
        gate.failure.replace(Some(CommitError::Poisoned { what: "the device is gone".to_owned() }));
        gate.pass(1);
        settle().await;
        assert_eq!(hand.acks(), [], "the other commit has not ended");
        gate.open();
        assert_eq!(hand.acked(5).await[&(0, Outcome::Poisoned)], 5);
        assert_eq!(hand.shard.stats().state, ShardState::Poisoned);
        hand.publish(0, 4);
        assert_eq!(hand.acked(4).await[&(0, Outcome::Poisoned)], 4);
        let report = hand.stop().await;
        assert_eq!((report.poisoned_batches, report.stats.acked_batches), (9, 1));
        assert!(report.failure.unwrap().contains("the device is gone"));
    });
}

/// A log may fail while nobody commits: the append that hears of it first has the shard say why.
#[test]
fn an_append_to_a_poisoned_log_says_what_the_failure_was() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        gate.failure.replace(Some(CommitError::Poisoned { what: "no next segment".to_owned() }));
        gate.refusals.set(Some((1, Refusal::Poisoned)));
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0])).await;
        hand.publish(0, 1);
        assert_eq!(hand.acked(1).await[&(0, Outcome::Poisoned)], 1);
        assert_eq!(hand.shard.stats().state, ShardState::Poisoned);
        assert!(hand.stop().await.failure.unwrap().contains("no next segment"));
    });
}

#[test]
fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        gate.refusals.set(Some((3, Refusal::Full)));
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0])).await;
        hand.publish(0, 7);
        until("the shard says that it is full", || hand.shard.stats().state == ShardState::Full).await;
        assert_eq!(hand.acks(), []);
        assert_eq!(hand.acked(7).await[&(0, Outcome::Kept)], 7);
        assert_eq!(hand.shard.stats().state, ShardState::Running);
        assert_eq!(hand.stop().await.full_waits, 3);
    });
}

#[test]
fn a_shard_that_stays_full_still_stops() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        gate.refusals.set(Some((u32::MAX, Refusal::Full)));
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0])).await;
        hand.publish(0, 7);
        until("the shard says that it is full", || hand.shard.stats().state == ShardState::Full).await;
        let report = hand.stop().await;
        assert_eq!((report.left_batches, report.stats.acked_batches), (7, 0));
    });
}
