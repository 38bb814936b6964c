//! An ordinary user may lock 8 MiB of memory: each engine runs within that, and with less says what it lacks or runs all the same.

use crate::support::{fill, numbers, receive, subscribe};
use broker::{EngineKind, Node, NodeConfig, Stop};
use log_api::{Availability, EngineConfig, Offset, ReadKind};
use log_direct::Direct;
use rustix::process::{Resource, Rlimit};
use std::{
    io::Write,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Set in the child: its limit in bytes, its engine, and where its logs are to lie.
const CHILD: &str = "HIGHWATER_MEMLOCK_CHILD";

/// Runs the test again with a limit, for one engine, and returns what the child says on stdout.
///
/// Each child is a user of its own, without any right: what a user has locked counts over all its processes, and the kernel gives the
/// memory of a ring back a while after its end.
fn as_ordinary_user(test: &str, limit: u64, engine: EngineKind) -> Option<String> {
    static USERS: AtomicU32 = AtomicU32::new(0);
    let skipped = |why: &str| {
        // Past the capture of the harness: a skipped test must not look like a passed one.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skipped("running as another user needs root");
    }
    let user = 65_534 - USERS.fetch_add(1, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(user), Some(user)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, format!("{limit}:{engine}:{}", dir.path().display())).uid(user).gid(user);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skipped(&format!("an ordinary user cannot run the test: {error}")),
    };
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "{engine} with {} KiB of memlock ({}):\n{said}\n{complaint}",
        limit >> 10,
        output.status
    );
    Some(said.into_owned())
}

/// In the child: takes the limit on, and does `work` if the engine says that it can run.
fn in_child(work: fn(EngineKind, &Path, u64)) -> bool {
    let Ok(told) = std::env::var(CHILD) else { return false };
    let mut parts = told.splitn(3, ':');
    let limit = parts.next().unwrap().parse().unwrap();
    let engine: EngineKind = parts.next().unwrap().parse().unwrap();
    let dir = Path::new(parts.next().unwrap());
    rustix::process::setrlimit(Resource::Memlock, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    match engine.availability(dir) {
        Availability::Available => work(engine, dir, limit),
        Availability::Unavailable(why) => println!("{engine} is unavailable: {why}"),
    }
    true
}

/// Appends, commits, reads and stops; or says why the node cannot start.
fn run(engine: EngineKind, dir: &Path, _: u64) {
    let config = NodeConfig { segment_bytes: 1 << 20, ..NodeConfig::new(engine, dir) };
    let mut node = match Node::start(config) {
        Ok(node) => node,
        Err(why) => return println!("{engine} is unavailable: {why}"),
    };
    let handle = &mut node.shards()[0];
    let (mut producer, address) = (handle.producer.take().unwrap(), handle.address);
    fill(&mut producer, 0..2000, 1000);
    let mut consumer = subscribe(address, Offset(0), ReadKind::Scan);
    assert_eq!(numbers(&receive(&mut consumer, 0, 2000), 0), (0..2000).collect::<Vec<_>>(), "{engine}");
    let report = node.stop(Stop::default()).unwrap().shards.remove(0);
    assert_eq!((report.stats.acked_messages, report.failure), (2000, None), "{engine}");
    println!("{engine} runs");
}

/// What a disk that is no disk (tmpfs) keeps the direct engine from is not this test's affair.
fn is_about_the_disk(said: &str) -> bool {
    said.contains("choose a directory") || said.contains("choose another")
}

#[test]
fn every_engine_runs_within_the_default_limit() {
    if in_child(run) {
        return;
    }
    for engine in EngineKind::DISK {
        let said = as_ordinary_user("memlock::every_engine_runs_within_the_default_limit", 8 << 20, engine);
        let Some(said) = said else { return };
        assert!(said.contains(&format!("{engine} runs")) || is_about_the_disk(&said), "{said}");
    }
}

#[test]
fn what_is_registered_stays_within_the_limit() {
    let registers = |_, dir: &Path, limit| {
        let config = EngineConfig::new(dir);
        let told = shard_ring::block_on(Default::default(), |ring| async move {
            Direct::new(&ring, config).await.unwrap().attestation()
        });
        let told = told.unwrap();
        let (staging, reading) = (told.staging_blocks_registered, told.reading_blocks_registered);
        println!(
            "registered: {staging} of {} staging blocks, {reading} of {} reading blocks",
            told.staging_blocks, told.reading_blocks
        );
        let bytes = (staging * told.staging_block_bytes + reading * told.reading_block_bytes) as u64;
        assert!(staging + reading > 0, "8 MiB hold a few blocks");
        assert!(bytes <= limit, "{bytes} bytes are registered, {limit} may be");
    };
    if in_child(registers) {
        return;
    }
    let test = "memlock::what_is_registered_stays_within_the_limit";
    let Some(said) = as_ordinary_user(test, 8 << 20, EngineKind::Direct) else { return };
    println!("{said}");
    assert!(said.contains("registered: ") || is_about_the_disk(&said), "{said}");
}

#[test]
fn with_less_an_engine_runs_or_says_what_it_lacks() {
    if in_child(run) {
        return;
    }
    for limit in [64 << 10, 512 << 10, 4 << 20] {
        for engine in EngineKind::DISK {
            let said = as_ordinary_user("memlock::with_less_an_engine_runs_or_says_what_it_lacks", limit, engine);
            let Some(said) = said else { return };
            println!("{} KiB: {said}", limit >> 10);
            // An engine may find out only when it starts: what the question has locked comes back a moment later.
            let says_why = said.contains("is unavailable: ") && said.contains("locked memory");
            let runs = said.contains(&format!("{engine} runs"));
            assert!(says_why || runs || is_about_the_disk(&said), "{engine} with {limit} bytes: {said}");
        }
    }
}
