//! Batches a second from one producer through the intake into the null engine: encode, checksum, hand over, verify, append,
//! acknowledge. What the harness itself can do at most.

use broker::{CommitPolicy, Durability, EngineKind, Node, NodeConfig, Producer, Stop};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_format::Template;
use std::time::{Duration, Instant};

/// Batches between two flushes: what one turn of a generator publishes.
const FLUSH_EVERY: u64 = 32;

fn publish_all(producer: &mut Producer, template: &Template, batches: u64) -> Duration {
    let (mut acked, mut published) = (0, 0);
    let start = Instant::now();
    while acked < batches {
        while published < batches {
            let Some(place) = producer.reserve(template.bytes()) else { break };
            template.write(place);
            // Every message is unique.
            place[template.value(0)][..8].copy_from_slice(&published.to_le_bytes());
            template.seal(place);
            producer.publish(0, template.records());
            published += 1;
            if published % FLUSH_EVERY == 0 {
                break;
            }
        }
        producer.flush();
        producer.acks(|ack| acked += u64::from(ack.batches));
    }
    start.elapsed()
}

fn intake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("intake");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (records, value_bytes) in [(1, 1000), (1, 100), (100, 100)] {
        let mut config = NodeConfig::new(EngineKind::Null, "");
        (config.durability, config.commit) = (Durability::None, CommitPolicy::Inflight(1));
        if cores > 1 {
            config.cpus = vec![cores - 1];
        }
        let mut node = Node::start(config).expect("a null engine starts anywhere");
        let mut producer = node.shards()[0].producer.take().expect("it was not taken before");
        let template = Template::new(records, value_bytes);
        group.throughput(Throughput::Elements(u64::from(records)));
        group.bench_function(BenchmarkId::new("messages", format!("{records} x {value_bytes} B")), |bencher| {
            bencher.iter_custom(|batches| publish_all(&mut producer, &template, batches));
        });
        node.stop(Stop::default()).expect("a null engine stops");
    }
    group.finish();
}

criterion_group!(benches, intake);
criterion_main!(benches);
