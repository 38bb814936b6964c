//! Reads: whole batches, from the right one, up to the right one, and bytes that stay.

use super::{LOG, fresh};
use crate::{EngineUnderTest, Needs, Pen, bytes_of, checked, read_between, shape};
use futures_lite::future::poll_once;
use log_api::{EngineConfig, Level, LogEngine, Marks, Offset, Read, ReadError, ReadKind, SendPath};

const KINDS: [ReadKind; 2] = [ReadKind::Hot, ReadKind::Scan];

/// Three dozen batches of all sizes, durable.
async fn fill<E: LogEngine>(engine: &E, pen: &mut Pen) {
    for round in 0..36 {
        pen.append(engine, &[shape(1 + round % 6, 61 * round), shape(1, 7)]).await;
    }
    pen.commit(engine, Level::Durable).await;
}

fn sent_by(path: SendPath) -> impl FnOnce(&mut EngineConfig) {
    move |config| config.send = path
}

/// Whatever the bound on bytes, a read returns whole batches, at least one, and reads in a row return the log byte for byte: however
/// the broker sends, and from memory as from the disk.
pub fn read_returns_whole_batches<E: EngineUnderTest>() {
    for path in SendPath::ALL {
        fresh::<E>("read_returns_whole_batches", Needs::Reading, sent_by(path), async |engine, mut pen| {
            fill(&engine, &mut pen).await;
            for kind in KINDS {
                for bytes_max in [0, 1, 100, 4096, 10_000, 1 << 20, u64::MAX] {
                    let all = Offset(0)..pen.end();
                    let found = read_between(&engine, LOG, all, bytes_max, kind).await.expect("a read of everything");
                    assert!(found == pen.batches, "{bytes_max} bytes a read, {kind:?}: not what was written");
                }
            }
        });
    }
}

/// A read stops at `until`, also inside the log, also when `until` lies within a batch: then before that batch.
pub fn read_stops_at_the_commit_point<E: EngineUnderTest>() {
    for path in SendPath::ALL {
        fresh::<E>("read_stops_at_the_commit_point", Needs::Reading, sent_by(path), async |engine, mut pen| {
            fill(&engine, &mut pen).await;
            let durable = pen.end();
            pen.append(&engine, &[shape(3, 80)]).await;
            for kind in KINDS {
                for until in 0..=durable.0 {
                    let until = Offset(until);
                    let expected: Vec<_> = pen.batches.iter().filter(|batch| batch.end <= until).cloned().collect();
                    let found = read_between(&engine, LOG, Offset(0)..until, 1 << 20, kind).await.expect("a read");
                    assert!(
                        found == expected,
                        "until {until}, {kind:?}: {} of {} batches",
                        found.len(),
                        expected.len()
                    );
                }
                for from in [durable, pen.end()] {
                    let read = Read { from, until: durable, bytes_max: 1 << 20, kind };
                    let chunk = engine.read(LOG, read).await.expect("a read at the end");
                    assert!(chunk.pieces.is_empty(), "nothing lies between {from} and {durable}");
                    checked(&read, &chunk).expect("an empty chunk");
                }
            }
        });
    }
}

/// A read from within a batch starts with the whole batch that holds the offset.
pub fn read_inside_a_batch<E: EngineUnderTest>() {
    for path in SendPath::ALL {
        fresh::<E>("read_inside_a_batch", Needs::Reading, sent_by(path), async |engine, mut pen| {
            fill(&engine, &mut pen).await;
            for batch in &pen.batches {
                for from in batch.base.0..batch.end.0 {
                    let kind = KINDS[from as usize % 2];
                    let read = Read { from: Offset(from), until: pen.end(), bytes_max: 1, kind };
                    let chunk = engine.read(LOG, read).await.expect("a read within the log");
                    let found = checked(&read, &chunk).expect("a chunk");
                    assert!(found.first() == Some(batch), "from {from}: not the batch at {}", batch.base);
                }
            }
        });
    }
}

/// An offset after the end is refused, with the log's bounds; so is one before the start once the log was trimmed.
pub fn out_of_range<E: EngineUnderTest>() {
    fresh::<E>(
        "out_of_range",
        Needs::Reading,
        |_| (),
        async |engine, mut pen| {
            pen.append_each(&engine, (0..60).map(|_| shape(3, 16 << 10))).await;
            pen.commit(&engine, Level::Durable).await;
            let start = engine.trim(LOG, Offset(100)).await.expect("a trim");
            assert!(start > Offset(0), "48 KB a batch, 1 MiB a segment: the first segment ends before offset 100");
            for kind in KINDS {
                for from in [Offset(0), Offset(start.0 - 1), pen.end().plus(1), Offset(i64::MAX as u64)] {
                    let read = Read { from, until: pen.end(), bytes_max: 1 << 20, kind };
                    match engine.read(LOG, read).await {
                        Err(ReadError::OutOfRange { asked, start: first, end }) => {
                            assert_eq!((asked, first, end), (from, start, pen.end()));
                        }
                        other => panic!("a read from {from} of {start}..: {:?}", other.map(|chunk| chunk.bytes)),
                    }
                }
            }
            pen.check(&engine).await;
        },
    );
}

/// A read that waits, of a segment that a trim gives up meanwhile, returns what was asked for, or says where the log starts now.
pub fn a_trim_may_overtake_a_read<E: EngineUnderTest>() {
    for path in SendPath::ALL {
        fresh::<E>("a_trim_may_overtake_a_read", Needs::Reading, sent_by(path), async |engine, mut pen| {
            for kind in KINDS {
                let first = pen.batches.len();
                // The oldest lie in no cache of the engine's any more.
                pen.append_each(&engine, (0..90).map(|_| shape(3, 16 << 10))).await;
                pen.commit(&engine, Level::Durable).await;
                let asked = engine.marks(LOG).start.max(pen.batches[first].base).plus(4);
                // Inside a batch: where it starts is found in the bytes.
                let read = Read { from: asked, until: pen.end(), bytes_max: 1, kind };
                let mut reading = Box::pin(engine.read(LOG, read));
                let answered = poll_once(&mut reading).await;
                let start = engine.trim(LOG, pen.end()).await.expect("a trim while a read waits");
                assert!(start > asked, "the segment that is read is given up");
                let answer = match answered {
                    Some(answer) => answer,
                    None => reading.await,
                };
                match answer {
                    Ok(chunk) => {
                        let found = checked(&read, &chunk).expect("a chunk");
                        let expected = pen.batches.iter().find(|batch| asked < batch.end);
                        assert!(found.first() == expected, "{kind:?}: not the batch that holds {asked}");
                    }
                    Err(ReadError::OutOfRange { asked: from, start: first, end }) => {
                        assert_eq!((from, first, end), (asked, start, pen.end()));
                    }
                    Err(error) => panic!("{kind:?}: {error}"),
                }
                pen.check(&engine).await;
            }
        });
    }
}

/// What a chunk shows does not change for as long as it lives: not by appends, rolls, a trim of its segment, or the end of the
/// engine.
pub fn a_chunk_keeps_its_bytes<E: EngineUnderTest>() {
    for path in SendPath::ALL {
        fresh::<E>("a_chunk_keeps_its_bytes", Needs::Reading, sent_by(path), async |engine, mut pen| {
            pen.append_each(&engine, (0..20).map(|round| shape(2, 300 + round))).await;
            pen.commit(&engine, Level::Durable).await;
            let mut held = Vec::new();
            for from in [0, 9, 21, 39] {
                let read = Read { from: Offset(from), until: pen.end(), bytes_max: 3000, kind: ReadKind::Hot };
                let chunk = engine.read(LOG, read).await.expect("a read");
                let bytes = bytes_of(&chunk).expect("its bytes");
                assert!(!bytes.is_empty(), "nothing at {from}");
                held.push((chunk, bytes));
            }
            let unchanged = |when: &str| {
                for (chunk, bytes) in &held {
                    let now = bytes_of(chunk).expect("the bytes of a held chunk");
                    assert!(&now == bytes, "{when}: the bytes of the chunk at {} changed", chunk.base);
                }
            };
            for round in 0..5 {
                pen.append_each(&engine, (0..20).map(|_| shape(1, 48 << 10))).await;
                pen.commit(&engine, Level::Durable).await;
                unchanged(&format!("after {} MB", round + 1));
            }
            let Marks { durable, .. } = engine.marks(LOG);
            let start = engine.trim(LOG, durable).await.expect("a trim while chunks of the first segment are held");
            assert!(start > Offset(40), "the segment of the held chunks is given up");
            unchanged("after a trim");
            pen.append_each(&engine, (0..60).map(|_| shape(1, 48 << 10))).await;
            pen.commit(&engine, Level::Durable).await;
            unchanged("after the log went on");
            pen.check(&engine).await;
            assert_eq!(engine.close().await, Ok(()), "close while chunks are held");
            unchanged("after close");
        });
    }
}
