//! What the next incarnation finds: after a close, after a crash, and while somebody else has the directory.

use super::{LOG, SEED, go_on, incarnation, shape_of, try_open};
use crate::{EngineUnderTest, Needs, Pen, SegmentFile, applies, config, directory, in_shard, shape};
use log_api::{CommitError, EngineConfig, Epoch, Level, LogEngine, LogId, Marks, Offset, OpenError};

/// A close ends the other logs in order, and then says what a poisoned one failed by. `poison` makes an engine's log fail with these words: how is
/// the engine's own affair, so its crate calls this.
pub fn a_poisoned_log_does_not_keep_another_from_a_clean_end<E: EngineUnderTest>(
    poison: impl FnOnce(&E::Engine, LogId, String) + Send + 'static,
) {
    let dir = directory();
    let path = dir.path().to_path_buf();
    in_shard(|ring| async move {
        let engine = E::start(&ring, config(&path)).await.expect("the engine starts");
        let mut pens = Vec::new();
        for log in [LogId(0), LogId(1)] {
            let mut pen = Pen::new(SEED, log, engine.open(log).await.expect("a fresh log").epoch);
            pen.append(&engine, &[shape(3, 1000)]).await;
            pens.push(pen);
        }
        let what = "a test says so".to_owned();
        poison(&engine, LogId(0), what.clone());
        assert_eq!(engine.close().await, Err(CommitError::Poisoned { what }));
        let segment = SegmentFile::all(&path, LogId(1)).remove(0);
        assert_eq!(segment.bytes.len(), pens[1].batches[0].bytes.len(), "the other log ends where its batch does");
    });
}

/// After a close everything appended is there, durable, without a cut; over several incarnations, each of which appends.
pub fn close_then_open<E: EngineUnderTest>() {
    if !applies::<E>("close_then_open", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut pen = Pen::new(SEED, LOG, Epoch(0));
    for round in 0..4 {
        pen = incarnation::<E, _>(config(dir.path()), async move |engine, recovery| {
            let end = pen.end();
            assert_eq!(recovery.cut, None, "nothing is cut after a close");
            assert_eq!(recovery.marks, Marks { start: Offset(0), durable: end, placed: end, end });
            pen.epoch = recovery.epoch;
            pen.check(&engine).await;
            // The last append is left for close to make durable.
            pen.append_each(&engine, (0..15).map(|size| shape(1 + size % 4, (round * 5000 + size) % 20_000))).await;
            pen.commit(&engine, Level::Placed).await;
            pen.append(&engine, &[shape(2, 33)]).await;
            assert_eq!(engine.close().await, Ok(()), "close");
            pen
        });
    }
}

/// After a crash of the process everything that was placed is there, in order; what was only appended may be, and where the log
/// ends, it goes on.
pub fn crash_then_open<E: EngineUnderTest>() {
    if !applies::<E>("crash_then_open", Needs::Keeping) {
        return;
    }
    for durable in [true, false] {
        let dir = directory();
        let told = EngineConfig { durable, ..config(dir.path()) };
        let mut pen = Pen::new(SEED, LOG, Epoch(0));
        let mut placed = Offset(0);
        for round in 0..5 {
            (pen, placed) = incarnation::<E, _>(told.clone(), async move |engine, recovery| {
                let end = recovery.marks.end;
                assert!(end >= placed, "placed up to {placed} before the crash, {end} after it");
                assert!(end <= pen.end(), "{end} is more than was appended: {}", pen.end());
                assert!(
                    end == Offset(0) || pen.batches.iter().any(|batch| batch.end == end),
                    "{end} is inside a batch"
                );
                pen.batches.retain(|batch| batch.end <= end);
                let all = Marks { start: Offset(0), durable: end, placed: end, end };
                assert_eq!(recovery.marks, all, "what is kept is durable");
                pen.epoch = recovery.epoch;
                pen.check(&engine).await;
                if durable {
                    pen.append_each(&engine, (0..7).map(|size| shape(1, 100 + size))).await;
                    pen.commit(&engine, Level::Durable).await;
                }
                pen.append_each(&engine, (0..30).map(|size| shape(2, round * 400 + size))).await;
                pen.commit(&engine, Level::Placed).await;
                let placed = pen.end();
                pen.append_each(&engine, (0..round).map(|size| shape(1, 900 * size))).await;
                (pen, placed)
            });
        }
    }
}

/// Each open is an incarnation of its own: the epoch rises, and stands in the batches written under it and in no others.
pub fn the_epoch_rises_and_is_in_the_bytes<E: EngineUnderTest>() {
    if !applies::<E>("the_epoch_rises_and_is_in_the_bytes", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut pen = Pen::new(SEED, LOG, Epoch(0));
    let mut last: Option<Epoch> = None;
    for round in 0..6 {
        let closes = round % 2 == 0;
        (pen, last) = incarnation::<E, _>(config(dir.path()), async move |engine, recovery| {
            let epoch = recovery.epoch;
            assert!(last.is_none_or(|last| epoch > last), "epoch {epoch} after {last:?}");
            pen.epoch = epoch;
            // Incarnations without an append count as well.
            if round != 2 && round != 3 {
                pen.append(&engine, &[shape(3, 120)]).await;
                pen.commit(&engine, Level::Durable).await;
            }
            pen.check(&engine).await;
            if closes {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
            (pen, Some(epoch))
        });
    }
}

/// A log with nothing in it opens again, closed or not, and a log that ended at the end of a segment goes on in the next.
pub fn empty_and_full_segments_reopen<E: EngineUnderTest>() {
    if !applies::<E>("empty_and_full_segments_reopen", Needs::Keeping) {
        return;
    }
    let dir = directory();
    for closes in [false, true, false] {
        incarnation::<E, _>(config(dir.path()), async move |engine, recovery| {
            assert_eq!((recovery.marks, recovery.cut), (Marks::default(), None), "an empty log");
            if closes {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
        });
    }
    let mut pen = Pen::new(SEED, LOG, Epoch(0));
    for closes in [true, false, true] {
        pen = incarnation::<E, _>(config(dir.path()), async move |engine, recovery| {
            assert_eq!(recovery.marks.end, pen.end());
            pen.epoch = recovery.epoch;
            pen.check(&engine).await;
            // To the last byte: the segment is as full as a segment can be.
            pen.append(&engine, &[shape_of(&pen, 1 << 20)]).await;
            assert_eq!(
                pen.batches.last().map(|batch| batch.bytes.len()),
                Some(1 << 20),
                "a batch as large as a segment"
            );
            pen.commit(&engine, Level::Durable).await;
            if closes {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
            pen
        });
    }
    incarnation::<E, _>(config(dir.path()), async move |engine, recovery| {
        assert_eq!(recovery.marks.end, pen.end());
        go_on(engine, &recovery, &mut pen).await;
    });
    let bases: Vec<Offset> = SegmentFile::all(dir.path(), LOG).iter().map(|segment| segment.base).collect();
    assert!(bases.starts_with(&[Offset(0), Offset(1), Offset(2)]), "a segment each: {bases:?}");
}

/// A log may be opened for another durability than the one it was written for.
pub fn durability_may_change_between_opens<E: EngineUnderTest>() {
    if !applies::<E>("durability_may_change_between_opens", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut pen = Pen::new(SEED, LOG, Epoch(0));
    for (durable, closes) in [(false, false), (true, false), (false, true), (true, true)] {
        let told = EngineConfig { durable, ..config(dir.path()) };
        pen = incarnation::<E, _>(told, async move |engine, recovery| {
            assert_eq!(recovery.marks.end, pen.end());
            pen.epoch = recovery.epoch;
            pen.check(&engine).await;
            pen.append_each(&engine, (0..60).map(|_| shape(1, 24 << 10))).await;
            pen.commit(&engine, if durable { Level::Durable } else { Level::Placed }).await;
            if closes {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
            pen
        });
    }
}

/// A directory has one engine at a time: a second one is refused while the first lives, and served when it is gone.
pub fn a_held_directory_is_refused<E: EngineUnderTest>() {
    if !applies::<E>("a_held_directory_is_refused", Needs::Keeping) {
        return;
    }
    let dir = directory();
    for closes in [true, false] {
        let told = config(dir.path());
        let other = told.clone();
        in_shard(move |ring| async move {
            let engine = E::start(&ring, told).await.expect("the first engine starts");
            engine.open(LOG).await.expect("and opens its log");
            let refused = match E::start(&ring, other).await {
                Ok(second) => second.open(LOG).await.err(),
                Err(error) => Some(error),
            };
            assert!(matches!(refused, Some(OpenError::Held(_))), "a second engine on one directory: {refused:?}");
            if closes {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
        });
        let opened = try_open::<E>(config(dir.path()));
        assert!(opened.is_ok(), "the directory is free again: {opened:?}");
    }
}
