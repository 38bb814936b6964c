//! What a message costs in this crate: checksum, copy, encode, stamp, verify.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_format::{BatchBuilder, Template, copy, crc32c, iterate, records, verify};
use std::hint::black_box;

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in [100usize, 1024, 16 << 10, 1 << 20] {
        let data = vec![0x5a; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &data, |b, data| b.iter(|| crc32c(black_box(data))));
    }
    group.finish();
}

/// (records, bytes of a value): an order service's message, a stream's batch, a large batch.
const SHAPES: [(u32, usize); 3] = [(1, 1024), (100, 100), (1000, 1024)];

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for (count, value_bytes) in SHAPES {
        let template = Template::new(count, value_bytes);
        let mut batch = vec![0; template.bytes()];
        template.write(&mut batch);
        let name = format!("{count}x{value_bytes}");
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(BenchmarkId::new("encode", &name), |b| {
            let value = vec![7; value_bytes];
            b.iter(|| {
                let mut builder = BatchBuilder::new(1);
                for _ in 0..count {
                    builder.push(0, None, Some(black_box(&value)));
                }
                builder.finish()
            });
        });
        group.bench_function(BenchmarkId::new("stamp", &name), |b| {
            let mut into = vec![0; template.bytes()];
            let mut stamp = 0u64;
            b.iter(|| {
                template.write(&mut into);
                for record in 0..count {
                    stamp += 1;
                    into[template.value(record)][..8].copy_from_slice(&stamp.to_le_bytes());
                }
                template.seal(&mut into);
                black_box(&into);
            });
        });
        group.bench_function(BenchmarkId::new("verify", &name), |b| b.iter(|| verify(black_box(&batch)).is_ok()));
        group.bench_function(BenchmarkId::new("records", &name), |b| {
            let verified = verify(&batch).expect("made by the template");
            b.iter(|| records(black_box(&verified)).expect("not compressed").count());
        });
    }
    group.finish();
}

fn walk(criterion: &mut Criterion) {
    let template = Template::new(1, 1024);
    let mut log = vec![0; template.bytes() * 1000];
    for batch in log.chunks_exact_mut(template.bytes()) {
        template.write(batch);
    }
    let mut group = criterion.benchmark_group("iterate");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 headers", |b| b.iter(|| iterate(black_box(&log)).count()));
    group.finish();
}

/// Bytes of a batch, and by how much its place in the log lies above where it came from, within a page.
fn copies(criterion: &mut Criterion) {
    const BYTES: usize = 64 << 10;
    const PAGE: usize = 4096;
    let (source, mut target) = (vec![7_u8; BYTES + 2 * PAGE], vec![0_u8; BYTES + 3 * PAGE]);
    let on_page = |bytes: &[u8]| bytes.as_ptr().align_offset(PAGE);
    let (source, into) = (&source[on_page(&source)..][..BYTES], on_page(&target));
    let mut group = criterion.benchmark_group("copy 64 KiB");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for distance in [0, 16, 64, 2000] {
        let place = &mut target[into + distance..][..BYTES];
        group.bench_function(BenchmarkId::new("plain", distance), |b| {
            b.iter(|| place.copy_from_slice(black_box(source)))
        });
        group.bench_function(BenchmarkId::new("clear of slow distances", distance), |b| {
            b.iter(|| copy(black_box(place), black_box(source)));
        });
    }
    group.finish();
}

criterion_group!(benches, checksum, copies, batches, walk);
criterion_main!(benches);
