//! A torn tail is cut at exactly the last whole batch, whatever it looks like, and the log goes on from there.

use crate::common::{INFLIGHT_BYTES_MAX, Log, SEGMENT_BYTES, batch, in_memory, write_at};
use log_api::{Epoch, Offset};
use log_segment::segment_path;
use proptest::{collection::vec, prelude::*};

/// Recovers after the tail was spoilt: the first `count` batches stay, appends go on, and the next recovery finds both.
fn goes_on_after(log: &mut Log, count: usize, cut: bool) {
    let position = log.boundary_after(count - 1).position;
    let recovered = log.recover().unwrap();
    log.expect_first(&recovered, count);
    assert_eq!(recovered.cut.is_some(), cut, "{:?}", recovered.cut);
    if let Some(cut) = &recovered.cut {
        assert_eq!((&cut.segment, cut.position), (&recovered.active.path, position), "{}", cut.what);
    }
    log.go_on(&recovered);
    log.append(2, 50);
    let again = log.reopen();
    assert_eq!(again.cut, None);
}

fn short_log(durable: bool) -> Log {
    let mut log = Log::new(in_memory(), durable);
    for value_bytes in [10, 2000, 300] {
        log.append(2, value_bytes);
    }
    log
}

#[test]
fn zeros_after_the_last_batch_are_no_tear() {
    for durable in [true, false] {
        goes_on_after(&mut short_log(durable), 3, false);
    }
}

#[test]
fn the_last_batch_torn_at_each_byte() {
    let log = short_log(true);
    let next = log.next(2, 40);
    for kept in 0..next.len() {
        let (path, position) = log.tail();
        write_at(&path, position, &next[..kept]);
        let recovered = log.recover().unwrap();
        log.expect(&recovered);
        let torn = next[..kept].iter().any(|&byte| byte != 0);
        assert_eq!(recovered.cut.is_some(), torn, "{kept} bytes");
    }
}

/// Sectors of a write arrive in any order: the head may be missing while the rest is there.
#[test]
fn the_last_batch_without_its_first_bytes() {
    for missing in [8usize, 12, 61, 512] {
        let mut log = short_log(true);
        let mut next = log.next(2, 2000);
        next[..missing].fill(0);
        let (path, position) = log.tail();
        write_at(&path, position, &next);
        goes_on_after(&mut log, 3, true);
    }
}

/// On the disk and not in memory, so that what is read and cleared goes past the page cache.
#[test]
fn on_the_disk() {
    for durable in [true, false] {
        let mut log = Log::new(tempfile::tempdir().unwrap(), durable);
        log.fill_segments(2);
        let next = log.next(2, 3000);
        let (path, position) = log.tail();
        write_at(&path, position, &next[..next.len() - 1000]);
        let count = log.batches.len();
        goes_on_after(&mut log, count, true);
        log.set_watermark(Offset(0), log.end());
        log.flip(count, 70);
        log.expect_damage(log.batches[count].segment, log.batches[count].position);
    }
}

#[test]
fn a_stale_batch_of_an_older_epoch_is_not_the_next_one() {
    let mut log = short_log(true);
    log.reopen();
    log.append(1, 100);
    let old = Epoch(log.epoch.0 - 1);
    let stale = batch(1, 100, 9, log.end(), old);
    let (path, position) = log.tail();
    write_at(&path, position, &stale);
    goes_on_after(&mut log, 4, true);
}

#[test]
fn batches_of_a_future_epoch_or_another_offset_are_not_the_next_one() {
    let offsets = [Offset(0), Offset(5), Offset(7), Offset(1_000_000)];
    for base in offsets {
        let mut log = short_log(false);
        let (path, position) = log.tail();
        write_at(&path, position, &batch(1, 100, 9, base, log.epoch));
        goes_on_after(&mut log, 3, true);
    }
    let mut log = short_log(false);
    let (path, position) = log.tail();
    write_at(&path, position, &batch(1, 100, 9, log.end(), Epoch(log.epoch.0 + 1)));
    goes_on_after(&mut log, 3, true);
}

/// The second batch of an incarnation may not reach back over the offset at which the one after it began.
#[test]
fn a_batch_across_the_start_of_the_next_incarnation_is_refused() {
    let mut log = Log::new(in_memory(), true);
    log.append(4, 100);
    log.append(4, 100);
    log.set_watermark(Offset(0), Offset(0));
    log.set_epochs(&[(1, 0, true, INFLIGHT_BYTES_MAX), (2, 6, true, INFLIGHT_BYTES_MAX)]);
    let what = log.expect_damage(Offset(0), log.batches[1].position);
    assert!(what.contains("reaches beyond offset 6"), "{what}");
}

#[test]
fn later_segments_go_when_the_log_ends_before_them() {
    for durable in [true, false] {
        let mut log = Log::new(in_memory(), durable);
        log.fill_segments(3);
        let segments = log.segments();
        let last_of_first = log.batches.iter().rposition(|batch| batch.segment == segments[0]).unwrap();
        // The end of the first segment and all later ones never reached the disk, but for their file sizes.
        let spoilt = log.batches[last_of_first].clone();
        write_at(&segment_path(log.dir(), spoilt.segment), spoilt.position, &vec![0; spoilt.bytes.len()]);
        for segment in &segments[1..] {
            write_at(&segment_path(log.dir(), *segment), 0, &vec![0; SEGMENT_BYTES as usize]);
        }
        goes_on_after(&mut log, last_of_first, true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn garbage_after_any_log(
        lives in vec(vec((1..5u32, 0..3000usize), 0..25), 1..4),
        garbage in vec(any::<u8>(), 1..3000),
        gap in 0..100u64,
        durable in any::<bool>(),
    ) {
        let mut log = Log::new(in_memory(), durable);
        for life in lives {
            for (records, value_bytes) in life {
                log.append(records, value_bytes);
            }
            log.reopen();
        }
        let (path, position) = log.tail();
        let room = (SEGMENT_BYTES - position) as usize;
        prop_assume!(room > 200);
        let garbage = &garbage[..garbage.len().min(room - gap as usize)];
        write_at(&path, position + gap, garbage);
        let recovered = log.recover().unwrap();
        log.expect(&recovered);
        prop_assert_eq!(recovered.cut.is_some(), garbage.iter().any(|&byte| byte != 0));
        log.go_on(&recovered);
        log.append(1, 1);
        prop_assert_eq!(&log.reopen().cut, &None);
    }
}
