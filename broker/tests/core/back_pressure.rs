//! A full intake, a busy engine, a producer that does not listen: everything stays bounded and nothing is lost.

use crate::{
    gate::{Gate, Gated},
    support::{Hand, batch, engine_config, on_a_shard, publish, settle, until},
};
use broker::{CommitPolicy, Outcome, Stop, shard::ShardConfig};
use futures_lite::future::zip;
use log_api::EngineConfig;
use log_memory::Null;
use shard_ring::Ring;
use std::{rc::Rc, time::Duration};

const INTAKE_BYTES: u64 = 64 << 10;

#[test]
fn an_engine_that_is_behind_fills_the_intake_and_then_the_producer_waits() {
    on_a_shard(|ring| async move {
        let inflight_bytes_max = 256 << 10;
        let (engine, gate) = Gated::new(&ring, EngineConfig { inflight_bytes_max, ..engine_config() }).await;
        let mut hand = Hand::start(&ring, engine, ShardConfig::new(vec![0])).await;
        let bytes = batch(0, 1, 1000);
        let mut published = 0_u64;
        // Full once more after the shard had all the time it wants: nothing moves any more.
        let mut refused_in_a_row = 0;
        while refused_in_a_row < 3 {
            if publish(&mut hand.producer, 0, &bytes, 1) {
                published += 1;
                refused_in_a_row = 0;
            } else {
                refused_in_a_row += 1;
                settle().await;
            }
        }
        let held = published * bytes.len() as u64;
        assert!(held <= inflight_bytes_max + INTAKE_BYTES, "{held} bytes are held");
        assert!(held >= inflight_bytes_max, "{held} bytes are held");
        assert_eq!(hand.acks(), []);
        gate.open();
        assert_eq!(hand.acked(published as u32).await[&(0, Outcome::Kept)], published as u32);
        assert!(publish(&mut hand.producer, 0, &bytes, 1), "there is room again");
        let report = hand.stop().await;
        assert!(report.busy_waits > 0);
        assert_eq!(report.engine.appended_batches, published);
    });
}

#[test]
fn a_producer_that_takes_no_acknowledgements_stops_the_intake_not_the_shard() {
    on_a_shard(|ring| async move {
        let engine = Null::new(&ring, engine_config()).await.unwrap();
        // With a commit for each batch, there is an acknowledgement for each.
        let config = ShardConfig { commit: CommitPolicy::Each, ..ShardConfig::new(vec![0]) };
        let mut hand = Hand::start(&ring, engine, config).await;
        let bytes = batch(0, 1, 100);
        let (mut published, mut refused_in_a_row) = (0_u32, 0);
        while refused_in_a_row < 3 {
            if publish(&mut hand.producer, 0, &bytes, 1) {
                published += 1;
                refused_in_a_row = 0;
            } else {
                refused_in_a_row += 1;
                settle().await;
                settle().await;
            }
            assert!(published < 100_000, "the intake never stops");
        }
        let appended = hand.shard.stats().appended_messages;
        assert!(appended < u64::from(published), "{appended} of {published} were taken");
        assert_eq!(hand.acked(published).await[&(0, Outcome::Kept)], published);
        let report = hand.stop().await;
        assert!(report.ack_waits > 0);
        assert_eq!(report.acks, u64::from(published));
    });
}

/// A shard that sleeps, for all that was published is taken, and owes an acknowledgement for each batch: more than are on their way at once.
/// Every other batch is refused, so that no two are answered together.
async fn owing(ring: &Ring) -> (Hand<Gated>, Rc<Gate>) {
    let (engine, gate) = Gated::new(ring, engine_config()).await;
    // A commit that gathers would look for the acknowledgements by itself.
    let config = ShardConfig { gather_max: Duration::ZERO, ..ShardConfig::new(vec![0]) };
    let mut hand = Hand::start(ring, engine, config).await;
    let bytes = batch(0, 1, 100);
    for number in 0..OWED {
        until("there is room", || publish(&mut hand.producer, 0, &bytes, 1 + number % 2)).await;
    }
    hand.producer.flush();
    until("all are taken", || hand.shard.stats().appended_messages == u64::from(OWED / 2)).await;
    settle().await;
    assert_eq!(hand.acks(), [], "the first commit has not ended");
    (hand, gate)
}

const OWED: u32 = 10_000;

#[test]
fn acknowledgements_for_which_there_is_no_room_arrive_although_nothing_more_is_published() {
    on_a_shard(|ring| async move {
        let (mut hand, gate) = owing(&ring).await;
        gate.open();
        settle().await;
        let acked = hand.acked(OWED).await;
        assert_eq!(acked[&(0, Outcome::Kept)], OWED / 2);
        assert_eq!(acked[&(0, Outcome::Refused)], OWED / 2);
        assert_eq!(hand.stop().await.acks, u64::from(OWED));
    });
}

#[test]
fn acknowledgements_of_a_stopping_shard_arrive_while_the_producer_takes_them() {
    on_a_shard(|ring| async move {
        let (hand, gate) = owing(&ring).await;
        let Hand { shard, mut producer, .. } = hand;
        let producing = async {
            settle().await;
            gate.open();
            settle().await;
            let mut acked = 0;
            until("all are acknowledged", || {
                producer.acks(|ack| acked += ack.batches);
                acked == OWED
            })
            .await;
        };
        let stop = Stop { drain: Duration::from_secs(86_400), close: true };
        let (report, ()) = zip(shard.stop(stop), producing).await;
        assert_eq!(report.acks, u64::from(OWED));
    });
}

#[test]
fn a_producer_that_takes_no_acknowledgements_does_not_keep_a_shard_from_stopping() {
    on_a_shard(|ring| async move {
        let engine = Null::new(&ring, engine_config()).await.unwrap();
        let config = ShardConfig { commit: CommitPolicy::Each, ..ShardConfig::new(vec![0]) };
        let mut hand = Hand::start(&ring, engine, config).await;
        let bytes = batch(0, 1, 100);
        for _ in 0..8200 {
            until("there is room", || publish(&mut hand.producer, 0, &bytes, 1)).await;
        }
        hand.producer.flush();
        let Hand { shard, mut producer, .. } = hand;
        // Longer than any test: the shard itself loses its patience.
        let report = shard.stop(Stop { drain: Duration::from_secs(86_400), close: true }).await;
        let mut acked = 0;
        producer.acks(|ack| acked += ack.batches);
        assert_eq!(acked, 8192, "the ring's size");
        assert_eq!(report.stats.acked_batches + report.left_batches, 8200);
    });
}
