//! What the mechanism costs, in counts: writes, flushes, entries of the ring, copies, pages; and what proves that it is the mechanism.

use futures_lite::future::poll_once;
use log_api::{CounterSnapshot, EngineConfig, Level, LogEngine, LogId, Read, ReadKind};
use log_direct::Direct;
use log_testkit::{Pen, config, directory, in_shard, shape};
use shard_ring::Ring;

const LOG: LogId = LogId(3);
/// Reads without an append between them, after which a scan reads ahead.
const CALM_READS: u64 = 16;

async fn start(ring: &Ring, config: EngineConfig) -> (Direct, Pen) {
    let engine = Direct::new(ring, config).await.expect("an engine in a fresh directory");
    let recovery = engine.open(LOG).await.expect("a new log");
    // The next segment is made ready by itself, which takes entries of the ring, too.
    while engine.counters().segments_zeroed.get() == 0 {
        shard_ring::yield_now().await;
    }
    (engine, Pen::new(11, LOG, recovery.epoch))
}

fn since(engine: &Direct, before: &CounterSnapshot) -> CounterSnapshot {
    engine.counters().snapshot().since(before)
}

#[test]
fn a_small_commit_is_one_write_and_appends_are_no_system_calls() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        for commit in 0..20 {
            let before = engine.counters().snapshot();
            let entries = ring.counters().entries.get();
            for _ in 0..10 {
                pen.try_append(&engine, &[shape(1, 100)]).unwrap();
            }
            assert_eq!(ring.counters().entries.get(), entries, "appends push nothing");
            pen.commit(&engine, Level::Durable).await;
            let spent = since(&engine, &before);
            assert_eq!((spent.writes, spent.flushes, spent.tail_waits), (1, 1, 0), "commit {commit}");
            assert_eq!(ring.counters().entries.get() - entries, 1, "one entry of the ring a commit");
            assert_eq!(spent.system_calls, 0);
            assert!(spent.copied_bytes < spent.appended_bytes + 4096, "one copy, and a tail page at most");
            let pages = spent.written_bytes / 4096;
            assert!(
                spent.written_bytes.is_multiple_of(4096) && pages <= spent.appended_bytes / 4096 + 2,
                "{pages} pages"
            );
        }
        engine.close().await.unwrap();
    });
}

#[test]
fn a_durable_commit_enters_at_once_when_the_device_idles_for_it() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let groups = [engine.group(LOG)];
        // Each is launched by the call.
        let mut ask = |level| {
            let before = ring.counters().enters.get();
            pen.try_append(&engine, &[shape(1, 100)]).unwrap();
            let commit = engine.commit(&groups, level);
            (commit, ring.counters().enters.get() - before)
        };
        for _ in 0..5 {
            let (first, entered) = ask(Level::Durable);
            assert_eq!(entered, 1);
            let (second, entered) = ask(Level::Durable);
            assert_eq!(entered, 0, "one is on its way: this one goes with the round");
            first.await.unwrap();
            second.await.unwrap();
            let (placed, entered) = ask(Level::Placed);
            assert_eq!(entered, 0, "nobody waits for the device");
            placed.await.unwrap();
        }
        engine.close().await.unwrap();
    });
}

#[test]
fn a_large_commit_enters_at_once_whatever_its_level() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 8 << 20, inflight_bytes_max: 16 << 20, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let groups = [engine.group(LOG)];
        // Each is launched by the call.
        let mut commits = Vec::new();
        let mut entered = |bytes, level| {
            let before = ring.counters().enters.get();
            pen.try_append(&engine, &[shape(1, bytes)]).unwrap();
            commits.push(engine.commit(&groups, level));
            ring.counters().enters.get() - before
        };
        assert_eq!([30_000, 64 << 10, 64 << 10, 30_000].map(|bytes| entered(bytes, Level::Placed)), [0, 1, 1, 0]);
        assert_eq!([30_000, 64 << 10, 64 << 10].map(|bytes| entered(bytes, Level::Durable)), [0, 1, 1]);
        for commit in commits {
            commit.await.unwrap();
        }
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn many_logs_that_commit_in_one_round_enter_at_once_only_for_the_first() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, pen) = start(&ring, config).await;
        let mut pens = vec![pen];
        for log in 10..15 {
            let recovery = engine.open(LogId(log)).await.expect("a new log");
            pens.push(Pen::new(11, LogId(log), recovery.epoch));
        }
        for pen in &mut pens {
            pen.try_append(&engine, &[shape(1, 100)]).unwrap();
        }
        let before = ring.counters().enters.get();
        let groups = [3, 10, 11, 12, 13, 14].map(|log| [engine.group(LogId(log))]);
        let commits: Vec<_> = groups.iter().map(|group| engine.commit(group, Level::Durable)).collect();
        assert_eq!(ring.counters().enters.get() - before, 1);
        for commit in commits {
            commit.await.unwrap();
        }
        engine.close().await.unwrap();
    });
}

#[test]
fn placed_commits_flush_nothing_and_one_flush_makes_them_durable() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let before = engine.counters().snapshot();
        for _ in 0..5 {
            pen.try_append(&engine, &[shape(1, 3000)]).unwrap();
            pen.commit(&engine, Level::Placed).await;
        }
        assert_eq!(since(&engine, &before).flushes, 0);
        assert_eq!(engine.marks(LOG).durable.0, 0);
        pen.commit(&engine, Level::Durable).await;
        let spent = since(&engine, &before);
        assert_eq!((spent.writes, spent.flushes), (5, 1), "nothing is written again for a flush");
        engine.close().await.unwrap();
    });
}

#[test]
fn a_large_commit_is_several_writes_at_once() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 8 << 20, inflight_bytes_max: 16 << 20, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let block = engine.attestation().staging_block_bytes as u64;
        let before = engine.counters().snapshot();
        let entries = ring.counters().entries.get();
        pen.try_append(&engine, &vec![shape(1, 100_000); 40]).unwrap();
        let groups = [engine.group(LOG)];
        let commit = engine.commit(&groups, Level::Durable);
        assert_eq!(since(&engine, &before).writes, 4_000_000_u64.div_ceil(block).max(2), "all submitted at the call");
        commit.await.unwrap();
        assert_eq!(ring.counters().entries.get() - entries, since(&engine, &before).writes);
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn commits_on_one_tail_page_wait_for_it_and_share_its_image() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let before = engine.counters().snapshot();
        let groups = [engine.group(LOG)];
        let mut commits = Vec::new();
        for _ in 0..5 {
            pen.try_append(&engine, &[shape(1, 50)]).unwrap();
            commits.push(engine.commit(&groups, Level::Durable));
        }
        for commit in commits {
            commit.await.unwrap();
        }
        let spent = since(&engine, &before);
        assert_eq!((spent.writes, spent.tail_waits), (2, 4), "the first page, then one image for the four that waited");
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn a_scan_reads_each_byte_about_once_and_several_runs_ahead() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 16 << 20, tail_cache_bytes: 0, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        for _ in 0..120 {
            pen.append(&engine, &vec![shape(1, 1000); 64]).await;
        }
        pen.commit(&engine, Level::Durable).await;
        let before = engine.counters().snapshot();
        let marks = engine.marks(LOG);
        let (mut from, mut bytes, mut reads) = (marks.start, 0, 0);
        let mut deepest = 0;
        while from < marks.placed {
            let read = Read { from, until: marks.placed, bytes_max: 64 << 10, kind: ReadKind::Scan };
            let entries = ring.counters().entries.get();
            let chunk = engine.read(LOG, read).await.unwrap();
            deepest = deepest.max(ring.counters().entries.get() - entries);
            assert!(chunk.base == from && chunk.next > from && chunk.bytes <= 64 << 10);
            (from, bytes, reads) = (chunk.next, bytes + chunk.bytes, reads + 1);
        }
        let spent = since(&engine, &before);
        assert_eq!(bytes, engine.counters().appended_bytes.get());
        let misses = (CALM_READS + 1).div_ceil(2);
        assert_eq!(
            spent.read_misses, misses,
            "of {reads} reads, two a run: none is prepared until it is calm, then each"
        );
        assert!(deepest >= 4, "{deepest} reads in flight at once");
        assert!(spent.read_bytes < bytes + bytes / 8, "{} bytes read for {bytes}", spent.read_bytes);
        assert_eq!(spent.copied_bytes, 0);
        engine.close().await.unwrap();
    });
}

#[test]
fn a_scan_enters_at_once_for_the_run_that_it_reads_ahead() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 16 << 20, tail_cache_bytes: 0, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        for _ in 0..120 {
            pen.append(&engine, &vec![shape(1, 1000); 64]).await;
        }
        pen.commit(&engine, Level::Durable).await;
        let marks = engine.marks(LOG);
        let (mut from, mut entered) = (marks.start, Vec::new());
        while from < marks.placed {
            let read = Read { from, until: marks.placed, bytes_max: 1 << 20, kind: ReadKind::Scan };
            let before = ring.counters().enters.get();
            let chunk = match poll_once(engine.read(LOG, read)).await {
                Some(chunk) => {
                    entered.push(ring.counters().enters.get() - before);
                    chunk
                }
                None => engine.read(LOG, read).await,
            };
            from = chunk.unwrap().next;
            while ring.in_flight().0 > 0 {
                shard_ring::yield_now().await;
            }
        }
        assert!(entered.len() >= 10, "{} runs had come when they were asked for", entered.len());
        let ahead = entered.iter().filter(|enters| **enters > 0).count();
        assert!(ahead >= 4 && entered.iter().all(|enters| *enters <= 1), "{entered:?}");
        assert_eq!(entered.last(), Some(&0), "nothing is left to read ahead");
        engine.close().await.unwrap();
    });
}

#[test]
fn a_scan_beside_appends_reads_nothing_ahead_until_none_has_come_for_a_while() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 16 << 20, tail_cache_bytes: 0, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        for _ in 0..120 {
            pen.append(&engine, &vec![shape(1, 1000); 64]).await;
        }
        pen.commit(&engine, Level::Durable).await;
        let (start, until) = (engine.marks(LOG).start, engine.marks(LOG).placed);
        let (engine_, ring_) = (&engine, &ring);
        let scan = |mut from, reads: u64| async move {
            let (mut deepest, mut all) = (0, 0);
            for _ in 0..reads {
                let read = Read { from, until, bytes_max: 64 << 10, kind: ReadKind::Scan };
                let entries = ring_.counters().entries.get();
                from = engine_.read(LOG, read).await.unwrap().next;
                let pushed = ring_.counters().entries.get() - entries;
                (deepest, all) = (deepest.max(pushed), all + pushed);
            }
            (from, deepest, all)
        };
        let (from, deepest, _) = scan(start, CALM_READS).await;
        assert_eq!(deepest, 1, "the appends were just before");
        let (from, deepest, _) = scan(from, 1).await;
        assert!(deepest >= 4, "{deepest}: nobody appends any more");
        pen.append(&engine, &[shape(1, 1000)]).await;
        pen.commit(&engine, Level::Durable).await;
        let (from, _, all) = scan(from, 8).await;
        assert_eq!(all, 0, "somebody has just appended: what was read ahead is used up, and nothing more");
        pen.try_append(&engine, &[shape(1, 1000)]).unwrap();
        let (_, deepest, _) = scan(from, 2 * CALM_READS).await;
        assert_eq!(deepest, 1, "it waits to be written, however long that takes");
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn a_reader_that_holds_everything_it_read_starves_no_append() {
    let dir = directory();
    let config = EngineConfig { segment_bytes: 4 << 20, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        let mut held = Vec::new();
        let mut from = engine.marks(LOG).start;
        for _ in 0..400 {
            pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Placed).await;
            let until = engine.marks(LOG).placed;
            let chunk = engine.read(LOG, Read { from, until, bytes_max: 1 << 20, kind: ReadKind::Hot }).await.unwrap();
            from = chunk.next;
            held.push(chunk);
        }
        let attestation = engine.attestation();
        let staging_bytes = (attestation.staging_blocks * attestation.staging_block_bytes) as u64;
        assert!(engine.counters().appended_bytes.get() > 3 * staging_bytes, "the slab was used several times over");
        pen.check(&engine).await;
        drop(held);
        engine.close().await.unwrap();
    });
}

#[test]
fn without_any_flush_by_the_core_finished_segments_become_durable_and_can_be_given_up() {
    let dir = directory();
    let config = EngineConfig { durable: false, ..config(dir.path()) };
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        for _ in 0..60 {
            pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Placed).await;
        }
        let finished = pen.batches[40].end;
        while engine.marks(LOG).durable < finished {
            shard_ring::yield_now().await;
        }
        assert_eq!(engine.counters().flushes.get(), 0, "sealing is the helper's");
        let start = engine.trim(LOG, finished).await.unwrap();
        assert!(start.0 > 0 && start <= finished, "{start}");
        pen.check(&engine).await;
        engine.close().await.unwrap();
    });
}

#[test]
fn a_clean_end_seals_what_waits_to_be_and_was_not_given_up() {
    let dir = directory();
    let config = EngineConfig { durable: false, ..config(dir.path()) };
    let again = config.clone();
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        while engine.counters().rolls.get() < 4 {
            pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Placed).await;
        }
        // Durable before they are sealed: some can be given up.
        pen.commit(&engine, Level::Durable).await;
        let second = pen.batches[pen.batches.len() / 2].end;
        let start = engine.trim(LOG, second).await.unwrap();
        assert!(start.0 > 0 && start <= second, "{start}");
        engine.close().await.unwrap();
        let names = |kind: &str| {
            let left = std::fs::read_dir(dir.path().join("00003")).unwrap().map(|entry| entry.unwrap().path());
            left.filter(|path| path.extension().is_some_and(|extension| extension == kind)).count()
        };
        assert_eq!(names("next"), 0);
        assert!(names("log") >= 2 && names("log") < 5, "{} segments", names("log"));
        assert!(names("index") >= names("log") - 1, "{} of {} segments are sealed", names("index"), names("log"));
        let reopened = Direct::new(&ring, again).await.unwrap();
        let recovery = reopened.open(LOG).await.unwrap();
        assert_eq!((recovery.marks.start, recovery.marks.end), (start, pen.end()));
        pen.check(&reopened).await;
        reopened.close().await.unwrap();
    });
}

#[test]
fn segments_given_up_are_the_next_ones_and_only_the_first_are_filled_with_zeros() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        while engine.counters().rolls.get() < 20 {
            pen.append(&engine, &[shape(1, 60_000)]).await;
            pen.commit(&engine, Level::Durable).await;
            engine.trim(LOG, engine.marks(LOG).durable).await.unwrap();
        }
        let spent = engine.counters().snapshot();
        assert!(spent.segments_recycled >= 8, "{} segments were recycled", spent.segments_recycled);
        assert!(spent.segments_zeroed <= 12, "{} segments were filled with zeros", spent.segments_zeroed);
        pen.check(&engine).await;
        engine.close().await.unwrap();
        let left = std::fs::read_dir(dir.path().join("00003")).unwrap();
        let prepared =
            left.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "next"));
        assert_eq!(prepared.count(), 0, "a clean end leaves none behind");
    });
}

#[test]
fn the_attestation_says_what_is_so() {
    let dir = directory();
    let config = config(dir.path());
    in_shard(|ring| async move {
        let (engine, _) = start(&ring, config).await;
        let attestation = engine.attestation();
        assert!(attestation.direct && attestation.files == 1 && attestation.files_fixed == 1, "{attestation:?}");
        assert!(attestation.staging_blocks_registered <= attestation.staging_blocks);
        assert!(attestation.reading_blocks_registered <= attestation.reading_blocks);
        engine.close().await.unwrap();
    });
}
