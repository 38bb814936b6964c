//! Where tests run: a shard of their own, in a directory of their own, with an eye on the clock only to end what hangs.

use crate::EngineUnderTest;
use log_api::{Availability, EngineConfig, SendPath};
use shard_ring::{ExecutorConfig, Ring};
use std::{
    future::Future,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A test that is still waiting after this long waits for something that will not come.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// Runs `body` on a fresh executor and ring, as a process would: nothing of it is left when this returns. What an engine leaves
/// running when it is dropped has ended by then, too, so that the next incarnation meets what a new process would.
///
/// # Panics
/// With what the body panics with; if it does not end; if there is no ring on this machine.
pub fn in_shard<T, F>(body: impl FnOnce(Ring) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    shard_ring::block_on(ExecutorConfig::default(), |ring| {
        let hang = async {
            shard_ring::sleep(HANGS_AFTER).await;
            panic!("still waiting after {HANGS_AFTER:?}: an operation does not end");
        };
        let body = body(ring);
        futures_lite::future::or(body, hang)
    })
    .expect("an executor and a ring for the test")
}

/// A directory for logs on the disk of the build directory: `/tmp` may be in memory, where there is no O_DIRECT.
/// `HIGHWATER_TEST_DIR` names another place.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    let place = std::env::var_os("HIGHWATER_TEST_DIR").map_or_else(beside_the_build, PathBuf::from);
    std::fs::create_dir_all(&place).expect("a place for test directories");
    tempfile::Builder::new().prefix("highwater-").tempdir_in(&place).expect("a test directory")
}

/// `target/tmp` for a test at `target/<profile>/deps/<name>`.
fn beside_the_build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its file");
    test.ancestors().nth(3).map_or_else(std::env::temp_dir, |target| target.join("tmp"))
}

/// What the suite runs with unless a test is about something else: durable, segments of 1 MiB, 4 MiB in flight.
#[must_use]
pub fn config(dir: &Path) -> EngineConfig {
    EngineConfig {
        durable: true,
        segment_bytes: 1 << 20,
        inflight_bytes_max: 4 << 20,
        tail_cache_bytes: 1 << 20,
        send: SendPath::Copy,
        ..EngineConfig::new(dir)
    }
}

/// Says that a test did not happen, and why, past the test harness's capture: a skipped test must not look like a passed one.
pub fn skip(test: &str, why: &str) {
    // Nowhere to complain if stderr is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// What a test needs of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// That it runs here.
    Running,
    /// That it gives back what was appended.
    Reading,
    /// That it finds it again after close and open, and gives it back.
    Keeping,
}

/// Whether the test can say anything about this engine; if not, it is skipped aloud.
#[must_use]
pub fn applies<E: EngineUnderTest>(test: &str, needs: Needs) -> bool {
    let capabilities = &<E::Engine as log_api::LogEngine>::CAPABILITIES;
    let place = std::env::var_os("HIGHWATER_TEST_DIR").map_or_else(beside_the_build, PathBuf::from);
    let missing = match (E::availability(&place), needs) {
        (Availability::Unavailable(why), _) => format!("unavailable: {why}"),
        (_, Needs::Reading | Needs::Keeping) if !capabilities.readable => "the engine keeps nothing to read".into(),
        (_, Needs::Keeping) if !capabilities.persistent => "the engine is not persistent".into(),
        _ => return true,
    };
    skip(&format!("{} of {}", test, E::NAME), &missing);
    false
}
