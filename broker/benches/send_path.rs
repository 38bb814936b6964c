//! One MiB of a hot file to a reader on loopback: by `sendfile`, and by a read through the ring and a `send`.

use broker::send::{OnRing, Sender};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_api::{Chunk, FileRange, Offset, Piece, SendPath};
use shard_ring::ExecutorConfig;
use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    rc::Rc,
    time::{Duration, Instant},
};

const BYTES: u64 = 1 << 20;

/// Sends the file `times` times to a thread that reads and forgets; how long until all has been read.
fn send(path: SendPath, file: File, times: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("it listens")).expect("loopback");
    let (mut reader, _) = listener.accept().expect("loopback");
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while reader.read(&mut buffer).expect("loopback") > 0 {}
        Instant::now()
    });
    let start = shard_ring::block_on(ExecutorConfig::default(), move |ring| async move {
        let (sender, mut on_ring) = (Sender::new(path), OnRing::default());
        let socket = ring.adopt_socket(stream).expect("a fresh socket");
        let file = Rc::new(file);
        let start = Instant::now();
        for _ in 0..times {
            let range = FileRange { file: file.clone(), range: 0..BYTES, resident: true, lease: Rc::new(()) };
            let pieces: Vec<Piece<Vec<u8>>> = vec![Piece::File(range)];
            let chunk = Chunk { base: Offset(0), next: Offset(1), bytes: BYTES, pieces };
            sender.send(&ring, &socket, chunk, &mut on_ring).await.expect("loopback");
        }
        drop(on_ring);
        ring.close(socket).await;
        start
    })
    .expect("an executor");
    reading.join().expect("the reader does not panic") - start
}

fn send_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send_path");
    group.throughput(Throughput::Bytes(BYTES));
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; BYTES as usize]).expect("room for a MiB");
    for path in SendPath::ALL {
        group.bench_function(BenchmarkId::new("1 MiB", path), |bencher| {
            bencher.iter_custom(|times| send(path, file.try_clone().expect("a descriptor"), times));
        });
    }
    group.finish();
}

criterion_group!(benches, send_path);
criterion_main!(benches);
