//! Bytes that were durable and are no longer what was written are refused, by segment and position, and nothing is changed.

use crate::common::{INFLIGHT_BYTES_MAX, Log, SEGMENT_BYTES, in_memory, write_at};
use log_api::{Epoch, Offset};
use log_segment::{index_path, prepared_path, segment_path};
use std::fs;

/// A log of one segment with 20 batches of about 1.4 KB.
fn log(durable: bool) -> Log {
    let mut log = Log::new(in_memory(), durable);
    for _ in 0..20 {
        log.append(2, 650);
    }
    log
}

#[test]
fn each_kind_of_spoilt_byte_below_the_watermark() {
    for durable in [true, false] {
        // In the header: base offset, length, epoch, magic, checksum, count; in the records; the last byte.
        for byte in [7, 9, 11, 15, 16, 17, 60, 61, 500, 1400] {
            let log = log(durable);
            log.set_watermark(Offset(0), log.end());
            let byte = byte.min(log.batches[7].bytes.len() - 1);
            log.flip(7, byte);
            log.expect_damage(Offset(0), log.batches[7].position);
        }
    }
}

#[test]
fn zeros_below_the_watermark() {
    let log = log(false);
    log.set_watermark(Offset(0), log.end());
    let last = log.last();
    write_at(&segment_path(log.dir(), Offset(0)), last.position, &vec![0; last.bytes.len()]);
    let what = log.expect_damage(Offset(0), last.position);
    assert!(what.contains("zeros"), "{what}");
}

#[test]
fn what_lies_before_the_last_incarnation_was_durable_even_without_a_watermark() {
    let mut log = log(false);
    log.reopen();
    log.append(1, 10);
    fs::remove_file(log.dir().join("watermark")).unwrap();
    log.flip(19, 100);
    log.expect_damage(Offset(0), log.batches[19].position);
}

#[test]
fn a_sealed_segment_was_durable_even_without_a_watermark() {
    let mut log = Log::new(in_memory(), false);
    log.fill_segments(2);
    log.reopen();
    // No other lower bound is left than the index beside the first segment.
    fs::remove_file(log.dir().join("watermark")).unwrap();
    log.set_epochs(&[(1, 0, false, INFLIGHT_BYTES_MAX)]);
    log.epoch = Epoch(1);
    fs::remove_file(segment_path(log.dir(), log.segments()[1])).unwrap();
    log.flip(3, 100);
    log.expect_damage(Offset(0), log.batches[3].position);
    fs::remove_file(index_path(log.dir(), Offset(0))).unwrap();
    let recovered = log.recover().unwrap();
    log.expect_first(&recovered, 3);
}

/// The batch 3 is bad. The last one that starts no more than `INFLIGHT_BYTES_MAX` later may have been in flight with it; the next may not.
#[test]
fn a_valid_batch_further_on_than_was_ever_in_flight() {
    let whole = log(true);
    let bad = whole.batches[3].position;
    let within = whole.batches.iter().rposition(|batch| batch.position - bad <= INFLIGHT_BYTES_MAX).unwrap();
    assert!((5..18).contains(&within), "the log is long enough for both cases");
    for last in [within, within + 1] {
        for durable in [true, false] {
            let log = log(durable);
            let end = log.boundary_after(last).position;
            write_at(&segment_path(log.dir(), Offset(0)), end, &vec![0; (SEGMENT_BYTES - end) as usize]);
            log.flip(3, 200);
            if durable && last > within {
                let what = log.expect_damage(Offset(0), bad);
                assert!(what.contains(&format!("at byte {}", log.batches[last].position)), "{what}");
            } else {
                let recovered = log.recover().unwrap();
                log.expect_first(&recovered, 3);
                assert!(recovered.cut.is_some());
            }
        }
    }
}

/// What counts is how the incarnation wrote that wrote the tail, not how the log is opened now.
#[test]
fn the_mode_is_that_of_the_incarnation_that_wrote() {
    let mut written_durable = log(true);
    written_durable.flip(3, 200);
    written_durable.config.durable = false;
    written_durable.config.inflight_bytes_max = 1 << 30;
    written_durable.expect_damage(Offset(0), written_durable.batches[3].position);

    let mut written_fast = log(false);
    written_fast.flip(3, 200);
    written_fast.config.durable = true;
    let recovered = written_fast.recover().unwrap();
    written_fast.expect_first(&recovered, 3);
}

#[test]
fn a_valid_batch_in_a_later_segment_or_in_one_not_yet_renamed() {
    for renamed in [true, false] {
        let mut log = Log::new(in_memory(), true);
        log.fill_segments(2);
        while log.tail().1 < INFLIGHT_BYTES_MAX + 4096 {
            log.append(2, 650);
        }
        let second = log.segments()[1];
        let last_of_first = log.batches.iter().rposition(|batch| batch.segment != second).unwrap();
        log.flip(last_of_first, 70);
        if !renamed {
            fs::rename(segment_path(log.dir(), second), prepared_path(log.dir(), 5)).unwrap();
        }
        log.expect_damage(Offset(0), log.batches[last_of_first].position);
    }
}

#[test]
fn a_batch_that_could_have_been_in_flight_in_the_next_segment_is_cut_off() {
    let mut log = Log::new(in_memory(), true);
    while log.segments().len() < 2 {
        log.append(2, 650);
    }
    let count = log.batches.len() - 2;
    log.flip(count, 70);
    let recovered = log.recover().unwrap();
    log.expect_first(&recovered, count);
    assert!(recovered.cut.unwrap().what.contains("1 later segments dropped"));
}

#[test]
fn missing_segments() {
    for missing in 0..3 {
        let mut log = Log::new(in_memory(), false);
        log.fill_segments(4);
        log.reopen();
        let segments = log.segments();
        fs::remove_file(segment_path(log.dir(), segments[missing])).unwrap();
        let what = log.expect_damage(segments[missing + 1], 0);
        assert!(what.contains("missing") || what.contains("ends at"), "{what}");
    }
    let mut log = Log::new(in_memory(), false);
    log.fill_segments(3);
    log.reopen();
    fs::remove_file(segment_path(log.dir(), *log.segments().last().unwrap())).unwrap();
    let last_left = log.segments()[1];
    let length = fs::metadata(segment_path(log.dir(), last_left)).unwrap().len();
    log.expect_damage(last_left, length);
    for segment in log.segments() {
        let _ = fs::remove_file(segment_path(log.dir(), segment));
    }
    log.expect_damage(Offset(0), 0);
}

#[test]
fn segments_that_overlap() {
    let mut log = Log::new(in_memory(), false);
    log.fill_segments(2);
    let inside = log.batches[2].base;
    fs::write(segment_path(log.dir(), inside), vec![0; 4096]).unwrap();
    let what = log.expect_damage(inside, 0);
    assert!(what.contains("reaches"), "{what}");
}
