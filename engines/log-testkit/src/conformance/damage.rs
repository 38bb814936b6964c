//! Bytes that are not what was written: torn tails are cut, leftovers ignored, damage refused.
//!
//! The fault model: an engine crashed (it was dropped: its file goes on in zeros up to the segment's size), or closed; then
//! somebody else wrote into the file, down to the device. Power cuts and failing flushes are in `disk`.

use super::{LOG, SEED, go_on, incarnation, last_segment, try_open};
use crate::{EngineUnderTest, Needs, Pen, SegmentFile, applies, assigned, batch, config, directory, shape};
use log_api::{Damage, Epoch, Level, LogEngine, Offset, OpenError, Read, ReadError, ReadKind};
use std::path::Path;

/// Two incarnations with twelve durable batches each; `closes` the second one, or crashes it.
fn two_incarnations<E: EngineUnderTest>(dir: &Path, closes: bool) -> Pen {
    let mut pen = Pen::new(SEED, LOG, Epoch(0));
    for last in [false, true] {
        pen = incarnation::<E, _>(config(dir), async move |engine, recovery| {
            pen.epoch = recovery.epoch;
            pen.append_each(&engine, (0..12).map(|size| shape(2, 150 + size))).await;
            pen.commit(&engine, Level::Durable).await;
            if closes || !last {
                assert_eq!(engine.close().await, Ok(()), "close");
            }
            pen
        });
    }
    pen
}

fn damage_of(refused: &OpenError) -> &Damage {
    match refused {
        OpenError::Damaged(damage) => damage,
        other => panic!("damage is not {other}"),
    }
}

/// A flipped bit below what was closed as durable is damage: refused, with the segment and the byte where the bad batch starts,
/// and the file is left as it is.
pub fn damage_in_the_middle_is_refused<E: EngineUnderTest>() {
    if !applies::<E>("damage_in_the_middle_is_refused", Needs::Keeping) {
        return;
    }
    // In a batch's records, in its checksum, in its length, in its magic.
    for (nth, byte) in [(5, 200), (3, 17), (7, 10), (0, 16), (23, 61)] {
        let dir = directory();
        drop(two_incarnations::<E>(dir.path(), true));
        let segment = last_segment(dir.path());
        let position = segment.position_of(nth);
        let flipped = segment.bytes[position + byte] ^ 0x10;
        segment.overwrite(position + byte, &[flipped]);
        let before = last_segment(dir.path());

        let refused = try_open::<E>(config(dir.path())).expect_err("a damaged log does not open");
        let damage = damage_of(&refused);
        assert_eq!((&damage.segment, damage.position), (&segment.path, position as u64), "{damage}");
        assert!(last_segment(dir.path()).bytes == before.bytes, "a refusal changes nothing");

        // And it opens again, whole, when the byte is what it was.
        segment.overwrite(position + byte, &[flipped ^ 0x10]);
        let opened = try_open::<E>(config(dir.path())).expect("the repaired log opens");
        assert_eq!(opened.marks.end, Offset(48), "twenty-four batches of two");
    }
}

/// A flipped bit in a segment that was finished long ago is refused too: at the open or, at the latest, by the read.
pub fn damage_in_an_old_segment_is_refused<E: EngineUnderTest>() {
    if !applies::<E>("damage_in_an_old_segment_is_refused", Needs::Keeping) {
        return;
    }
    let dir = directory();
    incarnation::<E, _>(config(dir.path()), async |engine, recovery| {
        let mut pen = Pen::new(SEED, LOG, recovery.epoch);
        pen.append_each(&engine, (0..60).map(|_| shape(1, 48 << 10))).await;
        pen.commit(&engine, Level::Durable).await;
        assert_eq!(engine.close().await, Ok(()), "close");
    });
    let segment = SegmentFile::all(dir.path(), LOG).swap_remove(0);
    let position = segment.position_of(4);
    segment.overwrite(position + 3000, &[segment.bytes[position + 3000] ^ 1]);
    let refused = crate::in_shard({
        let told = config(dir.path());
        move |ring| async move {
            let engine = E::start(&ring, told).await.expect("the engine starts");
            match engine.open(LOG).await {
                Err(OpenError::Damaged(damage)) => damage,
                Err(other) => panic!("damage is not {other}"),
                Ok(recovery) => {
                    let read = Read { from: Offset(4), until: recovery.marks.end, bytes_max: 1, kind: ReadKind::Scan };
                    match engine.read(LOG, read).await {
                        Err(ReadError::Damaged(damage)) => damage,
                        other => panic!("a read of a damaged batch gives {:?}", other.map(|chunk| chunk.bytes)),
                    }
                }
            }
        }
    });
    assert_eq!((&refused.segment, refused.position), (&segment.path, position as u64), "{refused}");
}

/// The end of a crashed log's file, followed by `tail`.
fn with_tail<E: EngineUnderTest>(
    dir: &Path,
    tail: impl FnOnce(&Pen, &SegmentFile) -> Vec<u8>,
) -> (Pen, SegmentFile, usize) {
    let pen = two_incarnations::<E>(dir, false);
    let segment = last_segment(dir);
    let length = segment.length();
    let found = segment.batches().expect("a crashed log's batches");
    assert_eq!(found.last().map(|batch| batch.end), Some(pen.end()), "what was durable is in the file");
    segment.overwrite(length, &tail(&pen, &segment));
    (pen, segment, length)
}

/// The log opens with exactly what the pen wrote, goes on there, and opens once more.
fn opens_without_the_tail<E: EngineUnderTest>(dir: &Path, what: &str, pen: Pen, position: Option<usize>) {
    let what = what.to_owned();
    let pen = incarnation::<E, _>(config(dir), async move |engine, recovery| {
        let mut pen = pen;
        assert_eq!(recovery.marks.end, pen.end(), "{what}: the end after recovery");
        if let Some(position) = position {
            let cut = recovery.cut.as_ref().unwrap_or_else(|| panic!("{what}: a cut tail is reported"));
            assert_eq!(cut.position, position as u64, "{what}: {cut:?}");
        }
        pen.epoch = recovery.epoch;
        pen.check(&engine).await;
        // As large as what was planted, so that the next leftover would stand right behind it; then a crash.
        pen.append(&engine, &[shape(2, 150)]).await;
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
        pen
    });
    incarnation::<E, _>(config(dir), async move |engine, recovery| {
        let mut pen = pen;
        assert_eq!(recovery.marks.end, pen.end(), "the end after another crash");
        assert_eq!(recovery.cut, None, "what was cut was cleared, and everything since was durable");
        go_on(engine, &recovery, &mut pen).await;
    });
}

/// A batch that was written in part is cut, and where is reported; so is anything that is no batch.
pub fn a_torn_tail_is_cut<E: EngineUnderTest>() {
    if !applies::<E>("a_torn_tail_is_cut", Needs::Keeping) {
        return;
    }
    let next = |pen: &Pen, segment: &SegmentFile| {
        let batch = assigned(batch(SEED, LOG, pen.end(), shape(2, 150)), pen.end(), pen.epoch);
        segment.entry(&batch, segment.end_byte(), pen.epoch)
    };
    type Tail<'a> = Box<dyn Fn(&Pen, &SegmentFile) -> Vec<u8> + 'a>;
    let torn: [(&str, Tail<'_>); 5] = [
        ("half a batch", Box::new(move |pen, at| next(pen, at)[..200].to_vec())),
        ("a header alone", Box::new(move |pen, at| next(pen, at)[..61].to_vec())),
        (
            "all but the last value's end",
            Box::new(move |pen, at| {
                let bytes = next(pen, at);
                bytes[..bytes.len() - 20].to_vec()
            }),
        ),
        (
            "a wrong byte",
            Box::new(move |pen, at| {
                let mut bytes = next(pen, at);
                bytes[100] ^= 1;
                bytes
            }),
        ),
        (
            "noise",
            Box::new(|pen, _| {
                let mut numbers = crate::Numbers::new(pen.seed);
                (0..999).map(|_| 1 + numbers.below(255) as u8).collect()
            }),
        ),
    ];
    for (what, tail) in torn {
        let dir = directory();
        let (pen, _, length) = with_tail::<E>(dir.path(), tail);
        opens_without_the_tail::<E>(dir.path(), what, pen, Some(length));
    }
}

/// Whole, valid batches that are not the next ones of this incarnation are leftovers of a recycled file: none of them ever becomes
/// part of the log, also not when the log has grown up to them.
pub fn stale_batches_are_never_accepted<E: EngineUnderTest>() {
    if !applies::<E>("stale_batches_are_never_accepted", Needs::Keeping) {
        return;
    }
    // The batch at `base`, with another payload than the pen's, so that it cannot pass for what was written.
    let leftover = |base: Offset, epoch: Epoch| assigned(batch(!SEED, LOG, base, shape(2, 150)), base, epoch);
    // Six in a row: the first stands where the next of the pen's would, or so many before or after that.
    let row = |pen: &Pen, segment: &SegmentFile, further: i64, epoch: Epoch| -> Vec<u8> {
        let bytes = segment.entry(&leftover(pen.end(), epoch), 0, epoch).len() as i64;
        let moved = |from: u64, by: i64| from.checked_add_signed(by).expect("not before the log's beginning");
        let entry = |nth: i64| {
            let batch = leftover(Offset(moved(pen.end().0, 2 * nth)), epoch);
            segment.entry(&batch, moved(segment.end_byte(), nth * bytes), epoch)
        };
        (further..further + 6).flat_map(entry).collect()
    };
    let first_epoch = |pen: &Pen| pen.batches[0].epoch;
    type Tail<'a> = Box<dyn Fn(&Pen, &SegmentFile) -> Vec<u8> + 'a>;
    let stale: [(&str, Tail<'_>); 4] = [
        ("the right place, of an earlier incarnation", Box::new(move |pen, at| row(pen, at, 0, first_epoch(pen)))),
        ("an earlier place, of this incarnation", Box::new(move |pen, at| row(pen, at, -1, pen.epoch))),
        ("a later place, of this incarnation", Box::new(move |pen, at| row(pen, at, 1, pen.epoch))),
        ("the right place, of a later one", Box::new(move |pen, at| row(pen, at, 0, Epoch(pen.epoch.0 + 1000)))),
    ];
    for (what, tail) in stale {
        let dir = directory();
        let (pen, ..) = with_tail::<E>(dir.path(), tail);
        opens_without_the_tail::<E>(dir.path(), what, pen, None);
    }
}
