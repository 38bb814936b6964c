//! The tests that every engine runs.
//!
//! What lives here: the conformance suite ([`conformance`]), the model test ([`model`]), the kill test ([`kill`]), file systems to
//! break ([`media`]), and what they share. What never does: an engine other than the model; engines depend on this crate for their
//! tests, not the other way round.
//!
//! An engine's `tests/conformance.rs` is
//!
//! ```ignore
//! //! What every engine must do.
//! log_testkit::conformance!(log_mmap::Mmap);
//! ```

use log_api::{EngineConfig, LogEngine, OpenError};
use shard_ring::Ring;
use std::future::Future;

/// How the suite makes an engine.
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
}
