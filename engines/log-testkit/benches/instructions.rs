//! Instructions a message, counted by callgrind: the same number whatever else the machine does, so a change of the code shows where
//! a clock shows noise.
//!
//! `cargo bench -p log-testkit --bench instructions` needs valgrind. It counts the memory engine, which is the floor that every engine
//! stands on: checking a batch, placing it, remembering where it is, reading it again. The disk engines cannot be counted this way:
//! valgrind 3.19 keeps its one lock through `io_uring_enter`, so a shard that waits for a helper thread or a completion waits for ever.
//!
//! Each figure is the difference between two runs of this program, of [`BATCHES`] batches and of twice as many, by the difference in
//! batches: what starting, opening and closing cost cancels out. Valgrind offers no AVX-512, so checksums take another path
//! than they take without it.

use log_api::{Batch, EngineConfig, Level, LogEngine, LogId, Read, ReadKind};
use log_format::{Template, iterate, verify};
use log_testkit::{EngineUnderTest, bytes_of, directory, under_test};
use shard_ring::{ExecutorConfig, Ring, block_on};
use std::{
    env, fs,
    process::{Command, ExitCode},
};

under_test!(Memory: log_memory::Memory);

const LOG: LogId = LogId(0);
/// Batches of the shorter run: one message of 1 KB each.
const BATCHES: u64 = 20_000;
/// Bytes of a message's value.
const VALUE_BYTES: usize = 1 << 10;
/// Batches a commit: a busy shard's.
const GROUP: u64 = 64;
/// The argument of a run that is counted: the work, the batches.
const COUNTED: &str = "--counted";
/// What is counted.
const WORKS: [&str; 2] = ["append + commit", "append + commit + tail read"];

/// Appends `batches`, a commit for each group; with `read`, each commit is followed by reading and verifying what it placed.
async fn work(ring: Ring, batches: u64, read: bool) {
    let dir = directory();
    let config = EngineConfig { tail_cache_bytes: 8 << 20, ..EngineConfig::new(dir.path()) };
    let engine = Memory::start(&ring, config).await.expect("an engine in a fresh directory");
    engine.open(LOG).await.expect("a new log");
    let template = Template::new(1, VALUE_BYTES);
    let mut bytes = vec![0; template.bytes()];
    template.write(&mut bytes);
    let (mut from, mut received) = (engine.marks(LOG).start, 0);
    for first in (0..batches).step_by(GROUP as usize) {
        for _ in first..batches.min(first + GROUP) {
            // The intake verifies what it takes.
            let checked = verify(&bytes).expect("a batch that was made here");
            let batch = Batch::verified(&bytes, checked.records());
            while engine.append(LOG, &[batch]).is_err() {
                engine.room(LOG, bytes.len() as u64).await;
            }
        }
        engine.commit(&[engine.group(LOG)], Level::Placed).await.expect("a commit");
        let until = engine.marks(LOG).placed;
        while read && from < until {
            let wanted = Read { from, until, bytes_max: 512 << 10, kind: ReadKind::Hot };
            let read = engine.read(LOG, wanted).await.expect("a read");
            from = read.next;
            let bytes = bytes_of(&read).expect("bytes that can be had");
            received +=
                iterate(&bytes).map(|batch| u64::from(verify(batch.expect("a whole batch").1).is_ok())).sum::<u64>();
        }
    }
    assert!(!read || received == batches, "{received} of {batches} were read");
    engine.close().await.expect("a clean end");
}

/// Instructions of a run of this program.
fn instructions(name: &str, batches: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let out = tempfile::NamedTempFile::new().map_err(|error| format!("no file for callgrind's counts: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(program)
        .args([COUNTED, name, &batches.to_string()])
        .output()
        .map_err(|error| {
            format!("valgrind cannot be started ({error}): install it, as by `apt-get install valgrind`")
        })?;
    if !output.status.success() {
        return Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = fs::read_to_string(out.path()).map_err(|error| format!("callgrind wrote nothing: {error}"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    total.and_then(|rest| rest.trim().parse().ok()).ok_or_else(|| "callgrind wrote no total".to_owned())
}

fn table() -> Result<(), String> {
    println!("instructions a message of 1 KB, each its own batch, {GROUP} a commit, memory engine");
    for name in WORKS {
        let (once, twice) = (instructions(name, BATCHES)?, instructions(name, 2 * BATCHES)?);
        println!("{name:<30}{:>8.0}", twice.saturating_sub(once) as f64 / BATCHES as f64);
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [first, name, batches] = arguments.as_slice()
        && first == COUNTED
    {
        let batches = batches.parse().expect("a number of batches");
        let read = name == WORKS[1];
        block_on(ExecutorConfig::default(), move |ring| work(ring, batches, read)).expect("a shard");
        return ExitCode::SUCCESS;
    }
    // Cargo runs benches as tests with this: nothing to test here but that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    match table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
