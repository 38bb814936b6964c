//! What an operation costs that does nothing: one at a time, and 32 a turn.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard_ring::block_on;
use std::time::Instant;

fn nops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nop");
    for in_flight in [1_u64, 32] {
        group.throughput(Throughput::Elements(in_flight));
        group.bench_function(format!("{in_flight} in flight"), |bencher| {
            bencher.iter_custom(|rounds| {
                block_on(Default::default(), move |ring| async move {
                    let mut ops = Vec::with_capacity(in_flight as usize);
                    let started = Instant::now();
                    for _ in 0..rounds {
                        ops.extend((0..in_flight).map(|_| ring.nop()));
                        for op in ops.drain(..) {
                            op.await.expect("a nop cannot fail");
                        }
                    }
                    started.elapsed()
                })
                .expect("an executor")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, nops);
criterion_main!(benches);
