//! The tests that every engine runs.
//!
//! What lives here: the conformance suite ([`mod@conformance`]), the model test and the relay of engines over one directory
//! ([`model`]), the kill test ([`kill`]), power cuts ([`power`]), I/O errors
//! ([`io_error`]), disks to break ([`mod@disk`], [`media`]), and what they share. What
//! never does: an engine; engines depend on this crate for their tests, not the other way round.
//!
//! All of an engine's `tests/conformance.rs`:
//!
//! ```text
//! //! What every engine must do.
//! log_testkit::conformance!(log_mmap::Mmap);
//! ```
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `HIGHWATER_CASES` | sequences of the model test | 48 an engine, 16 where several run each |
//! | `HIGHWATER_KILLS` | kills of the kill test | 5 |
//! | `HIGHWATER_CUTS` | power cuts | 6 |
//! | `HIGHWATER_ERRORS` | `all`: each operation of the device fails in its turn | 18 drawn ones |
//! | `HIGHWATER_SEED` | first seed of all; a failure prints the one that repeats it | fixed |
//! | `HIGHWATER_TEST_DIR` | where the logs lie | `target/tmp` |
//!
//! What cannot run (no root, an engine that is not persistent, a machine without O_DIRECT) says `skipped: …` on stderr.

mod allocations;
mod commands;
pub mod conformance;
mod contents;
pub mod disk;
pub mod io_error;
pub mod kill;
pub mod media;
pub mod model;
mod payload;
mod pen;
pub mod power;
mod segment_files;
mod shard;
mod under_test;
mod writer;

pub use allocations::{CountingAllocator, allocations_of};
pub use contents::{Found, batches_of, bytes_of, checked, read_all, read_between};
pub use payload::{Numbers, Shape, assigned, batch, drawn_batch, verified};
pub use pen::{Pen, shape};
pub use segment_files::SegmentFile;
pub use shard::{Needs, applies, config, directory, in_shard, skip};
pub use under_test::EngineUnderTest;

/// What the macros name, so that an engine's test file needs no imports.
#[doc(hidden)]
pub mod reexport {
    pub use log_api::{Availability, EngineConfig, LogEngine, OpenError};
    pub use shard_ring::Ring;
}
