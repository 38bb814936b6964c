//! What partitions of a group cost a shard: 1, 100, 1,000 and 10,000 of them, durable, 64 messages of 1 KB under way, the same number whatever the
//! partitions. Rate, flushes, descriptors and memory of a process that does nothing else.
//!
//! `cargo bench -p broker --bench partitions [-- <seconds>]`. Each sample is a process of its own, the counts one after the other in each round;
//! the table shows medians of three. Flushes are those of the whole life of a shard that was started in an empty directory and left without a
//! close; descriptors and memory are looked at when the load has just ended. The logs lie in `target/tmp`.

use broker::{EngineKind, Layout, Node, NodeConfig, Outcome, Producer, Stop};
use log_format::Template;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

const COUNTS: [u32; 4] = [1, 100, 1_000, 10_000];
const ROUNDS: usize = 3;
const UNDER_WAY: u32 = 64;
const VALUE_BYTES: usize = 1024;
/// Neighbours in time are not neighbours in number: a prime, by which the partitions are gone through.
const STRIDE: u32 = 7_919;
/// Small, so that a sample of some seconds goes round in it.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Of the whole group.
const KEPT_BYTES: u64 = 64 << 20;
/// The word before engine, partitions and seconds in the arguments of a sample's process.
const SAMPLE: &str = "--sample";

/// Messages a second, flushes a second, messages a flush, descriptors, anonymous memory and pages of files in bytes.
type Figures = [f64; 6];

/// Bytes of a line of `/proc/self/status`.
fn memory(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line of every process");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number of KiB") * 1024.0
}

/// Keeps messages under way until `end`, and takes in the last: how many were kept.
fn load(producer: &mut Producer, partitions: u32, end: Instant) -> u64 {
    let template = Template::new(1, VALUE_BYTES);
    let mut batch = vec![0; template.bytes()];
    template.write(&mut batch);
    let (mut next, mut under_way, mut kept) = (0, 0, 0);
    loop {
        let over = Instant::now() >= end;
        if over && under_way == 0 {
            return kept;
        }
        while !over && under_way < UNDER_WAY {
            let Some(place) = producer.reserve(batch.len()) else { break };
            place.copy_from_slice(&batch);
            producer.publish(next, 1);
            next = (next + STRIDE) % partitions;
            under_way += 1;
        }
        producer.flush();
        producer.acks(|ack| {
            assert_eq!(ack.outcome, Outcome::Kept, "a sound batch of an open partition");
            under_way -= ack.batches;
            kept += u64::from(ack.batches);
        });
        std::hint::spin_loop();
    }
}

/// One sample, in a process of its own.
fn sample(engine: EngineKind, partitions: u32, over: Duration) -> Figures {
    let dir = tempfile::Builder::new().prefix("partitions-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = NodeConfig {
        layout: Layout::Group(None),
        partitions,
        segment_bytes: SEGMENT_BYTES,
        retention_bytes: Some(KEPT_BYTES / u64::from(partitions)),
        ..NodeConfig::new(engine, dir.path())
    };
    let mut node = Node::start(config).expect("an engine in a fresh directory");
    let mut producer = node.shards()[0].producer.take().expect("a producer is there to be taken");
    let begun = Instant::now();
    let kept = load(&mut producer, partitions, begun + over) as f64;
    let seconds = begun.elapsed().as_secs_f64();
    let descriptors = fs::read_dir("/proc/self/fd").expect("procfs").count() as f64 - 1.0;
    let (anonymous, of_files) = (memory("RssAnon:"), memory("RssFile:"));
    let report = node.stop(Stop { drain: Duration::ZERO, close: false }).expect("a shard that ends");
    let flushes = report.shards[0].engine.flushes as f64;
    [kept / seconds, flushes / seconds, kept / flushes, descriptors, anonymous, of_files]
}

fn sample_in_a_process(engine: EngineKind, partitions: u32, seconds: u64) -> Figures {
    let this = std::env::current_exe().expect("a program has a path");
    let words = [SAMPLE.to_owned(), engine.to_string(), partitions.to_string(), seconds.to_string()];
    let output = Command::new(this).args(words).output().expect("this program runs again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    numbers.try_into().expect("as many as a sample has")
}

fn median(samples: &[Figures], which: usize) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(|sample| sample[which]).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, engine, partitions, seconds] = &words[..]
        && mark == SAMPLE
    {
        let seconds = Duration::from_secs(seconds.parse().expect("seconds"));
        let engine = engine.parse().expect("an engine");
        let figures = sample(engine, partitions.parse().expect("a number"), seconds);
        return println!("{}", figures.map(|figure| figure.to_string()).join(" "));
    }
    let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(4);
    println!("engine     partitions   messages/s  flushes/s  messages/flush  descriptors  anonymous MB  of files MB");
    for engine in EngineKind::DISK {
        let mut samples = vec![Vec::new(); COUNTS.len()];
        for _ in 0..ROUNDS {
            for (count, samples) in COUNTS.into_iter().zip(&mut samples) {
                samples.push(sample_in_a_process(engine, count, seconds));
            }
        }
        for (count, samples) in COUNTS.into_iter().zip(&samples) {
            let [rate, flushes, each, descriptors, anonymous, of_files] =
                std::array::from_fn(|which| median(samples, which));
            let (anonymous, of_files) = (anonymous / 1e6, of_files / 1e6);
            println!(
                "{:<10} {count:>10}  {rate:>11.0}  {flushes:>9.0}  {each:>14.1}  {descriptors:>11.0}  {anonymous:>12.1}  {of_files:>11.1}",
                engine.to_string()
            );
        }
    }
}
