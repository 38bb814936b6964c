//! The reference model's memory is bounded like a disk: full, then free again by a trim or by the end of a pin.

use futures_lite::future::{poll_once, zip};
use log_api::{AppendError, EngineConfig, Level, LogEngine, LogId, Offset, Read, ReadKind};
use log_memory::Memory;
use log_testkit::{Pen, in_shard, shape};

const LOG: LogId = LogId(0);

fn config() -> EngineConfig {
    EngineConfig { segment_bytes: 1 << 20, inflight_bytes_max: 512 << 10, ..EngineConfig::new("nowhere") }
}

/// A pen for an engine of `bytes_max`, filled until it is full.
async fn full(bytes_max: u64) -> (Memory, Pen) {
    let engine = Memory::bounded(config(), bytes_max);
    let recovery = engine.open(LOG).await.expect("it opens anything");
    let mut pen = Pen::new(1, LOG, recovery.epoch);
    loop {
        match pen.try_append(&engine, &[shape(1, 50_000)]) {
            Ok(_) => pen.commit(&engine, Level::Durable).await,
            Err(AppendError::Full) => return (engine, pen),
            Err(error) => panic!("{error}"),
        }
        assert!(pen.batches.len() < 200, "10 MB and never full");
    }
}

#[test]
fn full_at_the_bound_and_readable_and_free_after_a_trim() {
    in_shard(|_ring| async {
        let (engine, mut pen) = full(3 << 20).await;
        // Twenty batches of 50 KB in a segment of 1 MiB; three segments.
        assert_eq!(pen.end(), Offset(60));
        pen.check(&engine).await;
        assert_eq!(pen.try_append(&engine, &[shape(1, 50_000)]), Err(AppendError::Full));
        assert_eq!(engine.trim(LOG, Offset(25)).await.unwrap(), Offset(20));
        engine.room(LOG, 50_000).await;
        pen.append(&engine, &[shape(1, 50_000)]).await;
        pen.commit(&engine, Level::Placed).await;
        pen.check(&engine).await;
    });
}

#[test]
fn a_pin_keeps_its_memory_and_the_bound_counts_it() {
    in_shard(|_ring| async {
        let (engine, mut pen) = full(3 << 20).await;
        let read = Read { from: Offset(0), until: pen.end(), bytes_max: 1, kind: ReadKind::Scan };
        let chunk = engine.read(LOG, read).await.unwrap();
        assert_eq!(engine.trim(LOG, Offset(20)).await.unwrap(), Offset(20));
        assert_eq!(pen.try_append(&engine, &[shape(1, 50_000)]), Err(AppendError::Full), "the pin has the block");
        drop(chunk);
        pen.try_append(&engine, &[shape(1, 50_000)]).unwrap();
    });
}

#[test]
fn room_is_given_in_the_order_in_which_it_was_asked_for() {
    in_shard(|_ring| async {
        let engine = Memory::bounded(config(), 8 << 20);
        let recovery = engine.open(LOG).await.unwrap();
        let mut pen = Pen::new(1, LOG, recovery.epoch);
        while pen.try_append(&engine, &[shape(1, 100_000)]) != Err(AppendError::Busy) {}
        // The small one would fit at once; the large one came first.
        let mut large = Box::pin(engine.room(LOG, 200_000));
        let mut small = Box::pin(engine.room(LOG, 10));
        assert!(poll_once(&mut large).await.is_none());
        assert!(poll_once(&mut small).await.is_none(), "overtaken");
        pen.commit(&engine, Level::Placed).await;
        zip(large, small).await;
        // A waiter that goes away makes way.
        while pen.try_append(&engine, &[shape(1, 100_000)]) != Err(AppendError::Busy) {}
        let mut large = Box::pin(engine.room(LOG, 200_000));
        let mut small = Box::pin(engine.room(LOG, 10));
        assert!(poll_once(&mut large).await.is_none());
        assert!(poll_once(&mut small).await.is_none());
        drop(large);
        assert!(poll_once(&mut small).await.is_some(), "nobody is before it any more");
    });
}

#[test]
fn batches_lie_across_blocks() {
    in_shard(|_ring| async {
        let config = EngineConfig { segment_bytes: 4 << 20, ..config() };
        let engine = Memory::bounded(config, 16 << 20);
        let recovery = engine.open(LOG).await.unwrap();
        let mut pen = Pen::new(1, LOG, recovery.epoch);
        // Odd sizes put headers and bodies across the blocks of 1 MiB; one batch spans three of them.
        for value_bytes in [1_048_400, 700, 2_500_000, 99_999, 1_048_470, 5, 300_000] {
            pen.append(&engine, &[shape(1, value_bytes)]).await;
            pen.append(&engine, &[shape(3, 20)]).await;
        }
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
    });
}
