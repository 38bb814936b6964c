//! Disks that refuse: full ones, and ones whose flush fails. Root only, on file systems of [`crate::media`], which states the fault
//! model; skipped aloud elsewhere.

use super::{LOG, SEED, go_on, incarnation, shape_of};
use crate::{
    EngineUnderTest, Found, Needs, Pen, SegmentFile, applies, config, directory,
    media::{Media, on_device},
    shape, skip,
};
use log_api::{AppendError, CommitError, Level, LogEngine, Offset};
use std::{fs, path::Path, sync::Arc, time::Duration};

/// Waits after which room that was made should have been noticed; each is at most 100 ms.
const ROOM_WAITS_MAX: u32 = 100;

fn media<E: EngineUnderTest>(test: &str, bytes: u64) -> Option<Media> {
    if !applies::<E>(test, Needs::Keeping) {
        return None;
    }
    Media::ext4(bytes).map_err(|why| skip(&format!("{test} of {}", E::NAME), &why)).ok()
}

/// A full disk is `Full`: nothing acknowledged is harmed, reads go on, appends resume when a trim has made room, and the log opens
/// again.
pub fn a_full_disk_is_full_and_nothing_worse<E: EngineUnderTest>() {
    let Some(media) = media::<E>("a_full_disk_is_full_and_nothing_worse", 16 << 20) else { return };
    let mut pen = incarnation::<E, _>(config(&media.dir()), async |engine, recovery| {
        let mut pen = Pen::new(SEED, LOG, recovery.epoch);
        let acknowledged = until_full(&engine, &mut pen).await;
        assert!(acknowledged > Offset(60), "a disk of 16 MiB is full after {acknowledged} batches of 48 KB");
        assert!(engine.marks(LOG).durable >= acknowledged, "a full disk takes back what was acknowledged");
        pen.check(&engine).await;
        let refused = pen.try_append(&engine, &[shape(1, 900 << 10)]);
        assert!(matches!(refused, Err(AppendError::Full | AppendError::Busy)), "still full: {refused:?}");

        let start = engine.trim(LOG, Offset(acknowledged.0 / 2)).await.expect("a trim on a full disk");
        assert!(start > Offset(20), "half of the log is given up: {start}");
        for waits in 0.. {
            match pen.try_append(&engine, &[shape(1, 48 << 10)]) {
                Ok(_) => break,
                Err(AppendError::Full | AppendError::Busy) => {
                    assert!(waits < ROOM_WAITS_MAX, "no room {waits} waits after a trim");
                    let _ = engine.commit(&[engine.group(LOG)], Level::Placed).await;
                    engine.room(LOG, 48 << 10).await;
                }
                Err(error) => panic!("an append after room was made: {error}"),
            }
        }
        pen.append_each(&engine, (0..20).map(|_| shape(1, 2000))).await;
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
        assert_eq!(engine.close().await, Ok(()), "close");
        pen
    });
    incarnation::<E, _>(config(&media.dir()), async move |engine, recovery| {
        assert_eq!(recovery.marks.end, pen.end());
        go_on(engine, &recovery, &mut pen).await;
    });
}

/// Appends and commits until something says `Full`; returns what was acknowledged.
async fn until_full<E: LogEngine>(engine: &E, pen: &mut Pen) -> Offset {
    let mut acknowledged = Offset(0);
    for _ in 0..1000 {
        match pen.try_append(engine, &[shape(1, 48 << 10)]) {
            Ok(_) => {}
            Err(AppendError::Full) => return acknowledged,
            Err(AppendError::Busy) => engine.room(LOG, 49 << 10).await,
            Err(error) => panic!("an append on a disk that fills up: {error}"),
        }
        let end = pen.end();
        match engine.commit(&[engine.group(LOG)], Level::Durable).await {
            Ok(()) => acknowledged = end,
            Err(error) => panic!("a commit on a disk that fills up: {error}"),
        }
    }
    panic!("48 MB on a disk of 16 MiB, and never Full");
}

/// A next segment that cannot be made for another reason than a full disk is said, in words, and not waited for without end.
pub fn a_segment_that_cannot_be_made_poisons<E: EngineUnderTest>() {
    if !applies::<E>("a_segment_that_cannot_be_made_poisons", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let path = dir.path().to_path_buf();
    incarnation::<E, ()>(config(dir.path()), async move |engine, recovery| {
        let mut pen = Pen::new(SEED, LOG, recovery.epoch);
        pen.append(&engine, &[shape(1, 100)]).await;
        pen.commit(&engine, Level::Durable).await;
        let active = SegmentFile::all(&path, LOG).pop().expect("the log has a segment file");
        for number in 0..1000 {
            // Where one is ready already it stays.
            let _ = fs::create_dir(active.path.with_file_name(format!("{number:020}.next")));
        }
        let mut tries = 0;
        loop {
            match pen.try_append(&engine, &[shape(1, 48 << 10)]) {
                Ok(_) => pen.commit(&engine, Level::Placed).await,
                Err(AppendError::Busy) => engine.room(LOG, 49 << 10).await,
                Err(error) => {
                    assert_eq!(error, AppendError::Poisoned);
                    break;
                }
            }
            tries += 1;
            assert!(tries < 1000, "no segment is made, and nothing is said");
        }
        match engine.commit(&[engine.group(LOG)], Level::Durable).await {
            Err(CommitError::Poisoned { what }) => assert!(what.contains(".next"), "{what}"),
            other => panic!("a commit of a log that cannot go on: {other:?}"),
        }
    });
}

/// Where the device's last good block ends: half a segment. See [`Media::forget`].
const GOOD_BYTES: u32 = 512 << 10;

/// A failed flush is final: nothing is acknowledged after it, the log is poisoned, and the next open serves what the device has and
/// not what the page cache pretends.
///
/// The planted failure is `ENOSPC` below the file system: at a write past the page cache or at a flush, it is final.
pub fn a_failed_flush_poisons_and_reopening_does_not_launder_it<E: EngineUnderTest>() {
    let test = "a_failed_flush_poisons_and_reopening_does_not_launder_it";
    let Some(media) = media::<E>(test, 64 << 20) else { return };
    let media = Arc::new(media);
    let held = Arc::clone(&media);
    let (pen, acknowledged) = incarnation::<E, _>(config(&media.dir()), async move |engine, recovery| {
        let mut pen = Pen::new(SEED, LOG, recovery.epoch);
        pen.append_each(&engine, (0..10).map(|size| shape(2, 1500 + size))).await;
        let frame_bytes = SegmentFile::frame_bytes(&held.dir());
        let written: usize = pen.batches.iter().map(|batch| frame_bytes + batch.bytes.len()).sum();
        let filler = shape_of(&pen, GOOD_BYTES - (written + frame_bytes) as u32);
        pen.append(&engine, &[filler]).await;
        pen.commit(&engine, Level::Durable).await;
        let segment = active_segment(&held.dir(), pen.end()).await;
        assert_eq!(segment.length(), GOOD_BYTES as usize, "the log ends where the device will");
        held.forget(&segment.path, u64::from(GOOD_BYTES)).expect("blocks to forget");
        held.fill_store().expect("a store without room");
        let (acknowledged, failure) = until_failed(&engine, &mut pen).await;

        let durable = engine.marks(LOG).durable;
        assert!(durable <= acknowledged, "durable {durable}, though no commit after {acknowledged} succeeded");
        assert!(!failure.is_empty(), "the first failure is said in words");
        for level in [Level::Durable, Level::Placed, Level::Durable] {
            let again = engine.commit(&[engine.group(LOG)], level).await;
            assert!(matches!(again, Err(CommitError::Poisoned { .. })), "a commit after a failed flush: {again:?}");
        }
        assert_eq!(pen.try_append(&engine, &[shape(1, 10)]), Err(AppendError::Poisoned));
        assert_eq!(engine.marks(LOG).durable, durable, "nothing becomes durable after a failed flush");
        (pen, acknowledged)
    });
    media.empty_store().expect("the store has room again");
    incarnation::<E, _>(config(&media.dir()), async move |engine, recovery| {
        let mut pen = pen;
        let end = recovery.marks.end;
        assert!(end >= acknowledged, "acknowledged up to {acknowledged}, recovered up to {end}");
        pen.batches.retain(|batch| batch.end <= end);
        assert_eq!(pen.end(), end, "the end after recovery is the end of a batch");
        let device = log_on_device(&media, end);
        assert_eq!(device.len(), pen.batches.len(), "batches on the device, and batches that recovery kept");
        assert!(device == pen.batches, "recovery serves what the device does not have");
        go_on(engine, &recovery, &mut pen).await;
    });
}

/// Small durable appends until one fails; returns what was acknowledged before, and how it failed.
async fn until_failed<E: LogEngine>(engine: &E, pen: &mut Pen) -> (Offset, String) {
    let mut acknowledged = pen.end();
    for _ in 0..40 {
        pen.append(engine, &[shape(1, 9000)]).await;
        let end = pen.end();
        match engine.commit(&[engine.group(LOG)], Level::Durable).await {
            Ok(()) => acknowledged = end,
            Err(CommitError::Poisoned { what }) => return (acknowledged, what),
            Err(error) => panic!("a flush that fails poisons, it is not {error}"),
        }
    }
    panic!("40 commits into blocks that the device does not have, and none failed");
}

/// The segment file in which the log ends, once its name says so: it may be renamed a moment after its first use.
async fn active_segment(dir: &Path, end: Offset) -> SegmentFile {
    for _ in 0..5000 {
        let last = SegmentFile::all(dir, LOG).pop();
        let holds = |segment: &SegmentFile| {
            segment.batches().is_ok_and(|batches| batches.last().is_some_and(|batch| batch.end == end))
        };
        match last {
            Some(segment) if holds(&segment) => return segment,
            _ => shard_ring::sleep(Duration::from_millis(1)).await,
        }
    }
    panic!("no segment file holds the log's end");
}

/// The log as the device has it, as far as `end`.
fn log_on_device(media: &Media, end: Offset) -> Vec<Found> {
    let mut found = Vec::new();
    for segment in SegmentFile::all(&media.dir(), LOG) {
        let segment = segment.with_bytes(on_device(&segment.path).expect("a file on the device"));
        let batches = segment.batches().expect("batches on the device");
        found.extend(batches.into_iter().filter(|batch| batch.end <= end));
    }
    found
}
