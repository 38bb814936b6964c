//! Loads on one log of an engine: what producers and the group commit of a shard do, without either.

use futures_lite::future::poll_once;
use log_api::{AppendError, Batch, CommitError, Level, LogEngine, LogId};
use log_format::Template;
use shard_ring::{Event, sleep, spawn_local};
use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

pub(crate) const LOG: LogId = LogId(0);

/// How often old segments are given up.
const TRIM_EVERY: Duration = Duration::from_millis(2);

/// An encoded batch of one record and exactly so many bytes.
pub(crate) fn batch_of(bytes: usize) -> Vec<u8> {
    let overhead = Template::new(1, bytes).bytes() - bytes;
    let template = Template::new(1, bytes - overhead);
    let mut batch = vec![0; template.bytes()];
    template.write(&mut batch);
    batch
}

type Commit = Pin<Box<dyn Future<Output = Result<(), CommitError>>>>;

/// One open log, with at most so many commits in flight, and its old segments trimmed as they become durable.
pub(crate) struct Load<E: LogEngine> {
    pub(crate) engine: Rc<E>,
    level: Level,
    depth: usize,
    flying: VecDeque<Commit>,
    ended: Rc<Cell<bool>>,
    trimmed: Rc<Event>,
}

impl<E: LogEngine> Load<E> {
    pub(crate) fn new(engine: E, level: Level, depth: usize, trims: bool) -> Self {
        let (engine, ended, trimmed) = (Rc::new(engine), Rc::new(Cell::new(!trims)), Rc::new(Event::new()));
        if trims {
            spawn_local(trim(engine.clone(), ended.clone(), trimmed.clone()));
        }
        Self { engine, level, depth, flying: VecDeque::new(), ended, trimmed }
    }

    /// Appends, waiting as long as there is no room.
    pub(crate) async fn append(&mut self, batch: &[u8]) {
        loop {
            match self.engine.append(LOG, &[Batch::verified(batch, 1)]) {
                Ok(_) => return,
                Err(AppendError::Busy) if !self.flying.is_empty() => self.land().await,
                Err(AppendError::Busy) => self.engine.room(LOG, batch.len() as u64).await,
                Err(error) => panic!("append: {error}"),
            }
        }
    }

    /// Waits until one commit more may be in flight.
    pub(crate) async fn may_commit(&mut self) {
        while self.flying.len() >= self.depth {
            self.land().await;
        }
    }

    /// Commits what was appended since the last commit, when one more may be in flight.
    pub(crate) async fn commit(&mut self) {
        self.may_commit().await;
        let (engine, level, groups) = (self.engine.clone(), self.level, [self.engine.group(LOG)]);
        let mut commit: Commit = Box::pin(async move { engine.commit(&groups, level).await });
        // The first poll submits.
        match poll_once(&mut commit).await {
            Some(ended) => ended.expect("a commit"),
            None => self.flying.push_back(commit),
        }
    }

    /// Waits for the oldest commit.
    pub(crate) async fn land(&mut self) {
        if let Some(commit) = self.flying.pop_front() {
            commit.await.expect("a commit");
        }
    }

    /// Waits for all of them.
    pub(crate) async fn settle(&mut self) {
        while !self.flying.is_empty() {
            self.land().await;
        }
    }

    /// Batches one by one, each committed when `gathered` bytes are there, for about `time`; the next is appended while others are in flight,
    /// as with group commit. Returns bytes a second, all of them
    /// acknowledged.
    pub(crate) async fn pour(&mut self, batch: &[u8], gathered: usize, time: Duration) -> f64 {
        let (started, mut appended, mut staged) = (Instant::now(), 0_u64, 0);
        while staged > 0 || started.elapsed() < time {
            self.append(batch).await;
            staged += batch.len();
            if staged >= gathered {
                self.commit().await;
                appended += std::mem::take(&mut staged) as u64;
            }
        }
        self.settle().await;
        appended as f64 / started.elapsed().as_secs_f64()
    }

    pub(crate) async fn end(self) {
        let trimmed = self.trimmed.wait();
        if !self.ended.replace(true) {
            trimmed.await;
        }
        let Ok(engine) = Rc::try_unwrap(self.engine) else { panic!("the trimmer has ended") };
        engine.close().await.expect("a clean end");
    }
}

async fn trim<E: LogEngine>(engine: Rc<E>, ended: Rc<Cell<bool>>, trimmed: Rc<Event>) {
    while !ended.get() {
        engine.trim(LOG, engine.marks(LOG).durable).await.expect("a trim");
        sleep(TRIM_EVERY).await;
    }
    drop(engine);
    trimmed.notify_all();
}
