//! Appends: offsets, refusals, and nothing half done.

use super::{LOG, fresh};
use crate::{EngineUnderTest, Needs, Pen, shape, verified};
use futures_lite::future::poll_once;
use log_api::{
    AppendError, CommitError, FlushGroup, Level, LogEngine, LogId, Marks, Offset, Read, ReadError, ReadKind, TrimError,
};

/// Offsets are given without gaps, over the batches of a call and over calls; an append of nothing takes none.
pub fn append_assigns_dense_offsets<E: EngineUnderTest>() {
    fresh::<E>(
        "append_assigns_dense_offsets",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            let first =
                pen.try_append(&engine, &[shape(1, 10), shape(3, 200)]).expect("an empty log takes two batches");
            assert_eq!((first.base, first.end), (Offset(0), Offset(4)));
            let second = pen.try_append(&engine, &[shape(7, 0)]).expect("and a third");
            assert_eq!((second.base, second.end), (Offset(4), Offset(11)));
            let nothing = engine.append(LOG, &[]).expect("nothing always fits");
            assert_eq!((nothing.base, nothing.end), (Offset(11), Offset(11)));
            let counters = engine.counters().snapshot();
            let bytes: usize = pen.batches.iter().map(|batch| batch.bytes.len()).sum();
            assert_eq!((counters.appended_batches, counters.appended_bytes), (3, bytes as u64));
        },
    );
}

/// More than a segment is refused whole, in one batch or in several, and nothing of it stays.
pub fn too_large<E: EngineUnderTest>() {
    fresh::<E>(
        "too_large",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            pen.append(&engine, &[shape(1, 100)]).await;
            for shapes in [vec![shape(1, 1 << 20)], vec![shape(1, 300 << 10); 4]] {
                let refused = pen.try_append(&engine, &shapes).expect_err("larger than a segment");
                let AppendError::TooLarge { bytes, bytes_max } = refused else { panic!("TooLarge, not {refused}") };
                assert!(bytes > 1 << 20, "the size of what was asked, not {bytes}");
                assert_eq!(bytes_max, 1 << 20);
            }
            pen.append(&engine, &[shape(1, 900 << 10)]).await;
            pen.commit(&engine, Level::Placed).await;
            if E::Engine::CAPABILITIES.readable {
                pen.check(&engine).await;
            }
        },
    );
}

/// Bytes that are appended and not placed are bounded; at the bound the engine says `Busy`, and `room` ends once commits have made
/// room. An engine that places each append at once never gets there.
pub fn busy_then_room<E: EngineUnderTest>() {
    const INFLIGHT_BYTES_MAX: u64 = 256 << 10;
    let tell = |config: &mut log_api::EngineConfig| config.inflight_bytes_max = INFLIGHT_BYTES_MAX;
    fresh::<E>("busy_then_room", Needs::Reading, tell, async |engine, mut pen| {
        let unplaced = |engine: &E::Engine, pen: &Pen| -> u64 {
            let placed = engine.marks(LOG).placed;
            pen.batches.iter().filter(|batch| batch.base >= placed).map(|batch| batch.bytes.len() as u64).sum()
        };
        let mut refused = None;
        for _ in 0..64 {
            refused = pen.try_append(&engine, &[shape(4, 8 << 10)]).err();
            assert!(unplaced(&engine, &pen) <= INFLIGHT_BYTES_MAX, "more in flight than the bound");
            if refused.is_some() {
                break;
            }
        }
        match refused {
            Some(error) => {
                assert_eq!(error, AppendError::Busy, "an engine at its bound");
                assert!(engine.counters().busy.get() > 0, "a refusal is counted");
                let mut room = Box::pin(engine.room(LOG, 33 << 10));
                if poll_once(&mut room).await.is_some() {
                    assert!(unplaced(&engine, &pen) == 0, "room while nothing has been committed");
                }
                drop(room);
                pen.commit(&engine, Level::Placed).await;
                let (first, second) = (engine.room(LOG, 200 << 10), engine.room(LOG, 1 << 10));
                futures_lite::future::zip(first, second).await;
            }
            None => assert_eq!(engine.marks(LOG).placed, pen.end(), "never busy, though not everything is placed"),
        }
        pen.append(&engine, &[shape(4, 8 << 10)]).await;
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
    });
}

/// Room for more than an append may have ends as soon as the largest append fits: who asks for too much is refused by the append.
pub fn room_for_too_much_ends<E: EngineUnderTest>() {
    fresh::<E>(
        "room_for_too_much_ends",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            engine.room(LOG, 1 << 30).await;
            pen.append(&engine, &[shape(1, 100)]).await;
            pen.commit(&engine, Level::Durable).await;
            engine.room(LOG, 1 << 30).await;
            pen.append(&engine, &[shape(1, 100)]).await;
        },
    );
}

/// In a log that is written for durable acknowledgement, what is not durable is bounded, also when nobody commits durably: by that bound
/// recovery tells a torn tail from damage. One batch may be larger, and is then alone.
pub fn what_is_not_durable_is_bounded<E: EngineUnderTest>() {
    const INFLIGHT_BYTES_MAX: u64 = 256 << 10;
    let tell = |config: &mut log_api::EngineConfig| config.inflight_bytes_max = INFLIGHT_BYTES_MAX;
    fresh::<E>("what_is_not_durable_is_bounded", Needs::Keeping, tell, async |engine, mut pen| {
        for round in 0..60 {
            pen.append(&engine, &[shape(2, 8 << 10), shape(1, 4 << 10)]).await;
            pen.commit(&engine, Level::Placed).await;
            let durable = engine.marks(LOG).durable;
            let after = pen.batches.iter().rev().take_while(|batch| batch.base >= durable);
            let bytes: u64 = after.map(|batch| batch.bytes.len() as u64).sum();
            assert!(bytes <= INFLIGHT_BYTES_MAX, "round {round}: {bytes} bytes are not durable");
        }
        let refused = pen.try_append(&engine, &[shape(1, 100 << 10); 3]).expect_err("more than may be in flight");
        assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
    });
}

/// A log that was never opened is refused by every operation, and has no marks.
pub fn not_open<E: EngineUnderTest>() {
    fresh::<E>(
        "not_open",
        Needs::Running,
        |_| (),
        async |engine, pen| {
            let other = LogId(4);
            let bytes = crate::batch(pen.seed, other, Offset(0), shape(1, 50));
            assert_eq!(engine.append(other, &[verified(&bytes)]), Err(AppendError::NotOpen(other)));
            let groups = [engine.group(LOG), FlushGroup(4)];
            assert_eq!(engine.commit(&groups, Level::Placed).await, Err(CommitError::NotOpen));
            let read = Read { from: Offset(0), until: Offset(0), bytes_max: 1, kind: ReadKind::Hot };
            let refused = engine.read(other, read).await.err();
            assert!(matches!(refused, Some(ReadError::NotOpen(log)) if log == other), "read: {refused:?}");
            let refused = engine.trim(other, Offset(0)).await;
            assert!(matches!(refused, Err(TrimError::NotOpen(log)) if log == other), "trim: {refused:?}");
            assert_eq!(engine.marks(other), Marks::default());
        },
    );
}

/// What one log does, another does not notice: offsets, marks and contents are each its own, and one commit covers both.
pub fn two_logs_at_once<E: EngineUnderTest>() {
    fresh::<E>(
        "two_logs_at_once",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            let other = engine.open(LogId(0)).await.expect("a second log opens");
            let mut second = Pen::new(pen.seed, LogId(0), other.epoch);
            for round in 0..40 {
                pen.append(&engine, &[shape(1 + round % 5, 900)]).await;
                if round % 3 == 0 {
                    second.append(&engine, &[shape(2, 40 * round), shape(1, 3000)]).await;
                }
                if round % 7 == 0 {
                    let groups = [engine.group(LOG), engine.group(LogId(0))];
                    assert_eq!(engine.commit(&groups, Level::Durable).await, Ok(()), "a commit over two groups");
                    assert_eq!((engine.marks(LOG).durable, engine.marks(LogId(0)).durable), (pen.end(), second.end()));
                }
            }
            pen.commit(&engine, Level::Durable).await;
            assert!(engine.marks(LogId(0)).end == second.end() && engine.marks(LOG).end == pen.end());
            second.commit(&engine, Level::Placed).await;
            if E::Engine::CAPABILITIES.readable {
                pen.check(&engine).await;
                second.check(&engine).await;
            }
        },
    );
}
