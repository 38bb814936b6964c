//! Each planted bug, and the test that must fail because of it.

use crate::{bug, toy::Toy};
use log_testkit::{
    conformance,
    disk::{Disk, Fault, Operation},
    io_error, kill, model, power,
};
use std::panic::catch_unwind;

log_testkit::under_test!(Sound: Toy<{ bug::NONE }>);

/// Requires that the suite's test fails for the toy with the bug planted.
macro_rules! caught {
    ($($name:ident: $bug:ident by $test:expr;)+) => {
        $(#[test]
        fn $name() {
            log_testkit::under_test!(Planted: Toy<{ bug::$bug }>);
            fails(stringify!($bug), $test);
        })+
    };
}

fn fails(bug: &str, test: fn()) {
    fails_by(bug, "", test);
}

/// Requires that the test complains with these words, too.
fn fails_by(bug: &str, words: &str, test: fn()) {
    if kill::is_child() {
        return test();
    }
    let complaint = match catch_unwind(test) {
        Ok(()) => panic!("{bug} was not noticed"),
        Err(complaint) => complaint,
    };
    let said = complaint.downcast_ref::<String>().cloned();
    let said = said.or_else(|| complaint.downcast_ref::<&str>().map(|said| (*said).to_owned()));
    let said = said.unwrap_or_else(|| "a panic without words".to_owned());
    assert!(said.contains(words), "{bug} was not noticed: {said}");
    println!("{bug} was noticed: {said}");
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

caught! {
    overlapping_offsets: OFFSETS_OVERLAP by conformance::append_assigns_dense_offsets::<Planted>;
    half_of_a_refused_append: HALF_OF_A_REFUSED_APPEND_STAYS by conformance::too_large::<Planted>;
    unbounded_memory: INFLIGHT_IS_UNBOUNDED by conformance::busy_then_room::<Planted>;
    unbounded_loss: WHAT_IS_NOT_DURABLE_IS_UNBOUNDED by conformance::what_is_not_durable_is_bounded::<Planted>;
    an_endless_wait: A_SEGMENT_THAT_CANNOT_BE_MADE_IS_WAITED_FOR by
        conformance::a_segment_that_cannot_be_made_poisons::<Planted>;
    durable_before_commit: DURABLE_BEFORE_COMMIT by conformance::commit_levels::<Planted>;
    a_later_append_joins: A_LATER_APPEND_JOINS by conformance::a_later_append_does_not_join::<Planted>;
    marks_out_of_order: MARKS_MOVE_OUT_OF_ORDER by conformance::many_commits_in_flight_move_marks_in_order::<Planted>;
    a_dropped_commit_loses_bytes: DROPPED_COMMIT_LOSES_ITS_BYTES by
        conformance::a_dropped_commit_abandons_only_the_wait::<Planted>;
    half_a_batch: HALF_A_BATCH_IS_READ by conformance::read_returns_whole_batches::<Planted>;
    reads_beyond_the_commit_point: UNTIL_IS_IGNORED by conformance::read_stops_at_the_commit_point::<Planted>;
    reads_that_start_too_late: READ_STARTS_AFTER_THE_OFFSET by conformance::read_inside_a_batch::<Planted>;
    a_trim_that_takes_too_much: TRIM_TAKES_TOO_MUCH by conformance::trim_whole_segments::<Planted>;
    a_trim_that_harms_what_is_held: TRIM_HARMS_WHAT_IS_HELD by conformance::a_chunk_keeps_its_bytes::<Planted>;
    two_copies: COPIES_TWICE by conformance::one_copy_in::<Planted>;
    an_allocation: ALLOCATES by conformance::steady_state_appends_allocate_nothing::<Planted>;
    an_ignored_lock: LOCK_IGNORED by conformance::a_held_directory_is_refused::<Planted>;
    a_lost_last_batch: THE_LAST_BATCH_IS_LOST_ON_REOPEN by conformance::close_then_open::<Planted>;
    an_early_acknowledgement: ACKNOWLEDGES_BEFORE_THE_WRITE by conformance::crash_then_open::<Planted>;
    an_epoch_that_stays: EPOCH_DOES_NOT_RISE by conformance::the_epoch_rises_and_is_in_the_bytes::<Planted>;
    an_epoch_that_is_not_written: EPOCH_IS_NOT_WRITTEN by conformance::the_epoch_rises_and_is_in_the_bytes::<Planted>;
    skipped_checksums: CHECKSUMS_ARE_SKIPPED by conformance::a_torn_tail_is_cut::<Planted>;
    damage_that_is_cut: DAMAGE_IS_CUT by conformance::damage_in_the_middle_is_refused::<Planted>;
    stale_batches: STALE_BATCHES_ARE_ACCEPTED by conformance::stale_batches_are_never_accepted::<Planted>;
    a_late_cut: THE_CUT_LEAVES_A_TAIL by conformance::a_torn_tail_is_cut::<Planted>;
}

/// The model finds by chance what the clauses above find on purpose.
mod by_the_model {
    use super::*;

    macro_rules! caught_by_the_model {
        ($($name:ident: $bug:ident;)+) => {
            $(#[test]
            fn $name() {
                log_testkit::under_test!(Planted: Toy<{ bug::$bug }>);
                let noticed = model::first_failure(model::runner::<Planted>());
                println!("noticed: {}", noticed.expect(concat!(stringify!($bug), " was not noticed")));
            })+
        };
    }

    caught_by_the_model! {
        overlapping_offsets: OFFSETS_OVERLAP;
        marks_out_of_order: MARKS_MOVE_OUT_OF_ORDER;
        half_a_batch: HALF_A_BATCH_IS_READ;
        reads_that_start_too_late: READ_STARTS_AFTER_THE_OFFSET;
        a_trim_that_harms_what_is_held: TRIM_HARMS_WHAT_IS_HELD;
        a_lost_last_batch: THE_LAST_BATCH_IS_LOST_ON_REOPEN;
        an_early_acknowledgement: ACKNOWLEDGES_BEFORE_THE_WRITE;
        a_dropped_commit_loses_bytes: DROPPED_COMMIT_LOSES_ITS_BYTES;
        an_epoch_that_stays: EPOCH_DOES_NOT_RISE;
    }
}

/// Two engines that differ, though each keeps the contract as far as it can be seen alone, are told apart.
#[test]
fn the_sound_toy_and_the_model_agree() {
    log_testkit::under_test!(Model: log_memory::Memory);
    model::same_operations_same_log(&[model::runner::<Model>(), model::runner::<Sound>()]);
}

/// A kill shows what a drop does not: the file is all that is left of an engine that acknowledged too early.
#[test]
fn an_early_acknowledgement_by_kill_nine() {
    log_testkit::under_test!(Planted: Toy<{ bug::ACKNOWLEDGES_BEFORE_THE_WRITE }>);
    fails("ACKNOWLEDGES_BEFORE_THE_WRITE", || {
        const TEST: &str = concat!(module_path!(), "::an_early_acknowledgement_by_kill_nine");
        kill::kill_nine::<Planted>(TEST, &[kill::reader::<Planted>()]);
    });
}

/// Power cuts show what neither a drop nor a kill does: what was only in a cache is gone.
mod by_power_cuts {
    use super::*;

    macro_rules! caught_by_power_cuts {
        ($($name:ident: $bug:ident in $rounds:literal rounds;)+) => {
            $(#[test]
            fn $name() {
                log_testkit::under_test!(Planted: Toy<{ bug::$bug }>);
                if Disk::ext4(16 << 20).is_ok() {
                    fails_by(stringify!($bug), "read by toy", || {
                        const TEST: &str = concat!(module_path!(), "::", stringify!($name));
                        power::cut_rounds::<Planted>(TEST, &[kill::reader::<Planted>()], $rounds);
                    });
                }
            })+
        };
    }

    caught_by_power_cuts! {
        an_acknowledgement_before_the_flush: ACKNOWLEDGES_BEFORE_THE_FLUSH in 6 rounds;
        recovery_that_does_not_flush: RECOVERY_DOES_NOT_FLUSH in 40 rounds;
        a_finished_segment_that_is_not_flushed: A_FINISHED_SEGMENT_IS_NOT_FLUSHED in 40 rounds;
    }
}

/// An error of the device at the right place shows who believes that a flush that failed has not.
mod by_io_errors {
    use super::*;

    macro_rules! caught_by_io_errors {
        ($($name:ident: $bug:ident;)+) => {
            $(#[test]
            fn $name() {
                log_testkit::under_test!(Planted: Toy<{ bug::$bug }>);
                if Disk::ext4(16 << 20).is_ok() {
                    fails_by(stringify!($bug), "read by toy", || {
                        const TEST: &str = concat!(module_path!(), "::", stringify!($name));
                        let fault = |after| Fault { operation: Operation::Write, after, once: true };
                        let faults: Vec<Fault> = (40..100).map(fault).collect();
                        io_error::errors::<Planted>(TEST, &[kill::reader::<Planted>()], &faults, false);
                    });
                }
            })+
        };
    }

    caught_by_io_errors! {
        a_retried_flush: FAILED_FLUSH_IS_RETRIED;
        recovery_that_trusts_the_page_cache: RECOVERY_TRUSTS_THE_PAGE_CACHE;
    }
}

#[test]
fn a_retried_flush() {
    log_testkit::under_test!(Planted: Toy<{ bug::FAILED_FLUSH_IS_RETRIED }>);
    if root() {
        fails(
            "FAILED_FLUSH_IS_RETRIED",
            conformance::a_failed_flush_poisons_and_reopening_does_not_launder_it::<Planted>,
        );
    }
}

#[test]
fn recovery_that_trusts_the_page_cache() {
    log_testkit::under_test!(Planted: Toy<{ bug::RECOVERY_TRUSTS_THE_PAGE_CACHE }>);
    if root() {
        let test = conformance::a_failed_flush_poisons_and_reopening_does_not_launder_it::<Planted>;
        fails("RECOVERY_TRUSTS_THE_PAGE_CACHE", test);
    }
}
