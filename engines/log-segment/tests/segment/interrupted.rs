//! A recovery that is stopped after any of its file operations leaves a log that the next recovery finds the same.

use crate::common::{Log, SEGMENT_BYTES, in_memory, restore, snapshot, write_at};
use log_api::{Epoch, OpenError};
use log_segment::{Files, prepared_path, recover, segment_path};
use std::fs;

/// Stops the recovery of a log after 0, 1, 2, … operations, until it comes through; each time recovers again, and once more after a
/// second interruption at the same place. The first `count` batches must be left each time.
fn everywhere(log: &Log, count: usize) -> u64 {
    let crashed = snapshot(log.dir());
    for operations in 0.. {
        restore(log.dir(), &crashed);
        match recover(&log.config, &Files::stopping_after(operations)) {
            Ok(recovered) => {
                log.expect_first(&recovered, count);
                return operations;
            }
            Err(OpenError::Io { .. }) => {}
            Err(other) => panic!("after {operations} operations: {other}"),
        }
        let _ = recover(&log.config, &Files::stopping_after(operations));
        let recovered = log.recover().unwrap_or_else(|error| panic!("after {operations} operations: {error}"));
        log.expect_first(&recovered, count);
    }
    unreachable!()
}

#[test]
fn while_making_a_new_log() {
    for durable in [true, false] {
        let mut log = Log::new(in_memory(), durable);
        fs::remove_dir_all(log.dir()).unwrap();
        log.epoch = Epoch(0);
        let operations = everywhere(&log, 0);
        assert!(operations > 10, "{operations} operations");
    }
}

#[test]
fn while_cutting_a_torn_tail_with_later_segments() {
    for durable in [true, false] {
        let mut log = Log::new(in_memory(), durable);
        log.fill_segments(3);
        log.reopen();
        log.fill_segments(5);
        // The last batch of the fourth segment is torn, and the fifth one holds less than was ever in flight.
        let fifth = log.segments()[4];
        let torn = log.batches.iter().rposition(|batch| batch.segment != fifth).unwrap();
        log.flip(torn, 100);
        let kept = 8 << 10;
        write_at(&segment_path(log.dir(), fifth), kept, &vec![0; (SEGMENT_BYTES - kept) as usize]);
        log.prepared(7, &[]);
        fs::write(log.dir().join("epochs.tmp"), b"half").unwrap();
        fs::write(log.dir().join("foreign"), b"left alone").unwrap();
        let operations = everywhere(&log, torn);
        assert!(operations > 15, "{operations} operations");
        assert_eq!(fs::read(log.dir().join("foreign")).unwrap(), b"left alone");
    }
}

#[test]
fn while_adopting_a_prepared_segment() {
    let mut log = Log::new(in_memory(), true);
    log.fill_segments(3);
    let last = log.segments()[2];
    fs::rename(segment_path(log.dir(), last), prepared_path(log.dir(), 4)).unwrap();
    log.prepared(5, &[]);
    everywhere(&log, log.batches.len());
}

#[test]
fn while_finishing_a_trim() {
    let mut log = Log::new(in_memory(), false);
    log.fill_segments(4);
    log.reopen();
    let start = log.segments()[2];
    log.set_watermark(start, log.end());
    let recovered = log.recover().unwrap();
    assert_eq!(recovered.marks.start, start);
    assert!(!segment_path(log.dir(), log.segments()[1]).exists());
    log.go_on(&recovered);
    log.set_watermark(start, log.end());
    everywhere(&log, log.batches.len());
}
