//! What only partitions that share a log can do wrong: costs that grow with their number, indexes that disagree, ends that are forgotten.

mod over;

use futures_lite::future::poll_once;
use log_api::{
    AppendError, EngineConfig, Epoch, Level, LogEngine, LogId, Marks, Offset, OpenError, Read, ReadError, ReadKind,
};
use log_group::{Grouping, LogGroup, inner_config};
use log_mmap::Mmap;
use log_testkit::{EngineUnderTest, Needs, Numbers, Pen, applies, config, directory, in_shard, shape};
use shard_ring::Ring;
use std::{
    fs,
    path::{Path, PathBuf},
};

over!(Direct: log_direct::Direct);
over!(Memory: log_memory::Memory);
over!(OverMmap: log_mmap::Mmap);
over!(PageCache: log_pagecache::PageCache);

/// One incarnation with these partitions open.
async fn open<E: EngineUnderTest>(ring: &Ring, config: EngineConfig, pens: &mut [Pen]) -> E::Engine {
    let engine = E::start(ring, config).await.expect("the engine starts");
    for pen in pens {
        let recovery = engine.open(pen.log).await.expect("the partition opens");
        assert!(recovery.epoch > pen.epoch || pen.batches.is_empty(), "{}: the epoch rises", pen.log);
        let kept = recovery.marks.end;
        pen.batches.retain(|batch| batch.end <= kept);
        assert_eq!(pen.end(), kept, "{}: the end is the end of a batch", pen.log);
        pen.epoch = recovery.epoch;
    }
    engine
}

fn pens(count: u32) -> Vec<Pen> {
    (0..count).map(|partition| Pen::new(77, LogId(partition), Epoch(0))).collect()
}

async fn check<E: LogEngine>(engine: &E, pens: &[Pen]) {
    for pen in pens {
        pen.check(engine).await;
    }
}

fn open_files(dir: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").expect("this process's files").flatten();
    links.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path.starts_with(dir))).count()
}

/// The same batches over more partitions: not a flush, a write or a descriptor more.
fn costs_do_not_grow<E: EngineUnderTest>() {
    if !applies::<E>("costs_do_not_grow", Needs::Keeping) {
        return;
    }
    let costs = [1, 100, 10_000].map(|count: u32| {
        let dir = directory();
        let path = fs::canonicalize(dir.path()).expect("the directory is there");
        let told = EngineConfig { segment_bytes: 16 << 20, ..config(&path) };
        in_shard(move |ring| async move {
            let mut pens = pens(count);
            let engine = open::<E>(&ring, told, &mut pens).await;
            let before = engine.counters().snapshot();
            for number in 0..10_000 {
                pens[number % count as usize].append(&engine, &[shape(1, 100)]).await;
                if number % 1_000 == 999 {
                    pens[0].commit(&engine, Level::Durable).await;
                }
            }
            for pen in &pens {
                let Marks { durable, end, .. } = engine.marks(pen.log);
                assert_eq!((durable, end), (pen.end(), pen.end()), "{}: one commit covers all", pen.log);
            }
            let spent = engine.counters().snapshot().since(&before);
            let files = open_files(&path);
            for pen in pens.iter().step_by(1 + count as usize / 10) {
                pen.check(&engine).await;
            }
            engine.close().await.expect("a clean end");
            ([spent.flushes, spent.writes, spent.rolls], files)
        })
    });
    assert!(costs[0].0[0] >= 10, "ten commits flush: {costs:?}");
    assert!(costs.iter().all(|cost| cost.0 == costs[0].0), "1, 100 and 10,000 partitions cost {costs:?}");
    // A segment may just be being prepared.
    assert!(costs.iter().all(|cost| cost.1 <= costs[0].1 + 2), "files open: {costs:?}");
}

/// The `.entries` files of a directory.
fn indexes(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("00000")).expect("the group's folder").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "entries")).collect();
    found.sort();
    found
}

/// Forty partitions, several incarnations, closed and crashed, trimmed; between them index files are lost, damaged or exchanged.
fn partitions_follow_the_model<E: EngineUnderTest>() {
    if !applies::<E>("partitions_follow_the_model", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut numbers = Numbers::new(4711);
    let mut all = pens(40);
    for round in 0..8 {
        let told = config(dir.path());
        let mut drawn = numbers.clone();
        all = in_shard(move |ring| async move {
            let mut pens = all;
            let engine = open::<E>(&ring, told, &mut pens).await;
            check(&engine, &pens).await;
            for step in 0..300 {
                // Few partitions write most.
                let partition = (drawn.below(40) * drawn.below(40) / 40) as usize;
                let shapes: Vec<_> = (0..1 + drawn.below(3))
                    .map(|_| shape(1 + drawn.below(5) as u32, (drawn.below(8) * drawn.below(2_500)) as u32))
                    .collect();
                pens[partition].append(&engine, &shapes).await;
                if step % 17 == 0 {
                    let level = if step % 2 == 0 { Level::Durable } else { Level::Placed };
                    pens[partition].commit(&engine, level).await;
                }
                if step % 60 == 59 {
                    pens[0].commit(&engine, Level::Durable).await;
                    if drawn.below(2) == 0 {
                        let whole = LogId(0).whole();
                        let Marks { start: was, end, .. } = engine.marks(whole);
                        let before = Offset(end.0 - drawn.below(end.0 - was.0));
                        let start = engine.trim(whole, before).await.expect("a trim of all");
                        assert!(was <= start && start <= before, "{start} before {before}");
                        assert_eq!(engine.marks(whole).start, start);
                    }
                    for pen in &pens {
                        let Marks { start: was, end, .. } = engine.marks(pen.log);
                        let before = Offset(end.0 * (2 + drawn.below(2)) / 3);
                        let start = engine.trim(pen.log, before).await.expect("a trim");
                        assert!(was <= start && start <= before.max(was), "{}: {start} before {before}", pen.log);
                    }
                    check(&engine, &pens).await;
                }
            }
            pens[0].commit(&engine, Level::Durable).await;
            check(&engine, &pens).await;
            if round % 2 == 0 {
                engine.close().await.expect("a clean end");
            }
            pens
        });
        numbers.draw();
        let files = indexes(dir.path());
        if let [first, .., last] = files.as_slice() {
            match round % 4 {
                0 => fs::remove_file(last).expect("removed"),
                1 => drop(fs::copy(first, last).expect("exchanged")),
                2 => {
                    let mut bytes = fs::read(first).expect("read");
                    let at = numbers.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 4;
                    fs::write(first, bytes).expect("damaged");
                }
                _ => {}
            }
        }
    }
    assert!(all[0].end() > Offset(300), "partition 0 is busy");
}

/// A partition whose batches have all been given up goes on where it ended, also when no index file tells of it.
fn a_quiet_partition_keeps_its_end<E: EngineUnderTest>() {
    if !applies::<E>("a_quiet_partition_keeps_its_end", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut both = pens(2);
    for round in 0..3 {
        let told = config(dir.path());
        both = in_shard(move |ring| async move {
            let mut pens = both;
            let engine = open::<E>(&ring, told, &mut pens).await;
            if round == 0 {
                pens[0].append(&engine, &[shape(7, 100)]).await;
            } else {
                let Marks { start, end, .. } = engine.marks(pens[0].log);
                assert_eq!((start, end), (Offset(7), Offset(7)), "it holds nothing, and goes on at 7");
            }
            for _ in 0..100 {
                pens[1].append(&engine, &[shape(1, 48 << 10)]).await;
            }
            pens[1].commit(&engine, Level::Durable).await;
            engine.trim(pens[0].log, pens[0].end()).await.expect("a trim of all it has");
            let busy = pens[1].end();
            let start = engine.trim(pens[1].log, busy).await.expect("a trim");
            assert!(start.0 + 50 > busy.0, "all but a segment or two are given up: {start} of {busy}");
            check(&engine, &pens).await;
            if round == 1 {
                engine.close().await.expect("a clean end");
            }
            pens
        });
        indexes(dir.path()).into_iter().for_each(|path| fs::remove_file(path).expect("removed"));
    }
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let engine = open::<E>(&ring, told, &mut both).await;
        let appended = both[0].append(&engine, &[shape(2, 10)]).await;
        assert_eq!(appended.base, Offset(7));
        both[0].commit(&engine, Level::Durable).await;
        check(&engine, &both).await;
    });
}

/// Room for an append is room for the checkpoint that goes before it: else who waits for room would try again and again.
fn room_is_for_the_checkpoint_too<E: EngineUnderTest>() {
    const INFLIGHT_BYTES_MAX: u64 = 520 << 10;
    if !applies::<E>("room_is_for_the_checkpoint_too", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let told = EngineConfig { inflight_bytes_max: INFLIGHT_BYTES_MAX, ..config(dir.path()) };
    in_shard(move |ring| async move {
        // Their ends take 120 KB.
        let mut pens = pens(10_000);
        let engine = open::<E>(&ring, told, &mut pens).await;
        let pen = &mut pens[0];
        let (mut since, mut refused) = (0, 0);
        while engine.counters().rolls.get() < 3 {
            let waited = engine.counters().rolls_waited.get();
            match pen.try_append(&engine, &[shape(1, 1_000)]) {
                Ok(_) => since += pen.batches.last().expect("just appended").bytes.len() as u64 + 32,
                Err(AppendError::Busy) => {
                    let fits = since + 8_000 < INFLIGHT_BYTES_MAX && engine.counters().rolls_waited.get() == waited;
                    refused += u32::from(fits);
                    let room = poll_once(Box::pin(engine.room(pen.log, 1_100))).await;
                    assert!(room.is_none(), "room, and no append after {since} bytes");
                    pen.commit(&engine, Level::Durable).await;
                    engine.room(pen.log, 1_100).await;
                    since = 0;
                }
                Err(error) => panic!("append: {error}"),
            }
        }
        assert!(refused > 0, "no checkpoint had to wait");
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
    });
}

/// Segments that were given up are written again over their old entries. Whatever a crash leaves of a new life before them, none of the old
/// ones becomes part of a partition again.
#[test]
fn old_entries_in_a_recycled_segment_stay_old() {
    if !applies::<Direct>("old_entries_in_a_recycled_segment_stay_old", Needs::Keeping) {
        return;
    }
    let dir = directory();
    let mut numbers = Numbers::new(31);
    let mut all = pens(3);
    let mut recycled = 0;
    for round in 0..6 {
        let told = config(dir.path());
        let left = numbers.below(20);
        let (pens, counts) = in_shard(move |ring| async move {
            let mut pens = all;
            let engine = open::<Direct>(&ring, told, &mut pens).await;
            check(&engine, &pens).await;
            // All entries are equally long, so that each boundary of the new life is one of the old life, too.
            let mut number = 0;
            while engine.counters().rolls.get() < 6 || number % 64 < left {
                pens[number as usize % 3].append(&engine, &[shape(1, 40_000)]).await;
                pens[0].commit(&engine, Level::Durable).await;
                number += 1;
                for pen in &pens {
                    engine.trim(pen.log, engine.marks(pen.log).durable).await.expect("a trim");
                }
            }
            check(&engine, &pens).await;
            let counts = engine.counters().snapshot();
            if round == 5 {
                engine.close().await.expect("a clean end");
            }
            (pens, counts)
        });
        all = pens;
        recycled += counts.segments_recycled;
    }
    assert!(recycled >= 10, "{recycled} segments were recycled");
}

macro_rules! on_each_engine {
    ($($test:ident)+) => { $(mod $test {
        use super::*;

        #[test]
        fn direct() {
            super::$test::<Direct>();
        }

        #[test]
        fn mmap() {
            super::$test::<OverMmap>();
        }

        #[test]
        fn pagecache() {
            super::$test::<PageCache>();
        }
    })+ };
}

on_each_engine!(costs_do_not_grow partitions_follow_the_model a_quiet_partition_keeps_its_end
    room_is_for_the_checkpoint_too);

/// While the shared log is trimmed and its partitions do not know yet, a reader is told where its partition starts, and not at which byte the
/// shared log does.
#[test]
fn a_reader_whom_a_trim_overtakes_is_told_of_its_partition() {
    let dir = directory();
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let mut pens = pens(2);
        let engine = open::<OverMmap>(&ring, told, &mut pens).await;
        for number in 0..120 {
            pens[number % 2].append(&engine, &[shape(1, 48 << 10)]).await;
        }
        pens[0].commit(&engine, Level::Durable).await;
        engine.trim(pens[1].log, pens[1].end()).await.expect("a trim");
        let (log, ends) = (pens[0].log, pens[0].end());
        let mut trimming = Box::pin(engine.trim(log, ends));
        assert!(poll_once(&mut trimming).await.is_none(), "the helper has not answered yet");
        assert!(engine.inner().marks(LogId(0)).start > Offset(0), "the shared log is trimmed");
        assert_eq!(engine.marks(log).start, Offset(0), "and its partition does not know");
        let read = Read { from: Offset(0), until: ends, bytes_max: 1 << 20, kind: ReadKind::Hot };
        let (start, end) = match engine.read(log, read).await {
            Err(ReadError::OutOfRange { asked: Offset(0), start, end }) => (start, end),
            other => panic!("a read of what was given up: {:?}", other.map(|chunk| chunk.bytes)),
        };
        assert!(Offset(0) < start && start < ends && end == ends, "{start}..{end} of a partition that ends at {ends}");
        assert_eq!(trimming.await.expect("a trim"), start);
        pens[0].check(&engine).await;
    });
}

/// Partitions that are asked after all of the log was trimmed are not held up by one that was not, and holds nothing any more.
#[test]
fn a_partition_that_a_trim_of_all_has_emptied_holds_up_nobody() {
    let dir = directory();
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let mut pens = pens(2);
        let engine = open::<OverMmap>(&ring, told, &mut pens).await;
        let whole = LogId(0).whole();
        pens[1].append(&engine, &[shape(1, 100)]).await;
        let mut starts = Vec::new();
        for all in [true, false] {
            for _ in 0..120 {
                pens[0].append(&engine, &[shape(1, 48 << 10)]).await;
            }
            pens[0].commit(&engine, Level::Durable).await;
            let (log, end) = if all { (whole, engine.marks(whole).end) } else { (pens[0].log, pens[0].end()) };
            engine.trim(log, end).await.expect("a trim");
            let start = engine.marks(whole).start;
            assert!(starts.last().copied().unwrap_or(Offset(0)) < start, "all: {all}");
            starts.push(start);
            check(&engine, &pens).await;
        }
        assert_eq!(engine.marks(pens[1].log).start, Offset(1), "it is empty");
        pens[1].append(&engine, &[shape(1, 100)]).await;
        pens[1].commit(&engine, Level::Durable).await;
        check(&engine, &pens).await;
    });
}

/// An opening that nobody waits for any more does not keep the group from being opened.
#[test]
fn an_opening_that_was_given_up_is_begun_again() {
    let dir = directory();
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let engine = OverMmap::start(&ring, told).await.expect("the engine starts");
        assert!(poll_once(Box::pin(engine.open(LogId(0)))).await.is_none(), "the helper has not answered yet");
        let mut pen = pens(1).remove(0);
        pen.epoch = engine.open(LogId(0)).await.expect("the partition opens").epoch;
        pen.append(&engine, &[shape(1, 10)]).await;
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
    });
}

/// In memory nothing is written, and partitions are the same.
#[test]
fn partitions_share_a_log_in_memory() {
    let dir = directory();
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let mut pens = pens(30);
        let engine = open::<Memory>(&ring, told, &mut pens).await;
        for number in 0..900 {
            pens[number % 30].append(&engine, &[shape(2, 3_000)]).await;
        }
        pens[0].commit(&engine, Level::Durable).await;
        check(&engine, &pens).await;
        for pen in &pens {
            engine.trim(pen.log, Offset(40)).await.expect("a trim");
        }
        assert!(engine.marks(pens[0].log).start > Offset(0), "segments before offset 40 of all are given up");
        check(&engine, &pens).await;
    });
}

/// A directory is opened with the layout that it was made with, or refused in one sentence, and nothing in it changes.
#[test]
fn another_layout_is_refused() {
    async fn grouped(ring: &Ring, dir: &Path, partitions: Option<u32>) -> Result<(), OpenError> {
        let config = config(dir);
        let inner = Mmap::new(ring, inner_config(&config, &Mmap::CAPABILITIES)).await?;
        LogGroup::new(ring, inner, config, Grouping { partitions, stride: 1 })?.open(LogId(0)).await.map(|_| ())
    }
    async fn own(ring: &Ring, dir: &Path) -> Result<(), OpenError> {
        Mmap::new(ring, config(dir)).await?.open(LogId(0)).await.map(|_| ())
    }
    let names = |dir: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let (shared, single) = (directory(), directory());
    let (shared_dir, single_dir) = (shared.path().to_path_buf(), single.path().to_path_buf());
    in_shard(move |ring| async move { grouped(&ring, &shared_dir, Some(3)).await.expect("a new directory") });
    in_shard(move |ring| async move { own(&ring, &single_dir).await.expect("a new directory") });
    let before = (names(shared.path()), names(&shared.path().join("00000")), names(single.path()));
    let (shared_dir, single_dir) = (shared.path().to_path_buf(), single.path().to_path_buf());
    let said = in_shard(move |ring| async move {
        let mut said = Vec::new();
        for refused in [
            grouped(&ring, &shared_dir, None).await,
            own(&ring, &shared_dir).await,
            grouped(&ring, &single_dir, None).await,
        ] {
            let error = refused.expect_err("another layout");
            assert!(matches!(error, OpenError::Layout { .. }), "{error:?}");
            said.push(error.to_string());
        }
        said
    });
    assert!(said[0].ends_with("was made with --layout group:3, not with --layout group"), "{}", said[0]);
    assert!(said[1].ends_with("was made with --layout group:3, not with --layout partition"), "{}", said[1]);
    assert!(said[2].ends_with("was made with --layout partition, not with --layout group"), "{}", said[2]);
    assert_eq!((names(shared.path()), names(&shared.path().join("00000")), names(single.path())), before);
}

/// One partition more than a group may have is refused in words, and the others go on.
#[test]
fn too_many_partitions_are_refused() {
    let dir = directory();
    let told = config(dir.path());
    in_shard(move |ring| async move {
        let mut pens = pens(log_group::PARTITIONS_MAX as u32);
        let engine = open::<OverMmap>(&ring, told, &mut pens).await;
        let refused = engine.open(LogId(99_999)).await.expect_err("one too many").to_string();
        assert!(refused.contains("16384") && refused.contains("--layout group:<n>"), "{refused}");
        pens[9_999].append(&engine, &[shape(1, 10)]).await;
        pens[9_999].commit(&engine, Level::Durable).await;
        pens[9_999].check(&engine).await;
    });
}
