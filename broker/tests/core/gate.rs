//! An engine that commits when the test says so: the reference model behind a gate.

use log_api::{
    AppendError, Appended, Batch, Capabilities, Chunk, CommitError, Counters, EngineConfig, FlushGroup, Level,
    LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, Recovery, TrimError,
};
use log_memory::Memory;
use shard_ring::{Event, Ring, Slice};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    rc::Rc,
};

/// The test's side: what was asked for, and what may happen.
#[derive(Default)]
pub(crate) struct Gate {
    /// Each commit, in the order of calls: its groups and level.
    pub(crate) commits: RefCell<Vec<(Vec<u32>, Level)>>,
    /// Commits waiting now.
    pub(crate) waiting: Cell<u32>,
    /// Commits let through, counted from the first; `u64::MAX`: all.
    passed: Cell<u64>,
    /// What commits answer from now on.
    pub(crate) failure: RefCell<Option<CommitError>>,
    /// How many appends are to be refused, and how.
    pub(crate) refusals: Cell<Option<(u32, Refusal)>>,
    moved: Event,
}

#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    Busy,
    Full,
    Poisoned,
}

impl Gate {
    /// Lets the next `commits` through.
    pub(crate) fn pass(&self, commits: u64) {
        self.passed.set(self.passed.get().saturating_add(commits));
        self.moved.notify_all();
    }

    pub(crate) fn open(&self) {
        self.pass(u64::MAX);
    }

    /// Commits asked for so far.
    pub(crate) fn asked(&self) -> usize {
        self.commits.borrow().len()
    }
}

pub(crate) struct Gated {
    inner: Rc<Memory>,
    gate: Rc<Gate>,
    /// The marks that the gate let through.
    marks: Rc<RefCell<HashMap<LogId, Marks>>>,
    poisoned: Rc<Cell<bool>>,
}

impl Gated {
    pub(crate) async fn new(ring: &Ring, config: EngineConfig) -> (Self, Rc<Gate>) {
        let inner = Rc::new(Memory::new(ring, config).await.unwrap());
        let gate = Rc::new(Gate::default());
        (Self { inner, gate: gate.clone(), marks: Rc::default(), poisoned: Rc::default() }, gate)
    }
}

impl LogEngine for Gated {
    type Pin = Slice;

    const CAPABILITIES: Capabilities = Memory::CAPABILITIES;

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        self.marks.borrow_mut().insert(log, Marks::default());
        self.inner.open(log).await
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        if self.poisoned.get() {
            return Err(AppendError::Poisoned);
        }
        if let Some((left, refusal)) = self.gate.refusals.get().filter(|(left, _)| *left > 0) {
            self.gate.refusals.set(Some((left - 1, refusal)));
            return Err(match refusal {
                Refusal::Busy => AppendError::Busy,
                Refusal::Full => AppendError::Full,
                Refusal::Poisoned => AppendError::Poisoned,
            });
        }
        self.inner.append(log, batches)
    }

    async fn room(&self, log: LogId, bytes: u64) {
        self.inner.room(log, bytes).await;
    }

    fn group(&self, log: LogId) -> FlushGroup {
        self.inner.group(log)
    }

    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        // What was appended before the call, and nothing later.
        let ends: Vec<(LogId, Offset)> =
            groups.iter().map(|group| (LogId(group.0), self.inner.marks(LogId(group.0)).end)).collect();
        let number = self.gate.asked() as u64;
        self.gate.commits.borrow_mut().push((groups.iter().map(|group| group.0).collect(), level));
        let (gate, inner, marks) = (self.gate.clone(), self.inner.clone(), self.marks.clone());
        let poisoned = self.poisoned.clone();
        async move {
            gate.waiting.set(gate.waiting.get() + 1);
            while number >= gate.passed.get() {
                gate.moved.wait().await;
            }
            gate.waiting.set(gate.waiting.get() - 1);
            if let Some(failure) = gate.failure.borrow().clone() {
                poisoned.set(matches!(failure, CommitError::Poisoned { .. }));
                return Err(failure);
            }
            let groups: Vec<FlushGroup> = ends.iter().map(|(log, _)| FlushGroup(log.0)).collect();
            inner.commit(&groups, level).await?;
            for (log, end) in ends {
                let mut marks = marks.borrow_mut();
                let marks = marks.get_mut(&log).expect("the log is open");
                marks.placed = marks.placed.max(end);
                if level == Level::Durable {
                    marks.durable = marks.durable.max(end);
                }
            }
            Ok(())
        }
    }

    fn marks(&self, log: LogId) -> Marks {
        let (real, passed) = (self.inner.marks(log), self.marks.borrow().get(&log).copied().unwrap_or_default());
        Marks { durable: passed.durable.max(real.start), placed: passed.placed.max(real.start), ..real }
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Slice>, ReadError> {
        self.inner.read(log, read).await
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        self.inner.trim(log, before).await
    }

    fn counters(&self) -> &Counters {
        self.inner.counters()
    }

    async fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}
