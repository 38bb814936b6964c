//! The engines on the page cache beside the ceilings of their mechanism, in one run, interleaved.
//!
//! ```text
//! cargo bench -p log-testkit --bench file_engines [-- <part of a case's name>] [--rounds <n>] [--helper <cpu>]
//! ```
//!
//! Each case runs engine and ceiling in turn, five times, in fresh directories below `target/tmp` (or `HIGHWATER_TEST_DIR`), on core 0 with
//! the helpers on core 1 (or as `--helper` says); the device is idle when a run begins. Printed are medians, their ratio, and the least and the most.

mod engine;
mod raw;
mod sustained;

use engine::{Ran, Setup};
use log_api::Level;
use log_format::Template;
use log_testkit::{EngineUnderTest, directory, under_test};
use raw::Space;
use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

under_test!(Mmap: log_mmap::Mmap);
under_test!(PageCache: log_pagecache::PageCache);
under_test!(Direct: log_direct::Direct);

const SEGMENT_BYTES: u64 = 128 << 20;

/// What is written at full speed: less than the kernel lets be dirty on a machine of 16 GiB.
const BURST_BYTES: u64 = 1 << 30;

/// Source batches: a few MiB, as warm as the intake keeps them.
const SOURCE_BYTES: usize = 4 << 20;

/// Rolls of a run that looks at them.
const ROLLS: u64 = 60;

struct Case {
    name: String,
    goal: f64,
    unit: &'static str,
    engine: Box<dyn Fn() -> (f64, String)>,
    ceiling: Box<dyn Fn() -> f64>,
}

fn batches(records: u32, value_bytes: usize) -> Arc<Vec<Vec<u8>>> {
    let template = Template::new(records, value_bytes);
    let count = (SOURCE_BYTES / template.bytes()).max(1);
    let make = |number: usize| {
        let mut batch = vec![0; template.bytes()];
        template.write(&mut batch);
        batch[template.value(0)][..8].copy_from_slice(&number.to_le_bytes());
        template.seal(&mut batch);
        batch
    };
    Arc::new((0..count).map(make).collect())
}

/// Batches of one record, `bytes` bytes in all.
fn whole(bytes: usize) -> Arc<Vec<Vec<u8>>> {
    let overhead = Template::new(1, bytes).bytes() - bytes;
    batches(1, bytes - overhead)
}

fn rate((bytes, took): (u64, Duration)) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn figure(ran: &Ran) -> (f64, String) {
    let counters = &ran.counters;
    let note = format!(
        "{} rolls, {} of them waited, {} writes, {} flushes",
        counters.rolls, counters.rolls_waited, counters.writes, counters.flushes
    );
    (rate((ran.bytes, ran.took)), note)
}

fn setup(batches: Arc<Vec<Vec<u8>>>, records: u32, level: Level) -> Setup {
    Setup { batches, records, level, segment_bytes: SEGMENT_BYTES }
}

/// Segments for a burst, in a directory of their own.
fn segments(space: Space, bytes: u64) -> (tempfile::TempDir, Vec<std::fs::File>) {
    let dir = directory();
    let make = |number: u64| raw::segment(&dir.path().join(number.to_string()), SEGMENT_BYTES, space);
    let files = (0..bytes.div_ceil(SEGMENT_BYTES)).map(make).collect();
    (dir, files)
}

fn mmap_none() -> Case {
    let source = batches(100, 1000);
    let engine = setup(source.clone(), 100, Level::Placed);
    Case {
        name: "mmap none 100x1KB / copy+CRC".into(),
        goal: 0.85,
        unit: "MB/s",
        engine: Box::new(move || figure(&engine.appends::<Mmap>(BURST_BYTES, 1, true))),
        ceiling: Box::new(move || {
            let (_dir, files) = segments(Space::Allocated, BURST_BYTES);
            let mut maps: Vec<_> = files.iter().map(raw::populated).collect();
            rate(raw::copy_and_crc(&source, &mut maps))
        }),
    }
}

fn mmap_tail() -> Case {
    const TAIL_BYTES: u64 = 96 << 20;
    const PIECE: u64 = 1 << 20;
    let source = batches(100, 1000);
    let engine = setup(source.clone(), 100, Level::Placed);
    Case {
        name: "mmap tail read + CRC / CRC".into(),
        goal: 0.90,
        unit: "MB/s",
        engine: Box::new(move || figure(&engine.tail::<Mmap>(TAIL_BYTES, PIECE))),
        ceiling: Box::new(move || {
            let (_dir, files) = segments(Space::Allocated, TAIL_BYTES);
            let mut maps: Vec<_> = files.iter().map(raw::populated).collect();
            let (bytes, _) = raw::copy_and_crc(&source, &mut maps);
            let bytes = usize::try_from(bytes.min(TAIL_BYTES)).expect("memory");
            rate(raw::crc(&maps[0][..bytes], PIECE as usize))
        }),
    }
}

fn pagecache_none() -> Case {
    let source = batches(100, 1000);
    let engine = setup(source.clone(), 100, Level::Placed);
    Case {
        name: "pagecache none 100x1KB / pwrite".into(),
        goal: 0.85,
        unit: "MB/s",
        engine: Box::new(move || figure(&engine.appends::<PageCache>(BURST_BYTES, 1, false))),
        ceiling: Box::new(move || {
            let (_dir, files) = segments(Space::Allocated, BURST_BYTES);
            rate(raw::buffered(&source[0], &files, SEGMENT_BYTES))
        }),
    }
}

/// The mapping's own durable ceiling: a copy, then a flush of the file.
fn mmap_durable(bytes: usize) -> Case {
    const COUNT: u64 = 1000;
    let source = whole(bytes);
    let engine = setup(source.clone(), 1, Level::Durable);
    let count = COUNT.min((SEGMENT_BYTES - 1) / bytes as u64);
    Case {
        name: format!("mmap durable {}KiB x1 / copy+fdatasync", bytes >> 10),
        goal: 0.90,
        unit: "MB/s",
        engine: Box::new(move || figure(&engine.commits::<Mmap>(1, count))),
        ceiling: Box::new(move || {
            let (_dir, files) = segments(Space::Zeroed, SEGMENT_BYTES);
            rate(raw::copy_and_sync(&source[0], &files[0], count))
        }),
    }
}

fn durable<E: EngineUnderTest>(bytes: usize, depth: u64) -> Case {
    const COUNT: u64 = 1000;
    let source = whole(bytes);
    let engine = setup(source.clone(), 1, Level::Durable);
    let count = COUNT.min((SEGMENT_BYTES - 1) / bytes as u64);
    Case {
        name: format!("{} durable {}KiB x{depth} / pwrite+DSYNC", E::NAME, bytes >> 10),
        goal: 0.90,
        unit: "MB/s",
        engine: Box::new(move || figure(&engine.commits::<E>(depth, count))),
        ceiling: Box::new(move || {
            let (_dir, files) = segments(Space::Zeroed, SEGMENT_BYTES);
            rate(raw::buffered_durable(&source[0], &files[0], depth, count))
        }),
    }
}

/// One message a batch, committed once a MiB, against the mapping's rate.
fn small<E: EngineUnderTest>() -> Case {
    const BYTES: u64 = 512 << 20;
    const GATHER: u64 = 1 << 20;
    let source = batches(1, 1000);
    let engine = setup(source.clone(), 1, Level::Placed);
    let mmap = engine.clone();
    let messages = |ran: &Ran| ran.counters.appended_batches as f64 / ran.took.as_secs_f64() / 1e3;
    Case {
        name: format!("{} none 1x1KB / mmap", E::NAME),
        goal: 0.70,
        unit: "k/s",
        engine: Box::new(move || {
            let ran = engine.appends::<E>(BYTES, GATHER, true);
            (messages(&ran), figure(&ran).1)
        }),
        ceiling: Box::new(move || messages(&mmap.appends::<Mmap>(BYTES, GATHER, true))),
    }
}

fn percentile(times: &mut [u32], share: f64) -> f64 {
    times.sort_unstable();
    f64::from(times[((times.len() - 1) as f64 * share) as usize])
}

/// The p99 near rolls against the rest; the ratio is what counts, and it should be small.
fn rolls<E: EngineUnderTest>(level: Level) {
    const SEGMENT: u64 = 32 << 20;
    const EVERY: Duration = Duration::from_micros(250);
    let setup = Setup { segment_bytes: SEGMENT, ..setup(whole(64 << 10), 1, level) };
    idle();
    let (mut near, mut rest) = setup.rolls::<E>(EVERY, ROLLS);
    let p99 = |times: &mut Vec<u32>| percentile(times, 0.99);
    let (close, far) = (p99(&mut near), p99(&mut rest));
    let max = |times: &[u32]| times.last().copied().unwrap_or(0);
    println!(
        "{:<44} p99 {close:.0} us near {ROLLS} rolls ({} commits, max {} us), {far:.0} us else ({}, max {} us): {:.2} (goal <= 2)",
        format!("{} roll {level:?} 64KiB", E::NAME),
        near.len(),
        max(&near),
        rest.len(),
        max(&rest),
        close / far
    );
}

/// Waits until little is left to be written, so that one run does not pay for another.
fn idle() {
    rustix::fs::sync();
    thread::sleep(Duration::from_millis(200));
    raw::warm();
}

fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn compare(case: &Case, rounds: usize) {
    let (mut ours, mut theirs, mut note) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..rounds {
        idle();
        theirs.push((case.ceiling)());
        idle();
        let (figure, said) = (case.engine)();
        ours.push(figure);
        note = said;
    }
    let (us, ceiling) = (median(&mut ours), median(&mut theirs));
    let spread = |list: &[f64]| format!("{:.0}-{:.0}", list[0], list[list.len() - 1]);
    println!(
        "{:<44} {us:>7.0} {} ({})  ceiling {ceiling:.0} ({})  {:.2} (goal {:.2})  [{note}]",
        case.name,
        case.unit,
        spread(&ours),
        spread(&theirs),
        us / ceiling,
        case.goal
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds").map(|at| at + 1);
    let count = rounds.and_then(|at| arguments.get(at)?.parse().ok()).unwrap_or(5);
    let helper = arguments.iter().position(|argument| argument == "--helper").map(|at| at + 1);
    if let Some(cpu) = helper.and_then(|at| arguments.get(at)?.parse().ok()) {
        engine::HELPER_CPU.store(cpu, Ordering::Relaxed);
    }
    let wanted = arguments.first().filter(|first| !first.starts_with("--"));
    let asked = |name: &str| wanted.is_none_or(|wanted| name.contains(wanted.as_str()));
    let started = Instant::now();
    let mut cases = vec![mmap_none(), mmap_tail(), pagecache_none(), small::<PageCache>(), small::<Direct>()];
    for bytes in [16 << 10, 64 << 10, 256 << 10] {
        cases.push(durable::<PageCache>(bytes, 1));
        cases.push(durable::<PageCache>(bytes, 4));
        cases.push(mmap_durable(bytes));
        cases.push(durable::<Mmap>(bytes, 4));
    }
    for case in cases.iter().filter(|case| asked(&case.name)) {
        compare(case, count);
    }
    for level in [Level::Placed, Level::Durable] {
        if asked("mmap roll") {
            rolls::<Mmap>(level);
        }
        if asked("pagecache roll") {
            rolls::<PageCache>(level);
        }
    }
    // Minutes of writing: only when asked for by name.
    if wanted.is_some_and(|wanted| wanted == "sustained") {
        sustained::run();
    }
    eprintln!("took {:.0} s", started.elapsed().as_secs_f64());
}
