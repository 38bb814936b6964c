//! The two rings between a producer and its shard, and the sleep and wake-up around them, in every order that two threads can
//! see them in. A lost wake-up is a deadlock, which the model reports; so is a byte that both may touch.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p broker --test loom_intake`, in a target directory of its own.
#![cfg(loom)]

use broker::{
    Ack, Outcome, Producer,
    intake::{Intake, channel},
};
use loom::thread;

/// Frames of 48 bytes in a ring of 128: two fit, and the third starts at the beginning again.
const CAPACITY: usize = 128;
const FRAME: usize = 20;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Every bug of this kind that is known needs two switches at the worst moments, or three.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn publish(producer: &mut Producer, number: u32) {
    loop {
        if let Some(place) = producer.reserve(FRAME) {
            place.fill(number as u8);
            return producer.publish(number, 1);
        }
        thread::yield_now();
    }
}

/// Takes what is there, from the frame with this number on; the number after.
fn take(intake: &mut Intake, mut number: u32) -> u32 {
    let mut frames = intake.frames();
    for frame in frames.by_ref() {
        assert_eq!((frame.partition, frame.bytes), (number, [number as u8; FRAME].as_slice()));
        number += 1;
    }
    let taken = frames.position();
    intake.advance(taken);
    number
}

#[test]
fn frames_arrive_in_order_and_the_shard_never_sleeps_on_them() {
    explore(|| {
        let (mut producer, mut intake, _acks) = channel(CAPACITY);
        let shard = thread::spawn(move || {
            let mut number = 0;
            while number < 3 {
                intake.wait(|| false);
                number = take(&mut intake, number);
            }
        });
        for number in 0..3 {
            publish(&mut producer, number);
            producer.flush();
        }
        shard.join().unwrap();
    });
}

#[test]
fn one_flush_shows_many_frames() {
    explore(|| {
        let (mut producer, mut intake, _acks) = channel(CAPACITY);
        let shard = thread::spawn(move || {
            intake.wait(|| false);
            assert_eq!(take(&mut intake, 0), 2, "both or none");
        });
        publish(&mut producer, 0);
        publish(&mut producer, 1);
        producer.flush();
        shard.join().unwrap();
    });
}

#[test]
fn a_shard_that_waits_for_room_for_acknowledgements_is_woken() {
    explore(|| {
        let (mut producer, mut intake, mut acks) = channel(CAPACITY);
        let shard = thread::spawn(move || {
            // The ring holds two.
            for number in 0..4 {
                acks.send(Ack { partition: number, batches: 1, at_ns: 1, outcome: Outcome::Kept });
            }
            intake.wait_for(|| acks.clear());
        });
        let mut number = 0;
        while number < 4 {
            let arrived = producer.acks(|ack| {
                assert_eq!(ack.partition, number);
                number += 1;
            });
            if arrived == 0 {
                thread::yield_now();
            }
        }
        shard.join().unwrap();
    });
}
