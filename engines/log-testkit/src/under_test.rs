//! How the suite makes an engine, and the macros that write an engine's test file.

use log_api::{Availability, EngineConfig, LogEngine, OpenError};
use shard_ring::Ring;
use std::{future::Future, path::Path};

/// How the suite makes an engine. Engines are constructed by functions of one shape and not through a trait, so
/// [`crate::under_test!`] writes this.
pub trait EngineUnderTest: 'static {
    /// The engine.
    type Engine: LogEngine;
    /// Its name in messages.
    const NAME: &'static str;

    /// Makes it in the directory of the configuration, which may hold logs already.
    ///
    /// # Errors
    /// The engine's own.
    fn start(ring: &Ring, config: EngineConfig) -> impl Future<Output = Result<Self::Engine, OpenError>>;

    /// Whether it can run with its logs in `dir`.
    fn availability(dir: &Path) -> Availability;
}

/// Declares a type that is an engine under test: `under_test!(Mmap: log_mmap::Mmap)`.
#[macro_export]
macro_rules! under_test {
    ($name:ident: $engine:ty) => {
        struct $name;

        impl $crate::EngineUnderTest for $name {
            type Engine = $engine;
            const NAME: &'static str = <$engine as $crate::reexport::LogEngine>::CAPABILITIES.name;

            async fn start(
                ring: &$crate::reexport::Ring,
                config: $crate::reexport::EngineConfig,
            ) -> Result<$engine, $crate::reexport::OpenError> {
                <$engine>::new(ring, config).await
            }

            fn availability(dir: &std::path::Path) -> $crate::reexport::Availability {
                <$engine>::availability(dir)
            }
        }
    };
}

/// Writes an engine's whole test file: a test for each clause of the contract, the model test, kills and power cuts and I/O errors.
#[macro_export]
macro_rules! conformance {
    ($engine:ty) => {
        #[global_allocator]
        static ALLOCATOR: $crate::CountingAllocator = $crate::CountingAllocator;

        $crate::under_test!(UnderTest: $engine);

        $crate::conformance_of!(UnderTest);
    };
}

/// The tests of [`conformance!`] for an engine that is made in another way: a type that is an [`EngineUnderTest`]. Once in a test file, which
/// has [`crate::CountingAllocator`] as its allocator.
#[macro_export]
macro_rules! conformance_of {
    ($under_test:ty) => {
        $crate::conformance_tests!($under_test:
            append_assigns_dense_offsets
            too_large
            busy_then_room
            room_for_too_much_ends
            what_is_not_durable_is_bounded
            not_open
            two_logs_at_once
            commit_levels
            a_later_append_does_not_join
            many_commits_in_flight_move_marks_in_order
            a_dropped_commit_abandons_only_the_wait
            read_returns_whole_batches
            read_stops_at_the_commit_point
            read_inside_a_batch
            out_of_range
            a_trim_may_overtake_a_read
            a_chunk_keeps_its_bytes
            roll
            trim_whole_segments
            trim_while_pinned
            close_then_open
            crash_then_open
            the_epoch_rises_and_is_in_the_bytes
            empty_and_full_segments_reopen
            durability_may_change_between_opens
            a_held_directory_is_refused
            damage_in_the_middle_is_refused
            damage_in_an_old_segment_is_refused
            a_torn_tail_is_cut
            stale_batches_are_never_accepted
            one_copy_in
            steady_state_appends_allocate_nothing
            a_full_disk_is_full_and_nothing_worse
            a_segment_that_cannot_be_made_poisons
            a_failed_flush_poisons_and_reopening_does_not_launder_it
        );

        #[test]
        fn random_operations_follow_the_model() {
            $crate::model::random_operations(&[$crate::model::runner::<$under_test>()]);
        }

        #[test]
        fn kill_nine_loses_nothing_that_was_acknowledged() {
            let test = concat!(module_path!(), "::kill_nine_loses_nothing_that_was_acknowledged");
            $crate::kill::kill_nine::<$under_test>(test, &[$crate::kill::reader::<$under_test>()]);
        }

        #[test]
        fn power_cuts_lose_nothing_that_was_acknowledged() {
            let test = concat!(module_path!(), "::power_cuts_lose_nothing_that_was_acknowledged");
            $crate::power::power_cuts::<$under_test>(test, &[$crate::kill::reader::<$under_test>()]);
        }

        #[test]
        fn io_errors_lose_nothing_that_was_acknowledged() {
            let test = concat!(module_path!(), "::io_errors_lose_nothing_that_was_acknowledged");
            $crate::io_error::errors_at_operations::<$under_test>(test, &[$crate::kill::reader::<$under_test>()]);
        }
    };
}

/// A test for each named function of [`mod@crate::conformance`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($under_test:ty: $($test:ident)+) => {
        $(#[test]
        fn $test() {
            $crate::conformance::$test::<$under_test>();
        })+
    };
}
