//! Segments that hold the batches of an earlier life behind the log's end: none of these ever becomes part of the log again, wherever the
//! process stopped between giving a segment up and using it.

use crate::common::{INFLIGHT_BYTES_MAX, Log, SEGMENT_BYTES, batch, in_memory, write_at};
use log_api::{Epoch, Offset};
use log_segment::{index_path, prepared_path, segment_path};
use proptest::{collection::vec, prelude::*};
use std::{fs, path::Path};

/// Every batch one block long: each boundary of the new life is one of the old life, too, and whole blocks are written.
const BATCH_BYTES: usize = 4096;

fn value_bytes() -> usize {
    let fits = |bytes: &usize| batch(1, *bytes, 0, Offset(0), Epoch(0)).len() == BATCH_BYTES;
    (3900..BATCH_BYTES).find(fits).expect("a batch of one record grows byte by byte")
}

/// Three segments, full but for the last.
fn three_segments(durable: bool) -> Log {
    let mut log = Log::new(in_memory(), durable);
    while log.segments().len() < 3 {
        log.append(1, value_bytes());
    }
    log
}

fn append_in(log: &mut Log, path: &Path, count: usize) {
    for _ in 0..count {
        let bytes = log.next(1, value_bytes());
        log.note(path, bytes);
    }
}

/// What is there comes back, nothing is said to have been torn, and the log goes on.
fn comes_back(log: &mut Log, what: &str) {
    let recovered = log.recover().unwrap_or_else(|error| panic!("{what}: {error}"));
    log.expect(&recovered);
    assert_eq!(recovered.cut, None, "{what}");
    log.go_on(&recovered);
    log.append(2, 50);
    assert_eq!(log.reopen().cut, None, "{what}");
}

#[test]
fn the_log_grows_from_boundary_to_boundary_of_the_old_life() {
    for count in [1, 2, 7, 15] {
        let mut log = three_segments(true);
        let prepared = log.recycle_oldest(5);
        let path = log.roll_into(&prepared, true);
        append_in(&mut log, &path, count);
        comes_back(&mut log, &format!("{count} batches over the old ones"));
    }
}

#[test]
fn the_old_life_is_not_believed_when_the_epochs_file_is_lost() {
    let mut log = three_segments(true);
    let prepared = log.recycle_oldest(5);
    let path = log.roll_into(&prepared, true);
    append_in(&mut log, &path, 3);
    fs::remove_file(log.dir().join("epochs")).unwrap();
    comes_back(&mut log, "epochs lost");
}

/// The watermark is durable first, then the file gets its new name, then its length; later it is used, then renamed. Here a process stops
/// after each of these, and with either of two names that were not made durable.
#[test]
fn a_process_may_stop_between_any_two_steps() {
    for durable in [true, false] {
        let mut log = three_segments(durable);
        let (first, second) = (log.segments()[0], log.segments()[1]);
        log.set_watermark(second, log.end());
        log.batches.retain(|batch| batch.segment != first);
        comes_back(&mut log, "the start is durable, the segment still there");

        let mut log = three_segments(durable);
        let prepared = log.recycle_oldest(5);
        fs::File::options().write(true).open(&prepared).unwrap().set_len(SEGMENT_BYTES - 5000).unwrap();
        comes_back(&mut log, "renamed, not yet as long as a segment");

        let mut log = three_segments(durable);
        log.recycle_oldest(5);
        comes_back(&mut log, "ready, not used");
        assert!(!prepared_path(log.dir(), 5).exists(), "what is not used goes");

        let mut log = three_segments(durable);
        let prepared = log.recycle_oldest(5);
        let path = log.roll_into(&prepared, false);
        append_in(&mut log, &path, 2);
        comes_back(&mut log, "used, not renamed");

        let mut log = three_segments(durable);
        let prepared = log.recycle_oldest(5);
        let path = log.roll_into(&prepared, true);
        append_in(&mut log, &path, 2);
        comes_back(&mut log, "renamed");

        let mut log = three_segments(durable);
        let prepared = log.recycle_oldest(5);
        let other = log.recycle_oldest(6);
        let path = log.roll_into(&prepared, true);
        append_in(&mut log, &path, 2);
        assert!(other.exists());
        comes_back(&mut log, "one in use, another ready");
    }
}

/// What was being written when the process stopped is cut as in a new segment.
#[test]
fn a_batch_torn_over_an_old_one_is_cut() {
    for (renamed, before) in [(true, 0), (true, 4), (false, 0), (false, 4)] {
        for kept in [61, 500, 2500] {
            let mut log = three_segments(true);
            let prepared = log.recycle_oldest(5);
            let path = log.roll_into(&prepared, renamed);
            append_in(&mut log, &path, before);
            let next = log.next(1, value_bytes());
            write_at(&path, log.tail().1, &next[..kept]);
            let recovered = log.recover().unwrap();
            log.expect(&recovered);
            assert!(recovered.cut.is_some(), "{kept} bytes of {} after {before} batches", next.len());
            log.go_on(&recovered);
            log.append(1, 10);
            assert_eq!(log.reopen().cut, None);
        }
    }
}

/// A batch that had been durable is damage over old batches, too: the ones behind it are of the last incarnation and further on than was ever
/// in flight.
#[test]
fn a_bad_batch_far_from_the_end_is_damage() {
    let mut log = three_segments(true);
    let prepared = log.recycle_oldest(5);
    let path = log.roll_into(&prepared, true);
    append_in(&mut log, &path, 15);
    let bad = log.batches.len() - 14;
    assert!(14 * log.batches[bad].bytes.len() as u64 > INFLIGHT_BYTES_MAX + 4096);
    log.set_watermark(log.segments()[0], log.batches[bad].base);
    log.flip(bad, 80);
    log.expect_damage(log.batches[bad].segment, log.batches[bad].position);
}

/// Two segments given up in this life stand ready or were taken into use, and nothing that was written to the first is there. What it holds of
/// its life before was never in flight: a batch in the second is no evidence that the one missing before it had been durable.
#[test]
fn old_batches_of_this_life_say_nothing_about_what_was_in_flight() {
    let mut log = three_segments(true);
    log.recycle_oldest(5);
    let second = log.recycle_oldest(6);
    write_at(&second, 0, &batch(1, value_bytes(), 9, log.end().plus(1), log.epoch));
    let recovered = log.recover().unwrap();
    log.expect(&recovered);
    assert!(recovered.cut.is_some(), "the batch before it is missing");
    log.go_on(&recovered);
    log.append(1, 10);
    assert_eq!(log.reopen().cut, None);
}

/// Messages may carry record batches, of another log or a copy of this one. Those in an old batch are no evidence of anything.
#[test]
fn batches_carried_by_old_records_are_not_taken_for_the_logs_own() {
    let mut log = three_segments(true);
    let carried = batch(2, 40, 7, Offset(1_000_000), log.epoch);
    let carrier = |base: Offset, epoch: Epoch| {
        let mut builder = log_format::BatchBuilder::new(1);
        builder.push(0, None, Some(&carried.repeat(10)));
        let mut bytes = builder.finish();
        log_format::assign(&mut bytes, base, epoch);
        bytes
    };
    let prepared = log.recycle_oldest(5);
    let mut at = 0;
    for number in 0.. {
        let bytes = carrier(Offset(number % 8), log.epoch);
        if at + bytes.len() as u64 > SEGMENT_BYTES {
            break;
        }
        write_at(&prepared, at, &bytes);
        at += bytes.len() as u64;
    }
    let path = log.roll_into(&prepared, true);
    append_in(&mut log, &path, 1);
    // The old batch that the end cuts through may pass for something torn, but not for something lost.
    log.reopen();
    log.append(2, 50);
    assert_eq!(log.reopen().cut, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Lives in which old segments are written again and again, each ended by a crash that tears what was not flushed.
    #[test]
    fn any_life_in_recycled_segments(
        lives in vec((vec((1..4u32, 0..4000usize), 1..60), 0..3000usize), 1..5),
        durable in any::<bool>(),
    ) {
        let mut log = Log::new(in_memory(), durable);
        let mut number = 0;
        for (appends, torn) in lives {
            for (records, value_bytes) in appends {
                let bytes = log.next(records, value_bytes);
                if log.tail().1 + bytes.len() as u64 > SEGMENT_BYTES {
                    if log.segments().len() > 2 {
                        number += 1;
                        let prepared = log.recycle_oldest(number);
                        log.roll_into(&prepared, true);
                    } else {
                        log.roll();
                    }
                }
                let (path, _) = log.tail();
                log.note(&path, bytes);
            }
            let next = log.next(2, 2000);
            let (path, position) = log.tail();
            let kept = torn.min(next.len() - 1).min((SEGMENT_BYTES - position) as usize);
            write_at(&path, position, &next[..kept]);
            let recovered = log.reopen();
            prop_assert!(kept < 61 || recovered.cut.is_some());
        }
        let first = log.segments()[0];
        prop_assert!(segment_path(log.dir(), first).exists());
        prop_assert!(number == 0 || !index_path(log.dir(), Offset(0)).exists());
    }
}
