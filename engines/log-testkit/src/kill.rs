//! kill -9: what was acknowledged comes back.
//!
//! The fault model: the process is gone between two instructions, at a place that depends on a seed (the number of
//! acknowledgements that the parent waits for, from none on) and on nothing else that the test controls; the kernel lives on.
//!
//! The child is the test binary itself, run again for the one test with a variable set. It appends batches whose every byte follows
//! from seed, log and offset, keeps several commits in flight, and writes an acknowledgement into a pipe when a commit is done. The
//! parent kills it, reads the acknowledgements to their end, opens the directory with each reader in turn, and checks that each log
//! is a gap-free run of exactly these batches that reaches at least as far as was acknowledged. Then the next child goes on in the
//! same directory.

use crate::{
    EngineUnderTest, Needs, Numbers, applies, config, contents::read_all, directory, drawn_batch, in_shard,
    model::first_seed, payload::assigned, verified,
};
use futures_lite::future::poll_once;
use log_api::{AppendError, EngineConfig, Level, LogEngine, LogId, Offset};
use std::{
    cell::Cell,
    collections::VecDeque,
    fs::File,
    future::Future,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Command, Stdio},
    rc::Rc,
};

/// Set in the child: what it is to do.
const CHILD: &str = "HIGHWATER_KILL_CHILD";

/// The logs that a child writes.
const LOGS: [LogId; 2] = [LogId(0), LogId(7)];

/// The most commits that a child keeps in flight.
const COMMITS_MAX: u64 = 4;

/// Acknowledgements that the parent waits for are fewer than this.
const ACKNOWLEDGEMENTS_MAX: u64 = 250;

/// A child whose parent does not kill it ends by itself.
const CHILD_COMMITS_MAX: u32 = 20_000;

/// How the parent opens what a child left: a function of an engine, so that any engine's directory is given to every one.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    name: &'static str,
    applies: fn() -> bool,
    check: fn(Check) -> Result<[Offset; 2], String>,
}

/// A reader with engine `E`.
#[must_use]
pub fn reader<E: EngineUnderTest>() -> Reader {
    Reader { name: E::NAME, applies: || applies::<E>("reading what a kill left", Needs::Keeping), check: check::<E> }
}

/// Kills a writer of engine `E` again and again, five times or `HIGHWATER_KILLS`; `test` is the path of the calling test, by which the
/// child is found.
///
/// # Panics
/// If something that was acknowledged is lost, changed, doubled or out of order, with the seed that repeats the run.
pub fn kill_nine<E: EngineUnderTest>(test: &str, readers: &[Reader]) {
    if let Ok(told) = std::env::var(CHILD) {
        return child::<E>(&Told::parse(&told));
    }
    if !applies::<E>("kill_nine", Needs::Keeping) {
        return;
    }
    let kills = std::env::var("HIGHWATER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5);
    let seed = first_seed();
    let dir = directory();
    let mut numbers = Numbers::new(seed);
    let mut acknowledged = [Offset(0); 2];
    let readers: Vec<&Reader> = readers.iter().filter(|reader| (reader.applies)()).collect();
    for kill in 1..=kills {
        // Three in four are durable; killing in the middle of an open is as interesting as in the middle of a write.
        let level = if numbers.below(4) == 0 { Level::Placed } else { Level::Durable };
        let wait_for = if numbers.below(5) == 0 { 0 } else { numbers.below(ACKNOWLEDGEMENTS_MAX) };
        // Killed in full swing, or in silence: nothing that the child does after an acknowledgement may be needed for it.
        let quiet_after = if numbers.below(2) == 0 { wait_for } else { u64::MAX };
        let commits_max = 1 + numbers.below(COMMITS_MAX);
        let told = Told { dir: dir.path().to_path_buf(), seed, level, commits_max, quiet_after };
        let told_by_child = run_child(test, &told, wait_for);
        let context = || format!("kill {kill} of {kills} after {wait_for} acknowledgements ({level:?}) by {}", E::NAME);
        for (log, end) in told_by_child {
            let log = LOGS.iter().position(|known| known.0 == log).expect("a child's log");
            assert!(end >= acknowledged[log], "acknowledgements of one log come in order");
            acknowledged[log] = end;
        }
        for reader in &readers {
            let closes = numbers.below(2) == 0;
            let check = Check { dir: dir.path().to_path_buf(), seed, acknowledged, closes };
            // What a reader found is durable: the next one must find no less.
            acknowledged = (reader.check)(check).unwrap_or_else(|wrong| {
                panic!(
                    "{}, read by {}: {wrong}\nrepeat with HIGHWATER_SEED={seed} HIGHWATER_KILLS={kills}",
                    context(),
                    reader.name
                )
            });
        }
    }
}

/// What a child is told, as text in a variable.
struct Told {
    dir: PathBuf,
    seed: u64,
    level: Level,
    commits_max: u64,
    /// Acknowledgements after which the child does nothing more.
    quiet_after: u64,
}

impl Told {
    fn text(&self) -> String {
        let durable = u64::from(self.level == Level::Durable);
        format!("{}:{durable}:{}:{}:{}", self.seed, self.commits_max, self.quiet_after, self.dir.display())
    }

    fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.splitn(5, ':').collect();
        let [seed, durable, commits_max, quiet_after, dir] = parts[..] else { panic!("five parts, not {text}") };
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let level = if number(durable) == 1 { Level::Durable } else { Level::Placed };
        let (seed, commits_max, quiet_after) = (number(seed), number(commits_max), number(quiet_after));
        Self { dir: PathBuf::from(dir), seed, level, commits_max, quiet_after }
    }
}

/// Runs a child, kills it after `wait_for` acknowledgements, and returns all that it gave.
fn run_child(test: &str, told: &Told, wait_for: u64) -> Vec<(u32, Offset)> {
    let (mut from_child, to_parent) = std::io::pipe().expect("a pipe");
    let path_in_binary = test.split_once("::").map_or(test, |(_, path)| path);
    // The harness writes to stdout and stderr: acknowledgements leave by descriptor 0.
    let mut child = Command::new(std::env::current_exe().expect("a test knows its file"))
        .args(["--exact", path_in_binary, "--nocapture", "--test-threads=1"])
        .env(CHILD, told.text())
        .stdin(to_parent)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary runs again");
    let mut given = Vec::new();
    let mut next = || {
        let mut bytes = [0; 12];
        from_child.read_exact(&mut bytes).ok()?;
        let (log, end) = bytes.split_first_chunk::<4>().expect("12 bytes");
        let end = u64::from_le_bytes(end.try_into().expect("8 bytes are left"));
        given.push((u32::from_le_bytes(*log), Offset(end)));
        Some(())
    };
    let all_came = (0..wait_for).all(|_| next().is_some());
    child.kill().expect("the child can be killed");
    while next().is_some() {}
    let output = child.wait_with_output().expect("the child has ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(all_came, "the child ended by itself ({}): {said}", output.status);
    given
}

type Running = Pin<Box<dyn Future<Output = bool>>>;

/// Appends and commits until it is killed.
fn child<E: EngineUnderTest>(told: &Told) {
    let config = engine_config(&told.dir);
    let Told { seed, level, commits_max, quiet_after, .. } = *told;
    in_shard(move |ring| async move {
        let engine = Rc::new(E::start(&ring, config).await.expect("the engine starts"));
        for log in LOGS {
            engine.open(log).await.expect("the log opens");
        }
        let pipe = File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("descriptor 0 is the pipe"));
        let pipe = Rc::new(pipe);
        let mut running: VecDeque<Running> = VecDeque::new();
        let mut numbers = Numbers::new(seed ^ u64::from(std::process::id()));
        let mut acknowledged = 0;
        for _ in 0..CHILD_COMMITS_MAX {
            let log = LOGS[numbers.below(2) as usize];
            for _ in 0..1 + numbers.below(4) {
                append::<E>(&engine, seed, log).await;
            }
            let mut commit = commit::<E>(&engine, &pipe, log, level);
            // Begun at once, awaited when its turn comes.
            let mut heard = poll_once(&mut commit).await;
            if heard.is_none() {
                running.push_back(commit);
            }
            loop {
                match heard {
                    Some(false) => return,
                    Some(true) => acknowledged += 1,
                    None => {}
                }
                if acknowledged == quiet_after {
                    std::future::pending::<()>().await;
                }
                if (running.len() as u64) < commits_max {
                    break;
                }
                heard = Some(running.pop_front().expect("not empty").await);
            }
        }
    });
}

/// A commit that acknowledges when it is done; `false` when nobody listens any more.
fn commit<E: EngineUnderTest>(engine: &Rc<E::Engine>, pipe: &Rc<File>, log: LogId, level: Level) -> Running {
    let (engine, pipe) = (Rc::clone(engine), Rc::clone(pipe));
    Box::pin(async move {
        let end = engine.marks(log).end;
        let group = engine.group(log);
        engine.commit(&[group], level).await.expect("a commit on a healthy disk");
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&log.0.to_le_bytes());
        bytes[4..].copy_from_slice(&end.0.to_le_bytes());
        (&*pipe).write_all(&bytes).is_ok()
    })
}

async fn append<E: EngineUnderTest>(engine: &E::Engine, seed: u64, log: LogId) {
    let (bytes, _) = drawn_batch(seed, log, engine.marks(log).end);
    loop {
        match engine.append(log, &[verified(&bytes)]) {
            Ok(_) => return,
            Err(AppendError::Busy) => {
                engine.commit(&[engine.group(log)], Level::Placed).await.expect("a commit on a healthy disk");
                engine.room(log, bytes.len() as u64).await;
            }
            Err(error) => panic!("append: {error}"),
        }
    }
}

fn engine_config(dir: &Path) -> EngineConfig {
    EngineConfig { inflight_bytes_max: 1 << 20, ..config(dir) }
}

/// What a reader is to find.
struct Check {
    dir: PathBuf,
    seed: u64,
    acknowledged: [Offset; 2],
    closes: bool,
}

/// Opens what a child left and checks each log from its start; returns the ends.
fn check<E: EngineUnderTest>(check: Check) -> Result<[Offset; 2], String> {
    in_shard(move |ring| async move {
        let engine = E::start(&ring, engine_config(&check.dir)).await.map_err(|error| error.to_string())?;
        let ends = [Cell::default(), Cell::default()];
        for ((log, acknowledged), found_end) in LOGS.iter().zip(check.acknowledged).zip(&ends) {
            let wrong = |what: String| format!("{log}: {what}");
            let recovery = engine.open(*log).await.map_err(|error| wrong(error.to_string()))?;
            let end = recovery.marks.end;
            found_end.set(end);
            if end < acknowledged || recovery.marks.durable != end || recovery.marks.start != Offset(0) {
                return Err(wrong(format!("{:?} after {acknowledged} was acknowledged", recovery.marks)));
            }
            let mut next = Offset(0);
            let mut epoch = log_api::Epoch(0);
            for found in read_all(&engine, *log).await.map_err(wrong)? {
                let (bytes, _) = drawn_batch(check.seed, *log, next);
                if found.base != next || found.bytes != assigned(bytes, next, found.epoch) {
                    return Err(wrong(format!("the batch at {} is not what was written at {next}", found.base)));
                }
                if found.epoch < epoch || found.epoch >= recovery.epoch {
                    return Err(wrong(format!(
                        "epoch {} at {next} after {epoch}, before {}",
                        found.epoch, recovery.epoch
                    )));
                }
                (next, epoch) = (found.end, found.epoch);
            }
            if next != end {
                return Err(wrong(format!("reads end at {next}, the log at {end}")));
            }
        }
        if check.closes {
            engine.close().await.map_err(|error| error.to_string())?;
        }
        Ok(ends.map(|end| end.get()))
    })
}
