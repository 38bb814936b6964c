//! A shard under a test's hand: its producer runs on the same thread, so that what is published when is the test's choice.

use broker::{
    Ack, Outcome, Producer, ShardReport, Stop,
    consumer::Request,
    shard::{Shard, ShardConfig},
};
use log_api::{EngineConfig, LogEngine, Offset, ReadKind};
use log_format::{BatchBuilder, iterate, peek, records, verify};
use shard_ring::{ExecutorConfig, Ring, yield_now};
use std::{
    collections::HashMap,
    future::Future,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Turns of the executor that a test waits for something at most: far more than anything here takes.
const TURNS_MAX: u32 = 1_000_000;

/// Runs a test on an executor of its own.
pub(crate) fn on_a_shard<F: Future<Output = ()> + 'static>(test: impl FnOnce(Ring) -> F + Send + 'static) {
    shard_ring::block_on(ExecutorConfig::default(), test).unwrap();
}

/// Lets the executor turn until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..TURNS_MAX {
        if done() {
            return;
        }
        yield_now().await;
    }
    panic!("waited in vain until {what}");
}

/// Lets everything happen that can happen without the test's doing.
pub(crate) async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// A batch whose records hold `first`, `first + 1`, … in eight bytes and then fill up to `value_bytes`.
pub(crate) fn batch(first: u64, count: u32, value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    for number in first..first + u64::from(count) {
        let mut value = vec![number as u8; value_bytes.max(8)];
        value[..8].copy_from_slice(&number.to_le_bytes());
        builder.push(0, None, Some(&value));
    }
    builder.finish()
}

/// The numbers that [`batch`] put into a run of batches, which are checked one by one: checksum, gapless offsets from `base`.
pub(crate) fn numbers(bytes: &[u8], mut base: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for item in iterate(bytes) {
        let (_, bytes) = item.expect("whole batches");
        let batch = verify(bytes).expect("a batch that arrives as it was sent");
        assert_eq!(batch.base().expect("an offset was assigned").0, base, "offsets without a gap");
        base += u64::from(batch.records());
        for record in records(&batch).unwrap() {
            let value = record.unwrap().value.unwrap();
            numbers.push(u64::from_le_bytes(value[..8].try_into().unwrap()));
        }
    }
    numbers
}

/// Publishes a batch; false when the intake is full. Not yet flushed.
pub(crate) fn publish(producer: &mut Producer, partition: u32, bytes: &[u8], records: u32) -> bool {
    let Some(place) = producer.reserve(bytes.len()) else { return false };
    place.copy_from_slice(bytes);
    producer.publish(partition, records);
    true
}

/// A configuration for a test's engine, without a directory.
pub(crate) fn engine_config() -> EngineConfig {
    EngineConfig { segment_bytes: 1 << 20, ..EngineConfig::new("") }
}

/// A shard, and the test's end of its intake.
pub(crate) struct Hand<E: LogEngine> {
    pub(crate) shard: Shard<E>,
    pub(crate) producer: Producer,
    next: u64,
}

impl<E: LogEngine> Hand<E> {
    pub(crate) async fn start(ring: &Ring, engine: E, config: ShardConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (shard, producer, _) = Shard::start(ring, engine, config, 64 << 10, listener).await.unwrap();
        Self { shard, producer, next: 0 }
    }

    /// Publishes `count` batches of one record each and flushes once.
    pub(crate) fn publish(&mut self, partition: u32, count: u32) {
        for _ in 0..count {
            let bytes = batch(self.next, 1, 100);
            assert!(publish(&mut self.producer, partition, &bytes, 1), "the intake holds what a test publishes");
            self.next += 1;
        }
        self.producer.flush();
    }

    /// What has arrived, as (partition, batches, outcome).
    pub(crate) fn acks(&mut self) -> Vec<(u32, u32, Outcome)> {
        let mut acks = Vec::new();
        self.producer.acks(|Ack { partition, batches, outcome, .. }| acks.push((partition, batches, outcome)));
        acks
    }

    /// Waits until `batches` have been acknowledged, whatever with; the acknowledgements summed by partition and outcome.
    pub(crate) async fn acked(&mut self, batches: u32) -> HashMap<(u32, Outcome), u32> {
        let (mut sums, mut sum) = (HashMap::new(), 0);
        until("all batches are acknowledged", || {
            self.producer.acks(|ack| {
                *sums.entry((ack.partition, ack.outcome)).or_default() += ack.batches;
                sum += ack.batches;
            });
            sum >= batches
        })
        .await;
        assert_eq!(sum, batches, "no batch is acknowledged twice");
        sums
    }

    pub(crate) async fn stop(self) -> ShardReport {
        self.shard.stop(Stop::default()).await
    }
}

/// Publishes batches of one record, numbered, and waits until all are acknowledged.
pub(crate) fn fill(producer: &mut Producer, numbers: std::ops::Range<u64>, value_bytes: usize) {
    let mut left = numbers.end - numbers.start;
    let mut take = |producer: &mut Producer| {
        producer.acks(|ack| left -= u64::from(ack.batches));
        left
    };
    for number in numbers {
        let bytes = batch(number, 1, value_bytes);
        while !publish(producer, 0, &bytes, 1) {
            take(producer);
            std::thread::yield_now();
        }
    }
    producer.flush();
    while take(producer) > 0 {
        std::thread::yield_now();
    }
}

/// A consumer's connection.
pub(crate) fn subscribe(address: SocketAddr, from: Offset, kind: ReadKind) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // A test that waits for ever says less than one that fails.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&Request { partition: 0, kind, from }.encode()).unwrap();
    stream
}

/// A read that goes on when it was interrupted: a socket with a time limit answers `EINTR` whenever its process was stopped and
/// goes on (signal(7), "Interruption of system calls by stop signals"), as a machine does that is paused.
pub(crate) fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Reads until the log's first `end` offsets have come, from `base` on.
pub(crate) fn receive(stream: &mut TcpStream, base: u64, end: u64) -> Vec<u8> {
    let (mut bytes, mut checked, mut next) = (Vec::new(), 0, base);
    let mut buffer = vec![0; 64 << 10];
    while next < end {
        let read = read(stream, &mut buffer).unwrap();
        assert!(read > 0, "the stream ended at {next}, before {end}");
        bytes.extend_from_slice(&buffer[..read]);
        while let Some(header) = peek(&bytes[checked..]).unwrap() {
            if (bytes.len() - checked) < header.total_bytes() as usize {
                break;
            }
            checked += header.total_bytes() as usize;
            next += u64::from(header.last_offset_delta.unsigned_abs()) + 1;
        }
    }
    assert_eq!(checked, bytes.len(), "nothing behind the commit point");
    bytes
}
