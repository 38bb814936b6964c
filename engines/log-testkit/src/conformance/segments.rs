//! Segments: rolling from one to the next, and giving up old ones.

use super::{LOG, SEED, fresh, go_on, incarnation};
use crate::{EngineUnderTest, Needs, Pen, SegmentFile, applies, bytes_of, config, directory, shape};
use log_api::{EngineConfig, Level, LogEngine, Offset, Read, ReadKind, SendPath};

/// 5 MB in batches of 48 KB, committed now and then: segments of 1 MiB roll at least four times.
async fn five_segments<E: LogEngine>(engine: &E, pen: &mut Pen) {
    for round in 0..110 {
        pen.append(engine, &[shape(3, 16 << 10)]).await;
        if round % 10 == 9 {
            pen.commit(engine, if round % 20 == 9 { Level::Placed } else { Level::Durable }).await;
        }
    }
    pen.commit(engine, Level::Durable).await;
}

/// A log goes on over any number of segments, without a gap in its offsets, and reads cross them.
pub fn roll<E: EngineUnderTest>() {
    fresh::<E>(
        "roll",
        Needs::Reading,
        |_| (),
        async |engine, mut pen| {
            five_segments(&engine, &mut pen).await;
            let rolls = engine.counters().rolls.get();
            assert!((4..=8).contains(&rolls), "{rolls} rolls for 5.4 MB in segments of 1 MiB");
            pen.check(&engine).await;
        },
    );
}

/// A trim gives up whole segments that lie before the offset and no more; never the one being written; and says where the log
/// starts now.
pub fn trim_whole_segments<E: EngineUnderTest>() {
    fresh::<E>(
        "trim_whole_segments",
        Needs::Reading,
        |_| (),
        async |engine, mut pen| {
            five_segments(&engine, &mut pen).await;
            let untouched = engine.trim(LOG, Offset(1)).await.expect("a trim inside the first segment");
            assert_eq!(untouched, Offset(0), "the first segment holds offset 1");
            let mut start = untouched;
            for before in [100, 100, 99, 200, 250] {
                let now = engine.trim(LOG, Offset(before)).await.expect("a trim");
                assert!(start <= now && now <= Offset(before), "a trim before {before} from {start} to {now}");
                // A segment holds less than 66 records.
                assert!(now.0 + 66 > before || now == start, "a trim before {before} leaves whole segments: {now}");
                assert!(pen.batches.iter().any(|batch| batch.base == now), "{now} is no batch's base");
                assert_eq!(engine.marks(LOG).start, now);
                start = now;
                pen.check(&engine).await;
            }
            let last = engine.trim(LOG, pen.end().plus(1000)).await.expect("a trim beyond the end");
            assert!(last < pen.end(), "the segment being written is never given up");
            pen.check(&engine).await;
            pen.append(&engine, &[shape(2, 200)]).await;
            pen.commit(&engine, Level::Durable).await;
            pen.check(&engine).await;
        },
    );
}

/// A segment that is being read or sent is given up, but not harmed: the chunk's bytes stay until it is dropped. What is on disk
/// after a close is what the log still has.
pub fn trim_while_pinned<E: EngineUnderTest>() {
    if !applies::<E>("trim_while_pinned", Needs::Keeping) {
        return;
    }
    for path in SendPath::ALL {
        let dir = directory();
        let told = EngineConfig { send: path, ..config(dir.path()) };
        let (mut pen, start) = incarnation::<E, _>(told.clone(), async |engine, recovery| {
            let mut pen = Pen::new(SEED, LOG, recovery.epoch);
            five_segments(&engine, &mut pen).await;
            let read = Read { from: Offset(5), until: pen.end(), bytes_max: 200 << 10, kind: ReadKind::Scan };
            let chunk = engine.read(LOG, read).await.expect("a read");
            let bytes = bytes_of(&chunk).expect("its bytes");
            let start = engine.trim(LOG, Offset(200)).await.expect("a trim");
            assert!(start > Offset(66), "a trim before 200 gives up the first segment");
            pen.append_each(&engine, (0..60).map(|_| shape(1, 48 << 10))).await;
            pen.commit(&engine, Level::Durable).await;
            assert!(bytes_of(&chunk).expect("the bytes of a held chunk") == bytes, "a trimmed segment changed");
            drop(chunk);
            assert_eq!(engine.close().await, Ok(()), "close");
            (pen, start)
        });
        let on_disk = SegmentFile::all(dir.path(), LOG);
        assert_eq!(on_disk.first().map(|segment| segment.base), Some(start), "the first segment file");
        incarnation::<E, _>(told, async move |engine, recovery| {
            assert_eq!(recovery.marks.start, start, "a trimmed log starts where it did");
            go_on(engine, &recovery, &mut pen).await;
        });
    }
}
