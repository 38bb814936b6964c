//! What a message costs the generator: encoding it, writing down its acknowledgement, checking it as a consumer. Together with drawing
//! its arrival (the other bench) this bounds the rate that one core can offer.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::load::{
    axis::Axis,
    encode::{Content, Encoder},
    recorder::{Recorder, Sent},
    stream::Stream,
};
use log_api::{Epoch, Offset};
use std::hint::black_box;

const RUN: u32 = 1;
const SECOND_NS: u64 = 1_000_000_000;

fn content(messages: u32, value_bytes: u32, number: u64) -> Content {
    Content { messages, value_bytes, number, sequence: number * u64::from(messages), intended_ns: number, phase: 0 }
}

/// Batches of one message of 1 KB, and of 100 messages of 100 B.
const BATCHES: [(&str, u32, u32); 2] = [("1 x 1 KB", 1, 1_024), ("100 x 100 B", 100, 100)];

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (name, messages, value_bytes) in BATCHES {
        let mut encoder = Encoder::new(1, 1.0, 1_024, RUN);
        let shape = encoder.shape(messages, value_bytes);
        let mut place = vec![0; encoder.bytes(shape)];
        group.throughput(Throughput::Elements(u64::from(messages)));
        let mut number = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                let shape = encoder.shape(messages, value_bytes);
                encoder.encode(shape, black_box(&mut place), &content(messages, value_bytes, number));
            });
        });
    }
    group.finish();
}

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let mut recorder = Recorder::new(Axis::new(SECOND_NS / 10, vec![SECOND_NS, 35 * SECOND_NS]), 0);
    let mut at_ns = 0;
    group.bench_function("an acknowledgement", |b| {
        b.iter(|| {
            at_ns = (at_ns + 1_000) % (34 * SECOND_NS);
            let sent = Sent::new(at_ns, 0, at_ns + 300, 1, 1_100);
            recorder.sent(black_box(&sent));
            recorder.acknowledged(&sent, at_ns + 100_000 + at_ns % 70_000);
        });
    });
    group.finish();
}

fn check(c: &mut Criterion) {
    const BATCHES_A_PIECE: u64 = 200;
    let mut group = c.benchmark_group("check");
    for (name, messages, value_bytes) in BATCHES {
        let mut encoder = Encoder::new(1, 1.0, 1_024, RUN);
        let shape = encoder.shape(messages, value_bytes);
        let bytes = encoder.bytes(shape);
        let mut piece = vec![0; bytes * BATCHES_A_PIECE as usize];
        for (number, place) in (0..).zip(piece.chunks_mut(bytes)) {
            encoder.encode(shape, place, &content(messages, value_bytes, number));
            log_format::assign(place, Offset(number * u64::from(messages)), Epoch(1));
        }
        group.throughput(Throughput::Elements(BATCHES_A_PIECE * u64::from(messages)));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut stream = Stream::new(RUN, 0, Some(0));
                let taken = stream.take(black_box(&piece), |_| {}).expect("whole batches");
                assert_eq!((taken, stream.findings().is_clean()), (piece.len(), true));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, record, check);
criterion_main!(benches);
