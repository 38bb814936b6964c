//! Opening a log: find its end, cut a torn tail, refuse damage, make durable what is kept.

use crate::{Files, LogConfig, SparseIndex};
use log_api::{Cut, Epoch, Marks, Offset, OpenError, Recovery};
use std::path::PathBuf;

/// A log that can be continued. Everything in it is durable.
#[derive(Debug)]
pub struct Recovered {
    /// All equal but `start`.
    pub marks: Marks,
    /// The incarnation that begins now; durable in the `epochs` file.
    pub epoch: Epoch,
    /// The torn tail that was removed.
    pub cut: Option<Cut>,
    /// Finished segments, oldest first.
    pub sealed: Vec<SealedSegment>,
    /// The segment to go on with; made if there was none. Always `segment_bytes` long or longer, zeros after its end.
    pub active: ActiveSegment,
    /// Number for the next `.next` file.
    pub next_number: u64,
    /// Bytes of zeros written to make the active segment ready.
    pub prepared_bytes: u64,
}

impl Recovered {
    /// What [`log_api::LogEngine::open`] returns.
    #[must_use]
    pub fn summary(&self) -> Recovery {
        Recovery { marks: self.marks, epoch: self.epoch, cut: self.cut.clone() }
    }
}

/// A finished segment: trimmed to its length, with its index beside it.
#[derive(Debug)]
pub struct SealedSegment {
    /// First offset.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its boundaries.
    pub index: SparseIndex,
}

/// The segment that appends go on with.
#[derive(Debug)]
pub struct ActiveSegment {
    /// First offset.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// The file.
    pub path: PathBuf,
    /// Bytes of batches: where the next one goes.
    pub bytes: u64,
    /// Length of the file.
    pub capacity: u64,
    /// Its boundaries.
    pub index: SparseIndex,
    /// The last `bytes % 4096` bytes of the batches: the block that an engine with O_DIRECT writes again.
    pub tail: Vec<u8>,
}

/// Recovers a log, or makes an empty one. Blocks: run it on a helper.
///
/// # Errors
/// [`OpenError::Damaged`] with nothing on disk changed; `Full` if there is no room for the active segment; `Io`.
#[allow(unused_variables)]
pub fn recover(config: &LogConfig, files: &Files) -> Result<Recovered, OpenError> {
    todo!()
}
