//! Policies form the batches that they should, and nothing is acknowledged before its mark.

use crate::{
    gate::{Gate, Gated, Refusal},
    support::{Hand, engine_config, on_a_shard, settle, until},
};
use broker::{CommitPolicy, Durability, Layout, Outcome, shard::ShardConfig};
use log_api::{CommitError, EngineConfig, Framing, Level};
use log_group::{Grouping, LogGroup};
use shard_ring::{Ring, yield_now};
use std::{rc::Rc, time::Duration};

fn config(commit: CommitPolicy) -> ShardConfig {
    ShardConfig { commit, ..ShardConfig::new(vec![0]) }
}

#[test]
fn what_one_flush_published_is_one_commit_and_acknowledged_after_it() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Inflight(1))).await;
        hand.publish(0, 3);
        until("a commit is asked for", || gate.asked() == 1).await;
        settle().await;
        assert_eq!(*gate.commits.borrow(), [(vec![0], Level::Durable)]);
        assert_eq!(hand.acks(), [], "nothing before the mark");
        gate.pass(1);
        settle().await;
        assert_eq!(hand.acks(), [(0, 3, Outcome::Kept)]);
        gate.open();
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages, report.commit_messages_max), (1, 3, 3));
    });
}

#[test]
fn with_one_commit_in_flight_the_arrivals_form_the_next() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Inflight(1))).await;
        hand.publish(0, 1);
        until("the first commit is asked for", || gate.asked() == 1).await;
        for _ in 0..10 {
            hand.publish(0, 2);
            settle().await;
        }
        assert_eq!(gate.asked(), 1, "the second waits for the first");
        gate.pass(1);
        until("the second commit is asked for", || gate.asked() == 2).await;
        settle().await;
        assert_eq!(hand.acks(), [(0, 1, Outcome::Kept)]);
        gate.pass(1);
        settle().await;
        assert_eq!(hand.acks(), [(0, 20, Outcome::Kept)]);
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages_max), (2, 20));
    });
}

#[test]
fn a_commit_takes_those_along_whom_the_last_one_answered() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let gather_max = Duration::from_hours(1);
        let config = ShardConfig { gather_max, ..config(CommitPolicy::Inflight(1)) };
        let mut hand = Hand::start(&ring, engine, config).await;
        hand.publish(0, 20);
        until("the first commit is asked for", || gate.asked() == 1).await;
        hand.publish(0, 1);
        settle().await;
        gate.pass(1);
        until("it is answered", || !hand.acks().is_empty()).await;
        for _ in 0..20 {
            assert_eq!(gate.asked(), 1, "not all who were answered have come again");
            hand.publish(0, 1);
            yield_now().await;
        }
        until("the second commit is asked for", || gate.asked() == 2).await;
        gate.open();
        assert_eq!(hand.acked(21).await[&(0, Outcome::Kept)], 21);
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages_max), (2, 21));
    });
}

/// Publishes a batch to each of a hundred partitions.
fn publish_to_each(hand: &mut Hand<LogGroup<Gated>>) {
    (0..100).for_each(|partition| hand.publish(partition, 1));
}

/// A shard of a hundred partitions that share a log: a first commit of all of them runs, and all have something for the second.
async fn hundred(ring: &Ring) -> (Hand<LogGroup<Gated>>, Rc<Gate>) {
    let told = EngineConfig { framing: Framing::Framed, ..engine_config() };
    let (inner, gate) = Gated::new(ring, told).await;
    let engine = LogGroup::new(ring, inner, engine_config(), Grouping::all()).unwrap();
    let layout = Layout::Group(None);
    let config = ShardConfig { layout, gather_max: Duration::ZERO, ..ShardConfig::new((0..100).collect()) };
    let mut hand = Hand::start(ring, engine, config).await;
    publish_to_each(&mut hand);
    until("the first commit is asked for", || gate.asked() == 1).await;
    publish_to_each(&mut hand);
    settle().await;
    (hand, gate)
}

#[test]
fn a_commit_that_fails_leaves_the_answers_of_the_one_before() {
    on_a_shard(|ring| async move {
        let (mut hand, gate) = hundred(&ring).await;
        gate.pass(1);
        until("the second commit is asked for", || gate.asked() == 2).await;
        publish_to_each(&mut hand);
        settle().await;
        *gate.failure.borrow_mut() = Some(CommitError::Poisoned { what: "a disk that is gone".to_owned() });
        gate.open();
        let acked = hand.acked(300).await;
        assert!((0..100).all(|partition| acked[&(partition, Outcome::Kept)] == 1), "{acked:?}");
        assert!((0..100).all(|partition| acked[&(partition, Outcome::Poisoned)] == 2), "{acked:?}");
        assert!(hand.stop().await.failure.unwrap().contains("a disk that is gone"));
    });
}

#[test]
fn answers_to_many_partitions_are_given_while_the_next_commit_runs() {
    on_a_shard(|ring| async move {
        let (mut hand, gate) = hundred(&ring).await;
        for commits in 2..6 {
            gate.pass(1);
            until("the next commit is asked for", || gate.asked() == commits).await;
            assert_eq!(hand.acked(100).await.len(), 100, "the next commit has not ended");
            publish_to_each(&mut hand);
            settle().await;
        }
        gate.open();
        assert_eq!(hand.acked(200).await.len(), 100);
        assert_eq!(hand.stop().await.acks, 600);
    });
}

#[test]
fn n_commits_run_at_once_and_no_more() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Inflight(3))).await;
        for n in 1..=5 {
            hand.publish(0, n);
            settle().await;
        }
        assert_eq!((gate.asked(), gate.waiting.get()), (3, 3));
        assert_eq!(hand.acks(), []);
        gate.pass(2);
        settle().await;
        assert_eq!(hand.acks(), [(0, 1, Outcome::Kept), (0, 2, Outcome::Kept)]);
        assert_eq!(gate.asked(), 4, "the arrivals are one commit");
        gate.pass(1);
        settle().await;
        assert_eq!(hand.acks(), [(0, 3, Outcome::Kept)]);
        gate.open();
        settle().await;
        assert_eq!(hand.acks(), [(0, 9, Outcome::Kept)]);
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages_max), (4, 9));
    });
}

#[test]
fn each_batch_is_a_commit_of_its_own() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Each)).await;
        hand.publish(0, 5);
        for n in 1..=5 {
            settle().await;
            assert_eq!((gate.asked(), gate.waiting.get()), (n, 1), "one at a time");
            gate.pass(1);
        }
        settle().await;
        assert_eq!(hand.acks(), [(0, 1, Outcome::Kept); 5]);
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages_max), (5, 1));
    });
}

#[test]
fn partitions_do_not_wait_for_each_others_commits() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let config = ShardConfig { commit: CommitPolicy::Each, ..ShardConfig::new(vec![3, 8]) };
        let mut hand = Hand::start(&ring, engine, config).await;
        hand.publish(3, 1);
        hand.publish(8, 1);
        settle().await;
        assert_eq!(gate.waiting.get(), 2);
        gate.open();
        let acks = hand.acked(2).await;
        assert_eq!((acks[&(3, Outcome::Kept)], acks[&(8, Outcome::Kept)]), (1, 1));
        hand.stop().await;
    });
}

#[test]
fn a_linger_gathers_until_the_engine_has_no_room() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Linger(Duration::from_secs(1)))).await;
        for _ in 0..4 {
            hand.publish(0, 5);
            settle().await;
        }
        assert_eq!(gate.asked(), 0, "200 turns are far less than a second, four times");
        gate.refusals.set(Some((1, Refusal::Busy)));
        hand.publish(0, 1);
        assert_eq!(hand.acked(20).await[&(0, Outcome::Kept)], 20, "the last one lingers");
        let report = hand.stop().await;
        assert_eq!((report.commits, report.commit_messages_max, report.busy_waits), (2, 20, 1));
        assert_eq!(report.stats.acked_messages, 21);
    });
}

#[test]
fn without_flushes_the_policy_governs_placing() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        let config = ShardConfig { durability: Durability::None, ..config(CommitPolicy::Inflight(1)) };
        let mut hand = Hand::start(&ring, engine, config).await;
        hand.publish(0, 2);
        settle().await;
        hand.publish(0, 3);
        settle().await;
        assert_eq!(hand.acks(), []);
        gate.open();
        settle().await;
        assert_eq!(hand.acks(), [(0, 2, Outcome::Kept), (0, 3, Outcome::Kept)]);
        assert_eq!(*gate.commits.borrow(), [(vec![0], Level::Placed), (vec![0], Level::Placed)]);
        hand.stop().await;
    });
}

#[test]
fn an_interval_makes_durable_what_was_acknowledged_before() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        let durability = Durability::Interval(Duration::from_millis(1));
        let config = ShardConfig { durability, ..config(CommitPolicy::Inflight(1)) };
        let mut hand = Hand::start(&ring, engine, config).await;
        hand.publish(0, 2);
        assert_eq!(hand.acked(2).await[&(0, Outcome::Kept)], 2);
        let durable = || gate.commits.borrow().iter().filter(|commit| commit.1 == Level::Durable).count();
        until("the interval has passed", || durable() == 1).await;
        settle().await;
        assert_eq!(gate.commits.borrow()[0], (vec![0], Level::Placed));
        let report = hand.stop().await;
        assert_eq!((report.interval_commits, durable()), (1, 1), "nothing new, nothing to flush");
    });
}

#[test]
fn a_stop_takes_commits_and_acknowledges_what_was_published() {
    on_a_shard(|ring| async move {
        let (engine, gate) = Gated::new(&ring, engine_config()).await;
        gate.open();
        let mut hand = Hand::start(&ring, engine, config(CommitPolicy::Linger(Duration::from_secs(1)))).await;
        hand.publish(0, 100);
        let Hand { shard, mut producer, .. } = hand;
        let report = shard.stop(broker::Stop::default()).await;
        let mut acked = 0;
        producer.acks(|ack| acked += ack.batches);
        assert_eq!(acked, 100);
        assert_eq!((report.left_batches, report.unacknowledged_batches), (0, 0));
        assert_eq!(report.stats.acked_messages, 100);
    });
}
