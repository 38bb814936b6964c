//! Carries a sequence out, one incarnation of the engine after the other, and compares with the model after each step.

use super::{
    operations::{Case, Operation},
    state::LogModel,
};
use crate::{
    EngineUnderTest, Found, Needs, applies, bytes_of, checked, directory, in_shard, payload, read_between, verified,
};
use futures_lite::future::poll_once;
use log_api::{AppendError, Chunk, CommitError, EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind};
use std::{future::Future, path::PathBuf, pin::Pin, rc::Rc};

/// The two logs of a sequence.
const LOGS: [LogId; 2] = [LogId(1), LogId(42)];

/// Waits for room after which an append waits for ever.
const ROOM_WAITS_MAX: u32 = 1000;

/// What a sequence showed, as far as the contract fixes it: equal for all engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An append and its offsets.
    Appended(LogId, Offset, Offset),
    /// A read and its bytes, without the epochs (an incarnation's number is the engine's own affair).
    Read(LogId, Vec<u8>),
    /// A log's end, its placed mark and, after a durable commit, its durable mark, when a commit has been awaited.
    Committed(LogId, Offset, Offset, Option<Offset>),
    /// A log's end after an open.
    Opened(LogId, Offset),
}

/// An engine that can carry sequences out.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    name: &'static str,
    keeps: bool,
    applies: fn() -> bool,
    incarnation: fn(Session) -> (Session, Result<(), String>),
}

/// The runner of an engine.
#[must_use]
pub fn runner<E: EngineUnderTest>() -> Runner {
    Runner {
        name: E::NAME,
        keeps: <E::Engine as LogEngine>::CAPABILITIES.persistent,
        applies: || applies::<E>("random operations", Needs::Running),
        incarnation: |session| in_shard(move |ring| incarnation::<E>(ring, session)),
    }
}

impl Runner {
    pub(super) fn applies(&self) -> bool {
        (self.applies)()
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

/// What goes from one incarnation to the next.
struct Session {
    case: Case,
    dir: PathBuf,
    /// The next operation.
    at: usize,
    logs: [LogModel; 2],
    events: Vec<Event>,
    /// How the incarnation before ended; a log that was never opened counts as closed.
    closed: bool,
}

/// Carries a sequence out from an empty directory, a runner an incarnation in turn; `reopens` says that it ends with a close, an open
/// and a read of everything.
pub(super) fn relay(case: &Case, runners: &[Runner], reopens: bool) -> Result<Vec<Event>, String> {
    let dir = directory();
    let mut session = Session {
        case: case.clone(),
        dir: dir.path().to_path_buf(),
        at: 0,
        logs: LOGS.map(LogModel::new),
        events: Vec::new(),
        closed: true,
    };
    if reopens {
        session.case.operations.push(Operation::Close);
    }
    for runner in runners.iter().cycle() {
        let last = session.at == session.case.operations.len();
        let started_at = session.at;
        let result;
        (session, result) = (runner.incarnation)(session);
        result.map_err(|what| {
            let operation = session.case.operations.get(session.at);
            format!("{}, incarnation from operation {started_at}, at {} {operation:?}: {what}", runner.name, session.at)
        })?;
        if last || (!reopens && session.at == session.case.operations.len()) {
            return Ok(session.events);
        }
    }
    unreachable!("a cycle of at least one runner does not end")
}

async fn incarnation<E: EngineUnderTest>(
    ring: shard_ring::Ring,
    mut session: Session,
) -> (Session, Result<(), String>) {
    let result = try_incarnation::<E>(&ring, &mut session).await;
    (session, result)
}

async fn try_incarnation<E: EngineUnderTest>(ring: &shard_ring::Ring, session: &mut Session) -> Result<(), String> {
    let case = &session.case;
    let config = EngineConfig {
        durable: case.durable,
        segment_bytes: 1 << 20,
        inflight_bytes_max: case.inflight_bytes_max,
        index_interval_bytes: case.index_interval_bytes,
        tail_cache_bytes: case.tail_cache_bytes,
        send: case.send,
        ..EngineConfig::new(&session.dir)
    };
    let engine = Rc::new(E::start(ring, config).await.map_err(|error| error.to_string())?);
    let mut shard = Shard { engine, begun: Vec::new(), held: Vec::new() };
    let capabilities = <E::Engine as LogEngine>::CAPABILITIES;
    for (nth, log) in LOGS.into_iter().enumerate() {
        let recovery = shard.engine.open(log).await.map_err(|error| format!("{log}: {error}"))?;
        session.logs[nth].reopened(&recovery, capabilities.persistent, session.closed)?;
        session.events.push(Event::Opened(log, recovery.marks.end));
        if capabilities.readable {
            shard.read(session, nth, 0, u16::MAX, 64 << 10, ReadKind::Scan).await?;
        }
    }
    while session.at < session.case.operations.len() {
        match session.case.operations[session.at].clone() {
            Operation::Close => {
                shard.await_all(session).await?;
                let Shard { engine, held, .. } = shard;
                let engine = Rc::into_inner(engine).expect("no commit is left that holds the engine");
                engine.close().await.map_err(|error| format!("close: {error}"))?;
                unchanged(&held)?;
                session.logs.iter_mut().for_each(|log| log.held = !held.is_empty());
                session.closed = true;
                session.at += 1;
                return Ok(());
            }
            Operation::Crash => {
                let Shard { engine, begun, held } = shard;
                drop((begun, engine));
                unchanged(&held)?;
                session.closed = false;
                session.at += 1;
                return Ok(());
            }
            operation => shard.carry_out(session, operation, capabilities.readable).await?,
        }
        for model in &mut session.logs {
            model.observe(shard.engine.marks(model.log), capabilities.readable)?;
        }
        session.at += 1;
    }
    Ok(())
}

type Running = Pin<Box<dyn Future<Output = Result<(), CommitError>>>>;

/// A chunk and what it showed when it was read.
type Held<P> = (Chunk<P>, Vec<u8>);

/// An incarnation: the engine, and what is going on in it.
struct Shard<E: LogEngine> {
    engine: Rc<E>,
    /// Commits in flight: the log's place, what it covers, the level.
    begun: Vec<(usize, Offset, Level, Running)>,
    held: Vec<Held<E::Pin>>,
}

fn unchanged<P: AsRef<[u8]>>(held: &[Held<P>]) -> Result<(), String> {
    for (chunk, bytes) in held {
        if &bytes_of(chunk)? != bytes {
            return Err(format!("the bytes of a held chunk {}..{} changed", chunk.base, chunk.next));
        }
    }
    Ok(())
}

impl<E: LogEngine> Shard<E> {
    async fn carry_out(&mut self, session: &mut Session, operation: Operation, readable: bool) -> Result<(), String> {
        match operation {
            Operation::Append { log, shapes } => self.append(session, log, &shapes).await,
            Operation::Commit { logs, level } => {
                self.commit(session, &logs, level).await?;
                for nth in logs {
                    let marks = self.engine.marks(LOGS[nth]);
                    let durable = (level == Level::Durable).then_some(marks.durable);
                    session.events.push(Event::Committed(LOGS[nth], marks.end, marks.placed, durable));
                    session.logs[nth].awaited = marks.end;
                }
                Ok(())
            }
            Operation::Begin { log, level } => {
                let engine = Rc::clone(&self.engine);
                let group = engine.group(LOGS[log]);
                let mut commit: Running = Box::pin(async move { engine.commit(&[group], level).await });
                let end = session.logs[log].end();
                match poll_once(&mut commit).await {
                    Some(result) => done(session, log, end, level, result)?,
                    None => self.begun.push((log, end, level, commit)),
                }
                Ok(())
            }
            Operation::AwaitAll => self.await_all(session).await,
            Operation::Abandon => {
                self.begun.clear();
                Ok(())
            }
            Operation::Read { log, from, until, bytes_max, kind } if readable => {
                self.read(session, log, from, until, bytes_max, kind).await
            }
            Operation::Hold { log, from } if readable => self.hold(session, log, from).await,
            Operation::Release => {
                unchanged(&self.held)?;
                self.held.clear();
                Ok(())
            }
            Operation::Trim { log, before } => {
                session.logs[log].trimmed = true;
                let marks = self.engine.marks(LOGS[log]);
                let before = LogModel::between(marks.start, marks.placed, before);
                let start = self.engine.trim(LOGS[log], before).await.map_err(|error| error.to_string())?;
                let allowed = marks.start <= start && start <= before.max(marks.start);
                if allowed && start == self.engine.marks(LOGS[log]).start {
                    return Ok(());
                }
                Err(format!("a trim before {before} of {marks:?} gives {start}"))
            }
            Operation::Read { .. } | Operation::Hold { .. } => Ok(()),
            Operation::Close | Operation::Crash => unreachable!("the incarnation's loop ends with these"),
        }
    }

    async fn append(&mut self, session: &mut Session, nth: usize, shapes: &[crate::Shape]) -> Result<(), String> {
        let (seed, log) = (session.case.seed, LOGS[nth]);
        let base = session.logs[nth].end();
        let mut made: Vec<Found> = Vec::new();
        for shape in shapes {
            let at = made.last().map_or(base, |batch| batch.end);
            let (end, epoch) = (at.plus(u64::from(shape.records)), session.logs[nth].epoch);
            made.push(Found { base: at, end, epoch, bytes: payload::batch(seed, log, at, *shape) });
        }
        let end = made.last().map_or(base, |batch| batch.end);
        let bytes: u64 = made.iter().map(|batch| batch.bytes.len() as u64).sum();
        let views: Vec<_> = made.iter().map(|batch| verified(&batch.bytes)).collect();
        for _ in 0..ROOM_WAITS_MAX {
            match self.engine.append(log, &views) {
                Ok(appended) => {
                    if (appended.base, appended.end) != (base, end) {
                        return Err(format!("{log}: an append at {base} was given {appended:?}"));
                    }
                    for mut batch in made {
                        batch.bytes = payload::assigned(batch.bytes, batch.base, batch.epoch);
                        session.logs[nth].batches.push(batch);
                    }
                    session.events.push(Event::Appended(log, base, end));
                    return Ok(());
                }
                Err(AppendError::TooLarge { .. }) if bytes > 1 << 20 => return Ok(()),
                Err(AppendError::Busy) => {
                    self.commit(session, &[0, 1], Level::Placed).await?;
                    self.engine.room(log, bytes).await;
                }
                Err(error) => return Err(format!("{log}: append of {bytes} bytes: {error}")),
            }
        }
        Err(format!("{log}: busy for {bytes} bytes after {ROOM_WAITS_MAX} waits for room"))
    }

    async fn commit(&mut self, session: &mut Session, logs: &[usize], level: Level) -> Result<(), String> {
        let groups: Vec<_> = logs.iter().map(|nth| self.engine.group(LOGS[*nth])).collect();
        let result = self.engine.commit(&groups, level).await;
        for nth in logs {
            done(session, *nth, session.logs[*nth].end(), level, result.clone())?;
        }
        Ok(())
    }

    async fn await_all(&mut self, session: &mut Session) -> Result<(), String> {
        for (log, end, level, commit) in std::mem::take(&mut self.begun) {
            done(session, log, end, level, commit.await)?;
            session.logs[log].observe(self.engine.marks(LOGS[log]), E::CAPABILITIES.readable)?;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        session: &mut Session,
        nth: usize,
        from: u16,
        until: u16,
        bytes_max: u64,
        kind: ReadKind,
    ) -> Result<(), String> {
        let (log, marks) = (LOGS[nth], self.engine.marks(LOGS[nth]));
        let from = LogModel::between(marks.start, marks.placed, from);
        let until = LogModel::between(from, marks.placed, until);
        let found = read_between(&*self.engine, log, from..until, bytes_max, kind).await?;
        let expected = session.logs[nth].expected(from, until);
        if found != expected {
            let place = found.iter().zip(expected).find(|(one, two)| one != two).map(|(one, _)| one.base);
            let (got, want) = (found.len(), expected.len());
            return Err(format!("{log}: {from}..{until}: {got} batches of {want}, the first difference at {place:?}"));
        }
        // Engines may place earlier than they must and start segments where they like: what all of them read is comparable only
        // while everything is placed and nothing was trimmed.
        let model = &session.logs[nth];
        if !model.trimmed && model.awaited == model.end() {
            let masked =
                found.into_iter().flat_map(|batch| payload::assigned(batch.bytes, batch.base, log_api::Epoch(0)));
            session.events.push(Event::Read(log, masked.collect()));
        }
        Ok(())
    }

    async fn hold(&mut self, session: &mut Session, nth: usize, from: u16) -> Result<(), String> {
        let (log, marks) = (LOGS[nth], self.engine.marks(LOGS[nth]));
        let from = LogModel::between(marks.start, marks.placed, from);
        if from == marks.placed {
            return Ok(());
        }
        let read = Read { from, until: marks.placed, bytes_max: 20_000, kind: ReadKind::Hot };
        let chunk = self.engine.read(log, read).await.map_err(|error| format!("{log}: {read:?}: {error}"))?;
        let found = checked(&read, &chunk)?;
        if found.is_empty() || !session.logs[nth].expected(from, marks.placed).starts_with(&found) {
            return Err(format!("{log}: a chunk from {from} shows something else"));
        }
        let bytes = bytes_of(&chunk)?;
        self.held.push((chunk, bytes));
        Ok(())
    }
}

fn done(
    session: &mut Session,
    nth: usize,
    end: Offset,
    level: Level,
    result: Result<(), CommitError>,
) -> Result<(), String> {
    result.map_err(|error| format!("{}: commit {level:?}: {error}", LOGS[nth]))?;
    session.logs[nth].committed(end, level);
    Ok(())
}
