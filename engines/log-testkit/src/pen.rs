//! Writes to a log through the contract, and remembers what must be there.

use crate::{
    contents::{Found, read_all},
    payload::{Shape, assigned, batch, verified},
};
use log_api::{AppendError, Appended, Epoch, Level, LogEngine, LogId, Offset};

/// Tries after which an append that waits for room waits for ever.
const ROOM_TRIES_MAX: u32 = 1000;

/// Appends to one log, and keeps the batches as they must be read back.
#[derive(Clone, Debug)]
pub struct Pen {
    /// Seed of the payload.
    pub seed: u64,
    /// Where it writes.
    pub log: LogId,
    /// The log's incarnation; set it after each open.
    pub epoch: Epoch,
    /// Everything appended, in order.
    pub batches: Vec<Found>,
}

impl Pen {
    /// A pen at the start of an empty log.
    #[must_use]
    pub fn new(seed: u64, log: LogId, epoch: Epoch) -> Self {
        Self { seed, log, epoch, batches: Vec::new() }
    }

    /// Where the next batch goes.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |batch| batch.end)
    }

    /// One call with these batches.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// If the engine assigns other offsets than the next ones, or changes its end when it refuses.
    pub fn try_append<E: LogEngine>(&mut self, engine: &E, shapes: &[Shape]) -> Result<Appended, AppendError> {
        let base = self.end();
        let mut made: Vec<Found> = Vec::new();
        for shape in shapes {
            let at = made.last().map_or(base, |batch| batch.end);
            let bytes = batch(self.seed, self.log, at, *shape);
            made.push(Found { base: at, end: at.plus(u64::from(shape.records)), epoch: self.epoch, bytes });
        }
        let views: Vec<_> = made.iter().map(|batch| verified(&batch.bytes)).collect();
        let appended = engine.append(self.log, &views);
        let end = made.last().map_or(base, |batch| batch.end);
        match &appended {
            Ok(appended) => {
                assert_eq!((appended.base, appended.end), (base, end), "{}: offsets of an append", self.log);
                let placed = made.into_iter().map(|mut batch| {
                    batch.bytes = assigned(batch.bytes, batch.base, self.epoch);
                    batch
                });
                self.batches.extend(placed);
                assert_eq!(engine.marks(self.log).end, end, "{}: the end after an append", self.log);
            }
            Err(_) => assert_eq!(engine.marks(self.log).end, base, "{}: the end after a refused append", self.log),
        }
        appended
    }

    /// As [`Pen::try_append`], but commits and waits while the engine is busy.
    ///
    /// # Panics
    /// If it is refused for another reason, or for ever.
    pub async fn append<E: LogEngine>(&mut self, engine: &E, shapes: &[Shape]) -> Appended {
        for _ in 0..ROOM_TRIES_MAX {
            match self.try_append(engine, shapes) {
                Ok(appended) => return appended,
                Err(AppendError::Busy) => {
                    let committed = engine.commit(&[engine.group(self.log)], Level::Placed).await;
                    assert_eq!(committed, Ok(()), "a commit to make room");
                    let bytes =
                        shapes.iter().map(|shape| u64::from(shape.records * (shape.value_bytes + 16)) + 61).sum();
                    engine.room(self.log, bytes).await;
                }
                Err(error) => panic!("{}: append: {error}", self.log),
            }
        }
        panic!("{}: still busy after {ROOM_TRIES_MAX} waits for room", self.log);
    }

    /// Many appends of one batch each.
    pub async fn append_each<E: LogEngine>(&mut self, engine: &E, shapes: impl IntoIterator<Item = Shape>) {
        for shape in shapes {
            self.append(engine, &[shape]).await;
        }
    }

    /// Commits and requires success.
    ///
    /// # Panics
    /// If it fails, or the marks do not say what the level means.
    pub async fn commit<E: LogEngine>(&self, engine: &E, level: Level) {
        let end = self.end();
        assert_eq!(engine.commit(&[engine.group(self.log)], level).await, Ok(()), "{}: commit {level:?}", self.log);
        let marks = engine.marks(self.log);
        assert!(marks.placed >= end, "{}: placed {} after a commit of {end}", self.log, marks.placed);
        if level == Level::Durable {
            assert!(marks.durable >= end, "{}: durable {} after a commit of {end}", self.log, marks.durable);
        }
    }

    /// Requires that the log, from its start to its placed mark, is what was written there, byte for byte.
    ///
    /// # Panics
    /// If not.
    pub async fn check<E: LogEngine>(&self, engine: &E) {
        let marks = engine.marks(self.log);
        let found = read_all(engine, self.log).await.expect("the whole log can be read");
        let expected: Vec<&Found> =
            self.batches.iter().filter(|batch| batch.base >= marks.start && batch.end <= marks.placed).collect();
        assert_eq!(found.len(), expected.len(), "{}: batches between {} and {}", self.log, marks.start, marks.placed);
        for (found, expected) in found.iter().zip(expected) {
            let place = (found.base, found.end, found.epoch);
            assert_eq!(place, (expected.base, expected.end, expected.epoch), "{}: place of a batch", self.log);
            assert!(found.bytes == expected.bytes, "{}: bytes of the batch at {}", self.log, found.base);
        }
    }
}

/// Shorthand for a shape.
#[must_use]
pub fn shape(records: u32, value_bytes: u32) -> Shape {
    Shape { records, value_bytes }
}
