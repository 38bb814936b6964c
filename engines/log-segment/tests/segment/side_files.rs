//! The files beside the segments are hints: missing or wrong, they are made anew, and what they protected is still protected as far as
//! the rest allows. Segments prepared ahead are adopted when they fit.

use crate::common::{INFLIGHT_BYTES_MAX, Log, SEGMENT_BYTES, batch, in_memory, restore, snapshot, write_at};
use log_api::{Epoch, Offset};
use log_segment::{index_path, prepared_path, segment_path};
use proptest::prelude::*;
use std::fs;

/// Three incarnations over several segments.
fn log(durable: bool) -> Log {
    let mut log = Log::new(in_memory(), durable);
    log.fill_segments(2);
    log.reopen();
    log.fill_segments(4);
    log.reopen();
    log.append(2, 500);
    log
}

#[test]
fn the_folder_is_only_read_where_nothing_is_to_be_done() {
    let mut log = log(true);
    let first = log.reopen();
    let second = log.reopen();
    assert_eq!((first.cut, second.cut), (None, None));
    assert_eq!(second.epoch.0, first.epoch.0 + 1);
    assert_eq!(second.prepared_bytes, 0);
    assert_eq!(second.sealed.len(), 3);
}

#[test]
fn each_side_file_missing_emptied_or_with_a_flipped_bit() {
    let log = log(true);
    let whole = snapshot(log.dir());
    let side = whole.keys().filter(|path| path.extension().is_none_or(|extension| extension != "log"));
    for path in side {
        let good = &whole[path];
        let bits = (0..good.len().min(200) * 8).step_by(37);
        let wrong = bits.map(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Some(bytes)
        });
        for bytes in [None, Some(Vec::new()), Some(good[..good.len() - 1].to_vec())].into_iter().chain(wrong) {
            restore(log.dir(), &whole);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let recovered = log.recover().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            log.expect(&recovered);
        }
    }
}

#[test]
fn all_side_files_missing() {
    let mut log = log(true);
    for path in
        snapshot(log.dir()).into_keys().filter(|path| path.extension().is_none_or(|extension| extension != "log"))
    {
        fs::remove_file(path).unwrap();
    }
    log.reopen();
    log.append(1, 1);
    log.reopen();
}

/// The index of another segment, or of an older state of the same one, is not believed.
#[test]
fn an_index_of_something_else() {
    let log = log(true);
    let segments = log.segments();
    fs::copy(index_path(log.dir(), segments[1]), index_path(log.dir(), segments[0])).unwrap();
    let recovered = log.recover().unwrap();
    log.expect(&recovered);
}

#[test]
fn without_the_epochs_file_a_smaller_epoch_still_ends_the_log() {
    let mut log = log(true);
    let stale = batch(1, 100, 3, log.end(), Epoch(log.epoch.0 - 1));
    let (path, position) = log.tail();
    write_at(&path, position, &stale);
    fs::remove_file(log.dir().join("epochs")).unwrap();
    let recovered = log.recover().unwrap();
    log.expect(&recovered);
    assert!(recovered.cut.is_some());
    log.go_on(&recovered);
    log.append(1, 1);
    log.reopen();
}

#[test]
fn without_the_epochs_file_the_watermark_still_protects() {
    let log = log(true);
    log.set_watermark(Offset(0), log.end());
    fs::write(log.dir().join("epochs"), b"rot").unwrap();
    let last = log.batches.len() - 1;
    log.flip(last, 80);
    log.expect_damage(log.batches[last].segment, log.batches[last].position);
}

/// An epoch that was used is not used again, even if the file that says so is lost and its batches were cut.
#[test]
fn the_watermark_remembers_the_epoch() {
    let log = log(true);
    fs::remove_file(log.dir().join("epochs")).unwrap();
    let (path, position) = log.tail();
    let at = position - log.last().bytes.len() as u64;
    write_at(&path, at, &vec![0; log.last().bytes.len()]);
    assert!(log.recover().unwrap().epoch > log.epoch);
}

/// A clean close trims the last segment too; it is extended again, and its old index goes.
#[test]
fn a_trimmed_last_segment_is_extended() {
    for durable in [true, false] {
        let mut log = log(durable);
        let (path, position) = log.tail();
        fs::File::options().write(true).open(&path).unwrap().set_len(position).unwrap();
        log.set_watermark(Offset(0), log.end());
        fs::write(index_path(log.dir(), *log.segments().last().unwrap()), b"of a clean close").unwrap();
        let recovered = log.reopen();
        assert_eq!(recovered.cut, None);
        assert_eq!(recovered.active.capacity, SEGMENT_BYTES);
        assert_eq!(recovered.prepared_bytes > 0, durable);
        log.append(1, 1000);
        log.reopen();
    }
}

#[test]
fn empty_segments_are_fine() {
    for length in [0, 4096, SEGMENT_BYTES] {
        let mut log = log(true);
        log.roll();
        fs::File::options().write(true).open(log.tail().0).unwrap().set_len(length).unwrap();
        let recovered = log.reopen();
        assert_eq!((recovered.cut, recovered.active.bytes), (None, 0));
        log.append(1, 10);
        log.reopen();
    }
}

#[test]
fn a_segment_of_another_size_is_kept_as_it_is() {
    let mut log = log(true);
    log.config.segment_bytes = 16 << 10;
    let recovered = log.recover().unwrap();
    assert_eq!(recovered.active.capacity, SEGMENT_BYTES);
    log.expect(&recovered);
    log.config.segment_bytes = 256 << 10;
    let recovered = log.recover().unwrap();
    assert_eq!(recovered.active.capacity, 256 << 10);
}

#[test]
fn prepared_segments_that_were_taken_into_use_are_adopted_in_order() {
    let mut log = log(true);
    log.fill_segments(6);
    let segments = log.segments();
    // The later one has the smaller number: order is by offset.
    fs::rename(segment_path(log.dir(), segments[5]), prepared_path(log.dir(), 3)).unwrap();
    fs::rename(segment_path(log.dir(), segments[4]), prepared_path(log.dir(), 8)).unwrap();
    log.prepared(9, &[]);
    let recovered = log.reopen();
    assert_eq!(recovered.cut, None);
    assert_eq!(recovered.next_number, 10);
    assert_eq!(recovered.sealed.len(), 5);
}

#[test]
fn prepared_segments_that_do_not_fit_go() {
    let mut log = log(true);
    let wrong = [
        batch(1, 100, 1, log.end().plus(1), log.epoch),
        batch(1, 100, 1, log.end(), Epoch(log.epoch.0 - 1)),
        batch(1, 100, 1, Offset(0), log.epoch),
        vec![0xab; 100],
    ];
    for (number, bytes) in wrong.iter().enumerate() {
        log.prepared(number as u64, bytes);
    }
    let recovered = log.recover().unwrap();
    log.expect(&recovered);
    assert!(recovered.cut.is_some(), "something written was removed");
    log.go_on(&recovered);
    log.prepared(20, &[]);
    assert_eq!(log.reopen().cut, None, "nothing that was written was removed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever stands in the side files and after the log, recovery ends, keeps what the watermark protects or refuses, and a second
    /// recovery agrees with the first.
    #[test]
    fn any_bytes_in_side_files(
        name in prop_oneof![Just("epochs"), Just("watermark"), Just("00000000000000000000.index")],
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        keep in any::<bool>(),
    ) {
        let mut log = Log::new(in_memory(), true);
        log.fill_segments(2);
        log.reopen();
        log.set_epochs(&[(1, 0, true, INFLIGHT_BYTES_MAX), (log.epoch.0, log.end().0, true, INFLIGHT_BYTES_MAX)]);
        let path = log.dir().join(name);
        if keep {
            // A right beginning, then something else.
            let mut whole = fs::read(&path).unwrap();
            let from = whole.len().saturating_sub(bytes.len());
            whole.truncate(from);
            whole.extend(&bytes);
            fs::write(&path, whole).unwrap();
        } else {
            fs::write(&path, &bytes).unwrap();
        }
        let first = log.recover().unwrap();
        log.expect(&first);
        log.go_on(&first);
        let second = log.recover().unwrap();
        log.expect(&second);
    }
}
