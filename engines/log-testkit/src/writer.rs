//! A writer in a process of its own, for tests that put an end to it, and what its logs must hold afterwards.
//!
//! The child is the test binary itself, run again for the one test with a variable set. It appends batches whose every byte follows
//! from seed, log and offset, keeps several commits in flight, and writes into a pipe what it has heard from the engine. What it
//! leaves is a gap-free run of exactly these batches that reaches at least as far as was acknowledged, or the engine is wrong.

use crate::{
    EngineUnderTest, Needs, Numbers, applies, config, contents::read_all, drawn_batch, in_shard, payload::assigned,
    verified,
};
use futures_lite::future::poll_once;
use log_api::{AppendError, EngineConfig, Epoch, Level, LogEngine, LogId, Offset};
use std::{
    cell::Cell,
    collections::VecDeque,
    fs::File,
    future::Future,
    io::{PipeReader, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, ExitStatus, Stdio},
    rc::Rc,
};

/// Set in the child: what it is to do.
const CHILD: &str = "HIGHWATER_WRITER";

/// The logs that a child writes.
pub(crate) const LOGS: [LogId; 2] = [LogId(0), LogId(7)];

/// A child that nobody puts an end to ends by itself.
const CHILD_COMMITS_MAX: u32 = 20_000;

/// Commits after which a child that trims trims once, on average.
const COMMITS_A_TRIM: u64 = 40;

/// Offsets that a child that trims leaves in a log: a few segments.
const KEPT_OFFSETS: u64 = 6_000;

/// What a child is told, as text in a variable.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) dir: PathBuf,
    /// Of the payload.
    pub(crate) seed: u64,
    /// Seed of what it does.
    pub(crate) turn: u64,
    /// Of its commits.
    pub(crate) level: Level,
    /// Whether the logs are written for durable acknowledgement.
    pub(crate) durable: bool,
    /// The most commits that it keeps in flight.
    pub(crate) commits_max: u64,
    /// Whether it gives up old segments now and then.
    pub(crate) trims: bool,
    /// Acknowledgements after which it does nothing more.
    pub(crate) quiet_after: u64,
    /// Acknowledgements after which it closes the engine and ends.
    pub(crate) closes_after: u64,
}

impl Told {
    fn text(&self) -> String {
        let Self { seed, turn, level, durable, commits_max, trims, quiet_after, closes_after, .. } = self;
        let (level, durable, trims) = (u64::from(*level == Level::Durable), u64::from(*durable), u64::from(*trims));
        let dir = self.dir.display();
        format!("{seed}:{turn}:{level}:{durable}:{commits_max}:{trims}:{quiet_after}:{closes_after}:{dir}")
    }

    /// What this process was told, if it is a child.
    pub(crate) fn heard() -> Option<Self> {
        let text = std::env::var(CHILD).ok()?;
        let parts: Vec<&str> = text.splitn(9, ':').collect();
        let [numbers @ .., dir] = parts.as_slice() else { panic!("nothing was told") };
        let numbers: Vec<u64> = numbers.iter().map(|text| text.parse().expect("a number")).collect();
        let [seed, turn, level, durable, commits_max, trims, quiet_after, closes_after] = numbers[..] else {
            panic!("eight numbers and a path, not {text}")
        };
        let (durable, trims) = (durable == 1, trims == 1);
        let level = if level == 1 { Level::Durable } else { Level::Placed };
        Some(Self { dir: dir.into(), seed, turn, level, durable, commits_max, trims, quiet_after, closes_after })
    }
}

/// Whether this process is the child of a test.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// What a child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A commit of everything before this offset of a log was acknowledged.
    Acknowledged(LogId, Offset),
    /// A trim up to this offset is about to be asked for.
    Trims(LogId, Offset),
    /// The engine has said that a log starts here.
    Starts(LogId, Offset),
    /// The engine was closed.
    Closed,
    /// A log is poisoned, and has been found to behave so.
    Poisoned,
}

const SAID_BYTES: usize = 13;

impl Said {
    fn bytes(self) -> [u8; SAID_BYTES] {
        let (kind, log, offset) = match self {
            Self::Acknowledged(log, offset) => (0, log, offset),
            Self::Trims(log, offset) => (1, log, offset),
            Self::Starts(log, offset) => (2, log, offset),
            Self::Closed => (3, LogId(0), Offset(0)),
            Self::Poisoned => (4, LogId(0), Offset(0)),
        };
        let mut bytes = [kind; SAID_BYTES];
        bytes[1..5].copy_from_slice(&log.0.to_le_bytes());
        bytes[5..].copy_from_slice(&offset.0.to_le_bytes());
        bytes
    }

    fn heard(bytes: [u8; SAID_BYTES]) -> Self {
        let (log, offset) = bytes[1..].split_first_chunk::<4>().expect("12 bytes");
        let log = LogId(u32::from_le_bytes(*log));
        let offset = Offset(u64::from_le_bytes(offset.try_into().expect("8 bytes")));
        match bytes[0] {
            0 => Self::Acknowledged(log, offset),
            1 => Self::Trims(log, offset),
            2 => Self::Starts(log, offset),
            3 => Self::Closed,
            _ => Self::Poisoned,
        }
    }
}

/// What the parent knows of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The log reaches at least as far.
    pub(crate) end: Offset,
    /// It starts here or later.
    pub(crate) start: Offset,
    /// It starts here or earlier: the furthest trim that was asked for.
    pub(crate) trimmed: Offset,
}

impl Known {
    /// Takes in what a child said; whether it was the acknowledgement of a commit.
    pub(crate) fn hear(known: &mut [Self; 2], said: Said) -> bool {
        let of = |log: LogId| LOGS.iter().position(|&its| its == log).expect("a child's log");
        match said {
            // The child awaits its commits in its own order: a later one may be heard of first.
            Said::Acknowledged(log, end) => known[of(log)].end = end.max(known[of(log)].end),
            Said::Trims(log, before) => known[of(log)].trimmed = before.max(known[of(log)].trimmed),
            Said::Starts(log, start) => known[of(log)].start = start,
            Said::Closed | Said::Poisoned => {}
        }
        matches!(said, Said::Acknowledged(..))
    }
}

/// A running child.
pub(crate) struct Writer {
    child: Child,
    from_child: PipeReader,
}

impl Writer {
    /// Runs `test`, the path of the calling test, again.
    pub(crate) fn start(test: &str, told: &Told) -> Self {
        let (from_child, to_parent) = std::io::pipe().expect("a pipe");
        let path_in_binary = test.split_once("::").map_or(test, |(_, path)| path);
        // The harness writes to stdout and stderr: what the child says leaves by descriptor 0.
        let child = Command::new(std::env::current_exe().expect("a test knows its file"))
            .args(["--exact", path_in_binary, "--nocapture", "--test-threads=1"])
            .env(CHILD, told.text())
            .stdin(to_parent)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test binary runs again");
        Self { child, from_child }
    }

    /// What it says next; `None` when it has ended.
    pub(crate) fn next(&mut self) -> Option<Said> {
        let mut bytes = [0; SAID_BYTES];
        self.from_child.read_exact(&mut bytes).ok()?;
        Some(Said::heard(bytes))
    }

    /// Its process, for as long as nobody has seen it end.
    pub(crate) fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
    }

    /// Waits for its end: how it ended, and what it complained of.
    pub(crate) fn end(self) -> (ExitStatus, String) {
        let output = self.child.wait_with_output().expect("the child has ended");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

type Running = Pin<Box<dyn Future<Output = bool>>>;

/// The child's life: appends and commits until somebody puts an end to it.
pub(crate) fn write_until_the_end<E: EngineUnderTest>(told: Told) {
    in_shard(move |ring| async move {
        let engine = E::start(&ring, engine_config(&told.dir, told.durable)).await.expect("the engine starts");
        let engine = Rc::new(engine);
        for log in LOGS {
            engine.open(log).await.expect("the log opens");
        }
        let pipe = Rc::new(pipe_to_parent());
        let mut running: VecDeque<Running> = VecDeque::new();
        let mut numbers = Numbers::new(told.turn);
        let mut acknowledged = 0;
        for _ in 0..CHILD_COMMITS_MAX {
            if acknowledged >= told.closes_after {
                break;
            }
            let log = LOGS[numbers.below(2) as usize];
            for _ in 0..1 + numbers.below(4) {
                append::<E>(&engine, told.seed, log).await;
            }
            if told.trims && numbers.below(COMMITS_A_TRIM) == 0 && !trim::<E>(&engine, &pipe, log, told.durable).await {
                return;
            }
            let mut commit = commit::<E>(&engine, &pipe, log, told.level);
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
                if acknowledged == told.quiet_after {
                    std::future::pending::<()>().await;
                }
                if (running.len() as u64) < told.commits_max {
                    break;
                }
                heard = Some(running.pop_front().expect("not empty").await);
            }
        }
        for commit in running {
            commit.await;
        }
        let engine = Rc::into_inner(engine).expect("no commit is left");
        let ends = LOGS.map(|log| Said::Acknowledged(log, engine.marks(log).end));
        engine.close().await.expect("a close on a healthy disk");
        for said in ends.into_iter().chain([Said::Closed]) {
            say(&pipe, said);
        }
    });
}

/// Where a child says what it has heard.
pub(crate) fn pipe_to_parent() -> File {
    File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("descriptor 0 is the pipe"))
}

/// Whether anybody listens.
pub(crate) fn say(mut pipe: &File, said: Said) -> bool {
    pipe.write_all(&said.bytes()).is_ok()
}

/// A commit that acknowledges when it is done; `false` when nobody listens any more.
fn commit<E: EngineUnderTest>(engine: &Rc<E::Engine>, pipe: &Rc<File>, log: LogId, level: Level) -> Running {
    let (engine, pipe) = (Rc::clone(engine), Rc::clone(pipe));
    Box::pin(async move {
        let end = engine.marks(log).end;
        let group = engine.group(log);
        engine.commit(&[group], level).await.expect("a commit on a healthy disk");
        say(&pipe, Said::Acknowledged(log, end))
    })
}

/// Gives up all but the last few thousand offsets; `false` when nobody listens any more. What it keeps is made durable, so that the
/// log stays small at any level.
async fn trim<E: EngineUnderTest>(engine: &Rc<E::Engine>, pipe: &File, log: LogId, durable: bool) -> bool {
    engine.commit(&[engine.group(log)], Level::Durable).await.expect("a commit on a healthy disk");
    let before = Offset(engine.marks(log).durable.0.saturating_sub(KEPT_OFFSETS));
    if !say(pipe, Said::Trims(log, before)) {
        return false;
    }
    let start = engine.trim(log, before).await.expect("a trim on a healthy disk");
    // Else the disk may follow later.
    !durable || say(pipe, Said::Starts(log, start))
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

/// Of children and readers.
pub(crate) fn engine_config(dir: &Path, durable: bool) -> EngineConfig {
    EngineConfig { inflight_bytes_max: 1 << 20, durable, ..config(dir) }
}

/// How the parent opens what a child left: a function of an engine, so that any engine's directory is given to every one.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    pub(crate) name: &'static str,
    pub(crate) applies: fn() -> bool,
    pub(crate) check: fn(Check) -> Result<[Known; 2], String>,
}

/// A reader with engine `E`.
#[must_use]
pub fn reader<E: EngineUnderTest>() -> Reader {
    Reader { name: E::NAME, applies: || applies::<E>("reading what a writer left", Needs::Keeping), check: check::<E> }
}

/// What a reader is to find.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) known: [Known; 2],
    /// Whether it closes the engine afterwards, or crashes.
    pub(crate) closes: bool,
}

/// Opens what a child left and checks each log from its start. Returns what is known from then on: what a reader found is durable,
/// and the next one must find no less.
fn check<E: EngineUnderTest>(check: Check) -> Result<[Known; 2], String> {
    in_shard(move |ring| async move {
        let engine = E::start(&ring, engine_config(&check.dir, true)).await.map_err(|error| error.to_string())?;
        let found_marks = [Cell::default(), Cell::default()];
        for ((log, known), found_marks) in LOGS.iter().zip(check.known).zip(&found_marks) {
            let wrong = |what: String| format!("{log}: {what}");
            let recovery = engine.open(*log).await.map_err(|error| wrong(error.to_string()))?;
            let marks = recovery.marks;
            found_marks.set(Known { end: marks.end, start: marks.start, trimmed: known.trimmed });
            if marks.end < known.end || marks.durable != marks.end {
                return Err(wrong(format!("{marks:?} after {} was acknowledged", known.end)));
            }
            if marks.start < known.start || marks.start > known.trimmed {
                return Err(wrong(format!(
                    "starts at {}, trimmed to {}..={}",
                    marks.start, known.start, known.trimmed
                )));
            }
            let mut next = marks.start;
            let mut epoch = Epoch(0);
            for found in read_all(&engine, *log).await.map_err(wrong)? {
                let (bytes, _) = drawn_batch(check.seed, *log, next);
                if found.base != next || found.bytes != assigned(bytes, next, found.epoch) {
                    return Err(wrong(format!("the batch at {} is not what was written at {next}", found.base)));
                }
                if found.epoch < epoch || found.epoch >= recovery.epoch {
                    let before = recovery.epoch;
                    return Err(wrong(format!("epoch {} at {next} after {epoch}, before {before}", found.epoch)));
                }
                (next, epoch) = (found.end, found.epoch);
            }
            if next != marks.end {
                return Err(wrong(format!("reads end at {next}, the log at {}", marks.end)));
            }
        }
        if check.closes {
            engine.close().await.map_err(|error| error.to_string())?;
        }
        Ok(found_marks.map(|known| known.get()))
    })
}
