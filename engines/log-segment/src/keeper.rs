//! What one log wants done off the shard: renames, seals, the watermark, unlinking.

use crate::{DataDir, Dead, LogConfig, PreparedFile, SealJob};
use log_api::{Marks, Offset};
use shard_ring::{Helper, Ring};
use std::{future::Future, io, rc::Rc};

/// Runs the file jobs of one log on the helper, in the order they were given. Lives on the shard; clones are the same keeper.
#[derive(Clone)]
pub struct Keeper {}
#[allow(unused_variables)]
impl Keeper {
    /// A keeper for one log.
    #[must_use]
    pub fn new(ring: &Ring, helper: &Rc<Helper>, data: &DataDir, config: &LogConfig, start: Offset) -> Self {
        todo!()
    }
    /// Renames a segment just taken into use to its name. Does not wait and need not be waited for: recovery adopts it either way.
    pub fn adopt(&self, file: &PreparedFile, base: Offset) {
        todo!()
    }
    /// Trims a finished segment to its length, flushes it and writes its index; then the watermark may reach its end if `durable_before`
    /// reaches its base. After `Ok` the segment is durable. All writes to it must have completed before the call.
    ///
    /// # Errors
    /// What the system said: the log is poisoned.
    pub fn seal(&self, job: SealJob, durable_before: Offset) -> impl Future<Output = io::Result<()>> + 'static {
        async { todo!() }
    }
    /// The log's marks after a flush. Writes the watermark file at most once a second; does not wait.
    pub fn note_durable(&self, marks: Marks) {
        todo!()
    }
    /// Makes the log's new start durable, then unlinks segments, oldest first.
    ///
    /// # Errors
    /// What the system said.
    pub fn trim(&self, dead: Dead) -> impl Future<Output = io::Result<()>> + 'static {
        async { todo!() }
    }
    /// The first failure of a job that nobody waited for. The log still recovers; but the file system is failing.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        todo!()
    }
    /// A clean end: seals (and thereby flushes) what [`crate::Segments::finish`] returned, unlinks prepared segments, writes the watermark.
    ///
    /// # Errors
    /// What the system said.
    pub fn close(&self, jobs: Vec<SealJob>, marks: Marks) -> impl Future<Output = io::Result<()>> + 'static {
        async { todo!() }
    }
}
