//! The conformance suite: the contract of [`log_api::LogEngine`], a function a clause.
//!
//! What lives here: deterministic tests that say in their names what must hold, each on a fresh directory and a fresh executor.
//! What never does: random sequences (see [`crate::model`]) and kills (see [`crate::kill`]).

mod append;
mod commit;
mod costs;
mod damage;
mod disk;
mod read;
mod reopen;
mod segments;

pub use append::*;
pub use commit::*;
pub use costs::*;
pub use damage::*;
pub use disk::*;
pub use read::*;
pub use reopen::*;
pub use segments::*;

use crate::{EngineUnderTest, Needs, Pen, SegmentFile, Shape, applies, config, directory, in_shard, shape};
use log_api::{EngineConfig, LogEngine, LogId, OpenError, Recovery};
use std::path::Path;

/// The log of tests that need one.
const LOG: LogId = LogId(3);

/// Any number does; it is in every payload.
const SEED: u64 = 0x1111_0618;

/// One incarnation: an executor and an engine with [`LOG`] open, closed or dropped by `body`.
fn incarnation<E: EngineUnderTest, T: Send + 'static>(
    config: EngineConfig,
    body: impl AsyncFnOnce(E::Engine, Recovery) -> T + Send + 'static,
) -> T {
    in_shard(move |ring| async move {
        let engine = E::start(&ring, config).await.expect("the engine starts");
        let recovery = engine.open(LOG).await.expect("the log opens");
        assert_eq!(engine.marks(LOG), recovery.marks, "the marks after an open are those it reported");
        body(engine, recovery).await
    })
}

/// A test of one incarnation on a fresh directory; `tell` changes the configuration of [`config`].
fn fresh<E: EngineUnderTest>(
    test: &str,
    needs: Needs,
    tell: impl FnOnce(&mut EngineConfig),
    body: impl AsyncFnOnce(E::Engine, Pen) + Send + 'static,
) {
    if !applies::<E>(test, needs) {
        return;
    }
    let dir = directory();
    let mut told = config(dir.path());
    tell(&mut told);
    incarnation::<E, ()>(told, async |engine, recovery| {
        assert_eq!(recovery.cut, None, "a new log has no torn tail");
        assert_eq!(recovery.marks, log_api::Marks::default(), "a new log starts at 0");
        body(engine, Pen::new(SEED, LOG, recovery.epoch)).await;
    });
}

/// Opens [`LOG`] and crashes, whatever comes of it.
fn try_open<E: EngineUnderTest>(config: EngineConfig) -> Result<Recovery, OpenError> {
    in_shard(move |ring| async move { E::start(&ring, config).await?.open(LOG).await })
}

/// Checks a reopened log against the pen, appends two more batches to it, and closes.
async fn go_on<E: LogEngine>(engine: E, recovery: &Recovery, pen: &mut Pen) {
    pen.epoch = recovery.epoch;
    pen.check(&engine).await;
    pen.append_each(&engine, [shape(2, 700), shape(1, 90)]).await;
    pen.commit(&engine, log_api::Level::Durable).await;
    pen.check(&engine).await;
    assert_eq!(engine.close().await, Ok(()), "close");
}

/// The shape of a batch of exactly `bytes` bytes, a few hundred at least.
fn shape_of(pen: &Pen, bytes: u32) -> Shape {
    // One value of about that size shows what a batch has beyond its value.
    let near = bytes - 100;
    let beyond = crate::batch(pen.seed, pen.log, pen.end(), shape(1, near)).len() as u32 - near;
    shape(1, bytes - beyond)
}

/// The segment in which [`LOG`] ends.
fn last_segment(dir: &Path) -> SegmentFile {
    SegmentFile::all(dir, LOG).pop().expect("the log has a segment file")
}
